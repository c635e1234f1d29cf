//! The content of the store as a place to copy to: images on their way into the store or into an archive.

use std::io::Read;
use std::sync::{Mutex, PoisonError};

use oci::{Descriptor, Digest, Sink, Source, TransferError};
use registry_client::copy::{Attached, ClosureSink, ClosureSource};
use store::{Content, Lease};

/// Content that a lease holds until something names it.
pub(super) struct Staged<'a> {
    content: Content,
    lease: &'a Lease,
    attached: Mutex<Vec<Attached>>,
}

impl<'a> Staged<'a> {
    pub(super) fn new(content: Content, lease: &'a Lease) -> Self {
        Self { content, lease, attached: Mutex::default() }
    }

    /// What came along.
    pub(super) fn attached(&self) -> Vec<Attached> {
        self.attached.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Sink for Staged<'_> {
    fn has(&self, descriptor: &Descriptor) -> Result<bool, TransferError> {
        self.lease.hold(descriptor.digest())?;
        self.content.has(descriptor)
    }

    fn accept(&self, descriptor: &Descriptor, content: &mut dyn Read) -> Result<(), TransferError> {
        self.lease.hold(descriptor.digest())?;
        self.content.accept(descriptor, content)
    }
}

impl ClosureSink for Staged<'_> {
    fn attach(&self, one: &Attached) -> Result<(), TransferError> {
        self.attached.lock().unwrap_or_else(PoisonError::into_inner).push(one.clone());
        Ok(())
    }

    fn listed(&self, subject: &Digest) -> Result<Vec<Digest>, TransferError> {
        let of_subject = self.attached().into_iter().filter(|one| one.subject == *subject);
        Ok(of_subject.map(|one| one.descriptor.digest().clone()).collect())
    }
}

/// Images of the store, which keeps nothing that is attached to them.
pub(super) struct Stored(pub(super) Content);

impl Source for Stored {
    fn open(&self, descriptor: &Descriptor) -> Result<Box<dyn Read + Send>, TransferError> {
        Source::open(&self.0, descriptor)
    }
}

impl ClosureSource for Stored {
    fn closure(&self, _: &[Digest]) -> Result<Vec<Attached>, TransferError> {
        Ok(Vec::new())
    }
}
