//! The configuration: one struct, read from one TOML file or built in code.

use std::io::Read;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::access::Grant;
use crate::collection::GRACE_MIN;
use crate::error::Error;
use crate::limits;

mod reference;

pub use reference::reference_markdown;

/// What the names of variables begin with that set keys of the configuration.
pub const VARIABLE_PREFIX: &str = "WHERRY_REGISTRY_";

/// Everything that a server can be told.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct Config {
    /// Where to listen. Port 0 takes a free one.
    pub addr: SocketAddr,
    /// The folder that holds the content store and the repositories.
    pub root: PathBuf,
    /// Whether clients may change anything.
    pub mode: Mode,
    /// Whether clients may delete manifests, tags and blobs.
    pub delete: Switch,
    /// What happens to a manifest that names content the repository does not have.
    pub missing_references: MissingReferences,
    /// Whether `/metrics` is served.
    pub metrics: Switch,
    /// Where access log lines go.
    pub access_log: AccessLogTarget,
    /// Certificate and key; without them the server speaks plain HTTP.
    pub tls: Option<TlsFiles>,
    /// Bounds that an operator may want to move.
    pub limits: Limits,
    /// When garbage is collected.
    pub collect: CollectTimes,
    /// Who is asked to prove who they are.
    pub auth: Auth,
    /// Who may do what, when `auth` is on.
    pub access: Vec<Grant>,
    /// Pull-through caching of another registry.
    pub proxy: Option<Proxy>,
}

/// Whether clients may change anything.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Mode {
    /// Push and delete are served.
    #[default]
    ReadWrite,
    /// Every change is refused with `UNSUPPORTED`.
    ReadOnly,
}

/// On or off.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Switch {
    /// On.
    #[default]
    On,
    /// Off.
    Off,
}

/// What happens to a manifest that names content the repository does not have.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum MissingReferences {
    /// Refused with `MANIFEST_BLOB_UNKNOWN`, so that whatever has a name is complete.
    #[default]
    Reject,
    /// An index may name manifests that are absent (sparse copies); blobs must be there.
    AcceptSparseIndexes,
}

/// Where access log lines go.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum AccessLogTarget {
    /// Only to the program's tracing subscriber.
    #[default]
    Tracing,
    /// Also to standard error.
    Stderr,
    /// Also appended to a file.
    File(PathBuf),
}

/// Certificate chain and private key, both PEM.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct TlsFiles {
    /// The server's certificate, followed by its intermediates.
    pub certificate: PathBuf,
    /// The private key.
    pub key: PathBuf,
}

/// Bounds that an operator may want to move.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct Limits {
    /// Largest manifest; not below 4 MiB, which the specification asks for.
    pub manifest_bytes: u64,
    /// Largest blob; 0 means no limit.
    pub blob_bytes: u64,
    /// Connections served at once.
    pub connections: usize,
    /// Upload bodies read at once.
    pub uploads: usize,
    /// Seconds that a client has for its request head.
    pub head_seconds: u64,
    /// Seconds without progress after which a transfer is cut.
    pub idle_seconds: u64,
    /// Seconds after its last write at which an unfinished upload is removed.
    pub upload_expiry_seconds: u64,
    /// Seconds that running requests get when the server is told to stop.
    pub shutdown_seconds: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            manifest_bytes: limits::MANIFEST_BYTES_MAX,
            blob_bytes: 0,
            connections: limits::CONNECTIONS_MAX,
            uploads: limits::UPLOADS_MAX,
            head_seconds: limits::HEAD_TIMEOUT.as_secs(),
            idle_seconds: limits::IDLE_TIMEOUT.as_secs(),
            upload_expiry_seconds: 7 * 24 * 3600,
            shutdown_seconds: 30,
        }
    }
}

/// When garbage is collected.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct CollectTimes {
    /// Seconds between collections; 0 means never by itself.
    pub interval_seconds: u64,
    /// Seconds for which an unneeded blob stays after it was last pushed or asked about.
    pub grace_seconds: u64,
}

