use oci::{Descriptor, MediaType};
use proptest::prelude::*;

use super::file::WithReferrers;
use super::*;
use crate::credentials::Credential;
use crate::host::Insecure;

fn version(text: &str) -> TagVersion {
    TagVersion::parse(text).expect("a version")
}

/// Covers: DST-55
#[test]
fn ranges_mean_what_helm_and_skopeo_mean_by_them() {
    let table = [
        (">= 3.12.0", "3.12", true),
        (">= 3.12.0", "3.11.9", false),
        (">= 3.12.0", "3.13.0-rc1", false),
        (">= 3.12.0-0", "3.13.0-rc1", true),
        (">1.2", "1.2.9", false),
        (">1.2", "1.3.0", true),
        ("<=1.2", "1.2.9", true),
        ("<=1.2", "1.3.0", false),
        ("<1.2", "1.1.9", true),
        ("=1.2", "1.2.7", true),
        ("1.2.3", "1.2.3", true),
        ("1.2.3", "1.2.4", false),
        ("!=1.2", "1.2.4", false),
        ("!=1.2", "1.3.4", true),
        ("!=1.2.3", "1.2.4", true),
        ("~1.2.3", "1.2.9", true),
        ("~1.2.3", "1.2.2", false),
        ("~1.2.3", "1.3.0", false),
        ("~1", "1.9.9", true),
        ("~>1.2", "1.2.0", true),
        ("^1.2.3", "1.9.0", true),
        ("^1.2.3", "2.0.0", false),
        ("^0.2.3", "0.2.9", true),
        ("^0.2.3", "0.3.0", false),
        ("^0.0.3", "0.0.3", true),
        ("^0.0.3", "0.0.4", false),
        ("^0", "0.9.9", true),
        ("1.x", "1.9.9", true),
        ("1.2.*", "1.3.0", false),
        ("*", "7.0.0", true),
        ("*", "7.0.0-rc1", false),
        (">= 1.2, < 2", "1.5.0", true),
        (">=1.2 <2", "2.0.0", false),
        ("1.2 - 1.4.5", "1.4.5", true),
        ("1.2 - 1.4.5", "1.4.6", false),
        ("<1 || >=2", "1.5.0", false),
        ("<1 || >=2", "v2.5.0", true),
    ];
    for (range, tag, inside) in table {
        let parsed = range.parse::<VersionRange>().expect(range);
        assert_eq!(parsed.contains(&version(tag)), inside, "{tag} in {range}");
    }
    for bad in ["", ">=", "banana", ">= 1.2 banana", "1.2 - ", "||", "1.2.3.4", ">>1"] {
        assert!(bad.parse::<VersionRange>().is_err(), "{bad:?}");
    }
}

#[test]
fn tags_that_are_no_versions_are_none() {
    for tag in
        ["latest", "", "v", "1.2.3.4", "1..2", "2026-11-21x_", "1.2.x", "-1", "1.-2", "sha256-ab"]
    {
        assert!(TagVersion::parse(tag).is_none(), "{tag}");
    }
    for tag in ["1", "v1.2", "1.2.3", "1.2.3-alpine", "1.2.3+build", "1.2.3-rc.1"] {
        assert!(TagVersion::parse(tag).is_some(), "{tag}");
    }
    assert!(version("1.2.3-rc.1").is_prerelease());
}

const TAGS: [&str; 9] = [
    "latest",
    "1.9.0",
    "1.10.0",
    "1.10.0-rc.1",
    "v2.0.0",
    "2.0.1",
    "nightly-5",
    "1.10.0-alpine",
    "edge",
];

fn whole(pattern: &str) -> TagPattern {
    TagPattern::whole(pattern).expect("valid")
}

/// Covers: DST-55
#[test]
fn rules_choose_tags_and_deny_comes_after_allow() {
    let select = |rules: TagRules| rules.select(TAGS);
    assert_eq!(select(TagRules::all()).len(), TAGS.len());
    assert_eq!(select(TagRules::named(["edge".to_owned(), "gone".to_owned()])), ["edge"]);
    // Anchored: `1` alone matches nothing.
    assert!(select(TagRules::all().allow(whole("1"))).is_empty());
    let rules = TagRules::all().allow(whole(r"1\..*")).deny(whole(".*-rc.*"));
    assert_eq!(select(rules), ["1.10.0", "1.10.0-alpine", "1.9.0"]);
    let either = TagRules::all().allow(whole("edge|latest"));
    assert_eq!(select(either), ["edge", "latest"]);
    let range = ">=1.10".parse().expect("valid");
    assert_eq!(select(TagRules::all().versions(range)), ["1.10.0", "2.0.1", "v2.0.0"]);
    let newest = TagRules::all().deny(whole(".*-.*")).latest(2).and_named(["latest".to_owned()]);
    assert_eq!(select(newest), ["2.0.1", "latest", "v2.0.0"]);
    assert_eq!(select(TagRules::all().latest(0)), Vec::<String>::new());
}

