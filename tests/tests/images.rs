//! Images in the local store: importing, listing, looking, naming, removing.

use tests::text::{column, is_digest, is_hex};
use tests::{Need, Site, have};

const HEADER: [&str; 5] = ["REPOSITORY", "TAG", "IMAGE ID", "CREATED", "SIZE"];

/// Three images of one layer more than busybox each, with labels, oldest first.
fn family(site: &Site) {
    for (n, label) in ["blue", "green", "blue"].iter().enumerate() {
        site.dockerfile(&format!(
            "FROM busybox\nLABEL colour={label} number={n}\nRUN echo {n} > /number\n"
        ));
        site.build(&format!("team/app{n}:v{n}"), "");
    }
}

fn names(site: &Site, more: &str) -> Vec<String> {
    let run = site.wherry(&format!("images --format {{{{.Repository}}}}:{{{{.Tag}}}} {more}")).ok();
    let mut names: Vec<String> = run.stdout.lines().map(str::to_owned).collect();
    names.sort();
    names
}

/// Covers: B06-05
#[test]
fn a_clean_installation_has_no_images() {
    let site = Site::new();
    let run = site.wherry("images").ok();
    assert_eq!(run.stdout.split_whitespace().collect::<Vec<_>>().join(" "), HEADER.join(" "));
    assert_eq!(run.lines().len(), 1, "{run}");
    assert_eq!(site.wherry("images -q").ok().stdout, "");
}

/// Covers: B06-07
#[test]
fn images_are_listed_with_docker_s_columns() {
    let site = Site::with_busybox();
    let run = site.wherry("images").ok();
    assert_eq!(column(&run.stdout, "REPOSITORY"), ["busybox"]);
    assert_eq!(column(&run.stdout, "TAG"), ["latest"]);
    assert!(is_hex(&column(&run.stdout, "IMAGE ID")[0], 12), "{run}");
    let created = &column(&run.stdout, "CREATED")[0];
    assert!(created.ends_with(" ago"), "{created}");
    let size = &column(&run.stdout, "SIZE")[0];
    let digits: String = size.chars().take_while(|c| c.is_ascii_digit() || *c == '.').collect();
    assert!(
        size.ends_with("MB") && digits.replace('.', "").len() <= 3,
        "three significant digits: {size}"
    );
}

/// Covers: B06-14
#[test]
fn two_tags_on_one_image_are_two_rows_with_one_id() {
    let site = Site::with_busybox();
    site.wherry("tag busybox shell:v1").ok();
    let run = site.wherry("images").ok();
    let ids = column(&run.stdout, "IMAGE ID");
    assert_eq!(ids.len(), 2, "{run}");
    assert_eq!(ids[0], ids[1]);
    assert_eq!(names(&site, ""), ["busybox:latest", "shell:v1"]);
}

/// Covers: B08-30
#[test]
fn tag_adds_a_name_and_keeps_the_old_one() {
    let site = Site::with_busybox();
    site.wherry("tag busybox:latest 127.0.0.1:5000/team/shell:v1").ok();
    let run = site.wherry("images").ok();
    assert_eq!(names(&site, ""), ["127.0.0.1:5000/team/shell:v1", "busybox:latest"]);
    let sizes = column(&run.stdout, "SIZE");
    assert_eq!(sizes[0], sizes[1]);
}

/// Covers: B06-12
#[test]
fn latest_does_not_move_by_itself() {
    let site = Site::with_busybox();
    let old = site.image_id("busybox");
    site.dockerfile("FROM busybox\nRUN echo newer > /newer\n");
    site.build("busybox:v2", "");
    assert_eq!(site.image_id("busybox:latest"), old);
    assert_ne!(site.image_id("busybox:v2"), old);
}