impl Default for CollectTimes {
    fn default() -> Self {
        Self { interval_seconds: 0, grace_seconds: 24 * 3600 }
    }
}

impl Limits {
    pub(crate) fn idle(&self) -> Duration {
        Duration::from_secs(self.idle_seconds)
    }

    pub(crate) fn head(&self) -> Duration {
        Duration::from_secs(self.head_seconds)
    }
}

/// Who is asked to prove who they are.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub enum Auth {
    /// Nobody: every client may do everything that the mode allows.
    #[default]
    Off,
    /// A user and password in every request, checked against an htpasswd file.
    Basic(BasicAuth),
    /// Bearer tokens, issued by this server to the users of an htpasswd file.
    Token(TokenAuth),
    /// Bearer tokens of another issuer.
    ExternalToken(ExternalTokenAuth),
}

/// Basic authentication.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct BasicAuth {
    /// File of `user:bcrypt-hash` lines (`htpasswd -B`).
    pub htpasswd: PathBuf,
    /// The realm shown to users.
    #[serde(default = "default_realm")]
    pub realm: String,
}

/// Tokens issued by this server.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct TokenAuth {
    /// File of `user:bcrypt-hash` lines (`htpasswd -B`).
    pub htpasswd: PathBuf,
    /// The name of this registry inside tokens.
    #[serde(default = "default_service")]
    pub service: String,
    /// The URL of the token endpoint; by default `/token` of the host that was asked.
    pub realm: Option<String>,
    /// Seconds that a token is good for.
    #[serde(default = "default_token_seconds")]
    pub token_seconds: u64,
    /// Ed25519 private key (PKCS#8 PEM) to sign with; by default a new one at every start.
    pub signing_key: Option<PathBuf>,
}

/// Tokens issued elsewhere.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct ExternalTokenAuth {
    /// The URL of the token endpoint.
    pub realm: String,
    /// The audience that tokens must name.
    pub service: String,
    /// The issuer that tokens must name.
    pub issuer: String,
    /// Public key (PEM) of the issuer: Ed25519 (EdDSA), ECDSA P-256 (ES256) or RSA (RS256).
    pub public_key: PathBuf,
}

fn default_realm() -> String {
    "wherry registry".to_owned()
}

fn default_service() -> String {
    "wherry-registry".to_owned()
}

fn default_token_seconds() -> u64 {
    300
}

/// Pull-through caching.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Proxy {
    /// The registry that is cached, as a host or URL; read by whoever supplies the upstream port.
    pub upstream: String,
    /// Seconds for which a tag is answered without asking the upstream.
    #[serde(default = "default_tag_seconds")]
    pub tag_seconds: u64,
}

fn default_tag_seconds() -> u64 {
    60
}

impl Default for Config {
    fn default() -> Self {
        Self::new(SocketAddr::from((Ipv4Addr::LOCALHOST, 5000)), "/var/lib/wherry/registry")
    }
}

impl Config {
    /// An open, writable, plain-HTTP server: what a developer's machine and a test want.
    pub fn new(addr: SocketAddr, root: impl Into<PathBuf>) -> Self {
        Self {
            addr,
            root: root.into(),
            mode: Mode::default(),
            delete: Switch::On,
            missing_references: MissingReferences::default(),
            metrics: Switch::On,
            access_log: AccessLogTarget::default(),
            tls: None,
            limits: Limits::default(),
            collect: CollectTimes::default(),
            auth: Auth::default(),
            access: Vec::new(),
            proxy: None,
        }
    }

