//! Physical lines into logical ones: continuation, comments inside it, and here-documents.

use super::Directives;
use super::directive::parse_directives;
use super::expand::Lexer;
use super::span::{Diagnostic, Span};
use crate::limits;

/// One logical line: its text without continuations, and the way back to the file.
#[derive(Debug, Clone)]
pub(super) struct LogicalLine {
    /// The joined text.
    pub(super) text: String,
    /// From first to last physical line, here-documents included.
    pub(super) span: Span,
    /// (offset in `text`, offset in the file), rising.
    segments: Vec<(usize, usize)>,
    /// Comment lines directly above.
    pub(super) comments: Vec<String>,
    /// Here-documents opened on this line, in order.
    pub(super) heredocs: Vec<Heredoc>,
    /// Set when a blank line stood inside a continuation.
    pub(super) empty_continuation: Option<Span>,
}

impl LogicalLine {
    /// The place in the file of a range of the joined text.
    pub(super) fn locate(&self, start: usize, end: usize) -> Span {
        let first = self.offset(start);
        Span::new(first, self.offset(end.max(start + 1) - 1) + 1)
    }

    /// The line seen from `prefix` bytes further right.
    pub(super) fn segments_shift(&mut self, prefix: usize) {
        let head = self.offset(prefix);
        self.segments.retain(|(logical, _)| *logical > prefix);
        self.segments.iter_mut().for_each(|(logical, _)| *logical -= prefix);
        self.segments.insert(0, (0, head));
    }

    fn offset(&self, at: usize) -> usize {
        let index = self.segments.partition_point(|(logical, _)| *logical <= at).saturating_sub(1);
        self.segments.get(index).map_or(self.span.start, |(logical, file)| file + (at - logical))
    }
}

/// A here-document: `<<EOF`, `<<-EOF`, `<<"EOF"`, `3<<EOF`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Heredoc {
    /// The delimiter without its quotes.
    pub name: String,
    /// False when any part of the delimiter was quoted.
    pub expand: bool,
    /// True for `<<-`: leading tabs are dropped.
    pub chomp: bool,
    /// The descriptor before `<<`, 0 when none.
    pub descriptor: u32,
    /// The lines between the delimiters, as they stand in the file.
    pub content: String,
}

impl Heredoc {
    /// The content as the instruction sees it: leading tabs dropped for `<<-`.
    pub fn body(&self) -> String {
        if !self.chomp {
            return self.content.clone();
        }
        self.content.split_inclusive('\n').map(|line| line.trim_start_matches('\t')).collect()
    }

    /// The opening `<<NAME` in `word`, if that is what it is.
    pub fn parse_opening(word: &str) -> Option<Heredoc> {
        let digits = word.len() - word.trim_start_matches(|c: char| c.is_ascii_digit()).len();
        let rest = word[digits..].strip_prefix("<<")?;
        let (chomp, rest) = rest.strip_prefix('-').map_or((false, rest), |r| (true, r));
        if rest.is_empty() || rest.contains('<') {
            return None;
        }
        let plain = Lexer::new('\\').skip_unset().words(rest, &[]).ok()?;
        let raw = Lexer::new('\\').skip_unset().raw_quotes().raw_escapes().words(rest, &[]).ok()?;
        let [name] = plain.as_slice() else { return None };
        Some(Heredoc {
            name: name.clone(),
            expand: raw.first() == Some(name),
            chomp,
            descriptor: word[..digits].parse().unwrap_or(0),
            content: String::new(),
        })
    }
}

/// The logical lines of a Dockerfile and what its directives say.
pub(super) fn split(text: &str) -> Result<(Directives, Vec<LogicalLine>), Diagnostic> {
    let bom = if text.starts_with('\u{feff}') { '\u{feff}'.len_utf8() } else { 0 };
    let (directives, taken) = parse_directives(&text[bom..])?;
    let mut scan = Scan { text, at: bom + taken, escape: directives.escape };
    let mut lines = Vec::new();
    let mut comments = Vec::new();
    while let Some((start, line)) = scan.next() {
        let trimmed = line.trim_start();
        if let Some(comment) = trimmed.strip_prefix('#') {
            comments.push(comment.trim().to_owned());
        } else if trimmed.trim_end().is_empty() {
            comments.clear();
        } else {
            let mut logical = scan.join(start, line, std::mem::take(&mut comments));
            scan.read_heredocs(&mut logical)?;
            if !logical.text.trim().is_empty() {
                lines.push(logical);
            }
        }
        if lines.len() > limits::INSTRUCTIONS {
            return Err(Diagnostic::new(
                text,
                Span::new(start, start),
                "the Dockerfile has too many instructions",
            ));
        }
    }
    Ok((directives, lines))
}

/// A cursor over physical lines.
struct Scan<'a> {
    text: &'a str,
    at: usize,
    escape: char,
}

impl<'a> Scan<'a> {
    /// The next physical line without its line end, and where it starts.
    fn next(&mut self) -> Option<(usize, &'a str)> {
        let (start, line) = self.next_raw()?;
        Some((start, line.trim_end_matches(['\r', '\n'])))
    }

    fn next_raw(&mut self) -> Option<(usize, &'a str)> {
        let start = self.at;
        let line = self.text.get(start..)?.split_inclusive('\n').next()?;
        self.at += line.len();
        Some((start, line))
    }

