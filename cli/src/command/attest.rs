use std::io::Read as _;
use std::path::PathBuf;

use engine::oci::Reference;

use super::Session;
use super::trust::with::KeyArgs;
use crate::error::{Error, Result};

/// Sign a statement about an image and attach it
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// File with the predicate, JSON; - reads standard input
    #[arg(long, value_name = "file", required = true)]
    predicate: PathBuf,
    /// Predicate type: a URI, or slsaprovenance, slsaprovenance1, spdxjson, cyclonedx, vuln
    #[arg(long = "type", value_name = "string", required = true, value_parser = predicate_type)]
    kind: String,
    #[command(flatten)]
    key: KeyArgs,
    #[arg(value_name = "IMAGE[:TAG]", required = true)]
    image: Reference,
}

/// Names that cosign has for predicate types.
const TYPES: [(&str, &str); 5] = [
    ("cyclonedx", "https://cyclonedx.org/bom"),
    ("slsaprovenance", "https://slsa.dev/provenance/v0.2"),
    ("slsaprovenance1", "https://slsa.dev/provenance/v1"),
    ("spdxjson", "https://spdx.dev/Document"),
    ("vuln", "https://cosign.sigstore.dev/attestation/vuln/v1"),
];

/// Largest predicate: bills of materials have megabytes, and readers take sixteen of the envelope.
const PREDICATE_BYTES_MAX: u64 = 8 << 20;

fn predicate_type(text: &str) -> Result<String, String> {
    if let Some((_, uri)) = TYPES.iter().find(|(name, _)| *name == text) {
        return Ok((*uri).to_owned());
    }
    match text.contains("://") {
        true => Ok(text.to_owned()),
        false => Err(format!("{text:?} is neither a URI nor a known type of predicate")),
    }
}

impl Args {
    /// Signs the statement about what the registry has under the name.
    pub(crate) fn run(self, session: &Session) -> Result<()> {
        let image = self.image.clone().or_latest();
        let predicate = self.read()?;
        let signer = self.key.signer(session)?;
        let signing = session.engine()?.signing();
        let done = signing.attest(&image, &self.kind, predicate, &*signer)?;
        session.ui.line(format_args!(
            "Successfully attested {} of {}@{} with key {}",
            self.kind,
            image.familiar_repository(),
            done.subject.digest(),
            signer.public().id().short(12)
        ))?;
        session.ui.line(format_args!(
            "Attestation: {}@{}",
            image.familiar_repository(),
            done.manifest
        ))
    }

    fn read(&self) -> Result<serde_json::Value> {
        let path = self.predicate.display().to_string();
        let fail = |source| Error::File { act: "read", path: path.clone(), source };
        let mut text = Vec::new();
        let read = match path.as_str() {
            "-" => std::io::stdin().take(PREDICATE_BYTES_MAX + 1).read_to_end(&mut text),
            _ => std::fs::File::open(&self.predicate)
                .and_then(|file| file.take(PREDICATE_BYTES_MAX + 1).read_to_end(&mut text)),
        };
        read.map_err(fail)?;
        if text.len() as u64 > PREDICATE_BYTES_MAX {
            return Err(Error::refused(
                format!("attest: {path} is larger than {PREDICATE_BYTES_MAX} bytes"),
                "",
            ));
        }
        serde_json::from_slice(&text).map_err(|error| {
            Error::refused(
                format!("attest: {path} is no JSON: {error}"),
                "a predicate is one JSON value",
            )
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn predicate_types_have_short_names() {
        assert_eq!(predicate_type("slsaprovenance1").unwrap(), "https://slsa.dev/provenance/v1");
        assert_eq!(predicate_type("https://x.example/y").unwrap(), "https://x.example/y");
        assert!(predicate_type("slsaprovenanc").is_err());
    }
}
