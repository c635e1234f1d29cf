//! How a tag and its descriptor stand in targets metadata.

use std::collections::BTreeMap;

use oci::{Descriptor, Digest};
use serde_json::{Map, json};

use super::Tag;
use crate::tuf::schema::{TargetFile, Targets};

/// The target's path: the repository's path and the tag, without the registry, so that a mirror keeps it.
pub(crate) fn target_path(repository: &str, tag: &str) -> String {
    format!("{repository}:{tag}")
}

/// The tags a targets role lists for `repository`.
pub(crate) fn tags_of(repository: &str, targets: &Targets) -> Vec<Tag> {
    let prefix = target_path(repository, "");
    let tags = targets.targets.iter().filter_map(|(path, file)| {
        let name = path.strip_prefix(&prefix)?;
        Some(Tag {
            name: name.to_owned(),
            digest: digest_of(file)?,
            size: file.length,
            media_type: media_type_of(file),
        })
    });
    tags.collect()
}

/// The digest a target names; SHA-512 where both are given, as the stronger one.
pub(crate) fn digest_of(file: &TargetFile) -> Option<Digest> {
    ["sha512", "sha256"]
        .iter()
        .find_map(|name| format!("{name}:{}", file.hashes.get(*name)?).parse().ok())
}

/// The media type a target names.
fn media_type_of(file: &TargetFile) -> Option<String> {
    file.custom.as_ref()?.get("mediaType")?.as_str().map(str::to_owned)
}

pub(super) fn target_of(descriptor: &Descriptor) -> TargetFile {
    let digest = descriptor.digest();
    let algorithm = digest.algorithm().as_str().to_owned();
    TargetFile {
        length: descriptor.size(),
        hashes: BTreeMap::from([(algorithm, digest.hex().to_owned())]),
        custom: Some(json!({ "mediaType": descriptor.media_type().as_str() })),
        extra: Map::new(),
    }
}
