//! Containers: from `run` to `rm`.

use std::time::{Duration, Instant};

use tests::site::eventually;
use tests::text::{column, is_hex};
use tests::{Need, Site, have};

/// A site with busybox, or none where containers cannot run.
fn site() -> Option<Site> {
    have(&[Need::Root]).then(Site::with_busybox)
}

/// Covers: B07-01, B07-35
#[test]
fn run_takes_an_image_and_a_command() {
    let Some(site) = site() else { return };
    assert_eq!(site.wherry("run --rm --network none busybox echo hello").ok().out(), "hello");
    let run = site
        .wherry("run --rm --network none busybox sh -c 'echo out; echo err >&2; exit 3'")
        .exits(3);
    assert_eq!((run.stdout.as_str(), run.stderr.as_str()), ("out\n", "err\n"));
    assert_eq!(site.wherry("ps -aq").ok().stdout, "", "--rm removes");
}

/// Covers: B07-02
#[test]
fn a_container_lives_as_long_as_its_main_process() {
    let Some(site) = site() else { return };
    let start = Instant::now();
    site.wherry("run --name c1 --network none busybox sleep 1").ok();
    assert!(start.elapsed() >= Duration::from_secs(1));
    assert!(site.status("c1").starts_with("Exited (0)"), "{}", site.status("c1"));
}

/// Covers: B07-03, B07-16, B07-19
#[test]
fn a_container_keeps_its_files_over_stop_and_start() {
    let Some(site) = site() else { return };
    let id = site.wherry("run -d --name percy --network none busybox sleep 1000").ok();
    let created = site.inspect("percy")["Created"].clone();
    site.wherry("exec percy sh -c 'echo content > /tmp/newfile'").ok();
    site.wherry("stop -t 0 percy").ok().says("percy");
    assert_eq!(site.wherry("ps -q").ok().stdout, "");
    assert!(site.status("percy").starts_with("Exited (137)"), "{}", site.status("percy"));
    assert_eq!(site.wherry("start percy").ok().out(), "percy");
    assert_eq!(site.wherry("exec percy cat /tmp/newfile").ok().out(), "content");
    let again = site.inspect("percy");
    assert_eq!(again["Id"].as_str(), Some(id.out()));
    assert_eq!(again["Created"], created);
    site.wherry("rm -f percy").ok();
    assert_eq!(site.wherry("ps -aq").ok().stdout, "");
    site.wherry("start percy").fails_with(&["percy"]);
}

/// Covers: B07-07, B07-08
#[test]
fn an_image_that_is_not_there_is_pulled_first() {
    let Some(site) = site() else { return };
    let registry = tests::Registry::embedded();
    let name = registry.name("team/shell:v1");
    site.run(&["tag", "busybox", &name]).ok();
    site.run(&["push", &name]).ok();
    let other = Site::new();
    let run = other.run(&["run", "--rm", "--network", "none", &name, "echo", "pulled"]).ok();
    assert!(run.all().contains(&format!("Unable to find image '{name}' locally")), "{run}");
    assert!(run.all().contains("v1: Pulling from team/shell"), "{run}");
    assert_eq!(run.stdout.lines().last(), Some("pulled"));
    drop(registry);
    let run = other.run(&["run", "--rm", "--network", "none", &name, "echo", "local"]).ok();
    assert_eq!(run.out(), "local");
    assert!(!run.all().contains("Pulling"), "{run}");
}

/// Covers: B07-09
#[test]
fn it_gives_a_terminal() {
    let Some(site) = site() else { return };
    if !have(&[Need::Script]) {
        return;
    }
    let run = site
        .terminal("run --rm -it --network none busybox sh", "tty; echo sum=$((40+2)); exit 5\n");
    assert_eq!(run.code, Some(5), "{run}");
    assert!(run.stdout.contains("/dev/pts/") || run.stdout.contains("/dev/console"), "{run}");
    assert!(run.stdout.contains("sum=42"), "{run}");
}

#[test]
fn i_passes_standard_input() {
    let Some(site) = site() else { return };
    let run = site.run_with_input(
        &["run", "--rm", "-i", "--network", "none", "busybox", "wc", "-c"],
        b"12345",
    );
    assert_eq!(run.ok().out(), "5");
    let run =
        site.run_with_input(&["run", "--rm", "--network", "none", "busybox", "wc", "-c"], b"12345");
    assert_eq!(run.ok().out(), "0", "without -i there is no standard input");
}

