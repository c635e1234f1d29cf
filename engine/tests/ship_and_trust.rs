//! The way of an image through the engine: import, push, sign, pull behind a gate.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use engine::images::{
    Freshness, ImportRequest, PullRequest, PushEvent, PushProgress, PushRequest, Quiet,
};
use engine::oci::Reference;
use engine::trust::{PassphraseRequest, PassphraseSource, Where};
use engine::{Config, Engine, Error};
use trust::{Secret, Verdict};

struct Fixed;

impl PassphraseSource for Fixed {
    fn passphrase(&self, _: &PassphraseRequest) -> Result<Secret, String> {
        Ok(Secret::from("correct horse".to_owned()))
    }
}

struct Silent;

impl PushProgress for Silent {
    fn event(&self, _: PushEvent<'_>) {}
}

struct Machine {
    dir: tempfile::TempDir,
}

impl Machine {
    fn new() -> Self {
        Self { dir: tempfile::tempdir().expect("tempdir") }
    }

    fn config(&self) -> Config {
        let path = |name: &str| self.dir.path().join(name);
        Config {
            root: path("root"),
            run_root: path("run"),
            config_dir: path("config"),
            policy: None,
            docker_config: path("docker"),
            self_exe: PathBuf::from("/proc/self/exe"),
        }
    }

    fn engine(&self) -> Engine {
        Engine::open_with(self.config(), &Fixed).expect("open")
    }

