//! `cp`: files between a container and the host, or a tar stream.
//!
//! A container's paths are looked up by the kernel with the container's root as the root of everything (`openat2`), so that no
//! link of a hostile image leads out of it, also not one that changes while it is followed. Both sides speak tar to each other.

mod pack;
mod place;
mod unpack;

use std::io::{BufRead, BufReader, Read, Write};
use std::path::Path;

use runtime::{Container, EventKind, Root};
use rustix::process::{getegid, geteuid};

use self::place::{Source, Target};
use self::unpack::Owner;
use super::Containers;
use crate::error::{Error, Result};

/// What `cp` is told beside its two paths.
#[derive(Clone, Copy, Debug, Default)]
pub struct CopyOptions {
    /// `-a`: files keep their owners.
    pub archive: bool,
    /// `-L`: a link at the end of the source path is followed.
    pub follow_link: bool,
}

impl Containers<'_> {
    /// Copies from a container to a path of the host; the bytes of the archive in between.
    pub fn copy_to_host(
        &self,
        reference: &str,
        from: &str,
        to: &str,
        options: CopyOptions,
    ) -> Result<u64> {
        let container = self.get(reference)?;
        let host = host_root()?;
        let copied = self.with_files(&container, |root| {
            let source = Source::find(root, from, options.follow_link)
                .map_err(|error| error.in_container(reference))?;
            let target = Target::find(&host, to, Some(&source))?;
            transfer(&source, target, owner(options, Side::Host))
        })?;
        self.note_copy(&container, "archive-path", from);
        Ok(copied)
    }

    /// Copies a path of the host into a container; the bytes of the archive in between.
    pub fn copy_from_host(
        &self,
        reference: &str,
        from: &str,
        to: &str,
        options: CopyOptions,
    ) -> Result<u64> {
        let container = self.get(reference)?;
        let host = host_root()?;
        let source = Source::find(&host, from, options.follow_link)?;
        let copied = self.with_files(&container, |root| {
            let target = Target::find(root, to, Some(&source))
                .map_err(|error| error.in_container(reference))?;
            transfer(&source, target, owner(options, Side::Container))
        })?;
        self.note_copy(&container, "extract-to-dir", to);
        Ok(copied)
    }

    /// Writes what is at a path of a container as a tar.
    pub fn copy_out(
        &self,
        reference: &str,
        from: &str,
        options: CopyOptions,
        out: &mut (dyn Write + Send),
    ) -> Result<()> {
        let container = self.get(reference)?;
        self.with_files(&container, |root| {
            let source = Source::find(root, from, options.follow_link)
                .map_err(|error| error.in_container(reference))?;
            let name = source.archive_name();
            pack::pack(&source, &name, out)
        })?;
        self.note_copy(&container, "archive-path", from);
        Ok(())
    }

    /// Unpacks a tar into a folder of a container.
    pub fn copy_in(
        &self,
        reference: &str,
        to: &str,
        options: CopyOptions,
        tar: &mut (dyn Read + Send),
    ) -> Result<()> {
        let container = self.get(reference)?;
        self.with_files(&container, |root| {
            let target =
                Target::find(root, to, None).map_err(|error| error.in_container(reference))?;
            unpack::unpack(BufReader::new(tar), &target, owner(options, Side::Container))
        })?;
        self.note_copy(&container, "extract-to-dir", to);
        Ok(())
    }

    fn with_files<T: Send>(
        &self,
        container: &Container,
        act: impl FnOnce(&Root) -> Result<T> + Send,
    ) -> Result<T> {
        self.runtime()?.with_files(container.id(), act)?
    }

    fn note_copy(&self, container: &Container, action: &str, path: &str) {
        let record = &container.record;
        let attributes =
            [("image", record.image.as_str()), ("name", record.name.as_str()), ("path", path)];
        self.engine.journal().note(EventKind::Container, action, record.id.as_str(), &attributes);
    }
}

fn host_root() -> Result<Root> {
    Ok(Root::open(Path::new("/"))?)
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Side {
    Host,
    Container,
}

/// Without `-a` files belong to the user at the destination: root in a container, whoever copies on the host.
fn owner(options: CopyOptions, side: Side) -> Owner {
    match (options.archive, side) {
        (true, _) => Owner::Kept,
        (false, Side::Host) => Owner::Of { uid: geteuid().as_raw(), gid: getegid().as_raw() },
        (false, Side::Container) => Owner::Of { uid: 0, gid: 0 },
    }
}

/// One side packs while the other unpacks.
fn transfer(source: &Source, target: Target<'_>, owner: Owner) -> Result<u64> {
    let (reader, writer) =
        std::io::pipe().map_err(|error| Error::io("make a pipe for", "the copy", error))?;
    let name = target.name_for(source);
    std::thread::scope(|scope| {
        let packer = scope.spawn(move || {
            let mut writer = std::io::BufWriter::with_capacity(64 << 10, writer);
            pack::pack(source, &name, &mut writer)
        });
        let mut counted = Counted { inner: BufReader::with_capacity(64 << 10, reader), bytes: 0 };
        let unpacked = unpack::unpack(&mut counted, &target, owner);
        let bytes = counted.bytes;
        // The reader's end closes before the packer is waited for: one that writes on ends with it.
        drop(counted);
        let packed = packer.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        match (packed, unpacked) {
            // What was packed last was what the unpacker refused: its reason is the first one.
            (_, Err(error)) | (Err(error), Ok(())) => Err(error),
            (Ok(()), Ok(())) => Ok(bytes),
        }
    })
}

struct Counted<R> {
    inner: R,
    bytes: u64,
}

impl<R: BufRead> Read for Counted<R> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let count = self.inner.read(buffer)?;
        self.bytes += count as u64;
        Ok(count)
    }
}

impl<R: BufRead> BufRead for Counted<R> {
    fn fill_buf(&mut self) -> std::io::Result<&[u8]> {
        self.inner.fill_buf()
    }

    fn consume(&mut self, amount: usize) {
        self.bytes += amount as u64;
        self.inner.consume(amount);
    }
}

#[cfg(test)]
mod tests;
