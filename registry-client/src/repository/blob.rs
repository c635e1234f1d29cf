//! Reading blobs: streamed, verified, resumed (distribution-spec "Pulling blobs").

use std::collections::VecDeque;

use bytes::Bytes;
use futures_util::StreamExt;
use http::Method;
use http::header::{CONTENT_LENGTH, CONTENT_RANGE, RANGE};
use oci::{Descriptor, Digest, Verifier, VerifyError};
use url::Url;

use super::Repository;
use crate::auth::ScopeSet;
use crate::budget::{Lane, Permit};
use crate::error::{Act, ConnectionFailure, Problem, RegistryError};
use crate::exchange::{Answer, Call, Endpoint, Need, Reading};
use crate::progress::TransferEvent;
use crate::transport::IncomingStream;

/// A blob on its way in. Every byte given out was counted, and the end comes only after the
/// digest was proven (or the whole length, where the receiver proves the digest); a broken connection is taken up again where it broke.
pub struct BlobStream {
    repository: Repository,
    descriptor: Descriptor,
    proof: Proof,
    places: VecDeque<Place>,
    open: Option<Open>,
    embedded: Option<Bytes>,
    failures: u32,
    ranges: Ranges,
}

/// Who proves that the bytes are the content.
enum Proof {
    /// This stream.
    Here(Box<Verifier>),
    /// Whoever reads it; only the length is held here.
    AtReceiver { seen: u64 },
    /// It was proven, and the end was given out.
    Done,
}

/// A server that has the blob, and where on it.
#[derive(Clone)]
struct Place {
    endpoint: Endpoint,
    url: Option<Url>,
    kind: PlaceKind,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum PlaceKind {
    Mirror,
    Upstream,
    Foreign,
}

struct Open {
    stream: IncomingStream,
    skip: u64,
    _permit: Permit,
}

/// Whether a server is asked for the rest only.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Ranges {
    Ask,
    /// It answered a range wrongly: the whole is asked for and the beginning thrown away.
    Broken,
}

impl Repository {
    /// The size of a blob, where the registry has it (end-2, HEAD).
    pub async fn stat_blob(&self, digest: &Digest) -> Result<Option<u64>, RegistryError> {
        match self.head_blob(digest, self.pull_scope().union(&self.also)).await {
            Ok(size) => Ok(size),
            Err(problem) => Err(self.blob_error(Act::StatBlob, digest, problem)),
        }
    }

    pub(super) async fn head_blob(
        &self,
        digest: &Digest,
        scopes: ScopeSet,
    ) -> Result<Option<u64>, Problem> {
        let call = self.call(Method::HEAD, &format!("blobs/{digest}"), scopes).accepts(&[200]);
        let endpoint = self.upstream().await?;
        match self.exchange.call(&endpoint, &call).await {
            Ok(answer) => {
                let length = answer.header(CONTENT_LENGTH.as_str());
                Ok(Some(length.and_then(|text| text.parse().ok()).unwrap_or(0)))
            }
            Err(problem) if problem.is_not_found() => Ok(None),
            Err(problem) => Err(problem),
        }
    }

    /// Reads a blob (end-2). Nothing is asked before the first [`BlobStream::next`].
    pub async fn blob(&self, descriptor: &Descriptor) -> Result<BlobStream, RegistryError> {
        self.blob_from(descriptor, Verifier::new(descriptor)).await
    }

    /// Reads the rest of a blob of which a part is there: `verifier` was fed with it.
    pub async fn blob_from(
        &self,
        descriptor: &Descriptor,
        verifier: Verifier,
    ) -> Result<BlobStream, RegistryError> {
        self.stream(descriptor, Proof::Here(Box::new(verifier))).await
    }

    /// Reads a blob from an offset for a receiver that proves the digest itself before it shows
    /// the content, as a store does: hashing every byte a second time here would prove nothing
    /// more. Too many bytes and too few are errors all the same.
    pub async fn blob_for_receiver(
        &self,
        descriptor: &Descriptor,
        offset: u64,
    ) -> Result<BlobStream, RegistryError> {
        self.stream(descriptor, Proof::AtReceiver { seen: offset }).await
    }

