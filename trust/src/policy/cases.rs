//! Cases that a policy is tested with: images, and what is to be decided about them.

use serde::Deserialize;

use super::parse::{describe, refuse};
use crate::Result;
use crate::limits::POLICY_BYTES_MAX;
use crate::verdict::Verdict;

/// What is to be decided about an image.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Expected {
    /// Refused.
    Denied,
    /// Every requirement holds.
    Proven,
    /// Accepted without proof.
    Waived,
}

/// One image, and what is to be decided about it.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Case {
    /// The image.
    pub image: String,
    /// The verdict.
    pub expect: Expected,
    /// A reason that the refusal must give, by its name.
    #[serde(default)]
    pub reason: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    case: Vec<Case>,
}

/// Reads a file of cases (TOML, `[[case]]`); a mistake refuses the whole file and says where it is.
pub fn parse_cases(text: &str) -> Result<Vec<Case>> {
    if text.len() > POLICY_BYTES_MAX {
        return Err(refuse(format!("the file of cases is larger than {POLICY_BYTES_MAX} bytes")));
    }
    let file: File = toml::from_str(text).map_err(|error| refuse(describe(text, &error)))?;
    for case in &file.case {
        if case.reason.is_some() && case.expect != Expected::Denied {
            return Err(refuse(format!(
                "case {}: only a refusal has a reason, and {:?} is expected",
                case.image, case.expect
            )));
        }
    }
    Ok(file.case)
}

impl Case {
    /// What is wrong with a verdict, in words; nothing where it is the expected one.
    pub fn compare(&self, verdict: &Verdict) -> Option<String> {
        let found = match verdict {
            Verdict::Denied { .. } => Expected::Denied,
            Verdict::Proven { .. } => Expected::Proven,
            Verdict::Waived { .. } => Expected::Waived,
        };
        let codes: Vec<&str> = verdict.reasons().iter().map(|reason| reason.code()).collect();
        if found != self.expect {
            return Some(format!(
                "expected {}, decided {}{}",
                self.expect.name(),
                found.name(),
                if codes.is_empty() { String::new() } else { format!(" ({})", codes.join(", ")) }
            ));
        }
        let wanted = self.reason.as_deref().filter(|wanted| !codes.contains(wanted))?;
        Some(format!("denied because of {}, and not of {wanted}", codes.join(", ")))
    }
}

impl Expected {
    /// The word in the file.
    pub fn name(self) -> &'static str {
        match self {
            Self::Denied => "denied",
            Self::Proven => "proven",
            Self::Waived => "waived",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::verdict::{Reason, Waiver};

    const TEXT: &str = "[[case]]\nimage = \"a/b:1\"\nexpect = \"denied\"\nreason = \"not-signed\"\n\
                        [[case]]\nimage = \"a/c\"\nexpect = \"proven\"\n";

    #[test]
    fn a_case_says_what_differs() {
        let cases = parse_cases(TEXT).unwrap();
        let unsigned = Verdict::Denied { reasons: vec![Reason::NotSigned { tag: "1".into() }] };
        let rejected =
            Verdict::Denied { reasons: vec![Reason::PolicyRejects { scope: "default".into() }] };
        let proven = Verdict::Proven { proofs: Vec::new() };
        let waived = Verdict::Waived { waiver: Waiver::PolicyAllows, reasons: Vec::new() };
        assert_eq!(cases[0].compare(&unsigned), None);
        assert_eq!(cases[1].compare(&proven), None);
        let words = cases[0].compare(&rejected).unwrap();
        assert_eq!(words, "denied because of policy-rejects, and not of not-signed");
        assert_eq!(cases[0].compare(&proven).unwrap(), "expected denied, decided proven");
        let words = cases[1].compare(&unsigned).unwrap();
        assert_eq!(words, "expected proven, decided denied (not-signed)");
        assert_eq!(cases[1].compare(&waived).unwrap(), "expected proven, decided waived");
    }

    #[test]
    fn a_mistake_in_a_file_of_cases_is_found_at_its_line() {
        let error = parse_cases(&TEXT.replace("expect = \"proven\"", "expect = \"prooven\""));
        assert!(error.unwrap_err().to_string().contains("line 7"), "{TEXT}");
        for wrong in ["", "[[case]]\nimage = \"a\"\nexpect = \"proven\"\nreason = \"expired\"\n"] {
            assert!(parse_cases(wrong).is_err(), "{wrong}");
        }
    }
}
