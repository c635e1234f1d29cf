//! What is remembered of hosts while a client lives, and the way to each.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use http::Method;
use tokio::sync::{Mutex as AsyncMutex, OnceCell};
use url::Url;

use super::{Call, Exchange, Reading};
use crate::auth::{HostAuth, ScopeSet};
use crate::config::{ApiRoot, Mirror, MirrorCapabilities, NamespaceQuery};
use crate::error::Problem;
use crate::host::{Candidate, Insecure, Verification, api_host, authority, candidates};

/// How long a mirror that failed is left alone.
const MIRROR_REST: Duration = Duration::from_secs(30);

/// One server that is asked: a registry, or a mirror of it.
#[derive(Clone, Debug)]
pub(crate) struct Endpoint {
    /// Whose settings and credentials hold.
    pub(crate) registry: String,
    /// The root, with a slash at its end.
    pub(crate) base: Url,
    pub(crate) verification: Verification,
    pub(crate) api_root: ApiRoot,
    /// The value of `?ns=`.
    pub(crate) namespace: Option<String>,
    pub(crate) deadline: Option<Duration>,
    /// The name of its state and budget.
    pub(crate) key: String,
}

impl Endpoint {
    /// A path of the protocol under this server's root.
    pub(super) fn path<'a>(&self, path: &'a str) -> &'a str {
        match self.api_root {
            ApiRoot::UnderV2 => path,
            ApiRoot::AtUrl => path.strip_prefix("v2/").unwrap_or(path),
        }
    }
}

/// What is remembered of one server.
#[derive(Default)]
pub(crate) struct HostState {
    pub(crate) auth: AsyncMutex<HostAuth>,
    rests_until: Mutex<Duration>,
    lacks_referrers: AtomicBool,
}

impl HostState {
    /// Whether the host is known to have no list of referrers for any manifest.
    pub(crate) fn lacks_referrers(&self) -> bool {
        self.lacks_referrers.load(Ordering::Relaxed)
    }

    /// Remembers that it has none, so that a sync of a thousand tags asks once.
    pub(crate) fn note_lack_of_referrers(&self) {
        self.lacks_referrers.store(true, Ordering::Relaxed);
    }
}

/// All servers of one client.
#[derive(Default)]
pub(crate) struct Hosts {
    states: Mutex<HashMap<String, Arc<HostState>>>,
    upstreams: Mutex<HashMap<String, Arc<OnceCell<Endpoint>>>>,
}

impl Hosts {
    pub(crate) fn state(&self, key: &str) -> Arc<HostState> {
        let mut states = self.states.lock().unwrap_or_else(PoisonError::into_inner);
        states.entry(key.to_owned()).or_default().clone()
    }

    fn upstream(&self, registry: &str) -> Arc<OnceCell<Endpoint>> {
        let mut upstreams = self.upstreams.lock().unwrap_or_else(PoisonError::into_inner);
        upstreams.entry(registry.to_owned()).or_default().clone()
    }
}

/// What a read needs to trust its server with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Need {
    /// Content that its digest proves.
    Content,
    /// What a name means now.
    Name,
}

impl Exchange {
    /// The registry itself. Where there are several ways to it, the first that answers is kept.
    pub(crate) async fn upstream(&self, registry: &str) -> Result<Endpoint, Problem> {
        let cell = self.hosts.upstream(registry);
        cell.get_or_try_init(|| self.find_upstream(registry)).await.cloned()
    }

    async fn find_upstream(&self, registry: &str) -> Result<Endpoint, Problem> {
        let config = self.config.host(registry);
        if let Some(reason) = &config.refused {
            return Err(Problem::BadRequest { reason: reason.clone() });
        }
        let location = config.location.as_deref().unwrap_or_else(|| api_host(registry));
        let (host, path) = location.split_once('/').unwrap_or((location, ""));
        // Who moved it vouches for the place, but credentials stay with the host they were given for.
        let registry = if config.location.is_some() { host } else { registry };
        let own_ca = !config.tls.extra_roots_pem.is_empty();
        let ways = candidates(host, config.scheme, config.insecure, own_ca);
        let mut first_problem = None;
        let only = ways.len() == 1;
        for way in ways {
            let endpoint = endpoint(registry, host, path, &way)?;
            if only {
                return Ok(endpoint);
            }
            match self.probe(&endpoint).await {
                Ok(()) => return Ok(endpoint),
                Err(problem) => first_problem = first_problem.or(Some(problem)),
            }
        }
        Err(first_problem.unwrap_or_else(|| Problem::Protocol {
            reason: format!("there is no way to {registry}"),
        }))
    }

