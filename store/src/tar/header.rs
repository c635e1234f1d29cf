//! One 512-byte header block (POSIX.1-1988 ustar, GNU, star and v7).

use super::Time;

/// The unit of a tar archive.
pub const BLOCK_BYTES: usize = 512;

/// A header block as a pure value: fields read, nothing applied.
#[derive(Clone, Debug)]
pub(super) struct Header {
    pub(super) typeflag: u8,
    pub(super) path: Vec<u8>,
    pub(super) link: Vec<u8>,
    pub(super) mode: u64,
    pub(super) uid: u64,
    pub(super) gid: u64,
    pub(super) size: u64,
    pub(super) mtime: Time,
    pub(super) major: u64,
    pub(super) minor: u64,
}

/// Whether a block marks the end of the archive.
pub(super) fn is_zero(block: &[u8; BLOCK_BYTES]) -> bool {
    block.iter().all(|byte| *byte == 0)
}

impl Header {
    /// Reads a block; the error is the reason.
    pub(super) fn parse(block: &[u8; BLOCK_BYTES]) -> Result<Self, &'static str> {
        check_sum(block)?;
        let magic = Magic::of(block);
        let (major, minor) = match magic {
            Magic::V7 => (0, 0),
            _ => (number(&block[329..337])?, number(&block[337..345])?),
        };
        let unsigned = |value: i128| u64::try_from(value).map_err(|_| "a negative number");
        Ok(Self {
            typeflag: block[156],
            path: magic.path(block),
            link: text(&block[157..257]).to_vec(),
            mode: unsigned(number(&block[100..108])?)?,
            uid: unsigned(number(&block[108..116])?)?,
            gid: unsigned(number(&block[116..124])?)?,
            size: unsigned(number(&block[124..136])?)?,
            mtime: seconds(number(&block[136..148])?)?,
            major: unsigned(major)?,
            minor: unsigned(minor)?,
        })
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Magic {
    Gnu,
    Star,
    Ustar,
    V7,
}

impl Magic {
    fn of(block: &[u8; BLOCK_BYTES]) -> Self {
        match (&block[257..263], &block[263..265]) {
            (b"ustar\0", b"00") if &block[508..512] == b"tar\0" => Self::Star,
            // Some writers leave the version blank; the magic decides.
            (b"ustar\0", _) => Self::Ustar,
            (b"ustar ", b" \0") => Self::Gnu,
            _ => Self::V7,
        }
    }

    /// Only ustar and star have a prefix; GNU keeps times where it would be.
    fn path(self, block: &[u8; BLOCK_BYTES]) -> Vec<u8> {
        let name = text(&block[0..100]);
        let prefix = match self {
            Self::Ustar => text(&block[345..500]),
            Self::Star => text(&block[345..476]),
            Self::Gnu | Self::V7 => b"",
        };
        match prefix.is_empty() {
            true => name.to_vec(),
            false => [prefix, b"/", name].concat(),
        }
    }
}

/// The sum of all bytes with the sum's own field as spaces; old writers added signed bytes.
fn check_sum(block: &[u8; BLOCK_BYTES]) -> Result<(), &'static str> {
    let stored = number(&block[148..156])?;
    let (mut unsigned, mut signed) = (0i128, 0i128);
    for (at, byte) in block.iter().enumerate() {
        let byte = if (148..156).contains(&at) { b' ' } else { *byte };
        unsigned += i128::from(byte);
        signed += i128::from(byte as i8);
    }
    match stored == unsigned || stored == signed {
        true => Ok(()),
        false => Err("the header's checksum is wrong"),
    }
}

fn text(field: &[u8]) -> &[u8] {
    let end = field.iter().position(|byte| *byte == 0).unwrap_or(field.len());
    &field[..end]
}

/// A number: octal text, or base 256 where the first bit is set (GNU).
pub(super) fn number(field: &[u8]) -> Result<i128, &'static str> {
    match field.first() {
        Some(first) if first & 0x80 != 0 => base_256(field),
        _ => octal(field),
    }
}

fn octal(field: &[u8]) -> Result<i128, &'static str> {
    let is_blank = |byte: &u8| *byte == b' ' || *byte == 0;
    let digits: &[u8] = match field.iter().position(|byte| !is_blank(byte)) {
        Some(start) => &field[start..],
        None => return Ok(0),
    };
    let end = digits.iter().position(is_blank).unwrap_or(digits.len());
    if !digits[end..].iter().all(is_blank) {
        return Err("a number with something behind it");
    }
    digits[..end].iter().try_fold(0i128, |value, digit| match digit {
        b'0'..=b'7' => Ok(value * 8 + i128::from(digit - b'0')),
        _ => Err("a number that is not octal"),
    })
}

fn base_256(field: &[u8]) -> Result<i128, &'static str> {
    let negative = field[0] & 0x40 != 0;
    let first = i128::from(field[0] & 0x3f) | if negative { -64 } else { 0 };
    let value = field[1..].iter().fold(first, |value, byte| (value << 8) | i128::from(*byte));
    match i64::try_from(value) {
        Ok(value) => Ok(i128::from(value)),
        Err(_) => Err("a number that does not fit 64 bits"),
    }
}

fn seconds(value: i128) -> Result<Time, &'static str> {
    let seconds = i64::try_from(value).map_err(|_| "a time that does not fit 64 bits")?;
    Ok(Time { seconds, nanos: 0 })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_octal_or_base_256() {
        let table: &[(&[u8], Result<i128, &str>)] = &[
            (b"0000644\0", Ok(0o644)),
            (b"   644 \0", Ok(0o644)),
            (b"\0\0\0\0\0\0\0\0", Ok(0)),
            (b"        ", Ok(0)),
            (b"12345670", Ok(0o12345670)),
            (b"0000648\0", Err("a number that is not octal")),
            (b"-1\0\0\0\0\0\0", Err("a number that is not octal")),
            (b"644 7\0\0\0", Err("a number with something behind it")),
            (b"\x80\0\0\0\0\x20\0\0", Ok(0x20_0000)),
            (b"\xff\xff\xff\xff\xff\xff\xff\xff", Ok(-1)),
            (b"\x80\x01\0\0\0\0\0\0\0\0\0\0", Err("a number that does not fit 64 bits")),
        ];
        for (field, expected) in table {
            assert_eq!(number(field), *expected, "{field:?}");
        }
    }
}
