//! Pushing blobs (distribution-spec 1.1, "Pushing blobs"): end-4, end-5, end-6, end-11, end-13,
//! end-14.

use axum::response::Response;
use http::StatusCode;
use http::header::{CONTENT_LENGTH, CONTENT_RANGE, HeaderName, LOCATION, RANGE};
use oci::{Algorithm, Digest};

use super::{Call, created_blob, empty, set};
use crate::access::Action;
use crate::fault::{self, Code, Fault};
use crate::limits;
use crate::name::RepositoryName;
use crate::range::{ChunkRange, received};
use crate::repository::UploadId;
use crate::uploads::{Bounds, Upload, blocking};

/// The session's id, as Docker's registry names it beside the location.
const UPLOAD_UUID: HeaderName = HeaderName::from_static("docker-upload-uuid");

/// end-4, end-11: mounts a blob, takes it whole, or opens a session.
pub(super) async fn start(call: &mut Call, name: RepositoryName) -> Result<Response, Fault> {
    if let Some(mount) = call.parameter("mount") {
        let digest = mount.parse()?;
        let from = call.parameter("from").filter(|from| !from.is_empty());
        let from = from.map(str::parse::<RepositoryName>).transpose()?;
        // A mount that cannot be made opens a session, so that the client can go on (end-11).
        return match mount_blob(call, &name, &digest, from).await? {
            true => Ok(created_blob(&name, &digest)),
            false => open(call, &name, digest.algorithm()).await,
        };
    }
    if let Some(digest) = call.parameter("digest") {
        let digest = digest.parse()?;
        return monolithic(call, &name, &digest).await;
    }
    let algorithm = call.parameter("digest-algorithm").map(fault::algorithm).transpose()?;
    open(call, &name, algorithm.unwrap_or(Algorithm::Sha256)).await
}

/// end-4a: 202 and a location that holds a UUID.
async fn open(call: &Call, name: &RepositoryName, algorithm: Algorithm) -> Result<Response, Fault> {
    let upload = call.app.uploads.start(name, algorithm).await?;
    Ok(progress(StatusCode::ACCEPTED, name, &upload))
}

/// end-4b: the whole blob in the POST.
async fn monolithic(
    call: &mut Call,
    name: &RepositoryName,
    digest: &Digest,
) -> Result<Response, Fault> {
    let upload = call.app.uploads.start(name, digest.algorithm()).await?;
    let (upload, received) = match body_into(call, upload, None).await {
        Ok(received) => received,
        Err((upload, fault)) => {
            call.app.uploads.cancel(upload).await?;
            return Err(fault);
        }
    };
    if let Err(fault) = received {
        // The client never learnt the session's location: nobody can go on with it.
        call.app.uploads.cancel(upload).await?;
        return Err(fault);
    }
    call.app.uploads.finish(upload, digest).await?;
    Ok(created_blob(name, digest))
}

/// end-5: a chunk with its place, or a stream that goes to the end.
pub(super) async fn patch(
    call: &mut Call,
    name: RepositoryName,
    id: UploadId,
) -> Result<Response, Fault> {
    let upload = call.app.uploads.find(&name, &id).await?;
    let chunk = chunk_range(call, &name, &upload)?;
    let (upload, received) = body_into(call, upload, chunk).await.map_err(|(_, fault)| fault)?;
    received?;
    Ok(progress(StatusCode::ACCEPTED, &name, &upload))
}

/// end-6: the last chunk, if any, and the end of the session.
pub(super) async fn put(
    call: &mut Call,
    name: RepositoryName,
    id: UploadId,
) -> Result<Response, Fault> {
    let missing = || Fault::new(Code::DigestInvalid, "the digest parameter is missing");
    let digest: Digest = call.parameter("digest").ok_or_else(missing)?.parse()?;
    let upload = call.app.uploads.find(&name, &id).await?;
    let chunk = chunk_range(call, &name, &upload)?;
    let (upload, received) = body_into(call, upload, chunk).await.map_err(|(_, fault)| fault)?;
    received?;
    call.app.uploads.finish(upload, &digest).await?;
    Ok(created_blob(&name, &digest))
}

/// end-13: how far the upload came.
pub(super) async fn status(
    call: &Call,
    name: RepositoryName,
    id: UploadId,
) -> Result<Response, Fault> {
    let upload = call.app.uploads.find(&name, &id).await?;
    Ok(progress(StatusCode::NO_CONTENT, &name, &upload))
}

