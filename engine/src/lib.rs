//! The composition root: every port implemented, every room joined.
//!
//! The engine owns clocks, threads and the network runtime. It adapts and orders; rules are in
//! the rooms below. Its API is synchronous and is called by the command line in its own process.

pub mod builds;
mod clock;
pub mod config;
pub mod containers;
pub mod doctor;
mod error;
pub mod files;
pub mod housekeeping;
pub mod images;
pub mod machine;
pub mod networks;
mod parallel;
mod ports;
pub mod registries;
mod transport;
pub mod trust;
pub mod volumes;

use store::Store;

pub use config::Config;
pub use error::{Error, ErrorKind, Result};
pub use {builder, oci, registry, runtime, store};

/// The nouns of networks.
pub use network as network_types;

/// The words of content trust that the command line prints.
pub use ::trust as trust_types;

use builds::Builds;
use containers::Containers;
use images::Images;
use networks::Networks;
use registries::Registries;
use transport::Transport;
use trust::gate::Gate;
use trust::keys::{Keys, PassphraseRequest, PassphraseSource};
use trust::sign::Signing;
use volumes::Volumes;

/// One installation of Wherry, opened.
pub struct Engine {
    config: Config,
    store: Store,
    transport: Transport,
    keys: Keys<'static>,
}

impl Engine {
    /// Opens an installation. Folders are made when they are first written.
    pub fn open(config: Config) -> Result<Self> {
        Self::open_with(config, &NobodyToAsk)
    }

    /// The same, asking `passphrases` where the environment has none.
    pub fn open_with(config: Config, passphrases: &'static dyn PassphraseSource) -> Result<Self> {
        let store = Store::open(&config.root)?;
        let transport = Transport::new(&config);
        let keys = Keys::new(config.trust_dir(), passphrases);
        Ok(Self { config, store, transport, keys })
    }

    /// Where things are.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// The images.
    pub fn images(&self) -> Images<'_> {
        Images { engine: self }
    }

    /// The containers.
    pub fn containers(&self) -> Containers<'_> {
        Containers { engine: self }
    }

    /// The builds.
    pub fn builds(&self) -> Builds<'_> {
        Builds { engine: self }
    }

    /// The networks of containers.
    pub fn networks(&self) -> Networks<'_> {
        Networks { engine: self }
    }

    /// The volumes.
    pub fn volumes(&self) -> Volumes<'_> {
        Volumes { engine: self }
    }

    /// Registries: login, logout, serving one.
    pub fn registries(&self) -> Registries<'_> {
        Registries { engine: self }
    }

    /// The verbs that change trust data.
    pub fn signing(&self) -> Signing<'_> {
        Signing::new(self, &self.keys)
    }

    /// Judges a name without letting anything in.
    pub fn verify(
        &self,
        reference: &oci::Reference,
        at: trust::Where,
    ) -> Result<trust::VerifyReport> {
        trust::verify::verify(self, reference, at)
    }

    /// The policy in force.
    pub fn policy(&self) -> Result<trust::InForce> {
        self.gate().policy()
    }

    /// The keys of this user.
    pub fn trust_keys(&self) -> &Keys<'static> {
        &self.keys
    }

    /// What happened in this root.
    pub fn journal(&self) -> runtime::Journal {
        runtime::Journal::in_folder(self.config.root.join("containers/events"))
    }

    pub(crate) fn store(&self) -> &Store {
        &self.store
    }

    pub(crate) fn gate(&self) -> Gate<'_> {
        Gate::new(self)
    }

    pub(crate) fn transport(&self) -> &Transport {
        &self.transport
    }
}

/// Runs a hidden subcommand of the runtime if the arguments (without the program's name) ask for one, with what connects a
/// monitor's container to its networks. Call it first in `main`, before any thread exists.
pub fn dispatch(args: &[std::ffi::OsString]) -> Option<std::process::ExitCode> {
    runtime::dispatch(args, ports::container_networks::ContainerNetworks::of_monitor)
}

/// Refuses to ask: what a process without a terminal does.
struct NobodyToAsk;

impl PassphraseSource for NobodyToAsk {
    fn passphrase(&self, _: &PassphraseRequest) -> std::result::Result<::trust::Secret, String> {
        Err("nobody can be asked here".to_owned())
    }
}
