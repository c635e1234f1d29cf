//! What this machine is, for `info` and `version`.

use std::path::Path;

/// The machine and its kernel.
#[derive(Clone, Debug)]
pub struct Machine {
    /// The host name.
    pub name: String,
    /// The distribution, in its own words.
    pub operating_system: String,
    /// The kernel's release.
    pub kernel: String,
    /// The processor, in the kernel's words: `x86_64`.
    pub architecture: String,
    /// How many processors this process may use.
    pub processors: usize,
    /// The memory of the machine.
    pub memory_bytes: u64,
    /// The version of control groups that containers get: 1 or 2.
    pub cgroup_version: u8,
}

impl Machine {
    /// Looks.
    pub fn look() -> Self {
        let kernel = rustix::system::uname();
        let memory = rustix::system::sysinfo();
        let unified = Path::new("/sys/fs/cgroup/cgroup.controllers").exists();
        let release = ["/etc/os-release", "/usr/lib/os-release"]
            .iter()
            .find_map(|path| std::fs::read_to_string(path).ok())
            .unwrap_or_default();
        Self {
            name: kernel.nodename().to_string_lossy().into_owned(),
            operating_system: pretty_name(&release),
            kernel: kernel.release().to_string_lossy().into_owned(),
            architecture: kernel.machine().to_string_lossy().into_owned(),
            processors: std::thread::available_parallelism().map_or(1, usize::from),
            memory_bytes: memory.totalram.saturating_mul(u64::from(memory.mem_unit)),
            cgroup_version: if unified { 2 } else { 1 },
        }
    }
}

/// `PRETTY_NAME` of os-release(5).
fn pretty_name(release: &str) -> String {
    release
        .lines()
        .find_map(|line| line.strip_prefix("PRETTY_NAME="))
        .map_or("Linux", |name| name.trim_matches(['"', '\'']))
        .to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_distribution_is_told_in_its_own_words() {
        for (release, name) in [
            (
                "NAME=x\nPRETTY_NAME=\"Debian GNU/Linux 12 (bookworm)\"\n",
                "Debian GNU/Linux 12 (bookworm)",
            ),
            ("PRETTY_NAME='Void'", "Void"),
            ("NAME=x\n", "Linux"),
            ("", "Linux"),
        ] {
            assert_eq!(pretty_name(release), name);
        }
    }

    #[test]
    fn this_machine_has_a_processor_memory_and_a_kernel() {
        let machine = Machine::look();
        assert!(machine.processors > 0 && machine.memory_bytes > 1 << 20, "{machine:?}");
        assert!(machine.kernel.starts_with(|c: char| c.is_ascii_digit()), "{machine:?}");
    }
}
