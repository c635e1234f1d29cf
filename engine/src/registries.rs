//! Registries as the user meets them: login, logout, and serving one.

use std::sync::Arc;

use registry_client::Credential;

use crate::Engine;
use crate::error::{Error, Result};
use crate::ports::keychain::DockerKeychain;
use crate::ports::upstream::CachedRegistry;

/// A credential file that cannot be read or written; its name stands in the message once.
fn unusable(keychain: &DockerKeychain, reason: String) -> Error {
    let file = keychain.path().display().to_string();
    let reason = reason.strip_prefix(&format!("{file}: ")).map_or(reason.clone(), str::to_owned);
    Error::Configuration { file, reason }
}

/// The registries of one engine.
#[derive(Clone, Copy)]
pub struct Registries<'a> {
    pub(crate) engine: &'a Engine,
}

impl Registries<'_> {
    /// Checks the credentials with the registry, then keeps them where `config.json` says.
    pub fn login(&self, registry: &str, username: &str, password: &str) -> Result<()> {
        let transport = self.engine.transport();
        let credential = Credential::password(username, password);
        let login = transport.client()?.login(registry, credential);
        let accepted = transport.block_on(login)??;
        let keychain = transport.keychain();
        keychain.keep(registry, &accepted.credential).map_err(|e| unusable(keychain, e))
    }

    /// Forgets the credentials of a registry; whether there were any.
    pub fn logout(&self, registry: &str) -> Result<bool> {
        let keychain = self.engine.transport().keychain();
        keychain.forget(registry).map_err(|e| unusable(keychain, e))
    }

    /// Where credentials are kept.
    pub fn credential_file(&self) -> std::path::PathBuf {
        self.engine.transport().keychain().path()
    }

    /// Binds an embedded registry. `ready` gets the address before the first request is served;
    /// the call returns when `stop` is resolved (a signal, usually).
    pub fn serve(
        &self,
        config: registry::Config,
        ready: impl FnOnce(std::net::SocketAddr),
    ) -> Result<()> {
        let transport = self.engine.transport();
        let upstream = config.proxy.as_ref().map(|proxy| proxy.upstream.clone());
        let mut server = registry::Server::new(config);
        if let Some(upstream) = upstream {
            let cached = CachedRegistry::new(transport.client()?.clone(), &upstream);
            server = server.with_upstream(Arc::new(cached));
        }
        let server = server.listen()?;
        ready(server.local_addr());
        let control = server.control();
        let stop = async move {
            tokio::select! {
                () = until_signalled() => {}
                () = reload_when_asked(&control) => {}
            }
        };
        Ok(transport.block_on(server.serve(stop))??)
    }
}

/// Reads certificates and users again at each SIGHUP. Never ends.
async fn reload_when_asked(control: &registry::Control) {
    use tokio::signal::unix::{SignalKind, signal};
    let Ok(mut hangups) = signal(SignalKind::hangup()) else { return std::future::pending().await };
    while hangups.recv().await.is_some() {
        if let Err(error) = control.reload() {
            tracing::warn!("reload the registry's configuration: {error}; the old one stays");
        }
    }
    std::future::pending().await
}

/// Ends at SIGINT or SIGTERM.
async fn until_signalled() {
    use tokio::signal::unix::{SignalKind, signal};
    let (Ok(mut interrupt), Ok(mut terminate)) =
        (signal(SignalKind::interrupt()), signal(SignalKind::terminate()))
    else {
        return std::future::pending().await;
    };
    tokio::select! {
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
    }
}