    /// Joins the physical lines that belong together, beginning with `first`.
    fn join(&mut self, start: usize, first: &'a str, comments: Vec<String>) -> LogicalLine {
        let indent = first.len() - first.trim_start().len();
        let mut logical = LogicalLine {
            text: String::new(),
            span: Span::new(start + indent, start + first.len()),
            segments: Vec::new(),
            comments,
            heredocs: Vec::new(),
            empty_continuation: None,
        };
        let mut more = self.push(&mut logical, start + indent, &first[indent..]);
        while more {
            let Some((at, line)) = self.next() else { break };
            let trimmed = line.trim_start();
            if trimmed.starts_with('#') {
                continue;
            }
            if trimmed.is_empty() {
                logical.empty_continuation = Some(Span::new(at, at + line.len()));
                continue;
            }
            more = self.push(&mut logical, at, line);
            logical.span.end = at + line.len();
        }
        logical
    }

    /// Adds one physical line; true when it asks for another.
    fn push(&self, logical: &mut LogicalLine, at: usize, line: &str) -> bool {
        logical.segments.push((logical.text.len(), at));
        match continued(line, self.escape) {
            Some(body) => {
                logical.text.push_str(body);
                true
            }
            None => {
                logical.text.push_str(line);
                false
            }
        }
    }

    fn read_heredocs(&mut self, logical: &mut LogicalLine) -> Result<(), Diagnostic> {
        if !takes_heredocs(&logical.text) || !logical.text.contains("<<") {
            return Ok(());
        }
        let lexer = Lexer::new('\\').skip_unset().raw_quotes().raw_escapes();
        let words = lexer.words(&logical.text, &[]).unwrap_or_default();
        for mut heredoc in words.iter().filter_map(|word| Heredoc::parse_opening(word)) {
            loop {
                let Some((at, line)) = self.next_raw() else {
                    return Err(Diagnostic::new(self.text, logical.span, "unterminated heredoc")
                        .hint(format!("end it with a line that holds only {}", heredoc.name)));
                };
                let end = line.trim_end_matches(['\r', '\n']);
                let end = if heredoc.chomp { end.trim_start_matches('\t') } else { end };
                if end == heredoc.name {
                    logical.span.end = at + line.trim_end_matches(['\r', '\n']).len();
                    break;
                }
                heredoc.content.push_str(line);
            }
            logical.heredocs.push(heredoc);
        }
        Ok(())
    }
}

/// The line without its continuation character, when it ends in one that is not itself escaped.
fn continued(line: &str, escape: char) -> Option<&str> {
    let body = line.trim_end_matches([' ', '\t']).strip_suffix(escape)?;
    (!body.ends_with('\\')).then_some(body)
}

/// Here-documents belong to RUN, COPY and ADD, also behind ONBUILD, and never to an exec form.
fn takes_heredocs(line: &str) -> bool {
    let mut words = line.split_whitespace();
    let mut keyword = words.next().unwrap_or_default().to_ascii_uppercase();
    if keyword == "ONBUILD" {
        keyword = words.next().unwrap_or_default().to_ascii_uppercase();
    }
    matches!(keyword.as_str(), "RUN" | "COPY" | "ADD")
        && !words.find(|w| !w.starts_with("--")).is_some_and(|w| w.starts_with('['))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(text: &str) -> Vec<String> {
        split(text).unwrap().1.into_iter().map(|l| l.text).collect()
    }

    /// Covers: BLD-4, B08-05
    #[test]
    fn comments_and_blank_lines_inside_a_continuation_are_dropped() {
        let text = "# top\nFROM a\n  RUN one \\\n  # why\n\n    two \\ \n three\n\n";
        assert_eq!(texts(text), ["FROM a", "RUN one     two  three"]);
        assert!(split(text).unwrap().1[1].empty_continuation.is_some());
    }

    /// Covers: BLD-3
    #[test]
    fn the_escape_directive_moves_the_continuation_character() {
        assert_eq!(texts("# escape=`\nFROM a\nCOPY c:\\ `\n d\n"), ["FROM a", "COPY c:\\  d"]);
        assert_eq!(texts("FROM a\nRUN x\\\\\nRUN y\n"), ["FROM a", "RUN x\\\\", "RUN y"]);
    }

    /// Covers: BLD-6, BLD-7
    #[test]
    fn heredocs_keep_their_lines_and_end_at_their_delimiter() {
        let text = "FROM a\nRUN <<EOF bash\na\n  EOF\nEOF\nCOPY <<-\"X\" <<Y /d/\n\tone\n\tX\ntwo\nY\nUSER u\n";
        let (_, lines) = split(text).unwrap();
        assert_eq!(lines[1].heredocs[0].content, "a\n  EOF\n");
        let [x, y] = lines[2].heredocs.as_slice() else { panic!("{lines:?}") };
        assert_eq!(
            (x.name.as_str(), x.expand, x.chomp, x.body().as_str()),
            ("X", false, true, "one\n")
        );
        assert_eq!((y.name.as_str(), y.expand, y.content.as_str()), ("Y", true, "two\n"));
        assert_eq!(lines[3].text, "USER u");
    }

    /// Covers: BLD-6
    #[test]
    fn an_unterminated_heredoc_is_an_error_at_its_instruction() {
        let e = split("FROM a\nRUN <<EOF\nx\n").unwrap_err();
        assert_eq!((e.message(), e.line_number()), ("unterminated heredoc", 2));
    }

    #[test]
    fn a_range_of_the_joined_text_leads_back_to_the_file() {
        let text = "FROM a\nRUN --mount=x \\\n  --bad y\n";
        let (_, lines) = split(text).unwrap();
        let at = lines[1].text.find("--bad").unwrap();
        let span = lines[1].locate(at, at + 5);
        assert_eq!(&text[span.start..span.end], "--bad");
    }

    /// Covers: BLD-1
    #[test]
    fn a_byte_order_mark_is_dropped_on_the_first_line_only() {
        assert_eq!(texts("\u{feff}FROM a\n"), ["FROM a"]);
        assert_eq!(texts("FROM a\n\u{feff}RUN\n")[1].chars().next(), Some('\u{feff}'));
    }
}