    /// A server on a free loopback port.
    pub fn loopback(root: impl Into<PathBuf>) -> Self {
        Self::new(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)), root)
    }

    /// Reads a TOML text.
    pub fn parse(text: &str) -> Result<Self, Error> {
        let config: Self =
            toml::from_str(text).map_err(|error| Error::config(error.to_string()))?;
        config.checked()
    }

    /// Reads a TOML file.
    pub fn load(path: &Path) -> Result<Self, Error> {
        Self::parse(&read_bounded("the configuration", path, limits::CONFIG_BYTES_MAX)?)
    }

    /// Reads a TOML file, where there is one, and lays variables over it: the name behind
    /// [`VARIABLE_PREFIX`] is a key's in upper case, with `_` for `.` and `-`. A value is one of TOML, or
    /// else a text.
    pub fn load_with(path: Option<&Path>, variables: &[(String, String)]) -> Result<Self, Error> {
        let text = match path {
            Some(path) => read_bounded("the configuration", path, limits::CONFIG_BYTES_MAX)?,
            None => String::new(),
        };
        let mut table: toml::Table =
            toml::from_str(&text).map_err(|error| Error::config(error.to_string()))?;
        for (name, value) in variables {
            let key = reference::key_of_variable(name).ok_or_else(|| {
                Error::config(format!("{name} names no key of the configuration"))
            })?;
            lay_over(&mut table, key, value).ok_or_else(|| {
                Error::config(format!("{name}: {key} is not a table in the file"))
            })?;
        }
        let config: Self = table
            .try_into()
            .map_err(|error: toml::de::Error| Error::config(error.message().to_owned()))?;
        config.checked()
    }

    /// Refuses what each value allows alone but not together.
    pub(crate) fn checked(self) -> Result<Self, Error> {
        let refuse = |reason: &str| Err(Error::config(reason));
        if self.limits.manifest_bytes < limits::MANIFEST_BYTES_MAX {
            return refuse(
                "limits.manifest-bytes is below 4194304, which the specification asks for",
            );
        }
        if self.limits.manifest_bytes > limits::LINK_BYTES_MAX * 16 {
            return refuse("limits.manifest-bytes is above 67108864");
        }
        if self.limits.connections == 0 || self.limits.uploads == 0 {
            return refuse("limits.connections and limits.uploads must not be 0");
        }
        if self.limits.head_seconds == 0 || self.limits.idle_seconds == 0 {
            return refuse("limits.head-seconds and limits.idle-seconds must not be 0");
        }
        if self.collect.grace_seconds < GRACE_MIN.as_secs() {
            return refuse("collect.grace-seconds is below 60: it would take what is being pushed");
        }
        if matches!(self.auth, Auth::Off) && !self.access.is_empty() {
            return refuse("access has rules but auth is off: set auth or remove the rules");
        }
        if matches!(&self.auth, Auth::Token(token) if token.token_seconds == 0) {
            return refuse("auth.token.token-seconds must not be 0");
        }
        Ok(self)
    }
}

/// Sets `a.b.c` in nested tables; nothing where something else than a table is in the way.
fn lay_over(table: &mut toml::Table, key: &str, value: &str) -> Option<()> {
    let Some((first, rest)) = key.split_once('.') else {
        let read = toml::from_str::<toml::Table>(&format!("value = {value}"));
        let read = read.ok().and_then(|mut table| table.remove("value"));
        table.insert(key.to_owned(), read.unwrap_or_else(|| value.into()));
        return Some(());
    };
    let inner = table.entry(first).or_insert_with(|| toml::Table::new().into());
    lay_over(inner.as_table_mut()?, rest, value)
}

/// Reads a text file of at most `limit` bytes.
pub(crate) fn read_bounded(what: &'static str, path: &Path, limit: u64) -> Result<String, Error> {
    let fail = |source| Error::Read { what, path: path.to_owned(), source };
    let mut text = String::new();
    let file = std::fs::File::open(path).map_err(fail)?;
    file.take(limit + 1).read_to_string(&mut text).map_err(fail)?;
    if text.len() as u64 > limit {
        let source = std::io::Error::other(format!("it has more than {limit} bytes"));
        return Err(Error::Read { what, path: path.to_owned(), source });
    }
    Ok(text)
}

#[cfg(test)]
mod tests;
