//! Sizes in Docker's words.

const DECIMAL: [&str; 9] = ["B", "kB", "MB", "GB", "TB", "PB", "EB", "ZB", "YB"];

/// Three significant digits, as in the SIZE columns: `7.73MB`, `111MB`.
pub(crate) fn decimal_size(bytes: u64) -> String {
    scaled(bytes as f64, 3)
}

/// Four significant digits, as in progress and prune totals: `7.734MB`.
pub(crate) fn decimal_size_precise(bytes: u64) -> String {
    scaled(bytes as f64, 4)
}

fn scaled(mut size: f64, precision: usize) -> String {
    let mut unit = 0;
    while size >= 1000.0 && unit < DECIMAL.len() - 1 {
        size /= 1000.0;
        unit += 1;
    }
    format!("{}{}", significant(size, precision), DECIMAL[unit])
}

/// Go's `%.Ng` for a number below 1000: rounding up to 1000 with three digits shows as `1e+03`, as Docker does.
fn significant(n: f64, precision: usize) -> String {
    if n == 0.0 {
        return "0".to_owned();
    }
    let rounded = format!("{n:.*e}", precision - 1);
    let Some((mantissa, power)) = rounded.split_once('e') else {
        return rounded;
    };
    let power: usize = power.parse().unwrap_or(0);
    if power >= precision {
        let mantissa = mantissa.trim_end_matches('0').trim_end_matches('.');
        return format!("{mantissa}e+{power:02}");
    }
    let text = format!("{n:.*}", precision - 1 - power);
    match text.contains('.') {
        true => text.trim_end_matches('0').trim_end_matches('.').to_owned(),
        false => text,
    }
}

/// Four significant digits of powers of 1024, as memory is shown: `1.945MiB`.
pub(crate) fn binary_size(bytes: u64) -> String {
    const BINARY: [&str; 7] = ["B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];
    let (mut size, mut unit) = (bytes as f64, 0);
    while size >= 1024.0 && unit < BINARY.len() - 1 {
        size /= 1024.0;
        unit += 1;
    }
    format!("{}{}", significant(size, 4), BINARY[unit])
}

/// A size with Docker's binary suffixes (`512m`, `1.5g`, `64KiB`), in bytes.
pub(crate) fn parse_bytes(text: &str) -> Result<u64, String> {
    let invalid = || format!("invalid size: '{text}'");
    let split = text.find(|c: char| !(c.is_ascii_digit() || c == '.')).unwrap_or(text.len());
    let (number, suffix) = text.split_at(split);
    let number: f64 = number.parse().map_err(|_| invalid())?;
    let suffix = suffix.trim_start().to_ascii_lowercase();
    let power = match suffix.trim_end_matches('b').trim_end_matches('i') {
        "" if matches!(suffix.as_str(), "" | "b") => 0,
        "k" => 1,
        "m" => 2,
        "g" => 3,
        "t" => 4,
        "p" => 5,
        _ => return Err(invalid()),
    };
    let bytes = number * 1024f64.powi(power);
    if bytes.is_finite() && bytes < 9.2e18 { Ok(bytes as u64) } else { Err(invalid()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Covers: B06-07
    #[test]
    fn sizes_have_three_significant_digits_of_powers_of_a_thousand() {
        for (bytes, text) in [
            (0, "0B"),
            (1, "1B"),
            (123, "123B"),
            (999, "999B"),
            (1000, "1kB"),
            (1001, "1kB"),
            (1500, "1.5kB"),
            (99_999, "100kB"),
            (999_950, "1e+03kB"),
            (7_730_000, "7.73MB"),
            (4_260_000, "4.26MB"),
            (111_400_000, "111MB"),
            (5_050_000_000, "5.05GB"),
            (8_410, "8.41kB"),
            (63_400_000, "63.4MB"),
        ] {
            assert_eq!(decimal_size(bytes), text, "{bytes}");
        }
        assert_eq!(decimal_size_precise(7_734_123), "7.734MB");
        assert_eq!(decimal_size_precise(999_950), "1000kB");
        assert_eq!(binary_size(2_040_000), "1.945MiB");
        assert_eq!(binary_size(0), "0B");
    }

    #[test]
    fn sizes_are_read_with_binary_suffixes() {
        for (text, bytes) in [
            ("0", 0),
            ("64", 64),
            ("1k", 1024),
            ("1.5g", 1_610_612_736),
            ("2MB", 2_097_152),
            ("1KiB", 1024),
        ] {
            assert_eq!(parse_bytes(text), Ok(bytes), "{text}");
        }
        for text in ["", "m", "-1", "1x", "1e3", "1.2.3", "1ib3"] {
            assert!(parse_bytes(text).is_err(), "{text}");
        }
    }
}
