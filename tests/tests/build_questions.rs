//! What a build tells without building, how it is stopped, and what its steps may use.

use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use tests::site::{eventually, finish};
use tests::{Need, Run, Site, have};

/// A site with busybox, or none where RUN steps cannot run.
fn site() -> Option<Site> {
    have(&[Need::Root]).then(Site::with_busybox)
}

/// Asks something about the build of the site's context.
fn ask(site: &Site, more: &str) -> Run {
    site.wherry(&format!("build {more} {}", site.context("").display()))
}

/// Covers: BLD-12
#[test]
fn check_prints_findings_under_buildkits_names_and_builds_nothing() {
    let Some(site) = site() else { return };
    site.write("context/.dockerignore", "hidden\n");
    site.dockerfile("FROM busybox AS Build\nCOPY hidden /x\nENV A b\nRUN false\n");
    let run = ask(&site, "--check").ok();
    assert_eq!(
        run.stdout,
        "Check complete, 3 warnings have been found!\n\n\
         WARNING: StageNameCasing - https://docs.docker.com/go/dockerfile/rule/stage-name-casing/\n\
         Stage name 'Build' should be lowercase\nDockerfile:1\n--------------------\n   1 | >>> FROM busybox AS Build\n   2 |     COPY hidden /x\n   3 |     ENV A b\n   4 |     RUN false\n--------------------\n\n\
         WARNING: CopyIgnoredFile - https://docs.docker.com/go/dockerfile/rule/copy-ignored-file/\n\
         Attempting to Copy file \"hidden\" that is excluded by .dockerignore\nDockerfile:2\n--------------------\n   1 |     FROM busybox AS Build\n   2 | >>> COPY hidden /x\n   3 |     ENV A b\n   4 |     RUN false\n--------------------\n\n\
         WARNING: LegacyKeyValueFormat - https://docs.docker.com/go/dockerfile/rule/legacy-key-value-format/\n\
         \"ENV key=value\" should be used instead of legacy \"ENV key value\" format\nDockerfile:3\n--------------------\n   1 |     FROM busybox AS Build\n   2 |     COPY hidden /x\n   3 | >>> ENV A b\n   4 |     RUN false\n--------------------\n"
    );
    let json = ask(&site, "--call check,format=json").ok().json();
    assert_eq!(json["warnings"][1]["ruleName"], "CopyIgnoredFile");
    assert_eq!(json["warnings"][1]["location"]["ranges"][0]["start"]["line"], 2);
    site.dockerfile("# check=error=true\nFROM busybox AS Build\n");
    ask(&site, "--check").exits(1).says("StageNameCasing");
    ask(&site, "--check --build-arg BUILDKIT_DOCKERFILE_CHECK=skip=all").ok().says("no warnings");
    site.try_build("a", "").fails_with(&["lint violation found for rules: StageNameCasing"]);
    assert_eq!(site.wherry("images -q a").ok().out(), "");
    site.dockerfile("FROM busybox AS Build\n");
    let run = site.build("a", "");
    assert!(run.all().contains("1 warning found"), "{run}");
    assert!(
        run.all().contains(" - StageNameCasing: Stage name 'Build' should be lowercase (line 1)"),
        "{run}"
    );
    ask(&site, "--call cook").fails_with(&["cook", "outline"]);
}

/// Covers: BLD-13
#[test]
fn outline_and_targets_tell_what_a_dockerfile_takes() {
    let Some(site) = site() else { return };
    site.dockerfile("# app the program\nFROM busybox AS app\n# V the version\nARG V=1\nRUN --mount=type=secret,id=token,required=true true\nFROM busybox AS other\nARG HIDDEN=1\n");
    let run = ask(&site, "--call outline --target app").ok();
    assert_eq!(
        run.stdout,
        "TARGET:      app\nDESCRIPTION: the program\n\nBUILD ARG   VALUE   DESCRIPTION\nV           1       the version\n\nSECRET   REQUIRED\ntoken    true\n"
    );
    let json = ask(&site, "--call outline,format=json --target app --build-arg V=2").ok().json();
    assert_eq!(
        (json["args"][0]["value"].as_str(), json["secrets"][0]["required"].as_bool()),
        (Some("2"), Some(true))
    );
    let run = ask(&site, "--call targets").ok();
    assert_eq!(
        run.stdout,
        "TARGET            DESCRIPTION\napp               the program\nother (default)   \n"
    );
    let json = ask(&site, "--call targets,format=json").ok().json();
    assert_eq!(
        (json["targets"][1]["default"].as_bool(), json["targets"][0]["base"].as_str()),
        (Some(true), Some("busybox"))
    );
}

