//! The evaluator: a tree over a value.

use serde_json::Value as Json;

use super::func::{self, Functions};
use super::parse::{Branch, Command, Node, Operand, OperandKind, Pipe};
use super::value::{Number, Shape, Val};
use super::{Error, value};

/// The longest text a template may make: a range over a range multiplies.
const OUTPUT_MAX: usize = 64 << 20;

/// What a key that an object lacks means.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum MissingKey {
    /// The object stands for a Go struct: the template is wrong.
    #[default]
    Field,
    /// The object stands for a Go map, and a missing entry is an error.
    Entry,
    /// No value, as over the titles of a table.
    Absent,
}

/// How to execute.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct ExecOptions {
    /// Docker's functions over data, or over a header.
    pub(crate) functions: Functions,
    /// What a missing key means.
    pub(crate) missing_key: MissingKey,
    /// The Go type of the value, for messages.
    pub(crate) type_name: &'static str,
}

/// Renders `nodes` over `data`.
pub(super) fn execute(
    text: &str,
    nodes: &[Node],
    data: &Json,
    options: &ExecOptions,
) -> Result<String, Error> {
    let mut state = State {
        text,
        options,
        variables: vec![("$".to_owned(), Val::of(data, ""))],
        out: String::new(),
    };
    state.walk(nodes, &Val::of(data, ""))?;
    Ok(state.out)
}

/// Whether the loop around goes on.
#[derive(PartialEq)]
enum Flow {
    Next,
    Break,
    Continue,
}

struct State<'t, 'a> {
    text: &'t str,
    options: &'t ExecOptions,
    variables: Vec<(String, Val<'a>)>,
    out: String,
}

impl<'a> State<'_, 'a> {
    fn walk(&mut self, nodes: &[Node], dot: &Val<'a>) -> Result<Flow, Error> {
        for node in nodes {
            let flow = match node {
                Node::Text(text) => {
                    self.out.push_str(text);
                    Flow::Next
                }
                Node::Action(pipe) => {
                    let value = self.pipe(dot, pipe)?;
                    if pipe.variables.is_empty() {
                        self.out.push_str(&value.printed());
                    }
                    Flow::Next
                }
                Node::If(branch) => self.branch(branch, dot, Takes::SameDot)?,
                Node::With(branch) => self.branch(branch, dot, Takes::Value)?,
                Node::Range(branch) => self.range(branch, dot)?,
                Node::Break => Flow::Break,
                Node::Continue => Flow::Continue,
            };
            if self.out.len() > OUTPUT_MAX {
                return Err(self.fail(0, "", "output is too long"));
            }
            if flow != Flow::Next {
                return Ok(flow);
            }
        }
        Ok(Flow::Next)
    }

    fn branch(&mut self, branch: &Branch, dot: &Val<'a>, takes: Takes) -> Result<Flow, Error> {
        let scope = self.variables.len();
        let value = self.pipe(dot, &branch.pipe)?;
        let flow = if value.truth() {
            let inner = if takes == Takes::Value { &value } else { dot };
            self.walk(&branch.body, inner)
        } else {
            self.walk(&branch.otherwise, dot)
        };
        self.variables.truncate(scope);
        flow
    }

    fn range(&mut self, branch: &Branch, dot: &Val<'a>) -> Result<Flow, Error> {
        let scope = self.variables.len();
        let value = self.pipe_value(dot, &branch.pipe)?;
        let items: Vec<(Val<'a>, Val<'a>)> = match &value {
            Val::Array(items) => {
                items.iter().enumerate().map(|(i, v)| (Val::int(i), Val::of(v, ""))).collect()
            }
            Val::Strings(items) => {
                items.iter().enumerate().map(|(i, v)| (Val::int(i), Val::str(v.as_str()))).collect()
            }
            Val::Object(map, _) => {
                let mut entries: Vec<_> = map.iter().collect();
                entries.sort_by_key(|(k, _)| k.as_str());
                entries.into_iter().map(|(k, v)| (Val::str(k.as_str()), Val::of(v, k))).collect()
            }
            Val::Num(Number::Int(n)) if *n <= 1_000_000 => {
                (0..*n).map(|i| (Val::Num(Number::Int(i)), Val::Num(Number::Int(i)))).collect()
            }
            Val::Missing | Val::Nil | Val::Null(_) => Vec::new(),
            other => {
                let message = format!("range can't iterate over {}", other.formatted());
                return Err(self.fail(branch.pipe.pos, &branch.pipe.to_string(), message));
            }
        };
        if items.is_empty() {
            let flow = self.walk(&branch.otherwise, dot);
            self.variables.truncate(scope);
            return flow;
        }
        for (key, item) in items {
            self.bind(&branch.pipe, key, &item);
            let flow = self.walk(&branch.body, &item)?;
            self.variables.truncate(scope);
            if flow == Flow::Break {
                break;
            }
        }
        Ok(Flow::Next)
    }

