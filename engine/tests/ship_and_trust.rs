//! The way of an image through the engine: import, push, sign, pull behind a gate.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use engine::images::{
    Freshness, ImportRequest, PullRequest, PushEvent, PushProgress, PushRequest, Quiet,
};
use engine::oci::{self, Descriptor, Digest, MediaType, Raw, Reference};
use engine::trust::{Finish, PassphraseRequest, PassphraseSource, RootPlan, Where};
use engine::{Config, Engine, Error};
use registry_client::{Client, ClientConfig, Selector};
use trust::dialect::{cosign, dsse};
use trust::key::{Ed25519Signer, KeyRole, Signer, public_key_to_pem};
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
            registries_conf: None,
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

#[test]
fn a_pulled_image_does_not_become_ones_own_by_another_name() {
    let dir = tempfile::tempdir().expect("tempdir");
    let server = registry(dir.path());
    let name = format!("{}/app", server.local_addr());
    let reference: Reference = format!("{name}:1").parse().expect("valid");
    let here = Machine::new();
    let publisher = here.engine();
    publish(&publisher, &reference, "one");
    publisher.signing().sign(&reference).expect("sign");

    let there = Machine::new();
    there.require_signatures(&name, &publisher.trust_keys().root_path(reference.repository()));
    let policy = there.config().config_dir.join("policy.toml");
    let text = std::fs::read_to_string(&policy).expect("read");
    std::fs::write(&policy, text.replace("built-here = \"reject\"\n", "")).expect("write");
    let engine = there.engine();
    pull(&engine, &reference).expect("pull");
    for other in [format!("{name}:2"), "foo:1".to_owned()] {
        let other: Reference = other.parse().expect("valid");
        let tag = engine.images().tag(&reference.to_string(), &other);
        assert!(matches!(tag, Err(Error::Denied { .. })), "{other}: {tag:?}");
    }
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

/// A registry that notes every request.
struct Watched {
    server: registry::Running,
    log: Log,
    _dir: tempfile::TempDir,
}

#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl std::io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().expect("lock").extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl Watched {
    fn start() -> Self {
        let (dir, log) = (tempfile::tempdir().expect("tempdir"), Log::default());
        let server = registry::Server::new(registry::Config::loopback(dir.path()));
        let bound = server.with_access_log(Box::new(log.clone())).listen().expect("listen");
        Self { server: bound.spawn().expect("spawn"), log, _dir: dir }
    }

    fn name(&self, path: &str) -> Reference {
        format!("{}/{path}", self.server.local_addr()).parse().expect("valid")
    }

    /// The requests since the last call.
    fn requests(&self) -> Vec<String> {
        let bytes = std::mem::take(&mut *self.log.0.lock().expect("lock"));
        String::from_utf8(bytes).expect("text").lines().map(str::to_owned).collect()
    }

    /// Puts a manifest with these layers under a tag, or under its digest.
    fn put(
        &self,
        reference: &Reference,
        manifest: oci::Manifest,
        layers: &[(Descriptor, Vec<u8>)],
    ) {
        let runtime = tokio::runtime::Runtime::new().expect("runtime");
        let client = Client::new(ClientConfig::default()).expect("client");
        let repository = client.repository(reference.repository());
        runtime.block_on(async {
            let empty = (Descriptor::empty(), b"{}".to_vec());
            for (descriptor, bytes) in layers.iter().chain([&empty]) {
                let content = Box::new(bytes::Bytes::copy_from_slice(bytes));
                repository.push_blob(descriptor, content, &[]).await.expect("blob");
            }
            let raw = Raw::encode(&manifest).expect("encode");
            let selector = match reference.tag() {
                Some(tag) => Selector::Tag(tag.to_owned()),
                None => Selector::Digest(raw.digest()),
            };
            let bytes = bytes::Bytes::copy_from_slice(raw.bytes());
            repository.put_manifest(&selector, &MediaType::OciManifest, bytes).await.expect("put");
        });
    }

    /// Puts an index that lists one manifest.
    fn put_index(&self, reference: &Reference, child: &Descriptor) {
        let runtime = tokio::runtime::Runtime::new().expect("runtime");
        let client = Client::new(ClientConfig::default()).expect("client");
        let repository = client.repository(reference.repository());
        let child = child.bare().with_platform(oci::Platform::host());
        let raw = Raw::encode(&oci::Index::new(vec![child])).expect("encode");
        let selector = Selector::Tag(reference.tag().expect("tag").to_owned());
        let bytes = bytes::Bytes::copy_from_slice(raw.bytes());
        let put = repository.put_manifest(&selector, &MediaType::OciIndex, bytes);
        runtime.block_on(put).expect("put");
    }
}

