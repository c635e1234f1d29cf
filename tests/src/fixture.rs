//! Images made by hand, byte by byte, as OCI layouts: what no builder of ours had a part in.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};

use oci::Digest;
use serde_json::{Value, json};

/// A layer under construction: a tar in memory.
pub struct Layer {
    tar: tar::Builder<Vec<u8>>,
}

impl Layer {
    /// Without entries.
    pub fn new() -> Self {
        Layer { tar: tar::Builder::new(Vec::new()) }
    }

    /// With a file of this text.
    pub fn file(mut self, name: &str, text: &str) -> Self {
        let mut header = tar::Header::new_gnu();
        header.set_size(text.len() as u64);
        header.set_mode(0o644);
        header.set_mtime(1_700_000_000);
        self.tar
            .append_data(&mut header, name, text.as_bytes())
            .expect("append to a tar in memory");
        self
    }

    /// With an entry whose name is written as it is, however wrong it may be.
    pub fn raw(mut self, name: &str, kind: tar::EntryType, link: &str) -> Self {
        let mut header = tar::Header::new_gnu();
        header.set_entry_type(kind);
        header.set_size(0);
        header.set_mode(0o644);
        let gnu = header.as_gnu_mut().expect("it was made as GNU");
        gnu.name[..name.len()].copy_from_slice(name.as_bytes());
        gnu.linkname[..link.len()].copy_from_slice(link.as_bytes());
        header.set_cksum();
        self.tar.append(&header, std::io::empty()).expect("append to a tar in memory");
        self
    }

    /// The uncompressed bytes.
    pub fn tar(self) -> Vec<u8> {
        self.tar.into_inner().expect("finish a tar in memory")
    }
}

impl Default for Layer {
    fn default() -> Self {
        Layer::new()
    }
}

/// Gzip of some bytes.
pub fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    encoder.write_all(bytes).expect("compress in memory");
    encoder.finish().expect("compress in memory")
}

/// An OCI image layout on disk.
pub struct Layout {
    path: PathBuf,
    manifests: Vec<Value>,
}

impl Layout {
    /// An empty layout in this folder.
    pub fn new(path: &Path) -> Self {
        fs::create_dir_all(path.join("blobs/sha256")).expect("make the layout");
        fs::write(path.join("oci-layout"), r#"{"imageLayoutVersion":"1.0.0"}"#)
            .expect("write oci-layout");
        let layout = Layout { path: path.to_path_buf(), manifests: Vec::new() };
        layout.write_index();
        layout
    }

    /// The folder.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Stores bytes and gives their descriptor.
    pub fn blob(&self, media_type: &str, bytes: &[u8]) -> Value {
        let digest = Digest::sha256(bytes);
        fs::write(self.path.join("blobs/sha256").join(digest.hex()), bytes).expect("write a blob");
        json!({ "mediaType": media_type, "digest": digest.to_string(), "size": bytes.len() })
    }

    /// An image of these layers for a platform; gives the descriptor of its manifest.
    pub fn image(&self, layers: Vec<Layer>, architecture: &str, config: Value) -> Value {
        let mut diff_ids = Vec::new();
        let mut descriptors = Vec::new();
        for layer in layers {
            let tar = layer.tar();
            diff_ids.push(Digest::sha256(&tar).to_string());
            descriptors.push(self.blob("application/vnd.oci.image.layer.v1.tar+gzip", &gzip(&tar)));
        }
        let config = json!({
            "architecture": architecture, "os": "linux", "created": "2023-11-14T22:13:20Z",
            "config": config, "rootfs": { "type": "layers", "diff_ids": diff_ids },
            "history": diff_ids.iter().map(|_| json!({ "created_by": "fixture" })).collect::<Vec<_>>(),
        });
        let config =
            self.blob("application/vnd.oci.image.config.v1+json", config.to_string().as_bytes());
        let media_type = "application/vnd.oci.image.manifest.v1+json";
        let manifest = json!({ "schemaVersion": 2, "mediaType": media_type, "config": config, "layers": descriptors });
        self.blob(media_type, manifest.to_string().as_bytes())
    }

    /// An index of manifests with their architectures; gives its descriptor.
    pub fn index(&self, manifests: &[(Value, &str)]) -> Value {
        let entries: Vec<Value> = manifests
            .iter()
            .map(|(manifest, architecture)| {
                let mut entry = manifest.clone();
                entry["platform"] = json!({ "os": "linux", "architecture": architecture });
                entry
            })
            .collect();
        let media_type = "application/vnd.oci.image.index.v1+json";
        let index = json!({ "schemaVersion": 2, "mediaType": media_type, "manifests": entries });
        self.blob(media_type, index.to_string().as_bytes())
    }

    /// Names a manifest or index.
    pub fn tag(&mut self, descriptor: &Value, name: &str) {
        let mut entry = descriptor.clone();
        entry["annotations"] = json!({ "org.opencontainers.image.ref.name": name });
        self.manifests.push(entry);
        self.write_index();
    }

    fn write_index(&self) {
        let index = json!({ "schemaVersion": 2, "manifests": self.manifests });
        fs::write(self.path.join("index.json"), index.to_string()).expect("write index.json");
    }
}

/// The digest of a descriptor as text.
#[track_caller]
pub fn digest(descriptor: &Value) -> String {
    descriptor["digest"].as_str().expect("a descriptor has a digest").to_owned()
}
