use clap::Subcommand;
use engine::images::{AfterPush, Amend, Annotation};
use engine::oci::{Descriptor, MediaType, Reference};
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
    Annotate(AnnotateArgs),
    Create(CreateArgs),
    Inspect(InspectArgs),
    Push(PushArgs),
    Rm(RemoveArgs),
}

/// Add additional information to a local image manifest
#[derive(Debug, clap::Args)]
struct AnnotateArgs {
    /// Set architecture
    #[arg(long, value_name = "string")]
    arch: Option<String>,
    /// Set operating system
    #[arg(long, value_name = "string")]
    os: Option<String>,
    /// Set operating system feature
    #[arg(long, value_name = "strings", value_delimiter = ',')]
    os_features: Vec<String>,
    /// Set operating system version
    #[arg(long, value_name = "string")]
    os_version: Option<String>,
    /// Set architecture variant
    #[arg(long, value_name = "string")]
    variant: Option<String>,
    #[arg(value_name = "MANIFEST_LIST", required = true)]
    list: Reference,
    #[arg(value_name = "MANIFEST", required = true)]
    manifest: Reference,
}

/// Create a local manifest list for annotating and pushing to a registry
#[derive(Debug, clap::Args)]
struct CreateArgs {
    /// Amend an existing manifest list
    #[arg(short, long)]
    amend: bool,
    #[arg(value_name = "MANIFEST_LIST", required = true)]
    list: Reference,
    #[arg(value_name = "MANIFEST [MANIFEST...]", required = true)]
    manifests: Vec<Reference>,
}

/// Push a manifest list to a repository
#[derive(Debug, clap::Args)]
struct PushArgs {
    /// Remove the local manifest list after push
    #[arg(short, long)]
    purge: bool,
    #[arg(value_name = "[REGISTRY/]REPOSITORY[:TAG]", required = true)]
    list: Reference,
}

/// Delete one or more manifest lists from local storage
#[derive(Debug, clap::Args)]
struct RemoveArgs {
    #[arg(value_name = "MANIFEST_LIST [MANIFEST_LIST...]", required = true)]
    lists: Vec<String>,
}

/// Display an image manifest, or manifest list
///
/// A list that was created here and is asked for by its name is shown as it would be pushed; anything else is what the
/// registry has, without pulling it.
#[derive(Debug, clap::Args)]
struct InspectArgs {
    /// Print the bytes as the registry serves them
    #[arg(long)]
    raw: bool,
    /// Output additional info including reference and descriptor
    #[arg(short, long)]
    verbose: bool,
    #[arg(value_name = "[MANIFEST_LIST] MANIFEST", required = true, num_args = 1..=2)]
    references: Vec<Reference>,
}

impl Args {
    /// Does what the verb does.
    pub(crate) fn run(self, session: &Session) -> Result<()> {
        match self.verb {
            Verb::Annotate(args) => args.run(session),
            Verb::Create(args) => args.run(session),
            Verb::Inspect(args) => args.run(session),
            Verb::Push(args) => args.run(session),
            Verb::Rm(args) => args.run(session),
        }
    }
}

impl AnnotateArgs {
    fn run(self, session: &Session) -> Result<()> {
        let annotation = Annotation {
            architecture: self.arch,
            os: self.os,
            os_features: self.os_features,
            os_version: self.os_version,
            variant: self.variant,
        };
        let lists = session.engine()?.images().manifest_lists();
        Ok(lists.annotate(&self.list, &self.manifest, &annotation)?)
    }
}

impl CreateArgs {
    fn run(self, session: &Session) -> Result<()> {
        let amend = if self.amend { Amend::Yes } else { Amend::No };
        let lists = session.engine()?.images().manifest_lists();
        let made = lists.create(&self.list, &self.manifests, amend)?;
        session.ui.line(format_args!("Created manifest list {made}"))
    }
}

impl PushArgs {
    fn run(self, session: &Session) -> Result<()> {
        let after = if self.purge { AfterPush::Purge } else { AfterPush::Keep };
        let mut pushed = Vec::new();
        let lists = session.engine()?.images().manifest_lists();
        let digest = lists.push(&self.list, after, &mut |reference, digest| {
            pushed.push(format!("Pushed ref {reference} with digest: {digest}"));
        })?;
        pushed.iter().try_for_each(|line| session.ui.line(line))?;
        session.ui.line(digest)
    }
}

impl RemoveArgs {
    fn run(self, session: &Session) -> Result<()> {
        let lists = session.engine()?.images().manifest_lists();
        super::for_each(&self.lists, |list| {
            let reference: Reference = list.parse()?;
            match lists.remove(&reference) {
                Err(engine::Error::NoSuchObject { .. }) => Err(Error::Refused {
                    message: format!("No such manifest: {list}"),
                    hint: String::new(),
                    kind: engine::ErrorKind::NotFound,
                }),
                other => Ok(other?),
            }
        })
    }
}

impl InspectArgs {
    fn run(self, session: &Session) -> Result<()> {
        let images = session.engine()?.images();
        let (list, reference) = match self.references.as_slice() {
            [list, reference, ..] => (list, Some(reference)),
            [one, ..] => (one, None),
            [] => return Ok(()),
        };
        match (images.manifest_lists().get(list)?, reference) {
            (Some(list), None) => {
                let document = list.document()?;
                self.show(session, list.reference(), document.bytes(), &document.descriptor())
            }
            (Some(made), Some(reference)) => {
                let entry = made.entry(reference).ok_or_else(|| not_in(reference, list))?;
                session.ui.line(indented(&json(&entry.described()?), b"\t"))
            }
            (None, Some(reference)) => Err(not_in(reference, list)),
            (None, None) => {
                let bytes = images.remote_manifest(list)?;
                let descriptor = images.remote_resolve(list)?;
                self.show(session, list, &bytes, &descriptor)
            }
        }
    }

    fn show(
        &self,
        session: &Session,
        reference: &Reference,
        bytes: &[u8],
        descriptor: &Descriptor,
    ) -> Result<()> {
        if self.raw {
            return session.ui.print(&String::from_utf8_lossy(bytes));
        }
        let document: Value = serde_json::from_slice(bytes).map_err(|error| {
            Error::refused(format!("manifest of {}: {error}", reference.familiar()), "")
        })?;
        if self.verbose {
            let name = reference.clone().or_latest().to_string();
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

fn not_in(manifest: &Reference, list: &Reference) -> Error {
    Error::Refused {
        message: format!("manifest for image {manifest} does not exist in {list}"),
        hint: format!("`wherry manifest create --amend {list} {manifest}` adds it"),
        kind: engine::ErrorKind::NotFound,
    }
}

fn json(descriptor: &Descriptor) -> Value {
    serde_json::json!(descriptor)
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
