//! What a step reads: opened, selected and fingerprinted.

use std::path::{Path, PathBuf};

use oci::{Algorithm, Digest, Hasher};

use super::bench::Bench;
use super::worker::{Node, Solver};
use crate::context::Folder;
use crate::context::ignore::Patterns;
use crate::error::{Error, Result};
use crate::graph::{CopyFrom, CopyItem, CopyOp, Op, RunMount, Vertex};
use crate::key::Fingerprint;
use crate::ports::digest_of;
use crate::tree::{Hashing, Match, Root, Selection, hash_match, select};

/// One source of a COPY or ADD, ready to be copied.
#[derive(Debug)]
pub(super) enum Ready {
    /// Paths of a tree.
    Tree {
        /// Which tree it is.
        tree: Tree,
        /// What was found; `None` when only its digest was looked up.
        found: Option<Vec<Match>>,
    },
    /// A file of a web server.
    Download(Downloaded),
    /// A commit of a repository, fetched when it is copied.
    Commit(String),
    /// A file of the Dockerfile.
    Inline,
}

/// A file of a web server.
#[derive(Debug)]
pub(super) struct Downloaded {
    /// Where it is, `None` when only its digest is known.
    pub(super) file: Option<PathBuf>,
    /// What it hashes to.
    pub(super) digest: Digest,
    /// When it last changed, in seconds since 1970.
    pub(super) last_modified: Option<i64>,
}

/// A tree that paths are looked up in.
#[derive(Debug, Clone)]
pub(super) enum Tree {
    /// The context or a named folder.
    Folder(Option<String>),
    /// The file system of a vertex.
    Node(Node),
    /// Nothing.
    Empty,
}

/// Everything that one vertex reads.
#[derive(Debug, Default)]
pub(super) struct Inputs {
    pub(super) fingerprints: Vec<Fingerprint>,
    pub(super) ready: Vec<Ready>,
}

/// One line per entry: its mark and its path.
fn listing(found: &[Match], marks: &[Vec<u64>]) -> String {
    let mut text = String::new();
    for (one, marks) in found.iter().zip(marks) {
        if one.entries.is_empty() {
            marks.iter().for_each(|mark| text.push_str(&format!("{mark:016x} {}\n", one.name)));
        }
        for (entry, mark) in one.entries.iter().zip(marks) {
            text.push_str(&format!("{mark:016x} {}\n", entry.path.display()));
        }
    }
    text
}

/// True when everything that a vertex reads is in local folders.
pub(super) fn reads_folders_only(vertex: &Vertex) -> bool {
    let Op::Copy(copy) = &vertex.op else { return false };
    matches!(copy.from, CopyFrom::Context | CopyFrom::Named(_))
        && copy.items.iter().any(|item| matches!(item, CopyItem::Path { .. }))
        && copy
            .items
            .iter()
            .all(|item| matches!(item, CopyItem::Path { .. } | CopyItem::Inline { .. }))
}

