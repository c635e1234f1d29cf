//! Splitting the arguments of an instruction: words with their quotes, JSON arrays, flags.

use super::lines::LogicalLine;
use super::span::{Diagnostic, Span, nearest};

/// The arguments of one instruction with the way back to the file.
pub(super) struct Args<'a> {
    /// The whole Dockerfile.
    pub(super) text: &'a str,
    /// The logical line.
    pub(super) line: &'a LogicalLine,
    /// Where `rest` starts in the line.
    pub(super) at: usize,
    /// What follows the keyword and the flags.
    pub(super) rest: &'a str,
    /// The keyword in upper case.
    pub(super) keyword: &'a str,
    /// The escape character.
    pub(super) escape: char,
}

/// One `--name[=value]` in front of the arguments.
#[derive(Debug, Clone)]
pub(super) struct Flag {
    pub(super) name: String,
    pub(super) value: Option<String>,
    pub(super) span: Span,
}

impl Args<'_> {
    /// A message about the whole instruction.
    pub(super) fn error(&self, message: impl Into<String>) -> Diagnostic {
        let first_line_end = self.text[self.line.span.start..]
            .find('\n')
            .map_or(self.text.len(), |i| self.line.span.start + i);
        Diagnostic::new(
            self.text,
            Span::new(self.line.span.start, self.line.span.end.min(first_line_end)),
            message,
        )
    }

    /// A message about a part of the arguments, given where it begins in `rest` and how long it is.
    pub(super) fn error_at(
        &self,
        start: usize,
        length: usize,
        message: impl Into<String>,
    ) -> Diagnostic {
        Diagnostic::new(
            self.text,
            self.line.locate(self.at + start, self.at + start + length),
            message,
        )
    }

    /// Takes the flags off the front of the arguments.
    pub(super) fn take_flags(&mut self) -> Vec<Flag> {
        let mut flags = Vec::new();
        loop {
            let skipped = self.rest.len() - self.rest.trim_start().len();
            let body = &self.rest[skipped..];
            let end = word_end(body, self.escape);
            let word = &body[..end];
            if !word.starts_with("--") {
                break;
            }
            let at = self.at + skipped;
            self.rest = &body[end..];
            self.at = at + end;
            if word == "--" {
                break;
            }
            let raw = unquote(&word[2..], self.escape);
            let (name, value) =
                raw.split_once('=').map_or((raw.as_str(), None), |(n, v)| (n, Some(v.to_owned())));
            flags.push(Flag { name: name.to_owned(), value, span: self.line.locate(at, at + end) });
        }
        let skipped = self.rest.len() - self.rest.trim_start().len();
        self.rest = self.rest[skipped..].trim_end();
        self.at += skipped;
        flags
    }

    /// Refuses flags that the instruction does not have, and a second use of those that come once.
    pub(super) fn check_flags(
        &self,
        flags: &[Flag],
        known: &[&str],
        repeatable: &[&str],
    ) -> Result<(), Diagnostic> {
        for (index, flag) in flags.iter().enumerate() {
            if !known.contains(&flag.name.as_str()) {
                let hint = match nearest(&flag.name, known.iter().copied()) {
                    Some(near) => format!("did you mean --{near}?"),
                    None if known.is_empty() => format!("{} takes no flags", self.keyword),
                    None => format!("{} takes --{}", self.keyword, known.join(", --")),
                };
                return Err(Diagnostic::new(
                    self.text,
                    flag.span,
                    format!("unknown flag: {}", flag.name),
                )
                .hint(hint));
            }
            if !repeatable.contains(&flag.name.as_str())
                && flags[..index].iter().any(|f| f.name == flag.name)
            {
                return Err(Diagnostic::new(
                    self.text,
                    flag.span,
                    format!("duplicate flag specified: {}", flag.name),
                ));
            }
        }
        Ok(())
    }

    /// The value of a flag that must have one.
    pub(super) fn value(&self, flag: &Flag) -> Result<String, Diagnostic> {
        flag.value.clone().ok_or_else(|| {
            Diagnostic::new(self.text, flag.span, format!("missing a value on flag: {}", flag.name))
                .hint(format!("write --{}=VALUE", flag.name))
        })
    }

    /// The value of a flag that is true when it stands alone.
    pub(super) fn boolean(&self, flag: &Flag) -> Result<bool, Diagnostic> {
        match flag.value.as_deref().map(str::to_ascii_lowercase).as_deref() {
            None | Some("true") => Ok(true),
            Some("false") => Ok(false),
            Some(other) => Err(Diagnostic::new(
                self.text,
                flag.span,
                format!("expecting boolean value for flag {}, not: {other}", flag.name),
            )),
        }
    }

    /// The words, quotes kept.
    pub(super) fn words(&self) -> Vec<String> {
        split_words(self.rest, self.escape)
    }

    /// The elements of an exec form, `None` when it is not one.
    pub(super) fn json(&self) -> Result<Option<Vec<String>>, Diagnostic> {
        let body = self.rest.trim();
        if !body.starts_with('[') {
            return Ok(None);
        }
        let Ok(values) = serde_json::from_str::<Vec<serde_json::Value>>(body) else {
            return Ok(None);
        };
        let strings: Option<Vec<String>> =
            values.into_iter().map(|v| v.as_str().map(str::to_owned)).collect();
        strings.map(Some).ok_or_else(|| {
            self.error_at(
                0,
                body.len(),
                "when using JSON array syntax, arrays must be comprised of strings only",
            )
            .hint("put every element in double quotes")
        })
    }

    /// A JSON array, or else the words at white space.
    pub(super) fn json_or_fields(&self) -> Result<(Vec<String>, bool), Diagnostic> {
        Ok(match self.json()? {
            Some(list) => (list, true),
            None => (self.rest.split_whitespace().map(str::to_owned).collect(), false),
        })
    }
}

