//! Metadata of installed Python distributions (PyPA "Core metadata", "Recording installed projects").

use super::{Package, header};
use crate::attest::purl;

/// The distribution that a `METADATA` or `PKG-INFO` file describes.
pub(super) fn package(path: &str, text: &str) -> Option<Package> {
    let (name, version) = (header(text, "Name")?, header(text, "Version")?);
    // Names that differ in case and punctuation alone are one project.
    let normal = name.to_lowercase().replace(['_', '.'], "-");
    Some(Package {
        purl: purl::package("pypi", None, &normal, version, &[]),
        name: name.to_owned(),
        version: version.to_owned(),
        supplier: None,
        recorded_in: path.to_owned(),
    })
}