/// Covers: B07-11
#[test]
fn a_missing_program_inside_is_the_shell_s_affair() {
    let Some(site) = site() else { return };
    let script = "no-such-program; echo status $?";
    let run = site.run(&["run", "--rm", "--network", "none", "busybox", "sh", "-c", script]).ok();
    assert_eq!(run.out(), "status 127");
}

#[test]
fn exit_statuses_are_docker_s() {
    let Some(site) = site() else { return };
    site.write("context/file", "not a program");
    let rows = [
        ("run --rm --network none busybox sh -c 'exit 42'", 42),
        ("run --rm --network none busybox /no/such/program", 127),
        ("run --rm --network none busybox /etc/passwd", 126),
        ("run --rm --network none busybox sh -c 'kill -15 $$; sleep 1; exit 9'", 9),
        ("run --rm --no-such-flag busybox true", 125),
        ("run --rm --network none UPPER true", 125),
    ];
    for (line, code) in rows {
        site.wherry(line).exits(code);
    }
    assert_eq!(site.wherry("ps -aq").ok().stdout, "", "--rm removes what did not start too");
}

/// Covers: B07-12
#[test]
fn the_end_of_process_1_ends_the_container() {
    let Some(site) = site() else { return };
    site.wherry(
        "run -d --name c1 --network none busybox sh -c 'sleep 1000 & read x < /dev/zero; wait'",
    )
    .ok();
    site.wherry("run -d --name k1 --network none busybox sleep 1000").ok();
    let pid = site.inspect("k1")["State"]["Pid"].as_i64().expect("a running container has a pid");
    let pid = rustix::process::Pid::from_raw(i32::try_from(pid).expect("a pid")).expect("not 0");
    rustix::process::kill_process(pid, rustix::process::Signal::KILL).expect("it runs");
    assert!(eventually(Duration::from_secs(10), || site.status("k1").starts_with("Exited (137)")));
}

/// Covers: B07-13, B07-39
#[test]
fn exec_is_a_second_process_in_the_same_container() {
    let Some(site) = site() else { return };
    site.wherry("run -d --name c1 --hostname harbour --network none busybox sh -c 'echo mark > /mark; sleep 1000'").ok();
    assert!(
        eventually(Duration::from_secs(10), || site.wherry("exec c1 cat /mark").out() == "mark")
    );
    assert_eq!(site.wherry("exec c1 hostname").ok().out(), "harbour");
    let processes = site.wherry("exec c1 ps").ok();
    assert!(processes.stdout.contains("sleep 1000"), "{processes}");
    let first = site.wherry("exec c1 readlink /proc/1/ns/pid").ok();
    assert_eq!(site.wherry("exec c1 readlink /proc/self/ns/pid").ok().out(), first.out());
    site.wherry("exec c1 sh -c 'exit 7'").exits(7);
    assert!(site.status("c1").starts_with("Up"), "{}", site.status("c1"));
    let run = site.run_with_input(&["exec", "-i", "c1", "cat"], b"through exec");
    assert_eq!(run.ok().out(), "through exec");
}

/// Covers: B07-14
#[test]
fn exec_needs_the_program_in_the_image() {
    let Some(site) = site() else { return };
    site.wherry("run -d --name c1 --network none busybox sleep 1000").ok();
    site.wherry("exec c1 bash").exits(127);
    assert!(site.status("c1").starts_with("Up"));
    site.wherry("exec nobody true").fails_with(&["nobody"]);
    site.wherry("stop -t 0 c1").ok();
    site.wherry("exec c1 true").fails_with(&["not running"]);
}

/// Covers: B07-15
#[test]
fn a_name_addresses_a_container_and_is_taken_once() {
    let Some(site) = site() else { return };
    let id = site.wherry("run -d --name percy --network none busybox sleep 1000").ok();
    assert!(is_hex(id.out(), 64), "{id}");
    let run = site.wherry("ps").ok();
    assert_eq!(column(&run.stdout, "NAMES"), ["percy"]);
    assert_eq!(column(&run.stdout, "CONTAINER ID"), [&id.out()[..12]]);
    site.wherry("run -d --name percy --network none busybox true")
        .exits(125)
        .fails_with(&["percy", "in use"]);
    assert_eq!(site.inspect(&id.out()[..12])["Name"], "/percy");
    site.wherry("run -d --name 'bad name' --network none busybox true").exits(125);
}

