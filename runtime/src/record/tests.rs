use super::*;
use crate::options::{NamespaceMode, RestartPolicy};

fn words(text: &str) -> Vec<String> {
    text.split_whitespace().map(str::to_owned).collect()
}

fn request(entrypoint: Option<&str>, cmd: Option<&str>) -> CreateRequest {
    let image_config = ContainerConfig {
        entrypoint: entrypoint.map(words),
        cmd: cmd.map(words),
        env: words("A=1 B=2"),
        working_dir: "/app".into(),
        user: "web".into(),
        ..ContainerConfig::default()
    };
    CreateRequest {
        id: ContainerId::generate().unwrap(),
        name: None,
        image: "img".into(),
        image_id: "sha256:0".into(),
        image_config,
        options: RunOptions::default(),
        rootfs: RootFs::Path { path: "/".into() },
        cleanup: Vec::new(),
    }
}

fn record(request: CreateRequest) -> Result<Record> {
    Record::new(request, "name".into(), Timestamp::UNIX_EPOCH)
}

/// Covers: RUN-49, B07-34, B07-35
#[test]
fn entrypoint_and_command_merge_by_dockers_table() {
    type Case = (
        Option<&'static str>,
        Option<&'static str>,
        Option<&'static [&'static str]>,
        &'static str,
        &'static str,
    );
    let table: &[Case] = &[
        (None, Some("sh"), None, "", "sh"),
        (None, Some("sh"), None, "ls -l", "ls -l"),
        (Some("tini --"), Some("serve"), None, "", "tini -- serve"),
        (Some("tini --"), Some("serve"), None, "sh", "tini -- sh"),
        (Some("tini --"), Some("serve"), Some(&["cat"]), "", "cat"),
        (Some("tini --"), Some("serve"), Some(&["cat"]), "/etc/hosts", "cat /etc/hosts"),
        (Some("tini --"), Some("serve"), Some(&[""]), "ls", "ls"),
    ];
    for (entrypoint, cmd, replaced, given, expected) in table {
        let mut request = request(*entrypoint, *cmd);
        request.options.command = words(given);
        request.options.entrypoint =
            replaced.map(|list| list.iter().map(|word| (*word).to_owned()).collect());
        assert_eq!(
            record(request).unwrap().args.join(" "),
            *expected,
            "{entrypoint:?} {cmd:?} {replaced:?} {given}"
        );
    }
    assert!(matches!(record(request(None, None)), Err(Error::NoCommand)));
    let mut reset = request(Some("tini"), Some("serve"));
    reset.options.entrypoint = Some(vec![String::new()]);
    assert!(
        matches!(record(reset), Err(Error::NoCommand)),
        "an empty entrypoint forgets the image's command too"
    );
}

#[test]
fn the_environment_is_replaced_removed_and_gets_a_path() {
    let mut request = request(None, Some("sh"));
    request.options.env = words("B=3 A C=4");
    let env = record(request).unwrap().env;
    assert_eq!(env[0], DEFAULT_PATH);
    assert_eq!(env[1..], words("B=3 C=4"));
}

#[test]
fn user_workdir_and_stop_signal_come_from_the_image_unless_given() {
    let plain = record(request(None, Some("sh"))).unwrap();
    assert_eq!(
        (plain.user.as_str(), plain.workdir.to_str(), plain.stop_signal),
        ("web", Some("/app"), Signal::TERM)
    );
    assert_eq!(plain.stop_timeout(), Some(10));
    let mut changed = request(None, Some("sh"));
    changed.options.user = Some("0:0".into());
    changed.options.workdir = Some("/tmp".into());
    changed.options.stop_timeout = Some(-1);
    changed.image_config.stop_signal = Some("SIGQUIT".into());
    let changed = record(changed).unwrap();
    assert_eq!(
        (changed.user.as_str(), changed.workdir.to_str(), changed.stop_signal.number()),
        ("0:0", Some("/tmp"), 3)
    );
    assert_eq!(changed.stop_timeout(), None);
    let mut relative = request(None, Some("sh"));
    relative.options.workdir = Some("tmp".into());
    assert!(record(relative).is_err());
}

/// Covers: RUN-30
#[test]
fn rm_and_restart_contradict_each_other() {
    let mut both = request(None, Some("sh"));
    both.options.auto_remove = true;
    both.options.restart = RestartPolicy::Always;
    assert_eq!(
        record(both).unwrap_err().to_string(),
        "conflicting options: cannot specify both --restart and --rm"
    );
    let mut uts = request(None, Some("sh"));
    uts.options.hostname = Some("box".into());
    uts.options.uts = NamespaceMode::Host;
    assert!(record(uts).is_err());
}
