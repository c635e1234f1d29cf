//! The policy file.

use proptest::prelude::*;
use trust::key::{Signer, public_key_to_pem};
use trust::policy::{Identity, Pin, Requirement, Rule};
use trust::{Error, Policy};

use crate::publisher::Publisher;
use crate::world::{id, key};

pub(crate) fn parse(text: &str) -> trust::Result<Policy> {
    Policy::parse(text, &mut |path| match path {
        "root.json" => Ok(Publisher::new().root()),
        "key.pub" => Ok(public_key_to_pem(key(30).public()).unwrap().into_bytes()),
        "other.pub" => Ok(public_key_to_pem(key(31).public()).unwrap().into_bytes()),
        _ => Err(std::io::ErrorKind::NotFound.into()),
    })
}

const FULL: &str = r#"
version = 1
default = "reject"
mode = "enforce"
built-here = "reject"

[[scope]]
prefix = "localhost:5000"
rule = "warn"

[[scope]]
prefix = "localhost:5000/shop"
[[scope.tuf]]
root-file = "root.json"
signers = ["nigel"]
minimum-signers = 2
[[scope.cosign]]
key-files = ["key.pub", "other.pub"]
threshold = 2
[[scope.attestation]]
key-files = ["key.pub"]
predicate-type = "https://slsa.dev/provenance/v1"
builder-id = "https://ci.example/builder"

[[scope]]
prefix = "docker.io/library"
rule = "allow"
"#;

fn rule<'a>(policy: &'a Policy, repository: &str) -> &'a Rule {
    policy.rule(&repository.parse().unwrap()).0
}

/// Covers: TRU-62
#[test]
fn the_most_specific_scope_alone_decides() {
    let policy = parse(FULL).unwrap();
    assert_eq!(rule(&policy, "ubuntu"), &Rule::Allow);
    assert_eq!(rule(&policy, "docker.io/someone/ubuntu"), &Rule::Reject);
    assert_eq!(rule(&policy, "localhost:5000/other"), &Rule::Warn);
    assert_eq!(rule(&policy, "localhost:5000/shopping"), &Rule::Warn, "elements are whole");
    assert_eq!(rule(&policy, "localhost:5001/shop"), &Rule::Reject);
    for inside in ["localhost:5000/shop/web", "localhost:5000/shop/a/b"] {
        let Rule::Require(requirements) = rule(&policy, inside) else { panic!("{inside}") };
        assert_eq!(requirements.len(), 3);
        assert!(matches!(&requirements[0], Requirement::Tuf(tuf)
            if matches!(tuf.pin, Pin::Root(_)) && tuf.signers == ["nigel"]));
    }
}

#[test]
fn every_kind_of_pin_is_read_and_two_at_once_are_refused() {
    let scope = |body: &str| {
        parse(&format!(
            "version = 1\ndefault = \"reject\"\n[[scope]]\nprefix = \"a.b/c\"\n[[scope.tuf]]\n{body}"
        ))
    };
    let sha = "0".repeat(64);
    for good in [
        "root-file = \"root.json\"",
        &format!("root-sha256 = \"{sha}\"\nroot-version = 3"),
        &format!("root-keyids = [\"{}\"]", id(1)),
        &format!("root-keyids = [\"{}\", \"{}\"]\nroot-threshold = 2", id(1), id(2)),
        "trust-on-first-use = true",
    ] {
        scope(good).unwrap();
    }
    for bad in [
        "",
        "root-file = \"missing.json\"",
        "root-sha256 = \"abc\"",
        "root-keyids = []",
        "root-keyids = [\"a\"]\nroot-threshold = 2",
        "root-keyids = [\"a\"]\nroot-threshold = 0",
        "root-file = \"root.json\"\nroot-threshold = 1",
        "root-file = \"root.json\"\ntrust-on-first-use = true",
        "trust-on-first-use = false",
    ] {
        assert!(matches!(scope(bad), Err(Error::PolicyMalformed { .. })), "{bad}");
    }
}

