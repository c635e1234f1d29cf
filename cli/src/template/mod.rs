//! Go's `text/template` language as far as Docker's `--format` uses it, over JSON values.
//!
//! [`Template::parse`] turns text into a tree, [`Template::execute`] walks the tree over one value. Nothing
//! here reads a file, a clock or the environment, and no input makes it panic. Texts of errors are Go's,
//! since scripts match on them. `define`, `block` and `template` are refused by name: a format is one line.

mod compare;
mod eval;
mod func;
mod lex;
mod parse;
mod printf;
mod value;

#[cfg(test)]
mod tests;

use serde_json::Value as Json;

pub(crate) use eval::{ExecOptions, MissingKey};
pub(crate) use func::Functions;
pub(crate) use value::quoted;

/// The key under which a row keeps the labels that `{{.Label "key"}}` looks into; never shown.
pub(crate) const LABELS: &str = "\0labels";

/// Why a template was refused or stopped; `Display` is Go's own text.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Error {
    /// The text is not a template.
    #[error("template: :{line}: {message}")]
    Parse {
        /// The line, from 1, on which parsing stopped.
        line: usize,
        /// What was met there.
        message: String,
    },
    /// The template does not fit the value it was given.
    #[error("template: :{line}:{column}: executing \"\" at <{context}>: {message}")]
    Execute {
        /// The line of the failing node, from 1.
        line: usize,
        /// The byte of the failing node within its line.
        column: usize,
        /// The failing node as text.
        context: String,
        /// What went wrong.
        message: String,
    },
}

/// A parsed template.
#[derive(Debug, Clone)]
pub(crate) struct Template {
    text: String,
    root: Vec<parse::Node>,
}

impl Template {
    /// Parses `text`, or says on which line and why it is not a template.
    pub(crate) fn parse(text: &str) -> Result<Self, Error> {
        let root = parse::parse(text)?;
        Ok(Self { text: text.to_owned(), root })
    }

    /// Renders the template over `data`.
    pub(crate) fn execute(&self, data: &Json, options: &ExecOptions) -> Result<String, Error> {
        eval::execute(&self.text, &self.root, data, options)
    }
}
