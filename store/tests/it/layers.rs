//! Layers in and out.

use std::os::unix::fs::MetadataExt;

use oci::{Compression, Descriptor, Digest, MediaType};
use store::tar::{Entry, Kind, Reader, Time};
use store::{DiffOptions, LayerBlob, LayerId};

use crate::support::{Tar, TestStore, gunzip, gzip, is_opaque, is_tree, store, xattr};

/// Covers: DST-49
#[test]
fn layers_are_kept_by_the_chain_of_what_is_below_them() {
    let store = store();
    let (a, b) = (Tar::new().file("a", b"1").build(), Tar::new().file("b", b"2").build());
    let top = store.unpack(&[a.clone(), b.clone()]).expect("unpacks").expect("a top");
    let chain = oci::chain_ids(&[Digest::sha256(&a), Digest::sha256(&b)]);
    assert_eq!(top, LayerId::from(&chain[1]));
    let layer = store.layers().require(&top).expect("is there");
    assert_eq!(layer.parent(), Some(LayerId::from(&chain[0])));
    assert_eq!(layer.diff_id(), Some(&Digest::sha256(&b)));
    is_tree(layer.fs(), &[("b", "2")]);
}

/// Covers: B06-32
#[test]
fn a_layer_that_is_there_is_not_unpacked_again() {
    let store = store();
    let base = Tar::new().file("a", b"1").build();
    store.unpack(std::slice::from_ref(&base)).expect("unpacks");
    let lease = store.lease("test").expect("lease");
    let more = Digest::sha256(b"more");
    let unpack =
        store.layers().start_unpack(&[Digest::sha256(&base), more], &lease).expect("plans");
    assert_eq!(unpack.missing(), [1]);
}

/// Covers: DST-51, DST-75
#[test]
fn every_member_frame_and_form_of_compression_is_read_to_its_end() {
    let tar = Tar::new().file("a", &vec![b'x'; 100_000]).file("b", b"2").build();
    let (head, tail) = tar.split_at(1500);
    let zstd = |bytes: &[u8]| zstd::stream::encode_all(bytes, 1).expect("encodes");
    let skippable = [&[0x50, 0x2a, 0x4d, 0x18, 4, 0, 0, 0][..], b"skip"].concat();
    let forms = [
        tar.clone(),
        gzip(&tar),
        [gzip(head), gzip(tail)].concat(),
        zstd(&tar),
        [zstd(head), skippable.clone(), zstd(tail)].concat(),
        [skippable, zstd(&tar)].concat(),
    ];
    for (number, form) in forms.iter().enumerate() {
        let store = store();
        // The media type says gzip for all: the content decides.
        let descriptor = Descriptor::of(MediaType::OciLayer(Compression::Gzip), form);
        store.content().put(&descriptor, form).expect("stores");
        let blob = LayerBlob { descriptor, diff_id: Digest::sha256(&tar) };
        let lease = store.lease("test").expect("lease");
        let top = store.layers().unpack(&[blob], &lease);
        assert!(top.is_ok(), "form {number}: {top:?}");
    }
}

/// Covers: DST-49
#[test]
fn a_layer_whose_content_is_not_the_configs_is_refused() {
    let store = store();
    let tar = Tar::new().file("a", b"1").build();
    let blob = LayerBlob { descriptor: store.blob(&tar), diff_id: Digest::sha256(b"other") };
    let lease = store.lease("test").expect("lease");
    let error = store.layers().unpack(&[blob], &lease).expect_err("differs");
    assert!(error.to_string().contains("the image's config says"), "{error}");
    assert!(store.layers().list().expect("lists").is_empty());
    assert_eq!(std::fs::read_dir(store.root().join("staging")).expect("lists").count(), 0);
}

