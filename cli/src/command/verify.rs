use std::path::{Path, PathBuf};

use engine::oci::Reference;
use engine::trust::{PolicySource, VerifyReport, Where};
use engine::trust_types::{Proof, Reason, Verdict, Waiver};

use super::Session;
use super::trust::with::KeyArgs;
use crate::error::{Error, Result, of_kind};

/// Say whether the trust policy accepts an image, and why
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Print the verdict as JSON
    #[arg(long)]
    json: bool,
    /// Judge the image of the store, not what the registry has under the name now
    #[arg(long)]
    local: bool,
    /// Write a signed summary of the verdict (SLSA VSA) to this file
    #[arg(long, value_name = "file")]
    vsa: Option<PathBuf>,
    /// Attach the signed summary to the image in its registry
    #[arg(long)]
    attach_vsa: bool,
    /// URI that the summary names as its verifier
    #[arg(long, value_name = "string")]
    verifier_id: Option<String>,
    #[command(flatten)]
    key: KeyArgs,
    #[arg(value_name = "IMAGE", required = true)]
    image: Reference,
}

impl Args {
    /// Prints the verdict and fails where it is a refusal, or where there is no policy to judge by.
    pub(crate) fn run(self, session: &Session) -> Result<()> {
        if (self.vsa.is_some() || self.attach_vsa) && self.verifier_id.is_none() {
            return Err(nameless_summary());
        }
        let at = if self.local { Where::Local } else { Where::Remote };
        let report = session.engine()?.verify(&self.image, at)?;
        if self.json {
            session.ui.line(json(&report))?;
        } else {
            let digest = report.descriptor.digest().to_string();
            session.ui.print(&text(&report.reference, &digest, &report.verdict))?;
        }
        if report.policy == PolicySource::None {
            return Err(no_policy(session, &report.reference));
        }
        self.summarise(session, &report)?;
        match passes(&report) {
            true => Ok(()),
            false => Err(Error::Status(of_kind(kind(&report.verdict)))),
        }
    }

    fn summarise(&self, session: &Session, report: &VerifyReport) -> Result<()> {
        if self.vsa.is_none() && !self.attach_vsa {
            return Ok(());
        }
        let id = self.verifier_id.as_deref().ok_or_else(nameless_summary)?;
        let summary = report.summary(id, &*self.key.signer(session)?)?;
        if let Some(file) = &self.vsa {
            write(file, &summary)?;
        }
        if self.attach_vsa {
            session.engine()?.signing().attach_summary(
                &report.reference,
                &report.descriptor,
                &summary,
            )?;
        }
        Ok(())
    }
}

fn nameless_summary() -> Error {
    Error::refused(
        "verify: a summary names its verifier, and none is given",
        "name yours with --verifier-id, such as https://ci.example.com/gate",
    )
}

fn write(file: &Path, summary: &[u8]) -> Result<()> {
    let fail = |source| Error::File { act: "write", path: file.display().to_string(), source };
    std::fs::write(file, summary).map_err(fail)
}

/// Without a policy everything is accepted, which a gate must not take for a proof.
fn no_policy(session: &Session, reference: &Reference) -> Error {
    Error::Refused {
        message: format!(
            "verify {}: there is no policy, so nothing is proven",
            reference.familiar()
        ),
        hint: format!(
            "write {} (docs/format/policy.md), name one with --policy, or set DOCKER_CONTENT_TRUST=1",
            session.config.policy_path().display()
        ),
        kind: engine::ErrorKind::Denied,
    }
}

fn passes(report: &VerifyReport) -> bool {
    report.policy != PolicySource::None && report.verdict.is_accepted()
}

