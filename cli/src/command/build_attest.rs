//! What `build` is told to say of the image beside it.

use engine::builder::attest::Mode;
use engine::builds::{Attestations, ContentsRequest, ProvenanceRequest};

use crate::error::{Error, Result};

/// `--attest`, `--provenance`, `--sbom`.
#[derive(Debug, clap::Args)]
pub(crate) struct AttestArgs {
    /// Attestation parameters (format: "type=sbom" or "type=provenance,mode=max")
    #[arg(long, value_name = "list")]
    attest: Vec<String>,
    /// Shorthand for "--attest=type=provenance" ("true", "false", "mode=min", "mode=max")
    #[arg(long, value_name = "string", num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    provenance: Option<String>,
    /// Shorthand for "--attest=type=sbom" ("true" or "false")
    #[arg(long, value_name = "string", num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    sbom: Option<String>,
}

impl AttestArgs {
    /// The statements that are asked for; the shorthands come last.
    pub(crate) fn attestations(&self) -> Result<Attestations> {
        let mut asked = Attestations::default();
        for text in &self.attest {
            let (kind, rest) = text.split_once(',').unwrap_or((text, "true"));
            match kind.strip_prefix("type=") {
                Some("provenance") => asked.provenance = provenance("attest", text, rest)?,
                Some("sbom") => asked.contents = contents("attest", text, rest)?,
                _ => return Err(refused("attest", text)),
            }
        }
        if let Some(text) = &self.provenance {
            asked.provenance = provenance("provenance", text, text)?;
        }
        if let Some(text) = &self.sbom {
            asked.contents = contents("sbom", text, text)?;
        }
        Ok(asked)
    }
}

fn refused(flag: &str, text: &str) -> Error {
    Error::refused(
        format!("--{flag}={text}: not an attestation that can be made"),
        "write --provenance=mode=min, --provenance=mode=max or --sbom=true",
    )
}

fn provenance(flag: &str, whole: &str, text: &str) -> Result<Option<ProvenanceRequest>> {
    // As BuildKit: what may be shown to everybody, unless more is asked for.
    let mut asked = ProvenanceRequest { mode: Mode::Min, builder: None };
    for word in text.split(',') {
        match word.split_once('=').unwrap_or((word, "")) {
            ("true" | "disabled=false", "") | ("disabled", "false") => {}
            ("false", "") | ("disabled", "true") => return Ok(None),
            ("mode", "min") => asked.mode = Mode::Min,
            ("mode", "max") => asked.mode = Mode::Max,
            ("version", "v1") => {}
            ("builder-id", id) if !id.is_empty() => asked.builder = Some(id.to_owned()),
            _ => return Err(refused(flag, whole)),
        }
    }
    Ok(Some(asked))
}

fn contents(flag: &str, whole: &str, text: &str) -> Result<Option<ContentsRequest>> {
    match text {
        "true" | "disabled=false" => Ok(Some(ContentsRequest)),
        "false" | "disabled=true" => Ok(None),
        generator if generator.starts_with("generator=") => Err(Error::refused(
            format!("--{flag}={whole}: scanner images are not run"),
            "--sbom=true lists what dpkg, Python and npm recorded in the image",
        )),
        _ => Err(refused(flag, whole)),
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Debug, Parser)]
    struct Probe {
        #[command(flatten)]
        args: AttestArgs,
    }

    fn asked(words: &str) -> Result<(Option<Mode>, bool)> {
        let words = ["probe"].into_iter().chain(words.split_whitespace());
        let asked = Probe::try_parse_from(words).unwrap().args.attestations()?;
        Ok((asked.provenance.map(|p| p.mode), asked.contents.is_some()))
    }

    /// Covers: BLD-94, BLD-95
    #[test]
    fn every_way_to_ask_for_attestations_is_understood() {
        let rows = [
            ("", (None, false)),
            ("--provenance", (Some(Mode::Min), false)),
            ("--provenance=true --sbom", (Some(Mode::Min), true)),
            ("--provenance=mode=max", (Some(Mode::Max), false)),
            ("--provenance=mode=max,builder-id=https://ci/1", (Some(Mode::Max), false)),
            ("--attest=type=provenance,mode=max --attest type=sbom", (Some(Mode::Max), true)),
            ("--attest=type=provenance --provenance=false", (None, false)),
            ("--sbom=false", (None, false)),
        ];
        for (words, wanted) in rows {
            assert_eq!(asked(words).unwrap(), wanted, "{words}");
        }
        for wrong in
            ["--provenance=mode=most", "--sbom=generator=x", "--attest=provenance", "--sbom=maybe"]
        {
            let error = asked(wrong).unwrap_err().to_string();
            assert!(error.starts_with(wrong.split_once('=').unwrap().0), "{error}");
        }
    }
}
