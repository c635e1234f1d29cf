use super::*;

fn facts() -> Facts {
    Facts {
        rootfs: "/run/x/rootfs".into(),
        identity: Identity { uid: 0, gid: 0, groups: Vec::new(), home: "/root".into() },
        cgroups: CgroupLayout::V1,
        swap_limits: true,
        devices: Vec::new(),
        joined: BTreeMap::new(),
        host_files: vec![("/etc/hosts", "/state/hosts".into())],
        ipc_of: None,
        joined_shm: None,
        cgroup_view: None,
        subpaths: BTreeMap::new(),
        throttle_counters: 1,
    }
}

fn spec_of(options: &RunOptions, facts: &Facts) -> Result<Value> {
    let args = ["true".to_owned()];
    let plan = Plan {
        id: "abc",
        hostname: "abc",
        args: &args,
        env: vec!["PATH=/bin".into()],
        workdir: Path::new("/"),
        options,
        annotations: BTreeMap::new(),
    };
    build(&plan, facts).map(|spec| serde_json::to_value(spec).unwrap())
}

fn mount_at<'a>(spec: &'a Value, target: &str) -> Option<&'a Value> {
    spec["mounts"].as_array().unwrap().iter().find(|mount| mount["destination"] == target)
}

fn namespace_names(spec: &Value) -> Vec<&str> {
    spec["linux"]["namespaces"]
        .as_array()
        .unwrap()
        .iter()
        .map(|ns| ns["type"].as_str().unwrap())
        .collect()
}

/// Covers: RUN-6, RUN-46, B07-05
#[test]
fn the_default_container_has_dockers_mounts_masks_and_namespaces() {
    let spec = spec_of(&RunOptions::default(), &facts()).unwrap();
    let targets: Vec<&str> = spec["mounts"]
        .as_array()
        .unwrap()
        .iter()
        .map(|mount| mount["destination"].as_str().unwrap())
        .collect();
    assert_eq!(
        targets,
        [
            "/proc",
            "/dev",
            "/dev/pts",
            "/sys",
            "/sys/fs/cgroup",
            "/dev/mqueue",
            "/dev/shm",
            "/etc/hosts"
        ]
    );
    assert!(
        mount_at(&spec, "/dev/shm").unwrap()["options"]
            .as_array()
            .unwrap()
            .contains(&json!("size=67108864"))
    );
    assert!(mount_at(&spec, "/sys").unwrap()["options"].as_array().unwrap().contains(&json!("ro")));
    let masked = spec["linux"]["maskedPaths"].as_array().unwrap();
    for path in [
        "/proc/kcore",
        "/proc/keys",
        "/proc/interrupts",
        "/sys/firmware",
        "/sys/devices/virtual/powercap",
    ] {
        assert!(masked.contains(&json!(path)), "{path} must be masked");
    }
    assert!(masked.contains(&json!("/sys/devices/system/cpu/cpu0/thermal_throttle")));
    assert_eq!(spec["linux"]["readonlyPaths"].as_array().unwrap().len(), 5);
    assert_eq!(namespace_names(&spec), ["mount", "pid", "ipc", "uts", "network"]);
    assert!(
        spec["process"].get("capabilities").is_none(),
        "the executor drops them after the filter is installed"
    );
    assert!(
        spec["process"].get("noNewPrivileges").is_none(),
        "an explicit false confuses the library underneath"
    );
    assert_eq!(spec["linux"]["cgroupsPath"], "/wherry/abc");
}

#[test]
fn namespaces_follow_the_modes() {
    let mut options = RunOptions {
        network: NetworkMode::Host,
        pid: NamespaceMode::Host,
        ..RunOptions::default()
    };
    let mut facts = facts();
    assert_eq!(namespace_names(&spec_of(&options, &facts).unwrap()), ["mount", "ipc", "uts"]);
    facts.cgroups = CgroupLayout::V2;
    options.network = NetworkMode::Namespace("/run/netns/x".into());
    let spec = spec_of(&options, &facts).unwrap();
    assert_eq!(namespace_names(&spec), ["mount", "ipc", "uts", "cgroup", "network"]);
    assert_eq!(spec["linux"]["namespaces"][4]["path"], "/run/netns/x");
    options.uts = NamespaceMode::Host;
    assert!(spec_of(&options, &facts).unwrap().get("hostname").is_none());
}

