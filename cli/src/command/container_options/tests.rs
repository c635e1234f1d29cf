use clap::Parser;
use engine::runtime::{MountKind, VolumeSource};

use super::*;

#[derive(Debug, Parser)]
struct Probe {
    #[command(flatten)]
    options: ContainerOptions,
}

fn options(line: &str) -> ContainerOptions {
    let words = std::iter::once("probe").chain(line.split_whitespace());
    // `-h` is the host name here, as in Docker.
    let command = <Probe as clap::CommandFactory>::command().disable_help_flag(true);
    let matches =
        command.try_get_matches_from(words).unwrap_or_else(|error| panic!("{line}: {error}"));
    <Probe as clap::FromArgMatches>::from_arg_matches(&matches).unwrap().options
}

fn request(line: &str) -> RunOptions {
    options(line).request(&[]).unwrap_or_else(|error| panic!("{line}: {error}"))
}

fn refusal(line: &str) -> String {
    match options(line).request(&[]) {
        Err(error) => error.to_string(),
        Ok(request) => panic!("{line} was accepted: {request:?}"),
    }
}

/// Covers: B07-15
#[test]
fn what_is_typed_reaches_the_runtime() {
    let made = request(
        "-it -e A=b -e C=d=e -w /w -u 1:2 -h box -l x -l y=z --init --read-only --rm --stop-timeout -1",
    );
    assert!(made.tty && made.open_stdin && made.init && made.read_only && made.auto_remove);
    assert_eq!(made.env, ["A=b", "C=d=e"]);
    assert_eq!(
        (made.workdir.as_deref(), made.user.as_deref(), made.hostname.as_deref()),
        (Some("/w"), Some("1:2"), Some("box"))
    );
    assert_eq!(
        made.labels.into_iter().collect::<Vec<_>>(),
        [("x".into(), String::new()), ("y".into(), "z".into())]
    );
    assert_eq!(made.stop_timeout, Some(-1));
    assert_eq!(options("--name web").name.as_deref(), Some("web"));
}

/// Covers: RUN-16
#[test]
fn limits_are_read_in_dockers_units() {
    let resources =
        request("-m 512m --memory-swap -1 --cpus 1.5 --pids-limit 100 -c 512 --cpuset-cpus 0-1")
            .resources;
    assert_eq!((resources.memory, resources.memory_swap), (Some(512 << 20), Some(-1)));
    assert_eq!((resources.nano_cpus, resources.pids), (Some(1_500_000_000), Some(100)));
    assert_eq!((resources.cpu_shares, resources.cpuset_cpus.as_deref()), (Some(512), Some("0-1")));
    assert_eq!(request("--shm-size 1g").shm_size, Some(1 << 30));
    for line in ["-m lots", "--cpus 0", "--shm-size 1x"] {
        assert!(refusal(line).contains("invalid"), "{line}");
    }
}

/// Covers: RUN-49
#[test]
fn an_empty_entrypoint_resets_the_images() {
    assert_eq!(request("").entrypoint, None);
    assert_eq!(request("--entrypoint=").entrypoint, Some(Vec::new()));
    assert_eq!(request("--entrypoint sh").entrypoint, Some(vec!["sh".to_owned()]));
}

/// Covers: B07-26
#[test]
fn restart_policies_are_read_and_mistakes_in_them_named() {
    assert_eq!(request("").restart, RestartPolicy::No);
    assert_eq!(request("--restart always").restart, RestartPolicy::Always);
    assert_eq!(request("--restart unless-stopped").restart, RestartPolicy::UnlessStopped);
    assert_eq!(request("--restart on-failure:3").restart, RestartPolicy::OnFailure(3));
    for line in ["--restart sometimes", "--restart always:3", "--restart on-failure:x"] {
        assert!(refusal(line).contains("--restart"), "{line}");
    }
}

/// Covers: RUN-45
#[test]
fn volumes_go_to_the_engine_as_written() {
    let volumes =
        options("-v /host:/in:ro -v data:/data -v /anonymous --mount type=bind,src=/a,dst=/b")
            .volumes()
            .unwrap();
    let sources: Vec<&VolumeSource> = volumes.iter().map(|volume| &volume.source).collect();
    assert_eq!(
        sources,
        [
            &VolumeSource::Path("/host".into()),
            &VolumeSource::Named("data".into()),
            &VolumeSource::Anonymous,
            &VolumeSource::Path("/a".into()),
        ]
    );
    let here = options("-v ./x:/y").volumes().unwrap();
    let absolute = std::env::current_dir().unwrap().join("x");
    assert_eq!(here[0].source, VolumeSource::Path(absolute));
    let mounts = request("--tmpfs /t:size=1m --mount type=tmpfs,dst=/u").mounts;
    assert_eq!(mounts.len(), 2);
    assert!(mounts.iter().all(|mount| matches!(mount.kind, MountKind::Tmpfs { .. })));
}