    /// Whether something speaks HTTP there. Any status will do (DST-1), but a TLS server tells
    /// plain HTTP clients so with a 400.
    async fn probe(&self, endpoint: &Endpoint) -> Result<(), Problem> {
        let mut call = Call::new(Method::GET, "v2/".to_owned(), "", ScopeSet::none()).once();
        call.accepts = &[200];
        call.reading = Reading::Nothing;
        match self.bare_status(endpoint, &call).await? {
            400 if endpoint.base.scheme() == "http" => Err(Problem::Protocol {
                reason: format!("{} does not speak plain HTTP", endpoint.key),
            }),
            _ => Ok(()),
        }
    }

    /// The status of a call made without credentials.
    async fn bare_status(&self, endpoint: &Endpoint, call: &Call) -> Result<u16, Problem> {
        let url = call.url(endpoint)?;
        let response = self.send(endpoint, call, &url, None).await?;
        Ok(response.status.as_u16())
    }

    /// The servers for a read, in order: the mirrors that may be asked, then the registry.
    pub(crate) fn mirrors(&self, registry: &str, need: Need) -> Vec<Endpoint> {
        let now = self.config.clock.now();
        let config = self.config.host(registry);
        if config.refused.is_some() {
            return Vec::new();
        }
        let may = |mirror: &&Mirror| {
            need == Need::Content || mirror.capabilities == MirrorCapabilities::PullAndResolve
        };
        let endpoints = config.mirrors.iter().filter(may).map(|mirror| mirror_of(registry, mirror));
        endpoints
            .filter(|endpoint| {
                let state = self.hosts.state(&endpoint.key);
                *state.rests_until.lock().unwrap_or_else(PoisonError::into_inner) <= now
            })
            .collect()
    }

    /// Leaves a mirror alone for a while where the server itself, not the content, was at fault.
    pub(crate) fn rest_mirror(&self, endpoint: &Endpoint, problem: &Problem) {
        if problem.is_temporary() {
            tracing::info!(mirror = %endpoint.key, %problem, "mirror is left alone for a while");
            let state = self.hosts.state(&endpoint.key);
            let until = self.config.clock.now().saturating_add(MIRROR_REST);
            *state.rests_until.lock().unwrap_or_else(PoisonError::into_inner) = until;
        }
    }
}

fn endpoint(registry: &str, host: &str, path: &str, way: &Candidate) -> Result<Endpoint, Problem> {
    // Repositories that were moved below a path keep the API at the root of their host.
    let (text, api_root) = match path {
        "" => (format!("{}://{host}/", way.scheme), ApiRoot::UnderV2),
        path => (format!("{}://{host}/v2/{path}/", way.scheme), ApiRoot::AtUrl),
    };
    let base = text.parse::<Url>().map_err(|error| Problem::BadRequest {
        reason: format!("{host} is not a host: {error}"),
    })?;
    Ok(Endpoint {
        registry: registry.to_owned(),
        base,
        verification: way.verification,
        api_root,
        namespace: None,
        deadline: None,
        key: host.to_owned(),
    })
}

fn mirror_of(registry: &str, mirror: &Mirror) -> Endpoint {
    let mut base = mirror.url.clone();
    if !base.path().ends_with('/') {
        base.set_path(&format!("{}/", base.path()));
    }
    let host = authority(&base);
    Endpoint {
        // Its own name: a registry's credentials are never given to its mirror.
        registry: host.clone(),
        verification: match mirror.insecure {
            Insecure::No => Verification::Full,
            Insecure::Yes => Verification::Skipped,
        },
        api_root: mirror.api_root,
        namespace: match mirror.namespace {
            NamespaceQuery::Send => Some(registry.to_owned()),
            NamespaceQuery::Omit => None,
        },
        deadline: Some(mirror.deadline),
        key: format!("{host}{}", base.path().trim_end_matches('/')),
        base,
    }
}