/// A cosign version 2 signature of a manifest, as the layer that carries it.
fn cosign_layer(reference: &Reference, digest: &Digest, by: &dyn Signer) -> (Descriptor, Vec<u8>) {
    let (payload, signature) = cosign::sign(reference.repository(), digest, by).expect("sign");
    let media_type = MediaType::from(cosign::PAYLOAD_MEDIA_TYPE);
    let layer = Descriptor::of(media_type, &payload);
    (layer.with_annotation(cosign::SIGNATURE_ANNOTATION, &signature), payload)
}

/// An attestation that a manifest was built by `builder`.
fn provenance_layer(digest: &Digest, builder: &str, by: &dyn Signer) -> (Descriptor, Vec<u8>) {
    let predicate = serde_json::json!({ "runDetails": { "builder": { "id": builder } } });
    let bytes = dsse::sign("app", digest, "https://slsa.dev/provenance/v1", predicate, by);
    let bytes = bytes.expect("sign");
    (Descriptor::of(MediaType::from(dsse::ENVELOPE_MEDIA_TYPE), &bytes), bytes)
}

fn artifact(layers: &[(Descriptor, Vec<u8>)]) -> oci::Manifest {
    let descriptors = layers.iter().map(|(descriptor, _)| descriptor.clone()).collect();
    oci::Manifest::artifact("application/vnd.dev.cosign.artifact.sig.v1+json", descriptors)
}

impl Machine {
    /// Requires a signature or statement by `key`; `kind` is the requirement and its own lines.
    fn require_attached(&self, reference: &Reference, kind: &str, key: &dyn Signer) {
        let dir = self.config().config_dir;
        std::fs::create_dir_all(&dir).expect("mkdir");
        let pem = public_key_to_pem(key.public()).expect("pem");
        std::fs::write(dir.join("key.pub"), pem).expect("write");
        let text = format!(
            "version = 1\ndefault = \"reject\"\n\n[[scope]]\nprefix = \"{}\"\n\
             [[scope.{kind}\nkey-files = [\"key.pub\"]\n",
            reference.repository()
        );
        std::fs::write(dir.join("policy.toml"), text).expect("write");
    }
}

fn tag_of(reference: &Reference, tag: &str) -> Reference {
    format!("{}:{tag}", reference.repository()).parse().expect("valid")
}

fn by_digest(reference: &Reference, digest: &Digest) -> Reference {
    format!("{}@{digest}", reference.repository()).parse().expect("valid")
}

fn published(watched: &Watched, path: &str) -> (Reference, Descriptor) {
    let reference = watched.name(path);
    let here = Machine::new();
    publish(&here.engine(), &reference, path);
    let image = here.engine().images().open(&reference.to_string(), None).expect("open");
    (reference, image.descriptor().clone())
}

/// Covers: TRU-56, TRU-69
#[test]
fn a_policy_of_cosign_keys_is_met_by_the_signature_tag_and_by_no_other_key() {
    let watched = Watched::start();
    let (reference, image) = published(&watched, "shop/web:1");
    let (ours, theirs) = (Ed25519Signer::from_seed(&[1; 32]), Ed25519Signer::from_seed(&[2; 32]));
    let there = Machine::new();
    there.require_attached(&reference, "cosign]]", &ours);
    let engine = there.engine();
    denied(pull(&engine, &reference), "unsigned");
    let tag = tag_of(&reference, &cosign::signature_tag(image.digest()));
    let wrong = vec![cosign_layer(&reference, image.digest(), &theirs)];
    watched.put(&tag, artifact(&wrong), &wrong);
    denied(pull(&engine, &reference), "wrong-signer");
    let both = vec![wrong[0].clone(), cosign_layer(&reference, image.digest(), &ours)];
    watched.put(&tag, artifact(&both), &both);
    assert_eq!(pull(&engine, &reference).expect("signed"), Freshness::Downloaded);
    let verdict = engine.verify(&reference, Where::Remote).expect("report").verdict;
    assert!(matches!(verdict, Verdict::Proven { .. }), "{verdict:?}");
    watched.server.stop().expect("stop");
}

