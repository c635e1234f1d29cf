//! Values as Go would hold them, and how Go prints them.

use std::borrow::Cow;
use std::fmt::Write as _;

use serde_json::Value as Json;

/// A number of a template or of the data.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Number {
    Int(i64),
    Uint(u64),
    Float(f64),
}

/// What an object was in Docker's Go types, which JSON does not tell.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Shape {
    /// Unknown, or a struct: a missing key is a mistake.
    Open,
    /// A map: a missing key is an absent value.
    Map,
    /// A map of texts: `index` gives the empty text for a missing key.
    Texts,
    /// A list.
    List,
}

/// A value in evaluation.
#[derive(Debug, Clone)]
pub(super) enum Val<'a> {
    /// Nothing at all: Go's invalid value, printed `<no value>`.
    Missing,
    /// An untyped nil.
    Nil,
    /// JSON null; the shape is what its place would have held.
    Null(Shape),
    Bool(bool),
    Num(Number),
    Str(Cow<'a, str>),
    Array(&'a [Json]),
    Object(&'a serde_json::Map<String, Json>, Shape),
    /// A list made by `split`.
    Strings(Vec<String>),
}

/// Names under which Docker's types keep maps.
const MAPS: [&str; 12] = [
    "ConfigFrom",
    "Data",
    "ExposedPorts",
    "GraphDriverData",
    "Images",
    "NetworkMap",
    "Networks",
    "OnBuildTriggers",
    "PortBindings",
    "Ports",
    "Runtimes",
    "Volumes",
];

/// Names under which Docker's types keep maps of texts.
const TEXTS: [&str; 12] = [
    "Annotations",
    "DriverOpts",
    "GlobalOptions",
    "IPAMOptions",
    "InternalOptions",
    "Labels",
    "LogOptions",
    "Options",
    "StorageOpt",
    "Sysctls",
    "Tmpfs",
    "annotations",
];

/// Names under which Docker's types keep lists.
const LISTS: [&str; 30] = [
    "Aliases",
    "Args",
    "Binds",
    "CapAdd",
    "CapDrop",
    "Cmd",
    "DeviceCgroupRules",
    "DeviceRequests",
    "Devices",
    "Dns",
    "DnsOptions",
    "DnsSearch",
    "Entrypoint",
    "Env",
    "ExecIDs",
    "ExtraHosts",
    "GroupAdd",
    "Layers",
    "Links",
    "MaskedPaths",
    "Mounts",
    "OnBuild",
    "ReadonlyPaths",
    "RepoDigests",
    "RepoTags",
    "SecurityOpt",
    "Shell",
    "Test",
    "Ulimits",
    "VolumesFrom",
];

/// The shape that Docker's types give the field `name`.
pub(super) fn shape_of(name: &str) -> Shape {
    if MAPS.contains(&name) {
        Shape::Map
    } else if TEXTS.contains(&name) {
        Shape::Texts
    } else if LISTS.contains(&name) {
        Shape::List
    } else {
        Shape::Open
    }
}

impl<'a> Val<'a> {
    /// A JSON value found under `name`.
    pub(super) fn of(json: &'a Json, name: &str) -> Self {
        match json {
            Json::Null => Self::Null(shape_of(name)),
            Json::Bool(b) => Self::Bool(*b),
            Json::Number(n) => Self::Num(number_of(n)),
            Json::String(s) => Self::Str(Cow::Borrowed(s)),
            Json::Array(items) => Self::Array(items),
            Json::Object(map) => Self::Object(map, shape_of(name)),
        }
    }

    pub(super) fn str(text: impl Into<String>) -> Self {
        Self::Str(Cow::Owned(text.into()))
    }

    pub(super) fn int(n: usize) -> Self {
        Self::Num(Number::Int(i64::try_from(n).unwrap_or(i64::MAX)))
    }

    /// Go's rule of truth: zero, empty and nil are false.
    pub(super) fn truth(&self) -> bool {
        match self {
            Self::Missing | Self::Nil | Self::Null(_) => false,
            Self::Bool(b) => *b,
            Self::Num(Number::Int(n)) => *n != 0,
            Self::Num(Number::Uint(n)) => *n != 0,
            Self::Num(Number::Float(n)) => *n != 0.0,
            Self::Str(s) => !s.is_empty(),
            Self::Array(items) => !items.is_empty(),
            Self::Object(map, _) => !map.is_empty(),
            Self::Strings(items) => !items.is_empty(),
        }
    }

    /// The name of the type in Go's messages.
    pub(super) fn type_name(&self) -> &'static str {
        match self {
            Self::Missing => "<invalid>",
            Self::Nil => "nil",
            Self::Null(Shape::Open) => "interface {}",
            Self::Null(Shape::Map | Shape::Texts) | Self::Object(..) => "map[string]interface {}",
            Self::Null(Shape::List) | Self::Array(_) => "[]interface {}",
            Self::Bool(_) => "bool",
            Self::Num(Number::Float(_)) => "float64",
            Self::Num(_) => "int",
            Self::Str(_) => "string",
            Self::Strings(_) => "[]string",
        }
    }

    /// The text Go prints for the value with `%v`, at the top of an action.
    pub(super) fn printed(&self) -> String {
        match self {
            Self::Missing | Self::Null(Shape::Open) | Self::Nil => "<no value>".to_owned(),
            other => other.formatted(),
        }
    }

    /// The text of `%v` inside print functions.
    pub(super) fn formatted(&self) -> String {
        match self {
            Self::Missing | Self::Nil | Self::Null(Shape::Open) => "<nil>".to_owned(),
            Self::Null(Shape::Map | Shape::Texts) => "map[]".to_owned(),
            Self::Null(Shape::List) => "[]".to_owned(),
            Self::Bool(b) => b.to_string(),
            Self::Num(n) => n.formatted(),
            Self::Str(s) => s.to_string(),
            Self::Array(items) => bracketed(items.iter().map(formatted_json)),
            Self::Strings(items) => bracketed(items.iter().cloned()),
            // A struct without fields, as the ports and places of an image are.
            Self::Object(map, Shape::Open) if map.is_empty() => "{}".to_owned(),
            Self::Object(map, _) => formatted_map(map),
        }
    }

    /// The value as JSON, as Docker's `json` function encodes it (no HTML escapes).
    pub(super) fn to_json(&self) -> String {
        let json = match self {
            Self::Missing | Self::Nil | Self::Null(_) => Json::Null,
            Self::Bool(b) => Json::Bool(*b),
            Self::Num(Number::Int(n)) => Json::from(*n),
            Self::Num(Number::Uint(n)) => Json::from(*n),
            Self::Num(Number::Float(n)) => return Number::Float(*n).json(),
            Self::Str(s) => Json::String(s.to_string()),
            Self::Strings(items) => Json::from(items.clone()),
            Self::Array(items) => return encoded(items),
            Self::Object(map, _) if map.contains_key(super::LABELS) => return encoded_row(map),
            Self::Object(map, _) => return encoded(map),
        };
        encoded(&json)
    }
}

/// JSON text with Go's two extra escapes (U+2028, U+2029).
fn encoded<T: serde::Serialize + ?Sized>(value: &T) -> String {
    let text = serde_json::to_string(value).unwrap_or_else(|_| "null".to_owned());
    text.replace('\u{2028}', "\\u2028").replace('\u{2029}', "\\u2029")
}

/// A row of a listing: Docker marshals it from a Go map, so with sorted keys and HTML escapes.
fn encoded_row(map: &serde_json::Map<String, Json>) -> String {
    let sorted: std::collections::BTreeMap<_, _> =
        map.iter().filter(|(k, _)| *k != super::LABELS).collect();
    encoded(&sorted).replace('<', "\\u003c").replace('>', "\\u003e").replace('&', "\\u0026")
}

fn number_of(n: &serde_json::Number) -> Number {
    if let Some(i) = n.as_i64() {
        Number::Int(i)
    } else if let Some(u) = n.as_u64() {
        Number::Uint(u)
    } else {
        Number::Float(n.as_f64().unwrap_or(f64::NAN))
    }
}

fn bracketed(items: impl Iterator<Item = String>) -> String {
    let inner: Vec<String> = items.collect();
    format!("[{}]", inner.join(" "))
}

fn formatted_json(json: &Json) -> String {
    Val::of(json, "").formatted()
}

/// Go prints maps with sorted keys.
fn formatted_map(map: &serde_json::Map<String, Json>) -> String {
    let mut entries: Vec<(&String, &Json)> = map.iter().collect();
    entries.sort_by_key(|(key, _)| key.as_str());
    let inner: Vec<String> = entries
        .into_iter()
        .map(|(key, value)| format!("{key}:{}", Val::of(value, key).formatted()))
        .collect();
    format!("map[{}]", inner.join(" "))
}

impl Number {
    pub(super) fn as_f64(self) -> f64 {
        match self {
            Self::Int(n) => n as f64,
            Self::Uint(n) => n as f64,
            Self::Float(n) => n,
        }
    }

    /// The number as an index or width, where it is one.
    pub(super) fn as_i64(self) -> Option<i64> {
        match self {
            Self::Int(n) => Some(n),
            Self::Uint(n) => i64::try_from(n).ok(),
            Self::Float(_) => None,
        }
    }

    pub(super) fn formatted(self) -> String {
        match self {
            Self::Int(n) => n.to_string(),
            Self::Uint(n) => n.to_string(),
            Self::Float(n) => float_v(n),
        }
    }

    fn json(self) -> String {
        match self {
            Self::Float(n) if n.is_finite() => {
                let a = n.abs();
                if a != 0.0 && !(1e-6..1e21).contains(&a) { exponent(n, 1) } else { format!("{n}") }
            }
            Self::Float(_) => "null".to_owned(),
            other => other.formatted(),
        }
    }
}

/// Go's `%v` of a float: shortest digits, exponent form below 1e-4 and from 1e21.
pub(super) fn float_v(n: f64) -> String {
    if n.is_nan() {
        return "NaN".to_owned();
    }
    if n.is_infinite() {
        return if n > 0.0 { "+Inf" } else { "-Inf" }.to_owned();
    }
    let a = n.abs();
    if a != 0.0 && !(1e-4..1e21).contains(&a) { exponent(n, 2) } else { format!("{n}") }
}

/// Shortest exponent form, with at least `digits` exponent digits and a sign.
fn exponent(n: f64, digits: usize) -> String {
    let text = format!("{n:e}");
    let (mantissa, power) = text.split_once('e').unwrap_or((&text, "0"));
    let (sign, power) = match power.strip_prefix('-') {
        Some(rest) => ('-', rest),
        None => ('+', power),
    };
    format!("{mantissa}e{sign}{power:0>digits$}")
}

/// A Go number literal, or nothing where the text is none.
pub(super) fn parse_number(text: &str) -> Option<Number> {
    let (negative, body) = match text.as_bytes().first()? {
        b'-' => (true, &text[1..]),
        b'+' => (false, &text[1..]),
        _ => (false, text),
    };
    if !body.starts_with(|c: char| c.is_ascii_digit() || c == '.') {
        return None;
    }
    if let Some(n) = integer(body) {
        return Some(match i64::try_from(n) {
            Ok(n) => Number::Int(if negative { -n } else { n }),
            Err(_) if negative => return None,
            Err(_) => Number::Uint(n),
        });
    }
    let plain = body.replace('_', "");
    if !plain.starts_with(|c: char| c.is_ascii_digit() || c == '.')
        || plain.contains(['x', 'X', 'i', 'n'])
    {
        return None;
    }
    let n: f64 = plain.parse().ok()?;
    let n = if negative { -n } else { n };
    if n.fract() == 0.0 && n.abs() < 9e15 && !plain.contains('.') {
        return Some(Number::Int(n as i64));
    }
    n.is_finite().then_some(Number::Float(n))
}

fn integer(body: &str) -> Option<u64> {
    let lower = body.to_ascii_lowercase().replace('_', "");
    let (digits, radix) = match lower.as_bytes() {
        [b'0', b'x', ..] => (&lower[2..], 16),
        [b'0', b'b', ..] => (&lower[2..], 2),
        [b'0', b'o', ..] => (&lower[2..], 8),
        [b'0', _, ..] => (&lower[1..], 8),
        _ => (lower.as_str(), 10),
    };
    if digits.starts_with('+') {
        return None;
    }
    u64::from_str_radix(digits, radix).ok()
}

/// The value of a Go string or character literal, quotes included.
pub(super) fn unquote(text: &str) -> Option<String> {
    let quote = text.chars().next()?;
    let inner = text.get(1..text.len().checked_sub(1)?)?;
    if quote == '`' {
        return Some(inner.replace('\r', ""));
    }
    let mut out = Vec::with_capacity(inner.len());
    let mut chars = inner.chars();
    while let Some(c) = chars.next() {
        if c == '\\' {
            escape(&mut chars, quote, &mut out)?;
        } else {
            out.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes());
        }
    }
    Some(String::from_utf8_lossy(&out).into_owned())
}

