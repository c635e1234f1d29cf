//! The scanner: template text to tokens, with Go's trim markers and comments.

/// What a token is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Text,
    Left,
    Right,
    Space,
    Ident,
    Keyword,
    Field,
    Variable,
    Dot,
    Nil,
    Bool,
    Number,
    Char,
    Str,
    RawStr,
    Pipe,
    LeftParen,
    RightParen,
    Comma,
    Declare,
    Assign,
    Other,
    Eof,
    Error,
}

/// A piece of the template with its place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Token {
    pub(super) kind: Kind,
    pub(super) pos: usize,
    pub(super) text: String,
}

const KEYWORDS: [&str; 10] =
    ["block", "break", "continue", "define", "else", "end", "if", "range", "template", "with"];

/// Splits `input` into tokens; the last one is `Eof` or `Error`.
pub(super) fn lex(input: &str) -> Vec<Token> {
    let mut lexer = Lexer { input, pos: 0, depth: 0, out: Vec::new() };
    if let Err(message) = lexer.run() {
        let pos = lexer.pos.min(input.len());
        lexer.out.push(Token { kind: Kind::Error, pos, text: message });
    } else {
        lexer.emit(Kind::Eof, input.len());
    }
    lexer.out
}

struct Lexer<'a> {
    input: &'a str,
    pos: usize,
    depth: usize,
    out: Vec<Token>,
}

