//! The policy file: TOML, documented in `docs/format/policy.md`.

use std::collections::BTreeSet;

use oci::{Digest, Repository};
use serde::Deserialize;

use super::{
    AttestationRequirement, CosignRequirement, FileLoader, Identity, Mode, Pin, Policy,
    Requirement, Rule, Scope, TufRequirement,
};
use crate::key::{KeyId, PublicKey, public_key_from_pem};
use crate::limits::POLICY_BYTES_MAX;
use crate::{Error, Result};

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct File {
    version: u32,
    default: DefaultName,
    #[serde(default = "enforce")]
    mode: ModeName,
    #[serde(default = "allow")]
    built_here: BuiltHere,
    #[serde(default)]
    scope: Vec<ScopeTable>,
}

#[derive(Clone, Copy, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum DefaultName {
    Allow,
    Reject,
    Warn,
}

#[derive(Clone, Copy, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum ModeName {
    Enforce,
    Warn,
}

#[derive(Clone, Copy, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum BuiltHere {
    Allow,
    Reject,
}

#[derive(Clone, Copy, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum RuleName {
    Allow,
    Reject,
    Require,
    Warn,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct ScopeTable {
    prefix: String,
    #[serde(default = "require")]
    rule: RuleName,
    #[serde(default)]
    tuf: Vec<TufTable>,
    #[serde(default)]
    cosign: Vec<CosignTable>,
    #[serde(default)]
    attestation: Vec<AttestationTable>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct TufTable {
    root_file: Option<String>,
    root_sha256: Option<String>,
    root_keyids: Option<Vec<String>>,
    root_threshold: Option<u64>,
    root_version: Option<u64>,
    #[serde(default)]
    trust_on_first_use: bool,
    signed_as: Option<String>,
    #[serde(default)]
    signers: Vec<String>,
    #[serde(default)]
    minimum_signers: u64,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct CosignTable {
    key_files: Vec<String>,
    #[serde(default = "one")]
    threshold: u64,
    signed_as: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct AttestationTable {
    key_files: Vec<String>,
    #[serde(default = "one")]
    threshold: u64,
    predicate_type: String,
    builder_id: Option<String>,
    build_type: Option<String>,
    verifier_id: Option<String>,
    external_parameters: Option<Vec<String>>,
}

fn enforce() -> ModeName {
    ModeName::Enforce
}

fn allow() -> BuiltHere {
    BuiltHere::Allow
}

fn require() -> RuleName {
    RuleName::Require
}

fn one() -> u64 {
    1
}

/// Collects what a verdict depends on while files are read.
struct Reader<'a, 'b> {
    load: &'a mut FileLoader<'b>,
    read: Vec<u8>,
}

pub(super) fn parse(text: &str, load: &mut FileLoader<'_>) -> Result<Policy> {
    if text.len() > POLICY_BYTES_MAX {
        return Err(refuse(format!("it is larger than {POLICY_BYTES_MAX} bytes")));
    }
    let file: File = toml::from_str(text).map_err(|error| refuse(describe(text, &error)))?;
    if file.version != 1 {
        return Err(refuse(format!("version = {}, and only version 1 is known", file.version)));
    }
    let mut reader = Reader { load, read: text.as_bytes().to_vec() };
    let mut scopes = Vec::new();
    let mut prefixes = BTreeSet::new();
    for table in file.scope {
        let scope = reader.scope(table)?;
        if !prefixes.insert(scope.prefix.clone()) {
            return Err(refuse(format!("the scope {:?} stands there twice", scope.prefix)));
        }
        scopes.push(scope);
    }
    Ok(Policy {
        mode: match file.mode {
            ModeName::Enforce => Mode::Enforce,
            ModeName::Warn => Mode::Warn,
        },
        default: match file.default {
            DefaultName::Allow => Rule::Allow,
            DefaultName::Reject => Rule::Reject,
            DefaultName::Warn => Rule::Warn,
        },
        built_here: match file.built_here {
            BuiltHere::Allow => Rule::Allow,
            BuiltHere::Reject => Rule::Reject,
        },
        scopes,
        digest: Digest::sha256(&reader.read),
    })
}

pub(super) fn refuse(detail: impl Into<String>) -> Error {
    Error::PolicyMalformed { detail: detail.into() }
}

/// A TOML error with its line and column, on one line.
pub(super) fn describe(text: &str, error: &toml::de::Error) -> String {
    let message = error.message().trim();
    match error.span() {
        Some(span) => {
            let before = text.get(..span.start).unwrap_or_default();
            let line = before.matches('\n').count() + 1;
            let column = before.rsplit('\n').next().unwrap_or_default().chars().count() + 1;
            format!("line {line}, column {column}: {message}")
        }
        None => message.to_owned(),
    }
}

impl Reader<'_, '_> {
    fn scope(&mut self, table: ScopeTable) -> Result<Scope> {
        check_prefix(&table.prefix)?;
        let at = format!("scope {:?}", table.prefix);
        let mut requirements = Vec::new();
        for tuf in table.tuf {
            requirements.push(Requirement::Tuf(self.tuf(&at, tuf)?));
        }
        for cosign in table.cosign {
            requirements.push(Requirement::Cosign(self.cosign(&at, cosign)?));
        }
        for attestation in table.attestation {
            requirements.push(Requirement::Attestation(self.attestation(&at, attestation)?));
        }
        let rule = match (table.rule, requirements.is_empty()) {
            (RuleName::Require, false) => Rule::Require(requirements),
            (RuleName::Require, true) => {
                return Err(refuse(format!("{at} requires nothing; say what, or give it a rule")));
            }
            (_, false) => {
                return Err(refuse(format!("{at} has requirements that its rule ignores")));
            }
            (RuleName::Allow, true) => Rule::Allow,
            (RuleName::Reject, true) => Rule::Reject,
            (RuleName::Warn, true) => Rule::Warn,
        };
        Ok(Scope { prefix: table.prefix, rule })
    }

    fn tuf(&mut self, at: &str, table: TufTable) -> Result<TufRequirement> {
        let version = table.root_version.unwrap_or(1);
        let mut pins = Vec::new();
        if let Some(path) = &table.root_file {
            pins.push(Pin::Root(self.file(at, path)?.into()));
        }
        if let Some(hex) = &table.root_sha256 {
            let digest = format!("sha256:{hex}").parse();
            let digest = digest.map_err(|error| refuse(format!("{at}: root-sha256: {error}")))?;
            pins.push(Pin::Sha256 { digest, version });
        }
        if let Some(ids) = &table.root_keyids {
            let threshold = table.root_threshold.unwrap_or(1);
            if threshold < 1 || threshold > ids.len() as u64 {
                return Err(refuse(format!(
                    "{at}: root-threshold is {threshold} of {} keys",
                    ids.len()
                )));
            }
            let keyids = ids.iter().map(KeyId::new).collect();
            pins.push(Pin::Keys { keyids, threshold, version });
        }
        if table.trust_on_first_use {
            pins.push(Pin::FirstUse);
        }
        if table.root_threshold.is_some() && table.root_keyids.is_none() {
            return Err(refuse(format!("{at}: root-threshold needs root-keyids")));
        }
        let [pin] = <[Pin; 1]>::try_from(pins).map_err(|_| {
            refuse(format!(
                "{at}: a tuf requirement needs exactly one of root-file, root-sha256, root-keyids \
                 and trust-on-first-use"
            ))
        })?;
        Ok(TufRequirement {
            pin,
            signed_as: table.signed_as,
            signers: table.signers,
            minimum_signers: table.minimum_signers,
        })
    }

    fn cosign(&mut self, at: &str, table: CosignTable) -> Result<CosignRequirement> {
        let keys = self.keys(at, &table.key_files, table.threshold)?;
        let identity = table.signed_as.map_or(Identity::Repository, Identity::SignedAs);
        Ok(CosignRequirement { keys, threshold: table.threshold, identity })
    }

    fn attestation(&mut self, at: &str, table: AttestationTable) -> Result<AttestationRequirement> {
        let keys = self.keys(at, &table.key_files, table.threshold)?;
        Ok(AttestationRequirement {
            keys,
            threshold: table.threshold,
            predicate_type: table.predicate_type,
            builder_id: table.builder_id,
            build_type: table.build_type,
            verifier_id: table.verifier_id,
            external_parameters: table.external_parameters,
        })
    }

    fn keys(&mut self, at: &str, paths: &[String], threshold: u64) -> Result<Vec<PublicKey>> {
        if threshold < 1 || threshold > paths.len() as u64 {
            return Err(refuse(format!("{at}: threshold is {threshold} of {} keys", paths.len())));
        }
        let mut keys = Vec::new();
        for path in paths {
            let bytes = self.file(at, path)?;
            let text = String::from_utf8_lossy(&bytes);
            keys.push(public_key_from_pem(path, &text)?);
        }
        Ok(keys)
    }

    fn file(&mut self, at: &str, path: &str) -> Result<Vec<u8>> {
        let bytes = (self.load)(path)
            .map_err(|error| refuse(format!("{at}: cannot read {path:?}: {error}")))?;
        self.read.extend_from_slice(path.as_bytes());
        self.read.extend_from_slice(Digest::sha256(&bytes).hex().as_bytes());
        Ok(bytes)
    }
}

/// A prefix is compared with fully expanded names, so it must begin with a registry's host and be
/// written as references print: another spelling would never match, and its rule never hold.
pub(super) fn check_prefix(prefix: &str) -> Result<()> {
    let host = prefix.split('/').next().unwrap_or_default();
    let looks_like_a_host = host == "localhost" || host.contains(['.', ':']);
    let below = format!("{prefix}/any/name");
    let prints_so = below.parse::<Repository>().is_ok_and(|parsed| parsed.to_string() == below);
    if looks_like_a_host && prints_so {
        return Ok(());
    }
    Err(refuse(format!(
        "the prefix {prefix:?} is not a registry or a repository in its full form, such as \
         \"docker.io/library/ubuntu\" or \"localhost:5000\""
    )))
}
