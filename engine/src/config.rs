//! Where this installation keeps its things, and what its environment asks for.
//!
//! The one place below the command line that reads the environment.

use std::env;
use std::path::{Path, PathBuf};

/// What an [`Engine`](crate::Engine) is opened with.
#[derive(Clone, Debug)]
pub struct Config {
    /// The store and the state of containers.
    pub root: PathBuf,
    /// What need not survive a reboot.
    pub run_root: PathBuf,
    /// Policy, trust keys and trusted metadata.
    pub config_dir: PathBuf,
    /// The policy file, where it is not `policy.toml` of the configuration folder.
    pub policy: Option<PathBuf>,
    /// The `registries.conf` that applies, where it is not the configuration folder's or the system's.
    pub registries_conf: Option<PathBuf>,
    /// The folder of Docker's `config.json`.
    pub docker_config: PathBuf,
    /// The executable to re-execute as helper and monitor.
    pub self_exe: PathBuf,
}

/// Environment variables that Wherry reads, with what each is for. The reference page is
/// made of this table.
pub const VARIABLES: &[(&str, &str)] = &[
    (
        "WHERRY_ROOT",
        "store and container state (default /var/lib/wherry, or the XDG data folder without root)",
    ),
    (
        "WHERRY_RUN_ROOT",
        "files that need not survive a reboot (default /run/wherry, or the XDG runtime folder)",
    ),
    (
        "WHERRY_CONFIG_DIR",
        "policy and trust keys (default /etc/wherry for root, or the XDG configuration folder)",
    ),
    ("WHERRY_POLICY", "the policy file (default policy.toml in the configuration folder)"),
    ("WHERRY_TRUST_PASSPHRASE", "passphrase of trust keys where nobody can be asked"),
    ("DOCKER_CONTENT_TRUST_ROOT_PASSPHRASE", "passphrase of root keys, as Docker's"),
    (
        "DOCKER_CONTENT_TRUST_REPOSITORY_PASSPHRASE",
        "passphrase of all other trust keys, as Docker's",
    ),
    ("DOCKER_CONFIG", "folder of config.json with registry credentials (default ~/.docker)"),
    (
        "CONTAINERS_REGISTRIES_CONF",
        "registries.conf with mirrors (default in the configuration folder, else /etc/containers)",
    ),
    (
        "WHERRY_REGISTRY_*",
        "keys of the configuration of `registry serve`, see its reference (WHERRY_REGISTRY_ADDR=127.0.0.1:5000)",
    ),
    ("SOURCE_DATE_EPOCH", "seconds since 1970 that a build stamps instead of now"),
    ("HTTP_PROXY", "proxy for plain HTTP, also http_proxy"),
    ("HTTPS_PROXY", "proxy for HTTPS, also https_proxy"),
    ("NO_PROXY", "hosts that are reached without proxy, also no_proxy"),
];

impl Config {
    /// The configuration that the environment asks for.
    pub fn from_environment() -> Self {
        let root_user = rustix::process::geteuid().is_root();
        let home = path_variable("HOME").unwrap_or_else(|| PathBuf::from("/"));
        let pick = |variable: &str, system: &str, xdg: &str, fallback: &str| {
            path_variable(variable).unwrap_or_else(|| match root_user {
                true => PathBuf::from(system),
                false => path_variable(xdg).unwrap_or_else(|| home.join(fallback)).join("wherry"),
            })
        };
        Self {
            root: pick("WHERRY_ROOT", "/var/lib/wherry", "XDG_DATA_HOME", ".local/share"),
            run_root: pick("WHERRY_RUN_ROOT", "/run/wherry", "XDG_RUNTIME_DIR", ".cache"),
            config_dir: pick("WHERRY_CONFIG_DIR", "/etc/wherry", "XDG_CONFIG_HOME", ".config"),
            policy: path_variable("WHERRY_POLICY"),
            registries_conf: path_variable("CONTAINERS_REGISTRIES_CONF"),
            docker_config: path_variable("DOCKER_CONFIG").unwrap_or_else(|| home.join(".docker")),
            self_exe: PathBuf::from("/proc/self/exe"),
        }
    }

    /// The policy file that applies: the one named, else the configuration folder's.
    pub fn policy_path(&self) -> PathBuf {
        self.policy.clone().unwrap_or_else(|| self.config_dir.join("policy.toml"))
    }

    /// The folder of trust keys and trusted metadata.
    pub fn trust_dir(&self) -> PathBuf {
        self.config_dir.join("trust")
    }

    /// The folder of the content store.
    pub fn store_root(&self) -> &Path {
        &self.root
    }
}

/// The time that `SOURCE_DATE_EPOCH` asks for, or why it cannot be read.
pub fn source_date_epoch() -> Result<Option<jiff::Timestamp>, String> {
    let Some(text) = env::var_os("SOURCE_DATE_EPOCH") else { return Ok(None) };
    let seconds = text.to_str().and_then(|text| text.trim().parse::<i64>().ok());
    seconds
        .and_then(|seconds| jiff::Timestamp::from_second(seconds).ok())
        .map(Some)
        .ok_or_else(|| format!("SOURCE_DATE_EPOCH={}: not a number of seconds", text.display()))
}

/// The variables that set keys of the registry's configuration, in the order of their names.
pub fn registry_variables() -> Vec<(String, String)> {
    let all = env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)));
    let mut ours: Vec<(String, String)> =
        all.filter(|(name, _)| name.starts_with(registry::VARIABLE_PREFIX)).collect();
    ours.sort();
    ours
}

/// A variable, where it is set and not empty.
pub(crate) fn text_variable(name: &str) -> Option<String> {
    env::var(name).ok().filter(|text| !text.is_empty())
}

fn path_variable(name: &str) -> Option<PathBuf> {
    env::var_os(name).filter(|text| !text.is_empty()).map(|text| anchored(PathBuf::from(text)))
}

/// The path from the root of the file system on: a monitor works in another folder than the command that starts it.
pub fn anchored(path: PathBuf) -> PathBuf {
    std::path::absolute(&path).unwrap_or(path)
}
