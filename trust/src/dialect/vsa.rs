//! Verification summaries (SLSA VSA 1): one signed verdict, cheap to check wherever the image goes.

use serde_json::{Value, json};

use super::dsse;
use crate::judge::Judgement;
use crate::key::Signer;
use crate::verdict::Verdict;
use crate::{Error, Result};

/// The predicate type of a summary.
pub const PREDICATE_TYPE: &str = "https://slsa.dev/verification_summary/v1";

/// Signs that an image was judged: `PASSED` only where every requirement was proven.
///
/// An image that the policy lets through without proof is no summary's subject.
pub fn summarise(judgement: &Judgement, verifier_id: &str, signer: &dyn Signer) -> Result<Vec<u8>> {
    let result = match judgement.verdict() {
        Verdict::Proven { .. } => "PASSED",
        Verdict::Denied { .. } => "FAILED",
        Verdict::Waived { .. } => {
            return Err(Error::malformed(
                "the verification summary",
                "the policy accepts the image without proof, so there is nothing to sum up",
            ));
        }
    };
    let repository = judgement.reference().repository().to_string();
    let policy = &judgement.policy;
    let predicate = json!({
        "verifier": { "id": verifier_id },
        "timeVerified": judgement.now.to_string(),
        "resourceUri": format!("oci://{repository}"),
        "policy": {
            "uri": "wherry:policy",
            "digest": { policy.algorithm().as_str(): policy.hex() },
        },
        "verificationResult": result,
        "verifiedLevels": [],
        "slsaVersion": "1.0",
    });
    let digest = judgement.descriptor().digest();
    dsse::sign(&repository, digest, PREDICATE_TYPE, predicate, signer)
}

/// Fails unless a summary says `PASSED` and comes from the verifier that is wanted.
pub(crate) fn check(predicate: &Value, verifier_id: Option<&str>) -> Result<(), String> {
    let result = predicate.get("verificationResult").and_then(Value::as_str);
    if result != Some("PASSED") {
        return Err(format!("its verification summary says {result:?}"));
    }
    let verifier = predicate.pointer("/verifier/id").and_then(Value::as_str);
    match verifier_id.filter(|wanted| Some(*wanted) != verifier) {
        Some(wanted) => Err(format!("its verifier is {verifier:?}, and it must be {wanted:?}")),
        None => Ok(()),
    }
}
