//! The functions of a format: Go's builtins and Docker's own.

use super::compare;
use super::printf::{sprint, sprintf, sprintln};
use super::value::{Number, Shape, Val};

/// Which meaning Docker's text functions have.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum Functions {
    /// Over data.
    #[default]
    Values,
    /// Over the header of a table, where they leave the title as it is.
    Header,
}

const KNOWN: [&str; 28] = [
    "and", "call", "eq", "ge", "gt", "html", "index", "join", "js", "json", "le", "len", "lower",
    "lt", "ne", "not", "or", "pad", "print", "printf", "println", "slice", "split", "title",
    "truncate", "upper", "urlquery", "table",
];

/// Whether `name` is a function (`table` is none: it is a prefix of the format, cut off before parsing).
pub(super) fn is_known(name: &str) -> bool {
    name != "table" && KNOWN.contains(&name)
}

/// Calls the function `name`; `and` and `or` are the evaluator's, since they stop early.
pub(super) fn call<'a>(
    name: &str,
    args: Vec<Val<'a>>,
    functions: Functions,
) -> Result<Val<'a>, String> {
    arity(name, args.len())?;
    match name {
        "not" => Ok(Val::Bool(!args[0].truth())),
        "len" => length(&args[0]),
        "index" => args[1..].iter().try_fold(args[0].clone(), |item, key| index(&item, key)),
        "slice" => slice(&args),
        "print" => Ok(Val::str(sprint(&args))),
        "println" => Ok(Val::str(sprintln(&args))),
        "printf" => sprintf(text(0, &args[0])?, &args[1..]).map(Val::str),
        "html" => Ok(Val::str(html(&sprint(&args)))),
        "js" => Ok(Val::str(js(&sprint(&args)))),
        "urlquery" => Ok(Val::str(urlquery(&sprint(&args)))),
        "eq" => any_equal(&args),
        "ne" => compare::equal(&args[0], &args[1]).map(|same| Val::Bool(!same)),
        "lt" => compare::order(&args[0], &args[1]).map(|o| Val::Bool(o.is_some_and(|o| o.is_lt()))),
        "le" => compare::order(&args[0], &args[1]).map(|o| Val::Bool(o.is_some_and(|o| o.is_le()))),
        "gt" => compare::order(&args[0], &args[1]).map(|o| Val::Bool(o.is_some_and(|o| o.is_gt()))),
        "ge" => compare::order(&args[0], &args[1]).map(|o| Val::Bool(o.is_some_and(|o| o.is_ge()))),
        "call" => Err(format!("non-function % of type {}", args[0].type_name())),
        _ if functions == Functions::Header => header(name, args),
        _ => docker(name, &args),
    }
}

/// Docker's text functions over data.
fn docker<'a>(name: &str, args: &[Val<'a>]) -> Result<Val<'a>, String> {
    match name {
        "json" => Ok(Val::str(args[0].to_json())),
        "lower" => Ok(Val::str(text(0, &args[0])?.to_lowercase())),
        "upper" => Ok(Val::str(text(0, &args[0])?.to_uppercase())),
        "title" => Ok(Val::str(title(text(0, &args[0])?))),
        "split" => {
            let (source, separator) = (text(0, &args[0])?, text(1, &args[1])?);
            Ok(Val::Strings(match separator {
                "" => source.chars().map(String::from).collect(),
                _ => source.split(separator).map(str::to_owned).collect(),
            }))
        }
        "join" => Ok(Val::str(strings(&args[0])?.join(text(1, &args[1])?))),
        "pad" => {
            let source = text(0, &args[0])?;
            let (before, after) = (count(1, &args[1])?, count(2, &args[2])?);
            if source.is_empty() {
                return Ok(Val::str(""));
            }
            Ok(Val::str(format!("{}{source}{}", " ".repeat(before), " ".repeat(after))))
        }
        "truncate" => {
            let source = text(0, &args[0])?;
            Ok(Val::str(source.chars().take(count(1, &args[1])?).collect::<String>()))
        }
        _ => Err(format!("{name:?} is not a defined function")),
    }
}

