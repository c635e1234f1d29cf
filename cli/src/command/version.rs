use serde_json::{Value, json};

use super::{FORMAT_OBJECT_HELP, Session};
use crate::error::Result;
use crate::template::{ExecOptions, Template};

/// Show the Wherry version information
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[arg(short, long, value_name = "string", help = FORMAT_OBJECT_HELP)]
    format: Option<String>,
}

/// What `--version` prints.
pub(crate) fn line() -> String {
    format!("Wherry version {}", env!("CARGO_PKG_VERSION"))
}

fn facts() -> Value {
    json!({
        "Client": {
            "Platform": {"Name": "Wherry"},
            "Version": env!("CARGO_PKG_VERSION"),
            "Os": "linux",
            "Arch": engine::oci::Platform::host().architecture(),
        },
        "Server": Value::Null,
    })
}

impl Args {
    /// Prints the facts.
    pub(crate) fn run(self, session: &Session) -> Result<()> {
        let facts = facts();
        let client = &facts["Client"];
        let text = |key: &str| client[key].as_str().unwrap_or_default().to_owned();
        match self.format.as_deref() {
            Some("json") => session.ui.line(&facts),
            Some(template) => {
                let options =
                    ExecOptions { type_name: "system.versionInfo", ..ExecOptions::default() };
                session.ui.line(Template::parse(template)?.execute(&facts, &options)?)
            }
            None => session.ui.line(format_args!(
                "Client: Wherry\n Version:           {}\n OS/Arch:           {}/{}",
                text("Version"),
                text("Os"),
                text("Arch")
            )),
        }
    }
}

/// Show buildx version information
#[derive(Debug, clap::Args)]
pub(crate) struct BuildxArgs {}

impl BuildxArgs {
    /// Name, version and build of what stands in for the plugin.
    pub(crate) fn run(self, session: &Session) -> Result<()> {
        session.ui.line(format_args!("wherry/builder v{} built-in", env!("CARGO_PKG_VERSION")))
    }
}
