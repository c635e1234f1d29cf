//! The worked examples of chapters 8 and 9, with Debian's packages in place of a hub's images.

use std::net::TcpListener;
use std::path::PathBuf;
use std::time::Duration;

use tests::site::eventually;
use tests::{Need, Registry, Site, have, http};
use xtask::images::Base;

/// A site with Debian, or none where packages cannot be installed.
fn site() -> Option<Site> {
    have(&[Need::Root, Need::Mmdebstrap, Need::Mirror]).then(|| {
        let site = Site::new();
        site.import(Base::Debian, "debian:bookworm");
        site
    })
}

fn app(name: &str) -> PathBuf {
    xtask::shell::workspace_root().join("testdata/apps").join(name)
}

/// Builds an example in its own folder.
#[track_caller]
fn build(site: &Site, example: &str, tag: &str, more: &[&str]) -> tests::Run {
    let context = app(example).display().to_string();
    let mut args = vec!["build", "--progress=plain", "-t", tag];
    args.extend(more);
    args.push(&context);
    site.run(&args).ok()
}

/// An address on loopback that nobody has at this moment.
fn free_address() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("bind");
    listener.local_addr().expect("an address").to_string()
}

/// What a server says, once it listens.
#[track_caller]
fn ask(site: &Site, container: &str, address: &str, path: &str) -> String {
    let mut said = None;
    let answered = eventually(Duration::from_secs(60), || {
        said = http::request(address, "GET", path, &[], b"").ok();
        said.is_some()
    });
    assert!(answered, "{}", site.run(&["logs", container]));
    said.expect("it was answered").text()
}

/// Covers: B08-01, B08-03, B08-18, B08-19, B08-27, B08-28, B08-32, B08-54
#[test]
fn a_web_app_is_built_inspected_pushed_and_run() {
    let Some(site) = site() else { return };
    let run = build(&site, "web-app", "ddd-book:ch8.1", &[]);
    for step in [
        "[1/5] FROM",
        "[2/5] RUN apt-get",
        "[3/5] COPY . /src",
        "[4/5] WORKDIR /src",
        "[5/5] RUN node",
    ] {
        assert!(run.all().contains(step), "{step}: {run}");
    }
    let image = site.inspect("ddd-book:ch8.1");
    assert_eq!(image["Config"]["WorkingDir"], "/src");
    assert_eq!(image["Config"]["Entrypoint"], serde_json::json!(["node", "./app.js"]));
    assert_eq!(image["Config"]["Labels"]["maintainer"], "web@example.com");
    let rows = site.history("ddd-book:ch8.1");
    let begins = [
        "ENTRYPOINT [\"node\" \"./app.js\"]",
        "EXPOSE map[8080/tcp:{}]",
        "RUN /bin/sh -c node",
        "WORKDIR /src",
        "COPY . /src # buildkit",
        "RUN /bin/sh -c apt-get",
        "LABEL maintainer=web@example.com",
    ];
    for (row, begin) in rows.iter().zip(begins) {
        assert!(row.created_by.starts_with(begin), "{begin}: {rows:?}");
    }
    assert_eq!((rows[0].size.as_str(), rows[1].size.as_str()), ("0B", "0B"));
    assert!(rows[4].size != "0B" && rows[5].size.ends_with("MB"), "{rows:?}");
    let registry = Registry::embedded();
    let name = registry.name("team/ddd-book:ch8.1");
    site.run(&["tag", "ddd-book:ch8.1", &name]).ok();
    let pushed = site.run(&["push", &name]).ok();
    // WORKDIR of a folder that is there, and a check that writes nothing, are the same empty layer: one line.
    let layers: std::collections::BTreeSet<String> =
        site.layers("ddd-book:ch8.1").into_iter().collect();
    let done = |line: &&&str| line.ends_with("Pushed");
    assert_eq!(pushed.lines().iter().filter(done).count(), layers.len(), "{pushed}");
    let address = free_address();
    let port = address.rsplit(':').next().expect("a port");
    site.run(&[
        "run",
        "-d",
        "--name",
        "c1",
        "--network",
        "host",
        "-e",
        &format!("PORT={port}"),
        "ddd-book:ch8.1",
    ])
    .ok();
    let page = ask(&site, "c1", &address, "/");
    assert!(page.contains("Containers are easy") && page.contains("version 1.0.0"), "{page}");
}

/// Covers: B08-04, B08-38, B08-39, B08-40, B08-41, B08-42, B08-43, B08-44, B08-45
#[test]
fn a_multi_stage_build_keeps_two_binaries_and_each_target_one() {
    let Some(site) = site() else { return };
    let run = build(&site, "multi-stage", "multi:stage", &[]);
    for step in
        ["[build-client 1/1] RUN go build", "[build-server 1/1] RUN go build", "[prod 1/2] COPY"]
    {
        assert!(run.all().contains(step), "{step}: {run}");
    }
    let rows = site.history("multi:stage");
    let created: Vec<&str> = rows.iter().map(|row| row.created_by.as_str()).collect();
    let expected = [
        "ENTRYPOINT [\"/bin/server\"]",
        "COPY /bin/server /bin/ # buildkit",
        "COPY /bin/client /bin/ # buildkit",
    ];
    assert_eq!(created, expected);
    assert_eq!(site.layers("multi:stage").len(), 2);
    let size = |name: &str| site.inspect(name)["Size"].as_u64().expect("a size");
    assert!(size("multi:stage") * 5 < size("debian:bookworm"), "{}", size("multi:stage"));
    let file = app("multi-stage").join("Dockerfile-final").display().to_string();
    for target in ["client", "server"] {
        let stage = format!("prod-{target}");
        let run = build(
            &site,
            "multi-stage",
            &format!("multi:{target}"),
            &["--target", &stage, "-f", &file],
        );
        let other = if target == "client" { "build-server" } else { "build-client" };
        assert!(!run.all().contains(other), "what the target does not need is not run: {run}");
        let share = size(&format!("multi:{target}")) * 100 / size("multi:stage");
        assert!((40..=60).contains(&share), "{share} % of both");
    }
    let address = format!("ADDRESS={}", free_address());
    site.run(&[
        "run",
        "-d",
        "--name",
        "server",
        "--network",
        "host",
        "-e",
        &address,
        "multi:server",
    ])
    .ok();
    ask(&site, "server", address.trim_start_matches("ADDRESS="), "/");
    let client =
        site.run(&["run", "--rm", "--network", "host", "-e", &address, "multi:client"]).ok();
    assert_eq!(client.out(), "hello, client");
}

/// Covers: B08-54
#[test]
fn the_application_of_two_containers_is_built_and_its_page_answers() {
    let Some(site) = site() else { return };
    build(&site, "multi-container", "multi-container-web-fe", &[]);
    let image = site.inspect("multi-container-web-fe");
    assert_eq!(image["Config"]["Entrypoint"], serde_json::json!(["python3", "app.py"]));
    let address = free_address();
    let port = format!("PORT={}", address.rsplit(':').next().expect("a port"));
    let args = [
        "run",
        "-d",
        "--name",
        "web",
        "--network",
        "host",
        "-e",
        "REDIS=127.0.0.1",
        "-e",
        &port,
        "multi-container-web-fe",
    ];
    site.run(&args).ok();
    assert_eq!(ask(&site, "web", &address, "/health"), "well");
}
