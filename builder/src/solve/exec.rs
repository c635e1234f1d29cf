//! RUN: the mounts, secrets and environment of a step, the call of the worker, and what must not stay behind.

use std::collections::VecDeque;
use std::fs::{File, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::{Path, PathBuf};

use store::Access;

use super::bench::Bench;
use super::lines::Line;
use super::sources::Tree;
use super::worker::{Node, Solver};
use crate::cache::mounts::{self, CacheMount};
use crate::context::ignore::Patterns;
use crate::error::{Error, Result};
use crate::frontend::Security;
use crate::graph::{CopyFrom, CopyItem, RunMount, RunOp, Vertex};
use crate::limits;
use crate::ports::{LogStream, StepMount, StepMountSource, StepRun};
use crate::tree::{Destination, Owner, Root, WriteOptions};

/// Lines of output that an error repeats.
const TAIL_LINES: usize = 20;
/// What every container gets mounted or written into its root; none of it belongs to a layer.
const STANDARD_TARGETS: [&str; 8] = [
    "/proc",
    "/sys",
    "/dev",
    "/etc/resolv.conf",
    "/etc/hosts",
    "/etc/hostname",
    "/run/secrets",
    "/run/buildkit",
];
/// The host name of every step: the same everywhere, so that nothing depends on the machine.
pub(super) const HOSTNAME: &str = "buildkitsandbox";

/// Things that live as long as the step.
#[derive(Default)]
struct Prepared {
    mounts: Vec<StepMount>,
    env: Vec<(String, String)>,
    caches: Vec<CacheMount>,
    throwaway: Vec<store::SnapshotKey>,
    memory: Option<PathBuf>,
    masked: Vec<Vec<u8>>,
}

impl Solver<'_> {
    /// Runs the command of a RUN step in `rootfs`.
    pub(super) fn run_step(
        &self,
        node: Node,
        vertex: &Vertex,
        run: &RunOp,
        rootfs: &Path,
        bench: &mut Option<Bench>,
        line: &Line<'_>,
    ) -> Result<()> {
        if run.security == Security::Insecure && !self.request.allow_insecure {
            return Err(self.refuse(
                vertex,
                "security.insecure is not allowed: start the build with --allow security.insecure"
                    .to_owned(),
            ));
        }
        let root = self.root(vertex, rootfs)?;
        let user = self
            .accounts(vertex, &root)?
            .process(&run.user)
            .map_err(|e| self.account_error(vertex, e))?;
        let mut prepared = Prepared {
            env: run.env.iter().chain(&run.proxy_env).cloned().collect(),
            ..Prepared::default()
        };
        let done = self.prepare_mounts(node, vertex, run, &mut prepared, bench).and_then(|()| {
            let home = user
                .home
                .clone()
                .unwrap_or_else(|| if user.uid == 0 { "/root".to_owned() } else { "/".to_owned() });
            default_env(&mut prepared.env, "HOME", &home);
            let stubs = Stubs::before(&root, &prepared.mounts);
            self.make_cwd(vertex, &root, &run.cwd)?;
            let step = StepRun {
                rootfs,
                args: &run.args,
                env: &prepared.env,
                cwd: &run.cwd,
                user: &user,
                hostname: run.hostname.as_deref().unwrap_or(HOSTNAME),
                network: run.network,
                security: run.security,
                mounts: &prepared.mounts,
                extra_hosts: &self.request.extra_hosts,
                limits: &self.request.limits,
                platform: &run.platform,
                cancel: &self.request.cancel,
            };
            let ended = self.call_worker(vertex, &step, &prepared.masked, line);
            stubs.remove(&root).map_err(|e| self.io(vertex, "clean up", rootfs, e))?;
            ended
        });
        for key in &prepared.throwaway {
            self.snapshots.remove(key)?;
        }
        done
    }

    fn make_cwd(&self, vertex: &Vertex, root: &Root, cwd: &str) -> Result<()> {
        let mut destination = Destination::new(root, WriteOptions::default());
        destination
            .make_folders(Path::new(cwd.trim_start_matches('/')))
            .map(|_| ())
            .map_err(|e| self.copy_error(vertex, root.path(), e))
    }

    fn call_worker(
        &self,
        vertex: &Vertex,
        step: &StepRun<'_>,
        masked: &[Vec<u8>],
        line: &Line<'_>,
    ) -> Result<()> {
        let mut tail = Tail::default();
        let mut log = |stream: LogStream, bytes: &[u8]| {
            let shown = mask(bytes, masked);
            tail.add(&shown);
            line.log(stream, &shown);
        };
        let exit = self
            .ports
            .worker
            .run(step, &mut log)
            .map_err(|source| Error::Worker { step: vertex.name.clone(), source })?;
        if self.request.cancel.is_cancelled() {
            return Err(Error::Cancelled);
        }
        if exit.out_of_memory {
            return Err(self.refuse(
                vertex,
                format!(
                    "the command was killed for want of memory (exit code {}); raise --memory",
                    exit.code
                ),
            ));
        }
        if exit.code != 0 {
            return Err(Error::StepFailed {
                step: vertex.name.clone(),
                command: step.args.join(" "),
                code: exit.code,
                excerpt: self.excerpt(vertex),
                log_tail: tail.finish(),
            });
        }
        Ok(())
    }

    fn prepare_mounts(
        &self,
        node: Node,
        vertex: &Vertex,
        run: &RunOp,
        prepared: &mut Prepared,
        bench: &mut Option<Bench>,
    ) -> Result<()> {
        for mount in &run.mounts {
            match mount {
                RunMount::Bind { target, from, source, writable } => {
                    let (path, access) =
                        self.bind_source(node, vertex, from, source, *writable, prepared, bench)?;
                    prepared.mounts.push(StepMount {
                        target: target.clone(),
                        source: StepMountSource::Bind { path, access },
                    });
                }
                RunMount::Cache { .. } => self.cache_mount(node, vertex, mount, prepared, bench)?,
                RunMount::Tmpfs { target, size } => {
                    prepared.mounts.push(StepMount {
                        target: target.clone(),
                        source: StepMountSource::Tmpfs { size: *size, mode: 0o1777 },
                    });
                }
                RunMount::Secret { .. } => self.secret_mount(vertex, mount, prepared, bench)?,
                RunMount::Ssh { .. } => self.ssh_mount(vertex, mount, prepared)?,
                RunMount::Inline { target, content } => {
                    let path =
                        self.in_memory(vertex, prepared, bench, content.as_bytes(), 0o755, (0, 0))?;
                    prepared.mounts.push(StepMount {
                        target: target.clone(),
                        source: StepMountSource::Bind { path, access: Access::View },
                    });
                }
            }
        }
        Ok(())
    }

    /// The folder or file on the host that a bind mount shows.
    #[allow(clippy::too_many_arguments)]
    fn bind_source(
        &self,
        node: Node,
        vertex: &Vertex,
        from: &CopyFrom,
        source: &str,
        writable: bool,
        prepared: &mut Prepared,
        bench: &mut Option<Bench>,
    ) -> Result<(PathBuf, Access)> {
        let access = if writable { Access::Writable } else { Access::View };
        let missing = |place: &str| Error::SourceNotFound {
            step: vertex.name.clone(),
            path: format!("/{source}"),
            place: place.to_owned(),
            ignored: false,
        };
        if let CopyFrom::Vertex(id) = from {
            let layer = self.ready_layer(Node { graph: node.graph, vertex: *id })?;
            let mounted = match (layer, writable) {
                (Some(layer), false) => self.bench(bench)?.view(self.store, &layer)?,
                (layer, _) => {
                    // Writes go to a snapshot that is thrown away.
                    let key = self.session.snapshot_key()?;
                    let mounts = self.snapshots.prepare(&key, layer.as_ref())?;
                    prepared.throwaway.push(key);
                    self.bench(bench)?.mount(&mounts)?
                }
            };
            let root = self.root(vertex, &mounted)?;
            let inner = root
                .resolve(Path::new(source))
                .map_err(|e| self.io(vertex, "read", &mounted, e))?;
            return match root.stat(&inner).map_err(|e| self.io(vertex, "read", &mounted, e))? {
                Some(_) => Ok((mounted.join(inner), access)),
                None => Err(missing("the source file system")),
            };
        }
        let tree = match from {
            CopyFrom::Named(name) => Tree::Folder(Some(name.clone())),
            CopyFrom::Scratch => Tree::Empty,
            _ => Tree::Folder(None),
        };
        let copy_to = self.session.temporary();
        self.with_tree(vertex, &tree, bench, |root, folder| {
            let ignore = folder.map(|f| &f.ignore).filter(|p| !p.is_empty());
            if ignore.is_none() && !writable {
                let inner = root
                    .resolve(Path::new(source))
                    .map_err(|e| self.io(vertex, "read", root.path(), e))?;
                return match root
                    .stat(&inner)
                    .map_err(|e| self.io(vertex, "read", root.path(), e))?
                {
                    Some(_) => Ok((root.path().join(inner), access)),
                    None => Err(missing("the build context")),
                };
            }
            self.copy_of(vertex, root, ignore, source, &copy_to).map(|path| (path, access))
        })
    }

    /// A private copy of what a source path shows, for mounts that are written to or filtered.
    fn copy_of(
        &self,
        vertex: &Vertex,
        root: &Root,
        ignore: Option<&Patterns>,
        source: &str,
        to: &Path,
    ) -> Result<PathBuf> {
        std::fs::create_dir(to).map_err(|e| self.io(vertex, "create", to, e))?;
        let item = CopyItem::Path { path: source.to_owned(), pattern: None, unpack: false };
        let found = self.found(vertex, root, &item, ignore, &Patterns::default(), source)?;
        let into = Root::open(to).map_err(|e| self.io(vertex, "open", to, e))?;
        let options =
            WriteOptions { owner: Some(Owner { uid: 0, gid: 0 }), ..WriteOptions::default() };
        let mut destination = Destination::new(&into, options);
        for one in &found {
            destination.copy(root, one, "/content").map_err(|e| self.copy_error(vertex, to, e))?;
        }
        destination.finish().map_err(|e| self.copy_error(vertex, to, e))?;
        Ok(to.join("content"))
    }

    fn cache_mount(
        &self,
        node: Node,
        vertex: &Vertex,
        mount: &RunMount,
        prepared: &mut Prepared,
        bench: &mut Option<Bench>,
    ) -> Result<()> {
        let RunMount::Cache { target, id, sharing, seed, mode, owner, read_only } = mount else {
            return Ok(());
        };
        let cache = mounts::acquire(self.cache, id, *sharing)?;
        if cache.is_new {
            if let Some((from, source)) = seed {
                self.seed_cache(node, vertex, from, source, &cache, prepared, bench)?;
            }
            let set = || {
                std::fs::set_permissions(
                    &cache.folder,
                    Permissions::from_mode(mode.unwrap_or(0o755)),
                )?;
                let (uid, gid) = owner.unwrap_or((0, 0));
                chown(&cache.folder, Some(uid), Some(gid))
            };
            set().map_err(|e| self.io(vertex, "set up", &cache.folder, e))?;
        }
        let access = if *read_only { Access::View } else { Access::Writable };
        let source = StepMountSource::Bind { path: cache.folder.clone(), access };
        prepared.mounts.push(StepMount { target: target.clone(), source });
        prepared.caches.push(cache);
        Ok(())
    }

    #[allow(clippy::too_many_arguments)]
    fn seed_cache(
        &self,
        node: Node,
        vertex: &Vertex,
        from: &CopyFrom,
        source: &str,
        cache: &CacheMount,
        prepared: &mut Prepared,
        bench: &mut Option<Bench>,
    ) -> Result<()> {
        let (path, _) = self.bind_source(node, vertex, from, source, false, prepared, bench)?;
        let root = self.root(vertex, &path)?;
        let item = CopyItem::Path { path: String::new(), pattern: None, unpack: false };
        let found = self.found(vertex, &root, &item, None, &Patterns::default(), source)?;
        let into = self.root(vertex, &cache.folder)?;
        let mut destination = Destination::new(&into, WriteOptions::default());
        for one in &found {
            destination
                .copy(&root, one, "/")
                .map_err(|e| self.copy_error(vertex, &cache.folder, e))?;
        }
        destination.finish().map_err(|e| self.copy_error(vertex, &cache.folder, e))
    }

    fn secret_mount(
        &self,
        vertex: &Vertex,
        mount: &RunMount,
        prepared: &mut Prepared,
        bench: &mut Option<Bench>,
    ) -> Result<()> {
        let RunMount::Secret { id, target, env, required, mode, owner } = mount else {
            return Ok(());
        };
        let Some(secret) = self.request.credentials.secrets.get(id) else {
            return match required {
                true => Err(Error::NotGiven {
                    step: vertex.name.clone(),
                    kind: "secret",
                    id: id.clone(),
                }),
                // Not required: there is no file, and nothing is said.
                false => Ok(()),
            };
        };
        if secret.expose().len() > limits::SECRET_BYTES {
            return Err(self.refuse(
                vertex,
                format!("secret {id} is larger than {} bytes", limits::SECRET_BYTES),
            ));
        }
        if let Some(name) = env {
            let value = std::str::from_utf8(secret.expose()).map_err(|_| {
                self.refuse(vertex, format!("secret {id} is not text, so it cannot be a variable"))
            })?;
            prepared.env.retain(|(key, _)| key != name);
            prepared.env.push((name.clone(), value.to_owned()));
        }
        prepared.masked.push(secret.expose().trim_ascii().to_vec());
        if let Some(target) = target {
            let path = self.in_memory(vertex, prepared, bench, secret.expose(), *mode, *owner)?;
            prepared.mounts.push(StepMount {
                target: target.clone(),
                source: StepMountSource::Bind { path, access: Access::View },
            });
        }
        Ok(())
    }

    fn ssh_mount(&self, vertex: &Vertex, mount: &RunMount, prepared: &mut Prepared) -> Result<()> {
        let RunMount::Ssh { id, target, required, .. } = mount else { return Ok(()) };
        let Some(socket) = self.request.credentials.ssh.get(id) else {
            return match required {
                true => Err(Error::NotGiven {
                    step: vertex.name.clone(),
                    kind: "ssh agent",
                    id: id.clone(),
                }),
                false => Ok(()),
            };
        };
        default_env(&mut prepared.env, "SSH_AUTH_SOCK", target);
        let source = StepMountSource::Bind { path: socket.clone(), access: Access::Writable };
        prepared.mounts.push(StepMount { target: target.clone(), source });
        Ok(())
    }

    /// A file that exists in memory only, seen by this step only.
    fn in_memory(
        &self,
        vertex: &Vertex,
        prepared: &mut Prepared,
        bench: &mut Option<Bench>,
        content: &[u8],
        mode: u32,
        owner: (u32, u32),
    ) -> Result<PathBuf> {
        let folder = match &prepared.memory {
            Some(folder) => folder.clone(),
            None => prepared.memory.insert(self.bench(bench)?.memory()?).clone(),
        };
        let path = folder.join(prepared.mounts.len().to_string());
        let write = || {
            let mut file = File::options().write(true).create_new(true).open(&path)?;
            file.write_all(content)?;
            chown(&path, Some(owner.0), Some(owner.1))?;
            file.set_permissions(Permissions::from_mode(mode))
        };
        write().map_err(|e| self.io(vertex, "write", &path, e))?;
        Ok(path)
    }
}

