//! COPY, ADD and WORKDIR: file operations on a mounted root.

use std::fs::File;
use std::io;
use std::path::Path;

use rustix::fs::OFlags;

use super::bench::Bench;
use super::sources::{Inputs, Ready};
use super::worker::{Node, Solver};
use crate::accounts::{AccountError, Accounts};
use crate::context::ignore::Patterns;
use crate::error::{Error, Result};
use crate::graph::{CopyFrom, CopyItem, CopyOp, Vertex, WorkdirOp};
use crate::limits;
use crate::tree::{Destination, Kind, Match, Opened, Owner, Root, WriteOptions, open_archive};

/// The permission bits of a downloaded file.
const DOWNLOAD_MODE: u32 = 0o600;
/// The permission bits of a file that stands in the Dockerfile.
const INLINE_MODE: u32 = 0o644;

impl Solver<'_> {
    pub(super) fn workdir(
        &self,
        node: Node,
        vertex: &Vertex,
        workdir: &WorkdirOp,
        rootfs: &Path,
    ) -> Result<()> {
        let root = self.root(vertex, rootfs)?;
        let owner = match workdir.user.as_str() {
            "" => Owner { uid: 0, gid: 0 },
            user => self.owner(vertex, &root, user)?,
        };
        let options =
            WriteOptions { owner: Some(owner), chmod: None, time: self.graphs[node.graph].epoch };
        let mut destination = Destination::new(&root, options);
        let made = destination.make_folders(Path::new(workdir.path.trim_start_matches('/')));
        made.and_then(|_| destination.finish()).map_err(|e| self.copy_error(vertex, rootfs, e))
    }

    /// Carries out a COPY or ADD.
    pub(super) fn copy(
        &self,
        node: Node,
        vertex: &Vertex,
        copy: &CopyOp,
        inputs: &mut Inputs,
        rootfs: &Path,
        bench: &mut Option<Bench>,
    ) -> Result<()> {
        let root = self.root(vertex, rootfs)?;
        let chown =
            copy.chown.as_deref().map(|text| self.owner(vertex, &root, text)).transpose()?;
        // Files of a local folder belong to root; those of an image keep their owners.
        let keeps_owner = matches!(copy.from, CopyFrom::Vertex(_) | CopyFrom::Scratch);
        let owner = chown.or((!keeps_owner).then_some(Owner { uid: 0, gid: 0 }));
        let options =
            WriteOptions { owner, chmod: copy.chmod.clone(), time: self.graphs[node.graph].epoch };
        let mut job = CopyJob {
            solver: self,
            vertex,
            copy,
            chown,
            destination: Destination::new(&root, options),
        };
        for (item, ready) in copy.items.iter().zip(inputs.ready.drain(..)) {
            job.item(item, ready, bench)?;
        }
        job.destination.finish().map_err(|e| self.copy_error(vertex, rootfs, e))
    }

    pub(super) fn root(&self, vertex: &Vertex, path: &Path) -> Result<Root> {
        Root::open(path).map_err(|e| self.io(vertex, "open", path, e))
    }

    /// The account files of a root.
    pub(super) fn accounts(&self, vertex: &Vertex, root: &Root) -> Result<Accounts> {
        let read = |path: &str| {
            let text = root.read_text(Path::new(path), limits::ACCOUNTS_BYTES);
            text.map(Option::unwrap_or_default)
                .map_err(|e| self.io(vertex, "read", Path::new(path), e))
        };
        Ok(Accounts { passwd: read("etc/passwd")?, group: read("etc/group")? })
    }

    fn owner(&self, vertex: &Vertex, root: &Root, text: &str) -> Result<Owner> {
        let accounts = self.accounts(vertex, root)?;
        let (uid, gid) = accounts.owner(text).map_err(|e| self.account_error(vertex, e))?;
        Ok(Owner { uid, gid })
    }

    pub(super) fn account_error(&self, vertex: &Vertex, error: AccountError) -> Error {
        match error {
            AccountError::Unknown(kind, name) => {
                let file = if kind == "user" { "/etc/passwd" } else { "/etc/group" };
                Error::UnknownAccount { step: vertex.name.clone(), kind, name, file }
            }
            AccountError::Malformed(text) => {
                self.refuse(vertex, format!("invalid user {text:?}: expected user[:group]"))
            }
        }
    }

    /// An error of a file operation, with the path as the step sees it.
    pub(super) fn copy_error(&self, vertex: &Vertex, rootfs: &Path, error: io::Error) -> Error {
        if error.get_ref().is_some() {
            let text = error.to_string().replace(&format!("{}/", rootfs.display()), "/");
            return Error::Copy { step: vertex.name.clone(), reason: text };
        }
        self.io(vertex, "write in", rootfs, error)
    }
}

/// One COPY or ADD under way.
struct CopyJob<'j, 's> {
    solver: &'j Solver<'s>,
    vertex: &'j Vertex,
    copy: &'j CopyOp,
    chown: Option<Owner>,
    destination: Destination<'j>,
}

