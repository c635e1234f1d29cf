//! Building images from Dockerfiles.

use serde_json::json;
use tests::{Need, Registry, Run, Site, have};
use xtask::images::Base;

/// A site with busybox, or none where RUN steps cannot run.
fn site() -> Option<Site> {
    have(&[Need::Root]).then(Site::with_busybox)
}

/// The steps that came from the cache, as `[n/m] INSTRUCTION` lines, from plain or pretty progress.
fn cached(run: &Run) -> Vec<String> {
    let said = run.all();
    let mut names = std::collections::BTreeMap::new();
    let mut cached = Vec::new();
    for line in said.lines() {
        let (number, rest) = line.split_once(' ').unwrap_or((line, ""));
        if number.starts_with('#') && rest.starts_with('[') {
            names.insert(number.to_owned(), rest.to_owned());
        }
        if number.starts_with('#') && rest.starts_with("CACHED") {
            cached.push(names.get(number).cloned().unwrap_or_else(|| rest.to_owned()));
        }
    }
    cached
}

/// Whether the step whose line contains `text` was cached.
fn is_cached(run: &Run, text: &str) -> bool {
    cached(run).iter().any(|line| line.contains(text))
}

/// Covers: B08-01, B08-03, B08-02
#[test]
fn a_dockerfile_becomes_an_image_that_runs() {
    let Some(site) = site() else { return };
    site.write("context/app/hello.txt", "hello from the context\n");
    site.dockerfile(
        "FROM busybox\nCOPY . /src\nWORKDIR /src\nENTRYPOINT [\"cat\", \"app/hello.txt\"]\n",
    );
    let run = site.build("test:latest", "");
    assert!(run.all().contains("naming to docker.io/library/test:latest"), "{run}");
    assert_eq!(site.wherry("run --rm --network none test").ok().out(), "hello from the context");
    let relative = site
        .shell(
            "cd context && wherry build -t test:dot . >/dev/null 2>&1 && wherry images -q test:dot",
        )
        .ok();
    assert_eq!(relative.out(), &site.image_id("test:latest")[7..19]);
}

/// Covers: B08-04
#[test]
fn a_dockerfile_may_have_any_name_and_place() {
    let Some(site) = site() else { return };
    site.write("elsewhere/Dockerfile-final", "FROM busybox\nCOPY file /file\n");
    site.write("context/file", "in the context\n");
    site.build("a", "-f elsewhere/Dockerfile-final");
    assert_eq!(site.cat("a", "/file"), "in the context\n");
    site.try_build("b", "").fails_with(&["Dockerfile"]);
    let run =
        site.run_with_input(&["build", "-t", "c", "-"], b"FROM busybox\nRUN echo piped > /piped\n");
    if run.code == Some(0) {
        assert_eq!(site.cat("c", "/piped"), "piped\n");
    } else {
        run.fails_with(&["-"]);
    }
}

/// Covers: B08-05
#[test]
fn instructions_are_case_insensitive_and_comments_are_comments() {
    let Some(site) = site() else { return };
    site.dockerfile("# a comment\nfrom busybox\n# another\nrun echo one > /order \\\n# between\n && echo two >> /order\nRun echo three >> /order\n");
    site.build("a", "");
    assert_eq!(site.cat("a", "/order"), "one\ntwo\nthree\n");
}

/// Covers: B08-06
#[test]
fn only_some_instructions_make_layers() {
    let Some(site) = site() else { return };
    site.dockerfile("FROM busybox\nENV A=b\nEXPOSE 80\nLABEL c=d\nCMD [\"x\"]\nENTRYPOINT [\"y\"]\nUSER 33\nSTOPSIGNAL SIGINT\n");
    site.build("metadata", "");
    assert_eq!(site.layers("metadata"), site.layers("busybox"));
    site.dockerfile("FROM busybox\nRUN echo 1 > /1\nCOPY Dockerfile /2\nADD Dockerfile /3\n");
    site.build("content", "");
    assert_eq!(site.layers("content").len(), 4);
}

