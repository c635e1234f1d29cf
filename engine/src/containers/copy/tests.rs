use std::fs;
use std::os::unix::fs::{MetadataExt, symlink};
use std::path::PathBuf;

use super::place::Typed;
use super::*;

struct Sides {
    dir: tempfile::TempDir,
}

impl Sides {
    fn new() -> Self {
        let dir = tempfile::tempdir().expect("temporary folder");
        for side in ["from", "to"] {
            fs::create_dir(dir.path().join(side)).expect("make a side");
        }
        Self { dir }
    }

    fn from(&self, path: &str) -> PathBuf {
        self.dir.path().join("from").join(path)
    }

    fn to(&self, path: &str) -> PathBuf {
        self.dir.path().join("to").join(path)
    }

    fn copy(&self, from: &str, to: &str) -> Result<u64> {
        self.copy_as(from, to, false)
    }

    fn copy_as(&self, from: &str, to: &str, follow: bool) -> Result<u64> {
        let source_root = Root::open(&self.from(""))?;
        let target_root = Root::open(&self.to(""))?;
        let source = Source::find(&source_root, from, follow)?;
        let target = Target::find(&target_root, to, Some(&source))?;
        transfer(&source, target, Owner::Kept)
    }
}

#[test]
fn the_end_of_a_path_says_what_is_meant() {
    for (text, path, folder, content) in [
        ("/a/b", "/a/b", false, false),
        ("a/b/", "/a/b", true, false),
        ("/a/b/.", "/a/b", true, true),
        (".", "/", true, true),
        ("/../a/../../b", "/b", false, false),
    ] {
        let typed = Typed { path: path.into(), must_be_folder: folder, content_only: content };
        assert_eq!(Typed::read(text), typed, "{text}");
    }
}

/// Covers: RUN-39
#[test]
fn source_and_target_mean_what_dockers_table_says() {
    type Row = (&'static str, &'static str, Result<&'static str, &'static str>);
    let rows: &[Row] = &[
        ("/file", "/new", Ok("new")),
        ("/file", "/new/", Err("")),
        ("/file", "/present", Ok("present")),
        ("/file", "/folder", Ok("folder/file")),
        ("/file", "/no/such/folder", Err("")),
        ("/tree", "/new", Ok("new/inner/leaf")),
        ("/tree", "/new/", Ok("new/inner/leaf")),
        ("/tree", "/present", Err("cannot copy directory")),
        ("/tree", "/folder", Ok("folder/tree/inner/leaf")),
        ("/tree/.", "/folder", Ok("folder/inner/leaf")),
        ("/tree/.", "/new", Ok("new/inner/leaf")),
        ("/file/.", "/folder", Err("")),
        ("/nothing", "/folder", Err("")),
    ];
    for (from, to, expected) in rows {
        let sides = Sides::new();
        fs::write(sides.from("file"), "content").expect("write");
        fs::create_dir_all(sides.from("tree/inner")).expect("make");
        fs::write(sides.from("tree/inner/leaf"), "content").expect("write");
        fs::write(sides.to("present"), "old").expect("write");
        fs::create_dir(sides.to("folder")).expect("make");
        match (sides.copy(from, to), expected) {
            (Ok(_), Ok(path)) => {
                let content = fs::read_to_string(sides.to(path)).expect(path);
                assert_eq!(content, "content", "{from} to {to}");
            }
            (Err(error), Err(words)) => {
                assert!(error.to_string().contains(words), "{from} to {to}: {error}");
            }
            (result, _) => panic!("{from} to {to}: {result:?}"),
        }
    }
}

/// Covers: RUN-39
#[test]
fn links_never_lead_out_of_the_root_on_either_side() {
    let sides = Sides::new();
    let outside = sides.dir.path().join("outside");
    fs::create_dir(&outside).expect("make");
    fs::write(outside.join("secret"), "secret").expect("write");
    symlink(&outside, sides.from("up")).expect("link");
    symlink("../../outside", sides.to("up")).expect("link");
    assert!(sides.copy("/up/secret", "/x").is_err(), "the link is looked up inside");
    assert!(sides.copy_as("/up", "/x", true).is_err());
    fs::write(sides.from("file"), "planted").expect("write");
    assert!(sides.copy("/file", "/up/planted").is_err());
    assert!(!outside.join("planted").exists());
    sides.copy("/up", "/copy").expect("the link itself");
    assert_eq!(fs::read_link(sides.to("copy")).expect("a link"), outside);
}

#[test]
fn a_file_takes_no_folder_s_place_and_the_other_way_round() {
    let sides = Sides::new();
    fs::create_dir_all(sides.from("tree/x")).expect("make");
    fs::create_dir_all(sides.to("tree")).expect("make");
    fs::write(sides.to("tree/x"), "a file").expect("write");
    let error = sides.copy("/tree/.", "/tree").expect_err("a folder over a file");
    assert!(error.to_string().contains("cannot overwrite non-directory"), "{error}");
    fs::remove_dir(sides.from("tree/x")).expect("remove");
    fs::write(sides.from("tree/x"), "a file").expect("write");
    fs::remove_file(sides.to("tree/x")).expect("remove");
    fs::create_dir(sides.to("tree/x")).expect("make");
    let error = sides.copy("/tree/.", "/tree").expect_err("a file over a folder");
    assert!(error.to_string().contains("cannot overwrite directory"), "{error}");
}

#[test]
fn modes_times_links_and_odd_files_arrive() {
    let sides = Sides::new();
    fs::create_dir(sides.from("tree")).expect("make");
    fs::write(sides.from("tree/one"), "x").expect("write");
    fs::hard_link(sides.from("tree/one"), sides.from("tree/two")).expect("link");
    symlink("one", sides.from("tree/link")).expect("link");
    let set = std::os::unix::fs::PermissionsExt::from_mode(0o4751);
    fs::set_permissions(sides.from("tree/one"), set).expect("mode");
    sides.copy("/tree", "/copy").expect("copy");
    let (one, two) = (sides.to("copy/one"), sides.to("copy/two"));
    let (one, two) = (fs::metadata(one).expect("one"), fs::metadata(two).expect("two"));
    assert_eq!(one.ino(), two.ino());
    assert_eq!(one.mode() & 0o7777, 0o4751);
    let before = fs::metadata(sides.from("tree/one")).expect("one");
    assert_eq!(one.mtime(), before.mtime());
    assert_eq!(fs::read_link(sides.to("copy/link")).expect("link"), PathBuf::from("one"));
}

#[test]
fn an_archive_that_leads_up_is_refused() {
    use store::tar::{Entry, Kind, Writer};
    let sides = Sides::new();
    let mut entry = Entry::new(Kind::File, "a/../../planted");
    entry.mode = 0o644;
    let mut tar = Writer::new(Vec::new());
    tar.entry(&entry).expect("write");
    let tar = tar.finish().expect("finish");
    let root = Root::open(&sides.to("")).expect("open");
    let target = Target::find(&root, "/", None).expect("the root is there");
    let error = unpack::unpack(tar.as_slice(), &target, Owner::Kept).expect_err("it leads up");
    assert!(error.to_string().contains("leads out"), "{error}");
}
