//! Just enough of Rust's grammar to check rules on: what is code and what is text, what is a test, where a function ends.

use std::ops::Range;

/// A Rust file, with its text and comments told apart from its code.
pub struct Source {
    /// The file as written.
    pub text: String,
    /// The same length, with comments and the insides of literals blanked: what the compiler sees as code.
    pub code: String,
    /// Byte ranges of items that exist only in tests.
    tests: Vec<Range<usize>>,
}

/// A function with a body.
pub struct Function {
    /// Its name.
    pub name: String,
    /// The line of its `fn`, from 1.
    pub line: usize,
    /// The lines from `fn` to the closing brace.
    pub lines: usize,
}

impl Source {
    /// Reads the shape of one file.
    pub fn new(text: String) -> Self {
        let code = mask(&text);
        let tests = test_items(&code);
        Source { text, code, tests }
    }

    /// The 1-based line of a byte offset.
    pub fn line_of(&self, offset: usize) -> usize {
        self.code.as_bytes()[..offset].iter().filter(|b| **b == b'\n').count() + 1
    }

    /// Whether the byte at `offset` belongs to a `#[cfg(test)]` or `#[test]` item.
    pub fn is_test(&self, offset: usize) -> bool {
        self.tests.iter().any(|range| range.contains(&offset))
    }

    /// Offsets of `needle` in the code outside test items. A needle that starts or ends with a word character matches
    /// whole words only.
    pub fn find(&self, needle: &str) -> Vec<usize> {
        self.code
            .match_indices(needle)
            .map(|(at, _)| at)
            .filter(|at| !self.is_test(*at) && whole_word(&self.code, *at, needle))
            .collect()
    }

    /// All functions that have a body, nested ones too.
    pub fn functions(&self) -> Vec<Function> {
        let mut found = Vec::new();
        for (at, _) in self.code.match_indices("fn ") {
            if !whole_word(&self.code, at, "fn ") {
                continue;
            }
            let rest = &self.code[at + 3..];
            let name: String = rest.chars().take_while(|c| is_word(*c)).collect();
            let Some(open) = body_start(&self.code, at) else { continue };
            if name.is_empty() {
                continue;
            }
            let close = matching_brace(&self.code, open);
            let line = self.line_of(at);
            found.push(Function { name, line, lines: self.line_of(close) - line + 1 });
        }
        found
    }

    /// Names of modules that stand in their own files (`mod name;`), with the `#[path]` where one is given.
    pub fn module_files(&self) -> Vec<(String, Option<String>)> {
        let mut found = Vec::new();
        for (at, _) in self.code.match_indices("mod ") {
            if !whole_word(&self.code, at, "mod ") {
                continue;
            }
            let rest = &self.code[at + 4..];
            let name: String = rest.chars().take_while(|c| is_word(*c)).collect();
            if rest[name.len()..].trim_start().starts_with(';') {
                found.push((name, self.path_attribute(at)));
            }
        }
        found
    }

    /// The value of a `#[path = "…"]` directly before the item at `offset`.
    fn path_attribute(&self, offset: usize) -> Option<String> {
        let before = self.text[..offset].trim_end();
        let before = before.strip_suffix("pub").map_or(before, str::trim_end);
        let attribute = before.strip_suffix(']')?;
        let start = attribute.rfind("#[path")?;
        attribute[start..].split('"').nth(1).map(str::to_owned)
    }
}

/// Blanks comments and the insides of string and character literals, keeping every newline and every length.
fn mask(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut out = bytes.to_vec();
    let mut at = 0;
    while at < bytes.len() {
        let end = match bytes[at] {
            b'/' if bytes[at..].starts_with(b"//") => line_end(bytes, at),
            b'/' if bytes[at..].starts_with(b"/*") => block_comment_end(bytes, at),
            b'"' => string_end(bytes, at),
            b'r' if raw_hashes(bytes, at).is_some() => raw_string_end(bytes, at),
            b'\'' => char_end(bytes, at),
            _ => at + 1,
        };
        if end > at + 1 {
            let literal = matches!(bytes[at], b'"' | b'r' | b'\'');
            let (from, to) = if literal { (at + 1, end - 1) } else { (at, end) };
            blank(&mut out[from..to]);
        }
        at = end;
    }
    String::from_utf8(out).unwrap_or_default()
}

