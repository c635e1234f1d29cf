//! Manifests: resolve, get, put (distribution-spec "Pulling manifests", "Pushing manifests").

use bytes::Bytes;
use http::header::{ACCEPT, CONTENT_LENGTH, CONTENT_TYPE, IF_MATCH, IF_NONE_MATCH};
use http::{HeaderMap, Method, StatusCode};
use oci::{Algorithm, Descriptor, Digest, Index, MediaType, Platform, Raw};
use serde::Deserialize;

use super::{Repository, Selector};
use crate::error::{Act, Problem, RegistryError};
use crate::exchange::{Answer, Call, CallBody, Need, Reading};
use crate::limits::MANIFEST_BYTES_MAX;
use crate::progress::TransferEvent;

/// A manifest or index as the registry sent it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FetchedManifest {
    /// Its type, digest and size; the digest is that of `bytes`.
    pub descriptor: Descriptor,
    /// The exact bytes.
    pub bytes: Bytes,
}

/// A manifest that a registry took.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PushedManifest {
    /// Its type, digest and size.
    pub descriptor: Descriptor,
    /// The subject that the registry recorded it as a referrer of (`OCI-Subject`).
    pub recorded_subject: Option<Digest>,
}

/// Tags in one PUT: registries take at least ten.
const TAGS_PER_PUT: usize = 10;

/// The fields that say what a document is, whatever else it holds.
#[derive(Deserialize)]
struct Peek {
    #[serde(rename = "schemaVersion")]
    schema_version: Option<u64>,
    #[serde(rename = "mediaType")]
    media_type: Option<String>,
    manifests: Option<serde::de::IgnoredAny>,
    layers: Option<serde::de::IgnoredAny>,
    config: Option<Typed>,
    #[serde(rename = "fsLayers")]
    fs_layers: Option<serde::de::IgnoredAny>,
}

#[derive(Deserialize)]
struct Typed {
    #[serde(rename = "mediaType")]
    media_type: Option<String>,
}

impl Repository {
    /// The descriptor behind a tag or digest, by HEAD where the registry's answer to it is
    /// whole, else by GET (end-3).
    pub async fn resolve(&self, selector: &Selector) -> Result<Descriptor, RegistryError> {
        match self.head(selector).await {
            Ok(Some(descriptor)) => return Ok(descriptor),
            Err(problem) if !may_differ_for_get(&problem) => {
                return Err(self.manifest_error(Act::Resolve, selector, problem));
            }
            // A HEAD has no body: the GET's error says what is wrong.
            Ok(None) | Err(_) => {}
        }
        let fetched = self.get(selector).await;
        let fetched = fetched.map_err(|p| self.manifest_error(Act::Resolve, selector, p))?;
        Ok(fetched.descriptor)
    }

