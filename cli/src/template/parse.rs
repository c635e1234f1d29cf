//! The parser: tokens to a tree, with Go's grammar and error texts.

use super::lex::{Kind, Token, lex};
use super::value::{Number, parse_number, unquote};
use super::{Error, func};

/// How deep actions and parentheses may nest: a bound on the stack, far above any real format.
const DEPTH_MAX: usize = 100;

/// One element of a template.
#[derive(Debug, Clone)]
pub(super) enum Node {
    Text(String),
    Action(Pipe),
    If(Branch),
    Range(Branch),
    With(Branch),
    Break,
    Continue,
}

/// `if`, `range` and `with` share this shape.
#[derive(Debug, Clone)]
pub(super) struct Branch {
    pub(super) pipe: Pipe,
    pub(super) body: Vec<Node>,
    pub(super) otherwise: Vec<Node>,
}

/// Commands joined by `|`, with the variables their result is given to.
#[derive(Debug, Clone)]
pub(super) struct Pipe {
    pub(super) pos: usize,
    pub(super) variables: Vec<String>,
    pub(super) assigns: bool,
    pub(super) commands: Vec<Command>,
}

/// An operand with arguments.
#[derive(Debug, Clone)]
pub(super) struct Command {
    pub(super) operands: Vec<Operand>,
}

/// An operand with its place.
#[derive(Debug, Clone)]
pub(super) struct Operand {
    pub(super) pos: usize,
    pub(super) kind: OperandKind,
}

/// What an operand names.
#[derive(Debug, Clone)]
pub(super) enum OperandKind {
    Dot,
    Nil,
    Bool(bool),
    Number(Number, String),
    Str(String, String),
    Field(Vec<String>),
    Variable(Vec<String>),
    Function(String),
    Pipe(Pipe),
    Chain(Box<Operand>, Vec<String>),
}

/// Parses a whole template.
pub(super) fn parse(text: &str) -> Result<Vec<Node>, Error> {
    let mut parser = Parser {
        text,
        tokens: lex(text),
        at: 0,
        variables: vec!["$".to_owned()],
        depth: 0,
        loops: 0,
    };
    let (nodes, end) = parser.list()?;
    match end {
        Closed::Eof => Ok(nodes),
        Closed::End => Err(parser.error("unexpected {{end}}")),
        Closed::Else => Err(parser.error("unexpected {{else}}")),
    }
}

/// What closed a list of nodes.
#[derive(PartialEq)]
enum Closed {
    Eof,
    End,
    Else,
}

struct Parser<'a> {
    text: &'a str,
    tokens: Vec<Token>,
    at: usize,
    variables: Vec<String>,
    depth: usize,
    loops: usize,
}