    /// Gives a range's variables the key and the item.
    fn bind(&mut self, pipe: &Pipe, key: Val<'a>, item: &Val<'a>) {
        let values = match pipe.variables.len() {
            0 => Vec::new(),
            1 => vec![item.clone()],
            _ => vec![key, item.clone()],
        };
        for (name, value) in pipe.variables.iter().zip(values) {
            if pipe.assigns {
                self.assign(name, value);
            } else {
                self.variables.push((name.clone(), value));
            }
        }
    }

    fn assign(&mut self, name: &str, value: Val<'a>) {
        if let Some(slot) = self.variables.iter_mut().rev().find(|(n, _)| n == name) {
            slot.1 = value;
        }
    }

    fn pipe(&mut self, dot: &Val<'a>, pipe: &Pipe) -> Result<Val<'a>, Error> {
        let value = self.pipe_value(dot, pipe)?;
        for name in &pipe.variables {
            if pipe.assigns {
                self.assign(name, value.clone());
            } else {
                self.variables.push((name.clone(), value.clone()));
            }
        }
        Ok(value)
    }

    fn pipe_value(&mut self, dot: &Val<'a>, pipe: &Pipe) -> Result<Val<'a>, Error> {
        let mut last = None;
        for command in &pipe.commands {
            last = Some(self.command(dot, command, last)?);
        }
        Ok(last.unwrap_or(Val::Missing))
    }

    fn command(
        &mut self,
        dot: &Val<'a>,
        command: &Command,
        last: Option<Val<'a>>,
    ) -> Result<Val<'a>, Error> {
        let Some(first) = command.operands.first() else {
            return Ok(Val::Missing);
        };
        let has_arguments = command.operands.len() > 1 || last.is_some();
        match &first.kind {
            OperandKind::Function(name) => return self.function(dot, first, name, command, last),
            OperandKind::Field(path) if has_arguments && path == &["Label"] => {
                return self.label(dot, command, last);
            }
            OperandKind::Field(path) if has_arguments => {
                let name = path.last().map_or("", String::as_str);
                let message = format!("{name} is not a method but has arguments");
                return Err(self.fail_at(first, message));
            }
            _ if has_arguments => {
                let message = format!("can't give argument to non-function {first}");
                return Err(self.fail_at(first, message));
            }
            OperandKind::Nil => return Err(self.fail_at(first, "nil is not a command")),
            _ => {}
        }
        self.operand(dot, first)
    }

    fn function(
        &mut self,
        dot: &Val<'a>,
        node: &Operand,
        name: &str,
        command: &Command,
        last: Option<Val<'a>>,
    ) -> Result<Val<'a>, Error> {
        if matches!(name, "and" | "or") {
            return self.short_circuit(dot, node, name, command, last);
        }
        let mut args = Vec::with_capacity(command.operands.len());
        for operand in &command.operands[1..] {
            args.push(self.operand(dot, operand)?);
        }
        args.extend(last);
        let result = func::call(name, args, self.options.functions);
        result.map_err(|message| {
            if message.starts_with("wrong number of args") {
                return self.fail_at(node, message);
            }
            if let Some((operand, message)) = misfit(command, &message) {
                return self.fail_at(operand, message);
            }
            let message = match (name, command.operands.get(1)) {
                ("call", Some(operand)) => message.replacen("%", &operand.to_string(), 1),
                _ => message,
            };
            self.fail(node.pos, &command.to_string(), format!("error calling {name}: {message}"))
        })
    }