#[test]
fn a_pattern_that_is_none_or_would_eat_all_memory_is_refused() {
    assert!(TagPattern::whole("(").is_err());
    assert!(TagPattern::whole("(a{1000}){1000}").is_err());
    assert!(TagPattern::anywhere("1.13").expect("valid").matches("x1.13y"));
}

fn descriptor(content: &str) -> Descriptor {
    Descriptor::of(MediaType::OciManifest, content.as_bytes())
}

/// Covers: DST-55
#[test]
fn a_plan_creates_moves_and_deletes_only_when_asked() {
    let tag = |tag: &str, content: &str| (tag.to_owned(), descriptor(content));
    let observed = Observed {
        source: [tag("new", "n"), tag("moved", "m2"), tag("same", "s")].into(),
        target: [tag("moved", "m1"), tag("same", "s")].into(),
        vanished: vec!["gone".to_owned()],
        unattached: ["same".to_owned(), "moved".to_owned()].into(),
        requests: Requests { looks: 4, pulls: 0 },
    };
    let kept = plan(&observed, Vanished::Keep);
    assert_eq!((kept.actions().len(), kept.unchanged()), (3, 0));
    let (m1, m2, n, s) = (descriptor("m1"), descriptor("m2"), descriptor("n"), descriptor("s"));
    assert_eq!(
        plan(&observed, Vanished::Delete).to_string(),
        format!(
            "delete gone\nmove moved {} (was {})\ncreate new {}\nattach same {}\n\
             0 unchanged; 4 looks and at least 3 pulls at the source\n",
            m2.digest(),
            m1.digest(),
            n.digest(),
            s.digest()
        )
    );
}

/// Covers: DST-55, DST-64
#[test]
fn a_sync_file_is_read_with_defaults_that_delete_nothing() {
    let text = "
jobs:
  - source: registry.example.com/team/app
    target: mirror.example.com:5000/app
    tags:
      allow: ['v.*']
      deny: ['.*-rc.*']
      semver: '>=1.2, <3'
      latest: 3
    platforms: [linux/amd64, linux/arm64]
  - source: busybox
    target: mirror.example.com/busybox
    tags: { names: ['1.36', latest] }
    referrers: false
    delete: true
";
    let file = SyncFile::parse(text.as_bytes()).expect("valid");
    let [app, busybox] = &file.jobs[..] else { panic!("two jobs") };
    assert_eq!(app.source.to_string(), "registry.example.com/team/app");
    assert_eq!(app.platforms.len(), 2);
    assert_eq!((app.referrers, app.vanished), (WithReferrers::Yes, Vanished::Keep));
    assert_eq!(
        app.tags.select(["v1.0", "v1.5", "v2.0", "v2.1-rc.1", "v2.2", "v2.3"]),
        ["v2.0", "v2.2", "v2.3"]
    );
    assert_eq!(busybox.source.to_string(), "docker.io/library/busybox");
    assert_eq!(busybox.tags.only_named().map(|names| names.len()), Some(2));
    assert_eq!((busybox.referrers, busybox.vanished), (WithReferrers::No, Vanished::Delete));
}

#[test]
fn a_sync_file_with_a_mistake_says_which() {
    let table = [
        ("jobs: []", "nothing to sync"),
        ("jobs:\n  - source: a/UPPER\n    target: a/b", "a/UPPER"),
        ("jobs:\n  - source: a/b\n    target: c/d\n    tags: { semver: banana }", "banana"),
        (
            "jobs:\n  - source: a/b\n    target: c/d\n    tags: { allow: ['('] }",
            "invalid tag pattern",
        ),
        ("jobs:\n  - source: a/b\n    target: c/d\n    platforms: ['']", "platform"),
        ("jobs:\n  - source: a/b\n    target: c/d\n    dele: true", "dele"),
        ("jobs: [", "line"),
    ];
    for (text, part) in table {
        let error = SyncFile::parse(text.as_bytes()).expect_err(text).to_string();
        assert!(error.contains(part), "{text}: {error}");
    }
}

const SKOPEO: &str = "
registry.example.com:
    images:
        busybox: []
        redis:
            - 1.0
            - '2.0'
            - sha256:44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a
    images-by-tag-regex:
        nginx: ^1\\.13\\.[12]-alpine-perl$
    images-by-semver:
        alpine: '>= 3.12.0'
    credentials:
        username: john
        password: this is a secret
    tls-verify: true
    cert-dir: /home/john/certs
quay.io:
    tls-verify: false
    images:
        coreos/etcd:
            - latest
";

