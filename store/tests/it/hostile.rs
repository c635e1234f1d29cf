//! Archives made to break out, to overwhelm, or to be read in two ways. Each test is named
//! after its attack.

use std::path::Path;

use store::tar::{BLOCK_BYTES, Entry, Kind};

use crate::support::{Tar, is_tree, store, tree};

/// Unpacks beside a bait; neither success nor failure may touch it.
#[track_caller]
fn attack(tar: &[u8]) -> store::Result<std::path::PathBuf> {
    let store = store();
    let bait = store.dir.path().join("bait");
    std::fs::write(&bait, b"untouched").expect("writes");
    let outside =
        |path: &Path| path.starts_with(store.dir.path()) && !path.starts_with(store.root());
    let result = store.unpack(&[tar.to_vec()]);
    assert_eq!(std::fs::read(&bait).expect("is there"), b"untouched");
    let beside: Vec<_> = std::fs::read_dir(store.dir.path())
        .expect("lists")
        .map(|entry| entry.expect("lists").path())
        .filter(|path| outside(path))
        .collect();
    assert_eq!(beside, [bait], "something was made outside");
    assert_eq!(std::fs::read_dir(store.root().join("staging")).expect("lists").count(), 0);
    let id = result?.expect("one layer");
    let fs = store.layers().require(&id)?.fs().clone();
    let copy = tempfile::tempdir().expect("temporary directory").keep();
    std::fs::rename(fs, copy.join("fs")).expect("moves");
    Ok(copy.join("fs"))
}

#[track_caller]
fn refused(tar: &[u8], reason: &str) {
    let error = attack(tar).expect_err("accepted").to_string();
    assert!(error.contains(reason), "{error}");
}

#[track_caller]
fn harmless(tar: &[u8], expected: &[(&str, &str)]) {
    let fs = attack(tar).expect("unpacks");
    is_tree(&fs, expected);
    std::fs::remove_dir_all(fs.parent().expect("has one")).expect("removes");
}

/// Covers: DST-76
#[test]
fn absolute_name() {
    harmless(&Tar::new().file("/etc/x", b"1").build(), &[("etc", "dir 755"), ("etc/x", "1")]);
}

/// Covers: DST-76
#[test]
fn dotdot_name() {
    for name in ["../bait", "a/../../bait", "..", "a/..", "/../bait"] {
        refused(&Tar::new().file(name, b"1").build(), "contains `..`");
    }
}

/// Covers: DST-76
#[test]
fn dotdot_hard_link_target() {
    refused(&Tar::new().hardlink("x", "../../bait").build(), "contains `..`");
}

/// RUSTSEC-2018-0002, RUSTSEC-2021-0080.
/// Covers: DST-76
#[test]
fn write_through_a_symlink_out_of_the_root() {
    for target in ["/", "../../../..", "/tmp", "../../../../bait"] {
        let tar = Tar::new().symlink("esc", target).file("esc/bait", b"1").build();
        if let Ok(fs) = attack(&tar) {
            assert!(tree(&fs).len() <= 3, "{:?}", tree(&fs));
        }
    }
}

#[test]
fn write_through_a_symlink_in_place_of_a_file() {
    let tar = Tar::new().symlink("f", "/bait").file("f", b"1").build();
    harmless(&tar, &[("f", "1")]);
}

/// RUSTSEC-2026-0067: the mode of a directory set through a link.
#[test]
fn chmod_through_a_symlink() {
    let tar = Tar::new().dir("d/", 0o755).symlink("l", "d").dir("l/", 0o777).build();
    harmless(&tar, &[("d", "dir 755"), ("l", "dir 777")]);
}

#[test]
fn hard_link_through_a_symlink_out_of_the_root() {
    let tar = Tar::new().symlink("esc", "../..").hardlink("x", "esc/bait").build();
    refused(&tar, "in no layer");
}

#[test]
fn hard_link_to_itself() {
    harmless(&Tar::new().file("a", b"1").hardlink("a", "a").build(), &[("a", "1")]);
}

#[test]
fn hard_link_to_a_directory() {
    assert!(attack(&Tar::new().dir("d/", 0o755).hardlink("x", "d").build()).is_err());
}

#[test]
fn hard_link_to_nothing() {
    refused(&Tar::new().hardlink("x", "nothing").build(), "in no layer");
}