#[test]
fn owners_modes_times_and_attributes_arrive() {
    let mut file = Entry::new(Kind::File, "bin/tool");
    (file.mode, file.uid, file.gid) = (0o4755, 3_000_000, 70_000);
    file.mtime = Time { seconds: -5, nanos: 0 };
    let capability = [1, 0, 0, 2, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    file.xattrs = vec![
        (b"security.capability".to_vec(), capability.to_vec()),
        (b"user.note".to_vec(), b"hello\n=\0".to_vec()),
    ];
    let mut dir = Entry::new(Kind::Directory, "bin/");
    (dir.mode, dir.mtime) = (0o1777, Time { seconds: 1_000_000_000, nanos: 0 });
    let tar = Tar::new().entry(dir).entry(file).symlink("bin/link", "/x").build();
    let store = store();
    let fs = store.unpacked(&tar);
    let meta = std::fs::metadata(fs.join("bin/tool")).expect("is there");
    assert_eq!((meta.mode() & 0o7777, meta.uid(), meta.gid()), (0o4755, 3_000_000, 70_000));
    assert_eq!(meta.mtime(), -5);
    assert_eq!(xattr(&fs.join("bin/tool"), "security.capability"), Some(capability.to_vec()));
    assert_eq!(xattr(&fs.join("bin/tool"), "user.note"), Some(b"hello\n=\0".to_vec()));
    let meta = std::fs::metadata(fs.join("bin")).expect("is there");
    assert_eq!((meta.mode() & 0o7777, meta.mtime()), (0o1777, 1_000_000_000));
}

/// Covers: DST-74, BLD-90
#[test]
fn whiteouts_and_opaque_directories_take_overlays_form_in_any_order() {
    let tar = Tar::new()
        .file("dir/new", b"1")
        .file("dir/.wh..wh..opq", b"")
        .file(".wh.gone", b"")
        .file("etc/.wh.conf", b"")
        .build();
    let store = store();
    let fs = store.unpacked(&tar);
    is_tree(
        &fs,
        &[
            ("dir", "dir 755"),
            ("dir/new", "1"),
            ("etc", "dir 755"),
            ("etc/conf", "whiteout"),
            ("gone", "whiteout"),
        ],
    );
    assert!(is_opaque(&fs.join("dir")));
    assert!(!is_opaque(&fs.join("etc")));
}

/// Covers: BLD-90
#[test]
fn a_whiteout_hides_lower_layers_only() {
    let tar = Tar::new()
        .file("file", b"new")
        .file(".wh.file", b"")
        .file(".wh.dir", b"")
        .file("dir/new", b"1")
        .build();
    let store = store();
    let fs = store.unpacked(&tar);
    is_tree(&fs, &[("dir", "dir 755"), ("dir/new", "1"), ("file", "new")]);
    assert!(is_opaque(&fs.join("dir")), "the lower directory is hidden");
}

#[test]
fn a_directory_that_a_layer_does_not_describe_looks_as_below() {
    let store = store();
    let base = Tar::new().dir("tmp/", 0o1777).dir("tmp/deep/", 0o700).build();
    let upper = Tar::new().file("tmp/deep/x", b"1").file("fresh/y", b"2").build();
    let top = store.unpack(&[base, upper]).expect("unpacks").expect("a top");
    let fs = store.layers().require(&top).expect("is there").fs().clone();
    is_tree(
        &fs,
        &[
            ("fresh", "dir 755"),
            ("fresh/y", "2"),
            ("tmp", "dir 1777"),
            ("tmp/deep", "dir 700"),
            ("tmp/deep/x", "1"),
        ],
    );
}

/// Covers: RUN-40
#[test]
fn a_hard_link_to_a_file_of_a_lower_layer_brings_the_file_up() {
    let store = store();
    let base = Tar::new().file("dir/a", b"content").build();
    let upper = Tar::new().hardlink("b", "dir/a").build();
    let top = store.unpack(&[base, upper]).expect("unpacks").expect("a top");
    let fs = store.layers().require(&top).expect("is there").fs().clone();
    is_tree(&fs, &[("b", "content")]);
}

#[test]
fn devices_pipes_and_links_are_made() {
    let mut null = Entry::new(Kind::CharDevice { major: 1, minor: 3 }, "null");
    null.mode = 0o666;
    let tar = Tar::new()
        .entry(null)
        .entry(Entry::new(Kind::Fifo, "pipe"))
        .file("a", b"1")
        .hardlink("b", "/a")
        .symlink("s", "../../etc/passwd")
        .build();
    let store = store();
    let fs = store.unpacked(&tar);
    is_tree(
        &fs,
        &[
            ("a", "1"),
            ("b", "1"),
            ("null", "char 259"),
            ("pipe", "fifo"),
            ("s", "-> ../../etc/passwd"),
        ],
    );
    assert_eq!(std::fs::metadata(fs.join("a")).expect("looks").nlink(), 2);
}

/// In overlay form the two are the same thing, so an archive's device 0/0 hides what is below,
/// and goes out as a whiteout.
/// Covers: RUN-40
#[test]
fn a_device_0_0_of_an_archive_is_a_whiteout() {
    let store = store();
    let base = Tar::new().file("a", b"1").build();
    let parent = store.unpack(std::slice::from_ref(&base)).expect("unpacks");
    let device = Entry::new(Kind::CharDevice { major: 0, minor: 0 }, "a");
    let upper = Tar::new().entry(device).build();
    let top = store.unpack(&[base, upper]).expect("unpacks").expect("a top");
    let stack = store.layers().stack(Some(&top)).expect("stacks");
    assert!(stack.resolve("/a").expect("looks").is_none());
    let fs = store.layers().require(&top).expect("is there").fs().clone();
    let diff =
        store.layers().diff_folder(&fs, parent.as_ref(), &DiffOptions::default()).expect("diffs");
    assert_eq!(paths(&store, &diff), [".wh.a"]);
}

#[test]
fn a_later_entry_replaces_an_earlier_one() {
    let tar = Tar::new()
        .file("a", b"1")
        .dir("d/", 0o755)
        .file("d/x", b"old")
        .file("d", b"now a file")
        .dir("a/", 0o700)
        .file("a/y", b"2")
        .build();
    let store = store();
    is_tree(&store.unpacked(&tar), &[("a", "dir 700"), ("a/y", "2"), ("d", "now a file")]);
}

#[test]
fn long_runs_of_zeros_become_holes() {
    let mut content = vec![0u8; 8 * 1024 * 1024];
    content[5_000_000] = 1;
    let store = store();
    let fs = store.unpacked(&Tar::new().file("big", &content).build());
    assert_eq!(std::fs::read(fs.join("big")).expect("reads"), content);
    let meta = std::fs::metadata(fs.join("big")).expect("looks");
    assert!(meta.blocks() * 512 < 1024 * 1024, "{} blocks", meta.blocks());
}

fn upper(store: &TestStore, name: &str) -> std::path::PathBuf {
    store.scratch(name)
}

fn entries(store: &TestStore, diff: &store::Diff) -> Vec<(String, Entry)> {
    let bytes = store.content().small(diff.descriptor.digest(), 1 << 30).expect("reads");
    let tar = gunzip(&bytes);
    assert_eq!(Digest::sha256(&tar), diff.diff_id, "the diff id is the tar's");
    let mut reader = Reader::new(&tar[..]);
    let mut found = Vec::new();
    while let Some(entry) = reader.next_entry().expect("parses") {
        found.push((String::from_utf8_lossy(&entry.path).into_owned(), entry));
    }
    found
}

fn paths(store: &TestStore, diff: &store::Diff) -> Vec<String> {
    entries(store, diff).into_iter().map(|(path, _)| path).collect()
}

/// Covers: BLD-90, RUN-40
#[test]
fn a_diff_lists_whiteouts_first_and_explains_an_opaque_directory() {
    let store = store();
    let base = Tar::new()
        .file("dir/a", b"1")
        .file("dir/b", b"2")
        .file("etc/gone", b"3")
        .file("etc/kept", b"4")
        .build();
    let parent = store.unpack(&[base]).expect("unpacks");
    // What overlay would have made of: rm etc/gone; rm -r dir; mkdir dir; touch dir/b dir/c; touch a.
    let change = Tar::new()
        .file("etc/.wh.gone", b"")
        .file("dir/.wh..wh..opq", b"")
        .file("dir/b", b"new")
        .file("dir/c", b"new")
        .file("a", b"")
        .build();
    let folder = store.unpacked(&change);
    let diff = store
        .layers()
        .diff_folder(&folder, parent.as_ref(), &DiffOptions::default())
        .expect("diffs");
    assert_eq!(
        paths(&store, &diff),
        ["a", "dir/", "dir/.wh.a", "dir/b", "dir/c", "etc/", "etc/.wh.gone"]
    );
}

/// Covers: BLD-91
#[test]
fn directories_touched_only_by_time_are_not_written_unless_something_in_them_is() {
    let store = store();
    let mut dir = Entry::new(Kind::Directory, "idle/");
    (dir.mode, dir.mtime) = (0o755, Time { seconds: 1000, nanos: 0 });
    let mut busy = dir.clone();
    busy.path = b"busy/".to_vec();
    let base = Tar::new().entry(busy).entry(dir).build();
    let parent = store.unpack(&[base]).expect("unpacks");
    let folder = upper(&store, "upper");
    for name in ["idle", "busy"] {
        std::fs::create_dir(folder.join(name)).expect("creates");
    }
    let none = store
        .layers()
        .diff_folder(&folder, parent.as_ref(), &DiffOptions::default())
        .expect("diffs");
    assert_eq!((none.entries, none.bytes), (0, 0));
    std::fs::write(folder.join("busy/x"), b"1").expect("writes");
    let diff = store
        .layers()
        .diff_folder(&folder, parent.as_ref(), &DiffOptions::default())
        .expect("diffs");
    let found = entries(&store, &diff);
    assert_eq!(found[0].0, "busy/");
    assert_eq!(found[0].1.mtime.seconds, 1000, "a mere parent keeps the time it has below");
    assert_eq!(found[1].0, "busy/x");
    assert_eq!(found.len(), 2);
}

/// Covers: BLD-51
#[test]
fn a_diff_keeps_hard_links_attributes_and_large_ids() {
    let store = store();
    let folder = upper(&store, "upper");
    std::fs::write(folder.join("b"), b"content").expect("writes");
    std::fs::hard_link(folder.join("b"), folder.join("a")).expect("links");
    std::os::unix::fs::lchown(folder.join("a"), Some(4_000_000), Some(5)).expect("chowns");
    rustix::fs::lsetxattr(folder.join("a"), "user.x", b"1", rustix::fs::XattrFlags::empty())
        .expect("sets");
    let diff = store.layers().diff_folder(&folder, None, &DiffOptions::default()).expect("diffs");
    let found = entries(&store, &diff);
    assert_eq!((found[0].1.kind, found[0].1.uid, found[0].1.size), (Kind::File, 4_000_000, 7));
    assert_eq!(found[0].1.xattrs, [(b"user.x".to_vec(), b"1".to_vec())]);
    assert_eq!((found[1].1.kind, found[1].1.link.as_slice()), (Kind::HardLink, &b"a"[..]));
    assert_eq!(diff.bytes, 7);
}

/// Covers: BLD-88, BLD-89
#[test]
fn only_times_after_the_epoch_are_clamped() {
    let store = store();
    let folder = upper(&store, "upper");
    for (name, seconds) in [("old", 100), ("new", 2_000_000_000)] {
        let file = std::fs::File::create(folder.join(name)).expect("creates");
        let time = std::time::UNIX_EPOCH + std::time::Duration::from_secs(seconds);
        file.set_modified(time).expect("sets");
    }
    let options = DiffOptions { epoch: Some(1_000_000_000), ..DiffOptions::default() };
    let diff = store.layers().diff_folder(&folder, None, &options).expect("diffs");
    let times: Vec<i64> =
        entries(&store, &diff).iter().map(|(_, entry)| entry.mtime.seconds).collect();
    assert_eq!(times, [1_000_000_000, 100]);
}

#[test]
fn a_file_that_would_be_read_as_a_whiteout_is_refused() {
    let store = store();
    let folder = upper(&store, "upper");
    std::fs::write(folder.join(".wh.x"), b"").expect("writes");
    let error = store
        .layers()
        .diff_folder(&folder, None, &DiffOptions::default())
        .expect_err("cannot be represented");
    assert!(error.to_string().contains("whiteout"), "{error}");
    assert_eq!(std::fs::read_dir(store.root().join("ingest")).expect("lists").count(), 0);
}

#[test]
fn an_attribute_that_pax_cannot_name_is_refused_with_its_file() {
    let store = store();
    let folder = upper(&store, "upper");
    std::fs::write(folder.join("odd"), b"").expect("writes");
    rustix::fs::lsetxattr(folder.join("odd"), "user.a=b", b"1", rustix::fs::XattrFlags::empty())
        .expect("sets");
    let error = store
        .layers()
        .diff_folder(&folder, None, &DiffOptions::default())
        .expect_err("cannot be represented");
    assert!(error.to_string().contains("odd") && error.to_string().contains('='), "{error}");
}

#[test]
fn a_layer_goes_out_as_it_came_in() {
    let store = store();
    let tar = Tar::new()
        .dir("d/", 0o700)
        .file("d/f", b"1")
        .hardlink("d/g", "d/f")
        .symlink("d/s", "f")
        .file("z/.wh.gone", b"")
        .build();
    let id = store.unpack(&[tar]).expect("unpacks").expect("a top");
    let one = store.layers().require(&id).expect("is there").fs().clone();
    let diff = store.layers().diff_folder(&one, None, &DiffOptions::default()).expect("diffs");
    let again = gunzip(&store.content().small(diff.descriptor.digest(), 1 << 20).expect("reads"));
    let two = store.unpacked(&again);
    assert_eq!(crate::support::tree(&one), crate::support::tree(&two));
}

/// The bytes of a layer decide digests that registries and signatures hold: a change here is a
/// change of the format.
/// Covers: BLD-85
#[test]
fn the_bytes_of_a_layer_are_golden_whatever_the_number_of_threads() {
    let store = store();
    let folder = upper(&store, "upper");
    let mut noise = Vec::new();
    let mut state = 1u32;
    for _ in 0..700_000 {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        noise.extend_from_slice(&(state >> 16).to_le_bytes());
    }
    std::fs::create_dir(folder.join("dir")).expect("creates");
    std::fs::write(folder.join("dir/noise"), &noise).expect("writes");
    std::fs::write(folder.join("text"), "the same text again\n".repeat(50_000)).expect("writes");
    for (name, mode) in [("dir", 0o755), ("dir/noise", 0o644), ("text", 0o644)] {
        let mode = std::os::unix::fs::PermissionsExt::from_mode(mode);
        std::fs::set_permissions(folder.join(name), mode).expect("sets");
    }
    let golden = [
        (Compression::None, GOLDEN_TAR),
        (Compression::Gzip, GOLDEN_GZIP),
        (Compression::Zstd, GOLDEN_ZSTD),
    ];
    for (compression, expected) in golden {
        for threads in [1, 2, 5] {
            let threads = std::num::NonZero::new(threads);
            let options =
                DiffOptions { compression, epoch: Some(0), threads, ..DiffOptions::default() };
            let diff = store.layers().diff_folder(&folder, None, &options).expect("diffs");
            assert_eq!(diff.diff_id.to_string(), GOLDEN_TAR, "the tar");
            assert_eq!(diff.descriptor.digest().to_string(), expected, "{compression:?}");
            store.content().open_verified(&diff.descriptor).expect("opens");
        }
    }
}

const GOLDEN_TAR: &str = "sha256:1e7902f55f730d3db5dedc8c9166aa269562294d7d84e62ed5989f87478104a3";
const GOLDEN_GZIP: &str = "sha256:82631824db41b779de129da263fbe2eb98aaf9f8e871e20338ca43848341cf8b";
const GOLDEN_ZSTD: &str = "sha256:14c1d0a37aff32ed226783ee57ae7a3f94e75db41709722f947c6dbead9184f4";

#[test]
fn the_header_of_a_gzip_layer_carries_no_name_time_or_system() {
    let store = store();
    let folder = upper(&store, "upper");
    let diff = store.layers().diff_folder(&folder, None, &DiffOptions::default()).expect("diffs");
    let bytes = store.content().small(diff.descriptor.digest(), 1 << 20).expect("reads");
    assert_eq!(bytes[..10], [0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 255]);
    assert_eq!(gunzip(&bytes), [0; 1024]);
}

#[test]
fn a_known_layer_is_not_compressed_again() {
    let store = store();
    let tar = Tar::new().file("a", b"1").build();
    let blob = gzip(&tar);
    let descriptor = Descriptor::of(MediaType::OciLayer(Compression::Gzip), &blob);
    store.content().put(&descriptor, &blob).expect("stores");
    let lease = store.lease("test").expect("lease");
    let layer = LayerBlob { descriptor: descriptor.clone(), diff_id: Digest::sha256(&tar) };
    let id = store.layers().unpack(&[layer], &lease).expect("unpacks").expect("a top");
    let diff = store.layers().diff(&id, &DiffOptions::default()).expect("knows");
    assert_eq!(diff.descriptor.digest(), descriptor.digest());
}

#[test]
fn a_stack_reads_like_a_mounted_tree() {
    let store = store();
    let base = Tar::new()
        .file("etc/passwd", b"root:x:0:0")
        .file("etc/old", b"")
        .symlink("bin", "usr/bin")
        .file("usr/bin/sh", b"shell")
        .build();
    let upper = Tar::new().file("etc/.wh.old", b"").file("etc/new", b"").build();
    let top = store.unpack(&[base, upper]).expect("unpacks");
    let stack = store.layers().stack(top.as_ref()).expect("stacks");
    let read = |path: &str| stack.read(path, 100).expect("reads");
    assert_eq!(read("/etc/passwd").as_deref(), Some(&b"root:x:0:0"[..]));
    assert_eq!(read("/bin/../bin/sh").as_deref(), Some(&b"shell"[..]));
    assert_eq!(read("/etc/old"), None);
    let etc = stack.resolve("/etc").expect("resolves").expect("is there");
    assert_eq!(stack.list(&etc).expect("lists"), [b"new".to_vec(), b"passwd".to_vec()]);
    let mut out = Vec::new();
    store.layers().export(top.as_ref(), Some(0), &mut out).expect("exports");
    let mut reader = Reader::new(&out[..]);
    let mut found = Vec::new();
    while let Some(entry) = reader.next_entry().expect("parses") {
        found.push(String::from_utf8_lossy(&entry.path).into_owned());
    }
    assert_eq!(found, ["bin", "etc/", "etc/new", "etc/passwd", "usr/", "usr/bin/", "usr/bin/sh"]);
}
