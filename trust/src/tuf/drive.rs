//! Drives an [`Updater`] over a port that fetches.

use super::name::RoleName;
use super::search::FoundTarget;
use super::updater::{Request, Response, Updater};
use crate::{Error, Result};

/// Why a fetch failed; absence of the file is not a failure.
pub type FetchError = Box<dyn std::error::Error + Send + Sync>;

/// Where metadata files come from: a registry, a web server, a folder.
pub trait Fetch {
    /// The file's bytes, `None` if there is no such file.
    ///
    /// No more than `request.limit` + 1 bytes need to be read: what is longer is refused anyway.
    fn fetch(&mut self, request: &Request) -> Result<Option<Vec<u8>>, FetchError>;

    /// True if the file is here already, so that asking for it costs nothing.
    fn at_hand(&self, _file: &str) -> bool {
        false
    }
}

/// How badly a role is wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Want {
    /// Only if it costs no request.
    IfAtHand,
    /// Whatever it costs.
    Must,
}

fn answer(updater: &mut Updater, request: &Request, source: &mut dyn Fetch) -> Result<()> {
    let found = source
        .fetch(request)
        .map_err(|source| Error::Transport { file: request.file.clone(), source })?;
    updater.supply(found.map_or(Response::NotFound, Response::Found))
}

/// Brings the top-level roles up to date (TUF 5.3 to 5.6).
pub fn drive(updater: &mut Updater, source: &mut dyn Fetch) -> Result<()> {
    while let Some(request) = updater.advance()? {
        answer(updater, &request, source)?;
    }
    Ok(())
}

impl Updater {
    /// Searches for a target, fetching what is needed.
    pub fn find(&mut self, path: &str, source: &mut dyn Fetch) -> Result<Option<FoundTarget>> {
        let mut search = self.search(path);
        while let Some(request) = self.advance_search(&mut search)? {
            answer(self, &request, source)?;
        }
        Ok(search.into_found())
    }

    /// Loads a role that the top-level targets role delegates to; `false` if it delegates to no such role.
    pub fn load(&mut self, role: &RoleName, source: &mut dyn Fetch) -> Result<bool> {
        self.load_if(role, Want::Must, source)
    }

    /// The same, but what is only wanted if at hand is `false` where it is not.
    pub(crate) fn load_if(
        &mut self,
        role: &RoleName,
        want: Want,
        source: &mut dyn Fetch,
    ) -> Result<bool> {
        let delegation = self.role(&RoleName::targets()).and_then(|targets| {
            let delegations = targets.delegations.as_ref()?;
            Some((delegations.child(role)?, delegations.keys.clone()))
        });
        let Some((child, keys)) = delegation else { return Ok(false) };
        while let Some(request) = self.load_role(&child, &keys)? {
            if want == Want::IfAtHand && !source.at_hand(&request.file) {
                self.cancel();
                return Ok(false);
            }
            answer(self, &request, source)?;
        }
        Ok(true)
    }
}
