use std::collections::BTreeMap;
use std::sync::Arc;

use axum::extract::Request;
use oci::{Descriptor, MediaType};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use registry_client::{
    Client, ClientConfig, ClientIdentity, ConnectionFailure, HostConfig, Insecure, Problem,
    RegistryError, Secret, Selector, TlsConfig, install_crypto_provider,
};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::server::WebPkiClientVerifier;
use tokio_rustls::rustls::{RootCertStore, ServerConfig};

use crate::support::{TestRegistry, repository};

struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
}

impl Authority {
    fn new() -> Self {
        let mut params = CertificateParams::new(Vec::new()).expect("valid");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().expect("a key");
        Self { issuer: CertifiedIssuer::self_signed(params, key).expect("signs") }
    }

    fn pem(&self) -> Vec<u8> {
        self.issuer.pem().into_bytes()
    }

    fn issue(&self, names: &[&str]) -> (rcgen::Certificate, KeyPair) {
        let names = names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
        let key = KeyPair::generate().expect("a key");
        let params = CertificateParams::new(names).expect("valid");
        (params.signed_by(&key, &self.issuer).expect("signs"), key)
    }
}

/// The registry behind TLS; with `clients` it wants a certificate of that authority.
async fn serve_tls(
    registry: &TestRegistry,
    authority: &Authority,
    clients: Option<&Authority>,
) -> String {
    install_crypto_provider();
    let (certificate, key) = authority.issue(&["127.0.0.1"]);
    let builder = ServerConfig::builder();
    let builder = match clients {
        Some(clients) => {
            let mut roots = RootCertStore::empty();
            roots.add(CertificateDer::from(clients.issuer.der().to_vec())).expect("a root");
            let verifier = WebPkiClientVerifier::builder(Arc::new(roots)).build().expect("roots");
            builder.with_client_cert_verifier(verifier)
        }
        None => builder.with_no_client_auth(),
    };
    let key = PrivateKeyDer::try_from(key.serialize_der()).expect("a key");
    let config = builder.with_single_cert(vec![certificate.der().clone()], key).expect("a pair");
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let host = listener.local_addr().expect("bound").to_string();
    let app = registry.app();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let (acceptor, app) = (acceptor.clone(), app.clone());
            tokio::spawn(async move {
                let Ok(stream) = acceptor.accept(stream).await else { return };
                let service = hyper::service::service_fn(
                    move |request: hyper::Request<hyper::body::Incoming>| {
                        let app = app.clone();
                        async move {
                            let request: Request = request.map(axum::body::Body::new);
                            tower_call(app, request).await
                        }
                    },
                );
                let io = hyper_util::rt::TokioIo::new(stream);
                let _ =
                    hyper::server::conn::http1::Builder::new().serve_connection(io, service).await;
            });
        }
    });
    host
}

async fn tower_call(
    mut app: axum::Router,
    request: Request,
) -> Result<axum::response::Response, std::convert::Infallible> {
    use tower_service::Service as _;
    app.call(request).await
}

async fn resolve(host: &str, settings: HostConfig) -> Result<Descriptor, RegistryError> {
    let config = ClientConfig {
        hosts: BTreeMap::from([(host.to_owned(), settings)]),
        ..ClientConfig::default()
    };
    let client = Client::new(config)?;
    repository(&client, host, "a").resolve(&Selector::Tag("v1".to_owned())).await
}

async fn registry() -> TestRegistry {
    let registry = TestRegistry::start().await;
    registry.put_manifest("a", "v1", MediaType::OciManifest.as_str(), br#"{"schemaVersion":2}"#);
    registry
}

fn trusting(authority: &Authority) -> HostConfig {
    let tls = TlsConfig { extra_roots_pem: vec![authority.pem()], ..TlsConfig::default() };
    HostConfig { tls, scheme: registry_client::Scheme::HttpsOnly, ..HostConfig::default() }
}

/// Covers: DST-37, DST-38
#[tokio::test]
async fn a_certificate_is_taken_from_the_configured_authority_and_from_no_other() {
    let (registry, authority, other) = (registry().await, Authority::new(), Authority::new());
    let host = serve_tls(&registry, &authority, None).await;
    resolve(&host, trusting(&authority)).await.expect("trusted");
    let error = resolve(&host, trusting(&other)).await.expect_err("another authority");
    let Problem::Connection { failure: ConnectionFailure::Tls { .. } } = error.problem() else {
        panic!("{error:?}");
    };
    assert!(!error.is_temporary());
    let insecure = HostConfig { insecure: Insecure::Yes, ..HostConfig::default() };
    resolve(&host, insecure).await.expect("not looked at");
    // On loopback the plain way is tried first and found not to be spoken.
    let auto = HostConfig { scheme: registry_client::Scheme::Auto, ..trusting(&authority) };
    resolve(&host, auto).await.expect("HTTPS after HTTP on loopback");
}

/// Covers: DST-37
#[tokio::test]
async fn a_client_certificate_is_shown_where_one_is_configured() {
    let (registry, authority, clients) = (registry().await, Authority::new(), Authority::new());
    let host = serve_tls(&registry, &authority, Some(&clients)).await;
    let (certificate, key) = clients.issue(&["wherry"]);
    let mut settings = trusting(&authority);
    let error = resolve(&host, settings.clone()).await.expect_err("no certificate");
    assert!(!error.is_temporary(), "{error}");
    settings.tls.client_identity = Some(ClientIdentity {
        certificate_pem: certificate.pem().into_bytes(),
        key_pem: Secret::new(key.serialize_pem()),
    });
    resolve(&host, settings).await.expect("with the certificate");
}

#[tokio::test]
async fn a_file_that_is_no_certificate_is_refused_before_anything_is_asked() {
    let tls =
        TlsConfig { extra_roots_pem: vec![b"not a certificate".to_vec()], ..TlsConfig::default() };
    let error = resolve("127.0.0.1:1", HostConfig { tls, ..HostConfig::default() }).await;
    let error = error.expect_err("no certificate");
    assert!(matches!(error.problem(), Problem::Setting { what: "CA certificate", .. }), "{error}");
    let identity = ClientIdentity {
        certificate_pem: b"x".to_vec(),
        key_pem: Secret::new("-----BEGIN PRIVATE KEY-----\nhunter2\n-----END PRIVATE KEY-----"),
    };
    let tls = TlsConfig { client_identity: Some(identity), ..TlsConfig::default() };
    let error = resolve("127.0.0.1:1", HostConfig { tls, ..HostConfig::default() }).await;
    let error = error.expect_err("no key");
    assert!(!format!("{error:?}").contains("hunter2"), "{error:?}");
}
