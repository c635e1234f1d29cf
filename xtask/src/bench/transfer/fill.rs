//! A store of very many small images, written as the layout that a store is: `cargo xtask bench fill ROOT FROM TO NAMED`.
//!
//! Run in a process that was built for release, as the limit is: it hashes a hundred thousand files.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::shell::{self, Context, Failure, Result};

/// Blobs of one image: manifest, config and layers.
pub(super) const BLOBS_PER_IMAGE: usize = 8;

/// Writes the images `from` up to `to`, those below `named` with a name.
pub(super) fn fill(root: &Path, store: &Path, from: usize, to: usize, named: usize) -> Result<()> {
    let mut command = super::floor::optimised(root, "fill")?;
    command.arg(store).args([from, to, named].map(|number| number.to_string()));
    shell::read(&mut command).map(drop)
}

/// The process that writes.
pub(in crate::bench) fn main(args: &[String]) -> Result<()> {
    let [root, from, to, named] = args else {
        return Err(Failure::new("usage: bench fill ROOT FROM TO NAMED"));
    };
    let number = |text: &String| text.parse::<usize>().context(format_args!("read {text}"));
    let (from, to, named) = (number(from)?, number(to)?, number(named)?);
    let blobs = Path::new(root).join("blobs/sha256");
    fs::create_dir_all(&blobs).context("make the folder of the blobs")?;
    let mut names = Vec::new();
    for image in from..to {
        let mut entry = write_image(&blobs, image)?;
        if image < named {
            let name = format!("docker.io/library/image{image}:latest");
            entry["annotations"] = json!({"org.opencontainers.image.ref.name": name});
            names.push(entry);
        }
    }
    if from == 0 {
        let index = json!({"schemaVersion": 2, "manifests": names});
        let path = Path::new(root).join("index.json");
        fs::write(path, index.to_string()).context("write index.json")?;
    }
    Ok(())
}

/// The two lowest layers are those of all images, as with a base; the others are its own.
fn write_image(blobs: &Path, image: usize) -> Result<Value> {
    let layer = |n: usize| format!("layer {n} of image {image}").into_bytes();
    let mut layers = Vec::new();
    let mut diff_ids = Vec::new();
    for n in 0..BLOBS_PER_IMAGE - 2 {
        let bytes = layer(n);
        diff_ids.push(digest(&bytes));
        layers.push(put(blobs, "application/vnd.oci.image.layer.v1.tar", &bytes)?);
    }
    let labels: BTreeMap<String, String> =
        (0..4).map(|n| (format!("org.example.label{n}"), format!("value {image}"))).collect();
    let steps: Vec<Value> = (0..BLOBS_PER_IMAGE - 2)
        .map(|n| {
            json!({
                "created": "2026-01-01T00:00:00Z", "created_by": format!("RUN make step {n} # buildkit"),
                "comment": "buildkit.dockerfile.v0",
            })
        })
        .collect();
    let config = json!({
        "architecture": "amd64", "os": "linux", "created": "2026-01-01T00:00:00Z",
        "config": {"Env": ["PATH=/usr/bin:/bin"], "Cmd": ["sh"], "Labels": labels},
        "rootfs": {"type": "layers", "diff_ids": diff_ids}, "history": steps,
    });
    let config = config.to_string().into_bytes();
    let config = put(blobs, "application/vnd.oci.image.config.v1+json", &config)?;
    let media_type = "application/vnd.oci.image.manifest.v1+json";
    let manifest = json!({
        "schemaVersion": 2, "mediaType": media_type, "config": config, "layers": layers,
    });
    put(blobs, media_type, manifest.to_string().as_bytes())
}

fn put(blobs: &Path, media_type: &str, bytes: &[u8]) -> Result<Value> {
    let digest = digest(bytes);
    let path = blobs.join(digest.trim_start_matches("sha256:"));
    fs::write(&path, bytes).context(format_args!("write {}", path.display()))?;
    Ok(json!({"mediaType": media_type, "digest": digest, "size": bytes.len()}))
}

fn digest(bytes: &[u8]) -> String {
    let hash = Sha256::digest(bytes);
    let hex: String = hash.iter().map(|byte| format!("{byte:02x}")).collect();
    format!("sha256:{hex}")
}
