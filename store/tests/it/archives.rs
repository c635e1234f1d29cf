//! Save and load.

use std::path::Path;

use oci::{Descriptor, Digest, ImageConfig, Index, Manifest, MediaType, Platform, Raw, Reference};
use store::tar::{Entry, Kind, Reader, Writer};
use store::{DiffOptions, Displaced, Error, Name, SaveFormat, Saved};

use crate::support::{Tar, TestStore, gzip, store};

fn name(text: &str) -> Name {
    Name::from(&text.parse::<Reference>().expect("a reference").or_latest())
}

fn image(store: &TestStore) -> Descriptor {
    store.image(&[Tar::new().file("a", b"1").build(), Tar::new().file("b", b"2").build()])
}

fn save(store: &TestStore, saved: &[Saved], format: SaveFormat) -> Vec<u8> {
    let mut out = Vec::new();
    store.archives().save(saved, format, &mut out).expect("saves");
    out
}

fn load(store: &TestStore, bytes: &[u8]) -> store::Result<Vec<store::Loaded>> {
    let lease = store.lease("test").expect("lease");
    store.archives().load(bytes, &lease)
}

/// Covers: DST-41, DST-66
#[test]
fn digests_and_names_survive_the_way_through_an_archive() {
    for format in [SaveFormat::Docker, SaveFormat::Oci] {
        let (from, to) = (store(), store());
        let descriptor = image(&from);
        let names = vec![name("app:v1"), name("localhost:5000/team/app:v2")];
        let bytes = save(&from, &[Saved { descriptor: descriptor.clone(), names }], format);
        for packed in [bytes.clone(), gzip(&bytes), zstd::encode_all(&bytes[..], 1).expect("packs")]
        {
            let loaded = load(&to, &packed).expect("loads");
            assert_eq!(loaded.len(), 1);
            assert_eq!(loaded[0].descriptor, descriptor);
            assert_eq!(loaded[0].names, ["docker.io/library/app:v1", "localhost:5000/team/app:v2"]);
        }
        assert_eq!(to.content().first_missing(&descriptor).expect("looks"), None);
        assert!(to.names().list().expect("lists").is_empty(), "naming is for who admits it");
    }
}

#[test]
fn the_same_images_give_the_same_bytes() {
    let one = store();
    let saved = [Saved { descriptor: image(&one), names: vec![name("app")] }];
    let two = store();
    image(&two);
    assert_eq!(save(&one, &saved, SaveFormat::Docker), save(&two, &saved, SaveFormat::Docker));
}

/// Covers: DST-44
#[test]
fn an_index_is_saved_with_those_of_its_images_that_are_here() {
    let from = store();
    let here = image(&from).with_platform(Platform::host());
    let elsewhere = Descriptor::of(MediaType::OciManifest, b"not here")
        .with_platform("linux/s390x".parse().expect("a platform"));
    let index = Raw::encode(&Index::new(vec![here.clone(), elsewhere])).expect("encodes");
    let descriptor = from.content().put_raw(&index).expect("stores");
    let saved = [Saved { descriptor: descriptor.clone(), names: vec![name("app")] }];
    let to = store();
    let loaded = load(&to, &save(&from, &saved, SaveFormat::Docker)).expect("loads");
    assert_eq!(loaded[0].descriptor, descriptor);
    let found = to.images().open(&descriptor, &Platform::host()).expect("opens");
    assert_eq!(found.descriptor().digest(), here.digest());
}

struct Docker {
    config: Raw<ImageConfig>,
    tars: Vec<Vec<u8>>,
}

fn docker() -> Docker {
    let tars = vec![Tar::new().file("a", b"1").build(), Tar::new().file("b", b"2").build()];
    let mut config = ImageConfig::scratch(&Platform::host());
    config.rootfs.diff_ids = tars.iter().map(|tar| Digest::sha256(tar)).collect();
    Docker { config: Raw::encode(&config).expect("encodes"), tars }
}

/// A docker-archive as `docker save` wrote it before version 25, and as skopeo writes it.
fn docker_archive(docker: &Docker, style: &str) -> Vec<u8> {
    let config = format!("{}.json", docker.config.digest().hex());
    let mut tar = Tar::new();
    let mut layers = Vec::new();
    for (number, layer) in docker.tars.iter().enumerate() {
        let path = format!("{number}/layer.tar");
        tar = match style {
            "symlinks" => tar
                .file(&format!("{number}.tar"), layer)
                .symlink(&path, &format!("../{number}.tar")),
            "hardlinks" => {
                tar.file(&format!("{number}.tar"), layer).hardlink(&path, &format!("{number}.tar"))
            }
            "compressed" => tar.file(&path, &gzip(layer)),
            _ => tar.file(&path, layer),
        };
        layers.push(format!("{path:?}"));
    }
    let list = format!(
        r#"[{{"Config":{config:?},"RepoTags":["app:v1","team/app:v2"],"Layers":[{}]}}]"#,
        layers.join(",")
    );
    tar.file(&config, docker.config.bytes()).file("manifest.json", list.as_bytes()).build()
}

