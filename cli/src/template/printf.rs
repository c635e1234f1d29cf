//! Go's `fmt.Sprintf`, `Sprint` and `Sprintln` over template values.

use super::value::{Number, Val, float_v, quoted};

/// Widths and precisions above this are refused, as Go does: a bound on memory.
const WIDTH_MAX: usize = 1_000_000;
/// The longest text one call may make.
const OUTPUT_MAX: usize = 8 << 20;

/// `fmt.Sprint`: a space between operands when neither is a string.
pub(super) fn sprint(args: &[Val<'_>]) -> String {
    let mut out = String::new();
    let mut previous_string = true;
    for (i, arg) in args.iter().enumerate() {
        let string = matches!(arg, Val::Str(_));
        if i > 0 && !string && !previous_string {
            out.push(' ');
        }
        out.push_str(&arg.formatted());
        previous_string = string;
    }
    out
}

/// `fmt.Sprintln`: spaces between all operands and a newline.
pub(super) fn sprintln(args: &[Val<'_>]) -> String {
    let parts: Vec<String> = args.iter().map(Val::formatted).collect();
    parts.join(" ") + "\n"
}

#[derive(Default, Clone, Copy)]
struct Flags {
    minus: bool,
    plus: bool,
    sharp: bool,
    space: bool,
    zero: bool,
    width: Option<usize>,
    precision: Option<usize>,
}

/// `fmt.Sprintf`.
pub(super) fn sprintf(format: &str, args: &[Val<'_>]) -> Result<String, String> {
    let mut out = String::new();
    let mut chars = format.chars().peekable();
    let mut used = 0;
    while let Some(c) = chars.next() {
        if out.len() > OUTPUT_MAX {
            return Err("formatted text is too long".to_owned());
        }
        if c != '%' {
            out.push(c);
            continue;
        }
        let flags = flags(&mut chars, args, &mut used, &mut out);
        match chars.next() {
            None => out.push_str("%!(NOVERB)"),
            Some('%') => out.push('%'),
            Some(verb) => match args.get(used) {
                None => out.push_str(&format!("%!{verb}(MISSING)")),
                Some(arg) => {
                    used += 1;
                    out.push_str(&verb_text(verb, arg, flags));
                }
            },
        }
    }
    if used < args.len() {
        let extra: Vec<String> = args[used..]
            .iter()
            .map(|a| match a {
                Val::Missing | Val::Nil | Val::Null(_) => "<nil>".to_owned(),
                a => format!("{}={}", a.type_name(), a.formatted()),
            })
            .collect();
        out.push_str(&format!("%!(EXTRA {})", extra.join(", ")));
    }
    Ok(out)
}

type Chars<'a> = std::iter::Peekable<std::str::Chars<'a>>;

fn flags(chars: &mut Chars<'_>, args: &[Val<'_>], used: &mut usize, out: &mut String) -> Flags {
    let mut flags = Flags::default();
    while let Some(&c) = chars.peek() {
        match c {
            '-' => flags.minus = true,
            '+' => flags.plus = true,
            '#' => flags.sharp = true,
            ' ' => flags.space = true,
            '0' => flags.zero = true,
            _ => break,
        }
        chars.next();
    }
    flags.width = match size(chars, args, used, out, "WIDTH") {
        Some(n) if n < 0 => {
            flags.minus = true;
            usize::try_from(-n).ok()
        }
        n => n.and_then(|n| usize::try_from(n).ok()),
    };
    if flags.minus {
        flags.zero = false;
    }
    if chars.peek() == Some(&'.') {
        chars.next();
        flags.precision =
            size(chars, args, used, out, "PREC").map_or(Some(0), |n| usize::try_from(n).ok());
    }
    flags
}

/// A width or precision: digits, or `*` for the next argument.
fn size(
    chars: &mut Chars<'_>,
    args: &[Val<'_>],
    used: &mut usize,
    out: &mut String,
    what: &str,
) -> Option<i64> {
    let bound = |n: &i64| n.unsigned_abs() <= WIDTH_MAX as u64;
    if chars.peek() == Some(&'*') {
        chars.next();
        let n = match args.get(*used) {
            Some(Val::Num(n)) => n.as_i64().filter(bound),
            _ => None,
        };
        *used = (*used + 1).min(args.len());
        if n.is_none() {
            out.push_str(&format!("%!(BAD{what})"));
        }
        return n;
    }
    let mut n: Option<i64> = None;
    while let Some(digit) = chars.peek().and_then(|c| c.to_digit(10)) {
        chars.next();
        n = Some(n.unwrap_or(0).saturating_mul(10).saturating_add(i64::from(digit)));
    }
    n.filter(bound)
}

fn verb_text(verb: char, arg: &Val<'_>, flags: Flags) -> String {
    if verb == 'T' {
        return pad(type_text(arg).to_owned(), flags);
    }
    match arg {
        Val::Missing | Val::Nil | Val::Null(_) if matches!(verb, 'v') => {
            pad(arg.formatted(), flags)
        }
        Val::Missing | Val::Nil | Val::Null(_) => format!("%!{verb}(<nil>)"),
        Val::Bool(b) => match verb {
            't' | 'v' => pad(b.to_string(), flags),
            _ => bad(verb, arg),
        },
        Val::Num(Number::Float(n)) => float(verb, *n, flags).unwrap_or_else(|| bad(verb, arg)),
        Val::Num(n) => integer(verb, *n, flags).unwrap_or_else(|| bad(verb, arg)),
        Val::Str(s) => string(verb, s, flags).unwrap_or_else(|| bad(verb, arg)),
        Val::Strings(items) => list(verb, items.iter().map(|s| Val::str(s.as_str())), flags),
        Val::Array(items) => list(verb, items.iter().map(|j| Val::of(j, "")), flags),
        Val::Object(map, _) => {
            if matches!(verb, 'v' | 's') {
                return pad(arg.formatted(), flags);
            }
            let mut entries: Vec<_> = map.iter().collect();
            entries.sort_by_key(|(k, _)| k.as_str());
            let parts: Vec<String> = entries
                .into_iter()
                .map(|(k, v)| {
                    let key =
                        string(verb, k, flags).unwrap_or_else(|| bad(verb, &Val::str(k.as_str())));
                    format!("{key}:{}", verb_text(verb, &Val::of(v, k), flags))
                })
                .collect();
            format!("map[{}]", parts.join(" "))
        }
    }
}

fn list<'a>(verb: char, items: impl Iterator<Item = Val<'a>>, flags: Flags) -> String {
    let parts: Vec<String> = items.map(|v| verb_text(verb, &v, flags)).collect();
    format!("[{}]", parts.join(" "))
}

fn bad(verb: char, arg: &Val<'_>) -> String {
    format!("%!{verb}({}={})", type_text(arg), arg.formatted())
}

fn type_text(arg: &Val<'_>) -> &'static str {
    match arg {
        Val::Missing | Val::Nil | Val::Null(_) => "<nil>",
        arg => arg.type_name(),
    }
}

fn pad(text: String, flags: Flags) -> String {
    let len = text.chars().count();
    let fill = flags.width.unwrap_or(0).saturating_sub(len);
    if flags.minus {
        return text + &" ".repeat(fill);
    }
    " ".repeat(fill) + &text
}

fn string(verb: char, text: &str, flags: Flags) -> Option<String> {
    let cut = |text: &str| match flags.precision {
        Some(n) => text.chars().take(n).collect(),
        None => text.to_owned(),
    };
    let body = match verb {
        'v' if flags.sharp => quoted(text),
        's' | 'v' => cut(text),
        'q' => quoted(&cut(text)),
        'x' => text.bytes().map(|b| format!("{b:02x}")).collect(),
        'X' => text.bytes().map(|b| format!("{b:02X}")).collect(),
        _ => return None,
    };
    Some(if flags.zero { zeros(body, flags) } else { pad(body, flags) })
}

fn zeros(text: String, flags: Flags) -> String {
    let fill = flags.width.unwrap_or(0).saturating_sub(text.chars().count());
    "0".repeat(fill) + &text
}

fn integer(verb: char, n: Number, flags: Flags) -> Option<String> {
    let (negative, magnitude) = match n {
        Number::Int(n) => (n < 0, n.unsigned_abs()),
        Number::Uint(n) => (false, n),
        Number::Float(_) => return None,
    };
    let (prefix, digits) = match verb {
        'd' | 'v' => ("", magnitude.to_string()),
        'b' => (if flags.sharp { "0b" } else { "" }, format!("{magnitude:b}")),
        'o' => (if flags.sharp { "0" } else { "" }, format!("{magnitude:o}")),
        'O' => ("0o", format!("{magnitude:o}")),
        'x' => (if flags.sharp { "0x" } else { "" }, format!("{magnitude:x}")),
        'X' => (if flags.sharp { "0X" } else { "" }, format!("{magnitude:X}")),
        'c' | 'q' | 'U' => return Some(pad(character(verb, magnitude), flags)),
        _ => return None,
    };
    let sign = match (negative, flags.plus, flags.space) {
        (true, ..) => "-",
        (_, true, _) => "+",
        (_, _, true) => " ",
        _ => "",
    };
    let mut digits = digits;
    let wanted = match flags.precision {
        Some(p) => p,
        None if flags.zero => flags.width.unwrap_or(0).saturating_sub(sign.len() + prefix.len()),
        None => 0,
    };
    digits = "0".repeat(wanted.saturating_sub(digits.len())) + &digits;
    Some(pad(format!("{sign}{prefix}{digits}"), flags))
}

fn character(verb: char, code: u64) -> String {
    let c = u32::try_from(code).ok().and_then(char::from_u32).unwrap_or('\u{fffd}');
    match verb {
        'c' => c.to_string(),
        'q' => format!("'{c}'"),
        _ => format!("U+{code:04X}"),
    }
}

fn float(verb: char, n: f64, flags: Flags) -> Option<String> {
    let body = match verb {
        'v' | 'g' | 'G' => match flags.precision {
            Some(p) => general(n, p.max(1)),
            None => float_v(n),
        },
        'f' | 'F' => format!("{n:.*}", flags.precision.unwrap_or(6).min(1000)),
        'e' | 'E' => scientific(n, flags.precision.unwrap_or(6).min(1000)),
        _ => return None,
    };
    let body = if verb.is_ascii_uppercase() { body.to_ascii_uppercase() } else { body };
    let body = match (n.is_sign_negative(), flags.plus, flags.space) {
        (false, true, _) if !body.starts_with('+') => format!("+{body}"),
        (false, false, true) => format!(" {body}"),
        _ => body,
    };
    if flags.zero {
        let (sign, digits) = body.split_at(usize::from(body.starts_with(['+', '-', ' '])));
        let fill = flags.width.unwrap_or(0).saturating_sub(body.len());
        return Some(format!("{sign}{}{digits}", "0".repeat(fill)));
    }
    Some(pad(body, flags))
}

fn scientific(n: f64, precision: usize) -> String {
    let text = format!("{n:.precision$e}");
    match text.split_once('e') {
        Some((mantissa, power)) => {
            let (sign, power) = power.strip_prefix('-').map_or(('+', power), |p| ('-', p));
            format!("{mantissa}e{sign}{power:0>2}")
        }
        None => text,
    }
}

/// `%.Ng`: at most N significant digits, without trailing zeros.
fn general(n: f64, digits: usize) -> String {
    if n == 0.0 || !n.is_finite() {
        return float_v(n);
    }
    let digits = digits.min(1000);
    let rounded = format!("{n:.*e}", digits - 1);
    let power: i64 = rounded.split_once('e').and_then(|(_, p)| p.parse().ok()).unwrap_or(0);
    let wanted = i64::try_from(digits).unwrap_or(i64::MAX);
    let strip = |text: &str| match text.contains('.') {
        true => text.trim_end_matches('0').trim_end_matches('.').to_owned(),
        false => text.to_owned(),
    };
    if power < -4 || power >= wanted {
        let text = scientific(n, digits - 1);
        let (mantissa, exponent) = text.split_once('e').unwrap_or((&text, "+00"));
        return format!("{}e{exponent}", strip(mantissa));
    }
    let decimals = usize::try_from(wanted - 1 - power).unwrap_or(0);
    strip(&format!("{n:.decimals$}"))
}
