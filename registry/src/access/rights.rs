//! Rules of the configuration: which users may do what in which repositories.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::name::RepositoryName;

/// What may be done with a repository.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Action {
    /// Read manifests, blobs, tags and referrers.
    Pull,
    /// Upload blobs and write manifests and tags.
    Push,
    /// Delete manifests, tags and blobs.
    Delete,
}

impl Action {
    /// The action's name in configuration and token scopes.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Pull => "pull",
            Self::Push => "push",
            Self::Delete => "delete",
        }
    }
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// One rule: these users may do these things in these repositories.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Grant {
    /// User names; `*` is every authenticated user, `anonymous` a client without credentials.
    pub users: Vec<String>,
    /// Repositories.
    pub repositories: Vec<RepositoryPattern>,
    /// What is allowed.
    pub actions: Vec<Action>,
}

/// Repository names with `*` for any part of a component and `**` for any components.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct RepositoryPattern(Vec<Box<str>>);

/// A text that is no pattern.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{component:?} in the repository pattern {text:?} can match no repository name")]
pub struct PatternError {
    text: String,
    component: String,
}

impl TryFrom<String> for RepositoryPattern {
    type Error = PatternError;

    fn try_from(text: String) -> Result<Self, PatternError> {
        let allowed = |c: char| matches!(c, 'a'..='z' | '0'..='9' | '.' | '_' | '-' | '*');
        let wrong = |part: &&str| {
            part.is_empty() || !part.chars().all(allowed) || (part.contains("**") && *part != "**")
        };
        match text.split('/').find(wrong) {
            None => Ok(Self(text.split('/').map(Into::into).collect())),
            Some(component) => Err(PatternError { component: component.to_owned(), text }),
        }
    }
}

impl From<RepositoryPattern> for String {
    fn from(pattern: RepositoryPattern) -> Self {
        pattern.0.join("/")
    }
}

impl RepositoryPattern {
    /// Whether the pattern covers the name.
    pub fn matches(&self, name: &RepositoryName) -> bool {
        let parts: Vec<&str> = name.as_str().split('/').collect();
        components(&self.0, &parts)
    }
}

fn components(pattern: &[Box<str>], parts: &[&str]) -> bool {
    match pattern.split_first() {
        None => parts.is_empty(),
        Some((first, rest)) if &**first == "**" => {
            (0..=parts.len()).any(|skipped| components(rest, &parts[skipped..]))
        }
        Some((first, rest)) => match parts.split_first() {
            Some((part, parts)) => component(first, part) && components(rest, parts),
            None => false,
        },
    }
}

fn component(pattern: &str, part: &str) -> bool {
    let Some((before, after)) = pattern.split_once('*') else { return pattern == part };
    let Some(rest) = part.strip_prefix(before) else { return false };
    (0..=rest.len())
        .any(|skipped| rest.is_char_boundary(skipped) && component(after, &rest[skipped..]))
}

/// All rules.
#[derive(Debug)]
pub(crate) struct Rights(Vec<Grant>);

impl Rights {
    pub(crate) fn new(grants: &[Grant]) -> Self {
        Self(grants.to_vec())
    }

    /// Whether a user, or nobody in particular, may do it. Without any rule every authenticated
    /// user may do everything and nobody else anything.
    pub(crate) fn allow(&self, user: Option<&str>, action: Action, name: &RepositoryName) -> bool {
        if self.0.is_empty() {
            return user.is_some();
        }
        self.0.iter().any(|grant| {
            grant.actions.contains(&action)
                && grant.users.iter().any(|pattern| is_user(pattern, user))
                && grant.repositories.iter().any(|pattern| pattern.matches(name))
        })
    }
}

fn is_user(pattern: &str, user: Option<&str>) -> bool {
    match (pattern, user) {
        ("anonymous", None) => true,
        ("*", Some(_)) => true,
        // A user who is called "anonymous" gets no more than one who gave no name.
        (pattern, Some(user)) => pattern == user,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn pattern(text: &str) -> RepositoryPattern {
        RepositoryPattern::try_from(text.to_owned()).expect("a pattern")
    }

    fn name(text: &str) -> RepositoryName {
        text.parse().expect("a name")
    }

    #[test]
    fn patterns_cover_components_and_trees() {
        let table = [
            ("a/b", "a/b", true),
            ("a/b", "a/b/c", false),
            ("a/b", "a", false),
            ("*", "a", true),
            ("*", "a/b", false),
            ("a/*", "a/b", true),
            ("a/*", "a", false),
            ("**", "a", true),
            ("**", "a/b/c", true),
            ("a/**", "a", true),
            ("a/**", "a/b/c", true),
            ("a/**", "ab/c", false),
            ("**/z", "a/b/z", true),
            ("**/z", "z", true),
            ("**/z", "a/zz", false),
            ("team-*/app", "team-x/app", true),
            ("team-*/app", "team/app", false),
            ("a*c*e", "abcde", true),
            ("a*c*e", "abde", false),
            ("a/**/z", "a/z", true),
            ("a/**/z", "a/b/c/z", true),
        ];
        for (text, repository, expected) in table {
            assert_eq!(pattern(text).matches(&name(repository)), expected, "{text} {repository}");
        }
    }

    #[test]
    fn a_pattern_that_can_match_nothing_is_refused() {
        for text in ["", "a//b", "/a", "A", "a b", "a/**b", "../a "] {
            assert!(RepositoryPattern::try_from(text.to_owned()).is_err(), "accepted {text:?}");
        }
    }

    #[test]
    fn rules_add_up_and_nothing_else_is_allowed() {
        let grant = |users: &[&str], repository: &str, actions: &[Action]| Grant {
            users: users.iter().map(|u| (*u).to_owned()).collect(),
            repositories: vec![pattern(repository)],
            actions: actions.to_vec(),
        };
        let rights = Rights::new(&[
            grant(&["anonymous", "*"], "public/**", &[Action::Pull]),
            grant(&["bob"], "**", &[Action::Pull, Action::Push]),
        ]);
        let table = [
            (None, Action::Pull, "public/x", true),
            (None, Action::Push, "public/x", false),
            (None, Action::Pull, "private", false),
            (Some("eve"), Action::Pull, "public/x", true),
            (Some("eve"), Action::Pull, "private", false),
            (Some("bob"), Action::Push, "private", true),
            (Some("bob"), Action::Delete, "private", false),
            (Some("anonymous"), Action::Pull, "private", false),
        ];
        for (user, action, repository, expected) in table {
            assert_eq!(
                rights.allow(user, action, &name(repository)),
                expected,
                "{user:?} {action} {repository}"
            );
        }
    }

    #[test]
    fn without_rules_every_user_may_do_everything_and_nobody_else_anything() {
        let rights = Rights::new(&[]);
        assert!(rights.allow(Some("a"), Action::Delete, &name("x")));
        assert!(!rights.allow(None, Action::Pull, &name("x")));
    }

    proptest! {
        #[test]
        fn a_name_without_stars_matches_exactly_itself(a in "[a-z]{1,3}(/[a-z]{1,3}){0,2}", b in "[a-z]{1,3}(/[a-z]{1,3}){0,2}") {
            prop_assert_eq!(pattern(&a).matches(&name(&b)), a == b);
        }
    }
}
