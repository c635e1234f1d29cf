//! What a gate asks for and says: `verify`, `policy`, cosign signatures, statements, summaries.

use tests::publisher::{consumer, publisher, push, root_of, signed};
use tests::{Registry, Run, Site};

/// A publisher with an image and a signer key named ci.
fn with_key(registry: &Registry) -> Site {
    let site = publisher(registry);
    site.run(&["trust", "key", "generate", "ci"]).ok();
    site
}

/// Somebody who asks a repository for this; `ci.pub` is the publisher's key.
fn asking(publisher: &Site, scope: &str, requirement: &str) -> Site {
    let site = Site::new();
    site.write("config/ci.pub", std::fs::read(publisher.path().join("ci.pub")).expect("the key"));
    ask(&site, scope, requirement);
    site
}

fn ask(site: &Site, scope: &str, requirement: &str) {
    site.write(
        "config/policy.toml",
        format!(
            "version = 1\ndefault = \"reject\"\n[[scope]]\nprefix = \"{scope}\"\n{requirement}"
        ),
    );
}

const COSIGN: &str = "[[scope.cosign]]\nkey-files = [\"ci.pub\"]\n";

#[track_caller]
fn reasons(run: &Run) -> Vec<String> {
    let reasons = run.json()["reasons"].as_array().expect("reasons").clone();
    reasons.iter().filter_map(|reason| reason.as_str().map(str::to_owned)).collect()
}

/// Covers: TRU-51, TRU-56
#[test]
fn a_cosign_signature_proves_an_image_and_says_so() {
    let registry = Registry::embedded();
    let publisher = with_key(&registry);
    let name = registry.name("team/app:v1");
    let site = asking(&publisher, &registry.name("team/app"), COSIGN);
    let run = site.run(&["verify", "--json", &name]).exits(3);
    assert_eq!(reasons(&run), ["unsigned"]);
    publisher.run(&["sign", "--format", "cosign", "--key", "ci", &name]).ok().says("Successfully");
    let run = site.run(&["verify", "--json", &name]).ok();
    let proof = &run.json()["result"]["proofs"][0];
    assert_eq!(
        (proof["dialect"].as_str(), proof["form"].as_str()),
        (Some("cosign"), Some("simple-signing"))
    );
    site.run(&["pull", &name]).ok();
    // A second signature stands beside the first one; other content is not covered by either.
    publisher.run(&["trust", "key", "generate", "second"]).ok();
    publisher.run(&["sign", "--format", "cosign", "--key", "second", &name]).ok();
    let tag = format!("{}.sig", registry.digest("team/app", "v1").replace(':', "-"));
    let manifest = registry.get(&format!("/v2/team/app/manifests/{tag}")).json();
    assert_eq!(manifest["layers"].as_array().map(Vec::len), Some(2), "{manifest}");
    site.run(&["verify", &name]).ok();
    publisher.dockerfile("FROM busybox\nCOPY Dockerfile /other\n");
    publisher.build(&name, "");
    publisher.run(&["push", &name]).ok();
    assert_eq!(site.run(&["verify", &name]).code, Some(3));
    publisher
        .run(&["sign", "--format", "cosign", "--key", "nobody", &name])
        .fails_with(&["nobody", "trust key generate"]);
    publisher.run(&["sign", "--key", "ci", &name]).fails_with(&["--format cosign"]);
}

/// What cosign checks, done with openssl: the payload under the tag, the signature beside it, the key.
///
/// Covers: TRU-51
#[test]
fn openssl_verifies_our_cosign_signature_with_the_public_key_alone() {
    let registry = Registry::embedded();
    let publisher = with_key(&registry);
    let name = registry.name("team/app:v1");
    publisher.run(&["sign", "--format", "cosign", &name]).ok();
    let digest = registry.digest("team/app", "v1");
    let tag = format!("{}.sig", digest.replace(':', "-"));
    let manifest = registry.get(&format!("/v2/team/app/manifests/{tag}")).json();
    let layer = &manifest["layers"][0];
    assert_eq!(layer["mediaType"], "application/vnd.dev.cosign.simplesigning.v1+json");
    let payload = registry
        .get(&format!("/v2/team/app/blobs/{}", layer["digest"].as_str().expect("a digest")));
    assert_eq!(payload.json()["critical"]["image"]["docker-manifest-digest"], digest);
    publisher.write("payload", &payload.body);
    let signature = layer["annotations"]["dev.cosignproject.cosign/signature"].as_str();
    publisher.write("signature", signature.expect("a signature"));
    let verify = "base64 -d signature > raw; openssl pkeyutl -verify -pubin -inkey ci.pub -rawin -in payload -sigfile raw";
    publisher.shell(verify).ok();
    publisher.write("payload", b"{}");
    assert_ne!(publisher.shell(verify).code, Some(0));
}

