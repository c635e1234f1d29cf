//! The own tar reader and writer against the `tar` crate and GNU tar.

use std::collections::BTreeMap;
use std::io::Read;
use std::path::Path;
use std::process::Command;

use proptest::prelude::*;
use store::tar::{Entry, Kind, Reader, Time, Writer};

use crate::support::{Tar, store, tree};

/// A tree with everything that the formats differ in.
fn build(root: &Path) {
    std::fs::create_dir_all(root.join("dir/empty")).expect("creates");
    std::fs::write(root.join("dir/file"), b"content").expect("writes");
    std::fs::hard_link(root.join("dir/file"), root.join("dir/link")).expect("links");
    std::os::unix::fs::symlink("../dir/file", root.join("dir/symlink")).expect("links");
    let long = "long-name-".repeat(18);
    std::fs::create_dir(root.join(&long)).expect("creates");
    std::fs::write(root.join(&long).join(&long), b"deep").expect("writes");
    std::os::unix::fs::symlink("x".repeat(180), root.join("long-target")).expect("links");
    std::fs::write(root.join("ümläut"), b"utf-8").expect("writes");
    let sparse = std::fs::File::create(root.join("sparse")).expect("creates");
    use std::os::unix::fs::FileExt;
    for segment in 0..30u64 {
        sparse.write_all_at(b"data", segment * 300_000 + 7).expect("writes");
    }
    sparse.set_len(9_500_000).expect("extends");
}

