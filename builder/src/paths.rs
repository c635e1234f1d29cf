//! Slash paths by Go's rules, which the Dockerfile language inherits.

/// The shortest equal path: no `//`, no `.`, no `..` that can be removed (Go's `path.Clean`).
pub fn clean(path: &str) -> String {
    let rooted = path.starts_with('/');
    let mut parts: Vec<&str> = Vec::new();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." => match parts.last() {
                Some(&last) if last != ".." => {
                    parts.pop();
                }
                _ if rooted => {}
                _ => parts.push(".."),
            },
            part => parts.push(part),
        }
    }
    match (rooted, parts.is_empty()) {
        (true, _) => format!("/{}", parts.join("/")),
        (false, true) => ".".to_owned(),
        (false, false) => parts.join("/"),
    }
}

/// `path` seen from the root, with `..` clamped there, and without the leading slash: `""` is the root itself.
pub fn from_root(path: &str) -> String {
    clean(&format!("/{path}"))[1..].to_owned()
}

/// `path` as seen from the folder `from`, absolute and clean.
pub fn absolute(from: &str, path: &str) -> String {
    if path.starts_with('/') { clean(path) } else { clean(&format!("/{from}/{path}")) }
}

/// Like [`absolute`], keeping the trailing slash (or `.`) that says "this is a folder".
pub fn destination(from: &str, path: &str) -> String {
    let is_folder = path.is_empty() || path.ends_with('/') || path == "." || path.ends_with("/.");
    let mut absolute = absolute(from, path);
    if is_folder && !absolute.ends_with('/') {
        absolute.push('/');
    }
    absolute
}

/// Whether `path` has a wildcard of Go's `filepath.Match`.
pub fn has_wildcard(path: &str) -> bool {
    let mut chars = path.chars();
    while let Some(c) = chars.next() {
        match c {
            '*' | '?' | '[' => return true,
            '\\' => {
                chars.next();
            }
            _ => {}
        }
    }
    false
}

/// The pattern is not one that Go's `filepath.Match` accepts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("syntax error in pattern")]
pub struct BadPattern;

/// Whether one path element (or a whole path, `/` never matched by a wildcard) fits a pattern (Go's `filepath.Match`).
pub fn matches(pattern: &str, name: &str) -> Result<bool, BadPattern> {
    let pattern: Vec<char> = pattern.chars().collect();
    let name: Vec<char> = name.chars().collect();
    check_pattern(&pattern)?;
    // Positions of the last star: on a mismatch it takes one character more.
    let (mut p, mut n, mut star) = (0, 0, None);
    while n < name.len() {
        if p < pattern.len() && pattern[p] == '*' {
            star = Some((p + 1, n));
            p += 1;
            continue;
        }
        if let Some(next) = (p < pattern.len()).then(|| one(&pattern, p, name[n])).flatten() {
            p = next;
            n += 1;
            continue;
        }
        match star {
            Some((after, at)) if name[at] != '/' => {
                star = Some((after, at + 1));
                p = after;
                n = at + 1;
            }
            _ => return Ok(false),
        }
    }
    Ok(pattern[p..].iter().all(|c| *c == '*'))
}

/// Where the pattern goes on when the element at `p` takes `c`.
fn one(pattern: &[char], p: usize, c: char) -> Option<usize> {
    match pattern[p] {
        '?' => (c != '/').then_some(p + 1),
        '\\' => (pattern.get(p + 1) == Some(&c)).then_some(p + 2),
        '[' => class(pattern, p + 1, c).and_then(|(hit, next)| (hit && c != '/').then_some(next)),
        literal => (literal == c).then_some(p + 1),
    }
}

/// The class that starts at `p`, behind its bracket: whether it has `c`, and where the pattern goes on.
fn class(pattern: &[char], mut p: usize, c: char) -> Option<(bool, usize)> {
    let negated = pattern.get(p) == Some(&'^');
    p += usize::from(negated);
    let mut hit = false;
    let mut ranges = 0;
    loop {
        if pattern.get(p) == Some(&']') && ranges > 0 {
            return Some((hit != negated, p + 1));
        }
        let (low, next) = class_char(pattern, p)?;
        p = next;
        let mut high = low;
        if pattern.get(p) == Some(&'-') {
            (high, p) = class_char(pattern, p + 1)?;
        }
        hit |= (low..=high).contains(&c);
        ranges += 1;
    }
}

