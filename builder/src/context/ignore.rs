//! `.dockerignore`: the pattern language of moby's `patternmatcher`.
//!
//! Unlike gitignore a plain name matches at the root only, the last matching pattern wins, and a pattern that
//! matches a folder holds for everything in it.

use regex::{RegexSet, RegexSetBuilder};

use crate::limits;
use crate::paths;

/// Why an ignore file cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum IgnoreError {
    /// One pattern is malformed.
    #[error("line {line}: {pattern:?} is not a pattern: {reason}")]
    Pattern {
        /// The line, counted from 1 (0 when the patterns did not come from a file).
        line: usize,
        /// The pattern.
        pattern: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The file is too large.
    #[error("the ignore file is larger than {} bytes", limits::IGNORE_FILE_BYTES)]
    TooLarge,
    /// The patterns together are too large for one automaton.
    #[error("the patterns are too many or too long")]
    Automaton(#[source] regex::Error),
}

/// Compiled patterns; the last that matches decides.
#[derive(Debug, Clone)]
pub struct Patterns {
    set: RegexSet,
    rules: Vec<Rule>,
    has_exceptions: bool,
}

#[derive(Debug, Clone)]
struct Rule {
    /// `!pattern`: what it matches is not excluded.
    exception: bool,
    text: String,
}

/// What the folders above a path have matched, one flag per pattern.
#[derive(Debug, Clone, Default)]
pub struct Inherited(Vec<bool>);

impl Default for Patterns {
    fn default() -> Self {
        Patterns { set: RegexSet::empty(), rules: Vec::new(), has_exceptions: false }
    }
}

impl Patterns {
    /// Reads an ignore file.
    pub fn from_file(text: &str) -> Result<Patterns, IgnoreError> {
        if text.len() as u64 > limits::IGNORE_FILE_BYTES {
            return Err(IgnoreError::TooLarge);
        }
        Patterns::compile(file_patterns(text))
    }

    /// Compiles patterns that were given one by one, such as `COPY --exclude`.
    pub fn new<S: AsRef<str>>(patterns: &[S]) -> Result<Patterns, IgnoreError> {
        Patterns::compile(patterns.iter().map(|p| (0, p.as_ref().to_owned())).collect())
    }

    fn compile(patterns: Vec<(usize, String)>) -> Result<Patterns, IgnoreError> {
        let mut rules = Vec::new();
        let mut expressions = Vec::new();
        for (line, pattern) in patterns {
            let trimmed = pattern.trim();
            if trimmed.is_empty() {
                continue;
            }
            let (exception, body) = match trimmed.strip_prefix('!') {
                Some(body) => (true, paths::clean(body)),
                None => (false, paths::clean(trimmed)),
            };
            let refuse = |reason: &str| IgnoreError::Pattern {
                line,
                pattern: trimmed.to_owned(),
                reason: reason.to_owned(),
            };
            if exception && trimmed == "!" {
                return Err(refuse("there is nothing behind the !"));
            }
            if paths::matches(&body, ".").is_err() {
                return Err(refuse("a bracket or a backslash is not closed"));
            }
            expressions.push(expression(&body));
            rules.push(Rule { exception, text: body });
        }
        let set = RegexSetBuilder::new(&expressions)
            .size_limit(256 << 20)
            .build()
            .map_err(IgnoreError::Automaton)?;
        Ok(Patterns { set, has_exceptions: rules.iter().any(|r| r.exception), rules })
    }

    /// True when nothing is ever excluded.
    pub fn is_empty(&self) -> bool {
        self.rules.is_empty()
    }

    /// The patterns as they were understood, exceptions with their `!`.
    pub fn texts(&self) -> impl Iterator<Item = String> + '_ {
        self.rules.iter().map(|r| if r.exception { format!("!{}", r.text) } else { r.text.clone() })
    }

    /// True when a `!` pattern exists.
    pub fn has_exceptions(&self) -> bool {
        self.has_exceptions
    }

    /// Whether the slash path `path`, relative to the root of the context, is excluded.
    pub fn excludes(&self, path: &str) -> bool {
        let mut above = Inherited::default();
        let mut at = 0;
        while let Some(slash) = path[at..].find('/') {
            at += slash;
            above = self.step(&path[..at], &above).1;
            at += 1;
        }
        self.step(path, &above).0
    }

    /// Whether `path` is excluded, given what its folders matched; and what it hands to its own entries.
    pub fn step(&self, path: &str, above: &Inherited) -> (bool, Inherited) {
        if self.rules.is_empty() {
            return (false, Inherited::default());
        }
        let mut matched = above.0.clone();
        matched.resize(self.rules.len(), false);
        for index in self.set.matches(path) {
            matched[index] = true;
        }
        let excluded = matched
            .iter()
            .zip(&self.rules)
            .rev()
            .find(|(hit, _)| **hit)
            .is_some_and(|(_, rule)| !rule.exception);
        (excluded, Inherited(matched))
    }

    /// Whether an excluded folder must still be walked because an exception may bring back something in it.
    pub fn may_bring_back_inside(&self, folder: &str) -> bool {
        self.has_exceptions
            && self.rules.iter().filter(|r| r.exception).any(|rule| {
                let literal = literal_head(&rule.text);
                literal.len() < rule.text.len() && folder_meets(folder, literal)
                    || rule.text.len() > folder.len()
                        && rule.text.starts_with(folder)
                        && rule.text.as_bytes()[folder.len()] == b'/'
            })
    }
}