    /// Whether the registry has a manifest. A HEAD that says no is believed: a GET to hear it again
    /// would count against pull quotas.
    pub async fn has_manifest(&self, selector: &Selector) -> Result<bool, RegistryError> {
        match self.head(selector).await {
            Ok(Some(_)) => return Ok(true),
            Err(problem) if problem.is_not_found() => return Ok(false),
            Ok(None) | Err(_) => {}
        }
        match self.resolve(selector).await {
            Ok(_) => Ok(true),
            Err(error) if error.is_not_found() => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// A manifest or index, verified against the digest asked for or promised (end-3).
    pub async fn manifest(&self, selector: &Selector) -> Result<FetchedManifest, RegistryError> {
        let fetched = self.get(selector).await;
        fetched.map_err(|problem| self.manifest_error(Act::GetManifest, selector, problem))
    }

    /// Writes a manifest, byte by byte as given, under a tag or its digest (end-7). Where it has a
    /// subject and the registry keeps no list of referrers, the subject's fallback tag gets an
    /// entry for it.
    pub async fn put_manifest(
        &self,
        selector: &Selector,
        media_type: &MediaType,
        bytes: Bytes,
    ) -> Result<PushedManifest, RegistryError> {
        let wrap = |problem| self.manifest_error(Act::PutManifest, selector, problem);
        let pushed = self.put(selector, media_type, bytes.clone()).await.map_err(wrap)?;
        self.note_referrer(&pushed, &bytes).await.map_err(wrap)?;
        Ok(pushed)
    }

    /// Writes a manifest under a tag that must still be `expected`, or must not exist yet.
    /// Nothing where the registry says that it is not so; a registry that knows no conditions
    /// (`If-Match`, `If-None-Match`) writes in any case.
    pub async fn replace_tag(
        &self,
        tag: &str,
        expected: Option<&Digest>,
        media_type: &MediaType,
        bytes: Bytes,
    ) -> Result<Option<PushedManifest>, RegistryError> {
        let selector = Selector::Tag(tag.to_owned());
        let wrap = |problem| self.manifest_error(Act::PutManifest, &selector, problem);
        let (call, descriptor) =
            self.put_call(&selector, media_type, bytes.clone()).map_err(wrap)?;
        let call = match expected {
            Some(digest) => call.with_header(IF_MATCH, &format!("\"{digest}\"")),
            None => call.with_header(IF_NONE_MATCH, "*"),
        };
        let endpoint = self.upstream().await.map_err(wrap)?;
        match self.exchange.call(&endpoint, &call.map_err(wrap)?).await {
            Ok(answer) => {
                check_header_digest(&answer, descriptor.digest()).map_err(wrap)?;
                let recorded = answer.header("oci-subject").and_then(|text| text.parse().ok());
                let pushed = PushedManifest { descriptor, recorded_subject: recorded };
                self.note_referrer(&pushed, &bytes).await.map_err(wrap)?;
                Ok(Some(pushed))
            }
            Err(problem) if problem.status() == Some(StatusCode::PRECONDITION_FAILED) => Ok(None),
            Err(problem) => Err(wrap(problem)),
        }
    }

    /// Writes a manifest under its digest and all these tags: in one request where the registry
    /// takes tags as parameters (`OCI-Tag` names those it took), in one more for each it did not.
    pub async fn put_manifest_with_tags(
        &self,
        media_type: &MediaType,
        bytes: Bytes,
        tags: &[String],
    ) -> Result<PushedManifest, RegistryError> {
        let selector = Selector::Digest(Digest::sha256(&bytes));
        let wrap = |problem| self.manifest_error(Act::PutManifest, &selector, problem);
        let (mut call, descriptor) =
            self.put_call(&selector, media_type, bytes.clone()).map_err(wrap)?;
        for tag in tags.iter().take(TAGS_PER_PUT) {
            call = call.with_query("tag", tag);
        }
        let endpoint = self.upstream().await.map_err(wrap)?;
        let answer = self.exchange.call(&endpoint, &call).await.map_err(wrap)?;
        check_header_digest(&answer, descriptor.digest()).map_err(wrap)?;
        let recorded_subject = answer.header("oci-subject").and_then(|text| text.parse().ok());
        let pushed = PushedManifest { descriptor, recorded_subject };
        self.note_referrer(&pushed, &bytes).await.map_err(wrap)?;
        let taken = answer.headers.get_all("oci-tag").iter().filter_map(|v| v.to_str().ok());
        let taken = taken.flat_map(|list| list.split(',')).map(str::trim).collect::<Vec<_>>();
        for tag in tags.iter().filter(|tag| !taken.contains(&tag.as_str())) {
            self.put_manifest(&Selector::Tag(tag.clone()), media_type, bytes.clone()).await?;
        }
        Ok(pushed)
    }

    /// The manifest for a platform behind an index, through nested indexes; a manifest is itself.
    pub async fn choose_platform(
        &self,
        root: &Descriptor,
        platform: &Platform,
    ) -> Result<Descriptor, RegistryError> {
        let mut current = root.clone();
        for _ in 0..oci::limits::INDEX_DEPTH_MAX {
            if !current.media_type().is_index() {
                return Ok(current);
            }
            let selector = Selector::Digest(current.digest().clone());
            let wrap = |problem| self.manifest_error(Act::Resolve, &selector, problem);
            let fetched = self.get(&selector).await.map_err(wrap)?;
            let index = Raw::<Index>::parse(&fetched.bytes[..])
                .map_err(|error| wrap(Problem::Protocol { reason: error.to_string() }))?;
            current = match index.choose(platform) {
                Some(chosen) => chosen.clone(),
                None => return Err(wrap(Problem::NoPlatform { wanted: platform.to_string() })),
            };
        }
        let problem = Problem::Protocol { reason: "its indexes are nested too deep".to_owned() };
        Err(self.manifest_error(Act::Resolve, &Selector::Digest(root.digest().clone()), problem))
    }

    async fn head(&self, selector: &Selector) -> Result<Option<Descriptor>, Problem> {
        let call = self.manifest_call(Method::HEAD, selector)?;
        self.read(need(selector), &call, |answer| described(selector, &answer)).await
    }

    pub(super) async fn get(&self, selector: &Selector) -> Result<FetchedManifest, Problem> {
        let reading = Reading::Document { what: "manifest", bytes_max: MANIFEST_BYTES_MAX };
        let call = self.manifest_call(Method::GET, selector)?.reads(reading);
        self.read(need(selector), &call, |answer| verified(selector, answer)).await
    }

    fn manifest_call(&self, method: Method, selector: &Selector) -> Result<Call, Problem> {
        let path = format!("manifests/{selector}");
        let mut call = self.call(method, &path, self.pull_scope().union(&self.also));
        for media_type in MediaType::MANIFESTS {
            call = call.with_header(ACCEPT, media_type.as_str())?;
        }
        // Asked for last, so that old manifests come as what they are and can be refused by name.
        call.with_header(ACCEPT, "*/*;q=0.1")
    }

    pub(super) async fn put(
        &self,
        selector: &Selector,
        media_type: &MediaType,
        bytes: Bytes,
    ) -> Result<PushedManifest, Problem> {
        let (call, descriptor) = self.put_call(selector, media_type, bytes)?;
        let endpoint = self.upstream().await?;
        self.tell(&descriptor, TransferEvent::Started);
        let answer = self.exchange.call(&endpoint, &call).await?;
        check_header_digest(&answer, descriptor.digest())?;
        let recorded_subject = answer.header("oci-subject").and_then(|text| text.parse().ok());
        self.tell(&descriptor, TransferEvent::Finished);
        Ok(PushedManifest { descriptor, recorded_subject })
    }

    /// The call of a PUT. Refused here: what the registry would have to refuse.
    pub(super) fn put_call(
        &self,
        selector: &Selector,
        media_type: &MediaType,
        bytes: Bytes,
    ) -> Result<(Call, Descriptor), Problem> {
        if bytes.len() as u64 > MANIFEST_BYTES_MAX {
            return Err(Problem::TooLarge { what: "manifest", bytes_max: MANIFEST_BYTES_MAX });
        }
        let digest = match selector {
            Selector::Digest(expected) => {
                let found = Digest::of(expected.algorithm(), &bytes);
                if found != *expected {
                    return Err(Problem::DigestMismatch { expected: expected.clone(), found });
                }
                found
            }
            Selector::Tag(_) => Digest::sha256(&bytes),
        };
        let descriptor = Descriptor::new(media_type.clone(), digest, bytes.len() as u64);
        let call = self
            .call(Method::PUT, &format!("manifests/{selector}"), self.push_scope())
            .with_header(CONTENT_TYPE, media_type.as_str())?
            .sends(CallBody::Bytes(bytes))
            .accepts(&[200, 201, 202]);
        Ok((call, descriptor))
    }
}

fn need(selector: &Selector) -> Need {
    match selector {
        Selector::Tag(_) => Need::Name,
        Selector::Digest(_) => Need::Content,
    }
}

/// Whether a GET may tell more than this failed HEAD. Some registries do not do HEAD at all.
fn may_differ_for_get(problem: &Problem) -> bool {
    match problem.status() {
        Some(status) => !matches!(status, StatusCode::TOO_MANY_REQUESTS),
        None => matches!(problem, Problem::Protocol { .. }),
    }
}

/// The descriptor that a HEAD gives; nothing where a part of it is missing.
fn described(selector: &Selector, answer: &Answer) -> Result<Option<Descriptor>, Problem> {
    let size = answer.header(CONTENT_LENGTH.as_str()).and_then(|text| text.parse::<u64>().ok());
    let media_type = header_type(&answer.headers);
    let (Some(size), Some(media_type)) = (size, media_type) else { return Ok(None) };
    let media_type = MediaType::from(media_type.as_str());
    if media_type == MediaType::DockerSchema1 {
        return Err(Problem::Schema1);
    }
    if !media_type.is_manifest() && !media_type.is_index() {
        return Ok(None);
    }
    if size > MANIFEST_BYTES_MAX {
        return Err(Problem::TooLarge { what: "manifest", bytes_max: MANIFEST_BYTES_MAX });
    }
    let promised = header_digest(answer);
    let digest = match (selector, promised) {
        (Selector::Digest(asked), promised) => {
            if let Some(found) = promised.filter(|found| differs(asked, found)) {
                return Err(Problem::DigestMismatch { expected: asked.clone(), found });
            }
            asked.clone()
        }
        (Selector::Tag(_), Some(promised)) => promised,
        (Selector::Tag(_), None) => return Ok(None),
    };
    Ok(Some(Descriptor::new(media_type, digest, size)))
}

/// Digests of two algorithms cannot be compared, so they do not differ (DST-5).
fn differs(a: &Digest, b: &Digest) -> bool {
    a.algorithm() == b.algorithm() && a != b
}

fn header_digest(answer: &Answer) -> Option<Digest> {
    answer.header("docker-content-digest")?.parse().ok()
}

fn check_header_digest(answer: &Answer, expected: &Digest) -> Result<(), Problem> {
    match header_digest(answer).filter(|found| differs(expected, found)) {
        Some(found) => Err(Problem::DigestMismatch { expected: expected.clone(), found }),
        None => Ok(()),
    }
}

/// The fetched document, after its digest and type are proven.
fn verified(selector: &Selector, answer: Answer) -> Result<FetchedManifest, Problem> {
    let promised = header_digest(&answer);
    let expected = match selector {
        Selector::Digest(digest) => Some(digest.clone()),
        Selector::Tag(_) => promised.clone(),
    };
    let algorithm = expected.as_ref().map_or(Algorithm::Sha256, Digest::algorithm);
    let found = Digest::of(algorithm, &answer.bytes);
    if let Some(expected) = expected.filter(|expected| *expected != found) {
        return Err(Problem::DigestMismatch { expected, found });
    }
    if let Some(promised) = promised.filter(|promised| differs(promised, &found)) {
        return Err(Problem::DigestMismatch { expected: promised, found });
    }
    let media_type = manifest_type(header_type(&answer.headers), &answer.bytes)?;
    let descriptor = Descriptor::new(media_type, found, answer.bytes.len() as u64);
    Ok(FetchedManifest { descriptor, bytes: answer.bytes })
}

/// `Content-Type` without parameters.
fn header_type(headers: &HeaderMap) -> Option<String> {
    let text = headers.get(CONTENT_TYPE)?.to_str().ok()?;
    let bare = text.split(';').next().unwrap_or_default().trim();
    (!bare.is_empty()).then(|| bare.to_ascii_lowercase())
}

/// What the document is. The header and the document must agree where both say something
/// (DST-4); headers of no meaning (`text/plain`) say nothing.
fn manifest_type(header: Option<String>, bytes: &[u8]) -> Result<MediaType, Problem> {
    let header = header.map(|text| MediaType::from(text.as_str())).filter(says_something);
    if header == Some(MediaType::DockerSchema1) {
        return Err(Problem::Schema1);
    }
    let peek: Peek = serde_json::from_slice(bytes).map_err(|error| Problem::Protocol {
        reason: format!("the manifest is not JSON: {error}"),
    })?;
    let body = peek.media_type.as_deref().filter(|t| !t.is_empty()).map(MediaType::from);
    if peek.schema_version == Some(1) || body == Some(MediaType::DockerSchema1) {
        return Err(Problem::Schema1);
    }
    match (header, body) {
        (Some(header), Some(body)) if header != body => {
            Err(Problem::MediaTypeMismatch { header: header.to_string(), body: body.to_string() })
        }
        (Some(known), _) | (None, Some(known)) => Ok(known),
        (None, None) => guessed(&peek),
    }
}

fn says_something(media_type: &MediaType) -> bool {
    let silent = ["application/json", "application/octet-stream", "text/plain", "text/html"];
    !matches!(media_type, MediaType::Other(text) if silent.contains(&&**text))
}

/// The type of a document that nobody names, by its form (image-spec: `mediaType` is only
/// recommended). What could be read as two things is none (CVE-2021-41190).
fn guessed(peek: &Peek) -> Result<MediaType, Problem> {
    let docker = peek.config.as_ref().and_then(|config| config.media_type.as_deref())
        == Some(MediaType::DockerConfig.as_str());
    match (&peek.manifests, &peek.layers.as_ref().or(peek.fs_layers.as_ref())) {
        (Some(_), None) => Ok(MediaType::OciIndex),
        (None, Some(_)) if docker => Ok(MediaType::DockerManifest),
        (None, Some(_)) => Ok(MediaType::OciManifest),
        _ => Err(Problem::Protocol { reason: "the document is no manifest".to_owned() }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Covers: DST-4, DST-42
    #[test]
    fn header_and_document_must_agree_on_what_it_is() {
        let oci = MediaType::OciManifest;
        let docker = "application/vnd.docker.distribution.manifest.v2+json";
        let table: [(Option<&str>, &str, Option<MediaType>); 9] = [
            (Some(oci.as_str()), r#"{"schemaVersion":2}"#, Some(oci.clone())),
            (Some(oci.as_str()), &format!(r#"{{"mediaType":"{oci}"}}"#), Some(oci.clone())),
            (Some(oci.as_str()), &format!(r#"{{"mediaType":"{docker}"}}"#), None),
            (
                Some("text/plain"),
                &format!(r#"{{"mediaType":"{docker}"}}"#),
                Some(MediaType::DockerManifest),
            ),
            (None, r#"{"schemaVersion":2,"layers":[]}"#, Some(oci.clone())),
            (None, r#"{"schemaVersion":2,"manifests":[]}"#, Some(MediaType::OciIndex)),
            (None, r#"{"schemaVersion":2,"manifests":[],"layers":[]}"#, None),
            (None, r#"{"schemaVersion":1,"fsLayers":[]}"#, None),
            (Some(oci.as_str()), "not json", None),
        ];
        for (header, body, expected) in table {
            let found = manifest_type(header.map(str::to_owned), body.as_bytes());
            assert_eq!(found.ok(), expected, "{header:?} {body}");
        }
    }

    /// Covers: DST-42
    #[test]
    fn schema_1_is_refused_with_advice() {
        let types =
            ["application/vnd.docker.distribution.manifest.v1+prettyjws", "application/json"];
        for header in types {
            let error = manifest_type(Some(header.to_owned()), br#"{"schemaVersion":1}"#)
                .expect_err("schema 1");
            assert!(matches!(error, Problem::Schema1), "{header}: {error:?}");
            assert!(error.to_string().contains("push it again"), "{error}");
        }
    }

    #[test]
    fn parameters_of_a_content_type_do_not_matter() {
        let mut headers = HeaderMap::new();
        headers.insert(CONTENT_TYPE, "Application/JSON; charset=utf-8".parse().expect("valid"));
        assert_eq!(header_type(&headers).as_deref(), Some("application/json"));
    }
}
