//! Images as files: save, load, export; and many commands over one root at once.

use tests::peer::skopeo;
use tests::site::finish;
use tests::{Need, Registry, Site, have};

#[test]
fn save_and_load_keep_ids_and_names() {
    let site = Site::with_busybox();
    site.wherry("tag busybox shell:v1").ok();
    site.wherry("save -o both.tar busybox:latest shell:v1").ok();
    let other = Site::new();
    let archive = site.path().join("both.tar").display().to_string();
    let run = other.run(&["load", "-i", &archive]).ok();
    for name in ["busybox:latest", "shell:v1"] {
        assert!(run.stdout.contains(&format!("Loaded image: {name}")), "{run}");
        assert_eq!(other.image_id(name), site.image_id("busybox"));
    }
    let piped = other.shell(&format!("wherry rmi -f busybox shell:v1 >/dev/null; wherry load -q < {archive}; wherry images -q | sort -u | wc -l")).ok();
    assert_eq!(piped.lines().last().map(|line| line.trim()), Some("1"), "{piped}");
    other.check_store();
}

#[test]
fn skopeo_reads_what_save_wrote_and_load_reads_what_skopeo_wrote() {
    if !have(&[Need::Skopeo]) {
        return;
    }
    let site = Site::with_busybox();
    site.wherry("save -o saved.tar busybox:latest").ok();
    let saved = site.path().join("saved.tar").display().to_string();
    let config = skopeo(&format!("inspect --config docker-archive:{saved}")).ok().json();
    assert_eq!(config["rootfs"]["diff_ids"][0].as_str(), Some(site.layers("busybox")[0].as_str()));
    let copied = site.path().join("copied.tar").display().to_string();
    skopeo(&format!("copy docker-archive:{saved} docker-archive:{copied}:team/copied:v1")).ok();
    let other = Site::new();
    other.run(&["load", "-i", &copied]).ok().says("Loaded image: team/copied:v1");
    assert_eq!(other.image_id("team/copied:v1"), site.image_id("busybox"));
}

#[test]
fn an_archive_that_is_broken_leaves_nothing() {
    let site = Site::with_busybox();
    site.wherry("save -o whole.tar busybox").ok();
    let mut bytes = std::fs::read(site.path().join("whole.tar")).expect("an archive");
    bytes.truncate(bytes.len() / 2);
    let half = site.write("half.tar", bytes).display().to_string();
    let other = Site::new();
    other.run(&["load", "-i", &half]).fails_with(&["archive", "truncated"]);
    assert_eq!(other.wherry("images -q").ok().stdout, "");
    other.check_store();
    site.wherry("save -o x.tar nothing").fails_with(&["nothing"]);
    assert!(!site.path().join("x.tar").exists(), "a failed save leaves no file");
}

#[test]
fn eight_commands_at_once_over_one_root_leave_it_sound() {
    if !have(&[Need::Root]) {
        return;
    }
    let (site, registry) = (Site::with_busybox(), Registry::embedded());
    for n in 0..3 {
        site.dockerfile(&format!("FROM busybox\nRUN echo {n} > /number\n"));
        let name = registry.name(&format!("team/app{n}:v1"));
        site.build(&name, "");
        site.run(&["push", &name]).ok();
        site.run(&["rmi", &name]).ok();
    }
    let context = site.context("").display().to_string();
    for round in 0..3 {
        let mut lines: Vec<String> =
            (0..3).map(|n| format!("pull {}", registry.name(&format!("team/app{n}:v1")))).collect();
        lines.extend(
            (0..3).map(|n| format!("build -q -t built{n}:{round} --build-arg N={n} {context}")),
        );
        lines.push("image prune -f".to_owned());
        lines.push("images".to_owned());
        let running: Vec<_> = lines.iter().map(|line| (line, site.spawn(line))).collect();
        for (line, child) in running {
            finish(child, line.clone()).ok();
        }
        site.check_store();
    }
    for n in 0..3 {
        assert_eq!(
            site.cat(&registry.name(&format!("team/app{n}:v1")), "/number"),
            format!("{n}\n")
        );
    }
}
