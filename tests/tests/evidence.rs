//! What a build says of its image beside it, and whether it can be made again.

use serde_json::{Value, json};
use tests::{Need, Registry, Site, have};
use xtask::images::Base;

const STATEMENT: &str = "application/vnd.in-toto+json";
const PROVENANCE: &str = "https://slsa.dev/provenance/v1";
const CONTENTS: &str = "https://spdx.dev/Document";

/// A site with busybox, or none where RUN steps cannot run.
fn site() -> Option<Site> {
    have(&[Need::Root]).then(Site::with_busybox)
}

/// The statements that a registry has about a manifest, by what they say; each must be an artifact that refers to it.
#[track_caller]
fn statements(site: &Site, registry: &Registry, repository: &str, digest: &str) -> Vec<Value> {
    let name = registry.name(&format!("{repository}@{digest}"));
    let listed = site.run(&["referrers", "--format", "{{.Digest}} {{.ArtifactType}}", &name]).ok();
    let mut found = Vec::new();
    for line in listed.lines() {
        let (referrer, kind) = line.split_once(' ').expect("a digest and a type");
        assert_eq!(kind, STATEMENT, "{listed}");
        let manifest = registry.get(&format!("/v2/{repository}/manifests/{referrer}")).json();
        assert_eq!(manifest["artifactType"], STATEMENT, "{manifest}");
        assert_eq!(manifest["subject"]["digest"], digest, "{manifest}");
        assert_eq!(manifest["config"]["mediaType"], "application/vnd.oci.empty.v1+json");
        let layer = &manifest["layers"][0];
        assert_eq!(layer["mediaType"], STATEMENT);
        let blob = layer["digest"].as_str().expect("a digest");
        let statement = registry.get(&format!("/v2/{repository}/blobs/{blob}")).json();
        assert_eq!(statement["_type"], "https://in-toto.io/Statement/v1");
        assert_eq!(layer["annotations"]["in-toto.io/predicate-type"], statement["predicateType"]);
        let (_, hex) = digest.split_once(':').expect("an algorithm");
        assert_eq!(statement["subject"][0]["digest"]["sha256"], hex, "{statement}");
        found.push(statement);
    }
    found.sort_by_key(|statement| statement["predicateType"].to_string());
    found
}

/// The `purl` of every package that an SPDX document lists, without the image itself.
fn packages(statement: &Value) -> Vec<&str> {
    let document = &statement["predicate"];
    assert_eq!(document["spdxVersion"], "SPDX-2.3");
    let packages = document["packages"].as_array().expect("packages");
    let named = packages.iter().filter(|package| package["SPDXID"] != "SPDXRef-Image");
    named
        .map(|package| package["externalRefs"][0]["referenceLocator"].as_str().expect("a purl"))
        .collect()
}

/// Covers: BLD-94, BLD-95, BLD-96
#[test]
fn attestations_are_pushed_as_referrers_and_no_index_is_made_for_them() {
    let Some(site) = site() else { return };
    let registry = Registry::embedded();
    site.write(
        "context/status",
        "Package: tool\nStatus: install ok installed\nVersion: 1.2\nArchitecture: all\n",
    );
    site.dockerfile(
        "FROM busybox\nARG word\nCOPY status /var/lib/dpkg/status\nRUN echo $word > /word\n",
    );
    let name = registry.name("team/app:v1");
    site.build(&name, "--provenance=mode=max --sbom --build-arg word=told --push");
    let manifest = registry.get("/v2/team/app/manifests/v1").json();
    assert!(manifest["layers"].is_array(), "the image itself, no index: {manifest}");
    let digest = registry.digest("team/app", "v1");
    let found = statements(&site, &registry, "team/app", &digest);
    let kinds: Vec<&Value> = found.iter().map(|statement| &statement["predicateType"]).collect();
    assert_eq!(kinds, [PROVENANCE, CONTENTS]);
    let definition = &found[0]["predicate"]["buildDefinition"];
    let request = &definition["externalParameters"]["request"];
    assert_eq!(request["args"]["build-arg:word"], "told");
    let base = &definition["resolvedDependencies"][0];
    assert_eq!(base["uri"], "pkg:docker/busybox@latest?platform=linux%2Famd64");
    assert_eq!(base["digest"]["sha256"].as_str().map(str::len), Some(64));
    assert_eq!(packages(&found[1]), ["pkg:deb/debian/tool@1.2?arch=all"]);
    assert_eq!(site.layers(&name).len(), 3, "the attestations are no part of the image");
}