impl Solver<'_> {
    /// Looks at the local folders for every step that copies from them.
    ///
    /// What cannot be found is looked for again, and reported, by the step that needs it.
    pub(super) fn load_context(&self) {
        let line = self.lines.start("[internal] load build context");
        for (graph, plan) in self.graphs.iter().enumerate() {
            for vertex in plan.vertices.iter().filter(|v| reads_folders_only(v)) {
                let node = Node { graph, vertex: vertex.id };
                if let Ok(inputs) = self.inputs(node, vertex, &mut None) {
                    self.keep_inputs(node, inputs);
                }
            }
        }
        let bytes = self.folders.bytes_read();
        line.status(&format!("transferring context: {}", super::size_text(bytes)), None);
        line.finished();
    }

    /// Looks at everything that a vertex reads from somewhere else.
    pub(super) fn inputs(
        &self,
        node: Node,
        vertex: &Vertex,
        bench: &mut Option<Bench>,
    ) -> Result<Inputs> {
        let mut inputs = Inputs::default();
        match &vertex.op {
            Op::Copy(copy) => {
                let exclude =
                    Patterns::new(&copy.exclude).map_err(|e| self.refuse(vertex, e.to_string()))?;
                for item in &copy.items {
                    self.copy_item(node, vertex, copy, item, &exclude, &mut inputs, bench)?;
                }
            }
            Op::Run(run) => {
                for mount in &run.mounts {
                    let (from, source) = match mount {
                        RunMount::Bind { from, source, .. } => (from, source),
                        RunMount::Cache { seed: Some((from, source)), .. } => (from, source),
                        _ => continue,
                    };
                    let item =
                        CopyItem::Path { path: source.clone(), pattern: None, unpack: false };
                    let tree = self.tree(node, from);
                    self.tree_item(vertex, tree, &item, &Patterns::default(), &mut inputs, bench)?;
                }
            }
            Op::Image(_) | Op::Workdir(_) => {}
        }
        Ok(inputs)
    }

    #[allow(clippy::too_many_arguments)]
    fn copy_item(
        &self,
        node: Node,
        vertex: &Vertex,
        copy: &CopyOp,
        item: &CopyItem,
        exclude: &Patterns,
        inputs: &mut Inputs,
        bench: &mut Option<Bench>,
    ) -> Result<()> {
        match item {
            CopyItem::Path { .. } => {
                self.tree_item(vertex, self.tree(node, &copy.from), item, exclude, inputs, bench)
            }
            CopyItem::Inline { .. } => {
                inputs.ready.push(Ready::Inline);
                Ok(())
            }
            CopyItem::Url { url, checksum, .. } => {
                self.url_item(vertex, url, checksum.as_ref(), inputs)
            }
            CopyItem::Git { .. } => self.git_item(vertex, item, inputs),
        }
    }

    fn tree(&self, node: Node, from: &CopyFrom) -> Tree {
        match from {
            CopyFrom::Context => Tree::Folder(None),
            CopyFrom::Named(name) => Tree::Folder(Some(name.clone())),
            CopyFrom::Vertex(id) => Tree::Node(Node { graph: node.graph, vertex: *id }),
            CopyFrom::Scratch => Tree::Empty,
        }
    }

    /// A path of a tree: what it names and what that hashes to.
    fn tree_item(
        &self,
        vertex: &Vertex,
        tree: Tree,
        item: &CopyItem,
        exclude: &Patterns,
        inputs: &mut Inputs,
        bench: &mut Option<Bench>,
    ) -> Result<()> {
        let CopyItem::Path { path, pattern, .. } = item else { return Ok(()) };
        let name = pattern.as_ref().map_or_else(|| path.clone(), |p| format!("{path}/./{p}"));
        let name = if name.is_empty() { ".".to_owned() } else { name };
        let memo = match &tree {
            Tree::Node(source) => Some(self.memo_key(*source, item, exclude)?),
            _ => None,
        };
        if let Some(memo) = &memo
            && let Some(digest) = self.cache.memo(memo)?
        {
            inputs.fingerprints.push(Fingerprint { name, digest });
            inputs.ready.push(Ready::Tree { tree, found: None });
            return Ok(());
        }
        let (digest, found) = self.look(vertex, &tree, item, exclude, &name, bench)?;
        if let Some(memo) = &memo {
            self.cache.put_memo(memo, &digest)?;
        }
        inputs.fingerprints.push(Fingerprint { name, digest });
        let found = if memo.is_some() { None } else { Some(found) };
        inputs.ready.push(Ready::Tree { tree, found });
        Ok(())
    }

    /// The key under which the digest of a path of a finished step is remembered.
    fn memo_key(&self, source: Node, item: &CopyItem, exclude: &Patterns) -> Result<Digest> {
        let content = self.output(source)?.content;
        let texts: Vec<String> = exclude.texts().collect();
        Ok(digest_of(&format!("memo/2\0{content:?}\0{item:?}\0{texts:?}")))
    }

    /// Whether the digest of a path of a finished step is remembered.
    pub(super) fn has_memo(
        &self,
        node: Node,
        from: &CopyFrom,
        item: &CopyItem,
        exclude: &[String],
    ) -> Result<bool> {
        let (CopyFrom::Vertex(id), CopyItem::Path { .. }) = (from, item) else { return Ok(true) };
        let Ok(exclude) = Patterns::new(exclude) else { return Ok(false) };
        let key = self.memo_key(Node { graph: node.graph, vertex: *id }, item, &exclude)?;
        Ok(self.cache.memo(&key)?.is_some())
    }

    /// Selects and hashes.
    fn look(
        &self,
        vertex: &Vertex,
        tree: &Tree,
        item: &CopyItem,
        exclude: &Patterns,
        name: &str,
        bench: &mut Option<Bench>,
    ) -> Result<(Digest, Vec<Match>)> {
        let depth = bench.as_ref().map_or(0, Bench::depth);
        let looked = self.with_tree(vertex, tree, bench, |root, folder| {
            let ignore = folder.map(|f| &f.ignore);
            let found = self.found(vertex, root, item, ignore, exclude, name)?;
            let how = folder.map_or(Hashing::Image, |f| Hashing::Context(&f.stats));
            let mut hasher = Hasher::new(Algorithm::Sha256);
            let mut marks = Vec::new();
            for one in &found {
                let hashed = hash_match(root, one, how)
                    .map_err(|e| self.io(vertex, "read", root.path(), e))?;
                hasher.update(hashed.digest.to_string().as_bytes());
                marks.push(hashed.marks);
            }
            let digest = hasher.finish();
            if folder.is_some() {
                self.cache.put_listing(&digest, || listing(&found, &marks))?;
            }
            // What a mounted tree shows is looked up again when it is copied: nothing of it may stay open.
            let found = if matches!(tree, Tree::Node(_)) { Vec::new() } else { found };
            Ok((digest, found))
        });
        if let Some(bench) = bench {
            bench.back_to(depth)?;
        }
        looked
    }

    /// What an item names, or the error that says why it names nothing.
    pub(super) fn found(
        &self,
        vertex: &Vertex,
        root: &Root,
        item: &CopyItem,
        ignore: Option<&Patterns>,
        exclude: &Patterns,
        name: &str,
    ) -> Result<Vec<Match>> {
        match select(root, item, ignore, exclude)
            .map_err(|e| self.io(vertex, "read", &root.path().join(name), e))?
        {
            Selection::Found(found) => Ok(found),
            Selection::Missing { ignored } => Err(Error::SourceNotFound {
                step: vertex.name.clone(),
                path: format!("/{}", name.trim_start_matches("./")),
                place: if ignore.is_some() {
                    "the build context".to_owned()
                } else {
                    "the source file system".to_owned()
                },
                ignored,
            }),
        }
    }

    /// Opens a tree for as long as `work` takes; a vertex's file system is mounted and left to the caller to unmount.
    pub(super) fn with_tree<T>(
        &self,
        vertex: &Vertex,
        tree: &Tree,
        bench: &mut Option<Bench>,
        work: impl FnOnce(&Root, Option<&Folder>) -> Result<T>,
    ) -> Result<T> {
        let open = |path: &Path| Root::open(path).map_err(|e| self.io(vertex, "open", path, e));
        match tree {
            Tree::Folder(name) => {
                let folder = self.folders.get(name.as_deref()).ok_or_else(|| {
                    self.refuse(
                        vertex,
                        "there is no build context: give a folder, or use COPY --from".to_owned(),
                    )
                })?;
                work(&folder.root, Some(folder))
            }
            Tree::Node(source) => {
                let Some(layer) = self.ready_layer(*source)? else {
                    return self.with_tree(vertex, &Tree::Empty, bench, work);
                };
                let path = self.bench(bench)?.view(self.store, &layer)?;
                work(&open(&path)?, None)
            }
            Tree::Empty => {
                let path = self.session.temporary();
                std::fs::create_dir(&path).map_err(|e| self.io(vertex, "create", &path, e))?;
                work(&open(&path)?, None)
            }
        }
    }
}
