use engine::machine::Machine;
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

/// Docker's two halves. The engine is in the same program, so scripts that ask for the server's version get ours.
fn facts() -> Value {
    let (version, arch) = (env!("CARGO_PKG_VERSION"), engine::oci::Platform::host());
    let arch = arch.architecture();
    let kernel = Machine::look().kernel;
    json!({
        "Client": {
            "Platform": {"Name": "Wherry"}, "Version": version, "Os": "linux", "Arch": arch,
            "Context": "default",
        },
        "Server": {
            "Platform": {"Name": "Wherry, in the client's process"},
            "Components": [{"Name": "Engine", "Version": version, "Details": {"Os": "linux", "Arch": arch, "KernelVersion": kernel}}],
            "Version": version, "Os": "linux", "Arch": arch, "KernelVersion": kernel,
        },
    })
}

fn text(facts: &Value) -> String {
    let line = |half: &str, key: &str| facts[half][key].as_str().unwrap_or_default().to_owned();
    let mut out = String::new();
    for (title, half, indent) in [
        ("Client: Wherry\n", "Client", " "),
        ("\nServer: Wherry, in the client's process\n Engine:\n", "Server", "  "),
    ] {
        let os_arch = format!("{}/{}", line(half, "Os"), line(half, "Arch"));
        out.push_str(title);
        for (label, value) in [("Version", line(half, "Version")), ("OS/Arch", os_arch)] {
            let label = format!("{indent}{label}:");
            out.push_str(&format!("{label:20}{value}\n"));
        }
    }
    out
}

impl Args {
    /// Prints the facts.
    pub(crate) fn run(self, session: &Session) -> Result<()> {
        let facts = facts();
        match self.format.as_deref() {
            Some("json") => session.ui.line(&facts),
            Some(template) => {
                let options =
                    ExecOptions { type_name: "system.versionInfo", ..ExecOptions::default() };
                session.ui.line(Template::parse(template)?.execute(&facts, &options)?)
            }
            None => session.ui.print(&text(&facts)),
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_halves_have_the_version_of_the_program() {
        let facts = facts();
        for template in [
            "{{.Client.Version}}",
            "{{.Server.Version}}",
            "{{(index .Server.Components 0).Version}}",
        ] {
            let parsed = Template::parse(template).unwrap();
            let text = parsed.execute(&facts, &ExecOptions::default()).unwrap();
            assert_eq!(text, env!("CARGO_PKG_VERSION"), "{template}");
        }
        let text = text(&facts);
        let labels: Vec<&str> = text.lines().filter_map(|line| line.split(':').next()).collect();
        assert_eq!(
            labels,
            ["Client", " Version", " OS/Arch", "", "Server", " Engine", "  Version", "  OS/Arch"]
        );
    }
}