    async fn stream(
        &self,
        descriptor: &Descriptor,
        proof: Proof,
    ) -> Result<BlobStream, RegistryError> {
        let mut places = VecDeque::new();
        let registry = self.name.registry();
        for endpoint in self.exchange.mirrors(registry, Need::Content) {
            places.push_back(Place { endpoint, url: None, kind: PlaceKind::Mirror });
        }
        let upstream = self.upstream().await;
        let endpoint =
            upstream.map_err(|p| self.blob_error(Act::GetBlob, descriptor.digest(), p))?;
        places.push_back(Place {
            endpoint: endpoint.clone(),
            url: None,
            kind: PlaceKind::Upstream,
        });
        // Non-distributable layers may be only where their URLs say (DST-45).
        if descriptor.media_type().is_non_distributable() {
            let urls = descriptor.urls().iter().filter_map(|url| url.parse::<Url>().ok());
            for url in urls.filter(|url| url.scheme() == "https") {
                let endpoint = endpoint.clone();
                places.push_back(Place { endpoint, url: Some(url), kind: PlaceKind::Foreign });
            }
        }
        let embedded = match proof.seen() {
            Some(0) => descriptor.embedded().map(Bytes::from),
            _ => None,
        };
        Ok(BlobStream {
            repository: self.clone(),
            descriptor: descriptor.clone(),
            proof,
            places,
            open: None,
            embedded,
            failures: 0,
            ranges: Ranges::Ask,
        })
    }

    /// Reads a small blob whole, refusing one over `bytes_max`.
    pub async fn fetch_blob(
        &self,
        descriptor: &Descriptor,
        bytes_max: u64,
    ) -> Result<Bytes, RegistryError> {
        if descriptor.size() > bytes_max {
            let problem = Problem::TooLarge { what: "blob", bytes_max };
            return Err(self.blob_error(Act::GetBlob, descriptor.digest(), problem));
        }
        let mut stream = self.blob(descriptor).await?;
        let mut bytes = Vec::new();
        while let Some(piece) = stream.next().await? {
            bytes.extend_from_slice(&piece);
        }
        Ok(bytes.into())
    }
}

impl BlobStream {
    /// The next bytes; nothing at the end, which comes only after all bytes were proven.
    pub async fn next(&mut self) -> Result<Option<Bytes>, RegistryError> {
        match self.step().await {
            Ok(piece) => Ok(piece),
            Err(problem) => {
                let digest = self.descriptor.digest().clone();
                Err(self.repository.blob_error(Act::GetBlob, &digest, problem))
            }
        }
    }

    /// How many bytes were given out.
    pub fn offset(&self) -> u64 {
        self.proof.seen().unwrap_or(self.descriptor.size())
    }

    async fn step(&mut self) -> Result<Option<Bytes>, Problem> {
        loop {
            if matches!(self.proof, Proof::Done) {
                return Ok(None);
            }
            if self.open.is_none() {
                self.reopen().await?;
            }
            let Some(open) = &mut self.open else { continue };
            match open.stream.next().await {
                Some(Ok(piece)) => {
                    let piece = skipped(open, piece);
                    if !piece.is_empty() {
                        return self.take(piece).map(Some);
                    }
                }
                None if self.offset() < self.descriptor.size() => {
                    self.broken(ConnectionFailure::Broken {
                        host: self.place_key(),
                        reason: "it ended before the content".to_owned(),
                    })
                    .await?;
                }
                None => return self.finish().map(|()| None),
                Some(Err(failure)) => self.broken(failure).await?,
            }
        }
    }