/// Covers: B06-15, B06-16
#[test]
fn a_rebuilt_tag_leaves_the_old_image_dangling() {
    let site = Site::with_busybox();
    site.dockerfile("FROM busybox\nRUN echo one > /file\n");
    site.build("dodge:challenger", "");
    let old = site.image_id("dodge:challenger");
    site.dockerfile("FROM busybox\nRUN echo two > /file\n");
    site.build("dodge:challenger", "");
    assert_ne!(site.image_id("dodge:challenger"), old);
    assert_eq!(names(&site, "--filter dangling=true"), ["<none>:<none>"]);
    assert_eq!(names(&site, "--filter dangling=false"), ["busybox:latest", "dodge:challenger"]);
    assert_eq!(site.image_id(&old[..19]), old);
}

/// Covers: B06-17
#[test]
fn images_are_filtered_by_age() {
    let site = Site::with_busybox();
    family(&site);
    assert_eq!(
        names(&site, "--filter before=team/app1:v1 --filter reference=team/*"),
        ["team/app0:v0"]
    );
    assert_eq!(names(&site, "--filter since=team/app1:v1"), ["team/app2:v2"]);
    let id = site.wherry("images -q team/app1").ok();
    assert_eq!(names(&site, &format!("--filter since={}", id.out())), ["team/app2:v2"]);
}

/// Covers: B06-18
#[test]
fn images_are_filtered_by_label() {
    let site = Site::with_busybox();
    family(&site);
    assert_eq!(names(&site, "--filter label=colour").len(), 3);
    assert_eq!(names(&site, "--filter label=colour=blue"), ["team/app0:v0", "team/app2:v2"]);
    assert_eq!(
        names(&site, "--filter label=colour=blue --filter label=number=2"),
        ["team/app2:v2"]
    );
    assert_eq!(names(&site, "--filter label=shape"), Vec::<String>::new());
    site.wherry("images --filter label=colour").ok().does_not_say("blue");
}

/// Covers: B06-19
#[test]
fn a_star_in_a_reference_filter_does_not_cross_a_slash() {
    let site = Site::with_busybox();
    site.wherry("tag busybox redis:latest").ok();
    site.wherry("tag busybox redis:v1").ok();
    site.wherry("tag busybox portainer/portainer-ce:latest").ok();
    assert_eq!(names(&site, "--filter=reference=*:latest"), ["busybox:latest", "redis:latest"]);
    assert_eq!(names(&site, "--filter=reference=redis"), ["redis:latest", "redis:v1"]);
    assert_eq!(names(&site, "--filter=reference=*/*"), ["portainer/portainer-ce:latest"]);
}

#[test]
fn an_unknown_filter_is_refused_by_name() {
    let site = Site::new();
    site.wherry("images --filter colour=blue").fails_with(&["colour"]);
    site.wherry("images --filter dangling=perhaps").fails_with(&["perhaps"]);
}

/// Covers: B06-20
#[test]
fn a_template_prints_one_line_per_image_and_no_header() {
    let site = Site::with_busybox();
    let size = site.wherry("images --format {{.Size}}").ok();
    assert_eq!(size.lines().len(), 1, "{size}");
    let run = site.wherry("images --format '{{.Repository}}: {{.Tag}}: {{.Size}}'").ok();
    assert_eq!(run.out(), format!("busybox: latest: {}", size.out()));
    let json = site.wherry("images --format json").ok();
    let row: serde_json::Value = serde_json::from_str(json.out()).expect("one object a line");
    assert_eq!(row["Repository"], "busybox");
    site.wherry("images --format {{.Nothing}}").fails_with(&["Nothing"]);
    site.wherry("images --format {{.Size").fails_with(&["template"]);
}

/// Covers: B06-21
#[test]
fn quiet_prints_short_ids_only() {
    let site = Site::with_busybox();
    site.wherry("tag busybox shell:v1").ok();
    let run = site.wherry("images -q").ok();
    assert!(!run.lines().is_empty());
    assert!(run.lines().iter().all(|id| is_hex(id, 12)), "{run}");
    let whole = site.wherry("images -q --no-trunc").ok();
    assert!(whole.lines().iter().all(|id| is_digest(id)), "{whole}");
}

