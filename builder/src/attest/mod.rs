//! What is said of a build beside its image: how it was made, and what is in it.
//!
//! Both are in-toto statements about the manifest of one platform. They stand outside the image, so that the times and
//! names in them do not change its digest.

pub mod packages;
pub mod provenance;
pub mod purl;
pub mod sbom;

use oci::{Digest, Platform, Reference};
use serde_json::{Value, json};

pub use provenance::{Mode, Provenance};

/// The type of a statement (in-toto attestation framework, Statement v1).
pub const STATEMENT_TYPE: &str = "https://in-toto.io/Statement/v1";
/// The media type of a statement that is not signed.
pub const MEDIA_TYPE: &str = "application/vnd.in-toto+json";
/// The annotation that names what a statement says.
pub const PREDICATE_ANNOTATION: &str = "in-toto.io/predicate-type";

/// The image that a statement is about.
#[derive(Debug, Clone)]
pub struct Subject {
    /// Its names; it may have none.
    pub names: Vec<Reference>,
    /// Its platform.
    pub platform: Platform,
    /// The digest of its manifest.
    pub digest: Digest,
}

/// A predicate about an image.
#[derive(Debug, Clone, PartialEq)]
pub struct Predicate {
    /// What kind of predicate it is.
    pub kind: &'static str,
    /// What it says.
    pub body: Value,
}

/// The statement of a predicate (in-toto attestation framework, Statement v1).
pub fn statement(subject: &Subject, predicate: &Predicate) -> Value {
    let (algorithm, hex) = (subject.digest.algorithm().to_string(), subject.digest.hex());
    let one = |name: String| json!({ "name": name, "digest": { algorithm.as_str(): hex } });
    let mut subjects: Vec<Value> =
        subject.names.iter().map(|name| one(purl::image(name, &subject.platform))).collect();
    if subjects.is_empty() {
        // Without a name the digest alone says what is meant.
        subjects.push(one("_".to_owned()));
    }
    json!({
        "_type": STATEMENT_TYPE,
        "predicateType": predicate.kind,
        "subject": subjects,
        "predicate": predicate.body,
    })
}
