//! Manifests (distribution-spec 1.1, "Pulling manifests", "Pushing Manifests", "Deleting tags",
//! "Deleting Manifests"): end-3, end-7, end-9.

use std::collections::BTreeSet;
use std::io;
use std::sync::Arc;

use axum::body::Body;
use axum::response::Response;
use bytes::Bytes;
use http::StatusCode;
use http::header::{
    CONTENT_LENGTH, CONTENT_TYPE, ETAG, HeaderName, IF_MATCH, IF_NONE_MATCH, LOCATION, WARNING,
};
use oci::{Algorithm, Descriptor, Digest, MediaType};

use super::{App, Call, DOCKER_CONTENT_DIGEST, empty, set};
use crate::config::{MissingReferences, Switch};
use crate::content::Content;
use crate::fault::{Code, Fault};
use crate::limits;
use crate::manifest::{Kind, Submission};
use crate::name::{ManifestReference, RepositoryName, Tag};
use crate::pull_through::Freshness;
use crate::repository::{ManifestLink, Repositories};
use crate::uploads::blocking;

/// Tells a client that `subject` was understood.
const OCI_SUBJECT: HeaderName = HeaderName::from_static("oci-subject");
/// Lists the tags that came with a push by digest.
const OCI_TAG: HeaderName = HeaderName::from_static("oci-tag");

/// A manifest that was found.
struct Found {
    digest: Digest,
    media_type: String,
    bytes: Bytes,
}

/// end-3: the manifest as it was pushed, under the type it was pushed with.
pub(super) async fn get(
    call: &Call,
    name: RepositoryName,
    reference: ManifestReference,
) -> Result<Response, Fault> {
    let mut freshness = Freshness::Fresh;
    if let Some(pull_through) = &call.app.pull_through {
        freshness = pull_through.manifest(&call.app, &name, &reference).await?;
    }
    let (app, owned, wanted) = (call.app.clone(), name.clone(), reference.clone());
    let looked = blocking("read a manifest", move || look_up(&app, &owned, &wanted)).await?;
    let found = match looked {
        Looked::Found(found) => found,
        Looked::NoManifest => return Err(Fault::manifest_unknown(&name, &reference.to_string())),
        Looked::NoRepository => return Err(Fault::name_unknown(&name)),
    };
    let mut response = respond(call, &found);
    if freshness == Freshness::Stale {
        let warning = "299 - \"the upstream registry is unavailable: this may be outdated\"";
        set(&mut response, WARNING, warning);
    }
    Ok(response)
}

fn respond(call: &Call, found: &Found) -> Response {
    let etag = format!("\"{}\"", found.digest);
    let unchanged =
        call.header(&IF_NONE_MATCH).is_some_and(|known| known == "*" || known.contains(&etag));
    let mut response = match (unchanged, call.is_head()) {
        (true, _) => empty(StatusCode::NOT_MODIFIED),
        (false, true) => empty(StatusCode::OK),
        (false, false) => Response::new(Body::from(found.bytes.clone())),
    };
    set(&mut response, CONTENT_TYPE, &found.media_type);
    set(&mut response, DOCKER_CONTENT_DIGEST, &found.digest.to_string());
    set(&mut response, ETAG, &etag);
    if !unchanged {
        set(&mut response, CONTENT_LENGTH, &found.bytes.len().to_string());
    }
    response
}

enum Looked {
    Found(Found),
    NoManifest,
    NoRepository,
}

fn look_up(app: &App, name: &RepositoryName, reference: &ManifestReference) -> io::Result<Looked> {
    let digest = match reference {
        ManifestReference::Digest(digest) => Some(digest.clone()),
        ManifestReference::Tag(tag) => app.repositories.tag(name, tag)?,
    };
    let link = match &digest {
        Some(digest) => app.repositories.manifest(name, digest)?,
        None => None,
    };
    let (Some(digest), Some(link)) = (digest, link) else {
        let exists = app.repositories.exists(name)?;
        return Ok(if exists { Looked::NoManifest } else { Looked::NoRepository });
    };
    let bytes = match app.cache.get(&digest) {
        Some(bytes) => bytes,
        None => match app.content.small(&digest, app.limits.manifest_bytes)? {
            Some(bytes) => {
                let bytes = Bytes::from(bytes);
                app.cache.keep(&digest, &bytes);
                bytes
            }
            None => {
                return Err(io::Error::other(format!(
                    "{name} links {digest}, which the store lost"
                )));
            }
        },
    };
    Ok(Looked::Found(Found { digest, media_type: link.media_type, bytes }))
}