/// Covers: BLD-94
#[test]
fn provenance_of_mode_min_shows_no_values() {
    let Some(site) = site() else { return };
    let registry = Registry::embedded();
    site.dockerfile("FROM busybox\nRUN true\n");
    let name = registry.name("app:v1");
    let more =
        "--provenance --build-arg token=value-of-an-argument --label l=value-of-a-label --push";
    site.build(&name, more);
    let digest = registry.digest("app", "v1");
    let found = statements(&site, &registry, "app", &digest);
    assert_eq!(found.len(), 1);
    let text = found[0].to_string();
    assert!(!text.contains("value-of"), "{text}");
    // Not asked for, not made.
    let plain = registry.name("plain:v1");
    site.build(&plain, "--push");
    let digest = registry.digest("plain", "v1");
    assert!(statements(&site, &registry, "plain", &digest).is_empty());
}

/// Covers: BLD-33, BLD-94
#[test]
fn a_secret_in_an_attestation_stops_the_build_before_anything_has_a_name() {
    let Some(site) = site() else { return };
    site.write("secret", "correct-horse-battery");
    site.dockerfile(
        "FROM busybox\nRUN --mount=type=secret,id=token wc -c /run/secrets/token > /size\n",
    );
    let more = "--secret id=token,src=secret --build-arg used=correct-horse-battery";
    let run = site.try_build("leaky", &format!("{more} --provenance=mode=max"));
    let run = run.fails_with(&["secret \"token\"", "attestation", "nothing was tagged"]);
    assert!(!run.all().contains("correct-horse"), "{run}");
    assert_eq!(site.wherry("images -q leaky").ok().stdout, "");
    // What is shown to everybody holds no values of arguments.
    site.build("fine", &format!("{more} --provenance=mode=min"));
}

/// Covers: BLD-33
#[test]
fn a_secret_in_a_file_is_found_in_a_squashed_image_too() {
    let Some(site) = site() else { return };
    site.write("secret", "correct-horse-battery");
    site.dockerfile("FROM busybox\nRUN --mount=type=secret,id=token cp /run/secrets/token /kept\n");
    for more in ["", "--squash"] {
        let run = site.try_build("leaky", &format!("--secret id=token,src=secret {more}"));
        run.fails_with(&["secret \"token\"", "/kept", "nothing was tagged"]);
    }
}

/// Covers: BLD-96
#[test]
fn attestations_live_as_long_as_their_image() {
    let Some(site) = site() else { return };
    let registry = Registry::embedded();
    site.dockerfile("FROM scratch\nCOPY Dockerfile /\n");
    let name = registry.name("app:v1");
    site.build(&name, "--provenance --sbom");
    site.wherry("builder prune --all --force").ok();
    site.wherry("image prune --force").ok();
    site.check_store();
    site.run(&["push", &name]).ok();
    let digest = registry.digest("app", "v1");
    assert_eq!(statements(&site, &registry, "app", &digest).len(), 2, "they were kept");
    let records = site.root().join("attestations/sha256");
    let count = || std::fs::read_dir(&records).map_or(0, Iterator::count);
    assert_eq!(count(), 1);
    site.run(&["rmi", &name]).ok();
    // Content goes in two steps: condemned first, removed by a later collection.
    for _ in 0..3 {
        site.wherry("builder prune --all --force").ok();
    }
    assert_eq!(count(), 0, "the record went with the image");
    site.check_store();
}

/// Covers: BLD-96
#[test]
fn each_platform_has_attestations_of_its_own_and_the_index_lists_images_only() {
    let Some(site) = site() else { return };
    let registry = Registry::embedded();
    site.dockerfile("FROM scratch\nCOPY Dockerfile /\n");
    let name = registry.name("app:v1");
    site.build(&name, "--platform linux/amd64,linux/arm64 --provenance --push");
    let index = registry.get("/v2/app/manifests/v1").json();
    let entries = index["manifests"].as_array().expect("an index");
    let platforms: Vec<&Value> = entries.iter().map(|e| &e["platform"]["architecture"]).collect();
    assert_eq!(platforms, ["amd64", "arm64"]);
    for entry in entries {
        let digest = entry["digest"].as_str().expect("a digest");
        let found = statements(&site, &registry, "app", digest);
        assert_eq!(found.len(), 1);
        let subject = found[0]["subject"][0]["name"].as_str().expect("a name");
        let architecture = entry["platform"]["architecture"].as_str().expect("one");
        assert!(subject.ends_with(&format!("platform=linux%2F{architecture}")), "{subject}");
    }
}