#[test]
fn symlink_loop_as_a_parent() {
    let tar = Tar::new().symlink("a", "b").symlink("b", "a").file("a/x", b"1").build();
    refused(&tar, "loop of links");
}

#[test]
fn dangling_symlink_as_a_parent() {
    refused(&Tar::new().symlink("a", "nowhere").file("a/x", b"1").build(), "link to nowhere");
}

#[test]
fn file_as_a_parent() {
    refused(&Tar::new().file("a", b"1").file("a/x", b"1").build(), "used as a directory");
}

#[test]
fn directory_replaced_by_a_symlink_while_it_is_open() {
    let tar = Tar::new()
        .dir("d/", 0o755)
        .file("d/one", b"1")
        .symlink("d", "/")
        .file("d/two", b"2")
        .build();
    harmless(&tar, &[("d", "-> /"), ("two", "2")]);
}

/// A whiteout of `.` or `..` would remove the parent of a directory.
/// Covers: BLD-90
#[test]
fn whiteout_of_dot_and_dotdot_and_nothing() {
    for name in [".wh.", ".wh..", ".wh...", "d/.wh.", "d/.wh..."] {
        refused(&Tar::new().file(name, b"").build(), "whites out no name");
    }
}

#[test]
fn whiteout_through_a_symlink() {
    let tar = Tar::new().symlink("esc", "../..").file("esc/.wh.bait", b"").build();
    harmless(&tar, &[("bait", "whiteout"), ("esc", "-> ../..")]);
}

#[test]
fn root_replaced_by_a_symlink_or_file() {
    refused(&Tar::new().symlink("./", "/").build(), "replace the layer's root");
    refused(&Tar::new().file(".", b"").build(), "replace the layer's root");
}

/// An archive that sets overlay's own attributes could point a directory anywhere.
/// Covers: DST-76
#[test]
fn overlay_attributes_of_an_archive_are_dropped() {
    let mut entry = Entry::new(Kind::Directory, "d/");
    entry.mode = 0o755;
    entry.xattrs = vec![
        (b"trusted.overlay.opaque".to_vec(), b"y".to_vec()),
        (b"trusted.overlay.redirect".to_vec(), b"/etc".to_vec()),
        (b"user.overlay.opaque".to_vec(), b"y".to_vec()),
    ];
    let fs = attack(&Tar::new().entry(entry).build()).expect("unpacks");
    for name in ["trusted.overlay.opaque", "trusted.overlay.redirect", "user.overlay.opaque"] {
        assert_eq!(crate::support::xattr(&fs.join("d"), name), None);
    }
    std::fs::remove_dir_all(fs.parent().expect("has one")).expect("removes");
}

#[test]
fn truncated_anywhere() {
    let tar = Tar::new().file("a", &[7; 700]).file("b", b"1").build();
    let parsed = |end: usize| {
        let mut reader = store::tar::Reader::new(&tar[..end]);
        loop {
            match reader.next_entry() {
                Ok(Some(_)) => {}
                Ok(None) => return true,
                Err(_) => return false,
            }
        }
    };
    for end in (0..tar.len() - 2 * BLOCK_BYTES).filter(|end| end % 37 == 0) {
        let between = [0, 1536, 2560].contains(&end);
        assert_eq!(parsed(end), between, "cut at {end}");
    }
}

/// A reader that honours a size and one that does not see two archives.
#[test]
fn size_beyond_the_archive() {
    let mut tar = Tar::new().file("a", b"1").build();
    octal(&mut tar[124..136], 1 << 32);
    fix_sum(&mut tar);
    refused(&tar, "truncated");
}

#[test]
fn size_of_nine_exabytes() {
    let mut tar = Tar::new().file("a", b"1").build();
    tar[124..136].copy_from_slice(&[0x80, 0, 0, 0, 0x7f, 255, 255, 255, 255, 255, 255, 255]);
    fix_sum(&mut tar);
    refused(&tar, "bytes in one file");
}

#[test]
fn negative_size() {
    let mut tar = Tar::new().file("a", b"1").build();
    tar[124..136].fill(0xff);
    fix_sum(&mut tar);
    refused(&tar, "negative");
}