    fn take(&mut self, piece: Bytes) -> Result<Bytes, Problem> {
        match &mut self.proof {
            Proof::Here(verifier) => verifier.update(&piece)?,
            Proof::AtReceiver { seen } => {
                *seen += piece.len() as u64;
                if *seen > self.descriptor.size() {
                    return Err(too_long(&self.descriptor).into());
                }
            }
            Proof::Done => {}
        }
        self.failures = 0;
        let offset = self.offset();
        self.repository.tell(&self.descriptor, TransferEvent::Advanced { offset });
        Ok(piece)
    }

    fn finish(&mut self) -> Result<(), Problem> {
        self.open = None;
        // The receiver's count is right here: `step` ends only at the whole length.
        if let Proof::Here(verifier) = std::mem::replace(&mut self.proof, Proof::Done) {
            verifier.finish()?;
        }
        self.repository.tell(&self.descriptor, TransferEvent::Finished);
        Ok(())
    }

    fn place_key(&self) -> String {
        self.places.front().map(|place| place.endpoint.key.clone()).unwrap_or_default()
    }

    /// After a broken connection: the next mirror at once, the registry after a wait.
    async fn broken(&mut self, failure: ConnectionFailure) -> Result<(), Problem> {
        self.open = None;
        let problem = Problem::Connection { failure };
        let Some(place) = self.places.front().cloned() else { return Err(problem) };
        if place.kind == PlaceKind::Mirror {
            self.repository.exchange.rest_mirror(&place.endpoint, &problem);
            self.places.pop_front();
            return Ok(());
        }
        self.failures += 1;
        let exchange = &self.repository.exchange;
        let call = self.get_call(&place, 0)?;
        let key = exchange.budget_key(&place.endpoint, &call).await?;
        let wait = exchange.wait_after(&key, problem, self.failures)?;
        exchange.config.clock.sleep(wait).await;
        Ok(())
    }

    async fn reopen(&mut self) -> Result<(), Problem> {
        let offset = self.offset();
        if let Some(bytes) = self.embedded.take() {
            let piece: IncomingStream = futures_util::stream::iter([Ok(bytes)]).boxed();
            self.open = Some(Open { stream: piece, skip: 0, _permit: Permit::free() });
            return Ok(());
        }
        let event = match offset {
            0 => TransferEvent::Started,
            offset => TransferEvent::Resumed { offset },
        };
        self.repository.tell(&self.descriptor, event);
        let mut first_problem: Option<Problem> = None;
        while let Some(place) = self.places.front().cloned() {
            match self.ask(&place, offset).await {
                Ok(open) => {
                    self.open = Some(open);
                    return Ok(());
                }
                Err(problem) => {
                    let last = self.places.len() == 1;
                    let go_on = place.kind == PlaceKind::Mirror || problem.is_not_found();
                    if last || !go_on {
                        return Err(first_problem.unwrap_or(problem));
                    }
                    if place.kind == PlaceKind::Mirror {
                        self.repository.exchange.rest_mirror(&place.endpoint, &problem);
                    } else {
                        first_problem = first_problem.or(Some(problem));
                    }
                    self.places.pop_front();
                }
            }
        }
        Err(first_problem.unwrap_or(Problem::Abandoned))
    }

    async fn ask(&mut self, place: &Place, offset: u64) -> Result<Open, Problem> {
        let call = self.get_call(place, offset)?;
        let exchange = self.repository.exchange.clone();
        let answer = match place.kind {
            PlaceKind::Mirror => exchange.attempt(&place.endpoint, &call).await?,
            PlaceKind::Upstream | PlaceKind::Foreign => {
                exchange.call(&place.endpoint, &call).await?
            }
        };
        match starts_at(&answer, offset, &self.descriptor) {
            Ok(start) => opened(answer, offset - start),
            // Never append what may be from elsewhere: ask for the whole instead (DST-6).
            Err(_) if self.ranges == Ranges::Ask && offset > 0 => {
                self.ranges = Ranges::Broken;
                drop(answer);
                let call = self.get_call(place, offset)?;
                let answer = exchange.call(&place.endpoint, &call).await?;
                let start = starts_at(&answer, 0, &self.descriptor)?;
                opened(answer, offset - start)
            }
            Err(problem) => Err(problem),
        }
    }

