//! `_blobs/<algorithm>/<hex>`: which blobs a repository has. The file holds the blob's size.

use std::time::Duration;
use std::{fs, io};

use oci::Digest;
use rustix::fs::{AtFlags, CWD, Timespec, Timestamps, UTIME_NOW, utimensat};
use rustix::io::Errno;

use super::uploads::random_name;
use super::{Repositories, digests, read_small};
use crate::clock;
use crate::name::RepositoryName;

impl Repositories {
    /// Makes a blob of the store readable through the repository.
    pub(crate) fn link_blob(
        &self,
        name: &RepositoryName,
        digest: &Digest,
        size: u64,
    ) -> io::Result<()> {
        self.write(&self.link(name, "_blobs", digest), format!("{size}\n").as_bytes())?;
        self.renew_blob(name, digest)
    }

    /// The size of a blob that the repository has.
    pub(crate) fn blob(&self, name: &RepositoryName, digest: &Digest) -> io::Result<Option<u64>> {
        let text = read_small(&self.link(name, "_blobs", digest))?;
        Ok(text.and_then(|text| text.trim_end().parse().ok()))
    }

    /// Says that somebody relies on the blob from now on.
    pub(crate) fn renew_blob(&self, name: &RepositoryName, digest: &Digest) -> io::Result<()> {
        let now = Timespec { tv_sec: 0, tv_nsec: UTIME_NOW };
        let times = Timestamps { last_access: now, last_modification: now };
        match utimensat(CWD, self.link(name, "_blobs", digest), &times, AtFlags::empty()) {
            Ok(()) | Err(Errno::NOENT) => Ok(()),
            Err(errno) => Err(errno.into()),
        }
    }

    /// Takes a blob out of the repository unless somebody pushed, mounted or asked about it
    /// within `grace`; whether it went. The link is put aside and looked at once more: whoever
    /// renews it before it moves keeps it, and whoever looks after finds it gone.
    pub(crate) fn unlink_blob_unused_for(
        &self,
        grace: Duration,
        name: &RepositoryName,
        digest: &Digest,
    ) -> io::Result<bool> {
        let (link, aside) =
            (self.link(name, "_blobs", digest), self.staging().join(random_name()?));
        let unused = |path| match fs::metadata(path) {
            Ok(metadata) => Ok(clock::age(&metadata) > grace),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(error) => Err(error),
        };
        if !unused(&link)? {
            return Ok(false);
        }
        match fs::rename(&link, &aside) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
            moved => moved?,
        }
        if unused(&aside)? {
            return self.remove(&aside);
        }
        fs::rename(&aside, &link)?;
        Ok(false)
    }

    /// Takes a blob out of the repository; whether it was there.
    pub(crate) fn unlink_blob(&self, name: &RepositoryName, digest: &Digest) -> io::Result<bool> {
        self.remove(&self.link(name, "_blobs", digest))
    }

    /// The blobs of a repository.
    pub(crate) fn blobs(&self, name: &RepositoryName) -> io::Result<Vec<Digest>> {
        digests(&self.of(name).join("_blobs"))
    }
}
