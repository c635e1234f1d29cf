//! COPY, ADD and the build context, down to the file tree that comes out.

mod support;

use std::sync::atomic::Ordering;

use builder::Error;
use support::World;

/// Covers: BLD-40, BLD-52
#[test]
fn hostile_sources_never_leave_the_context() {
    let world = World::new();
    std::fs::write(world.root.path().join("secret"), "outside").unwrap();
    std::os::unix::fs::symlink("../secret", world.context.join("up")).unwrap();
    std::os::unix::fs::symlink(world.root.path().join("secret"), world.context.join("absolute"))
        .unwrap();
    std::os::unix::fs::symlink("/", world.context.join("rootdir")).unwrap();
    std::os::unix::fs::symlink("loop", world.context.join("loop")).unwrap();
    world.file("fine", "f");
    for source in
        ["up", "absolute", "../secret", "/../secret", "rootdir/etc/hostname", "../../etc/passwd"]
    {
        let error = world.build(&format!("FROM scratch\nCOPY {source} /x\n")).unwrap_err();
        assert!(matches!(error, Error::SourceNotFound { .. }), "{source}: {error}");
    }
    assert!(world.build("FROM scratch\nCOPY loop /x\n").is_err());
    // A whole folder keeps its links as links.
    let tree = world.tree(&world.build("FROM scratch\nCOPY . /all/\n").unwrap());
    assert_eq!(tree["all/up"], "Symlink 777 0:0 -> ../secret");
    // A link in the root of the image does not lead out of it either.
    let tree = world.tree(&world.build("FROM base\nCOPY fine /escape/f\n").unwrap());
    assert_eq!(tree["tmp/f"], "File 644 0:0 \"f\"");
}

/// Covers: BLD-40, BLD-41, BLD-42
#[test]
fn sources_and_destinations_follow_the_reference() {
    let world = World::new();
    world
        .file("a.txt", "a")
        .file("b.txt", "b")
        .file("dir/x", "x")
        .file("dir/sub/y", "y")
        .file("arr[0].txt", "0");
    let tree = |text: &str| {
        world.tree(
            &world.build(&format!("FROM base\n{text}\n")).unwrap_or_else(|e| panic!("{text}: {e}")),
        )
    };
    assert_eq!(tree("COPY dir /d")["d/sub/y"], "File 644 0:0 \"y\"");
    assert_eq!(tree("COPY dir/ /d/")["d/x"], "File 644 0:0 \"x\"");
    assert_eq!(tree("COPY a.txt /new/deep/name")["new/deep/name"], "File 644 0:0 \"a\"");
    assert_eq!(tree("COPY a.txt /new/")["new/a.txt"], "File 644 0:0 \"a\"");
    assert_eq!(
        tree("COPY a.txt /data")["data/a.txt"],
        "File 644 0:0 \"a\"",
        "an existing folder takes the file in"
    );
    assert_eq!(tree("COPY *.txt /t/").keys().filter(|k| k.starts_with("t/")).count(), 3);
    assert_eq!(tree("COPY arr[[]0].txt /t/")["t/arr[0].txt"], "File 644 0:0 \"0\"");
    assert_eq!(
        tree("COPY nothing* a.txt /t/").keys().filter(|k| k.starts_with("t/")).count(),
        1,
        "a wildcard may match nothing"
    );
    assert_eq!(tree("WORKDIR /w\nCOPY a.txt .")["w/a.txt"], "File 644 0:0 \"a\"");
    let error = |text: &str| world.build(&format!("FROM base\n{text}\n")).unwrap_err().to_string();
    assert!(error("COPY missing /x").contains("\"/missing\" not found in the build context"));
    assert!(
        error("COPY dir /data/a").contains("cannot copy to non-directory"),
        "{}",
        error("COPY dir /data/a")
    );
    assert!(error("COPY a.txt b.txt /x").contains("must be a directory and end with a /"));
}