#[test]
fn ps_has_docker_s_columns() {
    let Some(site) = site() else { return };
    site.wherry("run -d --name c1 --network none busybox sleep 1000").ok();
    let run = site.wherry("ps").ok();
    let header: Vec<&str> =
        run.lines()[0].split("  ").map(str::trim).filter(|w| !w.is_empty()).collect();
    assert_eq!(header, ["CONTAINER ID", "IMAGE", "COMMAND", "CREATED", "STATUS", "PORTS", "NAMES"]);
    assert_eq!(column(&run.stdout, "IMAGE"), ["busybox"]);
    assert_eq!(column(&run.stdout, "COMMAND"), ["\"sleep 1000\""]);
    assert!(column(&run.stdout, "STATUS")[0].starts_with("Up "), "{run}");
}

/// Covers: B07-17, B07-25
#[test]
fn files_are_lost_with_rm_and_kept_over_any_number_of_starts() {
    let Some(site) = site() else { return };
    site.wherry("create --name c1 --network none busybox sh -c 'echo once >> /tmp/count; wc -l < /tmp/count'").ok();
    for n in 1..=3 {
        let run = site.wherry("start -a c1").ok();
        assert_eq!(run.out().trim(), n.to_string());
    }
    site.wherry("rm c1").ok();
    site.wherry("run --rm --name c1 --network none busybox cat /tmp/count").exits(1);
}

/// Covers: B07-18
#[test]
fn ps_hides_what_has_ended() {
    let Some(site) = site() else { return };
    site.wherry("run --name ended --network none busybox sh -c 'exit 4'").exits(4);
    assert_eq!(site.wherry("ps -q").ok().stdout, "");
    let run = site.wherry("ps -a").ok();
    assert_eq!(column(&run.stdout, "NAMES"), ["ended"]);
    let status = &column(&run.stdout, "STATUS")[0];
    assert!(status.starts_with("Exited (4) ") && status.ends_with(" ago"), "{status}");
    assert_eq!(site.wherry("ps -aq --filter status=exited").ok().lines().len(), 1);
    assert_eq!(site.wherry("ps -aq --filter status=running").ok().lines().len(), 0);
}

/// Covers: B07-20, B07-21
#[test]
fn rm_refuses_a_running_container_and_f_kills_it_at_once() {
    let Some(site) = site() else { return };
    let script = "trap 'echo asked' TERM; echo ready; while true; do sleep 0.1; done";
    site.run(&["run", "-d", "--name", "c1", "--network", "none", "busybox", "sh", "-c", script])
        .ok();
    assert!(eventually(Duration::from_secs(10), || site.wherry("logs c1").out() == "ready"));
    site.wherry("rm c1").fails_with(&["running", "c1"]);
    let start = Instant::now();
    assert_eq!(site.wherry("rm c1 -f").ok().out(), "c1");
    assert!(start.elapsed() < Duration::from_secs(5), "SIGKILL does not wait");
    assert_eq!(site.wherry("ps -aq").ok().stdout, "");
}

/// Covers: B07-22, B07-23
#[test]
fn stop_asks_first_and_kills_after_ten_seconds() {
    let Some(site) = site() else { return };
    let polite = "trap 'echo asked; exit 0' TERM; echo ready; while true; do sleep 0.1; done";
    site.run(&[
        "run",
        "-d",
        "--name",
        "polite",
        "--network",
        "none",
        "busybox",
        "sh",
        "-c",
        polite,
    ])
    .ok();
    site.wherry("run -d --name deaf --network none busybox sleep 1000").ok();
    assert!(eventually(Duration::from_secs(10), || site.wherry("logs polite").out() == "ready"));
    let start = Instant::now();
    site.wherry("stop polite").ok();
    assert!(start.elapsed() < Duration::from_secs(8));
    assert!(site.status("polite").starts_with("Exited (0)"), "{}", site.status("polite"));
    assert_eq!(site.wherry("logs polite").ok().out(), "ready\nasked");
    let start = Instant::now();
    site.wherry("stop deaf").ok();
    let waited = start.elapsed();
    assert!((Duration::from_secs(9)..Duration::from_secs(20)).contains(&waited), "{waited:?}");
    assert!(site.status("deaf").starts_with("Exited (137)"), "{}", site.status("deaf"));
}

/// Covers: B07-24
#[test]
fn verbs_take_several_names_and_ids() {
    let Some(site) = site() else { return };
    let id = site.wherry("run -d --name always --network none busybox sleep 1000").ok();
    site.wherry("run -d --name unless-stopped --network none busybox sleep 1000").ok();
    let run = site.run(&["stop", "-t", "0", &id.out()[..12], "unless-stopped"]).ok();
    assert_eq!(run.lines(), [&id.out()[..12], "unless-stopped"]);
    assert_eq!(site.wherry("ps -q").ok().stdout, "");
    let run = site.wherry("rm always nobody unless-stopped").fails_with(&["nobody"]);
    assert_eq!(run.lines(), ["always", "unless-stopped"], "the others are removed");
}

