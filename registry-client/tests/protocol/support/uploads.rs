//! Upload sessions of the test registry. Bytes of a chunk are kept as they come.

use axum::body::Body;
use axum::extract::Request;
use axum::http::{Method, StatusCode};
use futures_util::StreamExt;
use oci::Digest;

use super::registry::{Reply, TestRegistry, error, query, reply};

#[derive(Default)]
pub(crate) struct Upload {
    bytes: Vec<u8>,
    /// Grows with every answer, so that an old location is recognised.
    state: u64,
}

pub(super) async fn serve(
    registry: &TestRegistry,
    name: &str,
    reference: &str,
    request: Request,
) -> Reply {
    if request.method() == Method::POST {
        return match query(&request, "digest") {
            Some(digest) => post_whole(registry, name, &digest, request).await,
            None => begin(registry, name, &request),
        };
    }
    let Ok(id) = reference.parse::<u64>() else { return error(404, "BLOB_UPLOAD_UNKNOWN") };
    if !registry.contents.lock().expect("lock").uploads.contains_key(&id) {
        return error(404, "BLOB_UPLOAD_UNKNOWN");
    }
    match request.method().as_str() {
        "GET" => status(registry, name, id, 204),
        "PATCH" => patch(registry, name, id, request).await,
        "PUT" => close(registry, name, id, request).await,
        "DELETE" => {
            registry.contents.lock().expect("lock").uploads.remove(&id);
            reply(204, &[], "")
        }
        _ => Err(StatusCode::METHOD_NOT_ALLOWED),
    }
}

async fn post_whole(registry: &TestRegistry, name: &str, digest: &str, request: Request) -> Reply {
    if !registry.contents.lock().expect("lock").abilities.single_post {
        return begin(registry, name, &request);
    }
    let bytes = super::registry::whole(request.into_body()).await;
    match digest.parse::<Digest>() {
        Ok(digest) if Digest::of(digest.algorithm(), &bytes) == digest => {
            registry.put_blob_as(name, digest, &bytes);
            reply(201, &[("location", "/v2/")], "")
        }
        _ => error(400, "DIGEST_INVALID"),
    }
}

fn begin(registry: &TestRegistry, name: &str, request: &Request) -> Reply {
    let mut contents = registry.contents.lock().expect("lock");
    let mount = query(request, "mount").and_then(|text| text.parse::<Digest>().ok());
    let from = query(request, "from");
    let finds = contents.abilities.finds_mounts;
    let may_take = |path: &String| from.as_ref().map_or(finds, |from| from == path);
    if let Some(digest) = mount
        && let Some(bytes) = contents
            .blobs
            .iter()
            .find(|((path, found), _)| *found == digest && may_take(path))
            .map(|(_, bytes)| bytes.clone())
    {
        contents.blobs.insert((name.to_owned(), digest), bytes);
        return reply(201, &[("location", "/v2/")], "");
    }
    contents.next_upload += 1;
    let id = contents.next_upload;
    contents.uploads.insert(id, Upload::default());
    let location = format!("/v2/{name}/blobs/uploads/{id}?_state=0");
    let mut headers = vec![("location", location.as_str())];
    let chunk_min = contents.abilities.chunk_min.map(|bytes| bytes.to_string());
    if let Some(bytes) = &chunk_min {
        headers.push(("oci-chunk-min-length", bytes));
    }
    reply(202, &headers, "")
}

fn status(registry: &TestRegistry, name: &str, id: u64, code: u16) -> Reply {
    let mut contents = registry.contents.lock().expect("lock");
    let Some(upload) = contents.uploads.get_mut(&id) else {
        return error(404, "BLOB_UPLOAD_UNKNOWN");
    };
    upload.state += 1;
    let location = format!("/v2/{name}/blobs/uploads/{id}?_state={}", upload.state);
    let range = format!("0-{}", upload.bytes.len().saturating_sub(1));
    reply(code, &[("location", &location), ("range", &range)], "")
}

async fn patch(registry: &TestRegistry, name: &str, id: u64, request: Request) -> Reply {
    let range = request.headers().get("content-range").and_then(|v| v.to_str().ok());
    let start = range.and_then(|range| range.split_once('-')).map(|(start, _)| start.to_owned());
    let start: usize = start.and_then(|start| start.parse().ok()).expect("a chunk has a range");
    let have = registry.contents.lock().expect("lock").uploads[&id].bytes.len();
    if start != have {
        return error(416, "RANGE_INVALID");
    }
    let whole = receive(registry, id, request.into_body()).await;
    let mut contents = registry.contents.lock().expect("lock");
    let forgets = whole.is_err() && !contents.abilities.keeps_partial_chunks;
    if let Some(upload) = contents.uploads.get_mut(&id).filter(|_| forgets) {
        upload.bytes.truncate(have);
    }
    drop(contents);
    status(registry, name, id, 202)
}

async fn receive(registry: &TestRegistry, id: u64, body: Body) -> Result<(), axum::Error> {
    let mut pieces = body.into_data_stream();
    while let Some(piece) = pieces.next().await {
        let piece = piece?;
        let mut contents = registry.contents.lock().expect("lock");
        contents.body_bytes_in += piece.len() as u64;
        if let Some(upload) = contents.uploads.get_mut(&id) {
            upload.bytes.extend_from_slice(&piece);
        }
    }
    Ok(())
}

async fn close(registry: &TestRegistry, name: &str, id: u64, request: Request) -> Reply {
    let digest = query(&request, "digest").and_then(|text| text.parse::<Digest>().ok());
    let Some(digest) = digest else { return error(400, "DIGEST_INVALID") };
    if receive(registry, id, request.into_body()).await.is_err() {
        return error(400, "BLOB_UPLOAD_INVALID");
    }
    let mut contents = registry.contents.lock().expect("lock");
    let Some(upload) = contents.uploads.remove(&id) else {
        return error(404, "BLOB_UPLOAD_UNKNOWN");
    };
    if Digest::of(digest.algorithm(), &upload.bytes) != digest {
        return error(400, "DIGEST_INVALID");
    }
    contents.blobs.insert((name.to_owned(), digest.clone()), upload.bytes);
    let location = format!("/v2/{name}/blobs/{digest}");
    reply(201, &[("location", &location)], "")
}
