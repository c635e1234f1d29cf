//! What keeps an installation in order: repair, prune, disk usage, archives that are wrong, manifest lists.

use serde_json::Value;
use tests::fixture::{Layer, gzip};
use tests::text::{column, is_digest};
use tests::{Need, Registry, Site, have};

/// Covers: DST-82
#[test]
fn a_damaged_index_is_named_by_every_verb_and_repaired_by_one() {
    let site = Site::with_busybox();
    site.wherry("tag busybox shell:v1").ok();
    let images = || {
        site.wherry("images --no-trunc --format '{{.ID}} {{.Repository}}:{{.Tag}} {{.Digest}}'")
            .ok()
            .stdout
    };
    let before = images();
    let index = site.root().join("index.json");
    let whole = std::fs::read(&index).expect("there is an index");
    std::fs::write(&index, &whole[..whole.len() - 20]).expect("damage it");
    for line in ["images", "rmi shell:v1", "tag busybox x", "image prune -f", "inspect busybox"] {
        site.wherry(line).fails_with(&["index.json", "store check --repair"]);
    }
    site.wherry("store check").fails_with(&["not sound"]).says("damaged names:");
    site.wherry("store check --repair").ok().says("(repaired)");
    assert_eq!(images(), before);
    site.check_store();
}

#[test]
fn an_archive_that_cannot_be_read_is_named_and_the_store_is_not_blamed() {
    let site = Site::new();
    let mut bytes = gzip(&Layer::new().file("a", &"some text\n".repeat(20_000)).tar());
    let middle = bytes.len() / 2;
    bytes[middle..middle + 8].fill(0xff);
    let broken = site.write("broken.tar.gz", bytes).display().to_string();
    let root = site.root().display().to_string();
    for args in [["import", &broken, "x"], ["load", "-i", &broken]] {
        let run = site.run(&args).fails_with(&[&broken, "is not a readable archive"]);
        assert!(!run.stderr.contains(&root), "{run}");
    }
    let run = site.run_with_input(&["import", "-", "x"], b"neither tar nor anything else");
    run.fails_with(&["standard input is not a readable archive"]);
    assert_eq!(site.wherry("images -q").ok().stdout, "");
    site.check_store();
}

#[test]
fn history_does_not_show_where_an_imported_file_lay() {
    let site = Site::with_busybox();
    let run = site.wherry("history --no-trunc busybox").ok();
    assert!(run.stdout.contains("Imported from -"), "{run}");
    assert!(!run.stdout.contains(".tar"), "{run}");
}

/// Two images for two platforms in the registry, beside each other.
fn platforms(site: &Site, registry: &Registry) -> (String, String) {
    let names = (registry.name("team/app:amd64"), registry.name("team/app:arm64"));
    for (name, platform) in [(&names.0, "linux/amd64"), (&names.1, "linux/arm64")] {
        let tar = Layer::new().file("platform", platform).tar();
        let file = site.write("layer.tar", tar).display().to_string();
        site.run(&["import", "--platform", platform, &file, name]).ok();
        site.run(&["push", name]).ok();
    }
    names
}

/// Covers: B06-47
#[test]
fn a_manifest_list_is_made_of_what_a_registry_has_and_pushed() {
    let (site, registry) = (Site::new(), Registry::embedded());
    let (amd, arm) = platforms(&site, &registry);
    let list = registry.name("team/app:v1");
    let run = site.run(&["manifest", "create", &list, &amd, &arm]).ok();
    assert_eq!(run.out(), format!("Created manifest list {list}"));
    site.run(&["manifest", "create", &list, &amd]).fails_with(&["--amend"]);

    let made = site.run(&["manifest", "inspect", &list]).ok().json();
    assert_eq!(architectures(&made), ["amd64", "arm64"]);
    site.run(&["manifest", "annotate", "--variant", "v9", "--os-version", "1.2", &list, &arm]).ok();
    site.run(&["manifest", "annotate", &list, &registry.name("team/other:v1")])
        .fails_with(&["does not exist in", &list]);
    let entry = site.run(&["manifest", "inspect", &list, &arm]).ok().json();
    assert_eq!(
        entry["platform"],
        serde_json::json!({"architecture": "arm64", "os": "linux", "os.version": "1.2", "variant": "v9"})
    );

    let run = site.run(&["manifest", "push", &list]).ok();
    assert_eq!(run.lines().len(), 3, "{run}");
    let digest = run.lines()[2];
    assert!(run.lines()[0].starts_with("Pushed ref ") && is_digest(digest), "{run}");
    assert_eq!(registry.digest("team/app", "v1"), digest);
    let pushed = registry.get("/v2/team/app/manifests/v1").json();
    assert_eq!(architectures(&pushed), ["amd64", "arm64"]);
    assert_eq!(pushed["manifests"][1]["platform"]["variant"], "v9");

    // Whoever pulls it gets the one for the platform.
    let other = Site::new();
    other.run(&["pull", "--platform", "linux/amd64", &list]).ok();
    assert_eq!(other.inspect(&list)["Architecture"], "amd64");

    site.run(&["manifest", "rm", &list]).ok();
    site.run(&["manifest", "rm", &list]).fails_with(&["No such manifest", &list]);
    site.run(&["manifest", "push", &list]).fails_with(&["No such", &list]);
}

