//! HTTPS, HTTP/2 and new certificates.

use std::path::{Path, PathBuf};

use registry::config::TlsFiles;
use reqwest::{Certificate, Client, Version};

use crate::site::{Site, noise};

/// Writes a self-signed certificate; its PEM.
fn certificate(folder: &Path) -> (TlsFiles, String) {
    let made =
        rcgen::generate_simple_self_signed(vec!["localhost".to_owned(), "127.0.0.1".to_owned()])
            .expect("made");
    let (certificate, key): (PathBuf, PathBuf) = (folder.join("cert.pem"), folder.join("key.pem"));
    std::fs::write(&certificate, made.cert.pem()).expect("written");
    std::fs::write(&key, made.signing_key.serialize_pem()).expect("written");
    (TlsFiles { certificate, key }, made.cert.pem())
}

fn trusting(pem: &str) -> reqwest::ClientBuilder {
    let root = Certificate::from_pem(pem.as_bytes()).expect("a certificate");
    Client::builder().no_proxy().tls_certs_only([root])
}

#[tokio::test]
async fn https_is_spoken_in_http1_and_http2() {
    let folder = tempfile::tempdir().expect("a folder");
    let (files, pem) = certificate(folder.path());
    let mut site = Site::with(|config| config.tls = Some(files));
    assert!(site.running().url().starts_with("https://"));
    assert!(
        site.client.get(site.url("/v2/")).send().await.is_err(),
        "an unknown certificate is not trusted"
    );
    let content = noise(3_000_000, 3);
    for (builder, version) in
        [(trusting(&pem), Version::HTTP_2), (trusting(&pem).http1_only(), Version::HTTP_11)]
    {
        site.client = builder.build().expect("a client");
        let answer = site.client.get(site.url("/v2/")).send().await.expect("an answer");
        assert_eq!((answer.status().as_u16(), answer.version()), (200, version));
        let digest = site.push_blob("a", &content).await;
        assert_eq!(site.get(&format!("/v2/a/blobs/{digest}")).await.is(200).body, content);
    }
}

#[tokio::test]
async fn a_new_certificate_is_taken_up_and_a_broken_one_is_not() {
    let folder = tempfile::tempdir().expect("a folder");
    let (files, old) = certificate(folder.path());
    let site = Site::with(|config| config.tls = Some(files.clone()));
    let reaches = async |pem: &str| {
        let client = trusting(pem).build().expect("a client");
        client.get(site.url("/v2/")).send().await.is_ok()
    };
    assert!(reaches(&old).await);
    let (_, new) = certificate(folder.path());
    site.running().control().reload().expect("good files");
    assert!(reaches(&new).await && !reaches(&old).await);
    std::fs::write(&files.certificate, "nonsense").expect("written");
    let error = site.running().control().reload().expect_err("bad files");
    assert!(error.to_string().contains("cert.pem"), "{error}");
    assert!(reaches(&new).await);
}

#[test]
fn files_that_are_no_certificate_or_key_are_named() {
    let folder = tempfile::tempdir().expect("a folder");
    let (files, _) = certificate(folder.path());
    let start = || {
        let mut config = registry::Config::loopback(folder.path().join("root"));
        config.tls = Some(files.clone());
        registry::Server::bind(config).map(|_| ()).expect_err("not usable").to_string()
    };
    let key = std::fs::read_to_string(&files.key).expect("a key");
    std::fs::write(&files.key, key.replace("PRIVATE", "PUBLIC")).expect("written");
    let message = start();
    assert!(message.contains("key.pem") && !message.contains(&key[40..60]), "{message}");
    std::fs::write(&files.certificate, "").expect("written");
    assert!(start().contains("cert.pem"));
    std::fs::remove_file(&files.certificate).expect("removed");
    assert!(start().contains("cert.pem"));
}