/// Covers: B07-32
#[test]
fn d_gives_the_prompt_back_at_once() {
    let Some(site) = site() else { return };
    let start = Instant::now();
    let run = site.wherry("run -d --network none busybox sleep 1000").ok();
    assert!(start.elapsed() < Duration::from_secs(20));
    assert!(is_hex(run.out(), 64), "{run}");
    assert_eq!(site.wherry("ps -q").ok().out(), &run.out()[..12]);
    site.wherry("run -dit --network none busybox sh").ok();
    assert_eq!(site.wherry("ps -q").ok().lines().len(), 2, "a shell with -it waits for input");
}

/// Covers: B07-34
#[test]
fn the_image_says_what_runs() {
    let Some(site) = site() else { return };
    site.dockerfile("FROM busybox\nENTRYPOINT [\"echo\", \"entry\"]\nCMD [\"default\"]\n");
    site.build("app", "");
    assert_eq!(site.wherry("run --rm --network none app").ok().out(), "entry default");
    assert_eq!(site.wherry("run --rm --network none app own words").ok().out(), "entry own words");
    assert_eq!(
        site.wherry("run --rm --network none --entrypoint cat app /etc/shells").ok().out(),
        "/bin/sh"
    );
    site.wherry("run --name c1 --network none app").ok();
    assert_eq!(column(&site.wherry("ps -a").ok().stdout, "COMMAND"), ["\"echo entry default\""]);
    assert_eq!(site.inspect("app")["Config"]["Cmd"], serde_json::json!(["default"]));
}

/// Covers: B07-36, B07-37
#[test]
fn all_containers_are_removed_in_one_line() {
    let Some(site) = site() else { return };
    site.wherry("run -d --network none busybox sleep 1000").ok();
    site.wherry("run --network none busybox true").ok();
    let ids = site.wherry("ps -aq").ok();
    assert!(ids.lines().iter().all(|id| is_hex(id, 12)), "{ids}");
    let run = site.shell("wherry container rm $(wherry ps -aq) -f").ok();
    assert_eq!(run.stdout, ids.stdout);
    assert_eq!(site.wherry("container ls -aq").ok().stdout, "");
}

/// Covers: B07-38
#[test]
fn inspect_shows_config_and_state_of_a_container() {
    let Some(site) = site() else { return };
    site.wherry("run -d --name c1 --network none -e COLOUR=blue -w /tmp -u 33:33 --label tier=web busybox sleep 1000").ok();
    let c = site.inspect("c1");
    assert_eq!(c["Name"], "/c1");
    assert_eq!(c["State"]["Status"], "running");
    assert_eq!(c["State"]["Running"], true);
    assert_eq!(c["Config"]["WorkingDir"], "/tmp");
    assert_eq!(c["Config"]["User"], "33:33");
    assert_eq!(c["Config"]["Labels"]["tier"], "web");
    assert_eq!(c["Config"]["Image"], "busybox");
    assert_eq!(c["Image"].as_str(), Some(site.image_id("busybox").as_str()));
    let environment = c["Config"]["Env"].as_array().expect("a list");
    assert!(environment.iter().any(|e| e == "COLOUR=blue"), "{environment:?}");
    assert_eq!(
        site.wherry("exec c1 sh -c 'echo $COLOUR $PWD $(id -u):$(id -g)'").ok().out(),
        "blue /tmp 33:33"
    );
    assert_eq!(site.wherry("inspect --format {{.State.Status}} c1").ok().out(), "running");
    site.wherry("stop -t 0 c1").ok();
    let state = site.inspect("c1")["State"].clone();
    assert_eq!((&state["Status"], &state["ExitCode"]), (&"exited".into(), &137.into()), "{state}");
}

/// Covers: B07-05
#[test]
fn containers_are_confined_by_default() {
    let Some(site) = site() else { return };
    let status = site.wherry("run --rm --network none busybox cat /proc/self/status").ok();
    let field = |name: &str| {
        let line = status.stdout.lines().find(|line| line.starts_with(name));
        line.unwrap_or_else(|| panic!("no {name}: {status}"))
            .split_whitespace()
            .nth(1)
            .map(str::to_owned)
    };
    assert_eq!(field("Seccomp:").as_deref(), Some("2"), "a filter is in force");
    assert_eq!(
        field("CapEff:").as_deref(),
        Some("00000000a80425fb"),
        "Docker's fourteen capabilities"
    );
    assert_eq!(field("CapBnd:").as_deref(), Some("00000000a80425fb"));
    site.wherry("run --rm --network none busybox mount -t tmpfs none /mnt").exits(1);
    site.wherry("run --rm --network none busybox sh -c 'echo 1 > /proc/sys/kernel/panic'").exits(1);
    let keys = site.wherry("run --rm --network none busybox sh -c 'wc -c < /proc/keys'").ok();
    assert_eq!(keys.out(), "0", "masked");
}