fn class_char(pattern: &[char], p: usize) -> Option<(char, usize)> {
    match pattern.get(p)? {
        '-' | ']' => None,
        '\\' => pattern.get(p + 1).map(|c| (*c, p + 2)),
        c => Some((*c, p + 1)),
    }
}

fn check_pattern(pattern: &[char]) -> Result<(), BadPattern> {
    let mut p = 0;
    while p < pattern.len() {
        p = match pattern[p] {
            '\\' if p + 1 == pattern.len() => return Err(BadPattern),
            '\\' => p + 2,
            '[' => class(pattern, p + 1, '\0').ok_or(BadPattern)?.1,
            _ => p + 1,
        };
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_cleaned_like_go() {
        for (path, expect) in [
            ("", "."),
            ("a//b/./c/..", "a/b"),
            ("/..", "/"),
            ("/../a", "/a"),
            ("../a", "../a"),
            ("a/..", "."),
            ("/", "/"),
            ("./a/", "a"),
        ] {
            assert_eq!(clean(path), expect, "{path}");
        }
    }

    /// Covers: BLD-40, BLD-42
    #[test]
    fn sources_are_clamped_to_the_root_and_destinations_keep_their_slash() {
        assert_eq!(from_root("../../etc/passwd"), "etc/passwd");
        assert_eq!(from_root("/x/"), "x");
        assert_eq!(from_root("."), "");
        assert_eq!(destination("/src", "."), "/src/");
        assert_eq!(destination("/src", "x"), "/src/x");
        assert_eq!(destination("/src", "x/"), "/src/x/");
        assert_eq!(destination("/src", "/bin/"), "/bin/");
        assert_eq!(destination("/", "/"), "/");
        assert_eq!(destination("/src", "../y/."), "/y/");
    }

    /// Covers: BLD-41
    #[test]
    fn wildcards_match_like_go() {
        for (pattern, name, expect) in [
            ("abc", "abc", true),
            ("*", "abc", true),
            ("*c", "abc", true),
            ("a*", "a", true),
            ("a*", "ab/c", false),
            ("a*/b", "abc/b", true),
            ("a*b*c*d*e*/f", "axbxcxdxe/f", true),
            ("a*b*c*d*e*/f", "axbxcxdxexxx/f", true),
            ("a*b*c*d*e*/f", "axbxcxdxe/xxx/f", false),
            ("a*b?c*x", "abxbbxdbxebxczzx", true),
            ("a*b?c*x", "abxbbxdbxebxczzy", false),
            ("ab[c]", "abc", true),
            ("ab[b-d]", "abc", true),
            ("ab[e-g]", "abc", false),
            ("ab[^c]", "abc", false),
            ("ab[^b-d]", "abc", false),
            ("a\\*b", "a*b", true),
            ("a\\*b", "ab", false),
            ("a?b", "a☺b", true),
            ("a[^a]b", "a☺b", true),
            ("a???b", "a☺b", false),
            ("[a-ζ]*", "α", true),
            ("a?b", "a/b", false),
            ("a*b", "a/b", false),
            ("arr[[]0].txt", "arr[0].txt", true),
            ("*x", "xxx", true),
            ("[\\]a]", "]", true),
            ("[x\\-]", "-", true),
        ] {
            assert_eq!(matches(pattern, name), Ok(expect), "{pattern} {name}");
        }
        for bad in ["[]a]", "[-]", "[x-]", "[", "[^", "[^bc", "a[", "[a-b-c]", "\\"] {
            assert_eq!(matches(bad, "a"), Err(BadPattern), "{bad}");
        }
    }

    proptest::proptest! {
        #[test]
        fn any_pattern_matches_or_fails_without_a_panic(pattern in "[a-c*?\\[\\]^\\\\/-]{0,12}", name in "[a-c/]{0,12}") {
            let _ = matches(&pattern, &name);
        }
    }
}