    fn get_call(&self, place: &Place, offset: u64) -> Result<Call, Problem> {
        let repository = &self.repository;
        let scopes = repository.pull_scope().union(&repository.also);
        let path = format!("blobs/{}", self.descriptor.digest());
        let mut call = repository
            .call(Method::GET, &path, scopes)
            .reads(Reading::Stream)
            .on(Lane::Blob)
            .accepts(&[200, 206]);
        if offset > 0 && self.ranges == Ranges::Ask {
            call = call.with_header(RANGE, &format!("bytes={offset}-"))?;
        }
        Ok(match &place.url {
            Some(url) => call.at_url(url.clone()),
            None => call,
        })
    }
}

impl std::fmt::Debug for BlobStream {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "BlobStream({} at {})", self.descriptor.digest(), self.offset())
    }
}

impl Proof {
    /// Bytes taken in; nothing after the end.
    fn seen(&self) -> Option<u64> {
        match self {
            Self::Here(verifier) => Some(verifier.seen()),
            Self::AtReceiver { seen } => Some(*seen),
            Self::Done => None,
        }
    }
}

fn too_long(descriptor: &Descriptor) -> VerifyError {
    VerifyError::TooLong { digest: descriptor.digest().clone(), expected: descriptor.size() }
}

fn opened(answer: Answer, skip: u64) -> Result<Open, Problem> {
    match answer.stream {
        Some(stream) => Ok(Open { stream, skip, _permit: answer.permit }),
        None => Err(Problem::Protocol { reason: "the answer has no body".to_owned() }),
    }
}

fn skipped(open: &mut Open, piece: Bytes) -> Bytes {
    let skip = usize::try_from(open.skip).unwrap_or(usize::MAX).min(piece.len());
    open.skip -= skip as u64;
    piece.slice(skip..)
}

/// Where in the blob an answer's body starts. A 200 is the whole; a 206 must say what it is.
fn starts_at(answer: &Answer, asked: u64, descriptor: &Descriptor) -> Result<u64, Problem> {
    let size = descriptor.size();
    if answer.status.as_u16() == 200 {
        let length =
            answer.header(CONTENT_LENGTH.as_str()).and_then(|text| text.parse::<u64>().ok());
        return match length {
            Some(length) if length > size => Err(too_long(descriptor).into()),
            _ => Ok(0),
        };
    }
    let wrong = |said: &str| Problem::Protocol {
        reason: format!("asked for bytes from {asked} of {size}, got Content-Range {said:?}"),
    };
    let said = answer.header(CONTENT_RANGE.as_str()).unwrap_or_default();
    let (start, total) = parse_content_range(said).ok_or_else(|| wrong(said))?;
    match start == asked && total.is_none_or(|total| total == size) {
        true => Ok(start),
        false => Err(wrong(said)),
    }
}

/// `bytes start-end/total`, with `*` for a total that is not known.
fn parse_content_range(text: &str) -> Option<(u64, Option<u64>)> {
    let (range, total) = text.trim().strip_prefix("bytes ")?.split_once('/')?;
    let (start, end) = range.split_once('-')?;
    let (start, end) = (start.parse::<u64>().ok()?, end.parse::<u64>().ok()?);
    let total = match total {
        "*" => None,
        number => Some(number.parse::<u64>().ok()?),
    };
    (start <= end).then_some((start, total))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Covers: DST-6
    #[test]
    fn content_ranges_are_read_strictly() {
        let table = [
            ("bytes 5-9/10", Some((5, Some(10)))),
            ("bytes 5-9/*", Some((5, None))),
            ("bytes 9-5/10", None),
            ("bytes=5-9/10", None),
            ("5-9/10", None),
            ("bytes */10", None),
            ("", None),
            ("bytes -1-9/10", None),
        ];
        for (text, expected) in table {
            assert_eq!(parse_content_range(text), expected, "{text}");
        }
    }
}
