//! Linux capabilities by name, and Docker's rules for `--cap-add`, `--cap-drop` and `--privileged`.

use std::collections::BTreeSet;

use crate::error::{Error, Result};

/// Names in the order of their kernel numbers (`linux/capability.h`), without the prefix `CAP_`.
const NAMES: [&str; 41] = [
    "CHOWN",
    "DAC_OVERRIDE",
    "DAC_READ_SEARCH",
    "FOWNER",
    "FSETID",
    "KILL",
    "SETGID",
    "SETUID",
    "SETPCAP",
    "LINUX_IMMUTABLE",
    "NET_BIND_SERVICE",
    "NET_BROADCAST",
    "NET_ADMIN",
    "NET_RAW",
    "IPC_LOCK",
    "IPC_OWNER",
    "SYS_MODULE",
    "SYS_RAWIO",
    "SYS_CHROOT",
    "SYS_PTRACE",
    "SYS_PACCT",
    "SYS_ADMIN",
    "SYS_BOOT",
    "SYS_NICE",
    "SYS_RESOURCE",
    "SYS_TIME",
    "SYS_TTY_CONFIG",
    "MKNOD",
    "LEASE",
    "AUDIT_WRITE",
    "AUDIT_CONTROL",
    "SETFCAP",
    "MAC_OVERRIDE",
    "MAC_ADMIN",
    "SYSLOG",
    "WAKE_ALARM",
    "BLOCK_SUSPEND",
    "AUDIT_READ",
    "PERFMON",
    "BPF",
    "CHECKPOINT_RESTORE",
];

/// What a container gets when nothing is asked for: Docker's fourteen.
const DEFAULT: [&str; 14] = [
    "CHOWN",
    "DAC_OVERRIDE",
    "FSETID",
    "FOWNER",
    "MKNOD",
    "NET_RAW",
    "SETGID",
    "SETUID",
    "SETFCAP",
    "SETPCAP",
    "NET_BIND_SERVICE",
    "SYS_CHROOT",
    "KILL",
    "AUDIT_WRITE",
];

/// One capability of the kernel.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Capability(u8);

impl Capability {
    /// By name, with or without `CAP_`, in any case.
    pub fn parse(name: &str) -> Option<Self> {
        let upper = name.to_ascii_uppercase();
        let bare = upper.strip_prefix("CAP_").unwrap_or(&upper);
        NAMES
            .iter()
            .position(|known| *known == bare)
            .and_then(|number| u8::try_from(number).ok())
            .map(Self)
    }

    /// Its number in the kernel.
    pub fn number(self) -> u8 {
        self.0
    }

    /// Its name with the prefix `CAP_`.
    pub fn name(self) -> String {
        format!("CAP_{}", NAMES[usize::from(self.0)])
    }
}

/// A set of capabilities.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Capabilities(u64);

impl Capabilities {
    /// None at all.
    pub const NONE: Self = Self(0);

    /// Docker's fourteen.
    pub fn docker_default() -> Self {
        DEFAULT.iter().filter_map(|name| Capability::parse(name)).collect()
    }

    /// All that this program knows and that the kernel grants to it (its bounding set).
    pub fn all() -> Self {
        (0..NAMES.len())
            .filter_map(|number| u8::try_from(number).ok())
            .map(Capability)
            .filter(|capability| in_bounding_set(*capability))
            .collect()
    }

    /// The set as the kernel's bit mask.
    pub fn bits(self) -> u64 {
        self.0
    }

    /// The set with the bits of a kernel mask.
    pub fn from_bits(bits: u64) -> Self {
        Self(bits & ((1 << NAMES.len()) - 1))
    }

    /// Whether the capability is in the set.
    pub fn contains(self, capability: Capability) -> bool {
        self.0 & (1 << capability.0) != 0
    }

    /// Whether the capability of that name is in the set.
    pub fn contains_name(self, name: &str) -> bool {
        Capability::parse(name).is_some_and(|capability| self.contains(capability))
    }

