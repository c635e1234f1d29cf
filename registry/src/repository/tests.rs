use super::*;

fn open(root: &Path) -> Repositories {
    Repositories::open(root).expect("a root")
}

fn name(text: &str) -> RepositoryName {
    text.parse().expect("a name")
}

#[test]
fn links_are_files_that_a_person_can_read() {
    let root = tempfile::tempdir().expect("a folder");
    let repositories = open(root.path());
    let (app, digest) = (name("team/app"), Digest::sha256(b"x"));
    let tag: Tag = "v1".parse().expect("a tag");
    repositories.link_blob(&app, &digest, 7).expect("linked");
    let link =
        ManifestLink { media_type: "a/b".to_owned(), size: 3, subject: Some(digest.clone()) };
    repositories.link_manifest(&app, &digest, &link).expect("linked");
    repositories.set_tag(&app, &tag, &digest).expect("tagged");
    let read = |path: &str| {
        let path = root.path().join("registry/repositories/team/app").join(path);
        std::fs::read_to_string(path).expect("a file")
    };
    assert_eq!(read(&format!("_blobs/sha256/{}", digest.hex())), "7\n");
    assert_eq!(read("_tags/v1"), format!("{digest}\n"));
    assert_eq!(
        read(&format!("_manifests/sha256/{}", digest.hex())),
        format!("{{\"mediaType\":\"a/b\",\"size\":3,\"subject\":\"{digest}\"}}\n")
    );
    assert_eq!(repositories.manifest(&app, &digest).expect("read"), Some(link));
    assert_eq!(repositories.tags_of(&app, &digest).expect("read"), [tag]);
    assert!(
        repositories.exists(&app).expect("read")
            && !repositories.exists(&name("team")).expect("read")
    );
}

#[test]
fn repositories_are_listed_at_every_depth_and_only_with_content() {
    let root = tempfile::tempdir().expect("a folder");
    let repositories = open(root.path());
    let digest = Digest::sha256(b"x");
    for text in ["b", "a/b/c", "a", "blobs/tags"] {
        repositories.link_blob(&name(text), &digest, 1).expect("linked");
    }
    let record = SessionRecord::new(oci::Algorithm::Sha256);
    let id = UploadId::random().expect("an id");
    repositories.create_upload(&name("only/uploads"), &id, &record).expect("made");
    let listed: Vec<_> =
        repositories.list().expect("listed").iter().map(ToString::to_string).collect();
    assert_eq!(listed, ["a", "a/b/c", "b", "blobs/tags"]);
    assert_eq!(repositories.upload_holders().expect("listed"), [name("only/uploads")]);
}

#[test]
fn one_server_at_a_time_has_a_root() {
    let root = tempfile::tempdir().expect("a folder");
    let first = open(root.path());
    let Err(Error::RootInUse { path }) = Repositories::open(root.path()) else {
        panic!("opened twice")
    };
    assert_eq!(path, root.path());
    drop(first);
    open(root.path());
}

#[test]
fn a_newer_layout_is_refused() {
    let root = tempfile::tempdir().expect("a folder");
    drop(open(root.path()));
    std::fs::write(root.path().join("registry/layout"), "2\n").expect("written");
    assert!(
        matches!(Repositories::open(root.path()), Err(Error::Layout { found, .. }) if found == "2")
    );
}

#[test]
fn what_a_crash_left_half_written_is_gone_after_the_next_start() {
    let root = tempfile::tempdir().expect("a folder");
    drop(open(root.path()));
    let staged = root.path().join("registry/staging/half");
    std::fs::write(&staged, "sha2").expect("written");
    open(root.path());
    assert!(!staged.exists());
}

#[test]
fn upload_ids_are_uuids_and_nothing_else_is_one() {
    let id = UploadId::random().expect("an id");
    assert_eq!(id.as_str().parse::<UploadId>().ok(), Some(id.clone()));
    assert_eq!((id.as_str().len(), id.as_str().as_bytes()[14]), (36, b'4'));
    let upper = id.as_str().to_uppercase();
    let slash = id.as_str().replacen('-', "/", 1);
    for bad in
        ["", "..", "../../../../../../../../../../etc/pas", slash.as_str(), &format!("{id}0")]
    {
        assert!(bad.parse::<UploadId>().is_err(), "accepted {bad:?}");
    }
    assert!(upper == id.as_str() || upper.parse::<UploadId>().is_err());
}
