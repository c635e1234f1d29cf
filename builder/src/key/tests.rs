use super::*;
use crate::frontend::Network;
use crate::graph::{CopyFrom, VertexId};

fn run(change: impl FnOnce(&mut RunOp)) -> Vertex {
    let mut op = RunOp {
        args: vec!["/bin/sh".into(), "-c".into(), "make".into()],
        env: vec![("PATH".into(), "/bin".into())],
        proxy_env: Vec::new(),
        hostname: None,
        cwd: "/".into(),
        user: String::new(),
        network: Network::Default,
        security: Security::Sandbox,
        mounts: Vec::new(),
        platform: "linux/amd64".parse().unwrap(),
    };
    change(&mut op);
    vertex(Op::Run(Box::new(op)))
}

fn copy(change: impl FnOnce(&mut CopyOp)) -> Vertex {
    let mut op = CopyOp {
        from: CopyFrom::Context,
        items: vec![CopyItem::Path { path: "a".into(), pattern: None, unpack: false }],
        destination: "/x".into(),
        chown: None,
        chmod: None,
        link: false,
        parents: false,
        exclude: Vec::new(),
    };
    change(&mut op);
    vertex(Op::Copy(Box::new(op)))
}

fn vertex(op: Op) -> Vertex {
    Vertex {
        id: VertexId(0),
        op,
        parent: None,
        name: "step".into(),
        identity: "step".into(),
        stage: String::new(),
        span: None,
        ignore_cache: false,
    }
}

/// What a key is made with, owned.
struct Given {
    parent: Option<Digest>,
    content: Vec<Fingerprint>,
    epoch: Option<i64>,
    hosts: Vec<(String, String)>,
}

fn content(text: &str) -> Vec<Fingerprint> {
    vec![Fingerprint { name: "a".into(), digest: Digest::sha256(text.as_bytes()) }]
}

fn key(vertex: &Vertex, change: impl FnOnce(&mut Given)) -> CacheKey {
    let mut given = Given {
        parent: Some(Digest::sha256(b"base")),
        content: content("content"),
        epoch: None,
        hosts: Vec::new(),
    };
    change(&mut given);
    let inputs = KeyInputs {
        parent: given.parent.as_ref(),
        fingerprints: &given.content,
        epoch: given.epoch,
        extra_hosts: &given.hosts,
    };
    key_of(vertex, &inputs).unwrap().key
}

/// Covers: BLD-27
#[test]
fn a_run_key_changes_with_each_thing_that_counts() {
    let before = key(&run(|_| {}), |_| {});
    assert_eq!(key(&run(|_| {}), |_| {}), before);
    let secret = |id: &str| RunMount::Secret {
        id: id.into(),
        target: None,
        env: None,
        required: false,
        mode: 0o400,
        owner: (0, 0),
    };
    let changes: Vec<(&str, Vertex)> = vec![
        ("arguments", run(|r| r.args.push("x".into()))),
        ("environment value", run(|r| r.env[0].1 = "/sbin".into())),
        ("environment name", run(|r| r.env.push(("A".into(), String::new())))),
        ("folder", run(|r| r.cwd = "/w".into())),
        ("user", run(|r| r.user = "1".into())),
        ("network", run(|r| r.network = Network::None)),
        ("security", run(|r| r.security = Security::Insecure)),
        ("platform", run(|r| r.platform = "linux/arm64".parse().unwrap())),
        ("secret id", run(|r| r.mounts.push(secret("a")))),
        ("another secret id", run(|r| r.mounts.push(secret("b")))),
        (
            "script",
            run(|r| r.mounts.push(RunMount::Inline { target: "/s".into(), content: "x".into() })),
        ),
    ];
    let mut seen = vec![before];
    for (what, vertex) in changes {
        let changed = key(&vertex, |_| {});
        assert!(!seen.contains(&changed), "{what} does not count");
        seen.push(changed);
    }
    assert!(!seen.contains(&key(&run(|_| {}), |i| i.parent = Some(Digest::sha256(b"other")))));
    assert!(!seen.contains(&key(&run(|_| {}), |i| i.parent = None)));
    assert!(!seen.contains(&key(&run(|_| {}), |i| i.content.clear())));
    assert!(!seen.contains(&key(&run(|_| {}), |i| i.hosts.push(("db".into(), "10.0.0.1".into())))));
}