/// Covers: TRU-64, TRU-65
#[test]
fn an_attestation_of_the_right_kind_by_the_right_key_proves_an_image() {
    let registry = Registry::embedded();
    let publisher = with_key(&registry);
    let name = registry.name("team/app:v1");
    let wanted = "[[scope.attestation]]\nkey-files = [\"ci.pub\"]\npredicate-type = \"https://slsa.dev/provenance/v1\"\n\
                  builder-id = \"https://ci.example/builder\"\nexternal-parameters = [\"ref\"]\n";
    let site = asking(&publisher, &registry.name("team/app"), wanted);
    let provenance = |builder: &str, parameters: &str| {
        format!(
            "{{\"buildDefinition\":{{\"buildType\":\"x\",\"externalParameters\":{parameters}}},\
             \"runDetails\":{{\"builder\":{{\"id\":\"{builder}\"}}}}}}"
        )
    };
    let attest = |text: &str| {
        publisher.write("predicate.json", text);
        let words = ["attest", "--predicate", "predicate.json", "--type", "slsaprovenance1", &name];
        publisher.run(&words)
    };
    assert_eq!(reasons(&site.run(&["verify", "--json", &name]).exits(3)), ["unsigned"]);
    attest(&provenance("https://evil.example", "{\"ref\":1}")).ok();
    assert_eq!(reasons(&site.run(&["verify", "--json", &name]).exits(3)), ["statement-rejected"]);
    attest(&provenance("https://ci.example/builder", "{\"ref\":1,\"evil\":2}")).ok();
    assert_eq!(reasons(&site.run(&["verify", "--json", &name]).exits(3)), ["statement-rejected"]);
    attest(&provenance("https://ci.example/builder", "{\"ref\":1}")).ok().says("Attestation: ");
    site.run(&["verify", &name]).ok().says("attestation https://slsa.dev/provenance/v1");
    site.run(&["pull", &name]).ok();
    attest("no json").fails_with(&["predicate.json", "no JSON"]);
    publisher
        .run(&["attest", "--predicate", "predicate.json", "--type", "sbomish", &name])
        .fails_with(&["sbomish"]);
}

/// Covers: TRU-66
#[test]
fn a_signed_summary_lets_a_deploy_gate_ask_no_more_than_one_key() {
    let registry = Registry::embedded();
    let publisher = signed(&registry);
    publisher.run(&["trust", "key", "generate", "ci"]).ok();
    let (scope, name) = (registry.name("team/app"), registry.name("team/app:v1"));
    let other = push(&publisher, &registry, "v2");
    // The slow gate runs once, where the publisher's key is.
    publisher.write("root.json", root_of(&publisher));
    let gate = format!(
        "version = 1\ndefault = \"reject\"\n[[scope]]\nprefix = \"{scope}\"\n[[scope.tuf]]\nroot-file = \"root.json\"\n"
    );
    publisher.write("gate.toml", gate);
    let summary = ["--vsa", "vsa.json", "--verifier-id", "https://ci.example/gate"];
    publisher
        .run(
            &[&["--policy", "gate.toml", "verify"][..], &summary, &["--attach-vsa", &name]]
                .concat(),
        )
        .ok();
    let written = std::fs::read_to_string(publisher.path().join("vsa.json")).expect("the summary");
    assert!(written.contains("application/vnd.in-toto+json"), "{written}");
    let wanted = "[[scope.attestation]]\nkey-files = [\"ci.pub\"]\n\
                  predicate-type = \"https://slsa.dev/verification_summary/v1\"\nverifier-id = \"https://ci.example/gate\"\n";
    let site = asking(&publisher, &scope, wanted);
    site.run(&["verify", &name]).ok();
    ask(&site, &scope, &wanted.replace("example/gate", "example/other"));
    assert_eq!(reasons(&site.run(&["verify", "--json", &name]).exits(3)), ["statement-rejected"]);
    // A failed verdict is summed up as failed, and proves nothing.
    publisher.dockerfile("FROM busybox\nCOPY Dockerfile /second\n");
    publisher.build(&other, "");
    publisher.run(&["push", &other]).ok();
    publisher
        .run(
            &[&["--policy", "gate.toml", "verify"][..], &summary, &["--attach-vsa", &other]]
                .concat(),
        )
        .exits(3);
    ask(&site, &scope, wanted);
    assert_eq!(reasons(&site.run(&["verify", "--json", &other]).exits(3)), ["statement-rejected"]);
    publisher.run(&["verify", "--vsa", "x.json", &name]).fails_with(&["--verifier-id"]);
}

