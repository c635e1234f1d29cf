//! Cache keys: what a step depends on, and nothing else.
//!
//! A key is the digest of named parts. Parts are kept beside the result, so that a later miss can name the one that
//! changed; values that may be private (arguments, environment) are kept as digests only.
//! Not in any key: times, proxy settings, secret and ssh contents, resource limits, addresses of extra hosts.

use std::collections::BTreeMap;

use oci::Digest;
use serde::{Deserialize, Serialize};

use crate::frontend::{Security, Sharing};
use crate::graph::{CopyItem, CopyOp, Op, RunMount, RunOp, Vertex, WorkdirOp};
use crate::ports::digest_of;

/// The digest of everything that a step depends on.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct CacheKey(Digest);

impl CacheKey {
    /// The digest.
    pub fn digest(&self) -> &Digest {
        &self.0
    }

    /// Reads back a key that was written.
    pub fn from_digest(digest: Digest) -> Self {
        CacheKey(digest)
    }
}

impl std::fmt::Display for CacheKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}

/// How the names of parts begin that stand for content read from somewhere else.
pub(crate) const CONTENT: &str = "content of ";

/// One thing that a step depends on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Part {
    /// What it is: `command`, `environment PATH`, `source src/`, `base`.
    pub name: String,
    /// Its value, or the digest of it.
    pub value: String,
}

/// A key with the parts that it was made from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Keyed {
    /// The key.
    pub key: CacheKey,
    /// The parts.
    pub parts: Vec<Part>,
}

/// The content that a step reads from somewhere else, by what it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fingerprint {
    /// The source as the Dockerfile names it.
    pub name: String,
    /// Digest of names, modes, owners, types, links, extended attributes and content; no times.
    pub digest: Digest,
}

/// What the key of a step is made with.
#[derive(Debug, Clone, Copy)]
pub struct KeyInputs<'a> {
    /// Content identity of the file system below; `None` for an empty one.
    pub parent: Option<&'a Digest>,
    /// One per path that the step reads, in the order of [`reads`].
    pub fingerprints: &'a [Fingerprint],
    /// The time that copied files get.
    pub epoch: Option<i64>,
    /// Names of extra hosts.
    pub extra_hosts: &'a [(String, String)],
}

/// The key of a step. Images have none: their content is their identity.
pub fn key_of(vertex: &Vertex, inputs: &KeyInputs<'_>) -> Option<Keyed> {
    let mut parts = Parts(Vec::new());
    match &vertex.op {
        Op::Image(_) => return None,
        Op::Run(run) => parts.run(run, inputs),
        Op::Copy(copy) => parts.copy(copy, inputs),
        Op::Workdir(workdir) => parts.workdir(workdir, inputs),
    }
    let text: String =
        parts.0.iter().map(|p| format!("{}\0{}\0", name_in_key(&p.name), p.value)).collect();
    Some(Keyed { key: CacheKey(digest_of(&text)), parts: parts.0 })
}

/// Where content was found does not count, only what it is: an equal folder elsewhere is as good.
fn name_in_key(name: &str) -> &str {
    if name.starts_with(CONTENT) { CONTENT } else { name }
}

/// The content identity of what a COPY or WORKDIR makes: its key says it all.
pub fn content_of(key: &CacheKey) -> Digest {
    digest_of(&format!("step\0{key}"))
}

/// The content identity of a file system with one more layer, whose tree hashes to `tree`.
pub fn content_above(parent: Option<&Digest>, tree: &Digest) -> Digest {
    digest_of(&format!("above\0{}\0{tree}", parent.map_or_else(String::new, ToString::to_string)))
}

/// The content identity of an image's file system.
pub fn content_of_image(diff_ids: &[Digest]) -> Option<Digest> {
    oci::ChainId::of(diff_ids).map(|chain| digest_of(&format!("image\0{chain}")))
}

struct Parts(Vec<Part>);

impl Parts {
    fn plain(&mut self, name: &str, value: impl ToString) {
        self.0.push(Part { name: name.to_owned(), value: value.to_string() });
    }

    fn private(&mut self, name: String, value: &str) {
        self.0.push(Part { name, value: digest_of(value).to_string() });
    }

    fn parent(&mut self, inputs: &KeyInputs<'_>) {
        self.plain("base", inputs.parent.map_or_else(|| "scratch".to_owned(), ToString::to_string));
    }

    fn fingerprints(&mut self, inputs: &KeyInputs<'_>) {
        for found in inputs.fingerprints {
            self.plain(&format!("{CONTENT}{}", found.name), &found.digest);
        }
    }

    fn run(&mut self, run: &RunOp, inputs: &KeyInputs<'_>) {
        self.plain("step", "run/1");
        self.parent(inputs);
        self.plain("command", quoted(&run.args));
        for (name, value) in &run.env {
            self.private(format!("environment {name}"), value);
        }
        self.plain("working directory", &run.cwd);
        self.plain("user", &run.user);
        self.plain("network", run.network.as_str());
        self.plain(
            "security",
            if run.security == Security::Insecure { "insecure" } else { "sandbox" },
        );
        self.plain("platform", &run.platform);
        if let Some(hostname) = &run.hostname {
            self.plain("host name", hostname);
        }
        for mount in &run.mounts {
            self.mount(mount);
        }
        for (host, _) in inputs.extra_hosts {
            self.plain("extra host", host);
        }
        self.fingerprints(inputs);
    }

