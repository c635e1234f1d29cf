//! Positions in a Dockerfile, and the messages that point at them.

use std::fmt;

/// A half-open range of bytes in the Dockerfile's text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Span {
    /// First byte.
    pub start: usize,
    /// One past the last byte.
    pub end: usize,
}

impl Span {
    /// The range from `start` up to, not including, `end`.
    pub fn new(start: usize, end: usize) -> Self {
        Span { start, end }
    }
}

/// Something wrong (or doubtful) at one place of a Dockerfile: what, where, and how to get out of it.
///
/// It carries the line that it speaks of, so it can be shown when the text is gone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Diagnostic {
    message: String,
    hint: Option<String>,
    line_number: usize,
    column: usize,
    width: usize,
    line: String,
}

impl Diagnostic {
    /// A message about `span` of `text`.
    pub fn new(text: &str, span: Span, message: impl Into<String>) -> Self {
        let start = floor_boundary(text, span.start.min(text.len()));
        let line_start = text[..start].rfind('\n').map_or(0, |i| i + 1);
        let line_end = text[start..].find('\n').map_or(text.len(), |i| start + i);
        let end = floor_boundary(text, span.end.clamp(start, line_end));
        let line = text[line_start..line_end].trim_end_matches('\r');
        Diagnostic {
            message: message.into(),
            hint: None,
            line_number: text[..line_start].matches('\n').count() + 1,
            column: text[line_start..start].chars().count(),
            width: text[start..end].trim_end().chars().count().max(1),
            line: line.to_owned(),
        }
    }

    /// The same message with a way out.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// The same message with a way out, where there is one.
    #[must_use]
    pub fn maybe_hint(mut self, hint: Option<String>) -> Self {
        self.hint = self.hint.or(hint);
        self
    }

    /// What is wrong.
    pub fn message(&self) -> &str {
        &self.message
    }

    /// The way out, where one is known.
    pub fn way_out(&self) -> Option<&str> {
        self.hint.as_deref()
    }

    /// The line, counted from 1.
    pub fn line_number(&self) -> usize {
        self.line_number
    }

    /// The column, counted from 1 in characters.
    pub fn column(&self) -> usize {
        self.column + 1
    }

    /// The line of the file with carets under the culprit, and nothing else.
    pub fn excerpt(&self) -> String {
        let number = self.line_number.to_string();
        let gutter = " ".repeat(number.len());
        let pad: String = self
            .line
            .chars()
            .take(self.column)
            .map(|c| if c == '\t' { '\t' } else { ' ' })
            .collect();
        format!(" {number} | {}\n {gutter} | {pad}{}", self.line, "^".repeat(self.width))
    }
}

/// One line of prose, then the excerpt, then the hint.
impl fmt::Display for Diagnostic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "dockerfile parse error on line {}: {}\n{}",
            self.line_number,
            self.message,
            self.excerpt()
        )?;
        match &self.hint {
            Some(hint) => write!(f, "\nhint: {hint}"),
            None => Ok(()),
        }
    }
}

impl std::error::Error for Diagnostic {}

fn floor_boundary(text: &str, mut at: usize) -> usize {
    while !text.is_char_boundary(at) {
        at -= 1;
    }
    at
}

/// The candidate that `word` was most likely meant to be, if any is near enough.
pub fn nearest<'a>(word: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let wanted = word.to_lowercase();
    let allowed = (wanted.chars().count() / 3).clamp(1, 3);
    candidates
        .into_iter()
        .map(|candidate| (distance(&wanted, &candidate.to_lowercase()), candidate))
        .filter(|(d, _)| *d <= allowed)
        .min_by_key(|(d, _)| *d)
        .map(|(_, candidate)| candidate)
}

/// Edits (insert, delete, replace, swap of neighbours) between two words.
fn distance(a: &str, b: &str) -> usize {
    let (a, b): (Vec<char>, Vec<char>) = (a.chars().collect(), b.chars().collect());
    let mut rows = vec![vec![0; b.len() + 1]; a.len() + 1];
    for (i, row) in rows.iter_mut().enumerate() {
        row[0] = i;
    }
    rows[0] = (0..=b.len()).collect();
    for i in 1..=a.len() {
        for j in 1..=b.len() {
            let change = usize::from(a[i - 1] != b[j - 1]);
            let mut best =
                (rows[i - 1][j] + 1).min(rows[i][j - 1] + 1).min(rows[i - 1][j - 1] + change);
            if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                best = best.min(rows[i - 2][j - 2] + 1);
            }
            rows[i][j] = best;
        }
    }
    rows[a.len()][b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Covers: BLD-4
    #[test]
    fn a_diagnostic_shows_the_line_a_caret_and_the_hint() {
        let text = "FROM a\n\tRUNN x\n";
        let start = text.find("RUNN").unwrap();
        let d = Diagnostic::new(text, Span::new(start, start + 4), "unknown instruction: RUNN")
            .hint("did you mean RUN?");
        assert_eq!(
            d.to_string(),
            "dockerfile parse error on line 2: unknown instruction: RUNN\n 2 | \tRUNN x\n   | \t^^^^\nhint: did you mean RUN?"
        );
        assert_eq!((d.line_number(), d.column()), (2, 2));
    }

    #[test]
    fn a_span_past_the_end_still_makes_a_message() {
        let d = Diagnostic::new("é", Span::new(1, 900), "x");
        assert_eq!(d.excerpt(), " 1 | é\n   | ^");
    }

    #[test]
    fn nearest_finds_slips_and_refuses_strangers() {
        for (word, expect) in
            [("RUNN", Some("RUN")), ("cpoy", Some("COPY")), ("FORM", Some("FROM")), ("zebra", None)]
        {
            assert_eq!(nearest(word, ["RUN", "COPY", "FROM"]), expect, "{word}");
        }
    }
}