#[test]
fn a_mistake_anywhere_refuses_the_file_and_names_the_place() {
    for (from, to, place) in [
        ("default =", "defualt =", "line 3, column 1"),
        ("\"enforce\"", "\"enforced\"", "line 4, column 8"),
        ("rule = \"warn\"", "rule = \"wran\"", "line 9, column 8"),
        ("signers = [\"nigel\"]", "singers = [\"nigel\"]", "line 15, column 1"),
        ("minimum-signers = 2", "minimum-signers = \"2\"", "line 16, column 19"),
        ("[[scope.tuf]]", "[[scope.tfu]]", "line 13"),
        ("[[scope.tuf]]", "[[scopes.tuf]]", "line 13"),
        ("version = 1", "version = 2", "version = 2"),
        ("version = 1\n", "", "version"),
        ("prefix = \"localhost:5000/shop\"", "prefix = \"shop\"", "\"shop\""),
        ("prefix = \"localhost:5000/shop\"", "prefix = \"localhost:5000/shop/\"", "shop/"),
        ("prefix = \"localhost:5000/shop\"", "prefix = \"localhost:5000/*\"", "/*"),
        ("prefix = \"localhost:5000/shop\"", "prefix = \"localhost:5000/shop:1\"", "shop:1"),
        ("prefix = \"localhost:5000/shop\"", "prefix = \"localhost:5000/Shop\"", "Shop"),
        ("prefix = \"localhost:5000/shop\"", "prefix = \"index.docker.io/a\"", "index.docker.io"),
        ("prefix = \"localhost:5000/shop\"", "prefix = \"localhost:5000//shop\"", "//shop"),
        ("prefix = \"localhost:5000/shop\"", "prefix = \"\"", "full form"),
        ("prefix = \"localhost:5000/shop\"", "prefix = \"localhost:5000\"", "twice"),
        ("rule = \"warn\"", "rule = \"require\"", "requires nothing"),
        ("signers = [\"nigel\"]", "signers = [\"nigel\"", "line"),
        ("threshold = 2", "threshold = 3", "3 of 2"),
        ("threshold = 2", "threshold = 0", "0 of 2"),
        ("\"other.pub\"", "\"none.pub\"", "none.pub"),
    ] {
        let text = FULL.replacen(from, to, 1);
        assert_ne!(text, FULL, "{from}");
        let error = parse(&text).unwrap_err().to_string();
        assert!(error.contains(place), "{to}: {error}");
    }
    let ignored = FULL.replacen(
        "prefix = \"localhost:5000/shop\"",
        "prefix = \"localhost:5000/shop\"\nrule = \"allow\"",
        1,
    );
    assert!(parse(&ignored).unwrap_err().to_string().contains("ignores"));
}

#[test]
fn the_digest_of_a_policy_covers_the_files_that_it_names() {
    let read = |root: &'static [u8]| {
        let text = "version = 1\ndefault = \"reject\"\n[[scope]]\nprefix = \"a.b\"\n[[scope.tuf]]\nroot-file = \"r\"";
        Policy::parse(text, &mut |_| Ok(root.to_vec())).unwrap().digest().clone()
    };
    assert_eq!(read(b"one"), read(b"one"));
    assert_ne!(read(b"one"), read(b"two"));
}

/// Covers: TRU-49
#[test]
fn content_trust_without_a_policy_file_trusts_known_roots_only() {
    let repository: oci::Repository = "localhost:5000/shop/web".parse().unwrap();
    let policy = Policy::content_trust([(repository, Publisher::new().root())]);
    assert!(matches!(rule(&policy, "localhost:5000/shop/web"), Rule::Require(_)));
    assert_eq!(rule(&policy, "localhost:5000/shop"), &Rule::Reject);
    assert_eq!(rule(&policy, "ubuntu"), &Rule::Reject);
}

proptest! {
    #[test]
    fn reading_any_text_as_a_policy_never_panics(text in "\\PC{0,200}") {
        let _ = parse(&text);
    }

    #[test]
    fn a_policy_with_one_line_removed_parses_or_says_why(line in 0_usize..28) {
        let text: Vec<&str> =
            FULL.lines().enumerate().filter(|(n, _)| *n != line).map(|(_, l)| l).collect();
        if let Err(error) = parse(&text.join("\n")) {
            prop_assert!(!error.to_string().is_empty());
        }
    }
}