/// end-7: keeps the bytes as they are and gives them their names, after everything that they
/// refer to was found.
pub(super) async fn put(
    call: &mut Call,
    name: RepositoryName,
    reference: ManifestReference,
) -> Result<Response, Fault> {
    let tags = tags_of(call, &reference)?;
    let receiving = call.app.uploads.permit()?;
    let bytes = read(call).await?;
    drop(receiving);
    let (expected, algorithm) = match &reference {
        ManifestReference::Digest(digest) => (Some(digest), digest.algorithm()),
        ManifestReference::Tag(_) => (None, Algorithm::Sha256),
    };
    let digest = Digest::of(algorithm, &bytes);
    if let Some(expected) = expected.filter(|expected| **expected != digest) {
        return Err(Fault::digest_mismatch(expected, &digest));
    }
    let submission = Submission::parse(bytes, digest, call.header(&CONTENT_TYPE))?;
    submission.require_known_type()?;
    let submission = Arc::new(submission);
    let condition = Condition::of(call, &reference);
    let writing = call.app.writing(&name).await;
    let (writer, owned, kept, named) =
        (call.app.clone(), name.clone(), submission.clone(), tags.clone());
    let stored = tokio::task::spawn_blocking(move || {
        // Until the tag is written: nobody comes between the look and the change.
        let _writing = writing;
        condition.check(&writer.repositories, &owned)?;
        require_references(&writer, &owned, &kept)?;
        store(&writer.repositories, &writer.content, &owned, &kept, &named)
            .map_err(|error| Fault::io("store a manifest", &error))
    });
    stored.await.map_err(|error| Fault::internal("store a manifest", &error))??;
    Ok(created(&name, &submission, &tags, &reference))
}

fn created(
    name: &RepositoryName,
    submission: &Submission,
    tags: &[Tag],
    reference: &ManifestReference,
) -> Response {
    let mut response = empty(StatusCode::CREATED);
    let digest = submission.digest();
    set(&mut response, LOCATION, &format!("/v2/{name}/manifests/{digest}"));
    set(&mut response, DOCKER_CONTENT_DIGEST, &digest.to_string());
    if let Some(subject) = submission.subject() {
        set(&mut response, OCI_SUBJECT, &subject.to_string());
    }
    if matches!(reference, ManifestReference::Digest(_)) {
        for tag in tags {
            if let Ok(value) = tag.as_str().parse() {
                response.headers_mut().append(OCI_TAG, value);
            }
        }
    }
    response
}

/// The tags that the push names: the reference, and any number of `tag` parameters.
fn tags_of(call: &Call, reference: &ManifestReference) -> Result<Vec<Tag>, Fault> {
    let mut tags = BTreeSet::new();
    if let ManifestReference::Tag(tag) = reference {
        tags.insert(tag.clone());
    }
    for (_, text) in call.query.iter().filter(|(key, _)| key == "tag") {
        tags.insert(text.parse::<Tag>()?);
    }
    if tags.len() > limits::TAGS_PER_PUT_MAX {
        let message = format!("at most {} tags in one push", limits::TAGS_PER_PUT_MAX);
        return Err(
            Fault::new(Code::ManifestInvalid, message).with_status(StatusCode::URI_TOO_LONG)
        );
    }
    Ok(tags.into_iter().collect())
}

/// The whole body, or 413.
async fn read(call: &mut Call) -> Result<Bytes, Fault> {
    let limit = call.app.limits.manifest_bytes;
    let over = || {
        Fault::new(Code::ManifestInvalid, format!("the manifest is larger than {limit} bytes"))
            .with_status(StatusCode::PAYLOAD_TOO_LARGE)
    };
    let announced = call.header(&CONTENT_LENGTH).and_then(|text| text.parse::<u64>().ok());
    if announced.is_some_and(|length| length > limit) {
        return Err(over());
    }
    call.body()?.whole(limit, over).await
}

/// `If-Match` and `If-None-Match` on a tag: two writers cannot overwrite each other unseen
/// (distribution-spec 1.1, "Referrers Tag Schema", on conditional requests).
struct Condition {
    tag: Option<Tag>,
    expected: Option<String>,
    forbidden: Option<String>,
}

impl Condition {
    fn of(call: &Call, reference: &ManifestReference) -> Self {
        let header = |name| call.header(name).map(str::to_owned);
        let tag = match reference {
            ManifestReference::Tag(tag) => Some(tag.clone()),
            ManifestReference::Digest(_) => None,
        };
        Self { tag, expected: header(&IF_MATCH), forbidden: header(&IF_NONE_MATCH) }
    }

    /// Blocks on disk; the caller holds the right to write.
    fn check(&self, repositories: &Repositories, name: &RepositoryName) -> Result<(), Fault> {
        let Some(tag) = &self.tag else { return Ok(()) };
        if self.expected.is_none() && self.forbidden.is_none() {
            return Ok(());
        }
        let current = repositories.tag(name, tag).map_err(|e| Fault::io("read a tag", &e))?;
        let etag = current.map(|digest| format!("\"{digest}\""));
        let matches = |condition: &String| {
            let equal = |etag: &String| condition == "*" || condition.contains(etag.as_str());
            etag.as_ref().is_some_and(equal)
        };
        let is_expected = self.expected.as_ref().is_none_or(matches);
        if is_expected && !self.forbidden.as_ref().is_some_and(matches) {
            return Ok(());
        }
        let message =
            format!("tag {tag} of {name} is not what the condition expects; read it again");
        Err(Fault::new(Code::Unsupported, message).with_status(StatusCode::PRECONDITION_FAILED))
    }
}

