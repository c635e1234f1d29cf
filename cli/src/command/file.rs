//! Files that verbs write for the user.

use std::fs::File;
use std::io::Write as _;
use std::path::Path;

use crate::error::{Error, Result};

/// Writes `path` through a neighbour that is renamed in the end, so that no half archive stays behind.
pub(crate) fn whole_file(
    path: &Path,
    write: impl FnOnce(&mut dyn std::io::Write) -> Result<()>,
) -> Result<()> {
    let failed = |act, source| Error::File { act, path: path.display().to_string(), source };
    if !path.exists() || path.is_file() {
        let mut name = path.file_name().unwrap_or_default().to_owned();
        name.push(format!(".{}.partial", std::process::id()));
        let partial = path.with_file_name(name);
        let result =
            File::create(&partial).map_err(|source| failed("create", source)).and_then(|file| {
                let mut file = std::io::BufWriter::new(file);
                write(&mut file)?;
                file.flush().map_err(|source| failed("write", source))?;
                std::fs::rename(&partial, path).map_err(|source| failed("write", source))
            });
        if result.is_err() {
            // The first error is the one to tell; a file that was never made cannot be removed.
            let _already_gone = std::fs::remove_file(&partial);
        }
        return result;
    }
    // A pipe or device: there is nothing to rename over.
    let mut file =
        File::options().write(true).open(path).map_err(|source| failed("open", source))?;
    write(&mut file)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failed_save_leaves_the_old_file_and_no_partial_one() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.tar");
        whole_file(&path, |file| file.write_all(b"one").map_err(Error::Output)).unwrap();
        let failed = whole_file(&path, |file| {
            file.write_all(b"two").map_err(Error::Output)?;
            Err(Error::Status(1))
        });
        assert!(failed.is_err());
        assert_eq!(std::fs::read(&path).unwrap(), b"one");
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
    }
}