    fn require_signatures(&self, repository: &str, root: &Path) {
        let dir = self.config().config_dir;
        std::fs::create_dir_all(&dir).expect("mkdir");
        std::fs::copy(root, dir.join("root.json")).expect("copy");
        let text = format!(
            "version = 1\ndefault = \"reject\"\nbuilt-here = \"reject\"\n\n\
             [[scope]]\nprefix = \"{repository}\"\n[[scope.tuf]]\nroot-file = \"root.json\"\n"
        );
        std::fs::write(dir.join("policy.toml"), text).expect("write");
    }
}

fn tar(content: &str) -> Vec<u8> {
    let mut builder = tar::Builder::new(Vec::new());
    let mut header = tar::Header::new_gnu();
    header.set_size(content.len() as u64);
    header.set_mode(0o644);
    builder.append_data(&mut header, "hello", content.as_bytes()).expect("append");
    builder.into_inner().expect("tar")
}

fn registry(dir: &Path) -> registry::Running {
    registry::Server::bind(registry::Config::loopback(dir)).expect("bind").spawn().expect("spawn")
}

fn publish(engine: &Engine, reference: &Reference, content: &str) {
    let request = ImportRequest { reference: Some(reference.clone()), ..ImportRequest::default() };
    engine.images().import(&tar(content)[..], &request).expect("import");
    let progress: Arc<dyn PushProgress> = Arc::new(Silent);
    let request = PushRequest { reference: reference.clone(), platform: None };
    engine.images().push(&request, &progress).expect("push");
}

fn pull(engine: &Engine, reference: &Reference) -> Result<Freshness, Error> {
    let request = PullRequest { reference: reference.clone(), platform: None };
    engine.images().pull(&request, &Quiet).map(|pulled| pulled.freshness)
}

#[track_caller]
fn denied(result: Result<Freshness, Error>, code: &str) {
    match result {
        Err(Error::Denied { codes, .. }) => assert!(codes.contains(&code), "{codes:?}"),
        other => panic!("expected a denial because of {code}, got {other:?}"),
    }
}

/// Covers: B06-32, DST-54
#[test]
fn what_is_pushed_is_pulled_with_the_same_digest_and_id() {
    let dir = tempfile::tempdir().expect("tempdir");
    let server = registry(dir.path());
    let reference: Reference = format!("{}/app:1", server.local_addr()).parse().expect("valid");
    let (here, there) = (Machine::new(), Machine::new());
    publish(&here.engine(), &reference, "one");
    let engine = there.engine();
    assert_eq!(pull(&engine, &reference).expect("pull"), Freshness::Downloaded);
    assert_eq!(pull(&engine, &reference).expect("pull"), Freshness::UpToDate);
    let text = reference.to_string();
    let (ours, theirs) = (
        here.engine().images().open(&text, None).expect("open"),
        engine.images().open(&text, None).expect("open"),
    );
    assert_eq!(ours.id(), theirs.id());
    assert_eq!(ours.descriptor(), theirs.descriptor());
    server.stop().expect("stop");
}

/// Covers: TRU-69
#[test]
fn a_gate_lets_only_the_signed_content_of_a_signed_tag_in() {
    let dir = tempfile::tempdir().expect("tempdir");
    let server = registry(dir.path());
    let name = format!("{}/app", server.local_addr());
    let signed: Reference = format!("{name}:signed").parse().expect("valid");
    let unsigned: Reference = format!("{name}:unsigned").parse().expect("valid");
    let here = Machine::new();
    let publisher = here.engine();
    publish(&publisher, &signed, "good");
    publish(&publisher, &unsigned, "other");

    let there = Machine::new();
    let root = publisher.trust_keys().root_path(signed.repository());
    let done = publisher.signing().sign(&signed).expect("sign");
    assert!(done.initialised);
    there.require_signatures(&name, &root);
    let engine = there.engine();
    assert_eq!(pull(&engine, &signed).expect("signed"), Freshness::Downloaded);
    denied(pull(&engine, &unsigned), "not-signed");
    assert!(engine.images().open(&unsigned.to_string(), None).is_err(), "a denied name was given");

    // The tag moves to other content after it was signed.
    publish(&publisher, &signed, "evil");
    denied(pull(&engine, &signed), "content-changed");
    let report = engine.verify(&signed, Where::Remote).expect("report");
    assert!(matches!(report.verdict, Verdict::Denied { .. }));
    let kept = engine.verify(&signed, Where::Local).expect("report");
    assert!(matches!(kept.verdict, Verdict::Proven { .. }), "{:?}", kept.verdict);

    // A second signature moves trust along.
    assert!(!publisher.signing().sign(&signed).expect("sign again").initialised);
    assert_eq!(pull(&engine, &signed).expect("signed anew"), Freshness::Downloaded);
    publisher.signing().revoke(signed.repository(), Some("signed")).expect("revoke");
    denied(pull(&engine, &signed), "not-signed");
    server.stop().expect("stop");
}

/// Covers: TRU-72
#[test]
fn load_import_and_tag_meet_the_same_gate() {
    let dir = tempfile::tempdir().expect("tempdir");
    let server = registry(dir.path());
    let name = format!("{}/app", server.local_addr());
    let reference: Reference = format!("{name}:1").parse().expect("valid");
    let here = Machine::new();
    let publisher = here.engine();
    publish(&publisher, &reference, "one");
    publisher.signing().sign(&reference).expect("sign");
    let mut archive = Vec::new();
    let texts = [reference.to_string()];
    publisher.images().save(&texts, store::SaveFormat::Docker, &mut archive).expect("save");

    let there = Machine::new();
    there.require_signatures(&name, &publisher.trust_keys().root_path(reference.repository()));
    let engine = there.engine();
    let load = engine.images().load(&archive[..]);
    assert!(matches!(load, Err(Error::Denied { .. })), "load: {load:?}");
    let request = ImportRequest { reference: Some(reference.clone()), ..ImportRequest::default() };
    let import = engine.images().import(&tar("x")[..], &request);
    assert!(matches!(import, Err(Error::Denied { .. })), "import: {import:?}");
    pull(&engine, &reference).expect("pull");
    let other: Reference = format!("{name}:2").parse().expect("valid");
    let tag = engine.images().tag(&reference.to_string(), &other);
    assert!(matches!(tag, Err(Error::Denied { .. })), "tag: {tag:?}");
    server.stop().expect("stop");
}

/// Covers: TRU-62
#[test]
fn a_policy_with_a_mistake_denies_and_says_where() {
    let dir = tempfile::tempdir().expect("tempdir");
    let server = registry(dir.path());
    let reference: Reference = format!("{}/app:1", server.local_addr()).parse().expect("valid");
    let machine = Machine::new();
    publish(&machine.engine(), &reference, "one");
    let policy = machine.config().config_dir.join("policy.toml");
    std::fs::create_dir_all(machine.config().config_dir).expect("mkdir");
    std::fs::write(&policy, "version = 1\ndefalt = \"allow\"\n").expect("write");
    let error = pull(&machine.engine(), &reference).expect_err("typo").to_string();
    assert!(error.contains("policy.toml") && error.contains("defalt"), "{error}");
    server.stop().expect("stop");
}