#[test]
fn without_a_policy_verify_proves_nothing_and_does_not_pass() {
    let registry = Registry::embedded();
    publisher(&registry);
    let site = Site::new();
    let name = registry.name("team/app:v1");
    let run = site.run(&["verify", &name]).exits(3);
    assert!(run.stdout.contains("accepted without proof"), "{run}");
    run.fails_with(&["there is no policy", "policy.toml", "DOCKER_CONTENT_TRUST"]);
    let found = site.run(&["verify", "--json", &name]).exits(3).json();
    assert_eq!((&found["passes"], &found["policy"]["source"]), (&false.into(), &"none".into()));
    // A policy that waives says so, and passes: somebody wrote it.
    site.write("config/policy.toml", "version = 1\ndefault = \"allow\"\n");
    let found = site.run(&["verify", "--json", &name]).ok().json();
    assert_eq!((&found["passes"], &found["proven"]), (&true.into(), &false.into()));
    assert_eq!(found["result"]["waiver"], "policy-allows");
    assert!(found["policy"]["file"].as_str().is_some_and(|file| file.ends_with("policy.toml")));
}

#[test]
fn a_refusal_names_the_policy_file() {
    let registry = Registry::embedded();
    publisher(&registry);
    let site = Site::new();
    let file = site.write("config/policy.toml", "version = 1\ndefault = \"reject\"\n");
    let file = file.display().to_string();
    let name = registry.name("team/app:v1");
    site.run(&["pull", &name]).exits(3).fails_with(&["refused by policy", &file, "wherry verify"]);
    let mut trusting = Site::new();
    trusting.set_env("DOCKER_CONTENT_TRUST", "1");
    trusting.run(&["pull", &name]).exits(3).fails_with(&["DOCKER_CONTENT_TRUST"]);
}

#[test]
fn a_policy_is_checked_explained_and_tested_before_it_is_used() {
    let registry = Registry::embedded();
    let publisher = signed(&registry);
    let unsigned = push(&publisher, &registry, "unsigned");
    let (scope, name) = (registry.name("team/app"), registry.name("team/app:v1"));
    let site = consumer(&scope, &root_of(&publisher), "signers = [\"nigel\"]\n");
    site.run(&["policy", "check"]).ok().says("policy.toml: ok, 1 scopes, enforced");
    let told = site.run(&["policy", "explain", &name]).ok();
    for words in ["require", &scope, "by nigel", "signed in TUF metadata"] {
        assert!(told.stdout.contains(words), "{told}");
    }
    let told = site.run(&["policy", "explain", "--json", "docker.io/library/busybox"]).ok().json();
    assert_eq!((&told["rule"], &told["scope"]), (&"reject".into(), &serde_json::Value::Null));

    site.write("wrong.toml", "version = 1\ndefault = \"reject\"\nmoed = \"warn\"\n");
    site.run(&["policy", "check", "wrong.toml"]).exits(1).fails_with(&[
        "wrong.toml",
        "line 3",
        "moed",
    ]);
    let case =
        |image: &str, expect: &str| format!("[[case]]\nimage = \"{image}\"\nexpect = {expect}\n");
    let good = consumer(&scope, &root_of(&publisher), "");
    let cases = case(&name, "\"proven\"") + &case(&unsigned, "\"denied\"\nreason = \"not-signed\"");
    good.write("cases.toml", &cases);
    good.run(&["policy", "test", "cases.toml"]).ok().says("2 cases, 0 failed");
    good.write(
        "cases.toml",
        cases + &case(&unsigned, "\"proven\"") + &case("127.0.0.1:1/x:y", "\"proven\""),
    );
    let run = good.run(&["policy", "test", "cases.toml"]).exits(1);
    assert!(run.stdout.contains("expected proven, decided denied (not-signed)"), "{run}");
    assert!(run.stdout.contains("not judged") && run.stdout.contains("4 cases, 2 failed"), "{run}");
    Site::new().run(&["policy", "check"]).fails_with(&["there is no policy"]);
}

/// Covers: TRU-52
#[test]
fn malformed_evidence_denies_and_ends_nothing() {
    let registry = Registry::embedded();
    let publisher = with_key(&registry);
    let name = registry.name("team/app:v1");
    publisher.run(&["sign", "--format", "cosign", &name]).ok();
    let site = asking(&publisher, &registry.name("team/app"), COSIGN);
    site.run(&["verify", &name]).ok();
    let tag = format!("{}.sig", registry.digest("team/app", "v1").replace(':', "-"));
    let path = format!("/v2/team/app/manifests/{tag}");
    let whole = registry.get(&path).json();
    for signature in ["", "AAAA", "not base64", "====="] {
        let mut broken = whole.clone();
        broken["layers"][0]["annotations"]["dev.cosignproject.cosign/signature"] = signature.into();
        tests::publisher::put_manifest(&registry, "team/app", &tag, broken.to_string().as_bytes());
        let run = site.run(&["verify", "--json", &name]).exits(3);
        let code = &reasons(&run)[0];
        assert!(["malformed", "wrong-signer"].contains(&code.as_str()), "{signature}: {run}");
    }
}
