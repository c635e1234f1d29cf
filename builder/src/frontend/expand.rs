//! Word expansion: quotes, escapes and `$variables`, as the Dockerfile reference has them.
//!
//! Every word of an instruction is expanded in the environment *before* that instruction.

use std::collections::BTreeSet;
use std::iter::Peekable;
use std::str::Chars;

use crate::limits;

/// A word that cannot be expanded.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("failed to process {word:?}: {message}")]
pub struct ExpandError {
    word: String,
    message: String,
}

impl ExpandError {
    /// What is wrong, without the word.
    pub fn message(&self) -> &str {
        &self.message
    }
}

/// The outcome of expanding one word.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Expanded {
    /// The word as one string.
    pub text: String,
    /// The word split at unquoted white space, after substitution.
    pub words: Vec<String>,
    /// Variables that were found.
    pub matched: BTreeSet<String>,
    /// Variables that were not.
    pub unmatched: BTreeSet<String>,
}

/// How to treat quotes, escapes and unset variables.
#[derive(Debug, Clone, Copy)]
pub struct Lexer {
    escape: char,
    raw_quotes: bool,
    raw_escapes: bool,
    ignore_quotes: bool,
    skip_unset: bool,
}

impl Lexer {
    /// A lexer that removes quotes once and replaces unset variables by nothing.
    pub fn new(escape: char) -> Self {
        Lexer {
            escape,
            raw_quotes: false,
            raw_escapes: false,
            ignore_quotes: false,
            skip_unset: false,
        }
    }

    /// Quotes stay in the result.
    #[must_use]
    pub fn raw_quotes(self) -> Self {
        Lexer { raw_quotes: true, ..self }
    }

    /// Escapes stay in the result.
    #[must_use]
    pub fn raw_escapes(self) -> Self {
        Lexer { raw_escapes: true, ..self }
    }

    /// Quotes mean nothing: the rule inside a here-document.
    #[must_use]
    pub fn ignore_quotes(self) -> Self {
        Lexer { ignore_quotes: true, ..self }
    }

    /// An unset variable stays as it was written.
    #[must_use]
    pub fn skip_unset(self) -> Self {
        Lexer { skip_unset: true, ..self }
    }

    /// Expands `word` in `env`, a list of names and values in which the last of equal names wins.
    pub fn expand(&self, word: &str, env: &[(String, String)]) -> Result<Expanded, ExpandError> {
        let fail = |message: String| ExpandError { word: word.to_owned(), message };
        if word.len() > limits::WORD_BYTES {
            return Err(ExpandError {
                word: word.chars().take(40).collect(),
                message: "the word is too long".to_owned(),
            });
        }
        let mut run = Run {
            lexer: *self,
            raw_escapes: self.raw_escapes,
            chars: word.chars().peekable(),
            env,
            depth: 0,
            out: Expanded::default(),
        };
        let (text, words) = run.until(None).map_err(fail)?;
        if text.len() > limits::WORD_BYTES {
            return Err(ExpandError {
                word: word.chars().take(40).collect(),
                message: "the expanded word is too long".to_owned(),
            });
        }
        Ok(Expanded { text, words, ..run.out })
    }

    /// The expanded word as one string.
    pub fn word(&self, word: &str, env: &[(String, String)]) -> Result<String, ExpandError> {
        self.expand(word, env).map(|e| e.text)
    }

    /// The expanded word, split.
    pub fn words(&self, word: &str, env: &[(String, String)]) -> Result<Vec<String>, ExpandError> {
        self.expand(word, env).map(|e| e.words)
    }
}

/// One expansion under way.
struct Run<'a> {
    lexer: Lexer,
    raw_escapes: bool,
    chars: Peekable<Chars<'a>>,
    env: &'a [(String, String)],
    depth: usize,
    out: Expanded,
}

/// Splits as characters arrive: raw ones belong to the word even when they are blank.
#[derive(Default)]
struct Splitter {
    word: String,
    words: Vec<String>,
}

impl Splitter {
    fn add(&mut self, c: char) {
        if !c.is_whitespace() {
            self.word.push(c);
        } else if !self.word.is_empty() {
            self.words.push(std::mem::take(&mut self.word));
        }
    }

    fn finish(mut self) -> Vec<String> {
        if !self.word.is_empty() {
            self.words.push(self.word);
        }
        self.words
    }
}

