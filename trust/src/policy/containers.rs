//! `containers-policy.json(5)`, read where it means the same here and refused where it does not.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use oci::Digest;
use serde::Deserialize;

use super::parse::{check_prefix, refuse};
use super::{CosignRequirement, FileLoader, Identity, Mode, Policy, Requirement, Rule, Scope};
use crate::key::{PublicKey, public_key_from_pem};
use crate::{Result, json};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    default: Vec<Entry>,
    #[serde(default)]
    transports: BTreeMap<String, BTreeMap<String, Vec<Entry>>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, tag = "type", rename_all = "camelCase")]
enum Entry {
    InsecureAcceptAnything,
    Reject,
    #[serde(rename_all = "camelCase")]
    SigstoreSigned {
        key_path: Option<String>,
        key_paths: Option<Vec<String>>,
        key_data: Option<String>,
        key_datas: Option<Vec<String>>,
        signed_identity: Option<SignedIdentity>,
    },
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, tag = "type", rename_all = "camelCase")]
enum SignedIdentity {
    MatchRepoDigestOrExact,
    MatchRepository,
    #[serde(rename_all = "camelCase")]
    ExactRepository {
        docker_repository: String,
    },
}

/// Entries of other transports that can be passed over: they allow something that is not asked here.
fn allows_anything(entries: &[Entry]) -> bool {
    matches!(entries, [Entry::InsecureAcceptAnything])
}

pub(super) fn parse(text: &str, load: &mut FileLoader<'_>) -> Result<Policy> {
    let value = json::parse(text.as_bytes()).map_err(|error| refuse(error.to_string()))?;
    let file = File::deserialize(value).map_err(|error| {
        refuse(format!("{error} (of policy.json, only what means the same here is read)"))
    })?;
    let mut reader = Reader { load, read: text.as_bytes().to_vec() };
    let mut default = reader.rule("default", file.default)?;
    let mut scopes = Vec::new();
    for (transport, table) in file.transports {
        for (scope, entries) in table {
            let at = format!("{transport} scope {scope:?}");
            if transport != "docker" {
                if allows_anything(&entries) {
                    continue;
                }
                return Err(refuse(format!(
                    "{at}: only the transport docker is judged by name here"
                )));
            }
            let rule = reader.rule(&at, entries)?;
            if scope.is_empty() {
                default = rule;
                continue;
            }
            check_prefix(&scope)?;
            scopes.push(Scope { prefix: scope, rule });
        }
    }
    Ok(Policy {
        mode: Mode::Enforce,
        default,
        built_here: Rule::Allow,
        scopes,
        digest: Digest::sha256(&reader.read),
    })
}

struct Reader<'a, 'b> {
    load: &'a mut FileLoader<'b>,
    read: Vec<u8>,
}

impl Reader<'_, '_> {
    /// All entries must hold; an empty list is an error and not "anything".
    fn rule(&mut self, at: &str, entries: Vec<Entry>) -> Result<Rule> {
        if entries.is_empty() {
            return Err(refuse(format!("{at}: the list of requirements is empty")));
        }
        let mut requirements = Vec::new();
        let mut rejected = false;
        for entry in entries {
            match entry {
                Entry::InsecureAcceptAnything => {}
                Entry::Reject => rejected = true,
                Entry::SigstoreSigned {
                    key_path,
                    key_paths,
                    key_data,
                    key_datas,
                    signed_identity,
                } => {
                    let paths = key_path.into_iter().chain(key_paths.into_iter().flatten());
                    let datas = key_data.into_iter().chain(key_datas.into_iter().flatten());
                    let keys = self.keys(at, paths.collect(), datas.collect())?;
                    let identity = match signed_identity {
                        None | Some(SignedIdentity::MatchRepoDigestOrExact) => Identity::Exact,
                        Some(SignedIdentity::MatchRepository) => Identity::Repository,
                        Some(SignedIdentity::ExactRepository { docker_repository }) => {
                            Identity::SignedAs(docker_repository)
                        }
                    };
                    requirements.push(Requirement::Cosign(CosignRequirement {
                        keys,
                        threshold: 1,
                        identity,
                    }));
                }
            }
        }
        Ok(match (rejected, requirements.is_empty()) {
            (true, _) => Rule::Reject,
            (false, true) => Rule::Allow,
            (false, false) => Rule::Require(requirements),
        })
    }

    fn keys(&mut self, at: &str, paths: Vec<String>, datas: Vec<String>) -> Result<Vec<PublicKey>> {
        let mut keys = Vec::new();
        for path in paths {
            let bytes = (self.load)(&path)
                .map_err(|error| refuse(format!("{at}: cannot read {path:?}: {error}")))?;
            self.read.extend_from_slice(Digest::sha256(&bytes).hex().as_bytes());
            keys.push(public_key_from_pem(&path, &String::from_utf8_lossy(&bytes))?);
        }
        for data in datas {
            let bytes = STANDARD
                .decode(data)
                .map_err(|error| refuse(format!("{at}: keyData is not base64: {error}")))?;
            keys.push(public_key_from_pem("keyData", &String::from_utf8_lossy(&bytes))?);
        }
        if keys.is_empty() {
            return Err(refuse(format!("{at}: sigstoreSigned without a key is not read here")));
        }
        Ok(keys)
    }
}