/// code-5: whatever gets a name is complete. The subject is not asked for (it MUST be accepted
/// when missing), nor are layers that must not be distributed.
fn require_references(
    app: &App,
    name: &RepositoryName,
    submission: &Submission,
) -> Result<(), Fault> {
    let act = "look for referenced content";
    let mut missing = Vec::new();
    for (kind, descriptor) in submission.references() {
        let sparse = app.missing_references == MissingReferences::AcceptSparseIndexes;
        if kind == Kind::Manifest && sparse {
            continue;
        }
        let size = size_in(app, name, kind, descriptor.digest()).map_err(|e| Fault::io(act, &e))?;
        match size {
            None => missing.push(descriptor.digest().clone()),
            Some(size) if size != descriptor.size() => {
                let (digest, claimed) = (descriptor.digest(), descriptor.size());
                let message =
                    format!("{digest} has {size} bytes, not {claimed} as the manifest says");
                return Err(Fault::new(Code::ManifestInvalid, message));
            }
            Some(_) => {}
        }
    }
    missing.sort();
    missing.dedup();
    missing.truncate(limits::MISSING_NAMED_MAX);
    if missing.is_empty() { Ok(()) } else { Err(Fault::manifest_blobs_unknown(name, &missing)) }
}

fn size_in(
    app: &App,
    name: &RepositoryName,
    kind: Kind,
    digest: &Digest,
) -> io::Result<Option<u64>> {
    let linked = match kind {
        Kind::Blob => app.repositories.blob(name, digest)?,
        Kind::Manifest => app.repositories.manifest(name, digest)?.map(|link| link.size),
    };
    // The link alone is a promise: the content must still be in the store, and stay there.
    match linked {
        Some(_) => app.content.rely(digest),
        None => Ok(None),
    }
}

/// Content first, then the link, then what makes it found: a crash leaves no name without
/// content behind it.
pub(crate) fn store(
    repositories: &Repositories,
    content: &Content,
    name: &RepositoryName,
    submission: &Submission,
    tags: &[Tag],
) -> io::Result<()> {
    let digest = submission.digest();
    let media_type = submission.media_type().parse().unwrap_or(MediaType::OciManifest);
    let size = submission.bytes().len() as u64;
    content.put(&Descriptor::new(media_type, digest.clone(), size), submission.bytes())?;
    let media_type = submission.media_type().to_owned();
    let link = ManifestLink { media_type, size, subject: submission.subject().cloned() };
    repositories.link_manifest(name, digest, &link)?;
    if let Some(subject) = submission.subject() {
        repositories.add_referrer(name, subject, &submission.as_referrer())?;
    }
    for tag in tags {
        repositories.set_tag(name, tag, digest)?;
    }
    repositories.settle(name, digest, tags)
}

/// end-9: a tag alone, or a manifest with every tag that means it.
pub(super) async fn delete(
    call: &Call,
    name: RepositoryName,
    reference: ManifestReference,
) -> Result<Response, Fault> {
    if call.app.delete == Switch::Off {
        return Err(Fault::disabled("deleting manifests"));
    }
    let writing = call.app.writing(&name).await;
    let (repositories, owned, target) =
        (call.app.repositories.clone(), name.clone(), reference.clone());
    let (removed, exists) = blocking("delete a manifest", move || {
        let _writing = writing;
        let removed = match &target {
            ManifestReference::Tag(tag) => repositories.remove_tag(&owned, tag)?,
            ManifestReference::Digest(digest) => remove(&repositories, &owned, digest)?,
        };
        Ok((removed, repositories.exists(&owned)?))
    })
    .await?;
    match (removed, exists) {
        (true, _) => Ok(empty(StatusCode::ACCEPTED)),
        (false, true) => Err(Fault::manifest_unknown(&name, &reference.to_string())),
        (false, false) => Err(Fault::name_unknown(&name)),
    }
}

/// Names go before what they name.
fn remove(repositories: &Repositories, name: &RepositoryName, digest: &Digest) -> io::Result<bool> {
    let Some(link) = repositories.manifest(name, digest)? else { return Ok(false) };
    for tag in repositories.tags_of(name, digest)? {
        repositories.remove_tag(name, &tag)?;
    }
    if let Some(subject) = &link.subject {
        repositories.remove_referrer(name, subject, digest)?;
    }
    repositories.unlink_manifest(name, digest)
}

#[cfg(test)]
mod tests;