/// end-14: forgets the upload.
pub(super) async fn cancel(
    call: &Call,
    name: RepositoryName,
    id: UploadId,
) -> Result<Response, Fault> {
    let upload = call.app.uploads.find(&name, &id).await?;
    call.app.uploads.cancel(upload).await?;
    Ok(empty(StatusCode::NO_CONTENT))
}

/// Checks the place of a chunk before any of it is read.
fn chunk_range(
    call: &Call,
    name: &RepositoryName,
    upload: &Upload,
) -> Result<Option<ChunkRange>, Fault> {
    let Some(text) = call.header(&CONTENT_RANGE) else { return Ok(None) };
    let chunk = ChunkRange::parse(text).ok_or_else(|| {
        let message = format!("Content-Range {text:?} is not of the form <first>-<last>");
        Fault::new(Code::BlobUploadInvalid, message)
    })?;
    let length = call.header(&CONTENT_LENGTH).and_then(|text| text.parse::<u64>().ok());
    if chunk.first != upload.offset() {
        let message = format!("the chunk starts at {}, expected {}", chunk.first, upload.offset());
        let mut fault = Fault::new(Code::BlobUploadInvalid, message)
            .with_status(StatusCode::RANGE_NOT_SATISFIABLE);
        for (header, value) in place(name, upload) {
            fault = fault.with_header(header, &value);
        }
        return Err(fault);
    }
    match length {
        Some(length) if length != chunk.length() => Err(Fault::new(
            Code::SizeInvalid,
            format!("Content-Length is {length} but Content-Range has {} bytes", chunk.length()),
        )),
        _ => Ok(Some(chunk)),
    }
}

type Received = (Upload, Result<(), Fault>);

/// Reads the request's body into the session. The task outlives this handler, which is dropped
/// when its connection breaks: what arrived must reach the disk before the session is free.
async fn body_into(
    call: &mut Call,
    upload: Upload,
    chunk: Option<ChunkRange>,
) -> Result<Received, (Upload, Fault)> {
    let permit = match call.app.uploads.permit() {
        Ok(permit) => permit,
        Err(fault) => return Err((upload, fault)),
    };
    let body = match call.take_body() {
        Ok(body) => body,
        Err(fault) => return Err((upload, fault)),
    };
    let blob_max = Some(call.app.limits.blob_bytes).filter(|max| *max > 0);
    let bounds = Bounds { exactly: chunk.map(ChunkRange::length), blob_max };
    let id = upload.id().clone();
    let task = tokio::spawn(async move {
        let received = upload.receive(body, bounds).await;
        drop(permit);
        received
    });
    match task.await {
        Ok(received) => Ok(received),
        // A panic of the task: the session is lost with it, its file is not.
        Err(error) => {
            tracing::error!(upload = %id, %error, "an upload task failed");
            std::panic::resume_unwind(error.into_panic())
        }
    }
}

fn progress(status: StatusCode, name: &RepositoryName, upload: &Upload) -> Response {
    let mut response = empty(status);
    for (header, value) in place(name, upload) {
        set(&mut response, header, &value);
    }
    response
}

fn place(name: &RepositoryName, upload: &Upload) -> [(HeaderName, String); 3] {
    [
        (LOCATION, format!("/v2/{name}/blobs/uploads/{}", upload.id())),
        (RANGE, received(upload.offset())),
        (UPLOAD_UUID, upload.id().to_string()),
    ]
}

/// end-11: links a blob of another repository. Without `from`, any repository that the caller
/// may read will do: a mount must not give out what a pull would not.
async fn mount_blob(
    call: &Call,
    name: &RepositoryName,
    digest: &Digest,
    from: Option<RepositoryName>,
) -> Result<bool, Fault> {
    let (repositories, content) = (call.app.repositories.clone(), call.app.content.clone());
    let (name, digest, identity) = (name.clone(), digest.clone(), call.identity.clone());
    blocking("mount a blob", move || {
        let sources = match from {
            Some(from) => vec![from],
            None if content.rely(&digest)?.is_none() => return Ok(false),
            None => repositories.list()?,
        };
        let readable = sources.into_iter().filter(|source| identity.may(Action::Pull, source));
        for source in readable.take(limits::ANONYMOUS_MOUNT_REPOSITORIES_MAX) {
            if repositories.blob(&source, &digest)?.is_some()
                && let Some(size) = content.rely(&digest)?
            {
                repositories.link_blob(&name, &digest, size)?;
                return Ok(true);
            }
        }
        Ok(false)
    })
    .await
}
