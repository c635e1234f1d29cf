use serde_json::json;

use super::*;
use crate::repository::faults::faulty;

const OCI_MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";

fn name() -> RepositoryName {
    "team/app".parse().expect("a name")
}

fn tag(text: &str) -> Tag {
    text.parse().expect("a tag")
}

/// A manifest that refers to a subject; `seed` makes it its own.
fn submission(seed: &str) -> Submission {
    let descriptor = |content: &str| json!({ "mediaType": "a/b", "digest": Digest::sha256(content.as_bytes()), "size": 1 });
    let text = json!({
        "schemaVersion": 2, "mediaType": OCI_MANIFEST, "config": descriptor("c"), "layers": [],
        "subject": descriptor("subject"), "annotations": { "seed": seed },
    })
    .to_string();
    let digest = Digest::sha256(text.as_bytes());
    Submission::parse(text.into(), digest, None).expect("a manifest")
}

/// Whatever has a name is whole.
fn check(repositories: &Repositories, content: &Content, step: i64) {
    let whole = |digest: &Digest| {
        let link = repositories.manifest(&name(), digest).expect("read").expect("a link");
        let bytes = content.small(digest, link.size).expect("read").expect("content");
        assert_eq!(bytes.len() as u64, link.size, "step {step}");
    };
    for tag in repositories.tags(&name()).expect("listed") {
        whole(&repositories.tag(&name(), &tag).expect("read").expect("a digest"));
    }
    for digest in repositories.manifests(&name()).expect("listed") {
        whole(&digest);
    }
    let subject = Digest::sha256(b"subject");
    for descriptor in repositories.referrers(&name(), &subject, None).expect("listed") {
        whole(descriptor.digest());
    }
    let staged = std::fs::read_dir(repositories.staging()).expect("a folder").count();
    assert_eq!(staged, 0, "step {step} left something half-written");
}

#[test]
fn a_push_that_fails_at_any_step_leaves_every_name_whole_and_can_be_repeated() {
    let mut step = 0;
    loop {
        let root = tempfile::tempdir().expect("a folder");
        let (repositories, content, faults) = faulty(root.path());
        let (old, new, tags) = (submission("old"), submission("new"), [tag("v1"), tag("v2")]);
        store(&repositories, &content, &name(), &old, &tags[..1]).expect("stored");
        faults.after(step);
        let pushed = store(&repositories, &content, &name(), &new, &tags);
        faults.off();
        check(&repositories, &content, step);
        let v1 = repositories.tag(&name(), &tags[0]).expect("read");
        assert!(v1.as_ref() == Some(old.digest()) || v1.as_ref() == Some(new.digest()));
        store(&repositories, &content, &name(), &new, &tags).expect("repeated");
        for tag in &tags {
            assert_eq!(repositories.tag(&name(), tag).expect("read").as_ref(), Some(new.digest()));
        }
        if pushed.is_ok() {
            assert!(step >= 10, "only {step} steps could fail");
            return;
        }
        step += 1;
    }
}

#[test]
fn a_deletion_that_fails_at_any_step_leaves_every_name_whole_and_can_be_repeated() {
    let mut step = 0;
    loop {
        let root = tempfile::tempdir().expect("a folder");
        let (repositories, content, faults) = faulty(root.path());
        let (gone, stays) = (submission("gone"), submission("stays"));
        store(&repositories, &content, &name(), &gone, &[tag("v1"), tag("v2")]).expect("stored");
        store(&repositories, &content, &name(), &stays, &[tag("v3")]).expect("stored");
        faults.after(step);
        let removed = remove(&repositories, &name(), gone.digest());
        faults.off();
        check(&repositories, &content, step);
        let again = remove(&repositories, &name(), gone.digest()).expect("repeated");
        assert_eq!(again, removed.is_err());
        assert_eq!(repositories.tags(&name()).expect("listed"), [tag("v3")]);
        assert_eq!(repositories.manifests(&name()).expect("listed"), [stays.digest().clone()]);
        if removed.is_ok() {
            assert!(step >= 4, "only {step} steps could fail");
            return;
        }
        step += 1;
    }
}
