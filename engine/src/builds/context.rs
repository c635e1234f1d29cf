//! Build contexts that are not folders: repositories, archives, standard input, OCI layouts.

use std::io::Read;
use std::path::{Path, PathBuf};

use builder::Cancel;
use builder::context::incoming::{self, Received, Scratch};
use builder::lower::{GitAddress, NamedContext, is_url, without_credentials};
use builder::ports::{Clock, Credentials, Fetched, Fetcher, GitSource};
use oci::{Descriptor, Digest, Reference};
use store::Lease;

use super::Builds;
use crate::error::{Error, Result};
use crate::ports::clock::SystemClock;
use crate::ports::fetcher::Remote;

/// Where a build context comes from.
pub enum ContextSource {
    /// A folder.
    Folder(PathBuf),
    /// A stream: an archive, or a Dockerfile alone.
    Stream {
        /// What it is called in messages.
        name: String,
        /// What comes.
        content: Box<dyn Read + Send>,
    },
    /// The address of a git repository or of a file of a web server.
    Remote(String),
}

/// What fetching a context may use.
#[derive(Debug, Clone, Copy)]
pub struct ContextOptions<'a> {
    /// Secrets and agents for repositories and servers.
    pub credentials: &'a Credentials,
    /// Stops fetching.
    pub cancel: &'a Cancel,
    /// Whether `.git` of a repository stays in the context.
    pub keep_git_dir: bool,
}

/// A context on this disk. What was fetched goes away with it.
#[derive(Debug, Default)]
pub struct OpenContext {
    folder: Option<PathBuf>,
    dockerfile: Option<String>,
    name: Option<String>,
    image: Option<(Reference, Descriptor)>,
    _scratch: Option<Scratch>,
    _lease: Option<Lease>,
}

impl OpenContext {
    /// The folder; none where a Dockerfile came alone.
    pub fn folder(&self) -> Option<&Path> {
        self.folder.as_deref()
    }

    /// The Dockerfile that came in place of a context.
    pub fn dockerfile(&self) -> Option<&str> {
        self.dockerfile.as_deref()
    }

    /// What it is called, where it is no folder of the user's.
    pub fn name(&self) -> Option<&str> {
        self.name.as_deref()
    }

    /// The image of an OCI layout, under a name that stands for it in this build.
    pub fn image(&self) -> Option<&(Reference, Descriptor)> {
        self.image.as_ref()
    }

    /// What it is for `--build-context`.
    pub fn named(&self) -> Option<NamedContext> {
        let image = self.image.as_ref().map(|(name, _)| NamedContext::Image(name.clone()));
        image.or_else(|| self.folder.clone().map(NamedContext::Folder))
    }

    /// A file of a context that was fetched; links lead nowhere outside it.
    pub fn read(&self, path: &Path) -> Result<Option<String>> {
        match &self.folder {
            Some(folder) => Ok(incoming::read_inside(folder, path)?),
            None => Ok(None),
        }
    }
}

/// True for what is the address of a repository or of a file of a web server.
pub fn is_remote(text: &str) -> bool {
    is_url(text) || is_short_github(text) || !matches!(GitAddress::parse(text), Ok(None))
}

/// `github.com/user/repository`, as Docker has it.
fn is_short_github(text: &str) -> bool {
    text.starts_with("github.com/")
}

