//! Parser directives: `# syntax=`, `# escape=` and `# check=` at the very top of the file.
//!
//! The zone ends at the first line that is not a known directive: a comment, a blank line or an instruction.

use super::span::{Diagnostic, Span};

/// What the directives at the top of a Dockerfile say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Directives {
    /// The image named by `# syntax=`.
    pub syntax: Option<String>,
    /// The escape character, a backslash unless `# escape=` says a backtick.
    pub escape: char,
    /// The value of `# check=`: `skip=A,B;error=true`.
    pub check: Option<String>,
}

impl Default for Directives {
    fn default() -> Self {
        Directives { syntax: None, escape: '\\', check: None }
    }
}

/// The directives of `text`, and how many bytes of it they take.
pub(super) fn parse_directives(text: &str) -> Result<(Directives, usize), Diagnostic> {
    let mut found = Directives::default();
    let mut seen: Vec<String> = Vec::new();
    let mut at = 0;
    for line in text.split_inclusive('\n') {
        let Some((key, value)) = directive(line) else { break };
        let span = Span::new(at, at + line.trim_end().len());
        if seen.contains(&key) {
            return Err(Diagnostic::new(
                text,
                span,
                format!("only one {key} parser directive can be used"),
            )
            .hint("remove one of the two lines"));
        }
        match key.as_str() {
            "syntax" => found.syntax = Some(value.to_owned()),
            "check" => found.check = Some(value.to_owned()),
            "escape" => found.escape = escape_char(text, span, value)?,
            _ => break,
        }
        seen.push(key);
        at += line.len();
    }
    Ok((found, at))
}

/// `# key=value`, with the key in lower case.
fn directive(line: &str) -> Option<(String, &str)> {
    let rest = line.trim_start().strip_prefix('#')?.trim();
    let (key, value) = rest.split_once('=')?;
    let key = key.trim();
    let word =
        key.chars().next()?.is_ascii_alphabetic() && key.chars().all(|c| c.is_ascii_alphanumeric());
    word.then(|| (key.to_lowercase(), value.trim()))
}

fn escape_char(text: &str, span: Span, value: &str) -> Result<char, Diagnostic> {
    match value {
        "\\" => Ok('\\'),
        "`" => Ok('`'),
        other => Err(Diagnostic::new(text, span, format!("invalid escape token {other:?}"))
            .hint("the escape directive takes ` or \\")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, syntax: Option<&str>, escape: char, check: Option<&str>) {
        let (d, _) = parse_directives(text).unwrap();
        assert_eq!(
            (d.syntax.as_deref(), d.escape, d.check.as_deref()),
            (syntax, escape, check),
            "{text:?}"
        );
    }

    /// Covers: BLD-1, BLD-3
    #[test]
    fn directives_are_read_only_at_the_very_top() {
        check(
            "# syntax=docker/dockerfile:1\n# escape=`\nFROM a",
            Some("docker/dockerfile:1"),
            '`',
            None,
        );
        check("#ESCAPE = `\nFROM a", None, '`', None);
        check("# hello\n# escape=`\nFROM a", None, '\\', None);
        check("\n# escape=`\nFROM a", None, '\\', None);
        check("FROM a\n# escape=`\n", None, '\\', None);
        check("# other=1\n# escape=`\nFROM a", None, '\\', None);
        check("#check=skip=all;error=true\nFROM a", None, '\\', Some("skip=all;error=true"));
    }

    /// Covers: BLD-1
    #[test]
    fn a_repeated_directive_is_an_error() {
        let e = parse_directives("# escape=`\n# escape=\\\nFROM a").unwrap_err();
        assert_eq!(
            (e.message(), e.line_number()),
            ("only one escape parser directive can be used", 2)
        );
    }

    #[test]
    fn an_escape_other_than_backslash_or_backtick_is_an_error() {
        assert_eq!(
            parse_directives("# escape=x\n").unwrap_err().message(),
            "invalid escape token \"x\""
        );
    }
}