/// Over a header the text functions are the identity, except `pad`.
fn header<'a>(name: &str, args: Vec<Val<'a>>) -> Result<Val<'a>, String> {
    match name {
        "pad" => docker(name, &args),
        _ => Ok(args.into_iter().next().unwrap_or(Val::Missing)),
    }
}

fn arity(name: &str, got: usize) -> Result<(), String> {
    let (least, most) = match name {
        "not" | "len" | "json" | "lower" | "upper" | "title" => (1, 1),
        "ne" | "lt" | "le" | "gt" | "ge" | "split" | "join" | "truncate" => (2, 2),
        "pad" => (3, 3),
        "eq" | "index" | "slice" | "printf" | "call" => (1, usize::MAX),
        _ => (0, usize::MAX),
    };
    if (least..=most).contains(&got) {
        if name == "eq" && got < 2 {
            return Err("missing argument for comparison".to_owned());
        }
        return Ok(());
    }
    let want = if most == usize::MAX { format!("at least {least}") } else { least.to_string() };
    Err(format!("wrong number of args for {name}: want {want} got {got}"))
}

/// The text of argument `at`; the `#at` before the message tells the evaluator which operand to name.
fn text<'v>(at: usize, value: &'v Val<'_>) -> Result<&'v str, String> {
    match value {
        Val::Str(s) => Ok(s),
        Val::Missing | Val::Nil | Val::Null(_) => {
            Err(format!("#{at} invalid value; expected string"))
        }
        other => Err(wrong(at, "string", other)),
    }
}

fn wrong(at: usize, expected: &str, value: &Val<'_>) -> String {
    format!("#{at} wrong type for value; expected {expected}; got {}", value.type_name())
}

fn count(at: usize, value: &Val<'_>) -> Result<usize, String> {
    match value {
        Val::Num(n) => match n.as_i64() {
            Some(n) => Ok(usize::try_from(n).unwrap_or(0).min(1_000_000)),
            None => Err(wrong(at, "int", value)),
        },
        other => Err(wrong(at, "int", other)),
    }
}

fn strings(value: &Val<'_>) -> Result<Vec<String>, String> {
    let wrong = || wrong(0, "[]string", value);
    match value {
        Val::Strings(items) => Ok(items.clone()),
        Val::Null(Shape::List) => Ok(Vec::new()),
        Val::Array(items) => {
            items.iter().map(|i| i.as_str().map(str::to_owned).ok_or_else(wrong)).collect()
        }
        _ => Err(wrong()),
    }
}

fn any_equal<'a>(args: &[Val<'a>]) -> Result<Val<'a>, String> {
    for other in &args[1..] {
        if compare::equal(&args[0], other)? {
            return Ok(Val::Bool(true));
        }
    }
    Ok(Val::Bool(false))
}

fn length<'a>(value: &Val<'a>) -> Result<Val<'a>, String> {
    match value {
        Val::Str(s) => Ok(Val::int(s.len())),
        Val::Array(items) => Ok(Val::int(items.len())),
        Val::Strings(items) => Ok(Val::int(items.len())),
        Val::Object(map, _) => Ok(Val::int(map.len())),
        Val::Null(Shape::Map | Shape::Texts | Shape::List) => Ok(Val::int(0)),
        Val::Missing | Val::Nil | Val::Null(_) => Err("len of nil pointer".to_owned()),
        other => Err(format!("len of type {}", other.type_name())),
    }
}