impl Builds<'_> {
    /// Brings a context to this disk; a folder is taken as it is.
    pub fn open_context(
        &self,
        source: ContextSource,
        options: ContextOptions<'_>,
    ) -> Result<OpenContext> {
        match source {
            ContextSource::Folder(folder) => {
                Ok(OpenContext { folder: Some(folder), ..OpenContext::default() })
            }
            ContextSource::Stream { name, content } => self.receive(name, content, options.cancel),
            ContextSource::Remote(text) => {
                let text = match is_short_github(&text) {
                    true => {
                        let (path, rest) = text.split_at(text.find('#').unwrap_or(text.len()));
                        let end = if path.ends_with(".git") { "" } else { ".git" };
                        format!("https://{path}{end}{rest}")
                    }
                    false => text,
                };
                match GitAddress::parse(&text).map_err(Error::Invalid)? {
                    Some(address) => self.clone_repository(&address, options),
                    None => self.download(&text, options),
                }
            }
        }
    }

    /// The image of an OCI layout: the one of a tag or digest, else the only one.
    pub fn open_layout(
        &self,
        folder: &Path,
        tag: Option<&str>,
        digest: Option<&Digest>,
    ) -> Result<OpenContext> {
        let lease = self.engine.store().lease("build context")?;
        let loaded = self.engine.store().archives().load_directory(folder, &lease)?;
        let wanted = |image: &&store::Loaded| match (digest, tag) {
            (Some(digest), _) => image.descriptor.digest() == digest,
            (None, Some(tag)) => {
                image.names.iter().any(|name| name == tag || name.ends_with(&format!(":{tag}")))
            }
            (None, None) => true,
        };
        let found: Vec<&store::Loaded> = loaded.iter().filter(wanted).collect();
        let [image] = found.as_slice() else {
            return Err(Error::Invalid(format!(
                "oci-layout {}: {} images fit; write oci-layout://FOLDER:TAG or FOLDER@DIGEST",
                folder.display(),
                found.len()
            )));
        };
        let name: Reference = "localhost/oci-layout".parse()?;
        let name = name.with_digest(image.descriptor.digest().clone());
        Ok(OpenContext {
            image: Some((name, image.descriptor.clone())),
            _lease: Some(lease),
            ..OpenContext::default()
        })
    }

    fn receive(
        &self,
        name: String,
        content: Box<dyn Read + Send>,
        cancel: &Cancel,
    ) -> Result<OpenContext> {
        let scratch = Scratch::begin(self.engine.store(), SystemClock.now())?;
        let folder = scratch.folder()?;
        let stream = Stoppable { content, cancel: cancel.clone() };
        let received = incoming::receive(stream, &name, &folder);
        if cancel.is_cancelled() {
            return Err(builder::Error::Cancelled.into());
        }
        Ok(match received? {
            Received::Folder => OpenContext {
                folder: Some(folder),
                name: Some(name),
                _scratch: Some(scratch),
                ..OpenContext::default()
            },
            Received::Dockerfile(text) => {
                OpenContext { dockerfile: Some(text), name: Some(name), ..OpenContext::default() }
            }
        })
    }

    fn download(&self, url: &str, options: ContextOptions<'_>) -> Result<OpenContext> {
        let name = without_credentials(url);
        let remote = Remote::new(self.engine, options.credentials, options.cancel);
        match remote.open(url, None).map_err(|e| unfetched(&name, options.cancel, &*e))? {
            Fetched::File(file) => self.receive(name, file.content, options.cancel),
            Fetched::Unchanged => Err(unfetched(&name, options.cancel, "the server sent nothing")),
        }
    }

    fn clone_repository(
        &self,
        address: &GitAddress,
        options: ContextOptions<'_>,
    ) -> Result<OpenContext> {
        let name = without_credentials(&address.remote);
        let failed = |error: builder::PortError| unfetched(&name, options.cancel, &*error);
        let remote = Remote::new(self.engine, options.credentials, options.cancel);
        let source = GitSource {
            remote: &address.remote,
            reference: address.reference.as_deref(),
            keep_git_dir: address.keep_git_dir.unwrap_or(options.keep_git_dir),
            submodules: address.submodules,
        };
        let commit = remote.commit(&source).map_err(failed)?;
        if let Some(expected) = &address.checksum
            && !commit.starts_with(expected.as_str())
        {
            let reason = format!("expected a commit that begins with {expected}, got {commit}");
            return Err(unfetched(&name, options.cancel, &reason));
        }
        let scratch = Scratch::begin(self.engine.store(), SystemClock.now())?;
        let whole = scratch.folder()?;
        remote.checkout(&source, &commit, &whole).map_err(failed)?;
        let folder = match &address.subdir {
            Some(subdir) => incoming::folder_inside(&whole, Path::new(subdir))?,
            None => whole,
        };
        Ok(OpenContext {
            folder: Some(folder),
            name: Some(name),
            _scratch: Some(scratch),
            ..OpenContext::default()
        })
    }
}

fn unfetched(name: &str, cancel: &Cancel, reason: &(impl ToString + ?Sized)) -> Error {
    if cancel.is_cancelled() {
        return builder::Error::Cancelled.into();
    }
    Error::Invalid(format!("failed to fetch the build context {name}: {}", reason.to_string()))
}

/// A stream that ends with an error when the build is told to stop.
struct Stoppable {
    content: Box<dyn Read + Send>,
    cancel: Cancel,
}

impl Read for Stoppable {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        if self.cancel.is_cancelled() {
            return Err(std::io::Error::other("the build was cancelled"));
        }
        self.content.read(buffer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Covers: BLD-72
    #[test]
    fn remote_contexts_are_told_from_folders() {
        for text in [
            "https://example.com/context.tar.gz",
            "http://127.0.0.1:8/x.git#main:sub",
            "git@github.com:user/x.git",
            "github.com/user/x",
            "ssh://git@host/x",
        ] {
            assert!(is_remote(text), "{text}");
        }
        for text in [".", "/srv/app", "app", "-", "why", "./github.com/x"] {
            assert!(!is_remote(text), "{text}");
        }
    }
}
