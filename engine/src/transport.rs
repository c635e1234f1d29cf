//! The way to registries: one tokio runtime and one client, both made on first use.

mod mirrors;

use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use registry_client::{
    Client, ClientConfig, ClientIdentity, HostConfig, ProxyConfig, RegistryError, Secret,
    TlsConfig, UploadConfig,
};
use tokio::runtime::{Builder, Runtime};

use crate::config::{Config, text_variable};
use crate::error::{Error, ErrorKind, Result};
use crate::ports::journal::FileJournal;
use crate::ports::keychain::DockerKeychain;
use crate::ports::ledger::FileLedger;

/// Threads of the network runtime: receiving and hashing keep two busy, more only contend with
/// the threads that unpack.
const NETWORK_THREADS: usize = 2;

/// Folders in which Docker and containerd keep certificates of single registries.
const CERTIFICATE_FOLDERS: &[&str] = &["/etc/docker/certs.d", "/etc/containers/certs.d"];

/// The runtime and the client of one engine.
pub(crate) struct Transport {
    runtime: OnceLock<Runtime>,
    client: OnceLock<Client>,
    keychain: Arc<DockerKeychain>,
    journal: Arc<FileJournal>,
    ledger: Arc<FileLedger>,
    registries_conf: Option<PathBuf>,
    config_dir: PathBuf,
}

impl Transport {
    pub(crate) fn new(config: &Config) -> Self {
        Self {
            runtime: OnceLock::new(),
            client: OnceLock::new(),
            keychain: Arc::new(DockerKeychain::new(config.docker_config.clone())),
            journal: Arc::new(FileJournal::new(config.root.join("uploads"))),
            ledger: Arc::new(FileLedger::new(config.run_root.join("registries"))),
            registries_conf: config.registries_conf.clone(),
            config_dir: config.config_dir.clone(),
        }
    }

    /// Where credentials are kept.
    pub(crate) fn keychain(&self) -> &Arc<DockerKeychain> {
        &self.keychain
    }

    /// The runtime, started on first use.
    pub(crate) fn runtime(&self) -> Result<&Runtime> {
        if let Some(runtime) = self.runtime.get() {
            return Ok(runtime);
        }
        let runtime = Builder::new_multi_thread()
            .worker_threads(NETWORK_THREADS)
            .enable_all()
            .build()
            .map_err(|e| Error::io("start the network runtime of", "/proc/self", e))?;
        Ok(self.runtime.get_or_init(|| runtime))
    }

    /// The client, for the hosts' certificates and the environment's proxies.
    pub(crate) fn client(&self) -> Result<&Client> {
        if let Some(client) = self.client.get() {
            return Ok(client);
        }
        let client = Client::new(self.settings()?)?;
        Ok(self.client.get_or_init(|| client))
    }

    /// The settings of clients: the hosts' certificates, `registries.conf`, the environment's proxies.
    pub(crate) fn settings(&self) -> Result<ClientConfig> {
        let mut config = ClientConfig {
            keychain: self.keychain.clone(),
            ledger: self.ledger.clone(),
            default_host: HostConfig { proxy: proxy()?, ..HostConfig::default() },
            ..ClientConfig::default()
        };
        for folder in CERTIFICATE_FOLDERS {
            add_certificates(&mut config, Path::new(folder))?;
        }
        let files = mirrors::files(self.registries_conf.clone(), &self.config_dir)?;
        mirrors::add(&mut config, &files)?;
        Ok(config)
    }

    /// A repository to push to: one token for questions and uploads, and uploads that another
    /// process can go on with.
    pub(crate) fn push_repository(
        &self,
        name: &oci::Repository,
    ) -> Result<registry_client::Repository> {
        Ok(self.for_push(self.client()?.repository(name)))
    }