/// Covers: DST-55
#[test]
fn the_yaml_of_skopeo_sync_is_read() {
    let registries = parse_skopeo(SKOPEO.as_bytes()).expect("valid");
    let [quay, example] = &registries[..] else {
        let names = registries.iter().map(|registry| registry.registry.as_str());
        assert_eq!(names.collect::<Vec<_>>(), ["quay.io", "registry.example.com"]);
        return;
    };
    let (quay, example) =
        if quay.registry == "quay.io" { (quay, example) } else { (example, quay) };
    assert_eq!((quay.insecure, example.insecure), (Some(Insecure::Yes), Some(Insecure::No)));
    assert_eq!(example.credential, Credential::password("john", "this is a secret"));
    assert!(!format!("{example:?}").contains("this is a secret"));
    let image = |path: &str| {
        example.images.iter().find(|image| image.repository.path() == path).expect(path)
    };
    let redis = image("redis");
    assert_eq!((redis.digests.len(), redis.tags.only_named().map(|n| n.len())), (1, Some(2)));
    assert!(redis.tags.only_named().is_some_and(|names| names.contains("1.0")), "{redis:?}");
    assert!(image("busybox").tags.only_named().is_none());
    let nginx = image("nginx").tags.select(["1.13.1-alpine-perl", "1.13.3-alpine-perl"]);
    assert_eq!(nginx, ["1.13.1-alpine-perl"]);
    assert_eq!(image("alpine").tags.select(["3.11", "3.12", "edge"]), ["3.12"]);
    let target = |naming: Naming| {
        naming.target("mirror:5000/repo/", &quay.images[0].repository).expect("valid").to_string()
    };
    assert_eq!(target(Naming::Last), "mirror:5000/repo/etcd");
    assert_eq!(target(Naming::Scoped), "mirror:5000/repo/quay.io/coreos/etcd");
}

#[test]
fn a_skopeo_file_with_an_unknown_key_is_refused_rather_than_half_obeyed() {
    let error = parse_skopeo(b"quay.io:\n    image: {}\n").expect_err("a typo").to_string();
    assert!(error.contains("image"), "{error}");
    let error = parse_skopeo(b"quay.io:\n    credentials: {username: a, password: [hunter2]}\n");
    assert!(!error.expect_err("no text").to_string().contains("hunter2"));
}

proptest! {
    #[test]
    fn no_range_and_no_tag_panics(range in "\\PC{0,30}", tag in "\\PC{0,30}") {
        if let (Ok(range), Some(version)) = (range.parse::<VersionRange>(), TagVersion::parse(&tag)) {
            let _ = range.contains(&version);
        }
    }

    #[test]
    fn a_caret_range_is_inside_the_greater_range(major in 0u64..5, minor in 0u64..5, patch in 0u64..5,
                                                 a in 0u64..6, b in 0u64..6, c in 0u64..6) {
        let tag = version(&format!("{a}.{b}.{c}"));
        let within = |range: String| range.parse::<VersionRange>().expect("valid").contains(&tag);
        let bound = format!("{major}.{minor}.{patch}");
        if within(format!("^{bound}")) || within(format!("~{bound}")) {
            let greater = within(format!(">={bound}"));
            prop_assert!(greater);
        }
        let (less, greater) = (within(format!("<{bound}")), within(format!(">={bound}")));
        prop_assert_ne!(less, greater);
    }

    #[test]
    fn what_is_selected_was_there_and_is_selected_again(tags in proptest::collection::vec("[a-z0-9.]{1,6}", 0..12), n in 0usize..4) {
        let rules = TagRules::all().latest(n);
        let once = rules.select(tags.iter().map(String::as_str));
        prop_assert!(once.len() <= n && once.iter().all(|tag| tags.contains(tag)));
        prop_assert_eq!(rules.select(once.iter().map(String::as_str)), once);
    }

    #[test]
    fn no_file_panics_the_readers(text in "\\PC{0,120}") {
        let _ = SyncFile::parse(text.as_bytes());
        let _ = parse_skopeo(text.as_bytes());
    }
}

#[test]
fn the_example_of_the_reference_is_a_valid_file() {
    let page = include_str!("../../../docs/reference/sync.md");
    let (_, rest) = page.split_once("```yaml\n").expect("an example");
    let (example, _) = rest.split_once("```").expect("an end");
    let file = SyncFile::parse(example.as_bytes()).expect("valid");
    assert_eq!(file.jobs.len(), 2);
    let chosen = file.jobs[0].tags.select(["v1.4.0", "2.0.0", "2.1.0-rc1", "1.0.0", "stable"]);
    assert_eq!(chosen, ["2.0.0", "stable", "v1.4.0"]);
    assert!(file.jobs[1].tags.only_named().is_some());
    assert_eq!(file.jobs[1].vanished, Vanished::Delete);
}
