//! The files of a case: parsed, and written as they are described.

use std::fs::{self, Permissions};
use std::io::Write;
use std::os::unix::fs::{PermissionsExt, chown, symlink};
use std::path::{Path, PathBuf};

use rustix::fs::{XattrFlags, setxattr};

use crate::fixture::gzip;

/// One file, folder or link.
#[derive(Debug, Clone)]
pub struct ContextFile {
    name: String,
    mode: Option<u32>,
    owner: Option<(u32, u32)>,
    attribute: Option<(String, String)>,
    kind: Kind,
}

#[derive(Debug, Clone)]
enum Kind {
    File(String),
    Folder,
    Symlink(String),
    HardLink(String),
    Tar(String),
    TarGz(String),
    Truncated(String),
    CopyOf(String),
}

/// Reads `-- NAME ... --` and the lines up to the next.
pub fn parse(text: &str) -> Vec<ContextFile> {
    let mut files: Vec<(String, String)> = Vec::new();
    for line in text.split_inclusive('\n') {
        let head = line.strip_prefix("-- ").and_then(|rest| rest.trim_end().strip_suffix(" --"));
        match (head, files.last_mut()) {
            (Some(head), _) => files.push((head.to_owned(), String::new())),
            (None, Some((_, content))) => content.push_str(line),
            (None, None) => panic!("text before the first file: {line}"),
        }
    }
    files.into_iter().map(|(head, content)| one(&head, content)).collect()
}

fn one(head: &str, content: String) -> ContextFile {
    let whole = |name: &str, kind| ContextFile {
        name: name.to_owned(),
        mode: None,
        owner: None,
        attribute: None,
        kind,
    };
    if let Some((name, target)) = head.split_once(" -> ") {
        return whole(name, Kind::Symlink(target.to_owned()));
    }
    if let Some((name, other)) = head.split_once(" == ") {
        return whole(name, Kind::HardLink(other.to_owned()));
    }
    let mut words: Vec<&str> = head.split(' ').collect();
    let mut file = whole("", Kind::File(content.clone()));
    // From the end: a name may hold spaces.
    while let Some(word) = words.pop() {
        if !set(&mut file, word, &content) {
            words.push(word);
            break;
        }
    }
    file.name = words.join(" ");
    if let Some(name) = file.name.strip_suffix('/') {
        file.name = name.to_owned();
        file.kind = Kind::Folder;
    }
    file
}

/// Takes one word for what it says of the file; false when it belongs to the name.
fn set(file: &mut ContextFile, word: &str, content: &str) -> bool {
    if word == "tar" {
        file.kind = Kind::Tar(content.to_owned());
    } else if word == "tar.gz" {
        file.kind = Kind::TarGz(content.to_owned());
    } else if word == "truncated" {
        file.kind = Kind::Truncated(content.to_owned());
    } else if let Some(other) = word.strip_prefix("file:") {
        file.kind = Kind::CopyOf(other.to_owned());
    } else if let Some(pair) = word.strip_prefix("xattr:") {
        let (name, value) = pair.split_once('=').expect("xattr:NAME=VALUE");
        file.attribute = Some((name.to_owned(), value.to_owned()));
    } else if let Some(owner) = owner(word) {
        file.owner = Some(owner);
    } else if word.len() == 4 && word.bytes().all(|b| (b'0'..b'8').contains(&b)) {
        file.mode = u32::from_str_radix(word, 8).ok();
    } else {
        return false;
    }
    true
}

fn owner(word: &str) -> Option<(u32, u32)> {
    let (user, group) = word.split_once(':')?;
    Some((user.parse().ok()?, group.parse().ok()?))
}