/// The whole folders in front of the first wildcard.
fn literal_head(pattern: &str) -> &str {
    let wild = pattern.find(['*', '?', '[', '\\']).unwrap_or(pattern.len());
    if wild == pattern.len() {
        pattern
    } else {
        pattern[..wild].rfind('/').map_or("", |slash| &pattern[..slash])
    }
}

/// One of the two lies in (or is) the other.
fn folder_meets(folder: &str, literal: &str) -> bool {
    let inside = |inner: &str, outer: &str| {
        outer.is_empty()
            || inner == outer
            || inner.strip_prefix(outer).is_some_and(|r| r.starts_with('/'))
    };
    inside(folder, literal) || inside(literal, folder)
}

/// The patterns of an ignore file with their line numbers.
fn file_patterns(text: &str) -> Vec<(usize, String)> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let mut patterns = Vec::new();
    for (index, line) in text.lines().enumerate() {
        // A comment sign counts in the first column only.
        if line.starts_with('#') || line.trim().is_empty() {
            continue;
        }
        let line = line.trim();
        let (sign, body) = line.strip_prefix('!').map_or(("", line), |body| ("!", body.trim()));
        let mut cleaned = if body.is_empty() { String::new() } else { paths::clean(body) };
        if cleaned.len() > 1 && cleaned.starts_with('/') {
            cleaned.remove(0);
        }
        patterns.push((index + 1, format!("{sign}{cleaned}")));
    }
    patterns
}

/// A pattern as a regular expression over whole paths.
fn expression(pattern: &str) -> String {
    let mut out = String::from("(?s)^");
    let mut chars = pattern.chars().peekable();
    let mut in_class = false;
    let mut first = true;
    while let Some(c) = chars.next() {
        let leading = std::mem::replace(&mut first, false);
        match c {
            ']' if in_class => {
                in_class = false;
                out.push(']');
            }
            c if in_class => class_char(&mut out, c, &mut chars),
            '*' if chars.peek() == Some(&'*') => {
                chars.next();
                let slash = chars.next_if_eq(&'/').is_some();
                match chars.peek() {
                    None => out.push_str(".*"),
                    // At the very start `**x` is a suffix, `**/x` a suffix at a folder boundary.
                    Some(_) if leading && !slash => out.push_str(".*"),
                    Some(_) => out.push_str("(?:.*/)?"),
                }
            }
            '*' => out.push_str("[^/]*"),
            '?' => out.push_str("[^/]"),
            '[' => {
                in_class = true;
                out.push('[');
                if chars.next_if_eq(&'^').is_some() {
                    out.push('^');
                }
            }
            '\\' => {
                if let Some(escaped) = chars.next() {
                    out.push_str(&regex::escape(&escaped.to_string()));
                }
            }
            c => out.push_str(&regex::escape(&c.to_string())),
        }
    }
    out.push('$');
    out
}

/// Inside brackets only the range sign keeps its meaning.
fn class_char(out: &mut String, c: char, chars: &mut std::iter::Peekable<std::str::Chars<'_>>) {
    let literal = match c {
        '-' => return out.push('-'),
        '\\' => chars.next().unwrap_or('\\'),
        c => c,
    };
    if literal.is_alphanumeric() {
        out.push(literal);
    } else {
        out.push('\\');
        if literal.is_ascii()
            && !literal.is_ascii_control()
            && literal != ' '
            && literal != '<'
            && literal != '>'
        {
            out.push(literal);
        } else {
            out.push_str(&format!("x{{{:x}}}", literal as u32));
        }
    }
}

#[cfg(test)]
mod tests;