/// Covers: BLD-44, BLD-45, BLD-46
#[test]
fn ownership_and_modes_are_set_as_asked() {
    let world = World::new();
    world.file("f", "f").file("d/x", "x");
    let tree = |text: &str| {
        world.tree(
            &world.build(&format!("FROM base\n{text}\n")).unwrap_or_else(|e| panic!("{text}: {e}")),
        )
    };
    assert_eq!(tree("COPY --chown=app f /n/f")["n/f"], "File 644 1000:1000 \"f\"");
    assert_eq!(tree("COPY --chown=app f /n/f")["n"], "Directory 755 1000:1000");
    assert_eq!(tree("COPY --chown=7 f /f")["f"], "File 644 7:7 \"f\"");
    assert_eq!(tree("USER app\nCOPY f /f")["f"], "File 644 0:0 \"f\"", "USER does not matter");
    assert_eq!(tree("COPY --chmod=u=rwX,go=rX d /d/")["d/x"], "File 644 0:0 \"x\"");
    assert_eq!(tree("ARG M=0750\nCOPY --chmod=$M f /f")["f"], "File 750 0:0 \"f\"");
    assert_eq!(tree("USER app\nWORKDIR /home/app/w")["home/app/w"], "Directory 755 1000:1000");
    assert_eq!(tree("COPY --link --chmod=600 f /l/f")["l/f"], "File 600 0:0 \"f\"");
    let error = world.build("FROM base\nCOPY --chown=ghost f /f\n").unwrap_err().to_string();
    assert!(
        error.ends_with("unable to find user \"ghost\" in /etc/passwd of the image"),
        "{error}"
    );
}

/// Covers: BLD-46
#[test]
fn a_linked_copy_is_the_same_layer_on_any_base() {
    let world = World::new();
    world.file("f", "f");
    let last = |base: &str| {
        let built = world.build(&format!("FROM {base}\nCOPY --link f /deep/f\n")).unwrap();
        (
            built.images[0].config.rootfs.diff_ids.last().cloned().unwrap(),
            built.images[0].steps.cached,
        )
    };
    let (on_base, _) = last("base");
    let (on_other, cached) = last("other");
    assert_eq!((on_base, cached), (on_other, 1));
}

/// Covers: BLD-47, BLD-48
#[test]
fn parents_and_excludes_choose_what_is_copied() {
    let world = World::new();
    world
        .file("src/a/x.go", "x")
        .file("src/a/x_test.go", "t")
        .file("src/b/y.go", "y")
        .file("src/b/n.md", "n");
    let copied = |text: &str| -> Vec<String> {
        let tree = world.tree(
            &world
                .build(&format!("FROM scratch\n{text}\n"))
                .unwrap_or_else(|e| panic!("{text}: {e}")),
        );
        tree.iter().filter(|(_, v)| v.starts_with("File")).map(|(k, _)| k.clone()).collect()
    };
    assert_eq!(
        copied("COPY --parents src/a/x.go src/b/n.md /d/"),
        ["d/src/a/x.go", "d/src/b/n.md"]
    );
    assert_eq!(copied("COPY --parents src/./a/x.go /d/"), ["d/a/x.go"]);
    assert_eq!(
        copied("COPY --parents **/*.go /d/"),
        ["d/src/a/x.go", "d/src/a/x_test.go", "d/src/b/y.go"]
    );
    assert_eq!(copied("COPY --exclude=**/*_test.go --exclude=b src /d/"), ["d/a/x.go"]);
    assert!(world.build("FROM scratch\nCOPY --parents src/a/none /d/\n").is_err());
    assert!(world.build("FROM scratch\nCOPY --parents src/*/none /d/\n").is_ok());
}

/// Covers: B08-20, BLD-69, BLD-70
#[test]
fn ignored_files_are_no_part_of_the_context() {
    let world = World::new();
    world
        .file("keep", "k")
        .file("logs/a.log", "l")
        .file("node_modules/m", "m")
        .file(".dockerignore", "**/*.log\nnode_modules\n!node_modules/k\n");
    let tree = world.tree(&world.build("FROM scratch\nCOPY . /c/\n").unwrap());
    let files: Vec<&String> =
        tree.iter().filter(|(_, v)| v.starts_with("File")).map(|(k, _)| k).collect();
    assert_eq!(files, ["c/.dockerignore", "c/keep"]);
    let error = world.build("FROM scratch\nCOPY node_modules/m /m\n").unwrap_err().to_string();
    assert!(error.contains("it is excluded by the ignore file"), "{error}");
    // A file of its own replaces the context's.
    let mut request = world.request("FROM scratch\nCOPY . /c/\n");
    std::fs::write(world.root.path().join("special"), "keep\n").unwrap();
    request.ignore_file = Some(world.root.path().join("special"));
    let tree = world.tree(&world.build_request(&request).unwrap());
    assert!(tree.contains_key("c/node_modules/m") && !tree.contains_key("c/keep"));
}