impl CopyJob<'_, '_> {
    fn item(&mut self, item: &CopyItem, ready: Ready, bench: &mut Option<Bench>) -> Result<()> {
        match (item, ready) {
            (CopyItem::Inline { name, content }, _) => self.inline(name, content),
            (CopyItem::Url { url, file_name, unpack, .. }, Ready::Download(found)) => {
                let found = match &found.file {
                    Some(_) => found,
                    None => self.solver.download(self.vertex, url, &found.digest)?,
                };
                let path = found.file.unwrap_or_default();
                self.downloaded(&path, file_name, found.last_modified, *unpack)
            }
            (CopyItem::Git { subdir, .. }, Ready::Commit(commit)) => {
                self.repository(item, subdir.as_deref(), &commit)
            }
            (_, Ready::Tree { tree, found }) => {
                let unpack = matches!(item, CopyItem::Path { unpack: true, .. });
                let (solver, vertex) = (self.solver, self.vertex);
                let exclude = Patterns::new(&self.copy.exclude)
                    .map_err(|e| solver.refuse(vertex, e.to_string()))?;
                solver.with_tree(vertex, &tree, bench, |root, folder| {
                    let found = match found {
                        Some(found) => found,
                        None => solver.found(
                            vertex,
                            root,
                            item,
                            folder.map(|f| &f.ignore),
                            &exclude,
                            "",
                        )?,
                    };
                    found.iter().try_for_each(|one| self.tree_match(root, one, unpack))
                })
            }
            (_, _) => Err(self.solver.refuse(self.vertex, "a source was not prepared".to_owned())),
        }
    }

    fn repository(&mut self, item: &CopyItem, subdir: Option<&str>, commit: &str) -> Result<()> {
        let (solver, vertex) = (self.solver, self.vertex);
        let path = solver.checkout(vertex, item, commit)?;
        let exclude =
            Patterns::new(&self.copy.exclude).map_err(|e| solver.refuse(vertex, e.to_string()))?;
        let name = subdir.unwrap_or(".");
        let part = CopyItem::Path {
            path: crate::paths::from_root(subdir.unwrap_or_default()),
            pattern: None,
            unpack: false,
        };
        let root = solver.root(vertex, &path)?;
        let found = solver.found(vertex, &root, &part, None, &exclude, name)?;
        found.iter().try_for_each(|one| self.tree_match(&root, one, false))
    }

    fn tree_match(&mut self, source: &Root, found: &Match, unpack: bool) -> Result<()> {
        if unpack && found.meta.kind == Kind::File {
            let file = found.open_file(source, None).map_err(|e| self.failed(e))?;
            if let Opened::Archive(archive) = open_archive(file).map_err(|e| self.failed(e))? {
                return self.unpack(archive);
            }
        }
        self.destination.copy(source, found, &self.copy.destination).map_err(|e| self.failed(e))
    }

    /// An archive keeps its owners unless others were asked for.
    fn unpack(&mut self, archive: Box<dyn io::BufRead + Send>) -> Result<()> {
        let owner = std::mem::replace(&mut self.destination.options.owner, self.chown);
        let time = self.destination.options.time.take();
        let done = self.destination.unpack(archive, &self.copy.destination);
        self.destination.options.owner = owner;
        self.destination.options.time = time;
        done.map_err(|e| self.failed(e))
    }

    fn inline(&mut self, name: &str, content: &str) -> Result<()> {
        self.destination.options.owner = Some(self.chown.unwrap_or(Owner { uid: 0, gid: 0 }));
        let target = self
            .destination
            .file_target(&self.copy.destination, name)
            .map_err(|e| self.failed(e))?;
        let written = self.destination.file(&target, INLINE_MODE, None, &mut content.as_bytes());
        written.map(|_| ()).map_err(|e| self.failed(e))
    }

    fn downloaded(
        &mut self,
        path: &Path,
        name: &str,
        last_modified: Option<i64>,
        unpack: bool,
    ) -> Result<()> {
        let open = || {
            rustix::fs::open(path, OFlags::RDONLY | OFlags::CLOEXEC, rustix::fs::Mode::empty())
                .map_err(io::Error::from)
        };
        if unpack
            && let Opened::Archive(archive) =
                open().and_then(open_archive).map_err(|e| self.failed(e))?
        {
            return self.unpack(archive);
        }
        self.destination.options.owner = Some(self.chown.unwrap_or(Owner { uid: 0, gid: 0 }));
        let target = self
            .destination
            .file_target(&self.copy.destination, name)
            .map_err(|e| self.failed(e))?;
        let mut file = File::from(open().map_err(|e| self.failed(e))?);
        let written = self.destination.file(&target, DOWNLOAD_MODE, last_modified, &mut file);
        written.map(|_| ()).map_err(|e| self.failed(e))
    }

    fn failed(&self, error: io::Error) -> Error {
        self.solver.copy_error(self.vertex, self.destination.root.path(), error)
    }
}