const CONTAINERS: &str = r#"{
  "default": [{ "type": "reject" }],
  "transports": {
    "docker": {
      "localhost:5000/shop": [
        { "type": "sigstoreSigned", "keyPath": "key.pub", "signedIdentity": { "type": "matchRepository" } },
        { "type": "sigstoreSigned", "keyPaths": ["other.pub", "key.pub"] }
      ],
      "docker.io/library": [{ "type": "insecureAcceptAnything" }],
      "localhost:5000": [{ "type": "insecureAcceptAnything" }, { "type": "reject" }]
    },
    "docker-daemon": { "": [{ "type": "insecureAcceptAnything" }] }
  }
}"#;

/// Covers: TRU-62
#[test]
fn a_containers_policy_is_read_with_its_own_meaning() {
    let policy = parse(CONTAINERS).unwrap();
    assert_eq!(rule(&policy, "ubuntu"), &Rule::Allow);
    assert_eq!(rule(&policy, "quay.io/a/b"), &Rule::Reject);
    assert_eq!(rule(&policy, "localhost:5000/x"), &Rule::Reject, "all of the list must hold");
    let Rule::Require(requirements) = rule(&policy, "localhost:5000/shop/web") else { panic!() };
    let [Requirement::Cosign(first), Requirement::Cosign(second)] = &requirements[..] else {
        panic!("{requirements:?}")
    };
    assert_eq!((first.keys.len(), &first.identity), (1, &Identity::Repository));
    assert_eq!((second.keys.len(), &second.identity), (2, &Identity::Exact));
    let by_transport = CONTAINERS.replacen("localhost:5000\":", "\":", 1);
    assert_eq!(rule(&parse(&by_transport).unwrap(), "quay.io/a/b"), &Rule::Reject);
}

/// Covers: TRU-62
#[test]
fn what_a_containers_policy_means_otherwise_refuses_it() {
    for (from, to, place) in [
        (
            "[{ \"type\": \"insecureAcceptAnything\" }],\n      \"localhost",
            "[],\n      \"localhost",
            "empty",
        ),
        (
            "\"type\": \"reject\" }],\n  \"tr",
            "\"type\": \"signedBy\", \"keyType\": \"GPGKeys\" }],\n  \"tr",
            "signedBy",
        ),
        ("\"keyPath\": \"key.pub\"", "\"fulcio\": {}", "fulcio"),
        (
            "\"keyPath\": \"key.pub\",",
            "\"keyPath\": \"key.pub\", \"rekorPublicKeyPath\": \"r\",",
            "rekor",
        ),
        ("\"keyPath\": \"key.pub\",", "", "without a key"),
        ("\"keyPath\": \"key.pub\"", "\"keyPath\": \"none.pub\"", "none.pub"),
        ("matchRepository", "remapIdentity", "remapIdentity"),
        ("localhost:5000/shop", "localhost:5000/shop:1.0", "shop:1.0"),
        ("localhost:5000/shop", "*.example.com", "*.example.com"),
        (
            "\"\": [{ \"type\": \"insecureAcceptAnything\" }]",
            "\"\": [{ \"type\": \"reject\" }]",
            "docker-daemon",
        ),
        ("\"transports\"", "\"transport\"", "transport"),
        ("\"default\"", "\"default\": [], \"default\"", "twice"),
    ] {
        let text = CONTAINERS.replacen(from, to, 1);
        assert_ne!(text, CONTAINERS, "{from}");
        let error = parse(&text).unwrap_err();
        assert!(matches!(error, Error::PolicyMalformed { .. }), "{error}");
        assert!(error.to_string().contains(place), "{to}: {error}");
    }
}

#[test]
fn a_policy_says_what_it_asks_of_a_repository() {
    let policy = parse(FULL).unwrap();
    let found = policy.explain(&"localhost:5000/shop/web".parse().unwrap());
    assert_eq!((found.rule, found.enforced), ("require", true));
    assert_eq!(found.scope.as_deref(), Some("localhost:5000/shop"));
    assert_eq!(found.requirements.len(), 3);
    assert!(found.requirements[0].contains("by nigel, by 2 signers or more"));
    assert!(found.requirements[1].starts_with("cosign signatures by 2 of "));
    assert!(found.requirements[2].contains("built by https://ci.example/builder"));
    let other = policy.explain(&"quay.io/a/b".parse().unwrap());
    assert_eq!((other.rule, other.scope), ("reject", None));
}
