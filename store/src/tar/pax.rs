//! PAX extended headers (POSIX.1-2001): records of `length key=value\n`.

use super::Time;
use super::sparse::Segment;
use crate::limits::TAR_SPARSE_SEGMENTS_MAX;

const XATTR: &[u8] = b"SCHILY.xattr.";

/// What a PAX header says of the entry that follows it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Pax {
    pub(super) path: Option<Vec<u8>>,
    pub(super) link: Option<Vec<u8>>,
    pub(super) size: Option<u64>,
    pub(super) uid: Option<u64>,
    pub(super) gid: Option<u64>,
    pub(super) mtime: Option<Time>,
    pub(super) major: Option<u64>,
    pub(super) minor: Option<u64>,
    pub(super) xattrs: Vec<(Vec<u8>, Vec<u8>)>,
    pub(super) sparse: SparseKeys,
}

/// The keys of GNU's three sparse forms in PAX.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct SparseKeys {
    pub(super) major: Option<u64>,
    pub(super) minor: Option<u64>,
    pub(super) real_size: Option<u64>,
    pub(super) name: Option<Vec<u8>>,
    pub(super) map: Option<Vec<Segment>>,
    offsets: Vec<u64>,
    lengths: Vec<u64>,
}

impl SparseKeys {
    /// Whether the map stands at the start of the data (version 1.0).
    pub(super) fn map_in_data(&self) -> bool {
        self.major == Some(1) && self.minor == Some(0)
    }

    /// The map of versions 0.0 and 0.1.
    pub(super) fn map(&self) -> Result<Option<Vec<Segment>>, &'static str> {
        if let Some(map) = &self.map {
            return Ok(Some(map.clone()));
        }
        match (self.offsets.len(), self.lengths.len()) {
            (0, 0) => Ok(None),
            (offsets, lengths) if offsets == lengths => {
                let pairs = self.offsets.iter().zip(&self.lengths);
                Ok(Some(
                    pairs
                        .map(|(offset, length)| Segment { offset: *offset, length: *length })
                        .collect(),
                ))
            }
            _ => Err("a sparse map with offsets and lengths of different number"),
        }
    }
}

impl Pax {
    /// Reads all records; the error is the reason.
    pub(super) fn parse(mut bytes: &[u8]) -> Result<Self, &'static str> {
        let mut pax = Self::default();
        while !bytes.is_empty() {
            let (key, value, rest) = record(bytes)?;
            pax.apply(key, value)?;
            bytes = rest;
        }
        pax.xattrs.sort();
        pax.xattrs.dedup_by(|later, earlier| later.0 == earlier.0);
        Ok(pax)
    }

    /// Whether any record changes where or how long an entry is: in a global header such a
    /// record makes readers disagree.
    pub(super) fn reshapes(&self) -> bool {
        self.path.is_some()
            || self.link.is_some()
            || self.size.is_some()
            || self.sparse != SparseKeys::default()
    }

    fn apply(&mut self, key: &[u8], value: &[u8]) -> Result<(), &'static str> {
        match key {
            b"path" => self.path = name(value)?,
            b"linkpath" => self.link = name(value)?,
            b"size" => self.size = optional(value, unsigned)?,
            b"uid" => self.uid = optional(value, unsigned)?,
            b"gid" => self.gid = optional(value, unsigned)?,
            b"mtime" => self.mtime = optional(value, time)?,
            b"SCHILY.devmajor" => self.major = optional(value, unsigned)?,
            b"SCHILY.devminor" => self.minor = optional(value, unsigned)?,
            b"GNU.sparse.major" => self.sparse.major = optional(value, unsigned)?,
            b"GNU.sparse.minor" => self.sparse.minor = optional(value, unsigned)?,
            b"GNU.sparse.name" => self.sparse.name = name(value)?,
            b"GNU.sparse.realsize" | b"GNU.sparse.size" => {
                self.sparse.real_size = optional(value, unsigned)?;
            }
            b"GNU.sparse.map" => self.sparse.map = optional(value, sparse_map)?,
            b"GNU.sparse.offset" => self.sparse.offsets.push(unsigned(value)?),
            b"GNU.sparse.numbytes" => self.sparse.lengths.push(unsigned(value)?),
            _ => self.apply_xattr(key, value)?,
        }
        let segments = self.sparse.offsets.len().max(self.sparse.lengths.len());
        match segments > TAR_SPARSE_SEGMENTS_MAX {
            true => Err("too many sparse segments"),
            false => Ok(()),
        }
    }

    /// Keys of other vendors carry nothing that a layer needs.
    fn apply_xattr(&mut self, key: &[u8], value: &[u8]) -> Result<(), &'static str> {
        let Some(name) = key.strip_prefix(XATTR) else { return Ok(()) };
        if name.is_empty() || name.contains(&0) {
            return Err("an extended attribute without a valid name");
        }
        self.xattrs.retain(|(known, _)| known != name);
        self.xattrs.push((name.to_vec(), value.to_vec()));
        Ok(())
    }
}

