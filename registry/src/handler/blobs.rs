//! Pulling and deleting blobs (distribution-spec 1.1, "Pulling blobs", "Deleting Blobs"): end-2,
//! end-10.

use std::fs::File;

use axum::body::Body;
use axum::response::Response;
use http::StatusCode;
use http::header::{
    ACCEPT_RANGES, CACHE_CONTROL, CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE, ETAG, IF_NONE_MATCH,
    IF_RANGE, RANGE,
};
use oci::Digest;

use super::{App, Call, DOCKER_CONTENT_DIGEST, empty, set};
use crate::body::FileBody;
use crate::config::Switch;
use crate::fault::{Code, Fault};
use crate::name::RepositoryName;
use crate::range::{Selection, select};
use crate::uploads::blocking;

/// end-2: the blob, a part of it, or its head. Only blobs that the repository links are there.
pub(super) async fn get(
    call: &Call,
    name: RepositoryName,
    digest: Digest,
) -> Result<Response, Fault> {
    if call.is_head() {
        // Who asks whether it is there will rely on the answer.
        let (repositories, owned, asked) =
            (call.app.repositories.clone(), name.clone(), digest.clone());
        blocking("renew a blob", move || repositories.renew_blob(&owned, &asked)).await?;
    }
    let opened = match open_linked(&call.app, &name, &digest).await? {
        Some(opened) => opened,
        None => match &call.app.pull_through {
            Some(pull_through) => return pull_through.blob(call, name, digest).await,
            None => return Err(unknown(call, &name, &digest).await),
        },
    };
    respond(call, &digest, opened)
}

/// Opens a blob through its repository.
pub(crate) async fn open_linked(
    app: &App,
    name: &RepositoryName,
    digest: &Digest,
) -> Result<Option<(File, u64)>, Fault> {
    let (repositories, content) = (app.repositories.clone(), app.content.clone());
    let (name, digest) = (name.clone(), digest.clone());
    blocking("open a blob", move || match repositories.blob(&name, &digest)? {
        Some(_) => content.read(&digest),
        None => Ok(None),
    })
    .await
}

/// Answers with an open blob.
pub(crate) fn respond(
    call: &Call,
    digest: &Digest,
    (file, size): (File, u64),
) -> Result<Response, Fault> {
    let etag = format!("\"{digest}\"");
    if call.header(&IF_NONE_MATCH).is_some_and(|known| known == "*" || known.contains(&etag)) {
        return Ok(described(empty(StatusCode::NOT_MODIFIED), digest));
    }
    // RFC 9110, 13.1.5: a range of another version is not what the client wants.
    let same = call.header(&IF_RANGE).is_none_or(|known| known == etag);
    let range = call.head.headers.get(RANGE).filter(|_| same && !call.is_head());
    let (status, first, end) = match select(range, size) {
        Selection::Whole => (StatusCode::OK, 0, size),
        Selection::Part { first, last } => (StatusCode::PARTIAL_CONTENT, first, last + 1),
        Selection::Unsatisfiable => {
            return Err(Fault::new(
                Code::SizeInvalid,
                format!("the blob has {size} bytes: the range holds none of them"),
            )
            .with_status(StatusCode::RANGE_NOT_SATISFIABLE)
            .with_header(CONTENT_RANGE, &format!("bytes */{size}")));
        }
    };
    let body = if call.is_head() {
        Body::empty()
    } else {
        Body::new(FileBody::new(file, first, end, call.app.pool.clone(), call.lane.clone()))
    };
    let mut response = described(Response::new(body), digest);
    *response.status_mut() = status;
    set(&mut response, CONTENT_LENGTH, &(end - first).to_string());
    if status == StatusCode::PARTIAL_CONTENT {
        set(&mut response, CONTENT_RANGE, &format!("bytes {first}-{}/{size}", end - 1));
    }
    Ok(response)
}

/// A whole blob from elsewhere than a file.
pub(crate) fn described_whole(body: Body, digest: &Digest, size: u64) -> Response {
    let mut response = described(Response::new(body), digest);
    set(&mut response, CONTENT_LENGTH, &size.to_string());
    response
}

fn described(mut response: Response, digest: &Digest) -> Response {
    set(&mut response, CONTENT_TYPE, "application/octet-stream");
    set(&mut response, DOCKER_CONTENT_DIGEST, &digest.to_string());
    set(&mut response, ETAG, &format!("\"{digest}\""));
    set(&mut response, ACCEPT_RANGES, "bytes");
    set(&mut response, CACHE_CONTROL, "max-age=31536000, immutable");
    response
}

/// Tells a missing repository from a missing blob.
async fn unknown(call: &Call, name: &RepositoryName, digest: &Digest) -> Fault {
    let (repositories, owned) = (call.app.repositories.clone(), name.clone());
    match blocking("look for a repository", move || repositories.exists(&owned)).await {
        Ok(true) => Fault::blob_unknown(name, digest),
        Ok(false) => Fault::name_unknown(name),
        Err(fault) => fault,
    }
}

/// end-10: takes the blob out of the repository. Its bytes go when no repository has it.
pub(super) async fn delete(
    call: &Call,
    name: RepositoryName,
    digest: Digest,
) -> Result<Response, Fault> {
    if call.app.delete == Switch::Off {
        return Err(Fault::disabled("deleting blobs"));
    }
    let (repositories, owned, target) =
        (call.app.repositories.clone(), name.clone(), digest.clone());
    let removed =
        blocking("delete a blob", move || repositories.unlink_blob(&owned, &target)).await?;
    if removed { Ok(empty(StatusCode::ACCEPTED)) } else { Err(unknown(call, &name, &digest).await) }
}
