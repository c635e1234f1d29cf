//! Tags as versions, and ranges of them, with the meaning that Helm and skopeo give ranges.

use std::cmp::Ordering;
use std::fmt;
use std::str::FromStr;

use semver::Version;

/// A tag that reads as a version: `1.2.3`, `v1.2`, `2`, `1.2.3-rc.1`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TagVersion(Version);

impl TagVersion {
    /// Reads a tag; nothing where it is no version.
    pub fn parse(tag: &str) -> Option<Self> {
        Partial::parse(tag).map(|partial| Self(partial.filled()))
    }

    /// The order of versions (semver.org, clause 11): pre-releases before their release.
    pub fn compare(&self, other: &Self) -> Ordering {
        self.0.cmp_precedence(&other.0)
    }

    /// Whether it is a pre-release.
    pub fn is_prerelease(&self) -> bool {
        !self.0.pre.is_empty()
    }
}

/// A version of which the end may be missing or a wildcard.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Partial {
    major: u64,
    minor: Option<u64>,
    patch: Option<u64>,
    rest: String,
}

impl Partial {
    fn parse(text: &str) -> Option<Self> {
        let text = text.strip_prefix(['v', 'V']).unwrap_or(text);
        let end = text.find(['-', '+']).unwrap_or(text.len());
        let (numbers, rest) = text.split_at(end);
        let mut parts = numbers.split('.').map(number);
        let (major, minor, patch) = (parts.next()??, parts.next(), parts.next());
        if parts.next().is_some() || minor == Some(None) || patch == Some(None) {
            return None;
        }
        let partial =
            Self { major, minor: minor.flatten(), patch: patch.flatten(), rest: rest.to_owned() };
        // Only what semver takes as a pre-release and build may follow.
        partial.try_filled().map(|_| partial)
    }

    fn try_filled(&self) -> Option<Version> {
        let (minor, patch) = (self.minor.unwrap_or(0), self.patch.unwrap_or(0));
        Version::parse(&format!("{}.{minor}.{patch}{}", self.major, self.rest)).ok()
    }

    fn filled(&self) -> Version {
        self.try_filled().unwrap_or(Version::new(self.major, 0, 0))
    }
}

/// Decimal digits, without sign; leading zeros are taken, as date tags have them.
fn number(text: &str) -> Option<u64> {
    let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    digits.then(|| text.parse().ok()).flatten()
}