#[test]
fn names_that_are_empty_are_refused_in_dockers_words() {
    for (line, words) in [
        (
            "-e =x",
            "invalid argument \"=x\" for \"-e, --env\" flag: invalid environment variable: =x",
        ),
        (
            "-l =x",
            "invalid argument \"=x\" for \"-l, --label\" flag: invalid label '=x': empty name",
        ),
    ] {
        assert_eq!(refusal(line), words);
    }
}

#[test]
fn security_options_that_are_unknown_are_refused() {
    let made = request("--security-opt seccomp=unconfined --security-opt no-new-privileges");
    assert!(made.no_new_privileges && made.seccomp == SeccompChoice::Unconfined);
    assert!(refusal("--security-opt apparmor=x").contains("apparmor"));
    assert!(refusal("--security-opt seccomp=/no/such/file").contains("/no/such/file"));
}

#[test]
fn environment_files_are_read_line_by_line() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("env");
    std::fs::write(&file, "# comment\n\nA=1\n  B= two words\nPATH\nNO_SUCH_VARIABLE_HERE\n")
        .unwrap();
    let made = request(&format!("--env-file {} -e A=2", file.display()));
    let path = format!("PATH={}", std::env::var("PATH").unwrap());
    assert_eq!(made.env, ["A=1", "B= two words", path.as_str(), "A=2"]);
    std::fs::write(&file, "bad name=1\n").unwrap();
    assert!(refusal(&format!("--env-file {}", file.display())).contains("whitespaces"));
    assert!(refusal("--env-file /no/such/file").contains("/no/such/file"));
}

#[test]
fn hosts_are_names_with_addresses() {
    assert_eq!(
        request("--add-host db:10.0.0.1 --add-host six=[::1]").extra_hosts,
        ["db:10.0.0.1", "six:::1"]
    );
    for line in ["--add-host db", "--add-host :1.2.3.4", "--add-host db:nowhere"] {
        assert!(refusal(line).contains("add-host"), "{line}");
    }
}

#[test]
fn networks_are_modes_or_names_and_ports_are_read_with_them() {
    use engine::runtime::NetworkMode;
    assert_eq!(request("--network host").network, NetworkMode::Host);
    assert_eq!(request("--net none").network, NetworkMode::None);
    assert_eq!(request("").network, NetworkMode::Named("bridge".to_owned()));
    let made = request("--network backend --net-alias db -p 8080:80 --expose 90");
    assert_eq!(made.network, NetworkMode::Named("backend".to_owned()));
    assert_eq!(made.endpoints[0].aliases, ["db"]);
    assert_eq!((made.publish.len(), made.expose.len()), (1, 1));
    assert!(refusal("-p 8080:x").contains("Invalid containerPort"));
}

#[test]
fn devices_have_limits_and_rules() {
    let made = request("--device-write-bps /dev/sda:1mb --annotation a=b");
    assert_eq!(made.block_limits.write_bytes[0].value, 1 << 20);
    assert_eq!(made.annotations["a"], "b");
    assert!(refusal("--device-cgroup-rule x").contains("device cgroup format"));
    assert!(refusal("--device-read-iops /dev/sda:many").contains("number"));
}

/// Covers: RUN-31
#[test]
fn health_checks_are_read_in_dockers_units() {
    let made = request(
        "--health-cmd true --health-interval 1m30s --health-timeout 500ms --health-retries 4",
    )
    .health;
    assert_eq!(made.test, ["CMD-SHELL", "true"]);
    assert_eq!((made.interval, made.timeout, made.retries), (90_000_000_000, 500_000_000, 4));
    assert_eq!(request("--no-healthcheck").health.test, ["NONE"]);
    assert_eq!(request("").health, Healthcheck::default());
    assert!(refusal("--no-healthcheck --health-cmd x").contains("conflicts"));
    assert!(refusal("--health-interval soon").contains("--health-interval"));
}