fn json(report: &VerifyReport) -> serde_json::Value {
    let (source, file) = match &report.policy {
        PolicySource::ContentTrust => ("content-trust", None),
        PolicySource::File(path) => ("file", Some(path.display().to_string())),
        PolicySource::None => ("none", None),
    };
    let codes: Vec<&str> = report.verdict.reasons().iter().map(Reason::code).collect();
    serde_json::json!({
        "reference": report.reference.to_string(),
        "digest": report.descriptor.digest().to_string(),
        "passes": passes(report),
        "proven": matches!(report.verdict, Verdict::Proven { .. }),
        "reasons": codes,
        "policy": { "source": source, "file": file, "digest": report.policy_digest.to_string() },
        "result": report.verdict,
    })
}

/// A refusal for want of evidence that exists and cannot be had now is for another try; any other
/// is a refusal.
fn kind(verdict: &Verdict) -> engine::ErrorKind {
    let mut reasons = verdict.reasons().iter();
    match reasons.len() > 0 && reasons.all(|reason| matches!(reason, Reason::Unavailable { .. })) {
        true => engine::ErrorKind::Unavailable,
        false => engine::ErrorKind::Denied,
    }
}

fn text(reference: &Reference, digest: &str, verdict: &Verdict) -> String {
    let word = match verdict {
        Verdict::Proven { .. } => "verified",
        Verdict::Waived { .. } => "accepted without proof",
        Verdict::Denied { .. } => "refused",
    };
    let mut out = format!("{reference}: {word}\n  digest: {digest}\n");
    if let Verdict::Proven { proofs } = verdict {
        proofs.iter().for_each(|proof| out.push_str(&format!("  proof: {}\n", proof_words(proof))));
    }
    if let Verdict::Waived { waiver, .. } = verdict {
        out.push_str(&format!("  because: {}\n", waiver_words(*waiver)));
    }
    for reason in verdict.reasons() {
        out.push_str(&format!("  {}: {reason}\n", reason.code()));
    }
    out
}

fn proof_words(proof: &Proof) -> String {
    match proof {
        Proof::Tuf { role, signers, snapshot_version, expires } => {
            let by = if signers.is_empty() {
                "the repository's own key".to_owned()
            } else {
                signers.join(", ")
            };
            format!(
                "TUF role {role}, signed by {by}, snapshot {snapshot_version}, good until {expires}"
            )
        }
        Proof::Cosign { form, keys } => format!("cosign {form} by {}", keys.join(", ")),
        Proof::Attestation { predicate_type, keys } => {
            format!("attestation {predicate_type} by {}", keys.join(", "))
        }
    }
}

fn waiver_words(waiver: Waiver) -> &'static str {
    match waiver {
        Waiver::BuiltHere => "it was built on this machine",
        Waiver::PolicyAllows => "the policy asks for no proof of this repository",
        Waiver::PolicyWarns => "the policy only warns",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_names_every_reason_with_its_code() {
        let reference: Reference = "127.0.0.1:5000/web:1".parse().unwrap();
        let verdict = Verdict::Denied {
            reasons: vec![
                Reason::NotSigned { tag: "1".into() },
                Reason::PolicyRejects { scope: "default".into() },
            ],
        };
        let text = text(&reference, "sha256:00", &verdict);
        assert!(text.starts_with("127.0.0.1:5000/web:1: refused\n"), "{text}");
        assert!(text.contains("  not-signed: ") && text.contains("  policy-rejects: "), "{text}");
    }

    #[test]
    fn only_a_refusal_that_may_pass_says_so_in_its_status() {
        let away = || Reason::Unavailable { detail: "no route".into() };
        let unsigned = || Reason::NotSigned { tag: "1".into() };
        let table = [
            (vec![away()], engine::ErrorKind::Unavailable),
            (vec![away(), unsigned()], engine::ErrorKind::Denied),
            (vec![unsigned()], engine::ErrorKind::Denied),
            (vec![], engine::ErrorKind::Denied),
        ];
        for (reasons, expected) in table {
            assert_eq!(kind(&Verdict::Denied { reasons }), expected);
        }
    }
}