/// Writes all of them below `context`; modes last, so that closed folders can be filled.
pub fn write(files: &[ContextFile], context: &Path) {
    for file in files {
        let path = context.join(&file.name);
        let parent = path.parent().expect("a file has a folder");
        fs::create_dir_all(parent).expect("make a folder");
        file.kind.write(&path, context);
    }
    for file in files {
        let path = context.join(&file.name);
        if matches!(file.kind, Kind::Symlink(_) | Kind::HardLink(_)) {
            continue;
        }
        if let Some((user, group)) = file.owner {
            chown(&path, Some(user), Some(group)).expect("change an owner");
        }
        let usual = if matches!(file.kind, Kind::Folder) { 0o755 } else { 0o644 };
        let mode = Permissions::from_mode(file.mode.unwrap_or(usual));
        fs::set_permissions(&path, mode).expect("set a mode");
        if let Some((name, value)) = &file.attribute {
            setxattr(&path, name.as_str(), value.as_bytes(), XattrFlags::empty())
                .expect("set an attribute");
        }
    }
}

impl Kind {
    fn write(&self, path: &Path, context: &Path) {
        let bytes = match self {
            Kind::Folder => return fs::create_dir_all(path).expect("make a folder"),
            Kind::Symlink(target) => return symlink(target, path).expect("make a link"),
            Kind::HardLink(other) => {
                return fs::hard_link(context.join(other), path).expect("make a hard link");
            }
            Kind::File(text) => text.clone().into_bytes(),
            Kind::Tar(lines) => tar(lines),
            Kind::TarGz(lines) => gzip(&tar(lines)),
            Kind::Truncated(lines) => {
                let mut whole = gzip(&tar(lines));
                whole.truncate(whole.len() / 2);
                whole
            }
            Kind::CopyOf(name) => {
                let from: PathBuf = super::folder().join("files").join(name);
                fs::read(from).expect("read a file of the corpus")
            }
        };
        let mut file = fs::File::create(path).expect("make a file");
        file.write_all(&bytes).expect("write a file");
    }
}

/// An archive of lines `NAME MODE TEXT [OWNER]`; the text may be `-> TARGET` or `== NAME`.
fn tar(lines: &str) -> Vec<u8> {
    let mut archive = ::tar::Builder::new(Vec::new());
    for line in lines.lines() {
        let words: Vec<&str> = line.split(' ').collect();
        let mut header = ::tar::Header::new_gnu();
        header.set_mode(u32::from_str_radix(words[1], 8).expect("a mode"));
        header.set_mtime(1_000_000_000);
        let (user, group) = words.last().and_then(|word| owner(word)).unwrap_or((0, 0));
        header.set_uid(u64::from(user));
        header.set_gid(u64::from(group));
        header.set_size(0);
        let link = match words[2] {
            "->" => Some(::tar::EntryType::Symlink),
            "==" => Some(::tar::EntryType::Link),
            _ => None,
        };
        if let Some(kind) = link {
            header.set_entry_type(kind);
            archive.append_link(&mut header, words[0], words[3]).expect("append a link");
        } else if words[0].ends_with('/') {
            header.set_entry_type(::tar::EntryType::Directory);
            archive.append_data(&mut header, words[0], std::io::empty()).expect("append a folder");
        } else {
            let text = format!("{}\n", words[2]);
            header.set_size(text.len() as u64);
            archive.append_data(&mut header, words[0], text.as_bytes()).expect("append a file");
        }
    }
    archive.into_inner().expect("finish a tar in memory")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_said_of_a_file_is_what_it_gets() {
        let dir = tempfile::tempdir().expect("temporary folder");
        let text =
            "-- a b 0640 --\none\ntwo\n-- d/ 0711 --\n-- d/l -> ../x --\n-- h == a b --\n-- e --\n";
        write(&parse(text), dir.path());
        let at = |name: &str| dir.path().join(name);
        assert_eq!(fs::read_to_string(at("a b")).expect("a file"), "one\ntwo\n");
        let mode =
            |name: &str| fs::metadata(at(name)).expect("there").permissions().mode() & 0o7777;
        assert_eq!((mode("a b"), mode("d"), mode("h")), (0o640, 0o711, 0o640));
        assert_eq!(fs::read_link(at("d/l")).expect("a link"), Path::new("../x"));
        assert_eq!(fs::read(at("e")).expect("an empty file"), b"");
    }
}