/// Covers: BLD-95
#[test]
fn the_list_of_contents_has_every_package_that_dpkg_has() {
    if !have(&[Need::Root, Need::Mmdebstrap]) {
        return;
    }
    let (site, registry) = (Site::new(), Registry::embedded());
    site.import(Base::Debian, "debian:bookworm");
    site.write(
        "context/package.json",
        json!({ "name": "left-pad", "version": "1.3.0" }).to_string(),
    );
    site.write("context/METADATA", "Metadata-Version: 2.1\nName: Flask\nVersion: 3.0.0\n");
    site.dockerfile(
        "FROM debian:bookworm\nCOPY package.json /app/node_modules/left-pad/package.json\n\
         COPY METADATA /usr/lib/python3/dist-packages/flask-3.0.0.dist-info/METADATA\n",
    );
    let name = registry.name("app:v1");
    site.build(&name, "--sbom --push");
    let format = "${Package} ${Version} ${Architecture}\n";
    let run = site
        .run(&["run", "--rm", "--network", "none", &name, "dpkg-query", "-W", "-f", format])
        .ok();
    let digest = registry.digest("app", "v1");
    let found = statements(&site, &registry, "app", &digest);
    let listed = packages(&found[0]);
    let (debian, others): (Vec<&str>, Vec<&str>) =
        listed.iter().partition(|url| url.starts_with("pkg:deb/"));
    assert_eq!(others, ["pkg:npm/left-pad@1.3.0", "pkg:pypi/flask@3.0.0"]);
    assert_eq!(debian.len(), run.lines().len(), "as many as dpkg says");
    for line in run.lines() {
        let words: Vec<&str> = line.split(' ').collect();
        let version = words[1].replace('+', "%2B").replace(':', "%3A");
        let begin =
            format!("pkg:deb/debian/{}@{version}?arch={}", words[0].replace('+', "%2B"), words[2]);
        assert!(debian.iter().any(|url| url.starts_with(&begin)), "{begin} is missing");
    }
}

/// Covers: BLD-88, BLD-89
#[test]
fn a_build_is_tried_twice_and_each_difference_has_its_step_and_cause() {
    let Some(site) = site() else { return };
    site.dockerfile(
        "FROM busybox AS made\nRUN date > /date\nRUN hostname > /host; echo same > /same\n\
         RUN cat /proc/sys/kernel/random/uuid > /random\nRUN touch /$(cat /proc/sys/kernel/random/uuid)-name\n\
         FROM busybox\nCOPY --from=made /date /random /found/\nRUN echo equal > /equal\n",
    );
    let context = site.context("").display().to_string();
    let run = site.run(&["build", "--progress=plain", "--reproduce", &context]).exits(1);
    let said = &run.stdout;
    assert!(said.starts_with("not reproducible: sha256:"), "{run}");
    for line in [
        "RUN date > /date (line 2)",
        "  /date: it holds the time of the build",
        "RUN hostname > /host; echo same > /same (line 3)",
        "  /host: it holds the name of the host",
        "  /random: its content differs without a known cause",
        "-name: only one of the builds made it",
        "COPY --from=made /date /random /found/ (line 7)",
        "  /found/random: its content differs",
    ] {
        assert!(said.contains(line), "does not say '{line}': {run}");
    }
    assert!(!said.contains("/same:") && !said.contains("RUN echo equal"), "{run}");
    assert_eq!(site.wherry("images -aq").ok().lines().len(), 1, "nothing got a name");
    site.check_store();
}

/// Covers: BLD-88, BLD-89
#[test]
fn a_reproducible_build_is_called_so() {
    let Some(site) = site() else { return };
    site.write("context/file", "x");
    site.dockerfile(
        "FROM busybox AS made\nRUN date > /not-in-the-image\nRUN echo made > /made\n\
         FROM busybox\nCOPY file /file\nCOPY --from=made /made /made\nRUN mkdir -p /a/b && echo x > /a/b/c && rm /etc/shells\n",
    );
    let context = site.context("").display().to_string();
    let run = site.run(&["build", "--progress=plain", "--reproduce", &context]).ok();
    assert!(run.stdout.starts_with("reproducible: both builds give sha256:"), "{run}");
    assert!(run.stdout.contains("nothing of it is in the image"), "{run}");
    site.run(&["build", "--reproduce", "-t", "x", &context]).fails_with(&["--reproduce"]);
}