/// Covers: DST-66, B06-41
#[test]
fn a_docker_archive_of_any_age_loads_with_its_id_and_layers() {
    for style in ["plain", "symlinks", "hardlinks", "compressed"] {
        let docker = docker();
        let to = store();
        let loaded = load(&to, &docker_archive(&docker, style)).expect(style);
        assert_eq!(loaded[0].names, ["app:v1", "team/app:v2"]);
        let image = to.images().open(&loaded[0].descriptor, &Platform::host()).expect("opens");
        assert_eq!(image.id(), &docker.config.digest(), "the id is the config's");
        assert!(
            image
                .manifest()
                .layers()
                .iter()
                .all(|layer| { layer.media_type() == &MediaType::DockerLayerGzip })
        );
        let lease = to.lease("test").expect("lease");
        to.layers().unpack(&image.layers(), &lease).expect("unpacks");
    }
}

#[test]
fn a_docker_archive_whose_layer_is_not_its_configs_is_refused() {
    let mut docker = docker();
    docker.tars[1] = Tar::new().file("evil", b"2").build();
    let error = load(&store(), &docker_archive(&docker, "plain")).expect_err("differs");
    assert!(error.to_string().contains("the image's config says"), "{error}");
}

#[track_caller]
fn refused(bytes: &[u8], reason: &str) {
    let to = store();
    let error = load(&to, bytes).expect_err("accepted").to_string();
    assert!(error.contains(reason), "{error}");
    for folder in ["staging", "ingest", "leases"] {
        let left = std::fs::read_dir(to.root().join(folder)).expect("lists").count();
        assert_eq!(left, 0, "{folder} after {reason}");
    }
}

#[test]
fn what_is_no_image_archive_is_refused_with_the_reason() {
    refused(b"", "neither index.json nor manifest.json");
    refused(b"not a tar at all, but long enough to be taken for a header", "truncated");
    refused(&[b'7'; 2048], "checksum");
    refused(&Tar::new().file("x", b"1").build(), "neither index.json nor manifest.json");
    refused(&Tar::new().file("manifest.json", b"{").build(), "expected a sequence");
    refused(b"\xfd7zXZ\0....", "the input is not a readable archive");
    refused(b"BZh91AY&SY....", "the input is not a readable archive");
    let list = br#"[{"Config":"../../etc/passwd","Layers":[]}]"#;
    refused(&Tar::new().file("manifest.json", list).build(), "`..`");
    let list = br#"[{"Config":"c.json","Layers":[]}]"#;
    refused(&Tar::new().file("manifest.json", list).build(), "is missing");
    refused(&Tar::new().file("../x", b"1").build(), "`..`");
    refused(&Tar::new().symlink("manifest.json", "/etc/passwd").build(), "neither");
    refused(&Tar::new().symlink("a/b", "../../../etc/passwd").build(), "out of the archive");
    refused(&Tar::new().entry(Entry::new(Kind::Fifo, "p")).build(), "a device or a pipe");
    let cycle = Tar::new().symlink("manifest.json", "b").symlink("b", "manifest.json").build();
    refused(&cycle, "neither");
}

/// Covers: DST-5
#[test]
fn an_archive_with_one_changed_byte_in_a_blob_is_refused() {
    let from = store();
    let saved = [Saved { descriptor: image(&from), names: vec![name("app")] }];
    let mut bytes = save(&from, &saved, SaveFormat::Oci);
    let mut offsets = Vec::new();
    {
        let mut reader = Reader::new(&bytes[..]);
        let mut at = 0;
        while let Some(entry) = reader.next_entry().expect("parses") {
            at += 512;
            if entry.path.starts_with(b"blobs/sha256/") && entry.size > 0 {
                offsets.push(at);
            }
            at += entry.size.next_multiple_of(512) as usize;
        }
    }
    assert!(offsets.len() >= 4);
    for offset in offsets {
        bytes[offset] ^= 1;
        refused(&bytes, "does not match its digest");
        bytes[offset] ^= 1;
    }
}

#[test]
fn an_archive_that_lacks_a_blob_is_refused() {
    let from = store();
    let saved = [Saved { descriptor: image(&from), names: vec![name("app")] }];
    let bytes = save(&from, &saved, SaveFormat::Oci);
    let mut reader = Reader::new(&bytes[..]);
    let mut writer = Writer::new(Vec::new());
    let mut dropped = false;
    while let Some(entry) = reader.next_entry().expect("parses") {
        if entry.path.starts_with(b"blobs/sha256/") && entry.size == 2048 && !dropped {
            dropped = true;
            continue;
        }
        writer.entry(&entry).expect("writes");
        let mut data = Vec::new();
        std::io::Read::read_to_end(&mut reader.data(), &mut data).expect("reads");
        writer.data(&data).expect("writes");
    }
    assert!(dropped);
    refused(&writer.finish().expect("writes"), "is missing");
}

