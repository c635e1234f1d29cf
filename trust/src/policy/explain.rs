//! What a policy asks of a repository, for people.

use oci::Repository;
use serde::Serialize;

use super::{Identity, Mode, Pin, Policy, Requirement, Rule};
use crate::key::PublicKey;

/// The rule for one repository and where it comes from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Explanation {
    /// The repository, fully expanded.
    pub repository: String,
    /// The scope that decides; none where the default does.
    pub scope: Option<String>,
    /// `allow`, `reject`, `require` or `warn`.
    pub rule: &'static str,
    /// Whether a refusal is carried out.
    pub enforced: bool,
    /// What must be proven, one sentence each.
    pub requirements: Vec<String>,
}

impl Policy {
    /// Says which scope decides about a repository and what it asks for.
    pub fn explain(&self, repository: &Repository) -> Explanation {
        let (rule, scope) = self.rule(repository);
        let (name, requirements) = match rule {
            Rule::Allow => ("allow", Vec::new()),
            Rule::Reject => ("reject", Vec::new()),
            Rule::Warn => ("warn", Vec::new()),
            Rule::Require(all) => ("require", all.iter().map(Requirement::explain).collect()),
        };
        Explanation {
            repository: repository.to_string(),
            scope: scope.map(|scope| scope.prefix.clone()),
            rule: name,
            enforced: self.mode == Mode::Enforce,
            requirements,
        }
    }
}

impl Requirement {
    fn explain(&self) -> String {
        match self {
            Self::Tuf(wanted) => {
                let mut text =
                    format!("its tag is signed in TUF metadata under {}", wanted.pin.explain());
                if let Some(path) = &wanted.signed_as {
                    text.push_str(&format!(" as {path}"));
                }
                if !wanted.signers.is_empty() {
                    text.push_str(&format!(", by {}", wanted.signers.join(" and ")));
                }
                if wanted.minimum_signers > 0 {
                    text.push_str(&format!(", by {} signers or more", wanted.minimum_signers));
                }
                text
            }
            Self::Cosign(wanted) => {
                let named = match &wanted.identity {
                    Identity::Exact => "naming it exactly".to_owned(),
                    Identity::Repository => "naming its repository".to_owned(),
                    Identity::SignedAs(name) => format!("naming {name}"),
                };
                format!("cosign signatures by {}, {named}", of_keys(wanted.threshold, &wanted.keys))
            }
            Self::Attestation(wanted) => {
                let keys = of_keys(wanted.threshold, &wanted.keys);
                let mut text = format!("a statement {} by {keys}", wanted.predicate_type);
                if let Some(builder) = &wanted.builder_id {
                    text.push_str(&format!(", built by {builder}"));
                }
                if let Some(verifier) = &wanted.verifier_id {
                    text.push_str(&format!(", verified by {verifier}"));
                }
                text
            }
        }
    }
}

impl Pin {
    fn explain(&self) -> String {
        match self {
            Self::FirstUse => "whatever root was met first".to_owned(),
            Self::Keys { keyids, threshold, .. } => {
                let ids: Vec<&str> = keyids.iter().map(|id| id.short(12)).collect();
                format!("a root signed by {threshold} of {}", ids.join(", "))
            }
            Self::Root(bytes) => format!("the root {}", oci::Digest::sha256(bytes).short()),
            Self::Sha256 { digest, .. } => format!("the root {}", digest.short()),
        }
    }
}

fn of_keys(threshold: u64, keys: &[PublicKey]) -> String {
    let ids: Vec<String> = keys.iter().map(|key| key.id().short(12).to_owned()).collect();
    format!("{threshold} of {}", ids.join(", "))
}