/// Covers: BLD-6, BLD-7
#[test]
fn heredocs_become_scripts_and_files() {
    let world = World::new();
    let built = world
        .build("FROM base\nARG WHO=you\nRUN <<EOF\nwrite /a 1\nwrite /b $WHO\nEOF\nRUN <<X\n#!/usr/bin/env python\nprint()\nX\nCOPY <<one <<\"two\" /f/\nhi $WHO\none\nhi $WHO\ntwo\nCOPY --chmod=755 <<E /script.sh\nx\nE\n")
        .unwrap();
    let tree = world.tree(&built);
    assert_eq!(tree["b"], "File 644 0:0 \"$WHO\"", "the builder never expands a script");
    assert_eq!(tree["f/one"], "File 644 0:0 \"hi you\\n\"");
    assert_eq!(tree["f/two"], "File 644 0:0 \"hi $WHO\\n\"");
    assert_eq!(tree["script.sh"], "File 755 0:0 \"x\\n\"");
    let call = world.worker.calls.lock().unwrap()[1].clone();
    assert_eq!(
        (call.args.as_slice(), call.mounts.as_slice()),
        (
            ["/bin/sh", "-c", "/dev/pipes/X"].map(str::to_owned).as_slice(),
            ["/dev/pipes/X".to_owned()].as_slice()
        )
    );
    assert!(!tree.contains_key("dev/pipes"));
}

/// Covers: BLD-53, BLD-54, BLD-55, BLD-56, BLD-57, B08-11
#[test]
fn add_unpacks_archives_and_fetches_what_is_remote() {
    let world = World::new();
    let mut tar = tar::Builder::new(flate2::write::GzEncoder::new(
        Vec::new(),
        flate2::Compression::default(),
    ));
    let mut header = tar::Header::new_gnu();
    header.set_size(2);
    header.set_mode(0o640);
    header.set_uid(5);
    header.set_gid(6);
    header.set_cksum();
    tar.append_data(&mut header, "in/side", &b"hi"[..]).unwrap();
    let archive = tar.into_inner().unwrap().finish().unwrap();
    std::fs::write(world.context.join("odd.name"), &archive).unwrap();
    world.file("empty.tar.gz", "");
    world.fetcher.files.lock().unwrap().insert("https://e.org/x.tgz?q=1".into(), archive.clone());
    let tree = |text: &str| {
        world.tree(
            &world
                .build(&format!("FROM scratch\n{text}\n"))
                .unwrap_or_else(|e| panic!("{text}: {e}")),
        )
    };
    assert_eq!(tree("ADD odd.name /a")["a/in/side"], "File 640 5:6 \"hi\"");
    assert_eq!(tree("ADD --chown=1:2 odd.name /a")["a/in/side"], "File 640 1:2 \"hi\"");
    assert!(tree("ADD --unpack=false odd.name /a").contains_key("a"));
    assert!(tree("COPY odd.name /a/").contains_key("a/odd.name"));
    assert!(tree("ADD empty.tar.gz /a/").contains_key("a/empty.tar.gz"));
    assert!(tree("ADD https://e.org/x.tgz?q=1 /a/")["a/x.tgz"].starts_with("File 600 0:0"));
    assert_eq!(
        tree("ADD --unpack https://e.org/x.tgz?q=1 /a/")["a/in/side"],
        "File 640 5:6 \"hi\""
    );
    assert_eq!(tree("ADD https://e.org/r.git#v1:sub /g/")["g/file"], "File 644 0:0 \"v1\"");
    let good = oci::Digest::sha256(&archive);
    assert!(
        tree(&format!("ADD --checksum={good} https://e.org/x.tgz?q=1 /a/")).contains_key("a/x.tgz")
    );
    let before = world.fetcher.opened.load(std::sync::atomic::Ordering::SeqCst);
    tree(&format!("ADD --checksum={good} https://e.org/x.tgz?q=1 /a/"));
    assert_eq!(
        world.fetcher.opened.load(std::sync::atomic::Ordering::SeqCst),
        before,
        "a known checksum needs no fetch"
    );
    let wrong = support::sha256("x");
    let error = world
        .build(&format!("FROM scratch\nADD --checksum={wrong} https://e.org/x.tgz?q=1 /a/\n"))
        .unwrap_err()
        .to_string();
    assert!(error.contains("digest mismatch"), "{error}");
    let error = world
        .build("FROM scratch\nADD https://user:pass@e.org/none /a/\n")
        .unwrap_err()
        .to_string();
    assert!(error.ends_with("failed to fetch https://e.org/none"), "{error}");
    let error = world
        .build("FROM scratch\nADD --checksum=abc https://e.org/r.git /a/\n")
        .unwrap_err()
        .to_string();
    assert!(error.contains("expected a commit that begins with abc"), "{error}");
}

