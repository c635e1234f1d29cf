use axum::body::Body;
use proptest::prelude::*;

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

/// What a client, or an operator, may do to an upload.
#[derive(Clone, Debug)]
enum Act {
    /// A chunk of so many bytes.
    Append(usize),
    /// A body that is longer or shorter than its range says.
    Lie { sent: usize, said: u64 },
    /// The process ends and another one starts.
    Restart,
}

fn act() -> impl Strategy<Value = Act> {
    prop_oneof![
        4 => (0usize..600_000).prop_map(Act::Append),
        1 => (0usize..300_000, 0u64..300_000)
            .prop_filter("a lie", |(sent, said)| *sent as u64 != *said)
            .prop_map(|(sent, said)| Act::Lie { sent, said }),
        1 => Just(Act::Restart),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    /// Covers: DST-12
    #[test]
    fn an_upload_holds_exactly_the_bytes_that_were_taken(
        acts in proptest::collection::vec(act(), 1..8),
        sha512: bool,
        told: bool,
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        runtime.block_on(async {
            let root = tempfile::tempdir().expect("a folder");
            let (repositories, content, _) = faulty(root.path());
            let open = || Uploads::new(repositories.clone(), content.clone(), 4).expect("uploads");
            let algorithm = if sha512 { Algorithm::Sha512 } else { Algorithm::Sha256 };
            let mut uploads = open();
            let hashed = if told { algorithm } else { Algorithm::Sha256 };
            let id = uploads.start(&name(), hashed).await.expect("started").id().clone();
            let (mut model, mut next) = (Vec::new(), 0u8);
            for act in acts {
                let mut fresh = |count: usize| {
                    next = next.wrapping_add(1);
                    vec![next; count]
                };
                match act {
                    Act::Restart => uploads = open(),
                    Act::Append(count) => {
                        let bytes = fresh(count);
                        let bounds = Bounds { exactly: Some(count as u64), blob_max: None };
                        let upload = uploads.find(&name(), &id).await.expect("found");
                        upload.receive(body(&bytes), bounds).await.1.expect("received");
                        model.extend(bytes);
                    }
                    Act::Lie { sent, said } => {
                        let bounds = Bounds { exactly: Some(said), blob_max: None };
                        let upload = uploads.find(&name(), &id).await.expect("found");
                        assert!(upload.receive(body(&fresh(sent)), bounds).await.1.is_err());
                    }
                }
                let upload = uploads.find(&name(), &id).await.expect("found");
                assert_eq!(upload.offset(), model.len() as u64);
            }
            let digest = Digest::of(algorithm, &model);
            let upload = uploads.find(&name(), &id).await.expect("found");
            assert_eq!(uploads.finish(upload, &digest).await.expect("finished"), model.len() as u64);
            let stored = content.small(&digest, model.len() as u64).expect("read").expect("content");
            assert!(stored == model);
        });
    }
}
