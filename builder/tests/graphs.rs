//! Goldens: `testdata/dockerfiles/<case>/Dockerfile` against the printed graph, and wrong ones against the message.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use builder::frontend::{self, Network};
use builder::graph::BaseImage;
use builder::lower::{ImageResolver, LowerOptions, NoCache, lower};
use builder::{Error, PortError};
use oci::{Descriptor, Digest, ImageConfig, MediaType, Platform, Reference};

/// Every image exists and has one layer.
struct AnyImage;

impl ImageResolver for AnyImage {
    fn resolve(&self, reference: &Reference, platform: &Platform) -> Result<BaseImage, PortError> {
        let mut config = ImageConfig::scratch(platform);
        config.config.env = vec!["PATH=/usr/bin:/bin".to_owned()];
        match reference.familiar_repository().as_str() {
            "withcmd" => config.config.cmd = Some(vec!["inherited".to_owned()]),
            "onbuild" => {
                config.config.on_build = vec!["COPY . /app".to_owned(), "ENV A=b".to_owned()]
            }
            "badtrigger" => config.config.on_build = vec!["FROM x".to_owned()],
            _ => {}
        }
        let layer = Digest::sha256(reference.to_string().as_bytes());
        config.rootfs.diff_ids.push(layer.clone());
        let created_by = Some(format!("base {}", reference.familiar()));
        config.history.push(oci::History { created_by, ..oci::History::default() });
        let manifest =
            Descriptor::of(MediaType::OciManifest, format!("{reference} {platform}").as_bytes());
        let layers = vec![Descriptor::new(MediaType::OciLayer(oci::Compression::Gzip), layer, 1)];
        Ok(BaseImage { reference: reference.clone(), manifest, config, layers })
    }
}

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../testdata/dockerfiles")
}

fn cases(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).unwrap().map(|e| e.unwrap().path());
    let mut cases: Vec<PathBuf> = entries.filter(|p| p.join("Dockerfile").exists()).collect();
    cases.sort();
    cases
}

fn options(case: &Path) -> LowerOptions {
    let mut options = LowerOptions::new("linux/amd64".parse().unwrap());
    let text = std::fs::read_to_string(case.join("args")).unwrap_or_default();
    for line in text.lines() {
        let (flag, value) = line.split_once(' ').unwrap_or((line, ""));
        let pair = |map: &mut BTreeMap<String, String>| {
            let (key, value) = value.split_once('=').unwrap();
            map.insert(key.to_owned(), value.to_owned());
        };
        match flag {
            "--build-arg" => pair(&mut options.build_args),
            "--label" => pair(&mut options.labels),
            "--target" => options.target = Some(value.to_owned()),
            "--platform" => options.platform = value.parse().unwrap(),
            "--build-platform" => options.build_platform = value.parse().unwrap(),
            "--several" => options.several_platforms = true,
            "--network" => {
                options.network = if value == "host" { Network::Host } else { Network::None }
            }
            "--no-cache-filter" => options.no_cache = NoCache::Stages(vec![value.to_owned()]),
            other => panic!("{}: unknown option {other}", case.display()),
        }
    }
    options
}

fn outcome(case: &Path) -> Result<String, Error> {
    let text = std::fs::read_to_string(case.join("Dockerfile")).unwrap();
    let file = frontend::parse(&text)?;
    Ok(lower(&file, &options(case), &AnyImage)?.to_string())
}

fn check(path: &Path, found: &str, wrong: &mut Vec<String>) {
    if std::env::var_os("UPDATE_EXPECT").is_some() {
        std::fs::write(path, found).unwrap();
    }
    let expect = std::fs::read_to_string(path).unwrap_or_default();
    if expect != found {
        wrong.push(format!("{}:\n--- expected\n{expect}--- found\n{found}", path.display()));
    }
}

/// Covers: B08-06, B08-07, B08-08, B08-12, B08-13, B08-14, B08-15, B08-16, B08-17, B08-19, B08-28, B08-38, B08-39, B08-40
#[test]
fn every_dockerfile_comes_to_its_graph() {
    let mut wrong = Vec::new();
    let cases = cases(&folder());
    assert!(cases.len() >= 20, "the cases are not where they should be");
    for case in cases {
        let found = outcome(&case).unwrap_or_else(|e| panic!("{}: {e}", case.display()));
        check(&case.join("graph.txt"), &found, &mut wrong);
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// Covers: BLD-4, BLD-8, BLD-16
#[test]
fn every_wrong_dockerfile_gets_one_clear_message() {
    let mut wrong = Vec::new();
    let cases = cases(&folder().join("wrong"));
    assert!(cases.len() >= 20, "the cases are not where they should be");
    for case in cases {
        let found = match outcome(&case) {
            Ok(graph) => format!("accepted:\n{graph}"),
            Err(error) => format!("{error}\n"),
        };
        check(&case.join("error.txt"), &found, &mut wrong);
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
