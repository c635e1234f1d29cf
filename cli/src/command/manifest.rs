use clap::Subcommand;
use engine::oci::Reference;

use super::Session;
use crate::error::{Error, Result};

/// Look at manifests in a registry
#[derive(Debug, clap::Args)]
#[command(subcommand_required = true, arg_required_else_help = true)]
pub(crate) struct Args {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    Inspect(InspectArgs),
}

/// Display an image manifest, or manifest list, without pulling it
#[derive(Debug, clap::Args)]
struct InspectArgs {
    #[arg(value_name = "MANIFEST", required = true)]
    reference: Reference,
}

impl Args {
    /// Prints the manifest.
    pub(crate) fn run(self, session: &Session) -> Result<()> {
        let Verb::Inspect(InspectArgs { reference }) = self.verb;
        let bytes = session.engine()?.images().remote_manifest(&reference)?;
        session.ui.line(indented(&bytes).map_err(|error| {
            Error::refused(format!("manifest of {}: {error}", reference.familiar()), "")
        })?)
    }
}

/// The same document with a tab for each level, as Docker shows it; the order of its keys is kept.
fn indented(bytes: &[u8]) -> serde_json::Result<String> {
    let value: serde_json::Value = serde_json::from_slice(bytes)?;
    let mut out = Vec::new();
    let formatter = serde_json::ser::PrettyFormatter::with_indent(b"\t");
    let mut serializer = serde_json::Serializer::with_formatter(&mut out, formatter);
    serde::Serialize::serialize(&value, &mut serializer)?;
    Ok(String::from_utf8_lossy(&out).into_owned())
}

#[cfg(test)]
mod tests {
    use super::indented;

    #[test]
    fn keys_keep_their_order_and_levels_are_tabs() {
        let text = indented(br#"{"schemaVersion":2,"a":[1]}"#).expect("it is JSON");
        assert_eq!(text, "{\n\t\"schemaVersion\": 2,\n\t\"a\": [\n\t\t1\n\t]\n}");
        assert!(indented(b"no JSON").is_err());
    }
}