/// Covers: BLD-55, BLD-57
#[test]
fn what_did_not_change_on_its_server_is_not_sent_again() {
    let world = World::new();
    let (sent, checkouts) = (&world.fetcher.sent, &world.fetcher.checkouts);
    let put = |text: &str| {
        world.fetcher.files.lock().unwrap().insert("https://e.org/f".into(), text.into());
    };
    let text = "FROM scratch\nADD https://e.org/f /f\nADD https://e.org/r.git /g/\n";
    put("one");
    assert_eq!(world.steps(text), (0, 2));
    assert_eq!(world.steps(text), (2, 0));
    assert_eq!(sent.load(Ordering::SeqCst), 1, "the second time the server said: unchanged");
    assert_eq!(checkouts.load(Ordering::SeqCst), 1, "a known commit is not checked out");
    put("two");
    assert_eq!(world.steps(text), (0, 2), "both: the second stands on the first");
    assert_eq!(sent.load(Ordering::SeqCst), 2);
}

/// Covers: BLD-53
#[test]
fn a_hostile_archive_stays_inside_the_root() {
    let world = World::new();
    let archive = |path: &str, link: Option<&str>| {
        let mut header = tar::Header::new_gnu();
        header.as_gnu_mut().unwrap().name[..path.len()].copy_from_slice(path.as_bytes());
        header.set_mode(0o644);
        match link {
            Some(link) => {
                header.set_entry_type(tar::EntryType::Symlink);
                header.set_link_name_literal(link).unwrap();
                header.set_size(0);
            }
            None => header.set_size(3),
        }
        header.set_cksum();
        let mut bytes = header.as_bytes().to_vec();
        if link.is_none() {
            bytes.extend(b"bad");
            bytes.resize(1024, 0);
        }
        bytes
    };
    let end = vec![0; 1024];
    std::fs::write(
        world.context.join("up.tar"),
        [archive("../../../../evil", None), end.clone()].concat(),
    )
    .unwrap();
    std::fs::write(
        world.context.join("abs.tar"),
        [archive("/abs/file", None), end.clone()].concat(),
    )
    .unwrap();
    std::fs::write(
        world.context.join("link.tar"),
        [archive("l", Some("/../../../etc")), archive("l/evil", None), end].concat(),
    )
    .unwrap();
    assert!(
        world
            .build("FROM scratch\nADD up.tar /d/\n")
            .unwrap_err()
            .to_string()
            .contains("a path with .. in it")
    );
    assert!(
        world
            .tree(&world.build("FROM scratch\nADD abs.tar /d/\n").unwrap())
            .contains_key("d/abs/file")
    );
    let tree = world.tree(&world.build("FROM scratch\nADD link.tar /d/\n").unwrap());
    assert_eq!(tree["etc/evil"], "File 644 0:0 \"bad\"", "the link leads to the image's own etc");
    assert!(!std::path::Path::new("/etc/evil").exists());
}

/// Covers: BLD-72, B08-20
#[test]
fn without_a_context_only_copies_from_it_are_refused() {
    let world = World::new();
    let mut request = world.request("FROM base\nRUN write /a 1\n");
    request.context = None;
    world.build_request(&request).unwrap();
    let mut request = world.request("FROM base\nCOPY a /a\n");
    request.context = None;
    let error = world.build_request(&request).unwrap_err().to_string();
    assert_eq!(
        error,
        "[2/2] COPY a /a: there is no build context: give a folder, or use COPY --from"
    );
}

