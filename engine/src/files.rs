//! Files that a user names: keys, policies, settings, lists of variables. They are small, so a name that leads to a device or to
//! something enormous is refused before it fills the memory.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

/// The largest file that is read whole. Against `--env-file /dev/zero` and its like.
pub const FILE_BYTES_MAX: u64 = 16 << 20;

/// The bytes of a file.
///
/// # Errors
/// It cannot be read, or it is larger than [`FILE_BYTES_MAX`].
pub fn read(path: impl AsRef<Path>) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    File::open(path)?.take(FILE_BYTES_MAX + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > FILE_BYTES_MAX {
        let reason = format!(
            "it is larger than the {} MiB that are read of such a file",
            FILE_BYTES_MAX >> 20
        );
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, reason));
    }
    Ok(bytes)
}

/// The text of a file.
///
/// # Errors
/// As [`read`], and where it is not UTF-8.
pub fn read_text(path: impl AsRef<Path>) -> io::Result<String> {
    let not_text = |_| io::Error::new(io::ErrorKind::InvalidData, "it is not UTF-8 text");
    String::from_utf8(read(path)?).map_err(not_text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_device_without_an_end_is_refused() {
        let error = read("/dev/zero").expect_err("is endless");
        assert_eq!(error.kind(), io::ErrorKind::FileTooLarge);
        assert!(error.to_string().contains("16 MiB"), "{error}");
    }

    #[test]
    fn bytes_that_are_no_text_are_told_from_text() {
        let dir = tempfile::tempdir().expect("a folder");
        let path = dir.path().join("file");
        for (bytes, text) in [(&b"one\n"[..], Some("one\n")), (b"\xff\xfe", None), (b"", Some(""))]
        {
            std::fs::write(&path, bytes).expect("writes");
            assert_eq!(read(&path).expect("reads"), bytes);
            assert_eq!(read_text(&path).ok().as_deref(), text);
        }
    }
}
