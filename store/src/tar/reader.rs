//! The streaming reader.

use std::io::{self, BufRead, Read};

use super::header::{BLOCK_BYTES, Header, is_zero};
use super::pax::Pax;
use super::{Entry, Kind, Segment, TarError, Time, sparse};
use crate::limits::{
    TAR_EXTENSION_BYTES_MAX, TAR_EXTENSIONS_PER_ENTRY_MAX, TAR_PATH_BYTES_MAX,
    TAR_SPARSE_SEGMENTS_MAX,
};

/// Reads an archive entry by entry.
#[derive(Debug)]
pub struct Reader<R> {
    inner: R,
    offset: u64,
    /// Data of the current entry that is still to come, and the padding behind it.
    remaining: u64,
    padding: u64,
    ended: bool,
}

/// What extension headers said of the entry to come.
#[derive(Default)]
struct Pending {
    pax: Option<Pax>,
    long_path: Option<Vec<u8>>,
    long_link: Option<Vec<u8>>,
    count: usize,
}

impl Pending {
    /// Whether an entry is still to come that it belongs to.
    fn is_empty(&self) -> bool {
        self.pax.is_none() && self.long_path.is_none() && self.long_link.is_none()
    }
}

impl<R: BufRead> Reader<R> {
    /// Reads an archive from `inner`.
    pub fn new(inner: R) -> Self {
        Self { inner, offset: 0, remaining: 0, padding: 0, ended: false }
    }

    /// The stream under the archive, as far as it was read.
    pub fn into_inner(self) -> R {
        self.inner
    }

    /// The next entry; its data is read with [`Reader::data`] or [`Reader::copy_data`] and
    /// skipped otherwise.
    pub fn next_entry(&mut self) -> Result<Option<Entry>, TarError> {
        let mut pending = Pending::default();
        loop {
            self.skip_data()?;
            let Some(block) = self.header_block()? else {
                return match pending.count {
                    0 => Ok(None),
                    _ => Err(self.invalid("an extension header without an entry")),
                };
            };
            let header = Header::parse(&block).map_err(|reason| self.invalid(reason))?;
            if !self.extension(&header, &mut pending)? {
                return self.entry(header, &block, pending).map(Some);
            }
            pending.count += 1;
            if pending.count > TAR_EXTENSIONS_PER_ENTRY_MAX {
                return Err(self.invalid("too many extension headers before an entry"));
            }
        }
    }