impl Parser<'_> {
    fn peek(&self) -> &Token {
        &self.tokens[self.at.min(self.tokens.len() - 1)]
    }

    fn next(&mut self) -> Token {
        let token = self.peek().clone();
        self.at += 1;
        token
    }

    fn skip_space(&mut self) {
        while self.peek().kind == Kind::Space {
            self.at += 1;
        }
    }

    fn next_non_space(&mut self) -> Token {
        self.skip_space();
        self.next()
    }

    fn back(&mut self) {
        self.at -= 1;
    }

    fn error(&self, message: impl Into<String>) -> Error {
        let last = self.at.saturating_sub(1).min(self.tokens.len() - 1);
        let pos = self.tokens[last].pos.min(self.text.len());
        Error::Parse {
            line: 1 + self.text.as_bytes()[..pos].iter().filter(|&&b| b == b'\n').count(),
            message: message.into(),
        }
    }

    fn unexpected(&self, token: &Token, context: &str) -> Error {
        if token.kind == Kind::Error {
            return self.error(token.text.clone());
        }
        self.error(format!("unexpected {} in {context}", shown(token)))
    }

    fn deeper(&mut self) -> Result<(), Error> {
        self.depth += 1;
        if self.depth > DEPTH_MAX {
            return Err(self.error(format!("nested deeper than {DEPTH_MAX} levels")));
        }
        Ok(())
    }

    fn list(&mut self) -> Result<(Vec<Node>, Closed), Error> {
        let mut nodes = Vec::new();
        loop {
            let token = self.next();
            match token.kind {
                Kind::Eof => return Ok((nodes, Closed::Eof)),
                Kind::Text => nodes.push(Node::Text(token.text)),
                Kind::Left => {
                    let keyword = self.next_non_space();
                    match keyword.text.as_str() {
                        "end" if keyword.kind == Kind::Keyword => {
                            self.close("end")?;
                            return Ok((nodes, Closed::End));
                        }
                        "else" if keyword.kind == Kind::Keyword => {
                            return Ok((nodes, Closed::Else));
                        }
                        _ => nodes.push(self.action(&keyword)?),
                    }
                }
                _ => return Err(self.unexpected(&token, "input")),
            }
        }
    }

    fn close(&mut self, context: &str) -> Result<(), Error> {
        let token = self.next_non_space();
        if token.kind == Kind::Right {
            return Ok(());
        }
        Err(self.unexpected(&token, context))
    }

    fn action(&mut self, keyword: &Token) -> Result<Node, Error> {
        if keyword.kind != Kind::Keyword {
            self.back();
            let known = self.variables.len();
            let pipe = self.pipeline("command", Kind::Right)?;
            debug_assert!(self.variables.len() >= known);
            return Ok(Node::Action(pipe));
        }
        match keyword.text.as_str() {
            "if" => Ok(Node::If(self.control("if")?)),
            "with" => Ok(Node::With(self.control("with")?)),
            "range" => {
                self.loops += 1;
                let branch = self.control("range");
                self.loops -= 1;
                Ok(Node::Range(branch?))
            }
            word @ ("break" | "continue") => {
                self.close(word)?;
                if self.loops == 0 {
                    return Err(self.error(format!("{{{{{word}}}}} outside {{{{range}}}}")));
                }
                Ok(if word == "break" { Node::Break } else { Node::Continue })
            }
            word => Err(self.error(format!("{{{{{word}}}}} is not supported in a format"))),
        }
    }

    /// `{{if pipe}} … {{else if pipe}} … {{else}} … {{end}}`; `{{else if}}` closes with its parent.
    fn control(&mut self, word: &'static str) -> Result<Branch, Error> {
        self.deeper()?;
        let scope = self.variables.len();
        let pipe = self.pipeline(word, Kind::Right)?;
        let (body, end) = self.list()?;
        let otherwise = match end {
            Closed::Eof => return Err(self.error("unexpected EOF")),
            Closed::End => Vec::new(),
            Closed::Else => self.otherwise(word)?,
        };
        self.variables.truncate(scope);
        self.depth -= 1;
        Ok(Branch { pipe, body, otherwise })
    }

    fn otherwise(&mut self, word: &'static str) -> Result<Vec<Node>, Error> {
        let token = self.next_non_space();
        let chained = token.kind == Kind::Keyword && token.text == word;
        if chained && word == "if" {
            return Ok(vec![Node::If(self.control("if")?)]);
        }
        if chained && word == "with" {
            return Ok(vec![Node::With(self.control("with")?)]);
        }
        if token.kind != Kind::Right {
            return Err(self.unexpected(&token, "else"));
        }
        let (nodes, end) = self.list()?;
        match end {
            Closed::End => Ok(nodes),
            Closed::Eof => Err(self.error("unexpected EOF")),
            Closed::Else => Err(self.error("expected end; found {{else}}")),
        }
    }

    fn pipeline(&mut self, context: &str, end: Kind) -> Result<Pipe, Error> {
        self.deeper()?;
        self.skip_space();
        let mut pipe = Pipe {
            pos: self.peek().pos,
            variables: Vec::new(),
            assigns: false,
            commands: Vec::new(),
        };
        self.declarations(&mut pipe, context)?;
        loop {
            let token = self.next_non_space();
            match token.kind {
                kind if kind == end => break,
                Kind::Bool
                | Kind::Char
                | Kind::Dot
                | Kind::Field
                | Kind::Ident
                | Kind::Number
                | Kind::Nil
                | Kind::RawStr
                | Kind::Str
                | Kind::Variable
                | Kind::LeftParen => {
                    self.back();
                    let command = self.command()?;
                    pipe.commands.push(command);
                }
                _ => return Err(self.unexpected(&token, context)),
            }
        }
        self.check(&pipe, context)?;
        self.variables.extend(pipe.variables.iter().filter(|_| !pipe.assigns).cloned());
        self.depth -= 1;
        Ok(pipe)
    }

    fn check(&self, pipe: &Pipe, context: &str) -> Result<(), Error> {
        if pipe.commands.is_empty() {
            return Err(self.error(format!("missing value for {context}")));
        }
        for (i, command) in pipe.commands.iter().enumerate().skip(1) {
            use OperandKind as K;
            if let K::Bool(_) | K::Dot | K::Nil | K::Number(..) | K::Str(..) =
                command.operands[0].kind
            {
                let stage = i + 1;
                return Err(self.error(format!("non executable command in pipeline stage {stage}")));
            }
        }
        Ok(())
    }

    /// `$x :=`, `$x =` and, in a range, `$i, $x :=`.
    fn declarations(&mut self, pipe: &mut Pipe, context: &str) -> Result<(), Error> {
        loop {
            self.skip_space();
            if self.peek().kind != Kind::Variable {
                return Ok(());
            }
            let start = self.at;
            let variable = self.next();
            let next = self.next_non_space();
            match next.kind {
                Kind::Assign | Kind::Declare => {
                    pipe.assigns = next.kind == Kind::Assign;
                    pipe.variables.push(variable.text);
                    return self.check_assigned(pipe);
                }
                Kind::Comma => {
                    pipe.variables.push(variable.text);
                    if context != "range" || pipe.variables.len() > 1 {
                        return Err(self.error(format!("too many declarations in {context}")));
                    }
                    self.skip_space();
                    if !matches!(self.peek().kind, Kind::Variable | Kind::Right | Kind::RightParen)
                    {
                        return Err(self.error("range can only initialize variables"));
                    }
                }
                _ => {
                    self.at = start;
                    return Ok(());
                }
            }
        }
    }

    fn check_assigned(&self, pipe: &Pipe) -> Result<(), Error> {
        if pipe.assigns {
            for name in &pipe.variables {
                self.known(name)?;
            }
        }
        Ok(())
    }

    fn known(&self, name: &str) -> Result<(), Error> {
        if self.variables.iter().any(|v| v == name) {
            return Ok(());
        }
        Err(self.error(format!("undefined variable {name:?}")))
    }

    fn command(&mut self) -> Result<Command, Error> {
        let mut operands = Vec::new();
        loop {
            self.skip_space();
            operands.extend(self.operand()?);
            let token = self.next();
            match token.kind {
                Kind::Space => continue,
                Kind::Right | Kind::RightParen => self.back(),
                Kind::Pipe => {}
                _ => return Err(self.unexpected(&token, "operand")),
            }
            break;
        }
        if operands.is_empty() {
            return Err(self.error("empty command"));
        }
        Ok(Command { operands })
    }

    fn operand(&mut self) -> Result<Option<Operand>, Error> {
        let Some(mut operand) = self.term()? else {
            return Ok(None);
        };
        if self.peek().kind != Kind::Field {
            return Ok(Some(operand));
        }
        // Go places a path at its second name.
        let chained = self.peek().pos;
        let mut fields = Vec::new();
        while self.peek().kind == Kind::Field {
            fields.push(self.next().text[1..].to_owned());
        }
        match &mut operand.kind {
            OperandKind::Field(path) | OperandKind::Variable(path) => {
                path.append(&mut fields);
                operand.pos = chained;
            }
            OperandKind::Bool(_)
            | OperandKind::Str(..)
            | OperandKind::Number(..)
            | OperandKind::Nil
            | OperandKind::Dot => {
                return Err(
                    self.error(format!("unexpected . after term {:?}", operand.to_string()))
                );
            }
            _ => {
                operand =
                    Operand { pos: chained, kind: OperandKind::Chain(Box::new(operand), fields) };
            }
        }
        Ok(Some(operand))
    }

    fn term(&mut self) -> Result<Option<Operand>, Error> {
        let token = self.next_non_space();
        let pos = token.pos;
        let kind = match token.kind {
            Kind::Ident => {
                if !func::is_known(&token.text) {
                    return Err(self.error(format!("function {:?} not defined", token.text)));
                }
                OperandKind::Function(token.text)
            }
            Kind::Dot => OperandKind::Dot,
            Kind::Nil => OperandKind::Nil,
            Kind::Bool => OperandKind::Bool(token.text == "true"),
            Kind::Field => OperandKind::Field(vec![token.text[1..].to_owned()]),
            Kind::Variable => {
                self.known(&token.text)?;
                OperandKind::Variable(vec![token.text])
            }
            Kind::Number => {
                let number = parse_number(&token.text)
                    .ok_or_else(|| self.error(format!("bad number syntax: {:?}", token.text)))?;
                OperandKind::Number(number, token.text)
            }
            Kind::Char => {
                let c = unquote(&token.text).and_then(|s| {
                    let mut chars = s.chars();
                    chars.next().filter(|_| chars.next().is_none())
                });
                let c = c.ok_or_else(|| {
                    self.error(format!("malformed character constant: {}", token.text))
                })?;
                OperandKind::Number(Number::Int(i64::from(c as u32)), token.text)
            }
            Kind::Str | Kind::RawStr => {
                let value = unquote(&token.text).ok_or_else(|| self.error("invalid syntax"))?;
                OperandKind::Str(value, token.text)
            }
            Kind::LeftParen => {
                OperandKind::Pipe(self.pipeline("parenthesized pipeline", Kind::RightParen)?)
            }
            _ => {
                self.back();
                return Ok(None);
            }
        };
        Ok(Some(Operand { pos, kind }))
    }
}

