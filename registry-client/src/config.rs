//! Everything a client is told: nothing is read from the environment or from disk here.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use url::Url;

use crate::budget::{BudgetLedger, NoLedger};
use crate::clock::{Clock, SystemClock};
use crate::credentials::{Anonymous, Keychain};
use crate::host::{Insecure, Scheme};
use crate::redact::Secret;
use crate::transport::Transport;

/// Settings of a [`crate::Client`].
#[derive(Clone)]
pub struct ClientConfig {
    /// Where credentials come from.
    pub keychain: Arc<dyn Keychain>,
    /// Settings of single registries, by the name that references use (`docker.io`).
    pub hosts: BTreeMap<String, HostConfig>,
    /// Settings of every other registry.
    pub default_host: HostConfig,
    /// How failures that may pass are retried.
    pub retry: RetryPolicy,
    /// How many requests one registry gets at a time.
    pub budget: BudgetConfig,
    /// `User-Agent`.
    pub user_agent: String,
    /// Time.
    pub clock: Arc<dyn Clock>,
    /// What all processes of this machine know of the registries' patience.
    pub ledger: Arc<dyn BudgetLedger>,
    /// Another transport than HTTP over sockets (tests, tunnels).
    pub transport: Option<Arc<dyn Transport>>,
}

impl Default for ClientConfig {
    fn default() -> Self {
        Self {
            keychain: Arc::new(Anonymous),
            hosts: BTreeMap::new(),
            default_host: HostConfig::default(),
            retry: RetryPolicy::default(),
            budget: BudgetConfig::default(),
            user_agent: concat!("wherry/", env!("CARGO_PKG_VERSION")).to_owned(),
            clock: Arc::new(SystemClock::default()),
            ledger: Arc::new(NoLedger),
            transport: None,
        }
    }
}

impl ClientConfig {
    /// The settings of a registry by its name: its own, else those of the longest `*.domain` that it
    /// is under, else those of all others.
    pub fn host(&self, name: &str) -> &HostConfig {
        settings_of(&self.hosts, name).unwrap_or(&self.default_host)
    }
}

impl fmt::Debug for ClientConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClientConfig")
            .field("hosts", &self.hosts)
            .field("default_host", &self.default_host)
            .field("retry", &self.retry)
            .field("budget", &self.budget)
            .finish_non_exhaustive()
    }
}

/// The settings of a registry by its name or by a `*.domain` that it is under.
pub(crate) fn settings_of<'a>(
    hosts: &'a BTreeMap<String, HostConfig>,
    name: &str,
) -> Option<&'a HostConfig> {
    if let Some(own) = hosts.get(name) {
        return Some(own);
    }
    let mut domain = name;
    while let Some((_, parent)) = domain.split_once('.') {
        if let Some(found) = hosts.get(&format!("*.{parent}")) {
            return Some(found);
        }
        domain = parent;
    }
    None
}

/// Settings of one registry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostConfig {
    /// Which schemes are allowed.
    pub scheme: Scheme,
    /// Whether untrusted certificates (and plain HTTP) are taken.
    pub insecure: Insecure,
    /// Certificates and keys.
    pub tls: TlsConfig,
    /// The proxy for this host.
    pub proxy: Option<ProxyConfig>,
    /// Mirrors, tried in this order before the registry itself. Reads only.
    pub mirrors: Vec<Mirror>,
    /// Where the registry really is, as `host` or `host/path`; at its own name where nothing is said.
    pub location: Option<String>,
    /// Why this registry must not be asked at all.
    pub refused: Option<String>,
    /// Time to a connection.
    pub connect_timeout: Duration,
    /// Time without a single byte (bounds a slow-loris server).
    pub idle_timeout: Duration,
}

impl Default for HostConfig {
    fn default() -> Self {
        Self {
            scheme: Scheme::Auto,
            insecure: Insecure::No,
            tls: TlsConfig::default(),
            proxy: None,
            mirrors: Vec::new(),
            location: None,
            refused: None,
            connect_timeout: Duration::from_secs(10),
            idle_timeout: Duration::from_secs(60),
        }
    }
}

/// Certificates of one host.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TlsConfig {
    /// PEM certificates trusted beside the system's.
    pub extra_roots_pem: Vec<Vec<u8>>,
    /// The client certificate chain and key for mutual TLS.
    pub client_identity: Option<ClientIdentity>,
}

/// A client certificate.
#[derive(Clone, PartialEq, Eq)]
pub struct ClientIdentity {
    /// The certificate chain in PEM.
    pub certificate_pem: Vec<u8>,
    /// The private key in PEM.
    pub key_pem: Secret,
}

impl fmt::Debug for ClientIdentity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ClientIdentity(***)")
    }
}

/// A proxy.
#[derive(Clone, PartialEq, Eq)]
pub struct ProxyConfig {
    /// Its URL, which may carry user and password.
    pub url: Url,
    /// Hosts reached directly, in the syntax of `NO_PROXY` (names, domains, CIDR).
    pub except: Option<String>,
}

impl fmt::Debug for ProxyConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ProxyConfig")
            .field("url", &crate::redact::url(&self.url))
            .field("except", &self.except)
            .finish()
    }
}

/// A mirror of a registry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mirror {
    /// Its root: `https://mirror.example.com`, with a path prefix where it has one.
    pub url: Url,
    /// What it is asked.
    pub capabilities: MirrorCapabilities,
    /// Whether it is a proxy that must be told which registry is meant.
    pub namespace: NamespaceQuery,
    /// Whether its certificate is verified.
    pub insecure: Insecure,
    /// Whether `v2` follows its root.
    pub api_root: ApiRoot,
    /// Time that a mirror has to begin its answer before the next one is asked.
    pub deadline: Duration,
}

/// What a mirror is trusted with. Resolving a name is a trust decision: content is proven by
/// its digest, a tag is proven by nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MirrorCapabilities {
    /// Content by digest only.
    Pull,
    /// Content by digest, and tags.
    PullAndResolve,
}

/// Where the API of a mirror begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ApiRoot {
    /// At `v2` under its URL.
    UnderV2,
    /// At its URL itself (`override_path` of containerd).
    AtUrl,
}

/// Whether `?ns=` is sent (containerd's proxies want it, registries do not).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NamespaceQuery {
    /// Not sent.
    Omit,
    /// Sent.
    Send,
}

/// How failures that may pass are retried.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RetryPolicy {
    /// Tries of one request, the first included; also tries of one transfer without progress.
    pub tries_max: u32,
    /// The wait after the first failure; it doubles.
    pub base: Duration,
    /// The longest wait of our own choice.
    pub wait_max: Duration,
    /// The longest wait that a registry may ask for; longer is an error that says so.
    pub retry_after_max: Duration,
}

impl Default for RetryPolicy {
    fn default() -> Self {
        Self {
            tries_max: 5,
            base: Duration::from_millis(500),
            wait_max: Duration::from_secs(30),
            retry_after_max: Duration::from_secs(120),
        }
    }
}

/// How many requests one registry gets at a time from one client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BudgetConfig {
    /// Blobs in either direction.
    pub blobs: usize,
    /// Small documents, so that large blobs do not starve them (DST-40).
    pub documents: usize,
    /// Requests of background work in either lane. Less than the lanes have, so that somebody who
    /// waits always finds a place.
    pub background: usize,
    /// Pulls of a registry's quota that background work leaves to those who wait.
    pub quota_floor: u64,
}

impl Default for BudgetConfig {
    fn default() -> Self {
        Self { blobs: 6, documents: 8, background: 4, quota_floor: 5 }
    }
}