/// Covers: B06-23
#[test]
fn prune_deletes_dangling_images_and_with_a_all_unused_ones() {
    if !have(&[Need::Root]) {
        return;
    }
    let site = Site::with_busybox();
    for text in ["one", "two"] {
        site.dockerfile(&format!("FROM busybox\nRUN echo {text} > /file\n"));
        site.build("dodge:challenger", "");
    }
    site.wherry("create --name keeper busybox true").ok();
    site.wherry("image prune -f").ok();
    assert_eq!(names(&site, ""), ["busybox:latest", "dodge:challenger"]);
    site.wherry("image prune -a -f").ok();
    assert_eq!(names(&site, ""), ["busybox:latest"], "an image in use stays");
    site.check_store();
}

/// Covers: B06-28, B08-27, B06-54
#[test]
fn inspect_shows_id_names_config_and_layers() {
    let site = Site::with_busybox();
    site.dockerfile(
        "FROM busybox\nLABEL maintainer=me@example.org\nRUN echo 1 > /one\nWORKDIR /src\nENTRYPOINT [\"cat\", \"/one\"]\n",
    );
    site.build("ddd-book:ch8.1", "");
    let image = site.inspect("ddd-book:ch8.1");
    assert!(is_digest(image["Id"].as_str().expect("text")), "{image}");
    assert_eq!(image["RepoTags"], serde_json::json!(["ddd-book:ch8.1"]));
    assert_eq!(image["Config"]["WorkingDir"], "/src");
    assert_eq!(image["Config"]["Entrypoint"], serde_json::json!(["cat", "/one"]));
    assert_eq!(image["Config"]["Labels"]["maintainer"], "me@example.org");
    assert_eq!(image["Os"], "linux");
    let layers = site.layers("ddd-book:ch8.1");
    assert_eq!(layers[0], site.layers("busybox")[0]);
    let template = site.run(&[
        "inspect",
        "--format",
        "{{index .RepoTags 0}} {{len .RootFS.Layers}}",
        "ddd-book:ch8.1",
    ]);
    assert_eq!(template.ok().out(), format!("ddd-book:ch8.1 {}", layers.len()));
}

#[test]
fn inspect_of_something_unknown_says_so_and_prints_an_empty_array() {
    let site = Site::new();
    let run = site.wherry("inspect nothing:here").fails_with(&["nothing:here"]);
    assert_eq!(run.json(), serde_json::json!([]), "{run}");
}

/// Covers: B06-29, B08-28, B08-08, B08-13, B08-14
#[test]
fn history_lists_instructions_newest_first() {
    if !have(&[Need::Root]) {
        return;
    }
    let site = Site::with_busybox();
    site.dockerfile(
        "FROM busybox\nLABEL maintainer=me\nENV A=b\nRUN echo some bytes > /one\nEXPOSE 8080\nCMD [\"a\"]\nENTRYPOINT [\"node\", \"./app.js\"]\n",
    );
    site.build("app", "");
    let rows = site.history("app");
    assert_eq!(rows[0].id, site.image_id("app"));
    assert!(rows[1..].iter().all(|row| row.id == "<missing>"), "{rows:?}");
    let row = |text: &str| {
        rows.iter()
            .find(|row| row.created_by.contains(text))
            .unwrap_or_else(|| panic!("no {text}: {rows:?}"))
    };
    assert!(rows[0].created_by.contains("ENTRYPOINT [\"node\" \"./app.js\"]"), "{rows:?}");
    for metadata in
        ["LABEL maintainer=me", "ENV A=b", "EXPOSE map[8080/tcp:{}]", "ENTRYPOINT", "CMD [\"a\"]"]
    {
        assert_eq!(row(metadata).size, "0B", "{metadata}");
    }
    assert_ne!(row("echo some bytes > /one").size, "0B");
    let filled = rows.iter().filter(|row| row.size != "0B").count();
    assert_eq!(filled, site.layers("app").len());
    assert!(rows.len() > filled, "metadata entries add no layer");
    let header = site.wherry("history app").ok();
    let words: Vec<&str> =
        header.lines()[0].split("  ").filter(|w| !w.is_empty()).map(str::trim).collect();
    assert_eq!(words, ["IMAGE", "CREATED", "CREATED BY", "SIZE", "COMMENT"]);
}

