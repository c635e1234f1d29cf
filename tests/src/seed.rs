//! Images put into a registry by its plain protocol, as any client would: no client of ours has a part in it.

use std::fs;

use serde_json::{Value, json};

use crate::fixture::{Layer, Layout, digest};
use crate::{Registry, http};

/// The architecture of this machine, in the words of images.
pub fn architecture() -> &'static str {
    if std::env::consts::ARCH == "aarch64" { "arm64" } else { "amd64" }
}

/// Bytes that do not compress, the same for the same seed.
pub fn noise(seed: u64, length: usize) -> Vec<u8> {
    let mut state = seed ^ 0x5851_f42d_4c95_7f2d;
    let mut bytes = Vec::with_capacity(length + 8);
    while bytes.len() < length {
        state = state.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(0x1405_7b7e_f767_814f);
        let mixed = (state ^ (state >> 29)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        bytes.extend_from_slice(&(mixed ^ (mixed >> 32)).to_le_bytes());
    }
    bytes.truncate(length);
    bytes
}

/// Uploads bytes in one request after the opening one.
#[track_caller]
pub fn put_blob(address: &str, repository: &str, bytes: &[u8]) -> String {
    let digest = oci::Digest::sha256(bytes).to_string();
    let path = format!("/v2/{repository}/blobs/uploads/");
    let start = http::request(address, "POST", &path, &[], b"").expect("POST");
    assert_eq!(start.status, 202, "{}", start.text());
    let location = start.header("location").expect("an upload has a location").to_owned();
    let path = location.split_once(address).map_or(location.as_str(), |(_, path)| path).to_owned();
    let mark = if path.contains('?') { '&' } else { '?' };
    let headers = [("Content-Type", "application/octet-stream")];
    let path = format!("{path}{mark}digest={digest}");
    let put = http::request(address, "PUT", &path, &headers, bytes).expect("PUT");
    assert_eq!(put.status, 201, "{}", put.text());
    digest
}

/// Puts a manifest or index under a tag or digest.
#[track_caller]
pub fn put_manifest(address: &str, repository: &str, reference: &str, bytes: &[u8]) {
    let parsed: Value = serde_json::from_slice(bytes).expect("a manifest is JSON");
    let media_type = parsed["mediaType"].as_str().expect("a manifest says its type");
    let path = format!("/v2/{repository}/manifests/{reference}");
    let put = http::request(address, "PUT", &path, &[("Content-Type", media_type)], bytes);
    let put = put.expect("PUT");
    assert_eq!(put.status, 201, "{}", put.text());
}

/// Copies everything behind a descriptor of a layout into a registry; the manifest itself goes under `reference`,
/// or its own digest where that is empty.
#[track_caller]
pub fn push(registry: &Registry, repository: &str, layout: &Layout, root: &Value, reference: &str) {
    let address = registry.address();
    let read = |descriptor: &Value| {
        let path = layout.path().join("blobs/sha256").join(&digest(descriptor)[7..]);
        fs::read(path).expect("a blob of the layout")
    };
    let bytes = read(root);
    let parsed: Value = serde_json::from_slice(&bytes).expect("JSON");
    for child in parsed["manifests"].as_array().into_iter().flatten() {
        push(registry, repository, layout, child, "");
    }
    let blobs = parsed["layers"].as_array().into_iter().flatten();
    for blob in blobs.chain(parsed.get("config")) {
        put_blob(address, repository, &read(blob));
    }
    let own = digest(root);
    put_manifest(address, repository, if reference.is_empty() { &own } else { reference }, &bytes);
}

/// An image with one file of this text, in a registry; gives the manifest's descriptor.
#[track_caller]
pub fn image(
    registry: &Registry,
    layout: &Layout,
    repository: &str,
    tag: &str,
    text: &str,
) -> Value {
    let layers =
        vec![Layer::new().file("shared", "in every image"), Layer::new().file("own", text)];
    let manifest = layout.image(layers, architecture(), json!({ "Cmd": ["/none"] }));
    push(registry, repository, layout, &manifest, tag);
    manifest
}

/// An artifact that refers to `subject`, as a layout's manifest; gives its descriptor.
pub fn referrer(layout: &Layout, subject: &Value, artifact_type: &str, text: &str) -> Value {
    let config = layout.blob("application/vnd.oci.empty.v1+json", b"{}");
    let content = layout.blob("text/plain", text.as_bytes());
    let media_type = "application/vnd.oci.image.manifest.v1+json";
    let subject = json!({
        "mediaType": subject["mediaType"], "digest": subject["digest"], "size": subject["size"],
    });
    let manifest = json!({
        "schemaVersion": 2, "mediaType": media_type, "artifactType": artifact_type,
        "config": config, "layers": [content], "subject": subject,
    });
    layout.blob(media_type, manifest.to_string().as_bytes())
}

/// The digests that a registry lists as referring to one.
#[track_caller]
pub fn referrers(registry: &Registry, repository: &str, subject: &str) -> Vec<String> {
    let answer = registry.get(&format!("/v2/{repository}/referrers/{subject}"));
    assert_eq!(answer.status, 200, "{}", answer.text());
    let index = answer.json();
    let listed = index["manifests"].as_array().into_iter().flatten();
    let mut digests: Vec<String> = listed.map(digest).collect();
    digests.sort();
    digests
}

/// The tags of a repository.
#[track_caller]
pub fn tags(registry: &Registry, repository: &str) -> Vec<String> {
    let answer = registry.get(&format!("/v2/{repository}/tags/list"));
    if answer.status == 404 {
        return Vec::new();
    }
    let list = answer.json();
    let tags = list["tags"].as_array().into_iter().flatten();
    tags.map(|tag| tag.as_str().expect("a tag is text").to_owned()).collect()
}

/// How many requests the embedded registry has answered, by endpoint and method: `("manifest", "GET")`.
#[track_caller]
pub fn requests(registry: &Registry) -> std::collections::BTreeMap<(String, String), u64> {
    let page = registry.get("/metrics").text();
    let mut counts = std::collections::BTreeMap::new();
    for line in page.lines().filter(|line| line.starts_with("wherry_registry_requests_total{")) {
        let label = |name: &str| {
            let rest = line.split_once(&format!("{name}=\"")).expect("a label").1;
            rest.split('"').next().expect("a value").to_owned()
        };
        let count: u64 = line.rsplit(' ').next().and_then(|n| n.parse().ok()).expect("a count");
        *counts.entry((label("endpoint"), label("method"))).or_default() += count;
    }
    counts
}