impl Run<'_> {
    /// Reads up to `stop` (which is eaten), or to the end when there is none.
    fn until(&mut self, stop: Option<char>) -> Result<(String, Vec<String>), String> {
        let mut text = String::new();
        let mut split = Splitter::default();
        while let Some(&c) = self.chars.peek() {
            if Some(c) == stop {
                self.chars.next();
                return Ok((text, split.finish()));
            }
            if c == '$' {
                let value = self.dollar()?;
                value.chars().for_each(|c| split.add(c));
                text.push_str(&value);
            } else if matches!(c, '\'' | '"') && !self.lexer.ignore_quotes {
                let value = if c == '"' { self.double_quoted()? } else { self.single_quoted()? };
                split.word.push_str(&value);
                text.push_str(&value);
            } else {
                self.chars.next();
                if c != self.lexer.escape {
                    split.add(c);
                    text.push(c);
                    continue;
                }
                if self.raw_escapes {
                    split.word.push(c);
                    text.push(c);
                }
                let Some(escaped) = self.chars.next() else { break };
                split.word.push(escaped);
                text.push(escaped);
            }
        }
        match stop {
            Some(stop) => {
                Err(format!("unexpected end of statement while looking for matching {stop}"))
            }
            None => Ok((text, split.finish())),
        }
    }

    fn single_quoted(&mut self) -> Result<String, String> {
        let mut text = String::new();
        self.quote(&mut text);
        loop {
            match self.chars.peek() {
                None => {
                    return Err(
                        "unexpected end of statement while looking for matching single-quote"
                            .to_owned(),
                    );
                }
                Some('\'') => {
                    self.quote(&mut text);
                    return Ok(text);
                }
                Some(&c) => {
                    self.chars.next();
                    text.push(c);
                }
            }
        }
    }

    fn double_quoted(&mut self) -> Result<String, String> {
        let mut text = String::new();
        self.quote(&mut text);
        loop {
            match self.chars.peek().copied() {
                None => {
                    return Err(
                        "unexpected end of statement while looking for matching double-quote"
                            .to_owned(),
                    );
                }
                Some('"') => {
                    self.quote(&mut text);
                    return Ok(text);
                }
                Some('$') => text.push_str(&self.dollar()?),
                Some(c) => {
                    self.chars.next();
                    if c != self.lexer.escape {
                        text.push(c);
                        continue;
                    }
                    self.escaped_in_quotes(c, &mut text);
                }
            }
        }
    }

    /// Inside double quotes only `"`, `$` and the escape itself can be escaped.
    fn escaped_in_quotes(&mut self, escape: char, text: &mut String) {
        if self.raw_escapes {
            text.push(escape);
        }
        match self.chars.peek().copied() {
            None => {}
            Some(c) if c == '"' || c == '$' || c == escape => {
                self.chars.next();
                text.push(c);
            }
            Some(_) => text.push(escape),
        }
    }

    fn quote(&mut self, text: &mut String) {
        let quote = self.chars.next();
        if self.lexer.raw_quotes {
            text.extend(quote);
        }
    }

    fn dollar(&mut self) -> Result<String, String> {
        self.chars.next();
        if self.chars.peek() != Some(&'{') {
            let name = self.name();
            if name.is_empty() {
                return Ok("$".to_owned());
            }
            return Ok(match self.get(&name) {
                Some(value) => value,
                None if self.lexer.skip_unset => format!("${name}"),
                None => String::new(),
            });
        }
        self.chars.next();
        self.depth += 1;
        if self.depth > limits::EXPANSION_DEPTH {
            return Err("syntax error: too many nested substitutions".to_owned());
        }
        let value = self.braced();
        self.depth -= 1;
        value
    }

    /// After `${`.
    fn braced(&mut self) -> Result<String, String> {
        match self.chars.peek() {
            None => return Err("syntax error: missing '}'".to_owned()),
            Some('{' | '}' | ':') => return Err("syntax error: bad substitution".to_owned()),
            Some(_) => {}
        }
        let name = self.name();
        let Some(first) = self.chars.next() else {
            return Err("syntax error: missing '}'".to_owned());
        };
        match first {
            '}' => Ok(match self.get(&name) {
                Some(value) => value,
                None if self.lexer.skip_unset => format!("${{{name}}}"),
                None => String::new(),
            }),
            ':' => match self.chars.next() {
                Some(c @ ('-' | '+' | '?')) => self.modifier(&name, c, true),
                Some(c) => Err(format!("unsupported modifier (:{c}) in substitution")),
                None => Err("syntax error: missing '}'".to_owned()),
            },
            '-' | '+' | '?' => self.modifier(&name, first, false),
            '#' | '%' => self.trim(&name, first),
            '/' => self.replace(&name),
            other => Err(format!("unsupported modifier ({other}) in substitution")),
        }
    }

    /// `${v:-w} ${v-w} ${v:+w} ${v+w} ${v:?m} ${v?m}`.
    fn modifier(&mut self, name: &str, kind: char, empty_is_unset: bool) -> Result<String, String> {
        let colon = if empty_is_unset { ":" } else { "" };
        let word = self.argument(false)?;
        // A default, an alternative or a message says that the variable may be unset.
        let value = self.lookup(name);
        if value.is_some() {
            self.out.matched.insert(name.to_owned());
        }
        if value.is_none() && self.lexer.skip_unset {
            return Ok(format!("${{{name}{colon}{kind}{word}}}"));
        }
        let usable = value.as_ref().is_some_and(|v| !(empty_is_unset && v.is_empty()));
        match (kind, usable) {
            ('-', true) | ('?', true) => Ok(value.unwrap_or_default()),
            ('-', false) | ('+', true) => Ok(word),
            ('+', false) => Ok(String::new()),
            _ if !word.is_empty() => Err(format!("{name}: {word}")),
            _ if value.is_none() => Err(format!("{name}: is not allowed to be unset")),
            _ => Err(format!("{name}: is not allowed to be empty")),
        }
    }

    /// `${v#p} ${v##p} ${v%p} ${v%%p}`.
    fn trim(&mut self, name: &str, kind: char) -> Result<String, String> {
        let word = self.argument(true)?;
        let Some(value) = self.get(name) else {
            return Ok(if self.lexer.skip_unset {
                format!("${{{name}{kind}{word}}}")
            } else {
                String::new()
            });
        };
        let (pattern, greedy) =
            word.strip_prefix(kind).map_or((word.as_str(), false), |p| (p, true));
        let pattern = Pattern::parse(pattern)
            .map_err(|e| format!("invalid pattern ({pattern}) in substitution: {e}"))?;
        Ok(if kind == '#' {
            pattern.trim_prefix(&value, greedy)
        } else {
            pattern.trim_suffix(&value, greedy)
        })
    }

    /// `${v/p/r} ${v//p/r}`.
    fn replace(&mut self, name: &str) -> Result<String, String> {
        let all = self.chars.peek() == Some(&'/');
        if all {
            self.chars.next();
        }
        let raw = std::mem::replace(&mut self.raw_escapes, true);
        let pattern =
            self.until(Some('/')).map_err(|e| self.at_end(e, "syntax error: missing '/' in ${}"));
        let replacement = pattern.and_then(|p| {
            let r =
                self.until(Some('}')).map_err(|e| self.at_end(e, "syntax error: missing '}'"))?;
            Ok((p.0, r.0))
        });
        self.raw_escapes = raw;
        let (pattern, replacement) = replacement?;
        let Some(value) = self.get(name) else {
            return Ok(if self.lexer.skip_unset {
                format!("${{{name}/{pattern}/{replacement}}}")
            } else {
                String::new()
            });
        };
        let compiled = Pattern::parse(&pattern)
            .map_err(|e| format!("invalid pattern ({pattern}) in substitution: {e}"))?;
        Ok(compiled.replace(&value, &unescape_braces(&replacement), all))
    }

    fn argument(&mut self, raw: bool) -> Result<String, String> {
        let before = std::mem::replace(&mut self.raw_escapes, raw);
        let word = self.until(Some('}')).map_err(|e| self.at_end(e, "syntax error: missing '}'"));
        self.raw_escapes = before;
        word.map(|(text, _)| text)
    }

    fn at_end(&mut self, error: String, message: &str) -> String {
        if self.chars.peek().is_none() { message.to_owned() } else { error }
    }

    /// Letters, digits and `_`; digits alone when it starts with one; or one special parameter.
    fn name(&mut self) -> String {
        let mut name = String::new();
        let Some(&first) = self.chars.peek() else { return name };
        if matches!(first, '@' | '*' | '#' | '?' | '-' | '$' | '!') {
            self.chars.next();
            return first.to_string();
        }
        let digits_only = first.is_numeric();
        while let Some(&c) = self.chars.peek() {
            let belongs =
                if digits_only { c.is_numeric() } else { c.is_alphanumeric() || c == '_' };
            if !belongs {
                break;
            }
            self.chars.next();
            name.push(c);
        }
        name
    }

    fn lookup(&self, name: &str) -> Option<String> {
        self.env.iter().rev().find(|(key, _)| key == name).map(|(_, value)| value.clone())
    }

    fn get(&mut self, name: &str) -> Option<String> {
        let value = self.lookup(name);
        let set = if value.is_some() { &mut self.out.matched } else { &mut self.out.unmatched };
        set.insert(name.to_owned());
        value
    }
}