/// Covers: BLD-83
#[test]
fn a_plan_says_before_what_the_build_then_does() {
    let Some(site) = site() else { return };
    site.write("context/a", "1");
    site.write("context/b", "1");
    site.dockerfile(
        "FROM busybox\nARG V=1\nCOPY a /a\nRUN cat /a > /x\nCOPY b /b\nRUN echo $V > /y\n",
    );
    let lines = |run: &Run| -> Vec<String> {
        run.stdout
            .lines()
            .map(|l| l.trim().split("  ").next().unwrap_or_default().to_owned())
            .collect()
    };
    let plan = ask(&site, "--plan").ok();
    assert!(plan.stdout.contains("RUN    [2/5] COPY a /a"), "{plan}");
    assert!(plan.stdout.contains("because it was never run before"), "{plan}");
    assert!(plan.stdout.contains("WAITS  [3/5] RUN cat /a > /x"), "{plan}");
    assert_eq!(site.wherry("images -q a").ok().out(), "", "nothing was built: {:?}", lines(&plan));
    site.build("a", "");
    let plan = ask(&site, "--plan").ok();
    assert_eq!(plan.stdout.matches("CACHED [").count(), 4, "{plan}");
    site.write("context/b", "2");
    let plan = ask(&site, "--plan").ok();
    assert_eq!(plan.stdout.matches("CACHED [").count(), 2, "{plan}");
    assert!(
        plan.stdout.contains("because b changed")
            || plan.stdout.contains("because content of b changed"),
        "{plan}"
    );
    let built = site.build("a", "");
    assert_eq!(built.all().matches("CACHED").count(), 2, "{built}");
}

/// Covers: BLD-83, BLD-33
#[test]
fn why_names_the_input_that_changed_and_no_value() {
    let Some(site) = site() else { return };
    site.dockerfile("FROM busybox\nARG TOKEN\nRUN echo $TOKEN | wc -c > /n\nRUN echo 2 > /two\n");
    site.build("a", "--build-arg TOKEN=first-s3cr3t");
    site.build("a", "--build-arg TOKEN=other-s3cr3t");
    let why =
        |words: &str| site.wherry(&format!("builder why {words} {}", site.context("").display()));
    let run = why("2/3 --build-arg TOKEN=other-s3cr3t").ok();
    assert!(run.out().contains("now: from the cache"), "{run}");
    assert!(run.out().contains("it last ran because\n    environment TOKEN changed"), "{run}");
    let run = why("2/3 --build-arg TOKEN=third-s3cr3t").ok();
    assert!(
        run.out().contains("now: it would run, because\n    environment TOKEN changed"),
        "{run}"
    );
    assert!(!run.all().contains("s3cr3t"), "{run}");
    let run = why("nonsense").exits(4);
    assert!(run.all().contains("no step of this build"), "{run}");
    // A folder of that name is still a folder.
    site.write("why/Dockerfile", "FROM busybox\n");
    site.wherry("build -q why").ok();
}

/// Processes with a word in their arguments; the pattern does not find itself.
fn processes_with(site: &Site, word: &str) -> usize {
    let (first, rest) = word.split_at(1);
    let script = format!("grep -la '[{first}]{rest}' /proc/[0-9]*/cmdline 2>/dev/null || true");
    site.shell(&script).ok().lines().len()
}

