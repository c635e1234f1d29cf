//! Drafts: a role's next version on its way from one signer to the next, as a file.

use oci::Repository;
use trust::key::KeyId;
use trust::tuf::{Commit, Draft, Lifetimes, RoleName};

use super::metadata::Published;
use super::sign::{Needs, Signing};
use crate::error::{Error, Result};

impl Signing<'_> {
    /// The next version of a role with the content that it has, to be signed by several people
    /// before it expires.
    pub fn draft(&self, repository: &Repository, role: &RoleName) -> Result<Draft> {
        let mut open = self.must_open("trust draft create", repository)?;
        open.repository.renew(role)?;
        let mut draft = open.repository.draft(role, Lifetimes::default(), crate::clock::now())?;
        self.sign_draft(&mut draft)?;
        Ok(draft)
    }

    /// Signs a draft with every key of this user that it asks for. Gives the keys that signed.
    pub fn sign_draft(&self, draft: &mut Draft) -> Result<Vec<KeyId>> {
        let open: Vec<KeyId> = draft.progress().into_iter().flat_map(|group| group.open).collect();
        let mut signed = Vec::new();
        for signer in self.unlock_ids(open)? {
            if draft.sign(&*signer)? {
                signed.push(signer.public().id());
            }
        }
        Ok(signed)
    }

    /// Publishes a draft that enough people have signed, with what follows from it.
    pub fn publish_draft(&self, repository: &Repository, draft: &Draft) -> Result<()> {
        let mut open = self.must_open("trust draft publish", repository)?;
        open.repository.adopt(draft.clone())?;
        open.repository.renew_unvouched()?;
        self.unlock(&open.repository, Needs::Online)?;
        match self.publish(repository, &mut open, Commit::Edits)? {
            Published::Yes => Ok(()),
            Published::Overtaken => Err(Error::Conflict(format!(
                "trust draft publish {}: somebody else published in the meantime; make the draft again",
                repository.familiar()
            ))),
        }
    }
}