/// Covers: B06-40
#[test]
fn an_image_id_is_the_digest_of_its_config() {
    let site = Site::with_busybox();
    let id = site.image_id("busybox");
    let blob = site.root().join("blobs/sha256").join(id.strip_prefix("sha256:").expect("sha256"));
    let bytes = std::fs::read(&blob).unwrap_or_else(|error| panic!("{}: {error}", blob.display()));
    assert_eq!(oci::Digest::sha256(&bytes).to_string(), id);
    let config: serde_json::Value = serde_json::from_slice(&bytes).expect("a config is JSON");
    assert_eq!(config["rootfs"]["diff_ids"][0].as_str(), Some(site.layers("busybox")[0].as_str()));
}

/// Covers: B06-39, B06-51
#[test]
fn rmi_untags_and_then_deletes_image_and_layers() {
    let site = Site::with_busybox();
    let (id, layers) = (site.image_id("busybox"), site.layers("busybox"));
    let run = site.wherry("rmi busybox").ok();
    let lines = run.lines();
    assert_eq!(lines[0], "Untagged: busybox:latest");
    assert!(lines.contains(&format!("Deleted: {id}").as_str()), "{run}");
    assert_eq!(lines.last().copied(), Some(format!("Deleted: {}", layers[0]).as_str()), "{run}");
    assert_eq!(site.wherry("images -q").ok().stdout, "");

    site.import(xtask::images::Base::Busybox, "busybox");
    let run = site.run(&["rmi", &site.image_id("busybox")[7..19]]).ok();
    assert!(run.lines()[0].starts_with("Untagged: busybox"), "{run}");
}

#[test]
fn rmi_of_one_of_two_tags_only_untags() {
    let site = Site::with_busybox();
    site.wherry("tag busybox shell:v1").ok();
    let run = site.wherry("rmi shell:v1").ok();
    assert_eq!(run.lines()[0], "Untagged: shell:v1");
    assert!(!run.stdout.contains("Deleted:"), "{run}");
    assert_eq!(names(&site, ""), ["busybox:latest"]);
    site.wherry("tag busybox shell:v1").ok();
    let id = site.image_id("busybox");
    site.run(&["rmi", &id[7..19]]).fails_with(&["must be forced"]);
    site.run(&["rmi", "-f", &id[7..19]]).ok();
    assert_eq!(names(&site, ""), Vec::<String>::new());
}

/// Covers: B06-52, B06-53
#[test]
fn rmi_takes_several_images_and_flags_after_them() {
    let site = Site::with_busybox();
    family(&site);
    let run = site.wherry("rmi team/app0:v0 team/app1:v1").ok();
    assert!(
        run.stdout.contains("Untagged: team/app0:v0")
            && run.stdout.contains("Untagged: team/app1:v1"),
        "{run}"
    );
    let all = site.wherry("images -q").ok();
    let mut args = vec!["rmi"];
    args.extend(all.lines());
    args.push("-f");
    let run = site.run(&args).ok();
    assert!(
        run.stdout.contains("Untagged: busybox:latest") && run.stdout.contains("Deleted: sha256:"),
        "{run}"
    );
    assert_eq!(site.wherry("images -q").ok().stdout, "");
    site.check_store();
}