/// Covers: B08-07
#[test]
fn from_takes_the_local_image_or_pulls_it() {
    let Some(site) = site() else { return };
    let registry = Registry::embedded();
    let name = registry.name("team/base:v1");
    site.run(&["tag", "busybox", &name]).ok();
    site.run(&["push", &name]).ok();
    let other = Site::new();
    other.dockerfile(&format!("FROM {name}\nRUN echo own > /own\n"));
    other.build("child", "");
    assert_eq!(other.layers("child")[0], site.layers("busybox")[0]);
    drop(registry);
    site.dockerfile(&format!("FROM {name}\nRUN echo own > /own\n"));
    site.build("child", "");
    assert_eq!(site.cat("child", "/own"), "own\n");
    site.dockerfile("FROM no-such-image-here-127.0.0.1:1/x\n");
    site.try_build("x", "").fails_with(&["no-such-image-here"]);
}

/// Covers: B08-08, B08-12, B08-14, B08-15, B08-16, B08-13
#[test]
fn metadata_instructions_fill_the_config() {
    let Some(site) = site() else { return };
    site.dockerfile(
        "FROM busybox\nLABEL a=b \"c d\"=\"e f\"\nENV PLAIN=1 QUOTED=\"two words\"\nENV OLD form\nWORKDIR /made/here\nWORKDIR below\n\
         EXPOSE 8080 53/udp\nUSER 33:33\nSTOPSIGNAL SIGINT\nHEALTHCHECK --interval=5s --retries=2 CMD [\"true\"]\n\
         SHELL [\"/bin/sh\", \"-ec\"]\nENTRYPOINT [\"node\", \"./app.js\"]\nCMD [\"--serve\"]\nVOLUME /data\n",
    );
    site.build("app", "");
    let config = site.inspect("app")["Config"].clone();
    assert_eq!(config["Labels"], json!({ "a": "b", "c d": "e f" }));
    let environment = config["Env"].as_array().expect("a list").clone();
    for pair in ["PLAIN=1", "QUOTED=two words", "OLD=form"] {
        assert!(environment.contains(&json!(pair)), "{pair}: {environment:?}");
    }
    assert_eq!(config["WorkingDir"], "/made/here/below");
    assert_eq!(config["ExposedPorts"], json!({ "8080/tcp": {}, "53/udp": {} }));
    assert_eq!(config["User"], "33:33");
    assert_eq!(config["StopSignal"], "SIGINT");
    assert_eq!(config["Entrypoint"], json!(["node", "./app.js"]));
    assert_eq!(config["Cmd"], json!(["--serve"]));
    assert_eq!(config["Volumes"], json!({ "/data": {} }));
    assert_eq!(config["Healthcheck"]["Test"], json!(["CMD", "true"]));
    assert_eq!(config["Healthcheck"]["Retries"], 2);
    site.wherry("run --rm --network none -u 0 --entrypoint pwd app").ok().says("/made/here/below");
}

/// Covers: B08-09
#[test]
fn run_uses_the_shell_in_the_working_directory() {
    let Some(site) = site() else { return };
    site.dockerfile("FROM busybox\nWORKDIR /here\nRUN pwd > where && echo $0 > shell && id -u > who\nUSER 33\nRUN id -u > /tmp/who\nUSER 0\nRUN [\"/bin/cp\", \"where\", \"exec-form\"]\n");
    site.build("a", "");
    assert_eq!(site.cat("a", "/here/where"), "/here\n");
    assert_eq!(site.cat("a", "/here/shell"), "/bin/sh\n");
    assert_eq!(site.cat("a", "/tmp/who"), "33\n");
    assert_eq!(site.cat("a", "/here/exec-form"), "/here\n");
    let row = site
        .history("a")
        .into_iter()
        .find(|row| row.created_by.contains("pwd > where"))
        .expect("a row");
    assert!(row.created_by.contains("/bin/sh -c pwd > where"), "{row:?}");
}

#[test]
fn a_failing_step_fails_the_build_and_shows_why() {
    let Some(site) = site() else { return };
    site.dockerfile("FROM busybox\nRUN echo before; no-such-program; exit 9\n");
    let run = site.try_build("broken", "");
    let run = run.fails_with(&["no-such-program", "9"]);
    assert!(run.all().contains("before"), "the step's output is shown: {run}");
    assert_eq!(site.wherry("images -q broken").ok().stdout, "");
    site.check_store();
}

