//! The two range headers of the protocol, which share nothing but their name.

use http::HeaderValue;

/// What a `Range` request header means for content of a known size (RFC 9110, section 14).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Selection {
    /// No usable range: the whole content, status 200.
    Whole,
    /// One range, both ends inclusive, status 206.
    Part {
        /// First byte.
        first: u64,
        /// Last byte.
        last: u64,
    },
    /// No byte of the content is in the range, status 416.
    Unsatisfiable,
}

/// Reads a `Range` header. A unit other than `bytes`, several ranges and bad syntax are ignored,
/// as RFC 9110 allows; a range that runs backwards is answered 416, because a client that sends
/// one has lost count and must not be handed the whole blob.
pub(crate) fn select(header: Option<&HeaderValue>, size: u64) -> Selection {
    let Some(text) = header.and_then(|value| value.to_str().ok()) else { return Selection::Whole };
    let Some((unit, set)) = text.split_once('=') else { return Selection::Whole };
    let Some((first, last)) = set.trim().split_once('-') else { return Selection::Whole };
    if !unit.trim().eq_ignore_ascii_case("bytes") {
        return Selection::Whole;
    }
    match (position(first), position(last)) {
        (Position::Absent, Position::At(suffix)) => from_suffix(suffix, size),
        (Position::At(first), Position::Absent) => from_bounds(first, u64::MAX, size),
        (Position::At(first), Position::At(last)) => from_bounds(first, last, size),
        _ => Selection::Whole,
    }
}

enum Position {
    Absent,
    At(u64),
    Malformed,
}

fn position(text: &str) -> Position {
    let text = text.trim();
    if text.is_empty() {
        Position::Absent
    } else if text.bytes().all(|b| b.is_ascii_digit()) {
        // More digits than a u64 holds still mean "beyond the end".
        Position::At(text.parse().unwrap_or(u64::MAX))
    } else {
        Position::Malformed
    }
}

fn from_suffix(suffix: u64, size: u64) -> Selection {
    if suffix == 0 || size == 0 {
        return Selection::Unsatisfiable;
    }
    Selection::Part { first: size.saturating_sub(suffix), last: size - 1 }
}

fn from_bounds(first: u64, last: u64, size: u64) -> Selection {
    if first > last || first >= size {
        return Selection::Unsatisfiable;
    }
    Selection::Part { first, last: last.min(size - 1) }
}

/// The `Content-Range` of an uploaded chunk: `^[0-9]+-[0-9]+$`, inclusive on both ends, without a
/// unit (distribution-spec 1.1, "Pushing a blob in chunks").
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ChunkRange {
    /// First byte.
    pub(crate) first: u64,
    /// Last byte.
    pub(crate) last: u64,
}

impl ChunkRange {
    /// Reads the header; `None` when it does not match the expression or runs backwards.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let (first, last) = text.split_once('-')?;
        let digits = |t: &str| !t.is_empty() && t.bytes().all(|b| b.is_ascii_digit());
        if !digits(first) || !digits(last) {
            return None;
        }
        let (first, last) = (first.parse().ok()?, last.parse().ok()?);
        (first <= last && last < u64::MAX).then_some(Self { first, last })
    }

    /// How many bytes the chunk has.
    pub(crate) fn length(self) -> u64 {
        self.last - self.first + 1
    }
}

/// The `Range` response header of an upload that holds `offset` bytes. An empty upload is
/// reported as `0-0`, as every registry does; the specification has no spelling for it.
pub(crate) fn received(offset: u64) -> String {
    format!("0-{}", offset.saturating_sub(1))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn range(text: &str, size: u64) -> Selection {
        select(Some(&HeaderValue::from_str(text).expect("a header value")), size)
    }

    /// Covers: DST-6
    #[test]
    fn ranges_select_what_rfc_9110_says() {
        let part = |first, last| Selection::Part { first, last };
        let table = [
            ("bytes=0-0", 10, part(0, 0)),
            ("bytes=2-5", 10, part(2, 5)),
            ("bytes=2-", 10, part(2, 9)),
            ("bytes=-3", 10, part(7, 9)),
            ("bytes=-30", 10, part(0, 9)),
            ("bytes=8-50", 10, part(8, 9)),
            ("BYTES=1-2", 10, part(1, 2)),
            ("bytes= 1 - 2 ", 10, part(1, 2)),
            ("bytes=0-99999999999999999999999", 10, part(0, 9)),
            ("bytes=10-", 10, Selection::Unsatisfiable),
            ("bytes=10-12", 10, Selection::Unsatisfiable),
            ("bytes=5-4", 10, Selection::Unsatisfiable),
            ("bytes=-0", 10, Selection::Unsatisfiable),
            ("bytes=0-", 0, Selection::Unsatisfiable),
            ("bytes=-1", 0, Selection::Unsatisfiable),
            ("bytes=0-1,3-4", 10, Selection::Whole),
            ("bytes=a-b", 10, Selection::Whole),
            ("bytes=+1-2", 10, Selection::Whole),
            ("bytes=-", 10, Selection::Whole),
            ("bytes", 10, Selection::Whole),
            ("lines=1-2", 10, Selection::Whole),
            ("", 10, Selection::Whole),
        ];
        for (text, size, expected) in table {
            assert_eq!(range(text, size), expected, "{text:?} of {size}");
        }
        assert_eq!(select(None, 10), Selection::Whole);
    }

    /// Covers: DST-10
    #[test]
    fn a_chunk_range_has_no_unit_and_no_total() {
        assert_eq!(ChunkRange::parse("0-9"), Some(ChunkRange { first: 0, last: 9 }));
        assert_eq!(ChunkRange::parse("7-7").map(ChunkRange::length), Some(1));
        let most = u64::MAX.to_string();
        for bad in [
            "",
            "-",
            "1-",
            "-1",
            "9-0",
            "bytes 0-9",
            "bytes=0-9",
            "0-9/10",
            "0-9/*",
            "+0-9",
            "0 - 9",
            &format!("0-{most}"),
            "0-99999999999999999999999999",
        ] {
            assert_eq!(ChunkRange::parse(bad), None, "accepted {bad:?}");
        }
    }

    proptest! {
        #[test]
        fn a_selected_part_lies_inside_the_content(text in "bytes=[0-9]{0,5}-[0-9]{0,5}", size in 0u64..20_000) {
            if let Selection::Part { first, last } = range(&text, size) {
                prop_assert!(first <= last && last < size);
            }
        }

        #[test]
        fn no_header_panics_the_parser(text in "[ -~]{0,40}", size: u64) {
            let _ = range(&text, size);
            if let Some(chunk) = ChunkRange::parse(&text) {
                prop_assert_eq!(format!("{}-{}", chunk.first, chunk.last).len() <= text.len(), true);
                prop_assert!(chunk.length() > 0);
            }
        }
    }
}