/// In a replacement `\}` and `\/` stand for the bare character.
fn unescape_braces(text: &str) -> String {
    text.replace("\\}", "}").replace("\\/", "/")
}

/// A shell pattern: `?` one character, `*` any run, `\` before `*`, `?` or `\` a literal. No brackets.
struct Pattern(Vec<Token>);

#[derive(Clone, Copy, PartialEq)]
enum Token {
    Literal(char),
    One,
    Any,
}

impl Pattern {
    fn parse(text: &str) -> Result<Self, String> {
        let mut tokens = Vec::new();
        let mut chars = text.chars().peekable();
        while let Some(c) = chars.next() {
            tokens.push(match c {
                '*' => Token::Any,
                '?' => Token::One,
                '\\' => match chars.next() {
                    Some(c @ ('*' | '?' | '\\' | '}' | '/')) => Token::Literal(c),
                    Some(c) => return Err(format!("invalid escape '\\{c}'")),
                    None => return Err("invalid escape at the end".to_owned()),
                },
                c => Token::Literal(c),
            });
        }
        tokens.dedup_by(|a, b| *a == Token::Any && *b == Token::Any);
        Ok(Pattern(tokens))
    }

    /// The lengths, in characters, of every match that starts at the head of `value`.
    fn match_lengths(tokens: &[Token], value: &[char]) -> Vec<usize> {
        let mut reach = vec![false; value.len() + 1];
        reach[0] = true;
        for token in tokens {
            let mut next = vec![false; value.len() + 1];
            for at in 0..=value.len() {
                match token {
                    Token::Any => next[at] = reach[at] || (at > 0 && next[at - 1]),
                    Token::One => next[at] = at > 0 && reach[at - 1],
                    Token::Literal(c) => next[at] = at > 0 && reach[at - 1] && value[at - 1] == *c,
                }
            }
            reach = next;
        }
        (0..=value.len()).filter(|&at| reach[at]).collect()
    }