/// Covers: B01-01
#[test]
fn all_containers_share_the_kernel_of_the_host() {
    let Some(site) = site() else { return };
    let host = std::fs::read_to_string("/proc/sys/kernel/osrelease").expect("Linux");
    let run = site.wherry("run --rm --network none busybox uname -r").ok();
    assert_eq!(run.out(), host.trim());
}

#[test]
fn no_network_is_no_network_and_host_is_the_host_s() {
    let Some(site) = site() else { return };
    let none = site.wherry("run --rm --network none busybox ls /sys/class/net").ok();
    assert_eq!(none.out(), "lo");
    let inside = site.wherry("run --rm --network host busybox readlink /proc/self/ns/net").ok();
    let host = std::fs::read_link("/proc/self/ns/net").expect("Linux");
    assert_eq!(inside.out(), host.display().to_string());
    site.wherry("run --rm --network no-such-network busybox true")
        .exits(125)
        .fails_with(&["no-such-network"]);
}

#[test]
fn logs_keep_both_streams_and_follow_to_the_end() {
    let Some(site) = site() else { return };
    site.wherry("run --name c1 --network none busybox sh -c 'echo out; echo err >&2'").ok();
    let run = site.wherry("logs c1").ok();
    assert_eq!((run.stdout.as_str(), run.stderr.as_str()), ("out\n", "err\n"));
    site.wherry("run -d --name slow --network none busybox sh -c 'for i in 1 2 3 4 5; do echo $i; sleep 0.1; done'").ok();
    assert_eq!(site.wherry("logs -f slow").ok().out(), "1\n2\n3\n4\n5");
    assert_eq!(site.wherry("logs --tail 2 slow").ok().out(), "4\n5");
    site.wherry("logs nobody").fails_with(&["nobody"]);
}

#[test]
fn a_container_outlives_the_command_that_started_it() {
    let Some(site) = site() else { return };
    site.wherry(
        "run -d --name c1 --network none busybox sh -c 'while true; do date +%s%N; sleep 0.1; done'",
    )
    .ok();
    let count = || site.wherry("logs c1").ok().lines().len();
    let before = count();
    assert!(eventually(Duration::from_secs(10), || count() > before), "it goes on writing");
}

#[test]
fn wait_and_kill_report_the_exit_status() {
    let Some(site) = site() else { return };
    site.wherry("run -d --name c1 --network none busybox sh -c 'trap \"exit 9\" USR1; echo ready; while true; do sleep 0.1; done'").ok();
    assert!(eventually(Duration::from_secs(10), || site.wherry("logs c1").out() == "ready"));
    let waiting = site.spawn("wait c1");
    assert_eq!(site.wherry("kill --signal USR1 c1").ok().out(), "c1");
    let run = tests::site::finish(waiting, "wait c".into()).ok();
    assert_eq!(run.out(), "9");
    site.wherry("kill c1").fails_with(&["not running"]);
    site.wherry("kill --signal NONSENSE c1").fails_with(&["NONSENSE"]);
}

/// Covers: B07-04
#[test]
fn many_containers_run_at_once() {
    let Some(site) = site() else { return };
    let started: Vec<_> = (0..24)
        .map(|n| site.spawn(&format!("run -d --name many{n} --network none busybox sleep 1000")))
        .collect();
    for (n, child) in started.into_iter().enumerate() {
        tests::site::finish(child, format!("run many{n}")).ok();
    }
    assert_eq!(site.wherry("ps -q").ok().lines().len(), 24);
    site.shell("wherry rm -f $(wherry ps -aq)").ok();
    assert_eq!(site.wherry("ps -aq").ok().stdout, "");
}

#[test]
fn a_user_that_the_image_does_not_know_is_refused() {
    let Some(site) = site() else { return };
    site.wherry("run --rm --network none -u nobody-here busybox id").fails_with(&["nobody-here"]);
    assert_eq!(site.wherry("run --rm --network none -u www-data busybox id -u").ok().out(), "33");
}