/// Covers: BLD-26
#[test]
fn a_signal_ends_the_step_and_leaves_nothing() {
    let Some(site) = site() else { return };
    for (signal, status) in [(Signal::INT, 130), (Signal::TERM, 143)] {
        let marker = format!("marker{status}x{}", std::process::id());
        site.dockerfile(&format!(
            "FROM busybox\nRUN touch /begun; sh -c 'sleep 600; : {marker}' & sleep 600; : {marker}\n"
        ));
        let line = format!("build --progress=plain -t a {}", site.context("").display());
        let child = site.spawn(&line);
        let pid = i32::try_from(child.id()).ok().and_then(Pid::from_raw).expect("a pid");
        let began = || processes_with(&site, &marker) >= 2;
        assert!(eventually(Duration::from_secs(60), began), "the step never began");
        kill_process(pid, signal).expect("send the signal");
        let run = finish(child, line).exits(status);
        assert!(run.all().contains("failed to solve: the build was cancelled"), "{run}");
        assert_eq!(processes_with(&site, &marker), 0, "its processes are gone when it ends");
        assert_eq!(site.wherry("images -q a").ok().out(), "");
        let root = site.root().display().to_string();
        let left = site.shell(&format!(
            "find {root}/buildcache/tmp {root}/snapshots -mindepth 1 -name '*build-*'"
        ));
        assert_eq!(left.ok().out(), "");
        let mounts = std::fs::read_to_string("/proc/mounts").expect("mounts");
        assert!(!mounts.contains(&root), "{mounts}");
    }
    site.dockerfile("FROM busybox\nRUN echo well > /well\n");
    site.build("a", "");
    site.check_store();
}

/// Covers: BLD-75
#[test]
fn two_builds_at_once_run_a_step_once_and_a_cancelled_one_does_not_take_the_other_along() {
    let Some(site) = site() else { return };
    let run = "FROM busybox\nRUN --mount=type=cache,target=/c echo x >> /c/runs; sleep 2; cp /c/runs /runs\n";
    site.dockerfile(run);
    let line = format!("build --progress=plain {}", site.context("").display());
    let (one, two) = (site.spawn(&line), site.spawn(&line));
    let (one, two) = (finish(one, line.clone()).ok(), finish(two, line.clone()).ok());
    let hits = [&one, &two].iter().filter(|run| run.all().contains("CACHED")).count();
    assert_eq!(hits, 1, "{one}{two}");
    site.dockerfile(&run.replace("sleep 2", "sleep 3"));
    let first = site.spawn(&line);
    let runs = || {
        std::fs::read_dir(site.root().join("buildcache/mounts")).is_ok_and(|mut list| {
            list.any(|entry| {
                entry.is_ok_and(|entry| {
                    std::fs::read_to_string(entry.path().join("fs/runs"))
                        .is_ok_and(|text| text.lines().count() == 2)
                })
            })
        })
    };
    assert!(eventually(Duration::from_secs(60), runs), "the first build never began");
    let second = site.spawn(&line);
    kill_process(
        Pid::from_raw(i32::try_from(first.id()).expect("a pid")).expect("not zero"),
        Signal::TERM,
    )
    .expect("send the signal");
    finish(first, line.clone()).exits(143);
    finish(second, line.clone()).ok();
    assert_eq!(site.wherry("builder du").ok().lines().len(), 5, "a title, two records, two sums");
}

/// Covers: BLD-39, BLD-59
#[test]
fn steps_get_the_limits_groups_and_hosts_that_were_asked_for() {
    let Some(site) = site() else { return };
    site.dockerfile(
        "FROM busybox\nRUN echo app:x:1000:1000::/:/bin/sh >> /etc/passwd; echo app:x:1000: >> /etc/group; echo extra:x:2000:app >> /etc/group\n\
         USER app\nRUN id -G > /tmp/groups; ulimit -n > /tmp/files; ulimit -c > /tmp/core; df -k /dev/shm | tail -1 | awk '{print $2}' > /tmp/shm; grep h.example /etc/hosts > /tmp/hosts\n\
         USER app:app\nRUN id -G > /tmp/own\n",
    );
    site.build(
        "a",
        "--ulimit nofile=123:456 --ulimit core=0 --shm-size 8m --add-host h.example:10.1.2.3",
    );
    assert_eq!(site.cat("a", "/tmp/groups"), "1000 2000\n");
    assert_eq!(site.cat("a", "/tmp/own"), "1000\n");
    assert_eq!(site.cat("a", "/tmp/files"), "123\n");
    assert_eq!(site.cat("a", "/tmp/core"), "0\n");
    assert_eq!(site.cat("a", "/tmp/shm"), "8192\n");
    assert!(site.cat("a", "/tmp/hosts").contains("10.1.2.3"));
    let again = site.build("a", "--shm-size 16m --add-host h.example:10.9.9.9");
    assert!(again.all().contains("CACHED"), "limits are in no key: {again}");
}

