//! Certificates, taken up again when their files change.

use std::fs;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rustls::ServerConfig;
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::TlsAcceptor;

use crate::clock::Moment;
use crate::config::TlsFiles;
use crate::error::Error;

/// How often the files are looked at.
const LOOK_INTERVAL: Duration = Duration::from_secs(1);

/// The server's side of TLS.
pub(crate) struct Tls {
    files: TlsFiles,
    state: Mutex<State>,
}

struct State {
    config: Arc<ServerConfig>,
    stamp: Option<Stamp>,
    looked: Moment,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Stamp([(u64, std::time::SystemTime); 2]);

impl Tls {
    /// Reads certificate and key.
    pub(crate) fn open(files: &TlsFiles) -> Result<Self, Error> {
        let stamp = stamp(files);
        let state = State { config: load(files)?, stamp, looked: Moment::now() };
        Ok(Self { files: files.clone(), state: Mutex::new(state) })
    }

    /// What the next connection is accepted with. New files that do not work are reported, and
    /// the old ones stay in use.
    pub(crate) fn acceptor(&self) -> TlsAcceptor {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if state.looked.elapsed() >= LOOK_INTERVAL {
            state.looked = Moment::now();
            if stamp(&self.files) != state.stamp {
                // A failure is reported inside; the next look comes.
                let _ = self.reload_into(&mut state);
            }
        }
        TlsAcceptor::from(state.config.clone())
    }

    /// Takes up the files now.
    pub(crate) fn reload(&self) -> Result<(), Error> {
        self.reload_into(&mut self.state.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn reload_into(&self, state: &mut State) -> Result<(), Error> {
        let stamp = stamp(&self.files);
        match load(&self.files) {
            Ok(config) => {
                (state.config, state.stamp) = (config, stamp);
                tracing::info!("took up a new certificate");
                Ok(())
            }
            Err(error) => {
                tracing::warn!(error = %crate::fault::chain(&error), "keeping the old certificate");
                Err(error)
            }
        }
    }
}

fn stamp(files: &TlsFiles) -> Option<Stamp> {
    let of = |path: &Path| {
        let metadata = fs::metadata(path).ok()?;
        Some((metadata.len(), metadata.modified().ok()?))
    };
    Some(Stamp([of(&files.certificate)?, of(&files.key)?]))
}

fn load(files: &TlsFiles) -> Result<Arc<ServerConfig>, Error> {
    let key_error =
        |what, path: &Path, reason: String| Error::Key { what, path: path.to_owned(), reason };
    let certificate = |reason| key_error("the TLS certificate", &files.certificate, reason);
    let chain: Vec<_> = CertificateDer::pem_file_iter(&files.certificate)
        .and_then(Iterator::collect)
        .map_err(|error| certificate(error.to_string()))?;
    if chain.is_empty() {
        return Err(certificate("it holds no certificate".to_owned()));
    }
    // The cause of a bad key may quote the key.
    let key = PrivateKeyDer::from_pem_file(&files.key).map_err(|_| {
        key_error("the TLS key", &files.key, "expected a private key in PEM".to_owned())
    })?;
    let mut config = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .and_then(|builder| builder.with_no_client_auth().with_single_cert(chain, key))
        .map_err(|error| certificate(error.to_string()))?;
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}
