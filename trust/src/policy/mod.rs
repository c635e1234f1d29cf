//! The policy: which images may get a name or start, and on what evidence.

mod cases;
mod containers;
mod explain;
mod parse;
mod pin;

use oci::{Digest, Repository};

pub use cases::{Case, Expected, parse_cases};
pub use explain::Explanation;
pub use pin::Pin;

use crate::Result;
use crate::key::PublicKey;

/// What happens to an image that the policy does not accept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// It is refused.
    Enforce,
    /// It is accepted, with a warning that the caller must show.
    Warn,
}

/// What holds for the images of a scope.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Rule {
    /// Accept without evidence.
    Allow,
    /// Refuse.
    Reject,
    /// Accept if *all* requirements hold.
    Require(Vec<Requirement>),
    /// Accept without evidence, with a warning.
    Warn,
}

/// What an image must prove.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Requirement {
    /// A signed statement about the image, by one of these keys.
    Attestation(AttestationRequirement),
    /// A cosign signature.
    Cosign(CosignRequirement),
    /// A signed tag in the repository's TUF metadata.
    Tuf(TufRequirement),
}

/// A signed tag in TUF metadata under a pinned root.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TufRequirement {
    /// Where trust starts.
    pub pin: Pin,
    /// The repository's path as its publisher signs it, where a mirror renamed it.
    pub signed_as: Option<String>,
    /// Signers who must each have signed the tag; empty means any.
    pub signers: Vec<String>,
    /// How many distinct signers must have signed; 0 means that the releases role is enough.
    pub minimum_signers: u64,
}

/// A cosign signature by enough of these keys.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CosignRequirement {
    /// The keys.
    pub keys: Vec<PublicKey>,
    /// How many distinct ones must have signed.
    pub threshold: u64,
    /// What the payload must name.
    pub identity: Identity,
}

/// What a cosign payload must name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Identity {
    /// The reference exactly, with its tag if it has one; bundles name nothing and do not do.
    Exact,
    /// The repository; a tag is ignored.
    Repository,
    /// This repository: a mirror renamed it.
    SignedAs(String),
}

/// A DSSE-signed in-toto statement about the image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AttestationRequirement {
    /// The keys.
    pub keys: Vec<PublicKey>,
    /// How many distinct ones must have signed.
    pub threshold: u64,
    /// The statement's `predicateType`.
    pub predicate_type: String,
    /// The builder identity that SLSA provenance must name.
    pub builder_id: Option<String>,
    /// The build type that SLSA provenance must name.
    pub build_type: Option<String>,
    /// The verifier that a verification summary must name.
    pub verifier_id: Option<String>,
    /// External parameters that SLSA provenance may have; any other fails closed.
    pub external_parameters: Option<Vec<String>>,
}

/// The repositories below one prefix and their rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Scope {
    /// A registry, or a registry and leading path elements, fully expanded.
    pub prefix: String,
    /// The rule.
    pub rule: Rule,
}

impl Scope {
    fn covers(&self, repository: &str) -> bool {
        repository
            .strip_prefix(self.prefix.as_str())
            .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    }
}

/// A whole policy file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Policy {
    mode: Mode,
    default: Rule,
    built_here: Rule,
    scopes: Vec<Scope>,
    digest: Digest,
}

/// Reads a file that a policy names, by the path as written there.
pub type FileLoader<'a> = dyn FnMut(&str) -> std::io::Result<Vec<u8>> + 'a;

impl Policy {
    /// Parses a policy file; a mistake anywhere refuses the whole file and says where it is.
    ///
    /// A text that begins with `{` is a `containers-policy.json(5)`.
    pub fn parse(text: &str, load: &mut FileLoader<'_>) -> Result<Self> {
        if text.trim_start().starts_with('{') {
            return containers::parse(text, load);
        }
        parse::parse(text, load)
    }

    /// No policy: everything is accepted, and nothing is claimed about it.
    pub fn none() -> Self {
        Self {
            mode: Mode::Enforce,
            default: Rule::Allow,
            built_here: Rule::Allow,
            scopes: Vec::new(),
            digest: Digest::sha256(b"no policy"),
        }
    }

    /// `DOCKER_CONTENT_TRUST=1` without a policy file: only tags signed under one of these roots.
    ///
    /// The roots are those the user made or pinned; a repository without one is refused, because a
    /// root seen for the first time proves nothing.
    pub fn content_trust(roots: impl IntoIterator<Item = (Repository, Vec<u8>)>) -> Self {
        let mut text = b"content trust".to_vec();
        let mut scopes = Vec::new();
        for (repository, root) in roots {
            let prefix = repository.to_string();
            text.extend_from_slice(prefix.as_bytes());
            text.extend_from_slice(Digest::sha256(&root).hex().as_bytes());
            let rule = Rule::Require(vec![Requirement::Tuf(TufRequirement {
                pin: Pin::Root(root.into()),
                signed_as: None,
                signers: Vec::new(),
                minimum_signers: 0,
            })]);
            scopes.push(Scope { prefix, rule });
        }
        Self {
            mode: Mode::Enforce,
            default: Rule::Reject,
            built_here: Rule::Allow,
            scopes,
            digest: Digest::sha256(&text),
        }
    }

    /// The rule of the most specific scope that covers the repository; scopes are not merged.
    pub fn rule(&self, repository: &Repository) -> (&Rule, Option<&Scope>) {
        let name = repository.to_string();
        let covering = self.scopes.iter().filter(|scope| scope.covers(&name));
        match covering.max_by_key(|scope| scope.prefix.len()) {
            Some(scope) => (&scope.rule, Some(scope)),
            None => (&self.default, None),
        }
    }

    /// The rule for images that were built or committed on this machine.
    pub fn built_here(&self) -> &Rule {
        &self.built_here
    }

    /// Whether refusals are carried out.
    pub fn mode(&self) -> Mode {
        self.mode
    }

    /// The scopes, as written.
    pub fn scopes(&self) -> &[Scope] {
        &self.scopes
    }

    /// What a verdict was made under: the file's text and all files it names.
    pub fn digest(&self) -> &Digest {
        &self.digest
    }

    /// The pins whose trusted state is needed to judge an image of this repository.
    pub fn pins(&self, repository: &Repository) -> Vec<&Pin> {
        match self.rule(repository).0 {
            Rule::Require(requirements) => {
                requirements.iter().filter_map(Requirement::pin).collect()
            }
            _ => Vec::new(),
        }
    }
}

impl Policy {
    /// True if an image of this repository must prove something that is attached to it.
    pub fn wants_attached(&self, repository: &Repository) -> bool {
        match self.rule(repository).0 {
            Rule::Require(requirements) => {
                requirements.iter().any(|wanted| !matches!(wanted, Requirement::Tuf(_)))
            }
            _ => false,
        }
    }
}

impl Requirement {
    fn pin(&self) -> Option<&Pin> {
        match self {
            Self::Tuf(tuf) => Some(&tuf.pin),
            Self::Attestation(_) | Self::Cosign(_) => None,
        }
    }
}