/// Covers: TRU-64, TRU-65
#[test]
fn an_attestation_counts_as_referrer_and_says_who_built_the_image() {
    let watched = Watched::start();
    let (reference, image) = published(&watched, "shop/web:1");
    let key = Ed25519Signer::from_seed(&[3; 32]);
    let there = Machine::new();
    let kind = "attestation]]\npredicate-type = \"https://slsa.dev/provenance/v1\"\n\
                builder-id = \"https://ci.example/builder\"";
    there.require_attached(&reference, kind, &key);
    let engine = there.engine();
    for (builder, code) in
        [("https://evil.example", Some("statement-rejected")), ("https://ci.example/builder", None)]
    {
        let layers = vec![provenance_layer(image.digest(), builder, &key)];
        let manifest = artifact(&layers).with_subject(image.clone());
        let digest = Raw::encode(&manifest).expect("encode").digest();
        watched.put(&by_digest(&reference, &digest), manifest, &layers);
        match code {
            Some(code) => denied(pull(&engine, &reference), code),
            None => assert_eq!(pull(&engine, &reference).expect("pull"), Freshness::Downloaded),
        }
    }
    watched.server.stop().expect("stop");
}

/// Covers: TRU-67
#[test]
fn a_signature_on_an_index_covers_the_manifest_named_by_digest() {
    let watched = Watched::start();
    let (reference, image) = published(&watched, "shop/web:1");
    let multi = tag_of(&reference, "multi");
    watched.put_index(&multi, &image);
    let here = Machine::new();
    let publisher = here.engine();
    publisher.signing().sign(&multi).expect("sign");
    let there = Machine::new();
    there.require_signatures(
        &reference.repository().to_string(),
        &publisher.trust_keys().root_path(reference.repository()),
    );
    let pinned: Reference = format!("{multi}@{}", image.digest()).parse().expect("valid");
    assert_eq!(pull(&there.engine(), &pinned).expect("child"), Freshness::Downloaded);

    // A manifest that the signed index does not list is not covered by it.
    let (_, other) = published(&watched, "shop/web:2");
    let stranger: Reference = format!("{multi}@{}", other.digest()).parse().expect("valid");
    denied(pull(&there.engine(), &stranger), "content-changed");
    watched.server.stop().expect("stop");
}

#[test]
fn a_policy_of_tuf_alone_costs_one_request_more_than_no_policy() {
    let watched = Watched::start();
    let (reference, _) = published(&watched, "shop/web:1");
    let here = Machine::new();
    let publisher = here.engine();
    publisher.signing().sign(&reference).expect("sign");
    let there = Machine::new();
    there.require_signatures(
        &reference.repository().to_string(),
        &publisher.trust_keys().root_path(reference.repository()),
    );
    let engine = there.engine();
    watched.requests();
    let report = engine.verify(&reference, Where::Remote).expect("report");
    assert!(matches!(report.verdict, Verdict::Proven { .. }), "{:?}", report.verdict);
    let requests = watched.requests();
    let asked = requests.iter().filter(|line| line.contains("shop/web")).count();
    assert_eq!(asked, 2, "resolve and pointer: {requests:#?}");
    watched.server.stop().expect("stop");
}