#[test]
fn a_layout_directory_goes_both_ways() {
    let (from, to) = (store(), store());
    let descriptor = image(&from);
    let saved = [Saved { descriptor: descriptor.clone(), names: vec![name("app:v1")] }];
    let path = from.dir.path().join("layout");
    from.archives().save_directory(&saved, &path).expect("saves");
    let again = from.archives().save_directory(&saved, &path).expect_err("not empty");
    assert!(again.to_string().contains("layout"), "{again}");
    let lease = to.lease("test").expect("lease");
    let loaded = to.archives().load_directory(&path, &lease).expect("loads");
    assert_eq!(loaded[0].descriptor, descriptor);
    assert_eq!(loaded[0].names, ["docker.io/library/app:v1"]);
    assert_eq!(to.content().first_missing(&descriptor).expect("looks"), None);
    // A store is a layout: one store loads from another.
    from.names().set(&name("app:v1"), &descriptor, Displaced::Forget).expect("sets");
    let third = store();
    let lease = third.lease("test").expect("lease");
    let loaded = third.archives().load_directory(&from.root(), &lease).expect("loads");
    assert_eq!(loaded[0].names, ["docker.io/library/app:v1"]);
}

#[test]
fn a_directory_that_is_no_layout_is_refused() {
    let to = store();
    let lease = to.lease("test").expect("lease");
    let error = to.archives().load_directory(Path::new("/proc"), &lease).expect_err("is none");
    assert!(error.to_string().contains("oci-layout"), "{error}");
}

#[test]
fn a_manifest_without_layers_is_an_image_too() {
    let from = store();
    let descriptor = from.image(&[]);
    let saved = [Saved { descriptor: descriptor.clone(), names: vec![] }];
    let to = store();
    let loaded = load(&to, &save(&from, &saved, SaveFormat::Docker)).expect("loads");
    assert_eq!((&loaded[0].descriptor, loaded[0].names.len()), (&descriptor, 0));
    let manifest: Raw<Manifest> = to.content().document(descriptor.digest()).expect("reads");
    assert!(manifest.layers().is_empty());
}

/// The files are of several blocks and streams: a reader that stops at the first would see less.
#[test]
fn archives_compressed_with_xz_and_bzip2_are_read_to_their_end() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../testdata/store/");
    let whole = "sha256:eb18e9d8d15de76919f7fb5b5e085c8515ecbc2a73adb38f785f3d815593d765";
    for name in ["three-files.tar.xz", "three-files.tar.bz2"] {
        let store = store();
        let file = std::fs::File::open(format!("{folder}{name}")).expect("opens");
        let made = store.layers().add_tar(file, &DiffOptions::default()).expect(name);
        assert_eq!((made.diff_id.to_string().as_str(), made.entries), (whole, 3), "{name}");

        let bytes = std::fs::read(format!("{folder}{name}")).expect("reads");
        for cut in [bytes.len() / 3, bytes.len() - 40] {
            let cut = &bytes[..cut];
            let error = store.layers().add_tar(cut, &DiffOptions::default()).expect_err("is short");
            assert!(error.to_string().starts_with("the tar is not a readable archive"), "{error}");
        }
    }
}

/// The media type of a layer names no such compression, and how much memory xz takes is the sender's to say.
#[test]
fn a_layer_of_a_registry_is_not_decompressed_with_xz() {
    let store = store();
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../testdata/store/");
    let bytes = std::fs::read(format!("{folder}three-files.tar.xz")).expect("reads");
    let layer = store::LayerBlob {
        descriptor: store.blob(&bytes),
        diff_id: "sha256:eb18e9d8d15de76919f7fb5b5e085c8515ecbc2a73adb38f785f3d815593d765"
            .parse()
            .expect("a digest"),
    };
    let lease = store.lease("test").expect("lease");
    let error = store.layers().unpack(&[layer], &lease).expect_err("is no tar");
    assert!(error.to_string().contains("invalid tar"), "{error}");
}

#[test]
fn what_is_wrong_with_an_archive_is_not_called_the_stores_fault() {
    let store = store();
    let mut bytes = gzip(&Tar::new().file("a", &vec![b'x'; 100_000]).build());
    let middle = bytes.len() / 2;
    bytes[middle..middle + 8].fill(0xff);
    let error = store.layers().add_tar(&bytes[..], &DiffOptions::default()).expect_err("damaged");
    assert!(matches!(error, Error::Archive { .. }), "{error}");
    assert_eq!(error.kind(), store::ErrorKind::Corrupt, "{error}");
    assert!(!error.to_string().contains(&store.root().display().to_string()), "{error}");
}
