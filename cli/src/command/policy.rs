use std::path::{Path, PathBuf};

use clap::Subcommand;
use engine::oci::Reference;
use engine::trust::{PolicySource, Where, check_file};
use engine::trust_types::Policy;
use engine::trust_types::policy::{Case, Mode, parse_cases};

use super::{Session, inspect::pretty};
use crate::error::{Error, Result};

/// Check, explain and test the trust policy
#[derive(Debug, clap::Args)]
#[command(subcommand_required = true, arg_required_else_help = true)]
pub(crate) struct Args {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    Check(CheckArgs),
    Explain(ExplainArgs),
    Test(TestArgs),
}

/// Read a policy file and the files it names, and say what is wrong with them
#[derive(Debug, clap::Args)]
struct CheckArgs {
    /// The file (default: the policy in force)
    #[arg(value_name = "[FILE]")]
    file: Option<PathBuf>,
}

/// Say which rule of the policy decides about an image, and what it asks for
#[derive(Debug, clap::Args)]
struct ExplainArgs {
    /// Print as JSON
    #[arg(long)]
    json: bool,
    #[arg(value_name = "IMAGE", required = true)]
    image: Reference,
}

/// Judge the images of a file of cases and compare with what it expects
#[derive(Debug, clap::Args)]
struct TestArgs {
    /// Judge the images of the store, not what registries have under the names
    #[arg(long)]
    local: bool,
    #[arg(value_name = "FILE", required = true)]
    file: PathBuf,
}

impl Args {
    /// Does what the verb does.
    pub(crate) fn run(self, session: &Session) -> Result<()> {
        match self.verb {
            Verb::Check(args) => args.run(session),
            Verb::Explain(args) => args.run(session),
            Verb::Test(args) => args.run(session),
        }
    }
}

impl CheckArgs {
    fn run(self, session: &Session) -> Result<()> {
        if let Some(file) = &self.file {
            return session.ui.line(summary(&file.display().to_string(), &check_file(file)?));
        }
        let in_force = session.engine()?.policy()?;
        if in_force.source == PolicySource::None {
            return Err(Error::refused(
                "policy check: there is no policy: every image is accepted, and nothing is proven",
                format!("write one at {}", session.config.policy_path().display()),
            ));
        }
        session.ui.line(summary(&in_force.source.to_string(), &in_force))
    }
}

fn summary(name: &str, policy: &Policy) -> String {
    let mode = match policy.mode() {
        Mode::Enforce => "enforced",
        Mode::Warn => "only warns",
    };
    format!("{name}: ok, {} scopes, {mode}\ndigest: {}", policy.scopes().len(), policy.digest())
}

impl ExplainArgs {
    fn run(self, session: &Session) -> Result<()> {
        let policy = session.engine()?.policy()?;
        let explanation = policy.explain(self.image.repository());
        if self.json {
            let mut value = serde_json::json!(explanation);
            value["policy"] = policy.source.to_string().into();
            return session.ui.line(pretty(&value));
        }
        let scope = match &explanation.scope {
            Some(prefix) => format!("scope {prefix}"),
            None => "default".to_owned(),
        };
        let note =
            if explanation.enforced { "" } else { " (mode \"warn\": refusals are only told)" };
        session.ui.line(format_args!("{}: {}{note}", explanation.repository, explanation.rule))?;
        session.ui.line(format_args!("  policy: {}\n  decided by: {scope}", policy.source))?;
        let wanted = &explanation.requirements;
        wanted.iter().try_for_each(|text| session.ui.line(format_args!("  needs: {text}")))
    }
}

impl TestArgs {
    fn run(self, session: &Session) -> Result<()> {
        let cases = read_cases(&self.file)?;
        let at = if self.local { Where::Local } else { Where::Remote };
        let mut failed = 0;
        for case in &cases {
            match judge(session, case, at) {
                None => {
                    session.ui.line(format_args!("ok    {}: {}", case.image, case.expect.name()))?
                }
                Some(wrong) => {
                    failed += 1;
                    session.ui.line(format_args!("FAIL  {}: {wrong}", case.image))?;
                }
            }
        }
        session.ui.line(format_args!("{} cases, {failed} failed", cases.len()))?;
        if failed > 0 { Err(Error::Status(1)) } else { Ok(()) }
    }
}

/// What is wrong with the verdict about one image.
fn judge(session: &Session, case: &Case, at: Where) -> Option<String> {
    let verdict = || -> Result<_> {
        let image: Reference = case.image.parse().map_err(engine::Error::from)?;
        Ok(session.engine()?.verify(&image, at)?.verdict)
    };
    match verdict() {
        Ok(verdict) => case.compare(&verdict),
        Err(error) => Some(format!("not judged: {error}")),
    }
}

fn read_cases(file: &Path) -> Result<Vec<Case>> {
    let fail = |source| Error::File { act: "read", path: file.display().to_string(), source };
    let text = engine::files::read_text(file).map_err(fail)?;
    parse_cases(&text).map_err(|error| Error::refused(format!("{}: {error}", file.display()), ""))
}