/// Two machines: the first made the trust data, the second is a signer with a key of its own.
fn two_signers(watched: &Watched, tags: &[String]) -> (Machine, Machine, Reference) {
    let (first, second) = (Machine::new(), Machine::new());
    let reference = watched.name("shop/web:base");
    for (machine, name) in [(&first, "alice"), (&second, "bob")] {
        let public = machine.dir.path().join(format!("{name}.pub"));
        let key = machine.engine();
        let key = key.trust_keys().generate_signer(&name.parse().expect("name"), &public);
        let key = key.expect("generate");
        let signing = first.engine();
        let added = signing.signing();
        let name = name.parse().expect("name");
        added.add_signer(reference.repository(), &name, &[key]).expect("add");
    }
    for tag in tags {
        publish(&first.engine(), &tag_of(&reference, tag), tag);
    }
    (first, second, reference)
}

/// Covers: TRU-42
#[test]
fn two_machines_sign_at_once_and_no_signature_is_lost() {
    let watched = Watched::start();
    let tags: Vec<String> = ["a1", "b1", "a2", "b2"].map(str::to_owned).to_vec();
    let (first, second, reference) = two_signers(&watched, &tags);
    let barrier = std::sync::Barrier::new(2);
    std::thread::scope(|scope| {
        for (machine, side) in [(&first, "a"), (&second, "b")] {
            let (barrier, reference, tags) = (&barrier, &reference, &tags);
            scope.spawn(move || {
                let engine = machine.engine();
                barrier.wait();
                for tag in tags.iter().filter(|tag| tag.starts_with(side)) {
                    engine.signing().sign(&tag_of(reference, tag)).expect("sign");
                }
            });
        }
    });
    let there = Machine::new();
    there.require_signatures(
        &reference.repository().to_string(),
        &first.engine().trust_keys().root_path(reference.repository()),
    );
    let engine = there.engine();
    for tag in &tags {
        let report = engine.verify(&tag_of(&reference, tag), Where::Remote).expect("report");
        match report.verdict {
            Verdict::Proven { proofs } => {
                let signer = if tag.starts_with('a') { "alice" } else { "bob" };
                assert!(format!("{proofs:?}").contains("targets/releases"), "{signer}: {proofs:?}");
            }
            other => panic!("{tag}: {other:?}"),
        }
    }
    watched.server.stop().expect("stop");
}

/// Covers: TRU-43
#[test]
fn a_signer_who_was_removed_can_publish_nothing_more() {
    let watched = Watched::start();
    let (first, second, reference) = two_signers(&watched, &["1".to_owned()]);
    let tag = tag_of(&reference, "1");
    second.engine().signing().sign(&tag).expect("a signer publishes");
    let name = "bob".parse().expect("name");
    first.engine().signing().remove_signer(reference.repository(), &name).expect("remove");
    for act in [
        second.engine().signing().sign(&tag).map(drop),
        second.engine().signing().refresh(reference.repository(), &[]),
    ] {
        assert!(matches!(act, Err(Error::Trust(trust::Error::MissingKeys { .. }))), "{act:?}");
    }
    first.engine().signing().refresh(reference.repository(), &[]).expect("who stays may");
    watched.server.stop().expect("stop");
}

#[test]
fn a_top_level_role_gets_a_new_key_and_clients_follow() {
    let watched = Watched::start();
    let (first, _, reference) = two_signers(&watched, &["1".to_owned()]);
    let tag = tag_of(&reference, "1");
    first.engine().signing().sign(&tag).expect("sign");
    let there = Machine::new();
    let root = first.engine().trust_keys().root_path(reference.repository());
    there.require_signatures(&reference.repository().to_string(), &root);
    pull(&there.engine(), &tag).expect("before");
    let repository = reference.repository();
    let engine = first.engine();
    let rotated = engine.signing().rotate(
        repository,
        KeyRole::Timestamp,
        &RootPlan::default(),
        Finish::Publish,
    );
    let (keys, _) = rotated.expect("rotate");
    let looked = first.engine().signing().look(repository).expect("look").expect("data");
    let timestamp = trust::tuf::RoleName::new("timestamp").expect("name");
    assert_eq!(looked.keys_of(&timestamp), [&keys[0]]);
    let verdict = there.engine().verify(&tag, Where::Remote).expect("report").verdict;
    assert!(matches!(verdict, Verdict::Proven { .. }), "{verdict:?}");
    watched.server.stop().expect("stop");
}
