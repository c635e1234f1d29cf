use engine::ErrorKind;
use engine::oci::Platform;
use serde_json::Value;

use super::{FORMAT_OBJECT_HELP, Session};
use crate::error::{Error, Result};
use crate::template::{ExecOptions, Functions, MissingKey, Template};

/// Return low-level information on Docker objects
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[arg(short, long, value_name = "string", help = FORMAT_OBJECT_HELP)]
    format: Option<String>,
    /// Choose this platform of an image in a registry
    #[arg(long, value_name = "string", requires = "remote")]
    platform: Option<Platform>,
    /// Show what a registry has of an image, without pulling it
    #[arg(long, conflicts_with = "kind")]
    remote: bool,
    /// Only inspect objects of the given type
    #[arg(long = "type", value_name = "string")]
    kind: Option<Kind>,
    #[arg(value_name = "NAME|ID [NAME|ID...]", required = true)]
    names: Vec<String>,
}

/// Display detailed information on one or more images
#[derive(Debug, clap::Args)]
pub(crate) struct ImageArgs {
    #[arg(short, long, value_name = "string", help = FORMAT_OBJECT_HELP)]
    format: Option<String>,
    #[arg(value_name = "IMAGE [IMAGE...]", required = true)]
    names: Vec<String>,
}

/// Display detailed information on one or more containers
#[derive(Debug, clap::Args)]
pub(crate) struct ContainerArgs {
    #[arg(short, long, value_name = "string", help = FORMAT_OBJECT_HELP)]
    format: Option<String>,
    #[arg(value_name = "CONTAINER [CONTAINER...]", required = true)]
    names: Vec<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Kind {
    Container,
    Image,
}

impl Args {
    /// Looks for a container, then for an image, of each name.
    pub(crate) fn run(self, session: &Session) -> Result<()> {
        let find = |name: &str| match self.kind {
            None if self.remote => remote(session, name, self.platform.as_ref()),
            Some(Kind::Container) => container(session, name),
            Some(Kind::Image) => image(session, name),
            None => match container(session, name) {
                Err(Error::Engine(error)) if error.kind() == ErrorKind::NotFound => {
                    either(session, name)
                }
                found => found,
            },
        };
        show(session, &self.names, self.format.as_deref(), find)
    }
}

impl ImageArgs {
    /// Looks at images only.
    pub(crate) fn run(self, session: &Session) -> Result<()> {
        show(session, &self.names, self.format.as_deref(), |name| image(session, name))
    }
}

impl ContainerArgs {
    /// Looks at containers only.
    pub(crate) fn run(self, session: &Session) -> Result<()> {
        show(session, &self.names, self.format.as_deref(), |name| container(session, name))
    }
}

fn container(session: &Session, name: &str) -> Result<Value> {
    Ok(session.engine()?.containers().inspect(name)?)
}

fn image(session: &Session, name: &str) -> Result<Value> {
    Ok(session.engine()?.images().inspect(name)?)
}

fn remote(session: &Session, name: &str, platform: Option<&Platform>) -> Result<Value> {
    Ok(session.engine()?.images().remote_inspect(&name.parse()?, platform)?)
}

fn either(session: &Session, name: &str) -> Result<Value> {
    match image(session, name) {
        Err(Error::Engine(engine::Error::NoSuchImage { .. })) => {
            Err(engine::Error::NoSuchObject { name: name.to_owned() }.into())
        }
        found => found,
    }
}

/// Prints everything that was found, then fails with what was not.
pub(crate) fn show(
    session: &Session,
    names: &[String],
    format: Option<&str>,
    find: impl Fn(&str) -> Result<Value>,
) -> Result<()> {
    let template = match format {
        None | Some("json") => None,
        Some(text) => Some(Template::parse(text)?),
    };
    let mut found = Vec::new();
    let outcome = super::for_each(names, |name| {
        found.push(find(name)?);
        Ok(())
    });
    match (&template, format) {
        (Some(template), _) => found.iter().try_for_each(|value| one(session, template, value))?,
        (None, Some(_)) => found.iter().try_for_each(|value| session.ui.line(value))?,
        (None, None) => session.ui.line(pretty(&Value::Array(found)))?,
    }
    outcome
}

fn one(session: &Session, template: &Template, value: &Value) -> Result<()> {
    let options =
        ExecOptions { functions: Functions::Values, missing_key: MissingKey::Entry, type_name: "" };
    match template.execute(value, &options) {
        Ok(text) => session.ui.line(text),
        Err(error) => {
            // Docker has written the line's end by the time it finds the mistake.
            session.ui.line("")?;
            Err(error.into())
        }
    }
}

/// JSON with Docker's four spaces.
pub(crate) fn pretty(value: &Value) -> String {
    let mut out = Vec::new();
    let formatter = serde_json::ser::PrettyFormatter::with_indent(b"    ");
    let mut serializer = serde_json::Serializer::with_formatter(&mut out, formatter);
    match serde::Serialize::serialize(value, &mut serializer) {
        Ok(()) => String::from_utf8_lossy(&out).into_owned(),
        Err(_) => value.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Covers: B06-28
    #[test]
    fn objects_are_printed_with_four_spaces() {
        let value = serde_json::json!([{"Id": "x", "RepoTags": [], "Labels": {}}]);
        let want = "[\n    {\n        \"Id\": \"x\",\n        \"RepoTags\": [],\n        \"Labels\": {}\n    }\n]";
        assert_eq!(pretty(&value), want);
        assert_eq!(pretty(&Value::Array(Vec::new())), "[]");
    }
}
