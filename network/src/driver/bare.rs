//! `host` and `null`: the container uses the host's stack, or has a loopback interface and nothing else. Nothing is made; there
//! is one network of each.

use crate::error::{Error, Result};
use crate::host::Host;
use crate::ipam::Overlap;
use crate::netns::Netns;
use crate::record::{Endpoint, Network};

use super::{Driver, options};

/// A driver that makes nothing, by its name.
pub(super) struct Bare(pub(super) &'static str);

impl Driver for Bare {
    fn name(&self) -> &'static str {
        self.0
    }

    fn has_addresses(&self) -> bool {
        false
    }

    fn overlap(&self) -> Overlap {
        Overlap::Accept
    }

    fn define(&self, _: &mut Host<'_>, network: &mut Network, others: &[Network]) -> Result<()> {
        options::only(self.0, &network.options, &[])?;
        match others.iter().any(|other| other.driver == self.0) {
            true => Err(Error::OneInstance { driver: self.0.to_owned() }),
            false => Ok(()),
        }
    }

    fn create(&self, _: &mut Host<'_>, _: &Network) -> Result<()> {
        Ok(())
    }

    fn delete(&self, _: &mut Host<'_>, _: &Network) -> Result<()> {
        Ok(())
    }

    fn plan(&self, _: &Network, _: &mut Endpoint, _: usize) -> Result<()> {
        Ok(())
    }

    fn join(&self, _: &mut Host<'_>, _: &Network, _: &Endpoint, _: &Netns) -> Result<()> {
        Ok(())
    }

    fn leave(&self, _: &mut Host<'_>, _: &Endpoint, _: Option<&Netns>) -> Result<()> {
        Ok(())
    }
}