#[test]
fn wrong_checksum() {
    let mut tar = Tar::new().file("a", b"1").build();
    tar[0] = b'b';
    refused(&tar, "checksum");
}

/// RUSTSEC-2026-0068: the PAX size counts although the header's is not zero.
#[test]
fn pax_size_against_header_size() {
    let inner = Tar::new().file("smuggled", b"evil").build();
    let mut tar = pax(&record("size", &inner.len().to_string()).to_string());
    let mut outer = Tar::new().file("outer", b"x").build();
    outer.truncate(BLOCK_BYTES);
    tar.extend(outer);
    tar.extend(&inner);
    tar.extend([0; 1024]);
    let fs = attack(&tar).expect("unpacks");
    assert_eq!(tree(&fs).keys().collect::<Vec<_>>(), ["outer"], "the data is data");
    std::fs::remove_dir_all(fs.parent().expect("has one")).expect("removes");
}

/// GHSA-3cv2-h65g-fgmm: a PAX header must not apply to the extension header behind it.
#[test]
fn pax_size_applied_to_a_long_name_header() {
    let mut tar = pax(&record("size", "0"));
    let mut long = raw_header(b"././@LongLink", b'L', 6);
    long.extend(padded(b"right\0"));
    tar.extend(long);
    tar.extend(raw_header(b"wrong", b'0', 0));
    tar.extend([0; 1024]);
    harmless(&tar, &[("right", "")]);
}

/// A global header that sets a size makes readers disagree about every entry behind it.
#[test]
fn global_header_with_a_size() {
    let record = record("size", "512");
    let mut tar = raw_header(b"g", b'g', record.len() as u64);
    tar.extend(padded(record.as_bytes()));
    tar.extend(Tar::new().file("a", b"1").build());
    refused(&tar, "global header");
}

/// Go's reader applies the name to the global header and gives the entry its own; GNU tar gives it to the entry.
#[test]
fn pax_name_before_a_global_header() {
    let mut tar = pax(&record("path", "smuggled"));
    let comment = record("comment", "x");
    tar.extend(raw_header(b"pax_global_header", b'g', comment.len() as u64));
    tar.extend(padded(comment.as_bytes()));
    tar.extend(Tar::new().file("plain", b"1").build());
    refused(&tar, "before something that is no entry");
}

/// GNU tar reads such a name to its NUL, Go to its length.
#[test]
fn long_name_behind_its_length() {
    let mut tar = raw_header(b"././@LongLink", b'L', 5);
    tar.extend(padded(b"short-and-long"));
    tar.extend(Tar::new().file("a", b"1").build());
    refused(&tar, "goes on behind its length");
    let mut tar = raw_header(b"././@LongLink", b'L', 5);
    tar.extend(padded(b"short"));
    tar.extend(Tar::new().file("a", b"1").build());
    harmless(&tar, &[("short", "1")]);
}

#[test]
fn extension_header_of_gigabytes() {
    for typeflag in [b'x', b'g', b'L', b'K'] {
        refused(&raw_header(b"h", typeflag, 1 << 30), "an extension header");
    }
}

#[test]
fn endless_extension_headers() {
    let mut tar = Vec::new();
    for _ in 0..100 {
        tar.extend(pax(&record("comment", "x")));
    }
    refused(&tar, "too many extension headers");
}

#[test]
fn extension_header_without_an_entry() {
    let mut tar = pax(&record("path", "x"));
    tar.extend([0; 1024]);
    refused(&tar, "without an entry");
}

#[test]
fn data_behind_a_single_zero_block() {
    let mut tar = Tar::new().file("a", b"1").build();
    tar.truncate(1024);
    tar.extend([0; BLOCK_BYTES]);
    tar.extend(Tar::new().file("b", b"2").build());
    refused(&tar, "single zero block");
}

#[test]
fn name_with_a_nul() {
    let mut tar = pax("13 path=a\0bc\n");
    tar.extend(raw_header(b"a", b'0', 0));
    refused(&tar, "NUL");
}

#[test]
fn name_too_long_for_the_kernel() {
    refused(&Tar::new().file(&"x".repeat(300), b"").build(), "too long");
    refused(&Tar::new().file(&"x/".repeat(3000), b"").build(), "over the limit");
}

#[test]
fn path_too_deep() {
    refused(&Tar::new().file(&format!("{}x", "d/".repeat(1500)), b"").build(), "too deep");
}