    fn pick(lengths: &[usize], greedy: bool) -> Option<usize> {
        if greedy { lengths.last().copied() } else { lengths.first().copied() }
    }

    fn trim_prefix(&self, value: &str, greedy: bool) -> String {
        let chars: Vec<char> = value.chars().collect();
        let cut = Self::pick(&Self::match_lengths(&self.0, &chars), greedy).unwrap_or(0);
        chars[cut..].iter().collect()
    }

    fn trim_suffix(&self, value: &str, greedy: bool) -> String {
        let chars: Vec<char> = value.chars().rev().collect();
        let tokens: Vec<Token> = self.0.iter().rev().copied().collect();
        let cut = Self::pick(&Self::match_lengths(&tokens, &chars), greedy).unwrap_or(0);
        chars[cut..].iter().rev().collect()
    }

    fn replace(&self, value: &str, replacement: &str, all: bool) -> String {
        let chars: Vec<char> = value.chars().collect();
        let mut out = String::new();
        let mut at = 0;
        let mut last_was_match = false;
        while at <= chars.len() {
            let found = Self::match_lengths(&self.0, &chars[at..]).last().copied();
            match found {
                // An empty match directly behind a match is not another one.
                Some(0) if last_was_match => last_was_match = false,
                Some(length) => {
                    out.push_str(replacement);
                    if !all {
                        at += length;
                        break;
                    }
                    if length > 0 {
                        at += length;
                        last_was_match = true;
                        continue;
                    }
                }
                None => last_was_match = false,
            }
            if let Some(c) = chars.get(at) {
                out.push(*c);
            }
            at += 1;
        }
        out.extend(chars.get(at..).unwrap_or_default());
        out
    }
}

#[cfg(test)]
mod tests;
