//! What a user reads who asked for something that cannot be: each row is a command, its status and words of its message.

use tests::{Need, Site, have};

/// Runs each row's command and asserts status and message; all rows that are wrong are told together.
#[track_caller]
fn check(site: &Site, rows: &[(&str, i32, &[&str])]) {
    let mut wrong = Vec::new();
    for (line, status, words) in rows {
        let run = site.wherry(line);
        let said = words.iter().all(|word| run.stderr.contains(word));
        if run.code != Some(*status) || !said || run.stderr.contains("panicked") {
            wrong.push(format!("wanted {status} and {words:?}:\n{run}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn a_command_that_cannot_be_started_is_told_in_docker_s_words() {
    if !have(&[Need::Root]) {
        return;
    }
    let site = Site::with_busybox();
    let (file, folder) = (site.write("file", "x"), site.path().join("home"));
    let run = "run --rm --network none";
    let mounts = [
        format!("{run} -v {}:/etc busybox true", file.display()),
        format!("{run} -v {}:/etc/passwd busybox true", folder.display()),
    ];
    let long = format!("{run} --hostname {} busybox true", "a".repeat(100));
    let kinds: &[&str] = &["error mounting", "Are you trying to mount a directory onto a file"];
    check(
        &site,
        &[
            (
                "run --rm --network none busybox nosuch",
                127,
                &["exec: \"nosuch\": executable file not found in $PATH"],
            ),
            (
                "run --rm --network none busybox /bin/nosuch",
                127,
                &["stat /bin/nosuch: no such file or directory"],
            ),
            (
                "run --rm --network none busybox /etc/passwd",
                126,
                &["exec: \"/etc/passwd\": permission denied"],
            ),
            ("run --rm --network none busybox /bin", 126, &["exec: \"/bin\": is a directory"]),
            (
                "run --rm --network none -u nobody5 busybox true",
                125,
                &["unable to find user nobody5"],
            ),
            (
                "run --rm --network none --sysctl kernel.shm_rmid_forced=xx busybox true",
                125,
                &["kernel.shm_rmid_forced=xx", "Invalid argument"],
            ),
            (
                "run --rm --network none --ulimit nofile=99999999 busybox true",
                125,
                &["rlimit", "operation not permitted"],
            ),
            (&long, 125, &["hostname", "invalid argument"]),
            (&mounts[0], 125, kinds),
            (&mounts[1], 125, kinds),
        ],
    );
}

#[test]
fn nothing_is_started_of_a_command_line_that_cannot_be_meant() {
    let site = Site::with_busybox();
    check(
        &site,
        &[
            ("run --network none -e =x busybox", 125, &["invalid environment variable: =x"]),
            (
                "run --network none --memory xx busybox",
                125,
                &["invalid argument \"xx\" for \"-m, --memory\" flag"],
            ),
            (
                "run --network none --memory 1k busybox",
                125,
                &["Minimum memory limit allowed is 6MB"],
            ),
            ("run --network none --env-file /nosuch busybox", 125, &["/nosuch"]),
            ("run --network none --restart nope busybox", 125, &["--restart", "on-failure"]),
            ("run --network none -w relative busybox", 125, &["relative", "absolute"]),
            ("run --network none -v rel/path:/x busybox", 125, &["rel/path:/x"]),
            (
                "run --network none --mount type=bind,src=/nosuch,dst=/x busybox",
                125,
                &["bind source path does not exist: /nosuch"],
            ),
            ("run --network none --cap-add NOSUCH busybox", 125, &["NOSUCH"]),
            ("run --network none --detach-keys nosuch busybox", 125, &["nosuch"]),
            ("create --network none -e =x busybox", 125, &["invalid environment variable: =x"]),
            ("create --network none --memory xx busybox", 125, &["\"-m, --memory\""]),
            ("run NoSuch", 125, &["must be lowercase"]),
        ],
    );
    assert_eq!(site.wherry("ps -aq").ok().out(), "", "nothing was created");
}

#[test]
fn what_does_not_exist_is_named() {
    let site = Site::with_busybox();
    check(
        &site,
        &[
            ("exec nosuch ls", 4, &["No such container: nosuch"]),
            ("start nosuch", 4, &["No such container: nosuch"]),
            ("stop nosuch", 4, &["No such container: nosuch"]),
            ("logs nosuch", 4, &["No such container: nosuch"]),
            ("inspect nosuch", 4, &["No such object: nosuch"]),
            ("history nosuch", 4, &["No such image: nosuch", "hint: `wherry pull nosuch`"]),
            ("tag nosuch x", 4, &["No such image: nosuch"]),
            ("rmi nosuch", 4, &["No such image: nosuch"]),
            ("save nosuch -o nosuch.tar", 4, &["No such image: nosuch"]),
            ("volume rm nosuch", 4, &["nosuch: no such volume"]),
            ("load -i /nosuch", 4, &["open /nosuch"]),
            ("import /nosuch", 4, &["open /nosuch"]),
        ],
    );
    assert!(!site.path().join("nosuch.tar").exists(), "nothing half-done is left");
}

#[test]
fn slips_of_the_fingers_get_a_hint() {
    let site = Site::new();
    check(
        &site,
        &[
            ("imags", 2, &["unknown command: wherry imags", "hint: did you mean `wherry images`?"]),
            (
                "run --naem x busybox",
                125,
                &["unknown flag: --naem", "hint: did you mean `--name`?"],
            ),
            ("images --qiuet", 2, &["unknown flag: --qiuet", "hint: did you mean `--quiet`?"]),
            ("--zebra", 2, &["unknown flag: --zebra"]),
            ("swarm init", 2, &["command not supported yet: wherry swarm", "hint: "]),
            ("run --gpus all busybox", 125, &["flag not supported yet: --gpus"]),
        ],
    );
}

#[test]
fn a_root_below_the_current_folder_works_as_any_other() {
    if !have(&[Need::Root]) {
        return;
    }
    let site = Site::with_busybox();
    let relative = ["--root", "lib", "--run-root", "run"];
    let with = |words: &[&str]| site.run(&[&relative[..], words].concat());
    assert_eq!(
        with(&["run", "--rm", "--network", "none", "busybox", "echo", "here"]).ok().out(),
        "here"
    );
    with(&["run", "-d", "--name", "c1", "--network", "none", "busybox", "sleep", "1000"]).ok();
    assert_eq!(with(&["exec", "c1", "echo", "inside"]).ok().out(), "inside");
    assert_eq!(site.wherry("ps -q").ok().lines().len(), 1, "both ways of saying it mean one root");
}

#[test]
fn a_root_that_is_read_only_is_read() {
    if !have(&[Need::Root]) {
        return;
    }
    let site = Site::with_busybox();
    site.wherry("ps").ok();
    let root = site.root().display().to_string();
    site.shell(&format!("mount --bind {root} {root}; mount -o remount,bind,ro {root}")).ok();
    let runs = ["images -q", "inspect -f {{.Id}} busybox", "ps -a", "history -q busybox"]
        .map(|line| site.wherry(line));
    let refused =
        ["tag busybox other", "rmi busybox", "volume create data"].map(|line| site.wherry(line));
    site.shell(&format!("umount {root}")).ok();
    for run in runs {
        run.ok();
    }
    for run in refused {
        run.exits(3).fails_with(&["read-only"]);
    }
    assert_eq!(site.wherry("images -q").ok().lines().len(), 1);
    site.check_store();
}

#[test]
fn a_full_disk_can_be_emptied() {
    if !have(&[Need::Root]) {
        return;
    }
    let site = Site::new();
    let small = site.path().join("small");
    std::fs::create_dir(&small).expect("a folder");
    let at = small.display().to_string();
    site.shell(&format!("mount -t tmpfs -o size=6m none {at}")).ok();
    let tar = tests::site::base_tar(xtask::images::Base::Busybox).display().to_string();
    let with = |words: &[&str]| site.run(&[&["--root", at.as_str()], words].concat());
    let imported = with(&["import", &tar, "busybox"]);
    site.shell(&format!("cat /dev/zero > {at}/filler || true")).ok();
    let refused = with(&["volume", "create", "data"]);
    let removed = with(&["rmi", "busybox"]);
    let listed = with(&["images", "-q"]);
    let check = with(&["store", "check"]);
    site.shell(&format!("umount -l {at}")).ok();
    imported.ok();
    refused.exits(7).fails_with(&["no space left"]);
    removed.ok().says("Untagged: busybox:latest");
    assert_eq!(listed.ok().stdout, "");
    check.ok();
}

#[test]
fn words_of_any_size_and_bytes_of_any_kind_are_refused_with_a_line() {
    use std::os::unix::ffi::OsStrExt;
    let site = Site::with_busybox();
    let long = "a".repeat(100_000);
    for args in [
        &["tag", "busybox", &long][..],
        &["inspect", &long],
        &[&long],
        &["volume", "create", &long],
    ] {
        let run = site.run(args).fails_with(&["a"]);
        assert!(run.stderr.len() < 5000, "{} bytes", run.stderr.len());
    }
    let none: [&str; 0] = [];
    let output = site
        .command(&none)
        .arg("tag")
        .arg("busybox")
        .arg(std::ffi::OsStr::from_bytes(b"x\xff"))
        .output();
    let output = output.expect("start wherry");
    assert_eq!(output.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&output.stderr).contains("UTF-8"));
}

#[test]
fn files_that_cannot_be_meant_are_refused_by_name() {
    let mut site = Site::with_busybox();
    let broken = site.write("broken.toml", "[zebra]\n").display().to_string();
    let run = "run --rm --network none";
    let serve = format!("registry serve --config {broken}");
    check(
        &site,
        &[
            (&format!("{run} --env-file /dev/zero busybox true"), 125, &["/dev/zero", "16 MiB"]),
            (&format!("{run} --label-file /dev/zero busybox true"), 125, &["/dev/zero", "16 MiB"]),
            (&format!("--policy /dev/zero {run} busybox true"), 125, &["/dev/zero", "16 MiB"]),
            (&format!("--policy {broken} {run} busybox true"), 125, &["broken.toml", "default"]),
            ("build -f /dev/zero context", 1, &["/dev/zero", "16 MiB"]),
            (&serve, 1, &["unknown field `zebra`"]),
            ("registry serve --config /nosuch", 4, &["/nosuch"]),
        ],
    );
    site.write("docker/config.json", "[]");
    let folder = site.path().join("docker").display().to_string();
    site.set_env("DOCKER_CONFIG", &folder);
    let run = site.wherry("logout 127.0.0.1:1").exits(1).fails_with(&["not a JSON object"]);
    assert_eq!(run.stderr.matches("config.json").count(), 1, "{run}");
}
