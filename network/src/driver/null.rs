//! `null`: the container has a loopback interface and nothing else; there is one such network, `none`.

use crate::error::{Error, Result};
use crate::host::Host;
use crate::ipam::Overlap;
use crate::netns::Netns;
use crate::record::{Endpoint, Network};

use super::{Driver, options};

/// The driver.
pub(super) struct Null;

impl Driver for Null {
    fn name(&self) -> &'static str {
        "null"
    }

    fn has_addresses(&self) -> bool {
        false
    }

    fn overlap(&self) -> Overlap {
        Overlap::Accept
    }

    fn define(&self, _: &mut Host<'_>, network: &mut Network, others: &[Network]) -> Result<()> {
        options::only("null", &network.options, &[])?;
        match others.iter().any(|other| other.driver == "null") {
            true => Err(Error::OneInstance { driver: "null".to_owned() }),
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