fn blank(bytes: &mut [u8]) {
    bytes.iter_mut().filter(|b| **b != b'\n').for_each(|b| *b = b' ');
}

fn line_end(bytes: &[u8], at: usize) -> usize {
    bytes[at..].iter().position(|b| *b == b'\n').map_or(bytes.len(), |n| at + n)
}

/// Block comments nest.
fn block_comment_end(bytes: &[u8], at: usize) -> usize {
    let mut depth = 0;
    let mut here = at;
    while here < bytes.len() {
        if bytes[here..].starts_with(b"/*") {
            depth += 1;
            here += 2;
        } else if bytes[here..].starts_with(b"*/") {
            depth -= 1;
            here += 2;
            if depth == 0 {
                return here;
            }
        } else {
            here += 1;
        }
    }
    bytes.len()
}

fn string_end(bytes: &[u8], at: usize) -> usize {
    let mut here = at + 1;
    while here < bytes.len() {
        match bytes[here] {
            b'\\' => here += 2,
            b'"' => return here + 1,
            _ => here += 1,
        }
    }
    bytes.len()
}

/// The number of `#` of a raw string that starts at `at`, if one does (`br"…"` and `cr"…"` arrive here at their `r`).
fn raw_hashes(bytes: &[u8], at: usize) -> Option<usize> {
    let inside_word = at > 0 && is_word(bytes[at - 1] as char);
    let prefixed = at > 0
        && matches!(bytes[at - 1], b'b' | b'c')
        && !(at > 1 && is_word(bytes[at - 2] as char));
    if inside_word && !prefixed {
        return None;
    }
    let hashes = bytes[at + 1..].iter().take_while(|b| **b == b'#').count();
    (bytes.get(at + 1 + hashes) == Some(&b'"')).then_some(hashes)
}

fn raw_string_end(bytes: &[u8], at: usize) -> usize {
    let hashes = raw_hashes(bytes, at).unwrap_or(0);
    let closing: Vec<u8> = std::iter::once(b'"').chain(std::iter::repeat_n(b'#', hashes)).collect();
    let from = at + hashes + 2;
    bytes[from..]
        .windows(closing.len())
        .position(|window| window == closing)
        .map_or(bytes.len(), |n| from + n + closing.len())
}

/// The end of a character literal; a lifetime is one byte of code and goes on as such.
fn char_end(bytes: &[u8], at: usize) -> usize {
    if bytes.get(at + 1) == Some(&b'\\') {
        let from = at + 3;
        return bytes[from.min(bytes.len())..]
            .iter()
            .position(|b| *b == b'\'')
            .map_or(bytes.len(), |n| from + n + 1);
    }
    let width = match bytes.get(at + 1) {
        Some(b) if *b >= 0xf0 => 4,
        Some(b) if *b >= 0xe0 => 3,
        Some(b) if *b >= 0xc0 => 2,
        _ => 1,
    };
    if bytes.get(at + 1 + width) == Some(&b'\'') { at + width + 2 } else { at + 1 }
}

fn is_word(c: char) -> bool {
    c.is_ascii_alphanumeric() || c == '_'
}

fn whole_word(code: &str, at: usize, needle: &str) -> bool {
    let before = code[..at].chars().next_back();
    let after = code[at + needle.len()..].chars().next();
    let starts = needle.chars().next().is_some_and(is_word);
    let ends = needle.chars().next_back().is_some_and(is_word);
    let continues = (starts && before.is_some_and(is_word)) || (ends && after.is_some_and(is_word));
    !continues
}

