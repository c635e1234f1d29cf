//! Registries as the user meets them: login, logout, and serving one.

use registry_client::Credential;

use crate::Engine;
use crate::error::{Error, Result};

/// The registries of one engine.
#[derive(Clone, Copy)]
pub struct Registries<'a> {
    pub(crate) engine: &'a Engine,
}

impl Registries<'_> {
    /// Checks the credentials with the registry, then keeps them where `config.json` says.
    pub fn login(&self, registry: &str, username: &str, password: &str) -> Result<()> {
        let network = self.engine.network();
        let credential = Credential::password(username, password);
        let login = network.client()?.login(registry, credential);
        let accepted = network.block_on(login)??;
        network.keychain().keep(registry, &accepted.credential).map_err(|reason| {
            Error::Configuration { file: network.keychain().path().display().to_string(), reason }
        })
    }

    /// Forgets the credentials of a registry; whether there were any.
    pub fn logout(&self, registry: &str) -> Result<bool> {
        let keychain = self.engine.network().keychain();
        keychain.forget(registry).map_err(|reason| Error::Configuration {
            file: keychain.path().display().to_string(),
            reason,
        })
    }

    /// Where credentials are kept.
    pub fn credential_file(&self) -> std::path::PathBuf {
        self.engine.network().keychain().path()
    }

    /// Binds an embedded registry. `ready` gets the address before the first request is served;
    /// the call returns when `stop` is resolved (a signal, usually).
    pub fn serve(
        &self,
        config: registry::Config,
        ready: impl FnOnce(std::net::SocketAddr),
    ) -> Result<()> {
        let server = registry::Server::bind(config)?;
        ready(server.local_addr());
        let served = self.engine.network().block_on(server.serve(until_signalled()))?;
        Ok(served?)
    }
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
