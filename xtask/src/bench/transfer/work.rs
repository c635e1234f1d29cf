//! The other way: a container's files become a layer, which is compressed and pushed.

use std::cell::Cell;
use std::fs;
use std::path::PathBuf;
use std::process::Command;
use std::rc::Rc;

use super::{Peers, Site};
use crate::bench::{Tool, fresh, wherry_command};
use crate::shell::{self, Context, Failure, Result};

/// What all tools start from; they pull it, so that each knows that the registry has it.
pub(super) fn base(remote: &str) -> String {
    remote.replace("many-files", "base")
}

/// Copies the files that are mounted at `/in` into the container's own.
const COPY: &str = "cp -a /in/. /srv/";

/// Every tool has a container of the base with the same files in it. In each round one file changes, so that
/// nobody has the layer already.
pub(super) fn tools<'a>(site: &'a Site<'a>, peers: &'a Peers<'a>) -> Result<Vec<Tool<'a>>> {
    let base = base(site.remote);
    let tools = [
        ("umoci repack and skopeo copy", umoci(site, &base)),
        ("podman commit and push", podman(site, peers, &base)),
        ("docker commit and push", docker(site, peers, &base)),
    ];
    let mut all = vec![wherry(site, &base)?];
    all.extend(tools.into_iter().map(|(name, tool)| tool.unwrap_or_else(|why| broken(name, why))));
    Ok(all)
}

/// A peer that could not be prepared: its row says why.
fn broken<'a>(name: &str, why: Failure) -> Tool<'a> {
    let why = why.to_string();
    let last = why.trim_end().lines().next_back().unwrap_or("").to_owned();
    Tool {
        name: name.to_owned(),
        prepare: Box::new(move || Err(Failure::new(last.clone()))),
        command: Box::new(|| Command::new("false")),
    }
}

/// A tag that nobody has pushed yet, and the file that makes the layer a new one.
struct Rounds {
    count: Cell<u32>,
    upper: PathBuf,
    target: String,
}

impl Rounds {
    fn new(site: &Site<'_>, tool: &str, upper: PathBuf) -> Rc<Self> {
        let target =
            site.remote.replace("many-files", &format!("work-{tool}-{}", site.ground.name()));
        Rc::new(Rounds { count: Cell::new(0), upper, target })
    }

    fn next(&self) -> Result<()> {
        self.count.set(self.count.get() + 1);
        let text = format!("round {}\n", self.count.get());
        let path = self.upper.join("srv/round.txt");
        fs::write(&path, text).context(format_args!("write {}", path.display()))
    }

    fn name(&self) -> String {
        let repository =
            self.target.rsplit_once(':').map_or(self.target.as_str(), |(name, _)| name);
        format!("{repository}:{}", self.count.get())
    }
}

fn tool<'a>(
    name: String,
    rounds: &Rc<Rounds>,
    commands: impl Fn(&str) -> [Command; 2] + 'a,
) -> Tool<'a> {
    let (prepared, named) = (rounds.clone(), rounds.clone());
    Tool {
        name,
        prepare: Box::new(move || prepared.next()),
        command: Box::new(move || both(&commands(&named.name()))),
    }
}

/// Two commands as one, with the environment of the first.
fn both(commands: &[Command; 2]) -> Command {
    let [first, second] = commands;
    let script = format!("{} && {}", shell::describe(first), shell::describe(second));
    let mut command = Command::new("sh");
    command.args(["-c", &script]);
    for (name, value) in first.get_envs().filter_map(|(name, value)| Some((name, value?))) {
        command.env(name, value);
    }
    command
}

fn wherry<'a>(site: &'a Site<'a>, base: &str) -> Result<Tool<'a>> {
    let home = fresh(site.ground.path(), "commit")?;
    let mount = format!("{}:/in:ro", site.files.display());
    let run = ["run", "--name", "work", "--network", "none", "-v", &mount, base, "sh", "-c", COPY];
    shell::read(&mut wherry_command(site.wherry, &home, &["pull", "-q", base]))?;
    shell::read(&mut wherry_command(site.wherry, &home, &run))?;
    let id = ["inspect", "--format", "{{.Id}}", "work"];
    let id = shell::read(&mut wherry_command(site.wherry, &home, &id))?.trim().to_owned();
    let rounds = Rounds::new(site, "wherry", home.join("lib/snapshots").join(id).join("upper"));
    Ok(tool("wherry commit and push".to_owned(), &rounds, move |name| {
        [
            wherry_command(site.wherry, &home, &["commit", "work", name]),
            wherry_command(site.wherry, &home, &["push", "-q", name]),
        ]
    }))
}