/// The opening brace of the item at `at`, or none when the item ends with `;` first.
fn body_start(code: &str, at: usize) -> Option<usize> {
    let mut depth = 0_i32;
    for (offset, byte) in code.as_bytes()[at..].iter().enumerate() {
        match byte {
            b'(' | b'[' => depth += 1,
            b')' | b']' => depth -= 1,
            b'{' if depth == 0 => return Some(at + offset),
            b';' if depth == 0 => return None,
            _ => {}
        }
    }
    None
}

fn matching_brace(code: &str, open: usize) -> usize {
    let mut depth = 0;
    for (offset, byte) in code.as_bytes()[open..].iter().enumerate() {
        match byte {
            b'{' => depth += 1,
            b'}' => {
                depth -= 1;
                if depth == 0 {
                    return open + offset;
                }
            }
            _ => {}
        }
    }
    code.len()
}

/// Items under `#[cfg(test)]`, `#[cfg(any(test, …))]` or `#[test]`, from the attribute to the end of the item.
fn test_items(code: &str) -> Vec<Range<usize>> {
    let mut ranges = Vec::new();
    for attribute in ["#[cfg(test)]", "#[cfg(any(test", "#[cfg(all(test", "#[test]"] {
        for (at, _) in code.match_indices(attribute) {
            let after = code[at..].find(']').map_or(code.len(), |n| at + n + 1);
            let end = match body_start(code, after) {
                Some(open) => matching_brace(code, open),
                None => code[after..].find(';').map_or(code.len(), |n| after + n),
            };
            ranges.push(at..end);
        }
    }
    ranges
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn comments_and_literals_are_not_code() {
        let text = "let a = \"x.unwrap()\"; // y.unwrap()\nlet b = r#\"panic!(\"z\")\"#; /* /* q */ w */ c.unwrap();";
        let source = Source::new(text.to_owned());
        assert_eq!(source.code.len(), text.len());
        assert_eq!(source.find(".unwrap()").len(), 1);
        assert_eq!(source.find("panic!").len(), 0);
    }

    #[test]
    fn lifetimes_are_not_character_literals() {
        let code = mask("fn f<'a>(x: &'a str) -> char { '{' }\nfn g() { '\\'' ; '§'; }");
        assert!(code.contains("fn f<'a>(x: &'a str)"), "{code}");
        assert_eq!(code.matches('{').count(), 2, "{code}");
        assert_eq!(code.matches('}').count(), 2, "{code}");
    }

    #[test]
    fn functions_are_counted_from_fn_to_closing_brace() {
        let source =
            Source::new("trait T { fn no_body(&self); }\nfn f(\n a: [u8; 3],\n)\n{\n}\n".into());
        let functions = source.functions();
        assert_eq!(functions.len(), 1);
        assert_eq!(
            (functions[0].name.as_str(), functions[0].line, functions[0].lines),
            ("f", 2, 5)
        );
    }

    #[test]
    fn test_items_are_told_from_the_rest() {
        let source = Source::new(
            "fn a() { x.unwrap() }\n#[cfg(test)]\nmod tests { fn b() { y.unwrap() } }\nfn c() { z.unwrap() }".into(),
        );
        assert_eq!(source.find(".unwrap()").len(), 2);
    }

    #[test]
    fn a_test_module_in_its_own_file_does_not_swallow_what_follows() {
        let source = Source::new("#[cfg(test)]\nmod tests;\nfn c() { z.unwrap() }".into());
        assert_eq!(source.find(".unwrap()").len(), 1);
    }

    #[test]
    fn module_files_are_listed_with_their_path_attribute() {
        let source =
            Source::new("mod a;\npub mod b { mod c; }\n#[path = \"other.rs\"]\nmod d;\n".into());
        let modules = source.module_files();
        assert_eq!(modules[0], ("a".into(), None));
        assert_eq!(modules[1], ("c".into(), None));
        assert_eq!(modules[2], ("d".into(), Some("other.rs".into())));
    }
}