/// Covers: RUN-18
#[test]
fn devices_are_denied_first_and_fuse_stays_denied() {
    let mut facts = facts();
    facts.devices.push(DeviceNode {
        path: "/dev/x".into(),
        kind: 'c',
        major: 10,
        minor: 200,
        mode: 0o20666,
        uid: 0,
        gid: 0,
        permissions: "rw".into(),
    });
    let spec = spec_of(&RunOptions::default(), &facts).unwrap();
    let rules = spec["linux"]["resources"]["devices"].as_array().unwrap();
    assert_eq!(rules[0]["allow"], false);
    assert!(
        rules
            .iter()
            .any(|rule| rule["major"] == 10 && rule["minor"] == 229 && rule["allow"] == false)
    );
    let last = rules.last().unwrap();
    assert_eq!((&last["major"], &last["access"]), (&json!(10), &json!("rw")));
    assert_eq!(spec["linux"]["devices"][0]["path"], "/dev/x");
    let privileged = RunOptions { privileged: true, ..RunOptions::default() };
    let spec = spec_of(&privileged, &facts).unwrap();
    assert!(
        spec["linux"].get("maskedPaths").is_none_or(Value::is_null),
        "privileged masks nothing"
    );
    assert_eq!(spec["linux"]["resources"]["devices"].as_array().unwrap().len(), 1);
}

/// Covers: RUN-16, RUN-17
#[test]
fn resources_follow_dockers_arithmetic() {
    let with = |change: fn(&mut Resources)| {
        let mut options = RunOptions::default();
        change(&mut options.resources);
        spec_of(&options, &facts())
    };
    let spec = with(|limits| limits.memory = Some(64 << 20)).unwrap();
    assert_eq!(
        spec["linux"]["resources"]["memory"]["swap"],
        128 << 20,
        "unset means twice the memory"
    );
    let spec =
        with(|limits| (limits.memory, limits.memory_swap) = (Some(64 << 20), Some(-1))).unwrap();
    assert_eq!(spec["linux"]["resources"]["memory"]["swap"], -1);
    let spec = with(|limits| limits.nano_cpus = Some(1_500_000_000)).unwrap();
    assert_eq!(spec["linux"]["resources"]["cpu"]["quota"], 150_000);
    let spec = with(|limits| limits.pids = Some(20)).unwrap();
    assert_eq!(spec["linux"]["resources"]["pids"]["limit"], 20);
    assert!(
        with(|limits| limits.pids = Some(-1)).unwrap()["linux"]["resources"]
            .get("pids")
            .is_none_or(Value::is_null)
    );
    assert!(with(|limits| limits.memory = Some(1 << 20)).is_err());
    assert!(with(|limits| limits.memory_swap = Some(1 << 30)).is_err());
    assert!(
        with(|limits| (limits.memory, limits.memory_swap) = (Some(64 << 20), Some(1 << 20)))
            .is_err()
    );
    assert!(
        with(|limits| (limits.nano_cpus, limits.cpu_quota) = (Some(1_000_000_000), Some(5)))
            .is_err()
    );
}

/// Covers: RUN-45, RUN-46
#[test]
fn requested_mounts_replace_defaults_and_come_in_order_of_depth() {
    let bind = |source: &str, target: &str| MountRequest {
        kind: MountKind::Bind {
            source: source.into(),
            missing: crate::mounts::MissingSource::Refuse,
        },
        target: target.into(),
        access: Access::ReadOnly,
        propagation: "rprivate".into(),
    };
    let options = RunOptions {
        mounts: vec![
            bind("/a", "/data/deep"),
            bind("/b", "/data"),
            bind("/c", "/etc/hosts"),
            bind("/d", "/dev/shm"),
        ],
        ..RunOptions::default()
    };
    let spec = spec_of(&options, &facts()).unwrap();
    let all: Vec<&str> = spec["mounts"]
        .as_array()
        .unwrap()
        .iter()
        .map(|mount| mount["source"].as_str().unwrap())
        .collect();
    assert_eq!(all[6..], ["/b", "/a", "/c", "/d"]);
    // What is mounted below comes along, and cannot be written either.
    let options = mount_at(&spec, "/data").unwrap()["options"].clone();
    assert_eq!(options, json!(["rbind", "rprivate", "ro", "rro"]));
    let options = RunOptions {
        mounts: vec![crate::mounts::parse_tmpfs("/t:size=1m,exec").unwrap()],
        ..RunOptions::default()
    };
    let spec = spec_of(&options, &facts()).unwrap();
    assert_eq!(
        mount_at(&spec, "/t").unwrap()["options"],
        json!(["nosuid", "nodev", "rw", "size=1m"])
    );
}

#[test]
fn the_environment_gets_hostname_home_and_term_unless_set() {
    let env = complete_env(&["PATH=/bin".into(), "HOME=/mine".into()], "box", "/root", true);
    assert_eq!(env, ["PATH=/bin", "HOME=/mine", "HOSTNAME=box", "TERM=xterm"]);
    assert_eq!(complete_env(&[], "box", "/", false), ["HOSTNAME=box", "HOME=/"]);
}
