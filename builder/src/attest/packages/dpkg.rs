//! dpkg's status file (dpkg(1), deb-control(5)): one paragraph per package.

use super::{Distribution, Package, header};
use crate::attest::purl;

/// The packages that are installed.
pub(super) fn packages(path: &str, text: &str, from: &Distribution) -> Vec<Package> {
    text.split("\n\n")
        .filter_map(|paragraph| package(path, paragraph.trim_matches('\n'), from))
        .collect()
}

fn package(path: &str, paragraph: &str, from: &Distribution) -> Option<Package> {
    // Distroless images keep a paragraph without a status per package.
    let is_installed = header(paragraph, "Status").is_none_or(|s| s.ends_with(" installed"));
    let (name, version) = (header(paragraph, "Package")?, header(paragraph, "Version")?);
    if !is_installed {
        return None;
    }
    let arch = header(paragraph, "Architecture").unwrap_or_default();
    let distro = match from.version.is_empty() {
        true => String::new(),
        false => format!("{}-{}", from.id, from.version),
    };
    let qualifiers = [("arch", arch), ("distro", distro.as_str())];
    Some(Package {
        purl: purl::package("deb", Some(&from.id), name, version, &qualifiers),
        name: name.to_owned(),
        version: version.to_owned(),
        supplier: header(paragraph, "Maintainer").map(str::to_owned),
        recorded_in: path.to_owned(),
    })
}