#[test]
fn rmi_of_an_unknown_image_fails_and_names_it() {
    let site = Site::with_busybox();
    let run = site.wherry("rmi nothing busybox").fails_with(&["nothing"]);
    assert!(run.stdout.contains("Untagged: busybox:latest"), "the others are removed: {run}");
}

/// Covers: B06-03
#[test]
fn an_image_in_use_is_not_deleted() {
    if !have(&[Need::Root]) {
        return;
    }
    let site = Site::with_busybox();
    site.wherry("run --name stopped --network none busybox true").ok();
    site.wherry("rmi busybox").fails_with(&["container", "busybox"]);
    site.wherry("run -d --name running --network none busybox sleep 1000").ok();
    site.wherry("rm stopped").ok();
    site.wherry("rmi busybox").fails_with(&["container"]);
    site.run(&["rmi", "-f", &site.image_id("busybox")]).fails_with(&["running"]);
    assert_eq!(names(&site, ""), ["busybox:latest"]);
    site.wherry("rm -f running").ok();
    site.wherry("rmi busybox").ok();
}

/// Covers: B06-50, B06-27
#[test]
fn a_shared_layer_lives_until_its_last_image_is_gone() {
    // A root that has built nothing: the build cache has its own reasons to keep a layer.
    let (builder, site) = (Site::with_busybox(), Site::new());
    builder.dockerfile("FROM busybox\nRUN echo own > /own\n");
    builder.build("child", "");
    builder.wherry("save -o both.tar busybox child").ok();
    site.run(&["load", "-i", &builder.path().join("both.tar").display().to_string()]).ok();
    let (base, layers) = (site.layers("busybox"), site.layers("child"));
    assert_eq!(
        (layers.len(), &layers[0]),
        (2, &base[0]),
        "layers are an ordered stack, base first"
    );
    let run = site.wherry("rmi busybox").ok();
    assert!(!run.stdout.contains(&format!("Deleted: {}", base[0])), "{run}");
    assert_eq!(site.cat("child", "/own"), "own\n");
    let before = bytes_below(&site.root());
    let run = site.wherry("rmi child").ok();
    assert!(run.stdout.contains(&format!("Deleted: {}", base[0])), "{run}");
    // The image and each of its two layers; a layer above another is named by its chain id.
    assert_eq!(run.stdout.matches("Deleted: sha256:").count(), 3, "{run}");
    let after = bytes_below(&site.root());
    assert!(after * 10 < before, "{before} bytes before, {after} after");
    site.check_store();
}

fn bytes_below(folder: &std::path::Path) -> u64 {
    let Ok(entries) = std::fs::read_dir(folder) else { return 0 };
    entries
        .flatten()
        .map(|entry| match entry.metadata() {
            Ok(metadata) if metadata.is_dir() => bytes_below(&entry.path()),
            Ok(metadata) => metadata.len(),
            Err(_) => 0,
        })
        .sum()
}

/// Covers: B06-01
#[test]
fn containers_do_not_change_their_image() {
    if !have(&[Need::Root]) {
        return;
    }
    let site = Site::with_busybox();
    let before = site.inspect("busybox");
    for name in ["aa", "bb"] {
        let script = "echo changed > /etc/passwd; rm -rf /var; cat /etc/passwd";
        let run = site
            .run(&["run", "--name", name, "--network", "none", "busybox", "sh", "-c", script])
            .ok();
        assert_eq!(run.out(), "changed");
    }
    assert!(site.cat("busybox", "/etc/passwd").starts_with("root:"));
    assert_eq!(site.inspect("busybox"), before);
    site.check_store();
}

