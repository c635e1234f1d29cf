//! `package.json` of installed npm packages.

use serde_json::Value;

use super::Package;
use crate::attest::purl;

/// Whether a folder is where npm installs a package: `node_modules/NAME` or `node_modules/@SCOPE/NAME`.
pub(super) fn is_installed(folder: &str) -> bool {
    let parts: Vec<&str> = folder.rsplit('/').take(3).collect();
    match parts[..] {
        [name, "node_modules", ..] => !name.starts_with(['@', '.']),
        [_, scope, "node_modules"] => scope.starts_with('@'),
        _ => false,
    }
}

/// The package that a `package.json` describes.
pub(super) fn package(path: &str, text: &str) -> Option<Package> {
    let value: Value = serde_json::from_str(text).ok()?;
    let (name, version) = (value["name"].as_str()?, value["version"].as_str()?);
    let (scope, bare) = match name.split_once('/') {
        Some((scope, bare)) => (Some(scope), bare),
        None => (None, name),
    };
    Some(Package {
        purl: purl::package("npm", scope, bare, version, &[]),
        name: name.to_owned(),
        version: version.to_owned(),
        supplier: None,
        recorded_in: path.to_owned(),
    })
}
