//! Images that do not compress, put into a registry by plain requests: none of the tools has a part in it.

use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use super::http::{Answer, Connection};
use crate::shell::{Failure, Result};

const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const CONFIG: &str = "application/vnd.oci.image.config.v1+json";
const LAYER: &str = "application/vnd.oci.image.layer.v1.tar";
const SHARED_LAYERS: u64 = 6;
const OWN_LAYER_BYTES: u64 = 100 * 1024;
/// Own layers only where there are few tags: what a mirror without news costs is requests.
const TAGS_WITH_OWN_LAYERS: usize = 100;

/// Tags `v0000` and on, each an image of the same six layers of `layer` bytes and two of its own.
pub(super) fn family(address: &str, repository: &str, tags: usize, layer: u64) -> Result<()> {
    let mut registry = Registry { connection: Connection::open(address)?, repository };
    let mut shared = Vec::new();
    for n in 0..SHARED_LAYERS {
        shared.push(registry.layer(n, layer)?);
    }
    for tag in 0..tags {
        let mut layers = shared.clone();
        if tags <= TAGS_WITH_OWN_LAYERS {
            for n in 0..2 {
                layers.push(registry.layer(1_000 + tag as u64 * 2 + n, OWN_LAYER_BYTES)?);
            }
        }
        let diff_ids: Vec<&Value> = layers.iter().map(|layer| &layer["digest"]).collect();
        let config = json!({
            "architecture": "amd64", "os": "linux", "config": { "Labels": { "tag": tag.to_string() } },
            "rootfs": { "type": "layers", "diff_ids": diff_ids },
        });
        let config = registry.put(CONFIG, config.to_string().as_bytes())?;
        let manifest = json!({
            "schemaVersion": 2, "mediaType": MANIFEST, "config": config, "layers": layers,
        });
        registry.manifest(&format!("v{tag:04}"), manifest.to_string().as_bytes())?;
    }
    Ok(())
}

/// A blob of noise; gives its digest.
pub(super) fn blob(address: &str, repository: &str, seed: u64, size: u64) -> Result<String> {
    let mut registry = Registry { connection: Connection::open(address)?, repository };
    let layer = registry.layer(seed, size)?;
    Ok(layer["digest"].as_str().unwrap_or_default().to_owned())
}

struct Registry<'a> {
    connection: Connection,
    repository: &'a str,
}

impl Registry<'_> {
    fn layer(&mut self, seed: u64, size: u64) -> Result<Value> {
        let size = usize::try_from(size).map_err(|_| Failure::new("a layer that is too large"))?;
        self.put(LAYER, &noise(seed, size))
    }

    fn put(&mut self, media_type: &str, bytes: &[u8]) -> Result<Value> {
        let digest = digest(bytes);
        let path = format!("/v2/{}/blobs/uploads/", self.repository);
        let opened = self.connection.send_body("POST", &path, "application/octet-stream", &[])?;
        let opened = expect(opened, 202, &path)?;
        let location = opened.location.unwrap_or_default();
        let path = match location.split_once("://") {
            Some((_, rest)) => rest.find('/').map_or("/", |at| &rest[at..]).to_owned(),
            None => location,
        };
        let mark = if path.contains('?') { '&' } else { '?' };
        let path = format!("{path}{mark}digest={digest}");
        let put = self.connection.send_body("PUT", &path, "application/octet-stream", bytes)?;
        expect(put, 201, &path)?;
        Ok(json!({ "mediaType": media_type, "digest": digest, "size": bytes.len() }))
    }

    fn manifest(&mut self, tag: &str, bytes: &[u8]) -> Result<()> {
        let path = format!("/v2/{}/manifests/{tag}", self.repository);
        let put = self.connection.send_body("PUT", &path, MANIFEST, bytes)?;
        expect(put, 201, &path).map(drop)
    }
}

fn expect(answer: Answer, status: u16, path: &str) -> Result<Answer> {
    match answer.status == status {
        true => Ok(answer),
        false => {
            Err(Failure::new(format!("{path}: {} where {status} was expected", answer.status)))
        }
    }
}

fn digest(bytes: &[u8]) -> String {
    let hash = Sha256::digest(bytes);
    hash.iter().fold("sha256:".to_owned(), |text, byte| format!("{text}{byte:02x}"))
}

/// Bytes that do not compress, the same for the same seed.
fn noise(seed: u64, length: usize) -> Vec<u8> {
    let mut state = seed ^ 0x9e37_79b9_7f4a_7c15;
    let mut bytes = Vec::with_capacity(length + 8);
    while bytes.len() < length {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.extend_from_slice(&state.wrapping_mul(0x2545_f491_4f6c_dd1d).to_le_bytes());
    }
    bytes.truncate(length);
    bytes
}