/// Covers: B06-04
#[test]
fn an_image_without_a_shell_runs() {
    if !have(&[Need::Root]) {
        return;
    }
    let site = Site::with_busybox();
    site.dockerfile("FROM busybox AS source\nFROM scratch\nCOPY --from=source /bin/busybox /bin/echo\nENTRYPOINT [\"/bin/echo\", \"no shell here\"]\n");
    site.build("tiny", "");
    assert_eq!(site.wherry("run --rm --network none tiny").ok().out(), "no shell here");
    let kernel = site.wherry("run --rm --network none busybox uname -r").ok();
    assert_eq!(
        kernel.out(),
        std::fs::read_to_string("/proc/sys/kernel/osrelease").expect("Linux").trim()
    );
    site.wherry("run --rm --network none --entrypoint sh tiny").exits(127);
}

/// Covers: B06-02
#[test]
fn a_container_is_turned_into_an_image() {
    if !have(&[Need::Root]) {
        return;
    }
    let site = Site::with_busybox();
    site.wherry("run --name c1 --network none busybox sh -c 'echo kept > /kept; rm /etc/shells'")
        .ok();
    site.wherry("commit c1 kept:v1").ok();
    assert_eq!(site.cat("kept:v1", "/kept"), "kept\n");
    site.wherry("run --rm --network none kept:v1 cat /etc/shells").exits(1);
    assert_eq!(site.layers("kept:v1").len(), 2);
}

#[test]
fn import_reads_standard_input_and_takes_changes() {
    let site = Site::new();
    let tar =
        std::fs::read(tests::site::base_tar(xtask::images::Base::Busybox)).expect("the base image");
    let run = site.run_with_input(
        &["import", "--change", "ENV A=b", "--change", "CMD [\"env\"]", "-", "piped:v1"],
        &tar,
    );
    let id = run.ok().out().to_owned();
    assert!(is_digest(&id), "{id}");
    assert_eq!(site.image_id("piped:v1"), id);
    assert_eq!(site.inspect("piped:v1")["Config"]["Env"], serde_json::json!(["A=b"]));
}

#[test]
fn an_import_of_something_else_leaves_nothing() {
    let site = Site::new();
    let file = site.write("not-a-tar", "this is no tar archive, not even a short one".repeat(40));
    site.run(&["import", &file.display().to_string(), "broken"]).fails_with(&["tar"]);
    site.run(&["import", "/nowhere/x.tar", "broken"]).fails_with(&["/nowhere/x.tar"]);
    assert_eq!(site.wherry("images -q").ok().stdout, "");
    site.check_store();
}

#[test]
fn hostile_archives_are_refused_or_held_inside() {
    use tests::fixture::Layer;
    let site = Site::new();
    let outside = site.path().join("outside");
    let escape = format!("../../../../../../../..{}", outside.display());
    let rows = [
        ("dot-dot", Layer::new().raw("../../outside", tar::EntryType::Regular, "")),
        ("absolute", Layer::new().raw(&outside.display().to_string(), tar::EntryType::Regular, "")),
        (
            "link-out",
            Layer::new().raw("out", tar::EntryType::Symlink, &escape).raw(
                "out/x",
                tar::EntryType::Regular,
                "",
            ),
        ),
        ("hard-link-out", Layer::new().raw("out", tar::EntryType::Link, "../../../../etc/passwd")),
    ];
    for (attack, layer) in rows {
        let file = site.write(&format!("{attack}.tar"), layer.tar());
        let run = site.run(&["import", &file.display().to_string(), attack]);
        // Held inside the image is as good as refused; outside it nothing may appear.
        assert!(run.code.is_some(), "{run}");
        assert!(!outside.exists(), "{attack} wrote outside the root");
        if run.code == Some(0) {
            site.run(&["run", "--rm", "--network", "none", attack, "/none"]);
            assert!(!outside.exists(), "{attack} wrote outside the root");
        }
    }
    let mut truncated =
        std::fs::read(tests::site::base_tar(xtask::images::Base::Busybox)).expect("the base image");
    truncated.truncate(truncated.len() / 2);
    let file = site.write("truncated.tar", truncated);
    site.run(&["import", &file.display().to_string(), "truncated"]).fails_with(&["tar"]);
    site.check_store();
}