/// Adds a variable that is not set.
fn default_env(env: &mut Vec<(String, String)>, name: &str, value: &str) {
    if !env.iter().any(|(key, _)| key == name) {
        env.push((name.to_owned(), value.to_owned()));
    }
}

/// The output with every secret value replaced by stars.
fn mask(bytes: &[u8], secrets: &[Vec<u8>]) -> Vec<u8> {
    let mut shown = bytes.to_vec();
    for secret in secrets.iter().filter(|s| !s.is_empty()) {
        let mut at = 0;
        while let Some(found) =
            shown[at..].windows(secret.len()).position(|w| w == secret.as_slice())
        {
            shown.splice(at + found..at + found + secret.len(), *b"***");
            at += found + 3;
        }
    }
    shown
}

/// The last lines of a step's output.
#[derive(Default)]
struct Tail {
    lines: VecDeque<String>,
    partial: Vec<u8>,
}

impl Tail {
    fn add(&mut self, bytes: &[u8]) {
        for piece in bytes.split_inclusive(|b| *b == b'\n') {
            self.partial.extend(&piece[..piece.len().min(4096)]);
            if piece.ends_with(b"\n") || self.partial.len() > 8192 {
                let line = String::from_utf8_lossy(&std::mem::take(&mut self.partial))
                    .trim_end()
                    .to_owned();
                self.lines.push_back(line);
                if self.lines.len() > TAIL_LINES {
                    self.lines.pop_front();
                }
            }
        }
    }

