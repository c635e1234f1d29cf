//! The state of one upload and the rules for it, without I/O.

use http::StatusCode;
use http::header::LOCATION;
use url::Url;

use super::UploadConfig;
use crate::error::{ErrorCode, Problem};
use crate::exchange::{Answer, resolve_location};
use crate::journal::UploadRecord;
use crate::limits::{CHUNK_BYTES_MAX, CHUNK_BYTES_MIN};

/// How a blob is sent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum UploadMode {
    /// Small blobs at once, large ones in chunks.
    #[default]
    Auto,
    /// One PUT with everything.
    AtOnce,
    /// PATCHes and a closing PUT.
    Chunked,
    /// One POST with everything, for blobs of one chunk; the rest as in [`UploadMode::Auto`]. Saves a
    /// request at registries that do it (end-4b) and costs the blob's bytes at those that do not.
    SinglePost,
}

/// An upload that the registry opened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Session {
    pub(super) location: Url,
    /// What the registry has confirmed.
    pub(super) offset: u64,
    pub(super) chunk_bytes: u64,
    chunk_min: u64,
    pub(super) at_once: bool,
    /// Whether the closing PUT was sent.
    pub(super) closing: bool,
    /// Whether the other mode was tried already.
    changed_mode: bool,
    /// Whether each chunk gets a connection of its own, because one broke under several.
    pub(super) own_connections: bool,
    /// How often the registry has lost the upload.
    pub(super) restarts: u32,
}

impl Session {
    pub(super) fn new(location: Url, chunk_min: u64) -> Self {
        Self {
            location,
            offset: 0,
            chunk_bytes: chunk_min,
            chunk_min: chunk_min.min(CHUNK_BYTES_MAX),
            at_once: true,
            closing: false,
            changed_mode: false,
            own_connections: false,
            restarts: 0,
        }
    }

    /// A session that another process left behind.
    pub(super) fn recalled(record: &UploadRecord) -> Option<Self> {
        let location = record.location.expose().parse().ok()?;
        Some(Self { offset: record.offset, ..Self::new(location, record.chunk_min) })
    }

    pub(super) fn record(&self) -> UploadRecord {
        UploadRecord {
            location: crate::redact::Secret::new(self.location.as_str()),
            offset: self.offset,
            chunk_min: self.chunk_min,
        }
    }

    /// Settles mode and chunk size for content of `size` bytes.
    pub(super) fn choose(&mut self, config: &UploadConfig, size: u64) {
        self.chunk_bytes = config.chunk_bytes.clamp(1, CHUNK_BYTES_MAX).max(self.chunk_min);
        self.at_once = match config.mode {
            UploadMode::AtOnce => true,
            UploadMode::Chunked => size == 0,
            UploadMode::Auto | UploadMode::SinglePost => size <= self.chunk_bytes,
        };
    }

    /// Goes on in this mode; there is no change back.
    pub(super) fn force(&mut self, mode: UploadMode) {
        self.at_once = mode == UploadMode::AtOnce;
        self.changed_mode = true;
    }

    /// A new session for the same upload. What broke at once goes in chunks now, unless the
    /// registry does not take them.
    pub(super) fn restart(&mut self, fresh: Self) {
        *self = Self {
            at_once: self.at_once && self.changed_mode,
            changed_mode: self.changed_mode,
            own_connections: true,
            restarts: self.restarts + 1,
            chunk_bytes: self.chunk_bytes.max(fresh.chunk_min),
            ..fresh
        };
    }

    /// The next location, which may differ after every answer (DST-10).
    pub(super) fn follow(&mut self, answer: &Answer) -> Result<(), Problem> {
        if let Some(location) = answer.headers.get(LOCATION) {
            self.location = resolve_location(&answer.url, location)?;
        }
        Ok(())
    }

    /// Takes what the registry confirms after a chunk up to `sent`. Less than sent is sent
    /// again; more than sent is somebody else's upload.
    pub(super) fn confirm(&mut self, confirmed: Option<u64>, sent: u64) -> Result<(), Problem> {
        let confirmed = match confirmed {
            // `0-0` after one byte is that byte.
            Some(0) if sent == 1 => 1,
            confirmed => confirmed.unwrap_or(sent),
        };
        if confirmed > sent || confirmed <= self.offset {
            return Err(Problem::Protocol {
                reason: format!(
                    "the registry confirms {confirmed} bytes after {sent} were sent from {}",
                    self.offset
                ),
            });
        }
        self.offset = confirmed;
        Ok(())
    }

    /// Half the chunk after a failure, so that a bad link loses less each time.
    pub(super) fn smaller_chunk(&self) -> u64 {
        (self.chunk_bytes / 2).max(CHUNK_BYTES_MIN.min(self.chunk_bytes)).max(self.chunk_min)
    }

    /// Back towards the configured size after a chunk that went through.
    pub(super) fn larger_chunk(&self, config: &UploadConfig) -> u64 {
        let wanted = config.chunk_bytes.clamp(1, CHUNK_BYTES_MAX).max(self.chunk_min);
        (self.chunk_bytes.saturating_add(self.chunk_bytes / 4)).min(wanted)
    }