    /// The same for a repository of another client.
    pub(crate) fn for_push(
        &self,
        repository: registry_client::Repository,
    ) -> registry_client::Repository {
        let upload = UploadConfig { journal: self.journal.clone(), ..UploadConfig::default() };
        repository.for_push().with_upload_config(upload)
    }

    /// Waits for network work on the calling thread, which must not belong to the runtime.
    pub(crate) fn block_on<F: Future>(&self, work: F) -> Result<F::Output> {
        Ok(self.runtime()?.block_on(work))
    }
}

/// The proxy that the environment names for HTTPS, else for HTTP.
fn proxy() -> Result<Option<ProxyConfig>> {
    let either = |upper: &str, lower: &str| text_variable(upper).or_else(|| text_variable(lower));
    let Some(text) =
        either("HTTPS_PROXY", "https_proxy").or_else(|| either("HTTP_PROXY", "http_proxy"))
    else {
        return Ok(None);
    };
    // The text may hold a password, so the error does not repeat it.
    let url = text.parse().map_err(|_| Error::Configuration {
        file: "HTTPS_PROXY".to_owned(),
        reason: "not a URL such as http://proxy.example.com:3128".to_owned(),
    })?;
    Ok(Some(ProxyConfig { url, except: either("NO_PROXY", "no_proxy") }))
}

/// Adds what a `certs.d` folder has: one folder a host, `*.crt` to trust, `*.cert` with `*.key`
/// to show.
fn add_certificates(config: &mut ClientConfig, folder: &Path) -> Result<()> {
    for host in entries(folder)? {
        let Some(name) = host.file_name().and_then(|name| name.to_str()) else { continue };
        let tls = host_certificates(&host)?;
        if tls != TlsConfig::default() {
            let template = config.default_host.clone();
            config.hosts.entry(name.to_owned()).or_insert(template).tls = tls;
        }
    }
    Ok(())
}

pub(crate) fn host_certificates(folder: &Path) -> Result<TlsConfig> {
    let mut tls = TlsConfig::default();
    for file in entries(folder)? {
        match file.extension().and_then(|extension| extension.to_str()) {
            Some("crt") => tls.extra_roots_pem.push(read(&file)?),
            Some("cert") => {
                let key = read(&file.with_extension("key"))?;
                let key = String::from_utf8(key).map_err(|_| Error::Configuration {
                    file: file.with_extension("key").display().to_string(),
                    reason: "not a PEM file".to_owned(),
                })?;
                tls.client_identity = Some(ClientIdentity {
                    certificate_pem: read(&file)?,
                    key_pem: Secret::new(key),
                });
            }
            _ => {}
        }
    }
    Ok(tls)
}

/// The entries of a folder in the order of their names; none where there is no such folder.
fn entries(folder: &Path) -> Result<Vec<PathBuf>> {
    let listing = match std::fs::read_dir(folder) {
        Ok(listing) => listing,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) if error.kind() == std::io::ErrorKind::NotADirectory => return Ok(Vec::new()),
        Err(error) => return Err(Error::io("list", folder, error)),
    };
    let mut paths = Vec::new();
    for entry in listing {
        paths.push(entry.map_err(|e| Error::io("list", folder, e))?.path());
    }
    paths.sort();
    Ok(paths)
}

fn read(path: &Path) -> Result<Vec<u8>> {
    crate::files::read(path).map_err(|e| Error::io("read", path, e))
}

/// Who can mend a failure of a registry.
pub(crate) fn kind_of(error: &RegistryError) -> ErrorKind {
    match error.problem().transfer_kind() {
        oci::TransferErrorKind::Corrupt | oci::TransferErrorKind::Other => ErrorKind::Internal,
        oci::TransferErrorKind::Denied => ErrorKind::Denied,
        oci::TransferErrorKind::Full => ErrorKind::Full,
        oci::TransferErrorKind::NotFound => ErrorKind::NotFound,
        oci::TransferErrorKind::Unavailable => ErrorKind::Unavailable,
    }
}
