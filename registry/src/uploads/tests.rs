use axum::body::Body;

use super::*;
use crate::repository::faults::faulty;

fn name() -> RepositoryName {
    "team/app".parse().expect("a name")
}

fn body(bytes: &[u8]) -> Incoming {
    Incoming::new(Body::from(bytes.to_vec()), Duration::from_secs(60))
}

async fn push(uploads: &Uploads, content: &[u8], digest: &Digest) -> Result<u64, Fault> {
    let upload = uploads.start(&name(), digest.algorithm()).await?;
    let (upload, received) = upload.receive(body(content), Bounds::default()).await;
    received?;
    uploads.finish(upload, digest).await
}

#[tokio::test]
async fn a_push_that_fails_at_any_step_leaves_a_whole_blob_or_none_and_can_be_repeated() {
    let bytes = b"content".repeat(100_000);
    let digest = Digest::sha256(&bytes);
    for step in 0.. {
        let root = tempfile::tempdir().expect("a folder");
        let (repositories, content, faults) = faulty(root.path());
        let uploads = Uploads::new(repositories.clone(), content.clone(), 4).expect("uploads");
        faults.after(step);
        let pushed = push(&uploads, &bytes, &digest).await;
        faults.off();
        if let Some(size) = repositories.blob(&name(), &digest).expect("read") {
            assert_eq!(
                content.small(&digest, size).expect("read").expect("content"),
                bytes,
                "step {step}"
            );
        } else {
            assert!(pushed.is_err(), "step {step}");
        }
        assert_eq!(push(&uploads, &bytes, &digest).await.expect("repeated"), bytes.len() as u64);
        assert_eq!(
            content.small(&digest, bytes.len() as u64).expect("read").as_deref(),
            Some(&bytes[..])
        );
        if pushed.is_ok() {
            assert!(step >= 5, "only {step} steps could fail");
            return;
        }
    }
}

#[tokio::test]
async fn a_session_whose_write_failed_goes_on_from_what_the_disk_has() {
    let root = tempfile::tempdir().expect("a folder");
    let (repositories, content, _) = faulty(root.path());
    let uploads = Uploads::new(repositories, content, 4).expect("uploads");
    let upload = uploads.start(&name(), Algorithm::Sha256).await.expect("started");
    let id = upload.id().clone();
    let (mut upload, received) = upload.receive(body(b"01234"), Bounds::default()).await;
    received.expect("received");
    *upload.state = State::Lost;
    drop(upload);
    let upload = uploads.find(&name(), &id).await.expect("found");
    assert_eq!(upload.offset(), 5);
    let (upload, received) = upload.receive(body(b"56789"), Bounds::default()).await;
    received.expect("received");
    let digest = Digest::sha256(b"0123456789");
    assert_eq!(uploads.finish(upload, &digest).await.expect("finished"), 10);
}

#[tokio::test]
async fn a_second_request_waits_for_the_first_to_let_go_of_the_session() {
    let root = tempfile::tempdir().expect("a folder");
    let (repositories, content, _) = faulty(root.path());
    let uploads = Arc::new(Uploads::new(repositories, content, 4).expect("uploads"));
    let upload = uploads.start(&name(), Algorithm::Sha256).await.expect("started");
    let (id, other) = (upload.id().clone(), uploads.clone());
    let waiting = tokio::spawn(async move { other.find(&name(), &id).await.map(|u| u.offset()) });
    tokio::task::yield_now().await;
    assert!(!waiting.is_finished());
    let (upload, received) = upload.receive(body(b"01234"), Bounds::default()).await;
    received.expect("received");
    drop(upload);
    assert_eq!(waiting.await.expect("joined").expect("found"), 5);
}