/// Covers: BLD-39
#[test]
fn a_step_that_is_killed_for_want_of_memory_says_so() {
    let Some(site) = site() else { return };
    site.dockerfile("FROM busybox\nRUN head -c 200000000 /dev/zero | tail\n");
    let run = site.try_build("a", "-m 32m --memory-swap 32m");
    run.fails_with(&["want of memory", "--memory"]);
}

/// Covers: BLD-26, BLD-35
#[test]
fn file_descriptors_of_the_builder_cannot_be_reached_from_a_step() {
    let Some(site) = site() else { return };
    site.write("host-secret", "of the host\n");
    for number in 3..20 {
        site.dockerfile(&format!(
            "FROM busybox\nWORKDIR /proc/self/fd/{number}\nRUN cat ../../../../../../../..{}/host-secret && exit 99 || true\n",
            site.path().display()
        ));
        let run = site.try_build("a", "");
        assert!(!run.all().contains("of the host"), "{run}");
        assert!(!run.all().contains("exit code: 99"), "{run}");
    }
    site.dockerfile("FROM busybox\nRUN ln -s /proc/self/fd/7 /escape\nWORKDIR /escape\nRUN ls ../../../../.. > /seen; true\n");
    let run = site.try_build("a", "");
    assert!(!run.all().contains(&site.path().display().to_string()), "{run}");
    site.dockerfile("FROM busybox\nRUN ls -l /proc/self/fd > /fds\n");
    site.build("a", "");
    let fds = site.cat("a", "/fds");
    assert!(!fds.contains(&site.path().display().to_string()), "{fds}");
    site.check_store();
}

/// Covers: BLD-6
#[test]
fn scripts_name_their_interpreter() {
    let Some(site) = site() else { return };
    site.dockerfile(
        "FROM busybox\nRUN <<A\n#!/bin/sh -e\necho $0 $- > /one\nA\nRUN <<B\n#!/usr/bin/env sh\necho env > /two\nB\nRUN <<-C\n\t#!/bin/busybox sh\n\techo tabs > /three\n\tC\nRUN <<D\n#!/bin/awk -f\nBEGIN { print \"awk\" > \"/four\" }\nD\n",
    );
    site.build("a", "");
    let one = site.cat("a", "/one");
    assert!(one.starts_with("/dev/pipes/A ") && one.contains('e'), "{one}");
    assert_eq!(site.cat("a", "/two"), "env\n");
    assert_eq!(site.cat("a", "/three"), "tabs\n");
    assert_eq!(site.cat("a", "/four"), "awk\n");
    site.run(&["run", "--rm", "--network", "none", "a", "test", "-e", "/dev/pipes"]).exits(1);
    site.dockerfile("FROM busybox\nRUN <<A\n#!/no/such/interpreter\nA\n");
    site.try_build("b", "").fails_with(&["/dev/pipes/A"]);
}

/// Covers: BLD-35, BLD-37
#[test]
fn networks_and_security_of_a_step_are_what_it_asks_for() {
    let Some(site) = site() else { return };
    site.dockerfile("FROM busybox\nRUN --network=none ls /sys/class/net > /none; cat /proc/net/dev | wc -l > /devices\nRUN --network=host cat /proc/net/dev | wc -l > /host\n");
    site.build("a", "");
    assert_eq!(site.cat("a", "/devices"), "3\n", "two lines of title and lo");
    let host = std::fs::read_to_string("/proc/net/dev").expect("devices").lines().count();
    assert_eq!(site.cat("a", "/host"), format!("{host}\n"));
    site.dockerfile(
        "FROM busybox\nRUN --security=insecure grep CapEff /proc/self/status > /caps\n",
    );
    site.try_build("a", "").fails_with(&["security.insecure is not allowed", "--allow"]);
    site.build("a", "--allow security.insecure");
    let own = std::fs::read_to_string("/proc/self/status").expect("status");
    let own = own.lines().find(|line| line.starts_with("CapEff")).expect("capabilities");
    assert_eq!(site.cat("a", "/caps").trim(), own);
}
