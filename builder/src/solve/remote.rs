//! Remote sources of ADD: files of web servers and git repositories.

use std::fs::File;
use std::io::Write;
use std::path::PathBuf;

use oci::{Algorithm, Digest, Hasher};

use super::sources::{Downloaded, Inputs, Ready};
use super::worker::Solver;
use crate::cache::UrlRecord;
use crate::error::{Error, PortError, Result};
use crate::graph::{CopyItem, Vertex};
use crate::key::Fingerprint;
use crate::limits;
use crate::lower::{is_commit, without_credentials};
use crate::ports::{Download, Fetched, Fetcher, GitSource, digest_of};

/// The repository that an item names.
fn git_source(item: &CopyItem) -> Option<GitSource<'_>> {
    let CopyItem::Git { remote, reference, keep_git_dir, submodules, .. } = item else {
        return None;
    };
    Some(GitSource {
        remote,
        reference: reference.as_deref(),
        keep_git_dir: *keep_git_dir,
        submodules: *submodules,
    })
}

impl Solver<'_> {
    fn fetcher(&self, vertex: &Vertex, url: &str) -> Result<&dyn Fetcher> {
        self.ports.fetcher.ok_or_else(|| {
            self.refuse(
                vertex,
                format!(
                    "{} cannot be fetched: this build has no access to remote sources",
                    without_credentials(url)
                ),
            )
        })
    }

    fn fetch_error(&self, vertex: &Vertex, url: &str, source: PortError) -> Error {
        if self.request.cancel.is_cancelled() {
            return Error::Cancelled;
        }
        Error::Fetch { step: vertex.name.clone(), url: without_credentials(url), source }
    }

    /// What an address holds: by its checksum, else what the server says, which is asked for as little as it allows.
    pub(super) fn url_item(
        &self,
        vertex: &Vertex,
        url: &str,
        checksum: Option<&Digest>,
        inputs: &mut Inputs,
    ) -> Result<()> {
        let found = match checksum {
            Some(digest) => Downloaded { file: None, digest: digest.clone(), last_modified: None },
            None => self.current(vertex, url)?,
        };
        let name = without_credentials(url);
        inputs.fingerprints.push(Fingerprint { name, digest: found.digest.clone() });
        inputs.ready.push(Ready::Download(found));
        Ok(())
    }

    /// What the server has now; not downloaded again where it says that nothing changed.
    fn current(&self, vertex: &Vertex, url: &str) -> Result<Downloaded> {
        let known = self.cache.url(url)?;
        let validators = known.as_ref().map(|record| &record.validators);
        let fetched = self.fetcher(vertex, url)?.open(url, validators);
        match (fetched.map_err(|e| self.fetch_error(vertex, url, e))?, known) {
            (Fetched::Unchanged, Some(record)) => Ok(Downloaded {
                file: None,
                digest: record.digest,
                last_modified: record.last_modified,
            }),
            (Fetched::Unchanged, None) => {
                let reason = "the server says that nothing changed, of a file that was never seen";
                Err(self.fetch_error(vertex, url, reason.into()))
            }
            (Fetched::File(download), _) => {
                let validators = download.validators.clone();
                let found = self.receive(vertex, url, download, Algorithm::Sha256)?;
                if validators.etag.is_some() || validators.last_modified.is_some() {
                    let record = UrlRecord {
                        validators,
                        digest: found.digest.clone(),
                        last_modified: found.last_modified,
                    };
                    self.cache.put_url(url, &record)?;
                }
                Ok(found)
            }
        }
    }

    /// Fetches a file that must hash to `expected`.
    pub(super) fn download(
        &self,
        vertex: &Vertex,
        url: &str,
        expected: &Digest,
    ) -> Result<Downloaded> {
        let fetched = self.fetcher(vertex, url)?.open(url, None);
        let download = match fetched.map_err(|e| self.fetch_error(vertex, url, e))? {
            Fetched::File(download) => download,
            Fetched::Unchanged => {
                return Err(self.fetch_error(vertex, url, "the server sent nothing".into()));
            }
        };
        let found = self.receive(vertex, url, download, expected.algorithm())?;
        if found.digest == *expected {
            return Ok(found);
        }
        let url = without_credentials(url);
        let found = found.digest;
        Err(self
            .refuse(vertex, format!("digest mismatch for {url}: expected {expected}, got {found}")))
    }

    /// Writes a download to a temporary place and hashes it on the way.
    fn receive(
        &self,
        vertex: &Vertex,
        url: &str,
        mut download: Download,
        algorithm: Algorithm,
    ) -> Result<Downloaded> {
        let path = self.session.temporary();
        let mut file = File::create(&path).map_err(|e| self.io(vertex, "create", &path, e))?;
        let mut hasher = Hasher::new(algorithm);
        let mut buffer = vec![0; 64 << 10];
        let mut bytes = 0;
        loop {
            self.state_of_cancel()?;
            let read = download.content.read(&mut buffer);
            let length = read.map_err(|e| self.fetch_error(vertex, url, e.into()))?;
            bytes += length as u64;
            if bytes > limits::DOWNLOAD_BYTES {
                let reason = format!("the file is larger than {} bytes", limits::DOWNLOAD_BYTES);
                return Err(self.fetch_error(vertex, url, reason.into()));
            }
            if length == 0 {
                break;
            }
            hasher.update(&buffer[..length]);
            file.write_all(&buffer[..length]).map_err(|e| self.io(vertex, "write", &path, e))?;
        }
        Ok(Downloaded {
            file: Some(path),
            digest: hasher.finish(),
            last_modified: download.last_modified,
        })
    }

    /// The commit that a repository's reference names now: nothing is fetched before it is needed.
    pub(super) fn git_item(
        &self,
        vertex: &Vertex,
        item: &CopyItem,
        inputs: &mut Inputs,
    ) -> Result<()> {
        let (Some(source), CopyItem::Git { checksum, .. }) = (git_source(item), item) else {
            return Ok(());
        };
        let name = without_credentials(source.remote);
        let commit = match source.reference {
            Some(commit) if is_commit(commit) => commit.to_owned(),
            _ => self
                .fetcher(vertex, source.remote)?
                .commit(&source)
                .map_err(|e| self.fetch_error(vertex, source.remote, e))?,
        };
        if let Some(expected) = checksum
            && !commit.starts_with(expected.as_str())
        {
            return Err(self.refuse(
                vertex,
                format!("{name}: expected a commit that begins with {expected}, got {commit}"),
            ));
        }
        inputs.fingerprints.push(Fingerprint { name, digest: digest_of(&commit) });
        inputs.ready.push(Ready::Commit(commit));
        Ok(())
    }

    /// A checkout of a commit in a temporary folder.
    pub(super) fn checkout(
        &self,
        vertex: &Vertex,
        item: &CopyItem,
        commit: &str,
    ) -> Result<PathBuf> {
        let path = self.session.temporary();
        std::fs::create_dir(&path).map_err(|e| self.io(vertex, "create", &path, e))?;
        let Some(source) = git_source(item) else { return Ok(path) };
        let fetcher = self.fetcher(vertex, source.remote)?;
        let done = fetcher.checkout(&source, commit, &path);
        done.map_err(|e| self.fetch_error(vertex, source.remote, e))?;
        Ok(path)
    }
}