fn architectures(index: &Value) -> Vec<&str> {
    let entries = index["manifests"].as_array().expect("a list has manifests");
    entries.iter().filter_map(|entry| entry["platform"]["architecture"].as_str()).collect()
}

/// Covers: B06-47
#[test]
fn a_manifest_list_may_gather_other_repositories_and_goes_away_with_its_push() {
    let (site, registry) = (Site::new(), Registry::embedded());
    let (amd, arm) = platforms(&site, &registry);
    let list = registry.name("elsewhere/app:v2");
    site.run(&["manifest", "create", &list, &amd]).ok();
    site.run(&["manifest", "create", "--amend", &list, &arm]).ok();
    site.run(&["manifest", "push", "--purge", &list]).ok();
    for entry in registry.get("/v2/elsewhere/app/manifests/v2").json()["manifests"]
        .as_array()
        .expect("a list has manifests")
    {
        let digest = entry["digest"].as_str().expect("a digest");
        let path = format!("/v2/elsewhere/app/manifests/{digest}");
        assert_eq!(registry.get(&path).status, 200, "{digest} came along");
    }
    site.run(&["manifest", "rm", &list]).fails_with(&["No such manifest"]);
    // A list in a list, and what no registry has.
    site.run(&["manifest", "create", "x:1", &list]).fails_with(&["is a manifest list"]);
    site.run(&["manifest", "create", "x:1", &registry.name("team/app:none")])
        .fails_with(&["team/app"]);
    site.run(&["manifest", "inspect", "x:1", &amd]).fails_with(&["does not exist in"]);
}

#[test]
fn system_df_shows_each_image_container_and_volume() {
    if !have(&[Need::Root]) {
        return;
    }
    let site = Site::with_busybox();
    site.dockerfile("FROM busybox\nRUN head -c 2000000 /dev/zero > /two\n");
    site.build("child:v1", "");
    site.wherry("volume create data").ok();
    let script = "head -c 1000000 /dev/zero > /one; head -c 3000000 /dev/zero > /data/three";
    site.run(&[
        "run",
        "--name",
        "web",
        "--network",
        "none",
        "-v",
        "data:/data",
        "child:v1",
        "sh",
        "-c",
        script,
    ])
    .ok();
    let run = site.wherry("system df -v").ok();
    let part = |from: &str, to: &str| {
        let rest = run.stdout.split_once(from).unwrap_or_else(|| panic!("no {from}: {run}")).1;
        rest.split_once(to).map_or(rest, |(part, _)| part).trim_start().to_owned()
    };
    let images = part("Images space usage:\n\n", "\nContainers space usage");
    assert_eq!(column(&images, "REPOSITORY"), ["child", "busybox"]);
    assert_eq!(column(&images, "UNIQUE SIZE"), ["2MB", "0B"], "{run}");
    assert_eq!(column(&images, "SHARED SIZE")[0], column(&images, "SIZE")[1], "{run}");
    assert_eq!(column(&images, "CONTAINERS"), ["1", "0"]);
    let containers = part("Containers space usage:\n\n", "\nLocal Volumes space usage");
    assert_eq!(column(&containers, "NAMES"), ["web"]);
    assert_eq!(
        (column(&containers, "SIZE"), column(&containers, "LOCAL VOLUMES")),
        (vec!["1MB".to_owned()], vec!["1".to_owned()])
    );
    let volumes = part("Local Volumes space usage:\n\n", "\nBuild cache usage");
    assert_eq!(
        (column(&volumes, "VOLUME NAME"), column(&volumes, "SIZE")),
        (vec!["data".to_owned()], vec!["3MB".to_owned()])
    );
    assert!(run.stdout.contains("Build cache usage: 2MB"), "{run}");
    site.wherry("system df -v --format json").fails_with(&["conflict"]);
}

/// Covers: B06-23
#[test]
fn prune_takes_only_what_its_filters_take() {
    let site = Site::with_busybox();
    for colour in ["blue", "green"] {
        site.dockerfile(&format!("FROM busybox\nLABEL colour={colour}\n"));
        site.build(&format!("team/{colour}:v1"), "");
    }
    let names = || {
        let run = site.wherry("images --format {{.Repository}}").ok();
        let mut names: Vec<String> = run.stdout.lines().map(str::to_owned).collect();
        names.sort();
        names
    };
    site.wherry("image prune -a -f --filter until=1h").ok();
    assert_eq!(names(), ["busybox", "team/blue", "team/green"], "none is an hour old");
    site.wherry("image prune -a -f --filter label=colour=blue").ok().says("untagged: team/blue:v1");
    assert_eq!(names(), ["busybox", "team/green"]);
    site.wherry("system prune -a -f --filter label!=colour").ok().says("untagged: busybox:latest");
    assert_eq!(names(), ["team/green"]);
    site.wherry("system prune -f --volumes --filter until=1h").fails_with(&["until", "--volumes"]);
    site.wherry("system prune -f --filter colour=blue").fails_with(&["colour=blue"]);
    let run = site.terminal("system prune --filter label=colour", "n\n");
    assert!(run.stdout.contains("  - label=colour\n"), "{run}");
    assert_eq!(names(), ["team/green"], "nobody said yes");
    site.check_store();
}
