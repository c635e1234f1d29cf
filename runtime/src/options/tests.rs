use super::*;

/// Covers: B07-26, B07-31, RUN-30
#[test]
fn restart_policies_read_as_docker_writes_them() {
    let good = [
        ("no", RestartPolicy::No),
        ("", RestartPolicy::No),
        ("always", RestartPolicy::Always),
        ("unless-stopped", RestartPolicy::UnlessStopped),
        ("on-failure", RestartPolicy::OnFailure(0)),
        ("on-failure:3", RestartPolicy::OnFailure(3)),
    ];
    for (text, expected) in good {
        assert_eq!(text.parse::<RestartPolicy>().unwrap(), expected);
    }
    for text in ["sometimes", "always:3", "on-failure:x", "on-failure:-1", "no:0"] {
        assert!(text.parse::<RestartPolicy>().is_err(), "{text} must be refused");
    }
}

/// Covers: B07-27, B07-31, RUN-30
#[test]
fn a_policy_decides_by_exit_code_and_count() {
    let table = [
        (RestartPolicy::No, 1, 0, false),
        (RestartPolicy::Always, 0, 7, true),
        (RestartPolicy::UnlessStopped, 137, 7, true),
        (RestartPolicy::OnFailure(0), 1, 900, true),
        (RestartPolicy::OnFailure(0), 0, 0, false),
        (RestartPolicy::OnFailure(2), 1, 1, true),
        (RestartPolicy::OnFailure(2), 1, 2, false),
    ];
    for (policy, code, restarts, expected) in table {
        assert_eq!(policy.wants_restart(code, restarts), expected, "{policy:?} {code} {restarts}");
    }
}

#[test]
fn ulimits_read_soft_and_hard() {
    let limit: Ulimit = "nofile=1024:2048".parse().unwrap();
    assert_eq!((limit.name(), limit.soft(), limit.hard()), ("nofile", 1024, 2048));
    let limit: Ulimit = "core=-1".parse().unwrap();
    assert_eq!((limit.soft(), limit.hard()), (u64::MAX, u64::MAX));
    for bad in ["nofile", "files=1", "nofile=2:1", "nofile=x", "nofile=1:"] {
        assert!(bad.parse::<Ulimit>().is_err(), "{bad} must be refused");
    }
}

#[test]
fn devices_read_paths_and_permissions() {
    let table = [
        ("/dev/fuse", "/dev/fuse", "/dev/fuse", "rwm"),
        ("/dev/fuse:r", "/dev/fuse", "/dev/fuse", "r"),
        ("/dev/a:/dev/b", "/dev/a", "/dev/b", "rwm"),
        ("/dev/a:/dev/b:rw", "/dev/a", "/dev/b", "rw"),
    ];
    for (text, host, container, mode) in table {
        let device: Device = text.parse().unwrap();
        assert_eq!(
            device,
            Device { host: host.into(), container: container.into(), permissions: mode.into() }
        );
    }
    for bad in ["fuse", "/dev/a:b", "/dev/a:/dev/b:x", ""] {
        assert!(bad.parse::<Device>().is_err(), "{bad} must be refused");
    }
}

/// Covers: RUN-35
#[test]
fn logs_are_bounded_by_default_and_options_are_checked() {
    let log = LogOptions::parse(None, &[]).unwrap();
    assert!(log.max_size() < u64::MAX);
    let pair = |key: &str, value: &str| (key.to_owned(), value.to_owned());
    let log =
        LogOptions::parse(Some("json-file"), &[pair("max-size", "10m"), pair("max-file", "3")])
            .unwrap();
    assert_eq!((log.max_size(), log.max_files()), (10 << 20, 3));
    assert_eq!(LogOptions::parse(None, &[pair("max-size", "-1")]).unwrap().max_size(), u64::MAX);
    assert!(LogOptions::parse(Some("splunk"), &[]).is_err());
    assert!(LogOptions::parse(None, &[pair("max-size", "10q")]).is_err());
    assert!(LogOptions::parse(None, &[pair("max-file", "0")]).is_err());
    assert!(LogOptions::parse(None, &[pair("tag", "x")]).is_err());
}

#[test]
fn a_network_is_a_mode_or_a_name() {
    for (text, mode) in [
        ("host", NetworkMode::Host),
        ("none", NetworkMode::None),
        ("default", NetworkMode::Named("bridge".to_owned())),
        ("localnet", NetworkMode::Named("localnet".to_owned())),
        ("container:web", NetworkMode::Container("web".to_owned())),
        ("ns:/run/netns/x", NetworkMode::Namespace("/run/netns/x".into())),
    ] {
        assert_eq!(text.parse::<NetworkMode>().unwrap(), mode, "{text}");
    }
    for bad in ["", "container:", "ns:relative", "bridge:x"] {
        let error = bad.parse::<NetworkMode>().unwrap_err().to_string();
        assert!(error.contains("the name of a network"), "{bad}: {error}");
    }
}
