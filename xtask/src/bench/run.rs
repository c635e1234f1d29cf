//! Area `run`: `run --rm busybox true` without a network, from command to exit.

use std::cell::Cell;
use std::path::Path;
use std::process::Command;

use super::peers::{Containers, Dockerd, bundle};
use super::{Tool, report, take_turns, wherry_command, wherry_import};
use crate::images::Base;
use crate::shell::{self, Result};

pub(super) fn measure(root: &Path, wherry: &Path, disk: &Path, rounds: usize) -> Result<String> {
    let ours = super::fresh(disk, "wherry")?;
    wherry_import(root, wherry, &ours, Base::Busybox, "busybox")?;
    let dockerd = Dockerd::start(disk)?;
    dockerd.import(root, Base::Busybox, "busybox")?;
    let podman = Containers::new("podman", disk)?;
    let tar = crate::images::ensure(root, Base::Busybox)?.to_string_lossy().into_owned();
    shell::read(&mut podman.command(&["import", "--change", "CMD sh", &tar, "localhost/busybox"]))?;
    let bundle = bundle(root, disk)?;
    let number = Cell::new(0_u32);

    let tools = [
        tool("wherry run", || {
            wherry_command(wherry, &ours, &["run", "--rm", "--network", "none", "busybox", "true"])
        }),
        tool(&format!("podman {} run", podman.version()?), || {
            podman.command(&["run", "--rm", "--network", "none", "localhost/busybox", "true"])
        }),
        tool(&format!("docker {} run", dockerd.version()?), || {
            dockerd.docker(&["run", "--rm", "--network", "none", "busybox", "true"])
        }),
        tool("runc run (a ready bundle)", || runtime("exec runc", &bundle, &number)),
        // crun refuses the hybrid cgroup hierarchy: it gets a mount namespace in which there is none.
        tool("crun run (a ready bundle)", || {
            runtime("umount /sys/fs/cgroup/unified 2>/dev/null; exec crun", &bundle, &number)
        }),
    ];
    let measured = take_turns(&tools, rounds);
    Ok(format!(
        "`cargo xtask bench run {rounds}`: `run --rm --network none busybox true`, {rounds} rounds.\n{}.\n\n{}",
        report::machine(),
        report::table(&measured)
    ))
}

fn tool<'a>(name: &str, command: impl Fn() -> Command + 'a) -> Tool<'a> {
    Tool { name: name.to_owned(), prepare: Box::new(|| Ok(())), command: Box::new(command) }
}

/// A bare runtime; both start from the same little shell in a mount namespace of its own, so that they are comparable.
fn runtime(how: &str, bundle: &Path, number: &Cell<u32>) -> Command {
    number.set(number.get() + 1);
    let script = format!("{how} run --bundle \"$0\" wherry-bench-{}", number.get());
    let mut command = Command::new("unshare");
    command.args(["--mount", "sh", "-c", &script]).arg(bundle);
    command
}