impl Lexer<'_> {
    fn run(&mut self) -> Result<(), String> {
        while self.text()? {
            self.inside()?;
        }
        Ok(())
    }

    fn rest(&self) -> &str {
        self.input.get(self.pos..).unwrap_or("")
    }

    fn peek(&self) -> Option<char> {
        self.rest().chars().next()
    }

    fn emit(&mut self, kind: Kind, start: usize) {
        let text = self.input.get(start..self.pos).unwrap_or("").to_owned();
        self.out.push(Token { kind, pos: start, text });
    }

    /// Scans text up to and including the next left delimiter; false at the end of input.
    fn text(&mut self) -> Result<bool, String> {
        loop {
            let start = self.pos;
            let Some(offset) = self.rest().find("{{") else {
                self.pos = self.input.len();
                if self.pos > start {
                    self.emit(Kind::Text, start);
                }
                return Ok(false);
            };
            let delim = start + offset;
            let trim = trims_left(&self.input[delim + 2..]);
            let mut end = delim;
            if trim {
                end = start + self.input[start..delim].trim_end_matches(is_space).len();
            }
            if end > start {
                self.pos = end;
                self.emit(Kind::Text, start);
            }
            self.pos = delim + 2;
            let body = delim + if trim { 4 } else { 2 };
            if self.input[body.min(self.input.len())..].starts_with("/*") {
                self.pos = body;
                self.comment()?;
                continue;
            }
            self.emit(Kind::Left, delim);
            self.pos = body.min(self.input.len());
            self.depth = 0;
            return Ok(true);
        }
    }

    fn comment(&mut self) -> Result<(), String> {
        let Some(end) = self.rest().find("*/") else {
            return Err("unclosed comment".into());
        };
        self.pos += end + 2;
        let after = self.rest();
        if let Some(trimmed) = after.strip_prefix(is_space).and_then(|a| a.strip_prefix("-}}")) {
            let kept = trimmed.trim_start_matches(is_space).len();
            self.pos = self.input.len() - kept;
            Ok(())
        } else if after.starts_with("}}") {
            self.pos += 2;
            Ok(())
        } else {
            Err("comment ends before closing delimiter".into())
        }
    }

    /// Scans one action up to its right delimiter.
    fn inside(&mut self) -> Result<(), String> {
        loop {
            if let Some(trim) = right_delim(self.rest()) {
                if self.depth > 0 {
                    return Err("unclosed left paren".into());
                }
                let start = self.pos;
                self.pos += if trim { 4 } else { 2 };
                self.emit(Kind::Right, start);
                if trim {
                    let kept = self.rest().trim_start_matches(is_space).len();
                    self.pos = self.input.len() - kept;
                }
                return Ok(());
            }
            self.item()?;
        }
    }

    fn item(&mut self) -> Result<(), String> {
        let start = self.pos;
        let Some(c) = self.peek() else {
            return Err("unclosed action".into());
        };
        self.pos += c.len_utf8();
        match c {
            _ if is_space(c) => self.space(start),
            '=' => self.emit(Kind::Assign, start),
            ':' => {
                if self.peek() != Some('=') {
                    return Err("expected :=".into());
                }
                self.pos += 1;
                self.emit(Kind::Declare, start);
            }
            '|' => self.emit(Kind::Pipe, start),
            ',' => self.emit(Kind::Comma, start),
            '"' => return self.quoted(start),
            '`' => return self.raw(start),
            '\'' => return self.character(start),
            '$' => return self.name(start, Kind::Variable),
            '.' if !self.peek().is_some_and(|d| d.is_ascii_digit()) => {
                return self.name(start, Kind::Field);
            }
            '(' => {
                self.depth += 1;
                self.emit(Kind::LeftParen, start);
            }
            ')' => {
                self.depth = self.depth.checked_sub(1).ok_or("unexpected right paren")?;
                self.emit(Kind::RightParen, start);
            }
            '+' | '-' | '.' | '0'..='9' => return self.number(start),
            _ if is_alnum(c) => return self.word(start),
            ' '..='~' => self.emit(Kind::Other, start),
            _ => return Err(format!("unrecognized character in action: {}", unicode(c))),
        }
        Ok(())
    }

    fn space(&mut self, start: usize) {
        while self.peek().is_some_and(is_space) && right_delim(self.rest()).is_none() {
            self.pos += 1;
        }
        self.emit(Kind::Space, start);
    }

    fn quoted(&mut self, start: usize) -> Result<(), String> {
        self.until(start, '"', "unterminated quoted string", Kind::Str)
    }

    fn character(&mut self, start: usize) -> Result<(), String> {
        self.until(start, '\'', "unterminated character constant", Kind::Char)
    }

    fn until(&mut self, start: usize, end: char, error: &str, kind: Kind) -> Result<(), String> {
        loop {
            match self.peek() {
                Some('\\') => {
                    self.pos += 1;
                    match self.peek() {
                        Some(c) if c != '\n' => self.pos += c.len_utf8(),
                        _ => return Err(error.into()),
                    }
                }
                None | Some('\n') => return Err(error.into()),
                Some(c) => {
                    self.pos += c.len_utf8();
                    if c == end {
                        self.emit(kind, start);
                        return Ok(());
                    }
                }
            }
        }
    }

    fn raw(&mut self, start: usize) -> Result<(), String> {
        let Some(end) = self.rest().find('`') else {
            return Err("unterminated raw quoted string".into());
        };
        self.pos += end + 1;
        self.emit(Kind::RawStr, start);
        Ok(())
    }

    fn alnum_run(&mut self) {
        while let Some(c) = self.peek().filter(|&c| is_alnum(c)) {
            self.pos += c.len_utf8();
        }
    }

    fn name(&mut self, start: usize, kind: Kind) -> Result<(), String> {
        if self.at_terminator() {
            let kind = if kind == Kind::Variable { kind } else { Kind::Dot };
            self.emit(kind, start);
            return Ok(());
        }
        self.alnum_run();
        if !self.at_terminator() {
            return Err(self.bad_character());
        }
        self.emit(kind, start);
        Ok(())
    }

    fn word(&mut self, start: usize) -> Result<(), String> {
        self.alnum_run();
        if !self.at_terminator() {
            return Err(self.bad_character());
        }
        let kind = match &self.input[start..self.pos] {
            w if KEYWORDS.contains(&w) => Kind::Keyword,
            "nil" => Kind::Nil,
            "true" | "false" => Kind::Bool,
            _ => Kind::Ident,
        };
        self.emit(kind, start);
        Ok(())
    }

    fn number(&mut self, start: usize) -> Result<(), String> {
        let mut previous = ' ';
        while let Some(c) = self.peek() {
            let exponent_sign = matches!(c, '+' | '-') && matches!(previous, 'e' | 'E' | 'p' | 'P');
            if !(is_alnum(c) || c == '.' || exponent_sign) {
                break;
            }
            previous = c;
            self.pos += c.len_utf8();
        }
        let text = &self.input[start..self.pos];
        if super::value::parse_number(text).is_none() {
            return Err(format!("bad number syntax: {text:?}"));
        }
        self.emit(Kind::Number, start);
        Ok(())
    }

    fn at_terminator(&self) -> bool {
        match self.peek() {
            None => true,
            Some(c) if is_space(c) => true,
            Some('.' | ',' | '|' | ':' | ')' | '(' | '=') => true,
            Some(_) => self.rest().starts_with("}}"),
        }
    }

    fn bad_character(&self) -> String {
        format!("bad character {}", self.peek().map_or_else(String::new, unicode))
    }
}

/// Go's `%#U`.
fn unicode(c: char) -> String {
    format!("U+{:04X} '{c}'", c as u32)
}

fn is_space(c: char) -> bool {
    matches!(c, ' ' | '\t' | '\r' | '\n')
}

fn is_alnum(c: char) -> bool {
    c == '_' || c.is_alphanumeric()
}

fn trims_left(after: &str) -> bool {
    let mut chars = after.chars();
    chars.next() == Some('-') && chars.next().is_some_and(is_space)
}

fn right_delim(rest: &str) -> Option<bool> {
    if rest.starts_with("}}") {
        return Some(false);
    }
    let mut chars = rest.chars();
    (chars.next().is_some_and(is_space) && chars.as_str().starts_with("-}}")).then_some(true)
}