fn gnu(root: &Path, options: &[&str]) -> Vec<u8> {
    let output = Command::new("tar")
        .args(options)
        .args(["--numeric-owner", "-C"])
        .arg(root)
        .args(["-cf", "-", "."])
        .output()
        .expect("GNU tar runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    output.stdout
}

/// Covers: DST-76
#[test]
fn what_gnu_tar_writes_in_any_format_is_read_back_as_it_was() {
    let dir = tempfile::tempdir().expect("temporary directory");
    build(dir.path());
    let expected = tree(dir.path());
    let forms: [&[&str]; 7] = [
        &["--format=gnu"],
        &["--format=pax"],
        &["--format=posix", "--pax-option=delete=atime,delete=ctime"],
        &["--format=gnu", "--sparse"],
        &["--format=pax", "--sparse", "--sparse-version=0.0"],
        &["--format=pax", "--sparse", "--sparse-version=0.1"],
        &["--format=pax", "--sparse", "--sparse-version=1.0"],
    ];
    for form in forms {
        let store = store();
        let fs = store.unpacked(&gnu(dir.path(), form));
        assert_eq!(tree(&fs), expected, "{form:?}");
    }
}

#[test]
fn gnu_tar_extracts_what_we_write_as_it_was() {
    let dir = tempfile::tempdir().expect("temporary directory");
    let (from, to) = (dir.path().join("from"), dir.path().join("to"));
    std::fs::create_dir(&from).expect("creates");
    std::fs::create_dir(&to).expect("creates");
    build(&from);
    let store = store();
    let mut archive = Vec::new();
    store.layers().export_tree(&from, None, &mut archive).expect("writes");
    let path = dir.path().join("archive.tar");
    std::fs::write(&path, archive).expect("writes");
    let done = Command::new("tar").arg("-xf").arg(&path).arg("-C").arg(&to).output().expect("runs");
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    assert_eq!(tree(&to), tree(&from));
}

fn name() -> impl Strategy<Value = String> {
    prop_oneof![
        "[a-z]{1,12}",
        "[a-z]{1,60}/[a-zé]{1,80}",
        "[a-z]{50,90}/[a-z]{90,120}/[a-z]{1,120}",
        "[a-z]{99,101}",
    ]
}

fn entry() -> impl Strategy<Value = (Entry, Vec<u8>)> {
    let kind = prop_oneof![
        Just(Kind::File),
        Just(Kind::Directory),
        Just(Kind::Symlink),
        Just(Kind::HardLink),
        Just(Kind::Fifo),
        Just(Kind::CharDevice { major: 5, minor: 300 }),
    ];
    let ids = prop_oneof![0u32..3_000_000, Just(u32::MAX - 1)];
    let time = prop_oneof![0i64..4_000_000_000, -5_000_000_000i64..0, Just(1i64 << 40)];
    let xattr = ("[a-z.]{1,20}", prop::collection::vec(any::<u8>(), 0..40));
    let data = prop::collection::vec(any::<u8>(), 0..1500);
    (
        (name(), kind, name(), 0u32..0o10000),
        (ids.clone(), ids, time),
        prop::collection::btree_map(xattr.0, xattr.1, 0..3),
        data,
    )
        .prop_map(|((path, kind, link, mode), (uid, gid, seconds), xattrs, data)| {
            let mut entry = Entry::new(kind, path);
            if kind == Kind::Directory {
                entry.path.push(b'/');
            }
            if matches!(kind, Kind::Symlink | Kind::HardLink) {
                entry.link = link.into_bytes();
            }
            let data = if kind == Kind::File { data } else { Vec::new() };
            (entry.mode, entry.uid, entry.gid) = (mode, uid, gid);
            entry.mtime = Time { seconds, nanos: 0 };
            entry.size = data.len() as u64;
            entry.xattrs = xattrs.into_iter().map(|(k, v)| (k.into_bytes(), v)).collect();
            (entry, data)
        })
}

fn write(entries: &[(Entry, Vec<u8>)]) -> Vec<u8> {
    let mut writer = Writer::new(Vec::new());
    for (entry, data) in entries {
        writer.entry(entry).expect("writes");
        writer.data(data).expect("writes");
    }
    writer.finish().expect("writes")
}

fn read(bytes: &[u8]) -> Result<Vec<(Entry, Vec<u8>)>, store::tar::TarError> {
    let mut reader = Reader::new(bytes);
    let mut found = Vec::new();
    while let Some(entry) = reader.next_entry()? {
        let mut data = Vec::new();
        reader.copy_data(&entry, |_, piece| {
            data.extend_from_slice(piece);
            Ok::<(), store::tar::TarError>(())
        })?;
        found.push((entry, data));
    }
    Ok(found)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn what_is_written_is_read_back(entries in prop::collection::vec(entry(), 0..6)) {
        prop_assert_eq!(read(&write(&entries)).expect("parses"), entries);
    }

    /// Without attributes: that crate splits PAX records at line ends, which a value may contain.
    #[test]
    fn the_tar_crate_reads_the_same(mut entries in prop::collection::vec(entry(), 0..6)) {
        entries.iter_mut().for_each(|(entry, _)| entry.xattrs.clear());
        let bytes = write(&entries);
        let mut archive = tar::Archive::new(&bytes[..]);
        let mut theirs = Vec::new();
        for entry in archive.entries().expect("lists") {
            let mut entry = entry.expect("parses");
            let mut data = Vec::new();
            entry.read_to_end(&mut data).expect("reads");
            theirs.push((
                entry.path_bytes().into_owned(),
                entry.link_name_bytes().map(|name| name.into_owned()).unwrap_or_default(),
                data,
            ));
        }
        let ours: Vec<_> =
            entries.into_iter().map(|(entry, data)| (entry.path, entry.link, data)).collect();
        prop_assert_eq!(theirs, ours);
    }

    #[test]
    fn no_bytes_panic_the_reader(bytes in prop::collection::vec(any::<u8>(), 0..4096)) {
        let _ = read(&bytes);
    }

    #[test]
    fn no_damage_panics_the_reader(
        entries in prop::collection::vec(entry(), 1..4),
        damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..8),
        fix in any::<bool>(),
    ) {
        let mut bytes = write(&entries);
        for (at, value) in damage {
            let at = at.index(bytes.len());
            bytes[at] = value;
        }
        if fix {
            // A right checksum lets damage through to the parsers behind it.
            for block in bytes.chunks_exact_mut(512) {
                if &block[257..262] == b"ustar" {
                    block[148..156].fill(b' ');
                    let sum: u64 = block.iter().map(|byte| u64::from(*byte)).sum();
                    block[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
                }
            }
        }
        let _ = read(&bytes);
    }
}

/// What the `tar` crate writes (old GNU headers) is read as it was meant.
#[test]
fn what_the_tar_crate_writes_is_read_back() {
    let mut builder = tar::Builder::new(Vec::new());
    let mut expected = BTreeMap::new();
    for length in [1usize, 99, 100, 101, 200, 250] {
        let path = format!("d/{}", "n".repeat(length.min(250)));
        let mut header = tar::Header::new_gnu();
        header.set_size(3);
        header.set_mode(0o644);
        header.set_cksum();
        builder.append_data(&mut header, &path, &b"abc"[..]).expect("appends");
        expected.insert(path, b"abc".to_vec());
    }
    let bytes = builder.into_inner().expect("finishes");
    let found: BTreeMap<String, Vec<u8>> = read(&bytes)
        .expect("parses")
        .into_iter()
        .map(|(entry, data)| (String::from_utf8(entry.path).expect("utf-8"), data))
        .collect();
    assert_eq!(found, expected);
}

#[test]
fn global_headers_of_git_archive_are_passed_over() {
    let record = "52 comment=0123456789012345678901234567890123456789\n";
    let mut block = vec![0u8; 512];
    block[..17].copy_from_slice(b"pax_global_header");
    block[124..136].copy_from_slice(format!("{:011o}\0", record.len()).as_bytes());
    block[156] = b'g';
    block[257..265].copy_from_slice(b"ustar\x0000");
    block[148..156].fill(b' ');
    let sum: u64 = block.iter().map(|byte| u64::from(*byte)).sum();
    block[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    block.extend_from_slice(record.as_bytes());
    block.resize(1024, 0);
    block.extend(Tar::new().file("a", b"1").build());
    let found = read(&block).expect("parses");
    assert_eq!(found.len(), 1);
    assert_eq!(found[0].0.path, b"a");
}
