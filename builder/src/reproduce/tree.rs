//! Two folders of layers side by side.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs::{self, File, Metadata};
use std::io::{self, Read};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use rustix::fs::{lgetxattr, llistxattr};

/// How much of a file is looked at for the cause of a difference.
const SHOWN_BYTES: u64 = 1 << 20;

/// What is not the same about one path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Change {
    /// One of the builds did not make it.
    Presence { made_by_first: bool },
    /// It is of another kind: a file, a folder, a link.
    Kind,
    /// Its permission bits.
    Mode(u32, u32),
    /// Its owner.
    Owner((u32, u32), (u32, u32)),
    /// Where it points to.
    Link(String, String),
    /// Its content, from its beginning.
    Content(Vec<u8>, Vec<u8>),
    /// Its extended attributes.
    Attributes,
    /// When it was changed last, in seconds since 1970.
    Time(i64, i64),
}

/// Every path that is not the same, sorted; times later than the epoch count as the epoch.
pub(super) fn differences(
    first: &Path,
    second: &Path,
    epoch: Option<i64>,
) -> io::Result<Vec<(String, Change)>> {
    let mut found = Vec::new();
    below(first, second, "", epoch, &mut found)?;
    Ok(found)
}

fn below(
    first: &Path,
    second: &Path,
    path: &str,
    epoch: Option<i64>,
    found: &mut Vec<(String, Change)>,
) -> io::Result<()> {
    let (ours, theirs) = (entries(first)?, entries(second)?);
    let mut names: Vec<&OsString> = ours.keys().chain(theirs.keys()).collect();
    names.sort();
    names.dedup();
    for name in names {
        let at = format!("{path}/{}", name.to_string_lossy());
        let (Some(a), Some(b)) = (ours.get(name), theirs.get(name)) else {
            found.push((at, Change::Presence { made_by_first: ours.contains_key(name) }));
            continue;
        };
        let (one, two) = (first.join(name), second.join(name));
        if let Some(change) = change(&one, a, &two, b, epoch)? {
            found.push((at.clone(), change));
        }
        if a.is_dir() && b.is_dir() {
            below(&one, &two, &at, epoch, found)?;
        }
    }
    Ok(())
}

fn entries(folder: &Path) -> io::Result<BTreeMap<OsString, Metadata>> {
    let mut entries = BTreeMap::new();
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        entries.insert(entry.file_name(), entry.metadata()?);
    }
    Ok(entries)
}

fn change(
    one: &Path,
    a: &Metadata,
    two: &Path,
    b: &Metadata,
    epoch: Option<i64>,
) -> io::Result<Option<Change>> {
    if a.file_type() != b.file_type() || a.rdev() != b.rdev() {
        return Ok(Some(Change::Kind));
    }
    if a.is_symlink() {
        let (to, other) = (fs::read_link(one)?, fs::read_link(two)?);
        if to != other {
            let text = |path: &Path| path.to_string_lossy().into_owned();
            return Ok(Some(Change::Link(text(&to), text(&other))));
        }
    }
    if a.is_file() && (a.len() != b.len() || !same_content(one, two)?) {
        return Ok(Some(Change::Content(beginning(one)?, beginning(two)?)));
    }
    let (mode, other) = (a.mode() & 0o7777, b.mode() & 0o7777);
    if mode != other {
        return Ok(Some(Change::Mode(mode, other)));
    }
    let (owner, other) = ((a.uid(), a.gid()), (b.uid(), b.gid()));
    if owner != other {
        return Ok(Some(Change::Owner(owner, other)));
    }
    if attributes(one)? != attributes(two)? {
        return Ok(Some(Change::Attributes));
    }
    let clamped = |time: i64| epoch.map_or(time, |epoch| time.min(epoch));
    let (time, other) = (clamped(a.mtime()), clamped(b.mtime()));
    Ok((time != other).then_some(Change::Time(time, other)))
}

fn same_content(one: &Path, two: &Path) -> io::Result<bool> {
    let (mut one, mut two) = (File::open(one)?, File::open(two)?);
    let (mut a, mut b) = (vec![0; 1 << 16], vec![0; 1 << 16]);
    loop {
        let count = one.read(&mut a)?;
        if count == 0 {
            return Ok(two.read(&mut b)? == 0);
        }
        match two.read_exact(&mut b[..count]) {
            Ok(()) if a[..count] == b[..count] => {}
            Ok(()) => return Ok(false),
            Err(e) if e.kind() == io::ErrorKind::UnexpectedEof => return Ok(false),
            Err(e) => return Err(e),
        }
    }
}

fn beginning(path: &Path) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    File::open(path)?.take(SHOWN_BYTES).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// Attributes by name, without those that the overlay keeps its books in.
fn attributes(path: &Path) -> io::Result<BTreeMap<Vec<u8>, Vec<u8>>> {
    let mut names = Vec::with_capacity(1 << 16);
    let buffer = rustix::buffer::spare_capacity(&mut names);
    match llistxattr(path, buffer) {
        Ok(_) => {}
        Err(rustix::io::Errno::NOTSUP) => return Ok(BTreeMap::new()),
        Err(error) => return Err(error.into()),
    }
    let mut found = BTreeMap::new();
    for name in names.split(|byte| *byte == 0).filter(|name| !name.is_empty()) {
        if name.starts_with(b"trusted.overlay.") {
            continue;
        }
        let mut value = Vec::with_capacity(1 << 16);
        let name_os = std::ffi::OsStr::from_bytes(name);
        lgetxattr(path, name_os, rustix::buffer::spare_capacity(&mut value))?;
        found.insert(name.to_vec(), value);
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt, symlink};

    use super::*;

    #[test]
    fn every_kind_of_difference_is_seen_and_what_is_equal_is_not() {
        let dirs = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
        for (number, dir) in dirs.iter().enumerate() {
            let at = |name: &str| dir.path().join(name);
            fs::create_dir(at("sub")).unwrap();
            fs::write(at("equal"), "x").unwrap();
            fs::write(at("sub/content"), format!("number {number}")).unwrap();
            fs::write(at("mode"), "x").unwrap();
            fs::set_permissions(at("mode"), fs::Permissions::from_mode(0o640 + number as u32))
                .unwrap();
            symlink(format!("to-{number}"), at("link")).unwrap();
            fs::write(at(&format!("only-{number}")), "x").unwrap();
            let time = std::time::UNIX_EPOCH + std::time::Duration::from_secs(1000 + number as u64);
            for name in ["equal", "mode", "sub/content"] {
                let later = std::time::Duration::from_secs(10_000);
                let time = if name == "equal" { time } else { time + later };
                File::options().write(true).open(at(name)).unwrap().set_modified(time).unwrap();
            }
        }
        let found = |epoch| differences(dirs[0].path(), dirs[1].path(), Some(epoch)).unwrap();
        let expected = [
            ("/link".to_owned(), Change::Link("to-0".to_owned(), "to-1".to_owned())),
            ("/mode".to_owned(), Change::Mode(0o640, 0o641)),
            ("/only-0".to_owned(), Change::Presence { made_by_first: true }),
            ("/only-1".to_owned(), Change::Presence { made_by_first: false }),
            (
                "/sub/content".to_owned(),
                Change::Content(b"number 0".to_vec(), b"number 1".to_vec()),
            ),
        ];
        assert_eq!(found(1000), expected);
        // A time before the epoch is kept in the layer, so it counts.
        assert_eq!(found(5000)[0], ("/equal".to_owned(), Change::Time(1000, 1001)));
    }
}