#[test]
fn unknown_entry_type() {
    let mut tar = raw_header(b"multi", b'M', 0);
    tar.extend([0; 1024]);
    refused(&tar, "not supported");
}

#[test]
fn id_that_means_no_change() {
    let mut tar = pax(&record("uid", &u32::MAX.to_string()));
    tar.extend(raw_header(b"a", b'0', 0));
    refused(&tar, "user or group id");
}

#[test]
fn sparse_map_beyond_the_file_or_backwards() {
    for map in ["0,10,5,10", "100,10", "0,18446744073709551615", "1,2,3"] {
        let records = [
            record("GNU.sparse.map", map),
            record("GNU.sparse.size", "50"),
            record("GNU.sparse.name", "s"),
        ];
        let mut tar = pax(&records.concat());
        tar.extend(raw_header(b"GNUSparseFile.0/s", b'0', 10));
        tar.extend(padded(b"0123456789"));
        tar.extend([0; 1024]);
        assert!(attack(&tar).is_err(), "{map}");
    }
}

#[test]
fn sparse_file_of_exabytes() {
    let records = [
        record("GNU.sparse.map", "9000000000000000000,1"),
        record("GNU.sparse.size", "9000000000000000001"),
    ];
    let mut tar = pax(&records.concat());
    tar.extend(raw_header(b"s", b'0', 1));
    tar.extend(padded(b"x"));
    tar.extend([0; 1024]);
    refused(&tar, "bytes in one file");
}

#[test]
fn garbage_behind_a_gzip_member() {
    let store = store();
    let tar = Tar::new().file("a", b"1").build();
    let blob = [crate::support::gzip(&tar), b"garbage".to_vec()].concat();
    let layer =
        store::LayerBlob { descriptor: store.blob(&blob), diff_id: oci::Digest::sha256(&tar) };
    let lease = store.lease("test").expect("lease");
    assert!(store.layers().unpack(&[layer], &lease).is_err());
}

#[test]
fn zstd_window_of_gigabytes() {
    let mut encoder = zstd::stream::write::Encoder::new(Vec::new(), 1).expect("starts");
    encoder.window_log(30).expect("sets");
    std::io::Write::write_all(&mut encoder, &Tar::new().file("a", b"1").build()).expect("writes");
    let blob = encoder.finish().expect("writes");
    let store = store();
    let tar = Tar::new().file("a", b"1").build();
    let layer =
        store::LayerBlob { descriptor: store.blob(&blob), diff_id: oci::Digest::sha256(&tar) };
    let lease = store.lease("test").expect("lease");
    assert!(store.layers().unpack(&[layer], &lease).is_err());
}

fn record(key: &str, value: &str) -> String {
    let rest = key.len() + value.len() + 3;
    let mut length = rest + 1;
    while length != rest + length.to_string().len() {
        length = rest + length.to_string().len();
    }
    format!("{length} {key}={value}\n")
}

fn pax(records: &str) -> Vec<u8> {
    let mut tar = raw_header(b"PaxHeaders.0/x", b'x', records.len() as u64);
    tar.extend(padded(records.as_bytes()));
    tar
}

fn padded(bytes: &[u8]) -> Vec<u8> {
    let mut out = bytes.to_vec();
    out.resize(bytes.len().div_ceil(BLOCK_BYTES) * BLOCK_BYTES, 0);
    out
}

fn raw_header(name: &[u8], typeflag: u8, size: u64) -> Vec<u8> {
    let mut block = vec![0; BLOCK_BYTES];
    block[..name.len()].copy_from_slice(name);
    octal(&mut block[100..108], 0o644);
    octal(&mut block[124..136], size);
    block[156] = typeflag;
    block[257..265].copy_from_slice(b"ustar\x0000");
    fix_sum(&mut block);
    block
}

fn octal(field: &mut [u8], value: u64) {
    let digits = field.len() - 1;
    let text = format!("{value:0digits$o}\0");
    field.copy_from_slice(text.as_bytes());
}

fn fix_sum(block: &mut [u8]) {
    block[148..156].fill(b' ');
    let sum: u64 = block[..BLOCK_BYTES].iter().map(|byte| u64::from(*byte)).sum();
    octal(&mut block[148..155], sum);
}