fn index<'a>(item: &Val<'a>, key: &Val<'_>) -> Result<Val<'a>, String> {
    if matches!(item, Val::Missing | Val::Nil | Val::Null(Shape::Open)) {
        return Err("index of untyped nil".to_owned());
    }
    match item {
        Val::Object(map, shape) => {
            let Val::Str(name) = key else {
                return Err(format!("value has type {}; should be string", key.type_name()));
            };
            // Go's zero value of a map of strings is the empty string, of any other map no value.
            let of_strings = *shape == Shape::Texts
                || !map.is_empty() && map.values().all(serde_json::Value::is_string);
            let absent = if of_strings { Val::str("") } else { Val::Missing };
            Ok(map.get(&**name).map_or(absent, |json| Val::of(json, name)))
        }
        Val::Null(Shape::Map) => Ok(Val::Missing),
        Val::Null(Shape::Texts) => Ok(Val::str("")),
        Val::Array(items) => position(key, items.len()).map(|at| Val::of(&items[at], "")),
        Val::Strings(items) => position(key, items.len()).map(|at| Val::str(items[at].as_str())),
        Val::Str(s) => {
            position(key, s.len()).map(|at| Val::Num(Number::Int(i64::from(s.as_bytes()[at]))))
        }
        Val::Null(Shape::List) => position(key, 0).map(|_| Val::Missing),
        other => Err(format!("can't index item of type {}", other.type_name())),
    }
}

fn position(key: &Val<'_>, len: usize) -> Result<usize, String> {
    let Val::Num(n) = key else {
        return match key {
            Val::Missing | Val::Nil | Val::Null(_) => {
                Err("cannot index slice/array with nil".to_owned())
            }
            other => Err(format!("cannot index slice/array with type {}", other.type_name())),
        };
    };
    let wanted = n.as_i64().ok_or("cannot index slice/array with type float64")?;
    usize::try_from(wanted)
        .ok()
        .filter(|&at| at < len)
        .ok_or_else(|| format!("index out of range: {wanted}"))
}

fn slice<'a>(args: &[Val<'a>]) -> Result<Val<'a>, String> {
    let (item, bounds) = (&args[0], &args[1..]);
    if matches!(item, Val::Missing | Val::Nil | Val::Null(Shape::Open)) {
        return Err("slice of untyped nil".to_owned());
    }
    if bounds.len() > 3 {
        return Err(format!("too many slice indexes: {}", bounds.len()));
    }
    if bounds.len() == 3 && matches!(item, Val::Str(_)) {
        return Err("cannot 3-index slice a string".to_owned());
    }
    let len = match item {
        Val::Str(s) => s.len(),
        Val::Array(items) => items.len(),
        Val::Strings(items) => items.len(),
        Val::Null(Shape::List) => 0,
        other => return Err(format!("can't slice item of type {}", other.type_name())),
    };
    let at = |i: usize, default: usize| bounds.get(i).map_or(Ok(default), |k| position(k, len + 1));
    let (from, to) = (at(0, 0)?, at(1, len)?);
    at(2, len)?;
    if from > to {
        return Err(format!("invalid slice index: {from} > {to}"));
    }
    Ok(match item {
        Val::Str(s) => Val::str(String::from_utf8_lossy(&s.as_bytes()[from..to]).into_owned()),
        Val::Array(items) => Val::Array(&items[from..to]),
        Val::Strings(items) => Val::Strings(items[from..to].to_vec()),
        other => other.clone(),
    })
}

/// `strings.Title`: the first letter of each word in upper case.
fn title(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut inside = false;
    for c in text.chars() {
        if inside {
            out.push(c);
        } else {
            out.extend(c.to_uppercase());
        }
        inside = c.is_alphanumeric() || c == '_' || c == '\'';
    }
    out
}

fn html(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
        .replace('"', "&#34;")
        .replace('\'', "&#39;")
}

fn js(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '\\' => out.push_str("\\\\"),
            '\'' => out.push_str("\\'"),
            '"' => out.push_str("\\\""),
            '<' | '>' | '&' | '=' => out.push_str(&format!("\\u{:04X}", c as u32)),
            c if (c as u32) < 0x20 => out.push_str(&format!("\\u{:04X}", c as u32)),
            c => out.push(c),
        }
    }
    out
}

fn urlquery(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => {
                out.push(char::from(byte))
            }
            b' ' => out.push('+'),
            _ => out.push_str(&format!("%{byte:02X}")),
        }
    }
    out
}