/// Covers: B08-10
#[test]
fn copy_takes_several_sources() {
    let Some(site) = site() else { return };
    for name in ["go.mod", "go.sum", "cmd/main.go"] {
        site.write(&format!("context/{name}"), format!("{name}\n"));
    }
    site.dockerfile("FROM busybox\nWORKDIR /src\nCOPY go.mod go.sum ./\nCOPY cmd ./cmd\nCOPY --chown=33:33 --chmod=600 go.mod /owned\n");
    site.build("a", "");
    let run = site.wherry("run --rm --network none a sh -c 'cat /src/go.mod /src/go.sum /src/cmd/main.go; stat -c %u:%g:%a /owned'").ok();
    assert_eq!(run.out(), "go.mod\ngo.sum\ncmd/main.go\n33:33:600");
    site.dockerfile("FROM busybox\nCOPY missing /\n");
    site.try_build("b", "").fails_with(&["COPY missing", "not found"]);
    site.dockerfile("FROM busybox\nCOPY ../outside /\n");
    site.write("outside", "secret");
    site.try_build("c", "").fails_with(&["outside"]);
}

/// Covers: B08-11
#[test]
fn add_unpacks_local_archives() {
    let Some(site) = site() else { return };
    let tar = tests::fixture::Layer::new().file("inner/a", "unpacked\n").tar();
    site.write("context/archive.tar.gz", tests::fixture::gzip(&tar));
    site.write("context/plain", "plain\n");
    site.dockerfile(
        "FROM busybox\nADD archive.tar.gz /there/\nADD plain /plain\nCOPY archive.tar.gz /packed\n",
    );
    site.build("a", "");
    assert_eq!(site.cat("a", "/there/inner/a"), "unpacked\n");
    assert_eq!(site.cat("a", "/plain"), "plain\n");
    let run = site.build("a", "");
    assert!(is_cached(&run, "ADD plain /plain"), "{run}");
    site.write("context/plain", "changed\n");
    let run = site.build("a", "");
    assert!(!is_cached(&run, "ADD plain /plain"), "{run}");
    assert_eq!(site.cat("a", "/plain"), "changed\n");
}

/// Covers: B08-17
#[test]
fn volume_is_written_into_the_config() {
    let Some(site) = site() else { return };
    site.dockerfile("FROM busybox\nVOLUME /one\nVOLUME [\"/two\", \"/three\"]\n");
    site.build("a", "");
    assert_eq!(
        site.inspect("a")["Config"]["Volumes"],
        json!({ "/one": {}, "/two": {}, "/three": {} })
    );
}

/// Covers: B08-18, B08-19, B08-20
#[test]
fn progress_counts_steps_and_names_what_it_loads() {
    let Some(site) = site() else { return };
    site.write("context/file", "x");
    site.dockerfile("FROM busybox\nLABEL a=b\nRUN echo 1 > /1\nCOPY . /src\nWORKDIR /src\nRUN echo 2 > /2\nEXPOSE 8080\nENTRYPOINT [\"x\"]\n");
    let run = site.build("ddd-book:ch8.1", "");
    let said = run.all();
    for text in [
        "[internal] load build definition from Dockerfile",
        "transferring dockerfile:",
        "[internal] load .dockerignore",
        "[internal] load build context",
        "transferring context:",
        "[1/5] FROM docker.io/library/busybox",
        "[2/5] RUN echo 1 > /1",
        "[3/5] COPY . /src",
        "[4/5] WORKDIR /src",
        "[5/5] RUN echo 2 > /2",
        "exporting to image",
        "exporting layers",
        "writing image sha256:",
        "naming to docker.io/library/ddd-book:ch8.1",
    ] {
        assert!(said.contains(text), "does not say '{text}': {run}");
    }
    assert!(said.contains(&format!("writing image {}", site.image_id("ddd-book:ch8.1"))), "{run}");
}

/// Covers: B08-20
#[test]
fn dockerignore_keeps_files_out_of_the_context() {
    let Some(site) = site() else { return };
    site.write("context/.dockerignore", "# comment\n*.log\nsecret\n!keep.log\n");
    for name in ["a.log", "keep.log", "secret/key", "plain"] {
        site.write(&format!("context/{name}"), "x");
    }
    site.dockerfile("FROM busybox\nCOPY . /src\n");
    site.build("a", "");
    let run =
        site.wherry("run --rm --network none a sh -c 'cd /src && find . -type f | sort'").ok();
    assert_eq!(run.out(), "./.dockerignore\n./Dockerfile\n./keep.log\n./plain");
}