    fn finish(mut self) -> Vec<String> {
        if !self.partial.is_empty() {
            self.lines.push_back(String::from_utf8_lossy(&self.partial).into_owned());
        }
        self.lines.into()
    }
}

/// Mount points that did not exist before the step: they are removed afterwards if nothing was put into them.
struct Stubs {
    missing: Vec<PathBuf>,
}

impl Stubs {
    fn before(root: &Root, mounts: &[StepMount]) -> Stubs {
        let mut missing = Vec::new();
        for target in STANDARD_TARGETS.into_iter().chain(mounts.iter().map(|m| m.target.as_str())) {
            let Ok(resolved) = root.resolve(Path::new(target.trim_start_matches('/'))) else {
                continue;
            };
            let mut path = PathBuf::new();
            for part in resolved.components() {
                path.push(part);
                if !missing.contains(&path) && root.stat(&path).is_ok_and(|s| s.is_none()) {
                    missing.push(path.clone());
                }
            }
        }
        Stubs { missing }
    }

    /// Children first; a folder with something in it and a file with content were made by the step.
    fn remove(mut self, root: &Root) -> io::Result<()> {
        use rustix::fs::{AtFlags, FileType, unlinkat};
        self.missing.sort();
        for path in self.missing.iter().rev() {
            let Some(stat) = root.stat(path)? else { continue };
            let parent = root.parent_of(path)?;
            let name = path.file_name().unwrap_or_default();
            let removed = match FileType::from_raw_mode(stat.st_mode) {
                FileType::Directory => unlinkat(&parent, name, AtFlags::REMOVEDIR),
                FileType::RegularFile if stat.st_size == 0 => {
                    unlinkat(&parent, name, AtFlags::empty())
                }
                _ => Ok(()),
            };
            match removed {
                Err(
                    rustix::io::Errno::NOTEMPTY
                    | rustix::io::Errno::EXIST
                    | rustix::io::Errno::NOENT,
                ) => {}
                removed => removed?,
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Covers: BLD-33
    #[test]
    fn secret_values_are_stars_in_the_output() {
        assert_eq!(mask(b"token=hunter2 hunter2!", &[b"hunter2".to_vec()]), b"token=*** ***!");
        assert_eq!(mask(b"nothing", &[Vec::new()]), b"nothing");
    }

    #[test]
    fn the_tail_keeps_the_last_lines_only() {
        let mut tail = Tail::default();
        for n in 0..30 {
            tail.add(format!("line {n}\n").as_bytes());
        }
        tail.add(b"half");
        let lines = tail.finish();
        assert_eq!((lines.len(), lines[0].as_str(), lines[20].as_str()), (21, "line 10", "half"));
    }
}