/// A token as Go's parser shows it.
fn shown(token: &Token) -> String {
    match token.kind {
        Kind::Eof => "EOF".to_owned(),
        Kind::Keyword => format!("<{}>", token.text),
        _ if token.text.chars().count() > 10 => {
            let cut: String = token.text.chars().take(10).collect();
            format!("{cut:?}...")
        }
        _ => format!("{:?}", token.text),
    }
}

impl std::fmt::Display for Operand {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.kind {
            OperandKind::Dot => f.write_str("."),
            OperandKind::Nil => f.write_str("nil"),
            OperandKind::Bool(b) => write!(f, "{b}"),
            OperandKind::Number(_, text) | OperandKind::Str(_, text) => f.write_str(text),
            OperandKind::Field(path) => path.iter().try_for_each(|name| write!(f, ".{name}")),
            OperandKind::Variable(path) => f.write_str(&path.join(".")),
            OperandKind::Function(name) => f.write_str(name),
            OperandKind::Pipe(pipe) => write!(f, "({pipe})"),
            OperandKind::Chain(base, path) => {
                write!(f, "{base}")?;
                path.iter().try_for_each(|name| write!(f, ".{name}"))
            }
        }
    }
}

impl std::fmt::Display for Command {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for (i, operand) in self.operands.iter().enumerate() {
            if i > 0 {
                f.write_str(" ")?;
            }
            write!(f, "{operand}")?;
        }
        Ok(())
    }
}

impl std::fmt::Display for Pipe {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if !self.variables.is_empty() {
            let sign = if self.assigns { "=" } else { ":=" };
            write!(f, "{} {sign} ", self.variables.join(", "))?;
        }
        for (i, command) in self.commands.iter().enumerate() {
            if i > 0 {
                f.write_str(" | ")?;
            }
            write!(f, "{command}")?;
        }
        Ok(())
    }
}