    /// The data of the current entry as it is stored (without the holes of a sparse file).
    pub fn data(&mut self) -> EntryData<'_, R> {
        EntryData { reader: self }
    }

    /// Hands every piece of the current entry's data to `put` with its place in the file.
    pub fn copy_data<E: From<TarError>>(
        &mut self,
        entry: &Entry,
        mut put: impl FnMut(u64, &[u8]) -> Result<(), E>,
    ) -> Result<(), E> {
        match &entry.sparse {
            None => self.copy_segment(Segment { offset: 0, length: self.remaining }, &mut put),
            Some(segments) => {
                segments.iter().try_for_each(|segment| self.copy_segment(*segment, &mut put))
            }
        }
    }

    fn copy_segment<E: From<TarError>>(
        &mut self,
        segment: Segment,
        put: &mut impl FnMut(u64, &[u8]) -> Result<(), E>,
    ) -> Result<(), E> {
        let (mut at, end) = (segment.offset, segment.offset + segment.length);
        while at < end {
            let bytes = self.buffered()?;
            let take = (bytes.len() as u64).min(end - at) as usize;
            put(at, &bytes[..take])?;
            at += take as u64;
            self.consume(take);
        }
        Ok(())
    }

    /// The next buffered bytes of the current entry's data; never empty.
    fn buffered(&mut self) -> Result<&[u8], TarError> {
        let (offset, remaining) = (self.offset, self.remaining);
        if remaining == 0 {
            return Err(TarError::Truncated { offset });
        }
        let bytes = fill(&mut self.inner)?;
        if bytes.is_empty() {
            return Err(TarError::Truncated { offset });
        }
        let take = (bytes.len() as u64).min(remaining) as usize;
        Ok(&bytes[..take])
    }

    fn consume(&mut self, count: usize) {
        self.inner.consume(count);
        self.offset += count as u64;
        self.remaining -= count as u64;
    }

    fn skip_data(&mut self) -> Result<(), TarError> {
        self.remaining += self.padding;
        self.padding = 0;
        while self.remaining > 0 {
            let count = self.buffered()?.len();
            self.consume(count);
        }
        Ok(())
    }

    /// A header block, or `None` at the end: two zero blocks, or the end of the stream between
    /// entries.
    fn header_block(&mut self) -> Result<Option<[u8; BLOCK_BYTES]>, TarError> {
        if self.ended {
            return Ok(None);
        }
        let Some(block) = self.block()? else {
            self.ended = true;
            return Ok(None);
        };
        if !is_zero(&block) {
            return Ok(Some(block));
        }
        self.ended = true;
        match self.block()? {
            Some(second) if !is_zero(&second) => {
                Err(self.invalid("data behind a single zero block"))
            }
            _ => Ok(None),
        }
    }

    fn block(&mut self) -> Result<Option<[u8; BLOCK_BYTES]>, TarError> {
        let mut block = [0; BLOCK_BYTES];
        let mut filled = 0;
        while filled < BLOCK_BYTES {
            let bytes = fill(&mut self.inner)?;
            if bytes.is_empty() {
                return match filled {
                    0 => Ok(None),
                    _ => Err(TarError::Truncated { offset: self.offset }),
                };
            }
            let take = bytes.len().min(BLOCK_BYTES - filled);
            block[filled..filled + take].copy_from_slice(&bytes[..take]);
            self.inner.consume(take);
            self.offset += take as u64;
            filled += take;
        }
        Ok(Some(block))
    }

    /// Takes in an extension header; false where the header is an entry's own. Its length is
    /// what its own header says: an earlier PAX header never applies to it (GHSA-3cv2-h65g-fgmm).
    /// What comes between it and its entry must be of its own kind: Go takes a global header for the
    /// entry that is meant, and drops the name that was to come.
    fn extension(&mut self, header: &Header, pending: &mut Pending) -> Result<bool, TarError> {
        if matches!(header.typeflag, b'g' | b'V') && !pending.is_empty() {
            return Err(self.invalid("an extension header before something that is no entry"));
        }
        match header.typeflag {
            b'x' | b'X' => {
                let bytes = self.extension_data(header.size)?;
                let pax = Pax::parse(&bytes).map_err(|reason| self.invalid(reason))?;
                pending.pax = Some(pax);
            }
            b'g' => {
                let bytes = self.extension_data(header.size)?;
                let pax = Pax::parse(&bytes).map_err(|reason| self.invalid(reason))?;
                if pax.reshapes() {
                    return Err(self.invalid("a global header that sets path, size or sparseness"));
                }
            }
            b'L' => pending.long_path = Some(self.long_name(header.size)?),
            b'K' => pending.long_link = Some(self.long_name(header.size)?),
            b'V' => self.set_data(header.size),
            _ => return Ok(false),
        }
        Ok(true)
    }

    /// A name ends at its first NUL. One that goes on behind its length is another one for GNU tar,
    /// which reads to the NUL.
    fn long_name(&mut self, size: u64) -> Result<Vec<u8>, TarError> {
        let mut bytes = self.extension_data(size)?;
        match bytes.iter().position(|byte| *byte == 0) {
            Some(end) => bytes.truncate(end),
            None if self.padding > 0 => {
                (self.remaining, self.padding) = (1, self.padding - 1);
                let next = self.buffered()?[0];
                self.consume(1);
                if next != 0 {
                    return Err(self.invalid("a long name that goes on behind its length"));
                }
            }
            None => {}
        }
        Ok(bytes)
    }

    fn extension_data(&mut self, size: u64) -> Result<Vec<u8>, TarError> {
        if size > TAR_EXTENSION_BYTES_MAX {
            return Err(self.too_large("an extension header", TAR_EXTENSION_BYTES_MAX));
        }
        self.set_data(size);
        let mut bytes = Vec::new();
        while self.remaining > 0 {
            let chunk = self.buffered()?;
            bytes.extend_from_slice(chunk);
            let count = chunk.len();
            self.consume(count);
        }
        Ok(bytes)
    }

    fn set_data(&mut self, size: u64) {
        self.remaining = size;
        self.padding = size.wrapping_neg() % BLOCK_BYTES as u64;
    }

    fn entry(
        &mut self,
        header: Header,
        block: &[u8; BLOCK_BYTES],
        pending: Pending,
    ) -> Result<Entry, TarError> {
        let pax = pending.pax.unwrap_or_default();
        let path = pending.long_path.or_else(|| pax.path.clone()).unwrap_or(header.path.clone());
        let link = pending.long_link.or_else(|| pax.link.clone()).unwrap_or(header.link.clone());
        let stored = pax.size.unwrap_or(header.size);
        if i64::try_from(stored).is_err() {
            return Err(self.invalid("a size that does not fit 63 bits"));
        }
        let kind = self.kind(&header, &pax, &path)?;
        let regular = matches!(header.typeflag, 0 | b'0' | b'7' | b'S');
        self.set_data(if regular { stored } else { 0 });
        let mut entry = Entry {
            kind,
            link,
            mode: (header.mode & 0o7777) as u32,
            uid: self.id(pax.uid.unwrap_or(header.uid))?,
            gid: self.id(pax.gid.unwrap_or(header.gid))?,
            mtime: pax.mtime.unwrap_or(Time { ..header.mtime }),
            size: if kind == Kind::File { stored } else { 0 },
            xattrs: pax.xattrs.clone(),
            sparse: None,
            path,
        };
        if kind == Kind::File {
            self.apply_sparse(&mut entry, &header, block, &pax)?;
        }
        self.check_text(&entry)?;
        Ok(entry)
    }

    fn kind(&self, header: &Header, pax: &Pax, path: &[u8]) -> Result<Kind, TarError> {
        let device = |pax: Option<u64>, header: u64| {
            u32::try_from(pax.unwrap_or(header))
                .map_err(|_| self.invalid("a device number too large"))
        };
        Ok(match header.typeflag {
            // v7 had no directories: a slash at the end makes one.
            0 | b'0' if path.ends_with(b"/") => Kind::Directory,
            0 | b'0' | b'7' | b'S' => Kind::File,
            b'1' => Kind::HardLink,
            b'2' => Kind::Symlink,
            b'3' => Kind::CharDevice {
                major: device(pax.major, header.major)?,
                minor: device(pax.minor, header.minor)?,
            },
            b'4' => Kind::BlockDevice {
                major: device(pax.major, header.major)?,
                minor: device(pax.minor, header.minor)?,
            },
            b'5' => Kind::Directory,
            b'6' => Kind::Fifo,
            typeflag => {
                let (offset, typeflag) = (self.offset, char::from(typeflag));
                return Err(TarError::Unsupported { offset, typeflag });
            }
        })
    }

    fn id(&self, value: u64) -> Result<u32, TarError> {
        // The kernel keeps the last id to mean "no change".
        match u32::try_from(value) {
            Ok(id) if id != u32::MAX => Ok(id),
            _ => Err(self.invalid("a user or group id that no system has")),
        }
    }

    fn check_text(&self, entry: &Entry) -> Result<(), TarError> {
        if entry.path.is_empty() {
            return Err(self.invalid("an entry without a name"));
        }
        if entry.path.len().max(entry.link.len()) > TAR_PATH_BYTES_MAX {
            return Err(self.too_large("a path", TAR_PATH_BYTES_MAX as u64));
        }
        match matches!(entry.kind, Kind::HardLink | Kind::Symlink) && entry.link.is_empty() {
            true => Err(self.invalid("a link without a target")),
            false => Ok(()),
        }
    }

    fn apply_sparse(
        &mut self,
        entry: &mut Entry,
        header: &Header,
        block: &[u8; BLOCK_BYTES],
        pax: &Pax,
    ) -> Result<(), TarError> {
        let keys = &pax.sparse;
        let (segments, real_size) = if header.typeflag == b'S' {
            let stored = self.remaining;
            let old = self.old_gnu_map(block)?;
            self.set_data(stored);
            old
        } else if keys.map_in_data() {
            (self.map_in_data()?, self.sparse_size(keys.real_size)?)
        } else if let Some(map) = keys.map().map_err(|reason| self.invalid(reason))? {
            (map, self.sparse_size(keys.real_size)?)
        } else {
            return Ok(());
        };
        if let Some(name) = &keys.name {
            entry.path.clone_from(name);
        }
        sparse::check(&segments, real_size, self.remaining)
            .map_err(|reason| self.invalid(reason))?;
        entry.size = real_size;
        entry.sparse = Some(segments);
        Ok(())
    }

    fn sparse_size(&self, size: Option<u64>) -> Result<u64, TarError> {
        size.ok_or_else(|| self.invalid("a sparse file without its real size"))
    }

    /// Further blocks of an old GNU map stand before the data.
    fn old_gnu_map(&mut self, block: &[u8; BLOCK_BYTES]) -> Result<(Vec<Segment>, u64), TarError> {
        let parsed = sparse::old_gnu(block).map_err(|reason| self.invalid(reason))?;
        let (mut segments, mut more, real_size) = parsed;
        while more {
            let next = self.block()?.ok_or(TarError::Truncated { offset: self.offset })?;
            more = sparse::old_gnu_more(&next, &mut segments)
                .map_err(|reason| self.invalid(reason))?;
        }
        Ok((segments, real_size))
    }

    /// The map of PAX 1.0 is part of the data, padded to a whole block.
    fn map_in_data(&mut self) -> Result<Vec<Segment>, TarError> {
        let bytes_max = TAR_SPARSE_SEGMENTS_MAX * 42;
        let (mut bytes, mut lines) = (Vec::new(), 0);
        loop {
            if self.remaining < BLOCK_BYTES as u64 || bytes.len() > bytes_max {
                return Err(self.invalid("a sparse map without an end"));
            }
            let block = self.block()?.ok_or(TarError::Truncated { offset: self.offset })?;
            self.remaining -= BLOCK_BYTES as u64;
            bytes.extend_from_slice(&block);
            // Parsing again after every block would cost the square of a long map.
            lines += block.iter().filter(|byte| **byte == b'\n').count();
            if first_line(&bytes).is_some_and(|count| lines < count.saturating_mul(2) + 1) {
                continue;
            }
            let map = sparse::pax_1_0(&bytes).map_err(|reason| self.invalid(reason))?;
            if let Some(segments) = map {
                return Ok(segments);
            }
        }
    }

    fn invalid(&self, reason: &'static str) -> TarError {
        TarError::Invalid { offset: self.offset, reason }
    }

    fn too_large(&self, what: &'static str, limit: u64) -> TarError {
        TarError::TooLarge { offset: self.offset, what, limit }
    }
}

fn first_line(bytes: &[u8]) -> Option<usize> {
    let end = bytes.iter().position(|byte| *byte == b'\n')?;
    std::str::from_utf8(&bytes[..end]).ok()?.parse().ok()
}

fn fill<R: BufRead>(inner: &mut R) -> Result<&[u8], TarError> {
    // A borrow of the buffer cannot be returned out of a loop that retries: look first.
    loop {
        match inner.fill_buf() {
            Ok(_) => break,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(TarError::Io(error)),
        }
    }
    inner.fill_buf().map_err(TarError::Io)
}

/// The stored data of one entry.
#[derive(Debug)]
pub struct EntryData<'a, R> {
    reader: &'a mut Reader<R>,
}

impl<R: BufRead> Read for EntryData<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.reader.remaining == 0 || buffer.is_empty() {
            return Ok(0);
        }
        let bytes = self.reader.buffered().map_err(|error| match error {
            TarError::Io(error) => error,
            other => io::Error::new(io::ErrorKind::InvalidData, other),
        })?;
        let take = bytes.len().min(buffer.len());
        buffer[..take].copy_from_slice(&bytes[..take]);
        self.reader.consume(take);
        Ok(take)
    }
}