fn escape(chars: &mut std::str::Chars<'_>, quote: char, out: &mut Vec<u8>) -> Option<()> {
    let byte = match chars.next()? {
        'a' => 7,
        'b' => 8,
        'f' => 12,
        'n' => b'\n',
        'r' => b'\r',
        't' => b'\t',
        'v' => 11,
        '\\' => b'\\',
        c @ ('\'' | '"') if c == quote => c as u8,
        'x' => u8::try_from(digits(chars, 2, 16, 0)?).ok()?,
        c @ '0'..='7' => u8::try_from(digits(chars, 2, 8, c.to_digit(8)?)?).ok()?,
        'u' => return push_char(digits(chars, 4, 16, 0)?, out),
        'U' => return push_char(digits(chars, 8, 16, 0)?, out),
        _ => return None,
    };
    out.push(byte);
    Some(())
}

fn digits(chars: &mut std::str::Chars<'_>, count: usize, radix: u32, first: u32) -> Option<u32> {
    let mut n = first;
    for _ in 0..count {
        n = n.checked_mul(radix)?.checked_add(chars.next()?.to_digit(radix)?)?;
    }
    Some(n)
}

fn push_char(code: u32, out: &mut Vec<u8>) -> Option<()> {
    out.extend_from_slice(char::from_u32(code)?.encode_utf8(&mut [0; 4]).as_bytes());
    Some(())
}

/// Go's `%q` of a string.
pub(crate) fn quoted(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    out.push('"');
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\u{7}' => out.push_str("\\a"),
            '\u{8}' => out.push_str("\\b"),
            '\u{c}' => out.push_str("\\f"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '\u{b}' => out.push_str("\\v"),
            c if (c as u32) < 0x20 || c == '\u{7f}' => {
                let _infallible = write!(out, "\\x{:02x}", c as u32);
            }
            c => out.push(c),
        }
    }
    out.push('"');
    out
}
