//! A TUF client over HTTP with its metadata in one folder, for any TUF repository.
//!
//! The rules are those of the gate; only the transport and the folder are different.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::Duration;

use reqwest::{StatusCode, Url};
use tokio::runtime::{Builder, Runtime};
use trust::tuf::{
    Fetch, FetchError, FoundTarget, Freshness, Request, TrustedState, Updater, drive,
};

use super::state;
use crate::error::{Error, Result};
use crate::files;

/// How long a connection may take to come about.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(15);
/// How long a server may say nothing.
const IDLE_TIMEOUT: Duration = Duration::from_secs(30);
/// How long one metadata file may take: a server that drips would otherwise hold the client for ever.
const METADATA_TIMEOUT: Duration = Duration::from_secs(120);
/// How long one target may take.
const TARGET_TIMEOUT: Duration = Duration::from_secs(3600);
/// Most redirects followed for one file.
const REDIRECTS_MAX: usize = 5;

/// The trusted metadata of one repository in one folder.
pub struct TufClient {
    dir: PathBuf,
}

impl TufClient {
    /// The client whose metadata are in `dir`, each file under its role's name.
    pub fn new(dir: impl Into<PathBuf>) -> Self {
        Self { dir: dir.into() }
    }

    /// Begins to trust: from this root on everything is verified.
    pub fn init(&self, trusted_root: &Path) -> Result<()> {
        let root = files::read(trusted_root).map_err(|e| Error::io("read", trusted_root, e))?;
        let kept = self.dir.join("root.json");
        if kept.exists() {
            return Err(Error::Conflict(format!(
                "tuf init: {} exists already; metadata of another root need another folder",
                kept.display()
            )));
        }
        let now = crate::clock::now();
        let state = TrustedState::new();
        let mut updater = Updater::start(&root, state, Freshness::LocalOnly, now)?;
        self.keep(&mut updater)
    }

    /// Brings the metadata up to date.
    pub fn refresh(&self, metadata_url: &str) -> Result<()> {
        let mut source = Metadata::new(metadata_url)?;
        self.refreshed(&mut source).map(drop)
    }

    /// Brings the metadata up to date, and a target into a folder. Gives the file's path.
    pub fn download(
        &self,
        metadata_url: &str,
        target: &str,
        target_base_url: &str,
        target_dir: &Path,
    ) -> Result<PathBuf> {
        let mut source = Metadata::new(metadata_url)?;
        let mut updater = self.refreshed(&mut source)?;
        let found = updater.find(target, &mut source);
        self.keep(&mut updater)?;
        let found = found?.ok_or_else(|| {
            Error::Invalid(format!("tuf download {target}: no trusted role lists this target"))
        })?;
        let path = target_dir.join(found.file_name());
        if is_content(&path, &found)? {
            return Ok(path);
        }
        let base = base(target_base_url)?;
        let mut missing = None;
        for served in found.served(updater.root().consistent_snapshot) {
            match source.http.target(&join(&base, &encoded_path(&served))?, &found, &path) {
                Ok(true) => return Ok(path),
                Ok(false) => missing = Some(served),
                Err(error) => return Err(error),
            }
        }
        Err(Error::Invalid(format!(
            "tuf download {target}: {base} has no {}",
            missing.unwrap_or_default()
        )))
    }

    fn refreshed(&self, source: &mut Metadata) -> Result<Updater> {
        let state = state::read_trusted(&self.dir)?;
        let Some(root) = state.get("root.json").cloned() else {
            return Err(Error::Invalid(format!(
                "tuf: no trusted root in {}; `wherry tuf --metadata-dir {} init TRUSTED_ROOT` begins",
                self.dir.display(),
                self.dir.display()
            )));
        };
        let mut updater = Updater::start(&root, state, Freshness::Fetch, crate::clock::now())?;
        let refreshed = drive(&mut updater, source);
        // Roots that were walked stay walked, whatever comes after them.
        self.keep(&mut updater)?;
        refreshed?;
        Ok(updater)
    }

    fn keep(&self, updater: &mut Updater) -> Result<()> {
        state::keep_changes(&self.dir, &updater.take_changes())
    }
}

/// Metadata below one URL.
struct Metadata {
    base: Url,
    http: Http,
}

impl Metadata {
    fn new(url: &str) -> Result<Self> {
        let base = base(url)?;
        Ok(Self { http: Http::new(&base)?, base })
    }
}

impl Fetch for Metadata {
    fn fetch(&mut self, request: &Request) -> std::result::Result<Option<Vec<u8>>, FetchError> {
        Ok(self.http.metadata(&join(&self.base, &request.file)?, request.limit)?)
    }
}

/// HTTP and HTTPS on one thread.
struct Http {
    client: reqwest::Client,
    runtime: Runtime,
}

impl Http {
    fn new(base: &Url) -> Result<Self> {
        registry_client::install_crypto_provider();
        let mut builder = reqwest::Client::builder()
            .user_agent(concat!("wherry/", env!("CARGO_PKG_VERSION")))
            .connect_timeout(CONNECT_TIMEOUT)
            .read_timeout(IDLE_TIMEOUT)
            .redirect(reqwest::redirect::Policy::limited(REDIRECTS_MAX));
        if base.scheme() == "http" {
            // No TLS, so the system's certificates need not be read, which takes a while.
            builder = builder.tls_certs_only([]);
        }
        let client = builder.build().map_err(|error| failed(base, &error))?;
        let runtime = Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(|e| Error::io("start the network runtime of", "/proc/self", e))?;
        Ok(Self { client, runtime })
    }

