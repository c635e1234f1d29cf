//! What a transfer tells while it goes on.

use oci::Descriptor;

/// Told of every step of every blob and manifest. Called from network tasks: it must not block.
pub trait Progress: Send + Sync {
    /// Something happened to this content.
    fn event(&self, descriptor: &Descriptor, event: TransferEvent);
}

/// What happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TransferEvent {
    /// The transfer begins.
    Started,
    /// The bytes up to here are over. May go back after a broken connection.
    Advanced {
        /// Bytes from the start.
        offset: u64,
    },
    /// The connection broke and the transfer goes on from here.
    Resumed {
        /// Bytes from the start.
        offset: u64,
    },
    /// The content was there already.
    AlreadyThere,
    /// The registry took it over from another repository.
    Mounted {
        /// The path of that repository.
        from: String,
    },
    /// The transfer is complete and verified.
    Finished,
}

/// Nobody is told.
#[derive(Clone, Copy, Debug, Default)]
pub struct Silent;

impl Progress for Silent {
    fn event(&self, _: &Descriptor, _: TransferEvent) {}
}
