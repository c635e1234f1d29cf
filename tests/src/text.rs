//! Words of a command line, columns of a table, and filters for what differs from run to run.

use std::sync::LazyLock;

use regex::Regex;

/// Splits a command line at spaces, as a shell would: single and double quotes keep words together.
pub fn words(line: &str) -> Vec<String> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut quote = None;
    for c in line.chars() {
        match (quote, c) {
            (Some(q), c) if q == c => quote = None,
            (None, '\'' | '"') => {
                quote = Some(c);
                word.get_or_insert_default();
            }
            (None, ' ') => words.extend(word.take()),
            (_, c) => word.get_or_insert_default().push(c),
        }
    }
    assert!(quote.is_none(), "unclosed quote in: {line}");
    words.extend(word);
    words
}

/// The rows of a table whose columns are separated by at least two spaces, header first, aligned by the header.
pub fn table(text: &str) -> Vec<Vec<String>> {
    let mut lines = text.lines();
    let Some(header) = lines.next() else { return Vec::new() };
    let starts = column_starts(header);
    std::iter::once(header).chain(lines).map(|line| cut(line, &starts)).collect()
}

/// The cells of one column, without its header.
#[track_caller]
pub fn column(text: &str, name: &str) -> Vec<String> {
    let rows = table(text);
    let header = rows.first().unwrap_or_else(|| panic!("no table in: {text}"));
    let at = header.iter().position(|cell| cell == name);
    let at = at.unwrap_or_else(|| panic!("no column '{name}' in: {text}"));
    rows.iter().skip(1).map(|row| row[at].clone()).collect()
}

fn column_starts(header: &str) -> Vec<usize> {
    let chars: Vec<char> = header.chars().collect();
    let is_start = |at: usize| {
        chars[at] != ' ' && (at == 0 || (at >= 2 && chars[at - 1] == ' ' && chars[at - 2] == ' '))
    };
    (0..chars.len()).filter(|at| is_start(*at)).collect()
}

fn cut(line: &str, starts: &[usize]) -> Vec<String> {
    let chars: Vec<char> = line.chars().collect();
    let mut cells = Vec::new();
    for (n, start) in starts.iter().enumerate() {
        let end = starts.get(n + 1).copied().unwrap_or(chars.len()).min(chars.len());
        let cell: String = chars.get(*start..end).unwrap_or(&[]).iter().collect();
        cells.push(cell.trim().to_owned());
    }
    cells
}

static FILTERS: LazyLock<Vec<(Regex, &str)>> = LazyLock::new(|| {
    [
        (r"sha256:[0-9a-f]{64}", "sha256:<digest>"),
        (r"\b[0-9a-f]{64}\b", "<id>"),
        (r"\b[0-9a-f]{12}\b", "<short id>"),
        (r"127\.0\.0\.1:\d+", "127.0.0.1:<port>"),
        (r"\b\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d(\.\d+)?(Z| ?[+-]\d\d:?\d\d( [A-Z]+)?)?", "<time>"),
        (r"\b(Less than a second|About a minute|\d+ (second|minute|hour|day|week|month|year)s?) ago\b", "<age> ago"),
        (r"\b\d+(\.\d+)?m?s\b", "<seconds>"),
    ]
    .into_iter()
    .map(|(pattern, name)| (Regex::new(pattern).expect("the filters are valid"), name))
    .collect()
});

/// The text with digests, ids, ports, times and ages replaced by their names.
pub fn filtered(text: &str) -> String {
    FILTERS.iter().fold(text.to_owned(), |text, (pattern, name)| {
        pattern.replace_all(&text, *name).into_owned()
    })
}

/// Whether the text is `len` lower-case hexadecimal digits.
pub fn is_hex(text: &str, len: usize) -> bool {
    text.len() == len && text.chars().all(|c| c.is_ascii_digit() || ('a'..='f').contains(&c))
}

/// Whether the text is `sha256:` and 64 hexadecimal digits.
pub fn is_digest(text: &str) -> bool {
    text.strip_prefix("sha256:").is_some_and(|hex| is_hex(hex, 64))
}

/// The first `sha256:…` in a text.
#[track_caller]
pub fn digest_in(text: &str) -> String {
    let at = text.find("sha256:").unwrap_or_else(|| panic!("no digest in: {text}"));
    let digest: String = text[at..].chars().take(71).collect();
    assert!(is_digest(&digest), "no whole digest in: {text}");
    digest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_split_as_a_shell_splits_them() {
        assert_eq!(
            words("run  --rm busybox sh -c 'echo a b' \"\""),
            ["run", "--rm", "busybox", "sh", "-c", "echo a b", ""]
        );
        assert_eq!(words("--change='CMD [\"sh\"]'"), ["--change=CMD [\"sh\"]"]);
    }

    #[test]
    fn columns_are_cut_where_the_header_starts() {
        let text = "REPOSITORY   TAG       IMAGE ID       SIZE\nbusybox      latest    0123456789ab   1.2MB\n<none>       <none>    ab0123456789   9B\n";
        assert_eq!(column(text, "IMAGE ID"), ["0123456789ab", "ab0123456789"]);
        assert_eq!(column(text, "SIZE"), ["1.2MB", "9B"]);
    }

    #[test]
    fn what_differs_from_run_to_run_is_named() {
        let id = "0123456789abcdef".repeat(4);
        let text = format!(
            "sha256:{id} {id} 0123456789ab 127.0.0.1:4711 2026-11-21T12:00:00.5Z 3 minutes ago 0.25s"
        );
        assert_eq!(
            filtered(&text),
            "sha256:<digest> <id> <short id> 127.0.0.1:<port> <time> <age> ago <seconds>"
        );
    }
}