/// A range of versions: `>= 1.2, < 2`, `~1.2`, `^1.2.3`, `1.x || 2.x`, `1.2 - 1.4`.
///
/// Comparators side by side or behind a comma must all hold; of alternatives behind `||` one.
/// A pre-release is in a range only where the comparator names a pre-release too.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VersionRange {
    text: String,
    alternatives: Vec<Vec<Comparator>>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Comparator {
    operator: Operator,
    version: Partial,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Operator {
    Any,
    Equal,
    NotEqual,
    Greater,
    GreaterEqual,
    Less,
    LessEqual,
    Tilde,
    Caret,
}

/// Operators by their spelling, longer ones first.
const OPERATORS: &[(&str, Operator)] = &[
    ("!=", Operator::NotEqual),
    (">=", Operator::GreaterEqual),
    ("=>", Operator::GreaterEqual),
    ("<=", Operator::LessEqual),
    ("=<", Operator::LessEqual),
    ("~>", Operator::Tilde),
    ("=", Operator::Equal),
    (">", Operator::Greater),
    ("<", Operator::Less),
    ("~", Operator::Tilde),
    ("^", Operator::Caret),
];

/// A range that cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("invalid version range {range:?}: {part:?} is no comparator such as \">=1.2\" or \"~2\"")]
pub struct VersionRangeError {
    range: String,
    part: String,
}

impl VersionRange {
    /// Whether the version is in the range.
    pub fn contains(&self, version: &TagVersion) -> bool {
        self.alternatives.iter().any(|all| all.iter().all(|one| one.holds(&version.0)))
    }
}

impl FromStr for VersionRange {
    type Err = VersionRangeError;

    fn from_str(text: &str) -> Result<Self, VersionRangeError> {
        let alternatives =
            text.split("||").map(|part| parse_all(text, part)).collect::<Result<_, _>>()?;
        Ok(Self { text: text.to_owned(), alternatives })
    }
}

impl fmt::Display for VersionRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

fn parse_all(range: &str, part: &str) -> Result<Vec<Comparator>, VersionRangeError> {
    let error = |part: &str| VersionRangeError { range: range.to_owned(), part: part.to_owned() };
    // `a - b` is the closed range between both.
    let tied = part.replace(" - ", " <= ");
    let hyphened = tied != part;
    let words = words(&tied);
    if hyphened {
        let [from, to] = &words[..] else { return Err(error(part.trim())) };
        let from = comparator(&format!(">={from}")).ok_or_else(|| error(from))?;
        return Ok(vec![from, comparator(to).ok_or_else(|| error(to))?]);
    }
    if words.is_empty() {
        return Err(error(part.trim()));
    }
    words.iter().map(|word| comparator(word).ok_or_else(|| error(word))).collect()
}

/// Comparators, with the space between an operator and its version taken out.
fn words(text: &str) -> Vec<String> {
    let mut words: Vec<String> = Vec::new();
    for word in text.split([' ', ',', '\t']).filter(|word| !word.is_empty()) {
        match words.last_mut() {
            Some(last) if OPERATORS.iter().any(|(spelling, _)| last == spelling) => {
                last.push_str(word);
            }
            _ => words.push(word.to_owned()),
        }
    }
    words
}

fn comparator(word: &str) -> Option<Comparator> {
    let found = OPERATORS
        .iter()
        .find_map(|(spelling, operator)| word.strip_prefix(spelling).map(|rest| (*operator, rest)));
    let (operator, rest) = found.unwrap_or((Operator::Equal, word));
    let is_wild = |text: &str| matches!(text, "x" | "X" | "*");
    let numbers = rest.trim_end_matches(".x").trim_end_matches(".X").trim_end_matches(".*");
    if is_wild(numbers) {
        let version = Partial { major: 0, minor: None, patch: None, rest: String::new() };
        return Some(Comparator { operator: Operator::Any, version });
    }
    Partial::parse(numbers).map(|version| Comparator { operator, version })
}

impl Comparator {
    fn holds(&self, version: &Version) -> bool {
        if self.operator == Operator::Any {
            return version.pre.is_empty();
        }
        let bound = self.version.filled();
        if !version.pre.is_empty() && bound.pre.is_empty() {
            return false;
        }
        let order = version.cmp_precedence(&bound);
        match self.operator {
            Operator::Any => true,
            Operator::Equal => self.same_as_far_as_said(version, order),
            Operator::NotEqual => !self.same_as_far_as_said(version, order),
            // `>1.2` begins behind all of 1.2, `<=1.2` ends behind all of it.
            Operator::Greater => {
                order == Ordering::Greater && !self.same_as_far_as_said(version, order)
            }
            Operator::LessEqual => {
                order != Ordering::Greater || self.same_as_far_as_said(version, order)
            }
            Operator::GreaterEqual => order != Ordering::Less,
            Operator::Less => order == Ordering::Less,
            Operator::Tilde => order != Ordering::Less && self.in_tilde(version),
            Operator::Caret => order != Ordering::Less && self.in_caret(version),
        }
    }

    /// Equal in the numbers that are given; in everything where all are.
    fn same_as_far_as_said(&self, version: &Version, order: Ordering) -> bool {
        match (self.version.minor, self.version.patch) {
            (Some(_), Some(_)) => order == Ordering::Equal,
            (minor, _) => {
                version.major == self.version.major && minor.is_none_or(|m| version.minor == m)
            }
        }
    }

    fn in_tilde(&self, version: &Version) -> bool {
        version.major == self.version.major
            && self.version.minor.is_none_or(|minor| version.minor == minor)
    }

    /// No change in the leftmost number that is not zero.
    fn in_caret(&self, version: &Version) -> bool {
        let Partial { major, minor, patch, .. } = self.version;
        if version.major != major {
            return false;
        }
        match (major, minor, patch) {
            (1.., _, _) | (0, None, _) => true,
            (0, Some(minor @ 1..), _) | (0, Some(minor), None) => version.minor == minor,
            (0, Some(0), Some(patch)) => version.minor == 0 && version.patch == patch,
        }
    }
}