/// Where the first word of `text` ends; a quote may hold white space.
fn word_end(text: &str, escape: char) -> usize {
    let mut quote = None;
    let mut chars = text.char_indices();
    while let Some((at, c)) = chars.next() {
        match quote {
            Some(q) if c == q => quote = None,
            None if matches!(c, '"' | '\'') => quote = Some(c),
            None if c.is_whitespace() => return at,
            _ if c == escape && quote != Some('\'') => {
                chars.next();
            }
            _ => {}
        }
    }
    text.len()
}

/// Quotes and escapes removed once.
fn unquote(word: &str, escape: char) -> String {
    let mut out = String::new();
    let mut quote = None;
    let mut chars = word.chars();
    while let Some(c) = chars.next() {
        match quote {
            Some(q) if c == q => quote = None,
            None if matches!(c, '"' | '\'') => quote = Some(c),
            _ if c == escape && quote != Some('\'') => out.extend(chars.next()),
            _ => out.push(c),
        }
    }
    out
}

/// Splits at unquoted white space; quotes and escapes stay for the expansion to remove.
pub(super) fn split_words(text: &str, escape: char) -> Vec<String> {
    let mut words = Vec::new();
    let mut rest = text.trim_start();
    while !rest.is_empty() {
        let end = word_end(rest, escape);
        let word = &rest[..end];
        let trailing = word.chars().rev().take_while(|c| *c == escape).count() % 2 == 1;
        let word = if trailing && end == rest.len() {
            &word[..word.len() - escape.len_utf8()]
        } else {
            word
        };
        if !word.is_empty() {
            words.push(word.to_owned());
        }
        rest = rest[end..].trim_start();
    }
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_keep_their_quotes_and_escapes() {
        for (text, expect) in [
            ("a b", vec!["a", "b"]),
            ("a=\"x y\" b", vec!["a=\"x y\"", "b"]),
            ("a=x\\ y b", vec!["a=x\\ y", "b"]),
            ("a='x\\' b", vec!["a='x\\'", "b"]),
            ("a=\"\\\"\" b", vec!["a=\"\\\"\"", "b"]),
            ("  \t ", vec![]),
            ("a\\", vec!["a"]),
            ("'' b", vec!["''", "b"]),
        ] {
            assert_eq!(split_words(text, '\\'), expect, "{text}");
        }
    }
}
