//! The Dockerfile front end: text in, stages out, every mistake with its line, a caret and a way out.
//!
//! The language is the Dockerfile reference at the level of `docker/dockerfile:1`; see [`LANGUAGE_LEVEL`].

mod args;
mod directive;
pub mod expand;
pub mod golang;
mod instruction;
mod lines;
mod mount;
mod parse;
pub mod span;

pub use directive::Directives;
pub use instruction::{
    ArgPair, CommandLine, Copy, Form, Health, InlineFile, Instruction, KEYWORDS, KeyValue, Network,
    Node, Run, Security, Stage,
};
pub use lines::Heredoc;
pub use mount::{Mount, MountError, MountFlag, MountKind, Sharing};
pub use span::{Diagnostic, Span};

use crate::limits;
use parse::Parsed;

/// The level of the Dockerfile language that this front end reads; `# syntax=` images are not run.
pub const LANGUAGE_LEVEL: &str = "docker/dockerfile:1.20";

/// A parsed Dockerfile.
#[derive(Debug, Clone, PartialEq)]
pub struct Dockerfile {
    /// The text it was parsed from, without a byte order mark.
    pub text: String,
    /// The directives at its top.
    pub directives: Directives,
    /// ARG instructions before the first FROM.
    pub global_args: Vec<Node>,
    /// The stages, in order; at least one.
    pub stages: Vec<Stage>,
    /// Doubtful places that are not errors.
    pub warnings: Vec<Warning>,
}

/// A doubtful place found while parsing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Warning {
    /// A blank line inside a continued instruction.
    EmptyContinuation(Span),
}

impl Dockerfile {
    /// A message about a place of this file.
    pub fn diagnostic(&self, span: Span, message: impl Into<String>) -> Diagnostic {
        let line_end = self.text[span.start.min(self.text.len())..]
            .find('\n')
            .map_or(self.text.len(), |i| span.start + i);
        Diagnostic::new(&self.text, Span::new(span.start, span.end.min(line_end)), message)
    }

    /// The index of the stage called `name` (in any case) or numbered so.
    pub fn stage_index(&self, name: &str) -> Option<usize> {
        let lower = name.to_lowercase();
        let named = self.stages.iter().rposition(|s| s.name.as_deref() == Some(&lower));
        named.or_else(|| name.parse::<usize>().ok().filter(|i| *i < self.stages.len()))
    }
}

/// Parses a Dockerfile.
pub fn parse(text: &str) -> Result<Dockerfile, Diagnostic> {
    if text.len() as u64 > limits::DOCKERFILE_BYTES {
        return Err(Diagnostic::new("", Span::default(), "the Dockerfile is too large"));
    }
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let (directives, lines) = lines::split(text)?;
    let mut file = Dockerfile {
        text: text.to_owned(),
        directives,
        global_args: Vec::new(),
        stages: Vec::new(),
        warnings: Vec::new(),
    };
    for line in &lines {
        file.warnings.extend(line.empty_continuation.map(Warning::EmptyContinuation));
        match parse::parse_line(text, line, file.directives.escape)? {
            Parsed::From(mut stage) => {
                stage.index = file.stages.len();
                file.stages.push(*stage);
            }
            Parsed::Other(node) => match (file.stages.last_mut(), &node.instruction) {
                (Some(stage), _) => stage.nodes.push(*node),
                (None, Instruction::Arg(_)) => file.global_args.push(*node),
                (None, _) => {
                    return Err(file
                        .diagnostic(
                            node.span,
                            format!(
                                "no build stage in current context: {} before the first FROM",
                                node.instruction.keyword()
                            ),
                        )
                        .hint("start the Dockerfile with FROM (only ARG may stand before it)"));
                }
            },
        }
    }
    if file.stages.is_empty() {
        let message = if lines.is_empty() {
            "file with no instructions"
        } else {
            "dockerfile contains no stages to build"
        };
        return Err(Diagnostic::new(text, Span::new(0, 0), message).hint("add a FROM instruction"));
    }
    Ok(file)
}

/// Parses one instruction that stands alone: an ONBUILD trigger of an image.
pub fn parse_trigger(text: &str) -> Result<Node, Diagnostic> {
    let (_, lines) = lines::split(text)?;
    let refuse = |message: &str| Diagnostic::new(text, Span::new(0, text.len()), message);
    let [line] = lines.as_slice() else {
        return Err(refuse("onbuild trigger should be a single expression"));
    };
    match parse::parse_line(text, line, '\\')? {
        Parsed::Other(node)
            if matches!(node.instruction, Instruction::Onbuild(_) | Instruction::Maintainer(_)) =>
        {
            Err(refuse("the instruction isn't allowed as an ONBUILD trigger"))
        }
        Parsed::Other(node) => Ok(*node),
        Parsed::From(_) => Err(refuse("FROM isn't allowed as an ONBUILD trigger")),
    }
}

#[cfg(test)]
mod tests;
