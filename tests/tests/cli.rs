//! The face: help, mistakes in typing, completion, and what the machine lacks.

use tests::Site;

#[test]
fn help_reads_like_docker_s() {
    let site = Site::new();
    let run = site.wherry("--help").ok();
    assert!(run.stdout.contains("Usage:  wherry [OPTIONS] COMMAND"), "{run}");
    for verb in ["run", "exec", "ps", "build", "pull", "push", "images", "login", "version", "info"]
    {
        let named = run.stdout.lines().any(|line| line.split_whitespace().next() == Some(verb));
        assert!(named, "help does not name '{verb}': {run}");
    }
    let bare = site.run::<&str>(&[]);
    assert!(bare.all().contains("Usage:  wherry"), "{bare}");
    let run = site.wherry("run --help").ok();
    assert!(run.stdout.contains("wherry run [OPTIONS] IMAGE [COMMAND] [ARG...]"), "{run}");
    assert!(run.stdout.contains("--rm"), "{run}");
}

#[test]
fn every_verb_that_help_names_has_help() {
    let site = Site::new();
    let run = site.wherry("--help").ok();
    let mut verbs = 0;
    let mut inside = false;
    for line in run.stdout.lines() {
        if line.ends_with(':') {
            inside = line.contains("Commands");
        }
        let Some(verb) = line.strip_prefix("  ").and_then(|l| l.split_whitespace().next()) else {
            continue;
        };
        if inside && !line.starts_with("   ") && !verb.starts_with('-') {
            site.run(&[verb.trim_end_matches('*'), "--help"]).ok();
            verbs += 1;
        }
    }
    assert!(verbs > 20, "{verbs}: {run}");
}

#[test]
fn mistakes_in_typing_are_named() {
    let site = Site::new();
    let run = site.wherry("imags").fails_with(&["imags", "--help"]);
    assert!(run.stdout.is_empty(), "{run}");
    site.wherry("images --no-such-flag").fails_with(&["--no-such-flag"]);
    site.wherry("tag onlyone").fails_with(&["tag"]);
    site.wherry("pull Busybox").fails_with(&["lowercase"]);
    site.wherry("pull 'a b'").fails_with(&["a b"]);
}

/// Covers: B07-37
#[test]
fn management_commands_are_the_short_verbs() {
    let site = Site::with_busybox();
    let short = site.wherry("images -q").ok();
    assert_eq!(site.wherry("image ls -q").ok().stdout, short.stdout);
    assert_eq!(site.wherry("container ls -a").ok().stdout, site.wherry("ps -a").ok().stdout);
    assert_eq!(
        site.wherry("image inspect busybox").ok().stdout,
        site.wherry("inspect busybox").ok().stdout
    );
    site.wherry("image tag busybox other").ok();
    site.wherry("image rm other").ok().says("Untagged: other:latest");
}

#[test]
fn completion_scripts_are_valid_shell() {
    let site = Site::new();
    let run = site.wherry("completion bash").ok();
    assert!(run.stdout.contains("wherry"), "{run}");
    let file = site.write("completion.bash", &run.stdout);
    site.shell(&format!("bash -n {}", file.display())).ok();
    for shell in ["zsh", "fish"] {
        assert!(site.run(&["completion", shell]).ok().stdout.contains("wherry"));
    }
    site.wherry("completion no-such-shell").fails_with(&["no-such-shell"]);
}

#[test]
fn doctor_says_what_the_machine_has_and_lacks() {
    let site = Site::new();
    let run = site.wherry("doctor");
    assert!(run.code.is_some(), "{run}");
    for subject in ["overlay", "cgroup", "seccomp"] {
        assert!(run.all().to_lowercase().contains(subject), "does not speak of {subject}: {run}");
    }
}

/// Covers: B06-08
#[test]
fn the_default_registry_is_the_hub() {
    let site = Site::new();
    let run = site.wherry("info").ok().says("Registry: https://index.docker.io/v1/");
    assert!(run.stdout.contains(&site.root().display().to_string()), "{run}");
    site.wherry("pull no-such-host.invalid/x").fails_with(&["no-such-host.invalid"]);
}

#[test]
fn version_names_itself() {
    let site = Site::new();
    let run = site.wherry("--version").ok();
    assert!(
        run.stdout.to_lowercase().contains("wherry")
            && run.stdout.contains(env!("CARGO_PKG_VERSION")),
        "{run}"
    );
    site.wherry("version").ok().says(env!("CARGO_PKG_VERSION"));
}

#[test]
fn a_closed_pipe_is_no_crash() {
    let site = Site::with_busybox();
    let run = site.shell("wherry inspect busybox | head -c 1").ok();
    assert!(!run.stderr.contains("panicked"), "{run}");
}

#[test]
fn a_root_that_cannot_be_written_is_named() {
    let site = Site::new();
    let file = site.write("not-a-folder", "");
    let root = file.display().to_string();
    site.run(&["--root", &root, "images"]).fails_with(&[&root]);
}

#[test]
fn a_full_disk_leaves_nothing_half_done() {
    if !tests::have(&[tests::Need::Root]) {
        return;
    }
    let site = Site::new();
    let small = site.path().join("small");
    std::fs::create_dir(&small).expect("a folder");
    let at = small.display().to_string();
    site.shell(&format!("mount -t tmpfs -o size=1m none {at}")).ok();
    let tar = tests::site::base_tar(xtask::images::Base::Busybox).display().to_string();
    let run = site.run(&["--root", &at, "import", &tar, "busybox"]);
    let listed = site.run(&["--root", &at, "images", "-q"]);
    let check = site.run(&["--root", &at, "store", "check"]);
    site.shell(&format!("umount -l {at}")).ok();
    run.fails_with(&["space"]);
    assert_eq!(listed.ok().stdout, "");
    check.ok();
}