/// Covers: B08-21, B08-22, B08-23, B08-24
#[test]
fn the_cache_holds_until_the_first_change() {
    let Some(site) = site() else { return };
    site.write("context/first", "1");
    site.write("context/second", "2");
    let text = "FROM busybox\nRUN echo early > /early\nCOPY first /first\nRUN cat /first > /middle\nCOPY second /second\nRUN cat /second > /late\n";
    site.dockerfile(text);
    let steps =
        ["RUN echo early", "COPY first", "RUN cat /first", "COPY second", "RUN cat /second"];
    let expect = |run: &Run, hits: usize| {
        let found: Vec<bool> = steps.iter().map(|step| is_cached(run, step)).collect();
        let wanted: Vec<bool> = (0..steps.len()).map(|n| n < hits).collect();
        assert_eq!(found, wanted, "{run}");
    };
    let first = site.build("a", "");
    expect(&first, 0);
    let id = site.image_id("a");
    expect(&site.build("a", ""), 5);
    assert_eq!(site.image_id("a"), id, "the same image");
    // The same content at another time is the same content.
    site.write("context/second", "2");
    expect(&site.build("a", ""), 5);
    site.write("context/second", "changed");
    expect(&site.build("a", ""), 3);
    assert_eq!(site.cat("a", "/late"), "changed");
    site.dockerfile(&text.replace("echo early", "echo other"));
    let run = site.build("a", "");
    assert!(!is_cached(&run, "RUN echo other") && !is_cached(&run, "RUN cat /second"), "{run}");
}

/// Covers: B08-25
#[test]
fn no_cache_runs_every_step_again() {
    let Some(site) = site() else { return };
    site.dockerfile("FROM busybox\nRUN cat /proc/sys/kernel/random/uuid > /uuid\n");
    site.build("a", "");
    let first = site.cat("a", "/uuid");
    site.build("a", "");
    assert_eq!(site.cat("a", "/uuid"), first);
    let run = site.build("a", "--no-cache");
    assert!(!is_cached(&run, "RUN cat"), "{run}");
    assert_ne!(site.cat("a", "/uuid"), first);
}

#[test]
fn build_arguments_are_part_of_the_key_only_where_they_are_used() {
    let Some(site) = site() else { return };
    site.dockerfile("ARG BASE=busybox\nFROM ${BASE}\nRUN echo first > /first\nARG WORD=default\nRUN echo $WORD > /word\n");
    site.build("a", "");
    assert_eq!(site.cat("a", "/word"), "default\n");
    let run = site.build("a", "--build-arg WORD=given");
    assert_eq!(site.cat("a", "/word"), "given\n");
    assert!(is_cached(&run, "RUN echo first"), "{run}");
    assert!(!is_cached(&run, "RUN echo $WORD"), "{run}");
    assert!(
        site.inspect("a")["Config"]["Env"]
            .as_array()
            .is_none_or(|env| !env.iter().any(|e| e.to_string().contains("WORD")))
    );
}

fn multi_stage(site: &Site) {
    site.write("context/go.mod", "module\n");
    site.dockerfile(
        "FROM busybox AS base\nWORKDIR /src\nCOPY go.mod ./\n\
         FROM base AS build-client\nRUN mkdir -p /out && echo client > /out/client\n\
         FROM base AS build-server\nRUN mkdir -p /out && echo server > /out/server\n\
         FROM busybox AS unused\nRUN exit 1\n\
         FROM scratch AS prod-client\nCOPY --from=build-client /out/client /bin/\nENTRYPOINT [\"/bin/client\"]\n\
         FROM scratch AS prod\nCOPY --from=build-client /out/client /bin/\nCOPY --from=build-server /out/server /bin/\nENTRYPOINT [ \"/bin/server\" ]\n",
    );
}

/// Covers: B08-38, B08-39, B08-40, B08-41, B08-43, B08-44
#[test]
fn a_multi_stage_build_keeps_only_the_last_stage() {
    let Some(site) = site() else { return };
    multi_stage(&site);
    site.build("multi:stage", "");
    assert_eq!(site.layers("multi:stage").len(), 2, "scratch has no layer");
    let rows = site.history("multi:stage");
    let instructions: Vec<&str> = rows.iter().map(|row| row.created_by.as_str()).collect();
    assert_eq!(rows.len(), 3, "{rows:?}");
    assert!(instructions[0].contains("ENTRYPOINT [\"/bin/server\"]"), "{rows:?}");
    assert!(instructions[1].contains("COPY /out/server /bin/"), "without --from: {rows:?}");
    assert!(instructions[2].contains("COPY /out/client /bin/"), "{rows:?}");
    assert_eq!(rows[0].size, "0B");
    let names = site.wherry("images --format {{.Repository}}:{{.Tag}}").ok();
    let mut names = names.lines();
    names.sort_unstable();
    assert_eq!(names, ["busybox:latest", "multi:stage"], "no intermediate image remains");
}