fn umoci<'a>(site: &'a Site<'a>, base: &str) -> Result<Tool<'a>> {
    let home = fresh(site.ground.path(), "repack")?;
    let (layout, bundle) = (format!("{}/layout", home.display()), home.join("bundle"));
    let bundle_text = bundle.display().to_string();
    let (from, to) = (format!("docker://{base}"), format!("oci:{layout}:base"));
    let copy = ["copy", "-q", "--insecure-policy", "--src-tls-verify=false", &from, &to];
    shell::read(Command::new("skopeo").args(copy))?;
    let image = format!("{layout}:base");
    shell::read(Command::new("umoci").args(["unpack", "--image", &image, &bundle_text]))?;
    let source = format!("{}/.", site.files.display());
    let into = bundle.join("rootfs/srv").display().to_string();
    shell::read(Command::new("cp").args(["-a", &source, &into]))?;
    let rounds = Rounds::new(site, "umoci", bundle.join("rootfs"));
    Ok(tool("umoci repack and skopeo copy".to_owned(), &rounds, move |name| {
        let tag = name.rsplit_once(':').map_or("x", |(_, tag)| tag);
        let mut repack = Command::new("umoci");
        repack.args(["repack", "--image", &format!("{layout}:{tag}"), &bundle_text]);
        let mut push = Command::new("skopeo");
        let (from, to) = (format!("oci:{layout}:{tag}"), format!("docker://{name}"));
        push.args(["copy", "-q", "--insecure-policy", "--dest-tls-verify=false", &from, &to]);
        [repack, push]
    }))
}

fn podman<'a>(site: &'a Site<'a>, peers: &'a Peers<'a>, base: &str) -> Result<Tool<'a>> {
    let podman = peers.podman;
    let policy = podman.policy();
    shell::read(&mut podman.command(&["pull", "-q", "--tls-verify=false", &policy, base]))?;
    let create = ["create", "--name", "work", "--network", "none", base, "true"];
    shell::read(&mut podman.command(&create))?;
    let source = format!("{}/.", site.files.display());
    shell::read(&mut podman.command(&["cp", &source, "work:/srv/"]))?;
    let upper = ["inspect", "--format", "{{.GraphDriver.Data.UpperDir}}", "work"];
    let upper = shell::read(&mut podman.command(&upper))?.trim().to_owned();
    let rounds = Rounds::new(site, "podman", upper.into());
    let name = format!("podman {} commit and push", podman.version()?);
    Ok(tool(name, &rounds, move |name| {
        [
            podman.command(&["commit", "-q", "work", name]),
            podman.command(&["push", "-q", "--tls-verify=false", &policy, name]),
        ]
    }))
}

fn docker<'a>(site: &'a Site<'a>, peers: &'a Peers<'a>, base: &str) -> Result<Tool<'a>> {
    let dockerd = peers.dockerd;
    let mount = format!("{}:/in:ro", site.files.display());
    shell::read(&mut dockerd.docker(&["pull", "-q", base]))?;
    let run = ["run", "--name", "work", "--network", "none", "-v", &mount, base, "sh", "-c", COPY];
    shell::read(&mut dockerd.docker(&run))?;
    let upper = ["inspect", "--format", "{{.GraphDriver.Data.UpperDir}}", "work"];
    let upper = shell::read(&mut dockerd.docker(&upper))?.trim().to_owned();
    let rounds = Rounds::new(site, "docker", upper.into());
    let name = format!("docker {} commit and push", dockerd.version()?);
    Ok(tool(name, &rounds, move |name| {
        [dockerd.docker(&["commit", "work", name]), dockerd.docker(&["push", "-q", name])]
    }))
}
