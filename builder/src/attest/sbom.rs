//! A list of what is in an image, in SPDX 2.3.

use jiff::Timestamp;
use oci::Digest;
use serde_json::{Value, json};

use super::packages::Package;
use super::{Predicate, Subject, purl};

/// The type of the predicate (in-toto attestation framework, "SPDX").
pub const PREDICATE_TYPE: &str = "https://spdx.dev/Document";

/// What is not known (SPDX 2.3, clause 7).
const UNKNOWN: &str = "NOASSERTION";

/// The document about an image.
pub fn document(
    subject: &Subject,
    packages: &[Package],
    created: Timestamp,
    version: &str,
) -> Predicate {
    let name =
        subject.names.first().map_or_else(|| subject.digest.to_string(), ToString::to_string);
    let mut all = vec![image(subject, &name)];
    let mut relationships = vec![relationship("SPDXRef-DOCUMENT", "DESCRIBES", "SPDXRef-Image")];
    for package in packages {
        let id = id_of(package);
        relationships.push(relationship("SPDXRef-Image", "CONTAINS", &id));
        all.push(one(package, &id));
    }
    // SPDX 2.3, 6.9: seconds, in UTC.
    let created = created.strftime("%Y-%m-%dT%H:%M:%SZ").to_string();
    let body = json!({
        "spdxVersion": "SPDX-2.3",
        "dataLicense": "CC0-1.0",
        "SPDXID": "SPDXRef-DOCUMENT",
        "name": name,
        "documentNamespace": format!("https://spdx.org/spdxdocs/wherry/{}", subject.digest.hex()),
        "creationInfo": { "created": created, "creators": [format!("Tool: wherry-{version}")] },
        "packages": all,
        "relationships": relationships,
    });
    Predicate { kind: PREDICATE_TYPE, body }
}

fn image(subject: &Subject, name: &str) -> Value {
    let urls = subject.names.iter().map(|name| reference(&purl::image(name, &subject.platform)));
    json!({
        "SPDXID": "SPDXRef-Image",
        "name": name,
        "versionInfo": subject.digest.to_string(),
        "primaryPackagePurpose": "CONTAINER",
        "downloadLocation": UNKNOWN,
        "filesAnalyzed": false,
        "licenseConcluded": UNKNOWN,
        "licenseDeclared": UNKNOWN,
        "copyrightText": UNKNOWN,
        "externalRefs": urls.collect::<Vec<_>>(),
    })
}

fn one(package: &Package, id: &str) -> Value {
    let supplier = package.supplier.as_deref().map_or_else(|| UNKNOWN.to_owned(), person);
    json!({
        "SPDXID": id,
        "name": package.name,
        "versionInfo": package.version,
        "supplier": supplier,
        "sourceInfo": format!("recorded in /{}", package.recorded_in),
        "downloadLocation": UNKNOWN,
        "filesAnalyzed": false,
        "licenseConcluded": UNKNOWN,
        "licenseDeclared": UNKNOWN,
        "copyrightText": UNKNOWN,
        "externalRefs": [reference(&package.purl)],
    })
}

fn reference(purl: &str) -> Value {
    json!({
        "referenceCategory": "PACKAGE-MANAGER",
        "referenceType": "purl",
        "referenceLocator": purl,
    })
}

fn relationship(from: &str, kind: &str, to: &str) -> Value {
    json!({ "spdxElementId": from, "relationshipType": kind, "relatedSpdxElement": to })
}

/// `Person: Name (address)` (SPDX 2.3, 7.5).
fn person(text: &str) -> String {
    match text.split_once('<') {
        Some((name, address)) => {
            format!("Person: {} ({})", name.trim(), address.trim_end_matches('>'))
        }
        None => format!("Person: {text}"),
    }
}

/// Letters, digits, dots and dashes (SPDX 2.3, 7.2); the same package in two places has two.
fn id_of(package: &Package) -> String {
    let name = package.name.replace(|c: char| !c.is_ascii_alphanumeric() && c != '.', "-");
    let place = Digest::sha256(format!("{}\0{}", package.purl, package.recorded_in).as_bytes());
    format!("SPDXRef-Package-{}-{}", name.trim_matches('-'), &place.hex()[..12])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn package(name: &str, recorded_in: &str) -> Package {
        Package {
            purl: purl::package("deb", Some("debian"), name, "1", &[]),
            name: name.to_owned(),
            version: "1".to_owned(),
            supplier: Some("A Person <a@example.org>".to_owned()),
            recorded_in: recorded_in.to_owned(),
        }
    }

    /// Covers: BLD-95
    #[test]
    fn a_document_has_every_field_that_spdx_requires() {
        let subject = Subject {
            names: vec!["app:v1".parse().unwrap()],
            platform: "linux/amd64".parse().unwrap(),
            digest: Digest::sha256(b"manifest"),
        };
        let packages = [package("libstdc++6", "a"), package("libstdc++6", "b")];
        let created = "2023-11-14T22:13:20.5Z".parse().unwrap();
        let body = document(&subject, &packages, created, "1.2.3").body;
        assert_eq!(body["creationInfo"]["created"], "2023-11-14T22:13:20Z");
        let all = body["packages"].as_array().unwrap();
        let mut ids: Vec<&str> = all.iter().map(|p| p["SPDXID"].as_str().unwrap()).collect();
        assert!(
            ids.iter().all(|id| {
                id.strip_prefix("SPDXRef-").is_some_and(|rest| {
                    rest.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'.' || b == b'-')
                })
            }),
            "{ids:?}"
        );
        ids.dedup();
        assert_eq!(ids.len(), 3, "every id once");
        for package in all {
            for field in
                ["name", "downloadLocation", "licenseConcluded", "licenseDeclared", "copyrightText"]
            {
                assert!(package[field].is_string(), "{field} of {package}");
            }
        }
        assert_eq!(all[1]["supplier"], "Person: A Person (a@example.org)");
        let relations = body["relationships"].as_array().unwrap();
        assert!(relations.iter().all(|r| {
            let known =
                |id: &Value| id == "SPDXRef-DOCUMENT" || ids.contains(&id.as_str().unwrap());
            known(&r["spdxElementId"]) && known(&r["relatedSpdxElement"])
        }));
        assert_eq!(relations.len(), 3);
    }
}