    fn mount(&mut self, mount: &RunMount) {
        let target = mount.target().unwrap_or_default();
        match mount {
            RunMount::Bind { writable, .. } => {
                self.plain("bind mount", format!("{target} writable={writable}"))
            }
            RunMount::Cache { id, sharing, read_only, .. } => {
                // The default id is the target; another one and the kind of sharing say nothing about the content.
                let named = if sharing == &Sharing::Shared { "" } else { id };
                self.plain("cache mount", format!("{target} {named} read_only={read_only}"));
            }
            RunMount::Tmpfs { size, .. } => self.plain("tmpfs mount", format!("{target} {size:?}")),
            RunMount::Secret { id, env, mode, owner, .. } => {
                self.plain(
                    "secret mount",
                    format!(
                        "{id} {target} {} {mode:o} {owner:?}",
                        env.as_deref().unwrap_or_default()
                    ),
                );
            }
            RunMount::Ssh { id, mode, owner, .. } => {
                self.plain("ssh mount", format!("{id} {target} {mode:o} {owner:?}"))
            }
            RunMount::Inline { content, .. } => {
                self.plain("script", format!("{target} {}", digest_of(content)))
            }
        }
    }

    fn copy(&mut self, copy: &CopyOp, inputs: &KeyInputs<'_>) {
        self.plain("step", "copy/1");
        // A linked copy does not look at what is below.
        if !copy.link {
            self.parent(inputs);
        }
        self.plain("destination", &copy.destination);
        self.plain("chown", copy.chown.as_deref().unwrap_or_default());
        self.plain("chmod", copy.chmod.as_ref().map(ToString::to_string).unwrap_or_default());
        self.plain("link", copy.link);
        self.plain("parents", copy.parents);
        for item in &copy.items {
            match item {
                CopyItem::Path { unpack, .. } => self.plain("unpack", unpack),
                CopyItem::Inline { name, content } => {
                    self.plain(&format!("inline file {name}"), digest_of(content))
                }
                CopyItem::Url { file_name, unpack, .. } => {
                    self.plain("download", format!("{file_name} unpack={unpack}"))
                }
                CopyItem::Git { subdir, keep_git_dir, submodules, .. } => {
                    let subdir = subdir.as_deref().unwrap_or_default();
                    let without = if *submodules { "" } else { " submodules=false" };
                    self.plain("checkout", format!("{subdir} git_dir={keep_git_dir}{without}"));
                }
            }
        }
        if let Some(epoch) = inputs.epoch {
            self.plain("time of copied files", epoch);
        }
        self.fingerprints(inputs);
    }

    fn workdir(&mut self, workdir: &WorkdirOp, inputs: &KeyInputs<'_>) {
        self.plain("step", "workdir/1");
        self.parent(inputs);
        self.plain("path", &workdir.path);
        self.plain("user", &workdir.user);
    }
}

/// Arguments so that no two lists have one text.
fn quoted(args: &[String]) -> String {
    args.iter().map(|a| format!("{a:?}")).collect::<Vec<_>>().join(" ")
}

/// What differs between two lists of parts, as sentences; values that are digests are not shown.
pub fn differences(old: &[Part], new: &[Part]) -> Vec<String> {
    let mut found = Vec::new();
    for part in new {
        match old.iter().find(|o| o.name == part.name) {
            Some(before) if before.value == part.value => {}
            _ if old.contains(part) => {}
            None => found.push(format!("{} was added", part.name)),
            Some(before) if is_digest(&part.value) || is_digest(&before.value) => {
                found.push(format!("{} changed", part.name))
            }
            Some(before) => {
                found.push(format!("{} changed from {} to {}", part.name, before.value, part.value))
            }
        }
    }
    for part in old {
        if !new.iter().any(|n| n.name == part.name) {
            found.push(format!("{} is gone", part.name));
        }
    }
    found.dedup();
    found
}

/// What differs between two listings of paths and their marks, at most a handful of sentences.
pub fn path_differences(old: &[(String, String)], new: &[(String, String)]) -> Vec<String> {
    const SHOWN: usize = 5;
    let old: BTreeMap<_, _> = old.iter().map(|(path, mark)| (path, mark)).collect();
    let new: BTreeMap<_, _> = new.iter().map(|(path, mark)| (path, mark)).collect();
    let mut found = Vec::new();
    for (path, mark) in &new {
        match old.get(path) {
            None => found.push(format!("{path} was added")),
            Some(before) if before != mark => found.push(format!("{path} changed")),
            Some(_) => {}
        }
    }
    found.extend(old.keys().filter(|p| !new.contains_key(*p)).map(|p| format!("{p} is gone")));
    if found.len() > SHOWN {
        let more = found.len() - SHOWN;
        found.truncate(SHOWN);
        found.push(format!("and {more} more paths differ"));
    }
    found
}

fn is_digest(value: &str) -> bool {
    value.starts_with("sha256:")
}

#[cfg(test)]
mod tests;
