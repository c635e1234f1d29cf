//! What an image is built from: contexts of every kind, and what ADD fetches.

use std::path::Path;
use std::process::Command;

use tests::web::Web;
use tests::{Need, Site, fixture, have};

/// A site with busybox, or none where RUN steps cannot run.
fn site() -> Option<Site> {
    have(&[Need::Root, Need::Git]).then(Site::with_busybox)
}

/// Runs git in a folder, away from the configuration of whoever runs the test.
#[track_caller]
fn git(at: &Path, args: &[&str]) -> String {
    let output = Command::new("git")
        .args(["-c", "init.defaultBranch=main", "-c", "protocol.file.allow=always"])
        .args(args)
        .current_dir(at)
        .env("GIT_CONFIG_GLOBAL", "/dev/null")
        .env("GIT_CONFIG_NOSYSTEM", "1")
        .envs([("GIT_AUTHOR_NAME", "a"), ("GIT_AUTHOR_EMAIL", "a@example.com")])
        .envs([("GIT_COMMITTER_NAME", "a"), ("GIT_COMMITTER_EMAIL", "a@example.com")])
        .envs([("GIT_AUTHOR_DATE", "1700000000 +0000"), ("GIT_COMMITTER_DATE", "1700000000 +0000")])
        .output()
        .expect("start git");
    assert!(output.status.success(), "git {args:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}

/// A repository `x` with two commits on `main`, a tag on the first and a branch beside; gives the hashes of both.
fn repository(site: &Site) -> (String, String) {
    site.write("repo/Dockerfile", "FROM busybox\nCOPY . /src\n");
    site.write("repo/file", "first\n");
    site.write("repo/sub/Dockerfile", "FROM busybox\nCOPY inner /inner\n");
    site.write("repo/sub/inner", "inner\n");
    let script = site.write("repo/run.sh", "#!/bin/sh\n");
    std::fs::set_permissions(&script, std::os::unix::fs::PermissionsExt::from_mode(0o755))
        .expect("make it executable");
    let repo = site.path().join("repo");
    git(&repo, &["init", "-q"]);
    git(&repo, &["add", "."]);
    git(&repo, &["commit", "-qm", "one"]);
    git(&repo, &["tag", "-a", "-m", "the first", "v1"]);
    let one = git(&repo, &["rev-parse", "HEAD"]);
    site.write("repo/file", "second\n");
    git(&repo, &["commit", "-qam", "two"]);
    let two = git(&repo, &["rev-parse", "HEAD"]);
    git(&repo, &["branch", "side", &one]);
    std::fs::create_dir(site.path().join("served")).expect("make a folder");
    git(site.path(), &["clone", "-q", "--bare", "repo", "served/x.git"]);
    (one, two)
}

#[track_caller]
fn stat(site: &Site, image: &str, format: &str, path: &str) -> String {
    site.run(&["run", "--rm", "--network", "none", image, "stat", "-c", format, path])
        .ok()
        .out()
        .to_owned()
}

/// Covers: BLD-55, BLD-56
#[test]
fn add_fetches_a_file_of_a_web_server() {
    let Some(site) = site() else { return };
    let web = Web::start();
    web.dated("/dir/tool.bin?x=1", "tool\n", "Sun, 06 Nov 1994 08:49:37 GMT");
    web.redirect("/moved", "/dir/tool.bin?x=1");
    let (direct, moved) = (web.url("/dir/tool.bin?x=1"), web.url("/moved"));
    site.dockerfile(&format!("FROM busybox\nADD {direct} /opt/\nADD {moved} /renamed\n"));
    site.build("a", "");
    assert_eq!(site.cat("a", "/opt/tool.bin"), "tool\n");
    assert_eq!(site.cat("a", "/renamed"), "tool\n");
    assert_eq!(stat(&site, "a", "%a %u:%g %Y", "/opt/tool.bin"), "600 0:0 784111777");
    let digest = oci::Digest::sha256(b"tool\n");
    site.dockerfile(&format!("FROM busybox\nADD --checksum={digest} {direct} /opt/\n"));
    site.build("a", "");
    let wrong = oci::Digest::sha256(b"other");
    site.dockerfile(&format!("FROM busybox\nADD --checksum={wrong} {direct} /opt/\n"));
    site.try_build("b", "").fails_with(&["digest mismatch", wrong.hex()]);
    site.dockerfile(&format!("FROM busybox\nADD {} /x\n", web.url("/none")));
    site.try_build("b", "").fails_with(&["failed to fetch", "/none", "404"]);
    site.dockerfile(&format!("FROM busybox\nADD {}/ /x/\n", web.url("")));
    site.try_build("b", "").fails_with(&["cannot determine filename"]);
    site.check_store();
}

/// Covers: BLD-55
#[test]
fn a_server_is_asked_whether_a_file_changed_and_sends_it_once() {
    let Some(site) = site() else { return };
    let web = Web::start();
    web.file("/data", "one\n");
    site.dockerfile(&format!(
        "FROM busybox\nADD {} /data\nRUN cat /data > /copy\n",
        web.url("/data")
    ));
    site.build("a", "");
    let again = site.build("a", "");
    assert_eq!(again.all().matches("CACHED").count(), 2, "{again}");
    assert_eq!((web.sent("/data"), web.asked().len()), (1, 2));
    web.file("/data", "two\n");
    site.build("a", "");
    assert_eq!(site.cat("a", "/copy"), "two\n");
    assert_eq!(web.sent("/data"), 2);
}

/// Covers: BLD-55, BLD-33
#[test]
fn credentials_for_a_server_are_secrets_and_stay_out_of_everything() {
    let Some(site) = site() else { return };
    let web = Web::start();
    web.file("/data", "private\n");
    web.require("Bearer s3cr3t-value");
    let host = web.address().split(':').next().expect("a host").to_owned();
    site.write("token", "s3cr3t-value");
    site.dockerfile(&format!("FROM busybox\nADD {} /data\n", web.url("/data")));
    site.try_build("a", "").fails_with(&["401"]);
    let run = site.build("a", &format!("--secret id=HTTP_AUTH_TOKEN_{host},src=token"));
    assert_eq!(site.cat("a", "/data"), "private\n");
    assert!(!run.all().contains("s3cr3t-value"), "{run}");
    let found = site.shell(&format!("! grep -r s3cr3t-value {}", site.root().display()));
    found.ok();
}

/// Covers: BLD-57
#[test]
fn add_takes_a_repository_at_a_branch_tag_or_commit() {
    let Some(site) = site() else { return };
    let (one, two) = repository(&site);
    let web = Web::start();
    web.repositories(&site.path().join("served"));
    let url = web.url("/git/x.git");
    for (reference, content) in [
        (String::new(), "second\n"),
        ("#v1".to_owned(), "first\n"),
        ("#side".to_owned(), "first\n"),
        (format!("#{one}"), "first\n"),
        (format!("#{two}"), "second\n"),
        ("?branch=main".to_owned(), "second\n"),
    ] {
        site.dockerfile(&format!("FROM busybox\nADD {url}{reference} /x\n"));
        site.build("a", "");
        assert_eq!(site.cat("a", "/x/file"), content, "{reference}");
    }
    assert_eq!(stat(&site, "a", "%a %Y", "/x/run.sh"), "755 1700000000");
    assert_eq!(stat(&site, "a", "%a %u:%g", "/x/file"), "644 0:0");
    site.run(&["run", "--rm", "--network", "none", "a", "test", "-e", "/x/.git"]).exits(1);
    site.dockerfile(&format!("FROM busybox\nADD --keep-git-dir=true {url}#main:sub /s\nADD --keep-git-dir=true {url} /x\n"));
    site.build("a", "");
    assert_eq!(site.cat("a", "/s/inner"), "inner\n");
    site.cat("a", "/x/.git/HEAD");
    site.dockerfile(&format!("FROM busybox\nADD {url}#nowhere /x\n"));
    site.try_build("b", "").fails_with(&["nowhere"]);
    site.dockerfile(&format!("FROM busybox\nADD --checksum={one} {url} /x\n"));
    site.try_build("b", "").fails_with(&["expected a commit", &one]);
    site.dockerfile(&format!("FROM busybox\nADD {url}#--upload-pack=touch /x\n"));
    site.try_build("b", "").fails_with(&["dash"]);
}

/// Covers: BLD-57
#[test]
fn a_commit_that_did_not_move_is_not_fetched_again() {
    let Some(site) = site() else { return };
    repository(&site);
    let web = Web::start();
    web.repositories(&site.path().join("served"));
    site.dockerfile(&format!("FROM busybox\nADD {} /x\n", web.url("/git/x.git")));
    site.build("a", "");
    let before = web.asked().len();
    let again = site.build("a", "");
    assert!(again.all().contains("CACHED"), "{again}");
    let since = web.asked().split_off(before);
    // What names the references comes as one or two answers; no pack is among them.
    let packs = since.iter().filter(|asked| asked.method == "POST").count();
    assert!(packs <= 1 && since.len() <= 2, "{since:?}");
}

/// Covers: BLD-57
#[test]
fn submodules_come_along_and_credentials_do_not() {
    let Some(site) = site() else { return };
    repository(&site);
    let web = Web::start();
    web.repositories(&site.path().join("served"));
    site.write("outer/own", "own\n");
    let outer = site.path().join("outer");
    git(&outer, &["init", "-q"]);
    git(&outer, &["submodule", "--quiet", "add", "-b", "main", "../served/x.git", "inner"]);
    let script = format!("s#url = .*#url = {}#", web.url("/git/x.git"));
    site.shell(&format!("sed -i '{script}' outer/.gitmodules")).ok();
    git(&outer, &["add", "."]);
    git(&outer, &["commit", "-qm", "outer"]);
    git(site.path(), &["clone", "-q", "--bare", "outer", "served/outer.git"]);
    web.require("Basic bWU6cHc=");
    let url = format!("http://me:pw@{}/git/outer.git", web.address());
    site.dockerfile(&format!("FROM busybox\nADD {url} /o\nADD {url}?submodules=false /p\n"));
    site.build("a", "");
    assert_eq!(site.cat("a", "/o/own"), "own\n");
    assert_eq!(site.cat("a", "/o/inner/file"), "second\n");
    site.run(&["run", "--rm", "--network", "none", "a", "test", "-e", "/p/inner/file"]).exits(1);
    let history = site.wherry("history --no-trunc a").ok();
    assert!(!history.out().contains("me:pw"), "{history}");
    site.dockerfile(&format!("FROM busybox\nADD {} /o\n", web.url("/git/outer.git")));
    site.write("token", "pw");
    site.try_build("b", "").fails_with(&["failed to fetch"]);
}

/// Covers: BLD-72, B08-02
#[test]
fn a_repository_is_a_context() {
    let Some(site) = site() else { return };
    let (one, _) = repository(&site);
    let web = Web::start();
    web.repositories(&site.path().join("served"));
    let url = web.url("/git/x.git");
    site.run(&["build", "-q", "-t", "a", &url]).ok();
    assert_eq!(site.cat("a", "/src/file"), "second\n");
    site.run(&["run", "--rm", "--network", "none", "a", "test", "-e", "/src/.git"]).exits(1);
    site.run(&["build", "-q", "-t", "a", &format!("{url}#{one}")]).ok();
    assert_eq!(site.cat("a", "/src/file"), "first\n");
    site.run(&["build", "-q", "-t", "a", &format!("{url}#:sub")]).ok();
    assert_eq!(site.cat("a", "/inner"), "inner\n");
    site.run(&[
        "build",
        "-q",
        "-t",
        "a",
        "-f",
        "sub/Dockerfile",
        "--build-arg",
        "BUILDKIT_CONTEXT_KEEP_GIT_DIR=1",
        &url,
    ])
    .fails_with(&["inner", "not found"]);
    site.run(&["build", "-q", "-t", "a", "-f", "none", &url]).fails_with(&["none"]);
    let left = site.shell(&format!("ls {}/buildcache/tmp", site.root().display())).ok();
    assert_eq!(left.out(), "", "nothing of a fetched context stays");
}

fn archive() -> Vec<u8> {
    let dockerfile = "FROM busybox\nCOPY . /src\n";
    let layer = fixture::Layer::new().file("Dockerfile", dockerfile).file("data/a", "packed\n");
    layer.file("other.Dockerfile", "FROM busybox\nCOPY data/a /other\n").tar()
}

/// Covers: BLD-72
#[test]
fn an_archive_is_a_context_from_standard_input_a_server_or_a_file() {
    let Some(site) = site() else { return };
    let web = Web::start();
    web.file("/context.tar.gz", fixture::gzip(&archive()));
    web.file("/Dockerfile", "FROM busybox\nRUN echo remote > /remote\n");
    let build = |more: &[&str], input: &[u8]| {
        let words = [&["build", "-q", "-t", "a"], more].concat();
        site.run_with_input(&words, input)
    };
    build(&["-"], &archive()).ok();
    assert_eq!(site.cat("a", "/src/data/a"), "packed\n");
    build(&["-f", "other.Dockerfile", "-"], &fixture::gzip(&archive())).ok();
    assert_eq!(site.cat("a", "/other"), "packed\n");
    build(&[&web.url("/context.tar.gz")], b"").ok();
    assert_eq!(site.cat("a", "/src/data/a"), "packed\n");
    build(&[&web.url("/Dockerfile")], b"").ok();
    assert_eq!(site.cat("a", "/remote"), "remote\n");
    let file = site.write("context.tar", archive());
    build(&[&file.display().to_string()], b"").ok();
    assert_eq!(site.cat("a", "/src/data/a"), "packed\n");
    build(&["-f", "-", &web.url("/context.tar.gz")], b"FROM busybox\nCOPY data /d\n").ok();
    assert_eq!(site.cat("a", "/d/a"), "packed\n");
    build(&["-"], b"FROM busybox\nCOPY a /\n").fails_with(&["there is no build context"]);
    build(&["-f", "x", "-"], b"FROM busybox\n").fails_with(&["x", "Dockerfile came"]);
    build(&["-f", "-", "-"], b"").fails_with(&["both"]);
    let text = site.write("plain", "FROM busybox\n");
    build(&[&text.display().to_string()], b"").fails_with(&["must be a directory"]);
}

/// Covers: BLD-73
#[test]
fn named_contexts_are_folders_images_layouts_and_what_is_remote() {
    let Some(site) = site() else { return };
    repository(&site);
    let web = Web::start();
    web.repositories(&site.path().join("served"));
    web.file("/context.tar.gz", fixture::gzip(&archive()));
    site.write("folder/f", "folder\n");
    site.dockerfile("FROM busybox\nRUN echo inside > /inside\n");
    site.build("inside", "");
    site.shell(
        "mkdir oci && wherry save --format oci-archive inside | tar -xC oci && wherry rmi inside",
    )
    .ok();
    site.dockerfile(
        "FROM base\nCOPY --from=folder f /f\nCOPY --from=repo file /r\nCOPY --from=packed data/a /p\nCOPY --from=image bin/busybox /bb\n",
    );
    let more = format!(
        "--build-context base=oci-layout://oci --build-context folder=folder --build-context repo={}#v1 --build-context packed={} --build-context image=docker-image://busybox",
        web.url("/git/x.git"),
        web.url("/context.tar.gz"),
    );
    site.build("a", &more);
    for (path, content) in
        [("/inside", "inside\n"), ("/f", "folder\n"), ("/r", "first\n"), ("/p", "packed\n")]
    {
        assert_eq!(site.cat("a", path), content);
    }
    site.dockerfile("FROM base\n");
    site.try_build("b", "--build-context base=oci-layout://oci:nothing")
        .fails_with(&["0 images fit"]);
    site.try_build("b", "--build-context base=s3://bucket/x").fails_with(&["of no known kind"]);
    site.check_store();
}