    /// The members in the order of their numbers.
    pub fn iter(self) -> impl Iterator<Item = Capability> {
        (0..NAMES.len())
            .filter_map(|n| u8::try_from(n).ok())
            .map(Capability)
            .filter(move |c| self.contains(*c))
    }

    /// Docker's rules: `ALL` on either side is applied first, then single names win over it; privileged has all.
    ///
    /// # Errors
    /// An unknown name, named together with the option it came from.
    pub fn resolve(add: &[String], drop: &[String], grant: Grant) -> Result<Self> {
        let added = parse_list("--cap-add", add)?;
        let dropped = parse_list("--cap-drop", drop)?;
        if grant == Grant::Everything {
            return Ok(Self::all());
        }
        let base = match (added.all, dropped.all) {
            (_, true) if !added.all => Self::NONE,
            (true, _) => Self::all(),
            _ => Self::docker_default(),
        };
        let without = Self(base.0 & !dropped.named.0);
        Ok(Self((without.0 | added.named.0) & !(dropped.named.0 & !added.named.0)))
    }
}

impl FromIterator<Capability> for Capabilities {
    fn from_iter<I: IntoIterator<Item = Capability>>(members: I) -> Self {
        Self(members.into_iter().fold(0, |bits, capability| bits | 1 << capability.0))
    }
}

/// How much a container is trusted with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Grant {
    /// The default set, changed by `--cap-add` and `--cap-drop`.
    Listed,
    /// `--privileged`.
    Everything,
}

struct Names {
    all: bool,
    named: Capabilities,
}

fn parse_list(option: &'static str, names: &[String]) -> Result<Names> {
    let mut seen = BTreeSet::new();
    let mut all = false;
    for name in names {
        if name.eq_ignore_ascii_case("ALL") || name.eq_ignore_ascii_case("CAP_ALL") {
            all = true;
            continue;
        }
        let capability = Capability::parse(name).ok_or_else(|| {
            Error::invalid(
                option,
                name.as_str(),
                "unknown capability; see capabilities(7) for the names",
            )
        })?;
        seen.insert(capability);
    }
    Ok(Names { all, named: seen.into_iter().collect() })
}

fn in_bounding_set(capability: Capability) -> bool {
    let bit = rustix::thread::CapabilitySet::from_bits_retain(1 << capability.0);
    rustix::thread::capability_is_in_bounding_set(bit).unwrap_or(false)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn strings(names: &[&str]) -> Vec<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    /// Covers: RUN-9, B07-05
    #[test]
    fn the_default_set_is_dockers_fourteen() {
        let set = Capabilities::docker_default();
        assert_eq!(set.iter().count(), 14);
        assert_eq!(
            format!("{:016x}", set.bits()),
            "00000000a80425fb",
            "the mask every Docker container shows"
        );
    }

    /// Covers: RUN-9
    #[test]
    fn add_and_drop_follow_dockers_order() {
        let default = Capabilities::docker_default().bits();
        let chown = 1 << 0;
        let admin = 1 << 21;
        let all = Capabilities::all().bits();
        let table: &[(&[&str], &[&str], u64)] = &[
            (&[], &[], default),
            (&["sys_admin"], &[], default | admin),
            (&["CAP_SYS_ADMIN"], &["CHOWN"], (default & !chown) | admin),
            (&[], &["ALL"], 0),
            (&["CHOWN"], &["ALL"], chown),
            (&["ALL"], &["CHOWN"], all & !chown),
            (&["ALL"], &[], all),
        ];
        for (add, drop, expected) in table {
            let got = Capabilities::resolve(&strings(add), &strings(drop), Grant::Listed).unwrap();
            assert_eq!(got.bits(), *expected, "add {add:?} drop {drop:?}");
        }
    }

    #[test]
    fn an_unknown_capability_is_refused_with_its_option() {
        let error =
            Capabilities::resolve(&[], &strings(&["SYS_ADMON"]), Grant::Listed).unwrap_err();
        assert_eq!(
            error.to_string(),
            "invalid --cap-drop \"SYS_ADMON\": unknown capability; see capabilities(7) for the names"
        );
    }
}
