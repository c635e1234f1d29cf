//! Sparse files: GNU's old header form and the map in front of the data (PAX 1.0).

use super::header::{BLOCK_BYTES, number};
use crate::limits::TAR_SPARSE_SEGMENTS_MAX;

/// A run of data in a sparse file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Segment {
    /// Where it starts in the file.
    pub offset: u64,
    /// How long it is.
    pub length: u64,
}

/// Whether segments ascend without overlap inside a file of `real_size`, and hold exactly
/// `stored` bytes.
pub(super) fn check(segments: &[Segment], real_size: u64, stored: u64) -> Result<(), &'static str> {
    let (mut end, mut sum) = (0u64, 0u64);
    for segment in segments {
        if segment.offset < end {
            return Err("a sparse map that goes backwards");
        }
        end = segment.offset.checked_add(segment.length).ok_or("a sparse map that overflows")?;
        sum = sum.checked_add(segment.length).ok_or("a sparse map that overflows")?;
    }
    match () {
        () if end > real_size => Err("a sparse map that reaches beyond the file"),
        () if sum != stored => Err("a sparse map that does not fit the data"),
        () => Ok(()),
    }
}

/// The head of an old GNU sparse header: its segments, whether more blocks follow, and the
/// file's real size.
pub(super) fn old_gnu(
    block: &[u8; BLOCK_BYTES],
) -> Result<(Vec<Segment>, bool, u64), &'static str> {
    let mut segments = Vec::new();
    pairs(&block[386..482], &mut segments)?;
    let real_size = unsigned(&block[483..495])?;
    Ok((segments, block[482] != 0, real_size))
}

/// A further block of an old GNU sparse header; says whether yet another follows.
pub(super) fn old_gnu_more(
    block: &[u8; BLOCK_BYTES],
    segments: &mut Vec<Segment>,
) -> Result<bool, &'static str> {
    pairs(&block[0..504], segments)?;
    match segments.len() > TAR_SPARSE_SEGMENTS_MAX {
        true => Err("too many sparse segments"),
        false => Ok(block[504] != 0),
    }
}

fn pairs(bytes: &[u8], segments: &mut Vec<Segment>) -> Result<(), &'static str> {
    for pair in bytes.chunks_exact(24) {
        if pair[0] == 0 {
            break;
        }
        segments.push(Segment { offset: unsigned(&pair[..12])?, length: unsigned(&pair[12..])? });
    }
    Ok(())
}

fn unsigned(field: &[u8]) -> Result<u64, &'static str> {
    u64::try_from(number(field)?).map_err(|_| "a negative number")
}

/// Reads the map of PAX 1.0: decimal lines, the first is the number of segments. `None` asks
/// for more bytes.
pub(super) fn pax_1_0(bytes: &[u8]) -> Result<Option<Vec<Segment>>, &'static str> {
    let mut at = 0;
    let Some(count) = line(bytes, &mut at)? else { return Ok(None) };
    if count as usize > TAR_SPARSE_SEGMENTS_MAX {
        return Err("too many sparse segments");
    }
    let mut segments = Vec::new();
    for _ in 0..count {
        let Some(offset) = line(bytes, &mut at)? else { return Ok(None) };
        let Some(length) = line(bytes, &mut at)? else { return Ok(None) };
        segments.push(Segment { offset, length });
    }
    Ok(Some(segments))
}

fn line(bytes: &[u8], at: &mut usize) -> Result<Option<u64>, &'static str> {
    let rest = &bytes[*at..];
    match rest.iter().take(21).position(|byte| *byte == b'\n') {
        Some(end) => {
            *at += end + 1;
            super::pax::unsigned(&rest[..end]).map(Some)
        }
        None if rest.len() > 20 => Err("a sparse map without line ends"),
        None => Ok(None),
    }
}