/// Covers: BLD-21, BLD-27, BLD-29
#[test]
fn a_run_key_does_not_change_with_what_does_not_count() {
    let before = key(&run(|_| {}), |_| {});
    let proxied = run(|r| r.proxy_env.push(("http_proxy".into(), "x".into())));
    assert_eq!(key(&proxied, |_| {}), before, "proxy settings");
    let with = |address: &str| key(&run(|_| {}), |i| i.hosts.push(("db".into(), address.into())));
    assert_eq!(with("10.0.0.1"), with("10.0.0.2"), "addresses of extra hosts");
    let cache = |id: &str| {
        run(|r| {
            r.mounts.push(RunMount::Cache {
                target: "/c".into(),
                id: id.into(),
                sharing: Sharing::Shared,
                seed: None,
                mode: None,
                owner: None,
                read_only: false,
            });
        })
    };
    assert_eq!(key(&cache("a"), |_| {}), key(&cache("b"), |_| {}), "which cache it is");
    assert_eq!(key(&run(|_| {}), |i| i.epoch = Some(1)), before, "the epoch");
}

/// Covers: BLD-49
#[test]
fn a_copy_key_has_the_content_and_how_it_is_written() {
    let before = key(&copy(|_| {}), |_| {});
    let changed = [
        key(&copy(|_| {}), |i| i.content = content("other")),
        key(&copy(|_| {}), |i| i.epoch = Some(1)),
        key(&copy(|_| {}), |i| i.parent = None),
        key(&copy(|c| c.destination = "/y".into()), |_| {}),
        key(&copy(|c| c.chown = Some("1".into())), |_| {}),
        key(&copy(|c| c.chmod = Some(crate::chmod::ModeChange::parse("600").unwrap())), |_| {}),
        key(&copy(|c| c.link = true), |_| {}),
    ];
    for (index, key) in changed.iter().enumerate() {
        assert_ne!(*key, before, "{index}");
        assert!(!changed[..index].contains(key), "{index}");
    }
    let linked = copy(|c| c.link = true);
    assert_eq!(
        key(&linked, |i| i.parent = Some(Digest::sha256(b"another"))),
        key(&linked, |_| {}),
        "a link does not look below"
    );
}

#[test]
fn two_lists_of_arguments_never_share_a_text() {
    let one = run(|r| r.args = vec!["a b".into()]);
    let two = run(|r| r.args = vec!["a".into(), "b".into()]);
    assert_ne!(key(&one, |_| {}), key(&two, |_| {}));
}

/// Covers: BLD-83
#[test]
fn differences_name_what_changed_and_show_no_digested_value() {
    let part = |name: &str, value: &str| Part { name: name.into(), value: value.into() };
    let digest = |text: &str| Digest::sha256(text.as_bytes()).to_string();
    let old = [part("user", "a"), part("environment TOKEN", &digest("1")), part("network", "host")];
    let new = [part("user", "b"), part("environment TOKEN", &digest("2")), part("script", "s")];
    assert_eq!(
        differences(&old, &new),
        [
            "user changed from a to b",
            "environment TOKEN changed",
            "script was added",
            "network is gone"
        ]
    );
    let path = |path: &str, mark: &str| (path.to_owned(), mark.to_owned());
    let many: Vec<_> = (0..9).map(|n| path(&n.to_string(), "m")).collect();
    assert_eq!(path_differences(&[], &many).len(), 6);
    assert_eq!(path_differences(&[], &many)[5], "and 4 more paths differ");
}