/// Covers: BLD-73
#[test]
fn named_contexts_stand_for_stages_images_and_sources() {
    let world = World::new();
    let other = world.root.path().join("assets");
    std::fs::create_dir_all(other.join("d")).unwrap();
    std::fs::write(other.join("d/x"), "named").unwrap();
    let mut request = world.request("FROM replaced AS a\nCOPY --from=assets d/x /x\nRUN --mount=from=assets,target=/m read /m/d/x\nFROM assets\nCOPY --from=a /x /y\n");
    request.contexts.insert("assets".into(), builder::lower::NamedContext::Folder(other));
    request.contexts.insert(
        "docker.io/library/replaced".into(),
        builder::lower::NamedContext::Image("base".parse().unwrap()),
    );
    let tree = world.tree(&world.build_request(&request).unwrap());
    assert_eq!(tree["d/x"], "File 644 0:0 \"named\"");
    assert_eq!(tree["y"], "File 644 0:0 \"named\"");
    assert!(world.progress.lines().iter().any(|l| l.ends_with(": named")));
}

/// Covers: BLD-51
#[test]
fn hard_links_of_one_source_stay_links_and_special_files_are_carried() {
    let world = World::new();
    world.file("d/one", "content");
    std::fs::hard_link(world.context.join("d/one"), world.context.join("d/two")).unwrap();
    rustix::fs::mknodat(
        rustix::fs::CWD,
        world.context.join("d/pipe"),
        rustix::fs::FileType::Fifo,
        rustix::fs::Mode::from_raw_mode(0o600),
        0,
    )
    .unwrap();
    let _socket = std::os::unix::net::UnixListener::bind(world.context.join("d/socket")).unwrap();
    let tree = world.tree(&world.build("FROM scratch\nCOPY d /d/\n").unwrap());
    assert_eq!(tree["d/two"], "HardLink 644 0:0 -> d/one");
    assert!(tree["d/pipe"].starts_with("Fifo 600"));
    assert!(!tree.contains_key("d/socket"));
}

/// Covers: BLD-71
#[test]
fn a_wide_tree_is_looked_at_on_several_threads_and_always_in_one_order() {
    let world = World::new();
    for folder in 0..40 {
        for file in 0..5 {
            world.file(&format!("d{folder}/s/f{file}"), &format!("{folder} {file}"));
        }
    }
    world.file(".dockerignore", "d1\n!d1/s/f3\n**/f4\n");
    let text = "FROM scratch\nCOPY . /c/\n";
    let tree = world.tree(&world.build(text).unwrap());
    let files = tree
        .iter()
        .filter(|(path, text)| path.starts_with("c/d") && text.starts_with("File"))
        .count();
    assert_eq!(files, 39 * 4 + 1);
    assert!(tree.contains_key("c/d1/s/f3") && !tree.contains_key("c/d1/s/f2"));
    for _ in 0..5 {
        assert_eq!(world.build(text).unwrap().images[0].steps.cached, 1);
    }
}

/// Covers: BLD-86, BLD-93
#[test]
fn media_types_are_oci_unless_docker_is_asked_for_and_annotations_are_kept() {
    let world = World::new();
    let mut request = world.request("FROM base\nRUN write /a 1\n");
    request.annotations.insert("a".into(), "b".into());
    let types = |built: &builder::BuildResult| {
        let manifest = world.store.content().manifest(built.images[0].manifest.digest()).unwrap();
        let manifest = manifest.as_manifest().unwrap();
        let all = std::iter::once(&built.images[0].manifest).chain(manifest.children());
        all.map(|d| d.media_type().as_str().contains("docker")).collect::<Vec<_>>()
    };
    let built = world.build_request(&request).unwrap();
    assert_eq!(types(&built), [false; 4], "manifest, config, base layer, new layer");
    let manifest = world.store.content().manifest(built.root.digest()).unwrap();
    assert_eq!(manifest.annotations()["a"], "b");
    request.dialect = store::Dialect::Docker;
    request.annotations.clear();
    assert_eq!(types(&world.build_request(&request).unwrap()), [true; 4]);
}

/// Covers: BLD-50
#[test]
fn an_equal_folder_from_another_path_hits_the_cache() {
    let world = World::new();
    world.file("one/x", "x").file("one/y/z", "z").file("two/x", "x").file("two/y/z", "z");
    assert_eq!(world.steps("FROM scratch\nCOPY one /d\n"), (0, 1));
    assert_eq!(world.steps("FROM scratch\nCOPY two /d\n"), (1, 0));
}
