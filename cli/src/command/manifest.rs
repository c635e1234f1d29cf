use clap::Subcommand;
use engine::oci::{MediaType, Reference};
use serde::Serialize as _;
use serde_json::Value;

use super::Session;
use crate::error::{Error, Result};

/// Manage image manifests and manifest lists
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

/// Display an image manifest, or manifest list, of a registry without pulling it
#[derive(Debug, clap::Args)]
struct InspectArgs {
    /// Print the bytes as the registry serves them
    #[arg(long)]
    raw: bool,
    /// Output additional info including reference and descriptor
    #[arg(short, long)]
    verbose: bool,
    #[arg(value_name = "MANIFEST", required = true)]
    reference: Reference,
}

impl Args {
    /// Does what the verb does.
    pub(crate) fn run(self, session: &Session) -> Result<()> {
        match self.verb {
            Verb::Inspect(args) => args.run(session),
        }
    }
}

impl InspectArgs {
    fn run(self, session: &Session) -> Result<()> {
        let images = session.engine()?.images();
        let bytes = images.remote_manifest(&self.reference)?;
        if self.raw {
            return session.ui.print(&String::from_utf8_lossy(&bytes));
        }
        let document: Value = serde_json::from_slice(&bytes).map_err(|error| {
            Error::refused(format!("manifest of {}: {error}", self.reference.familiar()), "")
        })?;
        if self.verbose {
            let descriptor = images.remote_resolve(&self.reference)?;
            let name = self.reference.or_latest().to_string();
            let key = match descriptor.media_type() {
                MediaType::DockerManifest => "SchemaV2Manifest",
                MediaType::OciManifest => "OCIManifest",
                _ => "Manifests",
            };
            let mut all = serde_json::json!({"Ref": name, "Descriptor": descriptor});
            all[key] = document;
            return session.ui.line(indented(&all, b"\t"));
        }
        // Docker indents a list by three spaces and a single manifest by a tab.
        let indent: &[u8] = if document.get("manifests").is_some() { b"   " } else { b"\t" };
        session.ui.line(indented(&document, indent))
    }
}

fn indented(value: &Value, indent: &[u8]) -> String {
    let mut out = Vec::new();
    let formatter = serde_json::ser::PrettyFormatter::with_indent(indent);
    let mut serializer = serde_json::Serializer::with_formatter(&mut out, formatter);
    match value.serialize(&mut serializer) {
        Ok(()) => String::from_utf8_lossy(&out).into_owned(),
        Err(_) => value.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_keep_their_order_and_levels_are_indented() {
        let value: Value = serde_json::from_str(r#"{"schemaVersion":2,"a":[1]}"#).unwrap();
        assert_eq!(
            indented(&value, b"\t"),
            "{\n\t\"schemaVersion\": 2,\n\t\"a\": [\n\t\t1\n\t]\n}"
        );
    }
}
