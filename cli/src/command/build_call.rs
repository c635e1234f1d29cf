//! What `build` can do with a Dockerfile instead of building it.

use engine::builder::frontend::Dockerfile;
use engine::builder::outline::{Outline, Target, targets};
use engine::builds::BuildImage;

use super::Session;
use crate::error::{Error, Result};
use crate::format::align;

/// Flags that ask for something else than an image.
#[derive(Debug, clap::Args)]
pub(crate) struct CallArgs {
    /// Set method for evaluating build ("check", "outline", "targets", each with ",format=json")
    #[arg(long, value_name = "string", default_value = "build")]
    call: String,
    /// Shorthand for "--call=check"
    #[arg(long)]
    check: bool,
    /// Show which steps would come from the cache and which would run, and why; build nothing
    #[arg(long, conflicts_with = "check")]
    plan: bool,
}

/// What is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Method {
    Check,
    Outline,
    Plan,
    Targets,
}

/// For whom the answer is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Form {
    Text,
    Json,
}

/// A question about a Dockerfile.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Call {
    method: Method,
    form: Form,
}

impl CallArgs {
    /// The question, `None` when an image is to be built.
    pub(crate) fn method(&self) -> Result<Option<Call>> {
        let unknown = |what: &str| {
            Error::refused(
                format!("invalid argument {:?} for \"--call\" flag: {what}", self.call),
                "methods are build, check, outline and targets, with ,format=json where it suits",
            )
        };
        let (name, options) = self.call.split_once(',').unwrap_or((&self.call, ""));
        let method = match name {
            "build" => None,
            "check" | "lint" => Some(Method::Check),
            "outline" => Some(Method::Outline),
            "targets" => Some(Method::Targets),
            _ => return Err(unknown("no such method")),
        };
        let form = match options {
            "" | "format=text" | "format=default" => Form::Text,
            "format=json" => Form::Json,
            _ => return Err(unknown("no such option")),
        };
        let method = match (self.check, self.plan, method) {
            (true, _, None | Some(Method::Check)) => Some(Method::Check),
            (_, true, None) => Some(Method::Plan),
            (false, false, method) => method,
            _ => return Err(unknown("together with another question")),
        };
        Ok(method.map(|method| Call { method, form }))
    }
}

impl Call {
    /// Asks and prints the answer.
    pub(crate) fn run(self, session: &Session, build: &BuildImage) -> Result<()> {
        let builds = session.engine()?.builds();
        let (name, file) = (&build.request.dockerfile_name, &build.request.dockerfile);
        match (self.method, self.form) {
            (Method::Check, form) => {
                let report = builds.check(build)?;
                match form {
                    Form::Text => session.ui.print(&report.render(name, file))?,
                    Form::Json => session.ui.print(&pretty(&report.json(name, file)))?,
                }
                if report.is_error { Err(Error::Status(1)) } else { Ok(()) }
            }
            (Method::Outline, Form::Text) => {
                session.ui.print(&outline_text(&builds.outline(build)?))
            }
            (Method::Outline, Form::Json) => session.ui.print(&pretty(&builds.outline(build)?)),
            (Method::Targets, Form::Text) => session.ui.print(&targets_text(&targets(file))),
            (Method::Targets, Form::Json) => session.ui.print(&targets_json(name, file)),
            (Method::Plan, _) => {
                builds.plan(build)?.iter().try_for_each(|plan| session.ui.print(&plan.to_string()))
            }
        }
    }
}

/// The least width of a column, as BuildKit prints outlines.
const CELL_MIN: usize = 5;

fn outline_text(outline: &Outline) -> String {
    let mut parts = Vec::new();
    let mut head = String::new();
    if !outline.name.is_empty() {
        head.push_str(&format!("TARGET:      {}\n", outline.name));
    }
    if !outline.description.is_empty() {
        head.push_str(&format!("DESCRIPTION: {}\n", outline.description));
    }
    parts.push(head);
    let args = outline.args.iter().map(|a| format!("{}\t{}\t{}\n", a.name, a.value, a.description));
    parts.push(listed("BUILD ARG\tVALUE\tDESCRIPTION\n", args));
    for (title, mounts) in [("SECRET", &outline.secrets), ("SSH", &outline.ssh)] {
        let lines = mounts
            .iter()
            .map(|m| format!("{}\t{}\n", m.name, if m.required { "true" } else { "" }));
        parts.push(listed(&format!("{title}\tREQUIRED\n"), lines));
    }
    parts.retain(|part| !part.is_empty());
    parts.join("\n")
}

fn listed(head: &str, lines: impl Iterator<Item = String>) -> String {
    let body: String = lines.collect();
    if body.is_empty() { body } else { align(&format!("{head}{body}"), CELL_MIN) }
}

fn targets_text(targets: &[Target]) -> String {
    let mut text = "TARGET\tDESCRIPTION\n".to_owned();
    for target in targets {
        let name = match (target.name.as_str(), target.default) {
            ("", true) => "(default)".to_owned(),
            (name, true) => format!("{name} (default)"),
            (name, false) => name.to_owned(),
        };
        text.push_str(&format!("{name}\t{}\n", target.description));
    }
    align(&text, CELL_MIN)
}

fn targets_json(name: &str, file: &Dockerfile) -> String {
    let source = serde_json::json!({ "filename": name, "language": "Dockerfile" });
    pretty(&serde_json::json!({ "targets": targets(file), "sources": [source] }))
}

fn pretty(value: &impl serde::Serialize) -> String {
    // Strings, numbers, lists and maps with names for keys: nothing that JSON cannot hold.
    serde_json::to_string_pretty(value).map_or_else(|e| e.to_string(), |text| text + "\n")
}

#[cfg(test)]
mod tests {
    use engine::builder::frontend::parse;

    use super::*;

    fn asked(call: &str, check: bool, plan: bool) -> Result<Option<Call>> {
        CallArgs { call: call.to_owned(), check, plan }.method()
    }

    #[test]
    fn a_call_is_a_method_with_a_form() {
        assert_eq!(asked("build", false, false).unwrap(), None);
        let check = Call { method: Method::Check, form: Form::Text };
        assert_eq!(asked("check", false, false).unwrap(), Some(check));
        assert_eq!(asked("build", true, false).unwrap(), Some(check));
        let outline = Call { method: Method::Outline, form: Form::Json };
        assert_eq!(asked("outline,format=json", false, false).unwrap(), Some(outline));
        for (call, check, plan) in [
            ("cook", false, false),
            ("check,format=xml", false, false),
            ("outline", true, false),
            ("targets", false, true),
        ] {
            assert!(asked(call, check, plan).is_err(), "{call} {check} {plan}");
        }
    }

    /// Covers: BLD-13
    #[test]
    fn targets_are_listed_as_buildkit_lists_them() {
        let file = parse("# app the program\nFROM scratch AS app\nFROM scratch\n").unwrap();
        assert_eq!(
            targets_text(&targets(&file)),
            "TARGET      DESCRIPTION\napp         the program\n(default)   \n"
        );
    }
}
