//! Text forms that Docker's tools print by Go's rules, and history must equal: `%q`, durations.

use std::fmt::Write as _;

/// A string as Go's `%q` prints it.
pub fn quote(text: &str) -> String {
    let mut out = String::from("\"");
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '\u{7}' => out.push_str("\\a"),
            '\u{8}' => out.push_str("\\b"),
            '\u{c}' => out.push_str("\\f"),
            '\u{b}' => out.push_str("\\v"),
            c if (c as u32) < 0x20 || c == '\u{7f}' => {
                let _ = write!(out, "\\x{:02x}", c as u32);
            }
            c if c.is_control() => {
                let _ = write!(out, "\\u{:04x}", c as u32);
            }
            c => out.push(c),
        }
    }
    out.push('"');
    out
}

/// A list of strings as Go's `%q` prints it: `["a" "b"]`.
pub fn quote_list(list: &[String]) -> String {
    format!("[{}]", list.iter().map(|s| quote(s)).collect::<Vec<_>>().join(" "))
}

/// A list of strings as Go's `%v` prints it: `[a b]`.
pub fn list(list: &[String]) -> String {
    format!("[{}]", list.join(" "))
}

/// Nanoseconds as Go prints a duration: `1h0m5s`, `1.5s`, `30ms`.
pub fn duration(nanos: i64) -> String {
    let value = nanos.unsigned_abs();
    let sign = if nanos < 0 { "-" } else { "" };
    let text = match value {
        0 => return "0s".to_owned(),
        1..1_000 => format!("{value}ns"),
        1_000..1_000_000 => format!("{}µs", fraction(value, 1_000)),
        1_000_000..1_000_000_000 => format!("{}ms", fraction(value, 1_000_000)),
        _ => {
            let seconds = format!("{}s", fraction(value % 60_000_000_000, 1_000_000_000));
            match value / 60_000_000_000 {
                0 => seconds,
                minutes if minutes < 60 => format!("{minutes}m{seconds}"),
                minutes => format!("{}h{}m{seconds}", minutes / 60, minutes % 60),
            }
        }
    };
    format!("{sign}{text}")
}

fn fraction(value: u64, unit: u64) -> String {
    let width = unit.ilog10() as usize;
    let rest = format!("{:0width$}", value % unit);
    let rest = rest.trim_end_matches('0');
    if rest.is_empty() { (value / unit).to_string() } else { format!("{}.{rest}", value / unit) }
}

/// A duration in Go's notation, `1h30m`, `500ms`, in nanoseconds.
pub fn parse_duration(text: &str) -> Option<i64> {
    let (negative, mut rest) = text
        .strip_prefix('-')
        .map_or((false, text.strip_prefix('+').unwrap_or(text)), |r| (true, r));
    if rest == "0" {
        return Some(0);
    }
    if rest.is_empty() {
        return None;
    }
    let mut total: f64 = 0.0;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let number: f64 = rest[..digits].parse().ok()?;
        let unit_end = rest[digits..]
            .find(|c: char| c.is_ascii_digit() || c == '.')
            .map_or(rest.len(), |i| digits + i);
        let unit = match &rest[digits..unit_end] {
            "ns" => 1.0,
            "us" | "µs" | "μs" => 1e3,
            "ms" => 1e6,
            "s" => 1e9,
            "m" => 60e9,
            "h" => 3600e9,
            _ => return None,
        };
        total += number * unit;
        rest = &rest[unit_end..];
    }
    (total < 9.2e18).then_some(if negative { -(total as i64) } else { total as i64 })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_print_and_read_like_go() {
        for (text, nanos) in [
            ("30s", 30_000_000_000),
            ("1m30s", 90_000_000_000),
            ("1h0m5s", 3_605_000_000_000),
            ("1.5s", 1_500_000_000),
            ("20ms", 20_000_000),
            ("5µs", 5_000),
            ("7ns", 7),
        ] {
            assert_eq!(duration(nanos), text);
            assert_eq!(parse_duration(text), Some(nanos), "{text}");
        }
        assert_eq!(duration(0), "0s");
        for bad in ["", "5", "s", "1x", "1s2", "-"] {
            assert_eq!(parse_duration(bad), None, "{bad}");
        }
    }

    #[test]
    fn lists_print_like_go() {
        assert_eq!(quote_list(&["node".into(), "a\"b\n".into()]), r#"["node" "a\"b\n"]"#);
        assert_eq!(list(&["/a".into(), "/b".into()]), "[/a /b]");
    }
}