/// Covers: B08-45
#[test]
fn target_builds_up_to_a_stage_and_no_other() {
    let Some(site) = site() else { return };
    multi_stage(&site);
    let run = site.build("multi:client", "--target prod-client");
    assert!(!run.all().contains("build-server"), "stages that are not needed are not run: {run}");
    assert_eq!(site.layers("multi:client").len(), 1);
    assert_eq!(site.inspect("multi:client")["Config"]["Entrypoint"], json!(["/bin/client"]));
    site.try_build("x", "--target nowhere").fails_with(&["nowhere"]);
}

#[test]
fn stages_are_known_by_number_too() {
    let Some(site) = site() else { return };
    site.dockerfile("FROM busybox\nRUN echo zero > /zero\nFROM scratch\nCOPY --from=0 /zero /zero\nFROM busybox\nCOPY --from=1 /zero /zero\n");
    site.build("a", "");
    assert_eq!(site.cat("a", "/zero"), "zero\n");
    site.dockerfile("FROM busybox AS first\nCOPY --from=later /x /x\nFROM busybox AS later\n");
    site.try_build("b", "--target first").fails_with(&["later"]);
}

/// Covers: B08-42
#[test]
fn independent_stages_run_side_by_side() {
    let Some(site) = site() else { return };
    site.dockerfile(
        "FROM busybox AS one\nRUN cut -d' ' -f1 /proc/uptime > /start; sleep 2; cut -d' ' -f1 /proc/uptime > /end\n\
         FROM busybox AS two\nRUN cut -d' ' -f1 /proc/uptime > /start; sleep 2; cut -d' ' -f1 /proc/uptime > /end; :\n\
         FROM busybox\nCOPY --from=one /start /end /one/\nCOPY --from=two /start /end /two/\n",
    );
    let run = site.build("a", "");
    assert!(run.all().contains("[one 2/2] RUN cut"), "{run}");
    let time =
        |file: &str| site.cat("a", file).trim().parse::<f64>().expect("seconds since the boot");
    assert!(
        time("/one/start") < time("/two/end") && time("/two/start") < time("/one/end"),
        "they overlap"
    );
}

/// Covers: B08-54
#[test]
fn a_step_reaches_the_network() {
    let Some(site) = site() else { return };
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("bind");
    let port = listener.local_addr().expect("an address").port();
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let _ = std::io::Write::write_all(&mut stream, b"downloaded\n");
        }
    });
    site.dockerfile(&format!("FROM busybox\nRUN nc 127.0.0.1 {port} < /dev/null > /got\n"));
    site.build("a", "");
    assert_eq!(site.cat("a", "/got"), "downloaded\n");
}

/// Covers: B08-48, B08-50, B08-51
#[test]
fn several_platforms_make_one_index() {
    if !have(&[Need::Root]) {
        return;
    }
    let (site, registry) = (Site::new(), Registry::embedded());
    site.write("context/amd64", "for amd64\n");
    site.write("context/arm64", "for arm64\n");
    site.dockerfile("FROM scratch\nARG TARGETARCH\nCOPY ${TARGETARCH} /arch\nENV A=b\n");
    let name = registry.name("team/app:v1");
    let run = site.build(&name, "--platform linux/amd64,linux/arm64 --push");
    for platform in ["linux/amd64", "linux/arm64"] {
        assert!(
            run.all().contains(&format!("[{platform} 1/1] COPY"))
                || run.all().contains(&format!("[{platform} ")),
            "{run}"
        );
    }
    let index = registry.get("/v2/team/app/manifests/v1").json();
    let mut platforms: Vec<String> = index["manifests"]
        .as_array()
        .unwrap_or_else(|| panic!("no index: {index}"))
        .iter()
        .map(|m| {
            format!(
                "{}/{}",
                m["platform"]["os"].as_str().unwrap_or(""),
                m["platform"]["architecture"].as_str().unwrap_or("")
            )
        })
        .filter(|platform| platform != "unknown/unknown")
        .collect();
    platforms.sort();
    assert_eq!(platforms, ["linux/amd64", "linux/arm64"]);
    for arch in ["amd64", "arm64"] {
        let other = Site::new();
        other.run(&["pull", "--platform", &format!("linux/{arch}"), &name]).ok();
        assert_eq!(other.inspect(&name)["Architecture"], arch);
    }
    site.write("context/arm64", "changed for arm64\n");
    let run = site.build(&name, "--platform linux/amd64,linux/arm64");
    let hits = cached(&run);
    assert!(hits.iter().any(|line| line.contains("linux/amd64")), "{run}");
    assert!(
        !hits.iter().any(|line| line.contains("linux/arm64") && line.contains("COPY")),
        "{run}"
    );
}