type Record<'a> = (&'a [u8], &'a [u8], &'a [u8]);

fn record(bytes: &[u8]) -> Result<Record<'_>, &'static str> {
    let space = bytes.iter().take(20).position(|byte| *byte == b' ');
    let space = space.ok_or("a PAX record without a length")?;
    let length = unsigned(&bytes[..space])? as usize;
    if length <= space + 1 || length > bytes.len() {
        return Err("a PAX record whose length does not fit its header");
    }
    let (record, rest) = bytes.split_at(length);
    let body = record[space + 1..].strip_suffix(b"\n").ok_or("a PAX record without its end")?;
    let equals = body.iter().position(|byte| *byte == b'=').ok_or("a PAX record without =")?;
    if equals == 0 || body[..equals].contains(&0) {
        return Err("a PAX record without a valid key");
    }
    Ok((&body[..equals], &body[equals + 1..], rest))
}

/// An empty value takes the key back.
fn optional<T>(
    value: &[u8],
    parse: fn(&[u8]) -> Result<T, &'static str>,
) -> Result<Option<T>, &'static str> {
    match value.is_empty() {
        true => Ok(None),
        false => parse(value).map(Some),
    }
}

fn name(value: &[u8]) -> Result<Option<Vec<u8>>, &'static str> {
    match value {
        b"" => Ok(None),
        _ if value.contains(&0) => Err("a PAX path with a NUL in it"),
        _ => Ok(Some(value.to_vec())),
    }
}

pub(super) fn unsigned(text: &[u8]) -> Result<u64, &'static str> {
    if text.is_empty() || !text.iter().all(u8::is_ascii_digit) {
        return Err("a PAX number that is not decimal");
    }
    text.iter()
        .try_fold(0u64, |value, digit| value.checked_mul(10)?.checked_add(u64::from(digit - b'0')))
        .filter(|value| i64::try_from(*value).is_ok())
        .ok_or("a PAX number that does not fit 63 bits")
}

/// `[-]seconds[.fraction]`; digits beyond nanoseconds are dropped.
fn time(text: &[u8]) -> Result<Time, &'static str> {
    let (negative, text) = match text.strip_prefix(b"-") {
        Some(rest) => (true, rest),
        None => (false, text),
    };
    let (whole, fraction) = match text.iter().position(|byte| *byte == b'.') {
        Some(dot) => (&text[..dot], &text[dot + 1..]),
        None => (text, &b""[..]),
    };
    let seconds = unsigned(whole)? as i64;
    if !fraction.iter().all(u8::is_ascii_digit) {
        return Err("a PAX time that is not decimal");
    }
    let nanos = (0..9).fold(0u32, |value, at| {
        value * 10 + u32::from(fraction.get(at).map_or(0, |digit| digit - b'0'))
    });
    Ok(match (negative, nanos) {
        (false, nanos) => Time { seconds, nanos },
        (true, 0) => Time { seconds: -seconds, nanos: 0 },
        (true, nanos) => Time { seconds: -seconds - 1, nanos: 1_000_000_000 - nanos },
    })
}

/// `offset,length,offset,length…` (version 0.1).
fn sparse_map(text: &[u8]) -> Result<Vec<Segment>, &'static str> {
    let numbers = text.split(|byte| *byte == b',').map(unsigned).collect::<Result<Vec<_>, _>>()?;
    if numbers.len() % 2 != 0 || numbers.len() / 2 > TAR_SPARSE_SEGMENTS_MAX {
        return Err("a sparse map of odd or excessive length");
    }
    Ok(numbers.chunks(2).map(|pair| Segment { offset: pair[0], length: pair[1] }).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_are_read_and_a_later_one_wins() {
        let pax =
            Pax::parse(b"9 path=a\n9 path=b\n21 mtime=-1.25000000\n12 size=123\n").expect("valid");
        assert_eq!(pax.path.as_deref(), Some(&b"b"[..]));
        assert_eq!(pax.mtime, Some(Time { seconds: -2, nanos: 750_000_000 }));
        assert_eq!(pax.size, Some(123));
    }

    #[test]
    fn an_empty_value_takes_the_key_back() {
        assert_eq!(Pax::parse(b"9 path=a\n8 path=\n").expect("valid").path, None);
    }

    #[test]
    fn malformed_records_are_refused() {
        for bytes in [
            &b"path=a\n"[..],
            b"9 path=a",
            b"99 path=a\n",
            b"0 path=a\n",
            b"3 a\n",
            b"5 =a\n",
            b"10 path=\0a\n",
            b"10 size=-1\n",
            b"28 size=18446744073709551616\n",
            b"-9 path=a\n",
            b"12 mtime=1e\n",
        ] {
            assert!(Pax::parse(bytes).is_err(), "{:?}", String::from_utf8_lossy(bytes));
        }
    }
}