    /// The other mode, where this one seems not to be supported; once.
    pub(super) fn other_mode(&self, problem: &Problem) -> Option<UploadMode> {
        if self.changed_mode {
            return None;
        }
        let unsupported = matches!(
            problem.status(),
            Some(
                StatusCode::METHOD_NOT_ALLOWED
                    | StatusCode::NOT_IMPLEMENTED
                    | StatusCode::LENGTH_REQUIRED
                    | StatusCode::UNSUPPORTED_MEDIA_TYPE
            )
        ) || problem.has_code(&ErrorCode::Unsupported);
        // Some front ends take no large bodies at once; smaller pieces pass.
        let too_large = self.at_once && problem.status() == Some(StatusCode::PAYLOAD_TOO_LARGE);
        (unsupported || too_large).then_some(match self.at_once {
            true => UploadMode::Chunked,
            false => UploadMode::AtOnce,
        })
    }
}

/// The number of bytes behind `0-n`, with or without `bytes=`; `0-0` with nothing uploaded is
/// what some registries say for an empty upload and cannot be told from one byte.
pub(super) fn parse_range_end(range: Option<&str>) -> Option<u64> {
    let range = range?.trim();
    let range =
        range.strip_prefix("bytes=").or_else(|| range.strip_prefix("bytes ")).unwrap_or(range);
    let (start, end) = range.split_once('-')?;
    let (start, end) = (start.trim().parse::<u64>().ok()?, end.trim().parse::<u64>().ok()?);
    match (start, end) {
        (0, 0) => Some(0),
        (0, end) => end.checked_add(1),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::ErrorAnswer;

    fn session() -> Session {
        Session::new("https://h/u/1".parse().expect("valid"), 0)
    }

    fn status(code: u16) -> Problem {
        Problem::Status {
            answer: Box::new(ErrorAnswer {
                status: StatusCode::from_u16(code).expect("valid"),
                details: Vec::new(),
                request: String::new(),
                retry_after: None,
            }),
        }
    }

    /// Covers: DST-10, DST-12
    #[test]
    fn the_range_of_an_upload_is_inclusive_and_comes_in_several_spellings() {
        let table = [
            (Some("0-1023"), Some(1024)),
            (Some("bytes=0-1023"), Some(1024)),
            (Some("0-0"), Some(0)),
            (Some("5-9"), None),
            (Some("x"), None),
            (Some("0-18446744073709551615"), None),
            (None, None),
        ];
        for (text, expected) in table {
            assert_eq!(parse_range_end(text), expected, "{text:?}");
        }
    }

    /// Covers: DST-11
    #[test]
    fn chunks_are_never_smaller_than_the_registry_asks() {
        let mut session = Session::new("https://h/u".parse().expect("valid"), 5 << 20);
        session
            .choose(&UploadConfig { chunk_bytes: 1 << 20, ..UploadConfig::default() }, 100 << 20);
        assert_eq!(session.chunk_bytes, 5 << 20);
        assert_eq!(session.smaller_chunk(), 5 << 20);
        let mut free = Session::new("https://h/u".parse().expect("valid"), 0);
        free.choose(&UploadConfig::default(), 100 << 20);
        for _ in 0..20 {
            free.chunk_bytes = free.smaller_chunk();
        }
        assert_eq!(free.chunk_bytes, CHUNK_BYTES_MIN);
    }

    /// Covers: DST-12
    #[test]
    fn what_the_registry_confirms_is_where_the_upload_is() {
        let mut session = session();
        session.confirm(Some(700), 1000).expect("less is sent again");
        assert_eq!(session.offset, 700);
        session.confirm(None, 1000).expect("silence is consent");
        assert_eq!(session.offset, 1000);
        assert!(session.confirm(Some(3000), 2000).is_err());
        assert!(session.confirm(Some(1000), 2000).is_err(), "no progress would loop for ever");
    }

    #[test]
    fn the_mode_changes_once_and_only_where_it_is_not_supported() {
        let mut session = session();
        session.choose(&UploadConfig::default(), 1);
        assert_eq!(session.other_mode(&status(405)), Some(UploadMode::Chunked));
        assert_eq!(session.other_mode(&status(413)), Some(UploadMode::Chunked));
        assert_eq!(session.other_mode(&status(403)), None);
        session.force(UploadMode::Chunked);
        assert_eq!(session.other_mode(&status(405)), None);
    }

    #[test]
    fn small_content_goes_at_once_and_large_in_chunks() {
        let table = [
            (UploadMode::Auto, 10, true),
            (UploadMode::Auto, 1 << 40, false),
            (UploadMode::AtOnce, 1 << 40, true),
            (UploadMode::Chunked, 10, false),
            (UploadMode::Chunked, 0, true),
        ];
        for (mode, size, at_once) in table {
            let mut session = session();
            session.choose(&UploadConfig { mode, ..UploadConfig::default() }, size);
            assert_eq!(session.at_once, at_once, "{mode:?} {size}");
        }
    }
}