    /// A metadata file, or the first bytes of it beyond the limit, which its reader refuses.
    fn metadata(&self, url: &Url, limit: u64) -> Result<Option<Vec<u8>>> {
        self.runtime.block_on(async {
            let Some(mut response) = self.get(url, METADATA_TIMEOUT).await? else {
                return Ok(None);
            };
            let mut bytes = Vec::new();
            while let Some(piece) = response.chunk().await.map_err(|e| failed(url, &e))? {
                bytes.extend_from_slice(&piece);
                if bytes.len() as u64 > limit {
                    bytes.truncate(usize::try_from(limit + 1).unwrap_or(usize::MAX));
                    break;
                }
            }
            Ok(Some(bytes))
        })
    }

    /// A target, verified as it comes; only what is whole and right gets its name. `false` where
    /// the server has no such file.
    fn target(&self, url: &Url, found: &FoundTarget, path: &Path) -> Result<bool> {
        self.runtime.block_on(async {
            let Some(mut response) = self.get(url, TARGET_TIMEOUT).await? else {
                return Ok(false);
            };
            let mut verifier = found.verifier()?;
            let folder = path.parent().unwrap_or(Path::new("."));
            fs::create_dir_all(folder).map_err(|e| Error::io("create", folder, e))?;
            let mut staged = Staged::new(path)?;
            while let Some(piece) = response.chunk().await.map_err(|e| failed(url, &e))? {
                verifier.update(&piece)?;
                staged.file.write_all(&piece).map_err(|e| Error::io("write", path, e))?;
            }
            verifier.finish()?;
            staged.finish(path)?;
            Ok(true)
        })
    }

    /// The answer's head; nothing where there is no such file. Storage services say 403 where
    /// they do not say what they have.
    async fn get(&self, url: &Url, timeout: Duration) -> Result<Option<reqwest::Response>> {
        let sent = self.client.get(url.clone()).timeout(timeout).send().await;
        let response = sent.map_err(|error| failed(url, &error))?;
        match response.status() {
            StatusCode::OK => Ok(Some(response)),
            StatusCode::NOT_FOUND | StatusCode::FORBIDDEN => Ok(None),
            status => Err(unavailable(url, &format!("the server answers {status}"))),
        }
    }
}

/// A file that gets its name once it is whole, and goes away otherwise.
struct Staged {
    file: fs::File,
    path: Option<PathBuf>,
}

impl Staged {
    fn new(target: &Path) -> Result<Self> {
        let path = state::staged(target);
        let file = fs::File::create(&path).map_err(|e| Error::io("create", &path, e))?;
        Ok(Self { file, path: Some(path) })
    }

    fn finish(mut self, target: &Path) -> Result<()> {
        self.file.sync_all().map_err(|e| Error::io("write", target, e))?;
        if let Some(path) = self.path.take() {
            fs::rename(&path, target)
                .inspect_err(|_| drop(fs::remove_file(&path)))
                .map_err(|e| Error::io("write", target, e))?;
        }
        Ok(())
    }
}

impl Drop for Staged {
    fn drop(&mut self) {
        if let Some(path) = &self.path {
            let _ = fs::remove_file(path);
        }
    }
}

/// Whether the file is there already with the content that is signed.
fn is_content(path: &Path, found: &FoundTarget) -> Result<bool> {
    let file = match fs::File::open(path) {
        Ok(file) => file,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(false),
        Err(e) => return Err(Error::io("read", path, e)),
    };
    let mut verifier = found.verifier()?;
    let mut reader = std::io::BufReader::new(file);
    loop {
        let piece = std::io::BufRead::fill_buf(&mut reader);
        let piece = piece.map_err(|e| Error::io("read", path, e))?;
        if piece.is_empty() {
            return Ok(verifier.finish().is_ok());
        }
        if verifier.update(piece).is_err() {
            return Ok(false);
        }
        let length = piece.len();
        std::io::BufRead::consume(&mut reader, length);
    }
}

/// A URL below which files are found.
fn base(text: &str) -> Result<Url> {
    let text = if text.ends_with('/') { text.to_owned() } else { format!("{text}/") };
    let wrong =
        |reason: String| Error::Invalid(format!("tuf: {text:?} is no URL to read: {reason}"));
    let url = Url::parse(&text).map_err(|error| wrong(error.to_string()))?;
    match url.scheme() {
        "http" | "https" => Ok(url),
        scheme => Err(wrong(format!("{scheme} is neither http nor https"))),
    }
}

/// A file below a base. The name is one that is encoded already, so it cannot leave the base.
fn join(base: &Url, file: &str) -> Result<Url> {
    Url::parse(&format!("{base}{file}"))
        .map_err(|error| Error::Invalid(format!("tuf: {base}{file}: {error}")))
}

/// A target's path as a URL's: `?`, `#` and `%` are characters of a name here.
fn encoded_path(path: &str) -> String {
    let mut out = String::with_capacity(path.len());
    for byte in path.bytes() {
        if byte.is_ascii_alphanumeric() || b"-_.~/!$&'()*+,;=:@".contains(&byte) {
            out.push(char::from(byte));
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
    }
    out
}

fn failed(url: &Url, error: &reqwest::Error) -> Error {
    let mut reason = error.to_string();
    let mut cause = std::error::Error::source(error);
    while let Some(error) = cause {
        reason = error.to_string();
        cause = error.source();
    }
    unavailable(url, &reason)
}

fn unavailable(url: &Url, reason: &str) -> Error {
    Error::io("get", url.as_str(), std::io::Error::other(reason.to_owned()))
}