/// Covers: B06-49
#[test]
fn an_image_for_a_foreign_platform_says_so() {
    let Some(site) = site() else { return };
    site.import(Base::BusyboxArm64, "foreign");
    assert_eq!(site.inspect("foreign")["Architecture"], "arm64");
    site.dockerfile("FROM scratch\nCOPY Dockerfile /\n");
    site.build("myimage:arm-v7", "--platform linux/arm/v7");
    let image = site.inspect("myimage:arm-v7");
    assert_eq!((&image["Architecture"], &image["Variant"]), (&json!("arm"), &json!("v7")));
}

/// Covers: B06-36
#[test]
fn two_roots_give_the_same_digest() {
    if !have(&[Need::Root]) {
        return;
    }
    let digest = || {
        let mut site = Site::new();
        site.set_env("SOURCE_DATE_EPOCH", "1700000000");
        site.import(Base::Busybox, "busybox");
        site.write("context/a/file", "content");
        site.dockerfile("FROM busybox\nCOPY . /src\nRUN date > /dev/null; mkdir -p /x/y; echo made > /x/y/z\nLABEL a=b\n");
        site.build("app", "");
        site.image_id("app")
    };
    assert_eq!(digest(), digest());
}

/// Covers: B08-16
#[test]
fn onbuild_waits_for_the_next_build() {
    let Some(site) = site() else { return };
    site.dockerfile(
        "FROM busybox\nONBUILD COPY file /from-child\nONBUILD RUN echo triggered > /triggered\n",
    );
    site.build("parent", "");
    site.wherry("run --rm --network none parent cat /triggered").exits(1);
    site.write("context/file", "of the child\n");
    site.dockerfile("FROM parent\n");
    site.build("child", "");
    assert_eq!(site.cat("child", "/from-child"), "of the child\n");
    assert_eq!(site.cat("child", "/triggered"), "triggered\n");
}

#[test]
fn mistakes_are_shown_with_line_caret_and_hint() {
    let Some(site) = site() else { return };
    let rows: [(&str, &[&str]); 6] = [
        ("FROM busybox\nRUNN echo x\n", &["line 2", "RUNN", "^"]),
        ("FROM busybox\nCOPY onlyone\n", &["line 2", "COPY"]),
        ("RUN echo x\n", &["FROM"]),
        ("", &["no instructions"]),
        ("FROM busybox\nCOPY --from=nostage /a /b\n", &["nostage"]),
        ("FROM busybox\nCOPY --nonsense a b\n", &["line 2", "nonsense"]),
    ];
    for (text, words) in rows {
        site.dockerfile(text);
        site.try_build("broken", "").fails_with(words);
    }
    site.dockerfile("FROM busybox\nRUNN echo x\n");
    site.try_build("broken", "").fails_with(&["did you mean", "RUN"]);
    assert_eq!(site.wherry("images -q broken").ok().stdout, "");
    site.run(&["build", "-t", "x", "/no/such/context"]).fails_with(&["/no/such/context"]);
}

/// Covers: B08-54
#[test]
fn apt_installs_packages_in_a_step() {
    if !have(&[Need::Root, Need::Mmdebstrap, Need::Mirror]) {
        return;
    }
    let site = Site::new();
    site.import(Base::Debian, "debian:bookworm");
    site.dockerfile("FROM debian:bookworm\nRUN apt-get update && apt-get install -y --no-install-recommends hello && rm -rf /var/lib/apt/lists/*\nCMD [\"hello\"]\n");
    site.build("greeter", "");
    assert_eq!(site.wherry("run --rm --network none greeter").ok().out(), "Hello, world!");
}