    /// `{{.Label "key"}}` of a row: the value of one label; over titles, the last word of the key.
    fn label(
        &mut self,
        dot: &Val<'a>,
        command: &Command,
        last: Option<Val<'a>>,
    ) -> Result<Val<'a>, Error> {
        let node = &command.operands[0];
        let key = match (command.operands.get(1), last) {
            (Some(operand), None) if command.operands.len() == 2 => self.operand(dot, operand)?,
            (None, Some(value)) => value,
            _ => return Err(self.fail_at(node, "wrong number of args for Label: want 1")),
        };
        let Val::Str(key) = key else {
            let message = format!("wrong type for value; expected string; got {}", key.type_name());
            return Err(self.fail_at(node, message));
        };
        if self.options.missing_key == MissingKey::Absent {
            let word = key.rsplit('.').next().unwrap_or("");
            return Ok(Val::str(word.replace(['-', '_'], " ")));
        }
        match dot {
            Val::Object(map, _) if map.contains_key(super::LABELS) => {
                let found = map[super::LABELS].get(&*key).and_then(Json::as_str);
                Ok(Val::str(found.unwrap_or("")))
            }
            _ => Err(self.fail_at(node, "Label is not a method but has arguments")),
        }
    }

    fn short_circuit(
        &mut self,
        dot: &Val<'a>,
        node: &Operand,
        name: &str,
        command: &Command,
        last: Option<Val<'a>>,
    ) -> Result<Val<'a>, Error> {
        if command.operands.len() == 1 && last.is_none() {
            return Err(self
                .fail_at(node, format!("wrong number of args for {name}: want at least 1 got 0")));
        }
        let mut value = Val::Missing;
        for operand in &command.operands[1..] {
            value = self.operand(dot, operand)?;
            if value.truth() == (name == "or") {
                return Ok(value);
            }
        }
        Ok(last.unwrap_or(value))
    }

    fn operand(&mut self, dot: &Val<'a>, operand: &Operand) -> Result<Val<'a>, Error> {
        match &operand.kind {
            OperandKind::Dot => Ok(dot.clone()),
            OperandKind::Nil => Ok(Val::Nil),
            OperandKind::Bool(b) => Ok(Val::Bool(*b)),
            OperandKind::Number(n, _) => Ok(Val::Num(*n)),
            OperandKind::Str(s, _) => Ok(Val::str(s.as_str())),
            OperandKind::Field(path) => self.path(dot.clone(), path, operand),
            OperandKind::Variable(path) => {
                let found = self.variables.iter().rev().find(|(name, _)| *name == path[0]);
                let base = found.map_or(Val::Missing, |(_, value)| value.clone());
                self.path(base, &path[1..], operand)
            }
            OperandKind::Function(name) => {
                let alone = Command { operands: vec![operand.clone()] };
                self.function(dot, operand, name, &alone, None)
            }
            OperandKind::Pipe(pipe) => self.pipe(dot, pipe),
            OperandKind::Chain(base, path) => {
                let base = self.operand(dot, base)?;
                self.path(base, path, operand)
            }
        }
    }

    fn path(&self, base: Val<'a>, path: &[String], node: &Operand) -> Result<Val<'a>, Error> {
        path.iter().try_fold(base, |value, name| self.field(value, name, node))
    }

    fn field(&self, value: Val<'a>, name: &str, node: &Operand) -> Result<Val<'a>, Error> {
        match value {
            Val::Object(map, shape) => match map.get(name).or_else(|| spelled(map, name)) {
                Some(json) => Ok(Val::of(json, name)),
                None if matches!(shape, Shape::Map | Shape::Texts)
                    || self.options.missing_key == MissingKey::Absent =>
                {
                    Ok(Val::Missing)
                }
                None => Err(self.fail_at(node, self.missing(name))),
            },
            Val::Missing | Val::Null(Shape::Map | Shape::Texts) => Ok(Val::Missing),
            Val::Nil | Val::Null(_) => {
                Err(self.fail_at(node, format!("nil pointer evaluating interface {{}}.{name}")))
            }
            other => {
                let kind = match self.options.missing_key {
                    MissingKey::Entry => "interface {}",
                    MissingKey::Field | MissingKey::Absent => other.type_name(),
                };
                Err(self.fail_at(node, format!("can't evaluate field {name} in type {kind}")))
            }
        }
    }

    fn missing(&self, name: &str) -> String {
        match self.options.missing_key {
            MissingKey::Field | MissingKey::Absent => {
                format!("can't evaluate field {name} in type {}", self.options.type_name)
            }
            MissingKey::Entry => format!("map has no entry for key {}", value::quoted(name)),
        }
    }

    fn fail_at(&self, node: &Operand, message: impl Into<String>) -> Error {
        let context = node.to_string();
        self.fail(node.pos, &context, message)
    }

    fn fail(&self, pos: usize, context: &str, message: impl Into<String>) -> Error {
        let before = self.text.get(..pos).unwrap_or("");
        let line_start = before.rfind('\n').map_or(0, |at| at + 1);
        Error::Execute {
            line: 1 + before.matches('\n').count(),
            column: pos - line_start,
            context: context.to_owned(),
            message: message.into(),
        }
    }
}

/// Docker's Go field `ID` is `Id` in its JSON.
fn spelled<'a>(map: &'a serde_json::Map<String, Json>, name: &str) -> Option<&'a Json> {
    map.get(if name == "ID" { "Id" } else { return None })
}

/// The operand at which Go reports an argument of the wrong type, with its words.
fn misfit<'c>(command: &'c Command, message: &str) -> Option<(&'c Operand, String)> {
    let (at, message) = message.strip_prefix('#')?.split_once(' ')?;
    let last = command.operands.last()?;
    let operand =
        at.parse().ok().and_then(|at: usize| command.operands.get(at + 1)).unwrap_or(last);
    let expected = message.split("expected ").nth(1)?.split(';').next()?;
    let literal = matches!(
        operand.kind,
        OperandKind::Number(..) | OperandKind::Str(..) | OperandKind::Bool(_)
    );
    let message =
        if literal { format!("expected {expected}; found {operand}") } else { message.to_owned() };
    Some((operand, message))
}

/// What the body of a branch sees as dot.
#[derive(Clone, Copy, PartialEq)]
enum Takes {
    SameDot,
    Value,
}
