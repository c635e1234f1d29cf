//! What a crash, a killed owner or a reboot left: found in the records and put right.

use super::join::Endpoints;
use super::{Networks, elements};
use crate::driver;
use crate::error::Result;
use crate::firewall::Firewall;
use crate::host::Host;
use crate::record::{Endpoint, Network, Owner, Progress};
use crate::state::Locked;

/// What putting right found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Reconciled {
    /// The containers whose endpoints were given back, because their owners do not live.
    pub released: Vec<String>,
    /// The networks whose devices were looked after, because somebody is on them.
    pub restored: Vec<String>,
}

impl Networks {
    /// Gives back the endpoints of owners that do not live, and makes devices and rules again for those that do: after a
    /// crash, a reboot, or somebody's `nft flush ruleset`.
    pub fn reconcile(&self, alive: &dyn Fn(&Owner) -> bool) -> Result<Reconciled> {
        let mut found = Reconciled::default();
        let endpoints = self.state.all_endpoints()?;
        if endpoints.is_empty() && !Firewall::new(self.state.door()).exists()? {
            return Ok(found);
        }
        let locked = self.state.lock()?;
        let endpoints = self.recover(&locked)?;
        let networks = self.state.networks()?;
        let (living, dead): (Vec<Endpoint>, Vec<Endpoint>) =
            endpoints.into_values().flatten().partition(|endpoint| alive(&endpoint.owner));
        found.released = dead.iter().map(|endpoint| endpoint.container.clone()).collect();
        found.released.sort();
        found.released.dedup();
        self.leave(&locked, &networks, dead, None)?;
        found.restored = self.restore(&networks, &living)?;
        Ok(found)
    }

    /// Makes the devices of the networks that somebody is on, and the packet filter.
    fn restore(&self, networks: &[Network], living: &[Endpoint]) -> Result<Vec<String>> {
        let mut restored = Vec::new();
        let mut host = Host::open(self.state.door())?;
        for network in networks {
            let here = || living.iter().filter(|endpoint| endpoint.network == network.id);
            if here().next().is_none() {
                continue;
            }
            let driver = driver::of(&network.driver)?;
            driver.create(&mut host, network)?;
            for endpoint in here() {
                driver.restore(&mut host, network, endpoint)?;
            }
            restored.push(network.name.clone());
        }
        let firewall = Firewall::new(self.state.door());
        if living.is_empty() {
            // Nobody needs the rules, and a host without containers keeps none of ours.
            firewall.remove()?;
        } else {
            firewall.rebuild(&self.elements(networks)?)?;
        }
        Ok(restored)
    }

    /// Undoes endpoints that somebody was making or unmaking when he died: who holds the lock knows that nobody is at it.
    /// Gives all endpoints as they are then.
    pub(super) fn recover(&self, locked: &Locked<'_>) -> Result<Endpoints> {
        locked.sweep()?;
        let unfinished = |endpoint: &&Endpoint| endpoint.progress != Progress::Joined;
        let endpoints = self.state.all_endpoints()?;
        let left: Vec<Endpoint> =
            endpoints.values().flatten().filter(unfinished).cloned().collect();
        if left.is_empty() {
            return Ok(endpoints);
        }
        let networks = self.state.networks()?;
        self.leave(locked, &networks, left.clone(), None)?;
        for endpoint in &left {
            self.promote_if_lost(locked, &networks, &endpoint.container)?;
        }
        // What the dead one did to the rules is not known.
        let firewall = Firewall::new(self.state.door());
        let endpoints = self.state.all_endpoints()?;
        if firewall.exists()? {
            firewall.rebuild(&elements(&networks, &endpoints))?;
        }
        Ok(endpoints)
    }

    fn promote_if_lost(
        &self,
        locked: &Locked<'_>,
        networks: &[Network],
        container: &str,
    ) -> Result<()> {
        let endpoints = self.state.all_endpoints()?;
        let own = endpoints.values().flatten().filter(|endpoint| endpoint.container == container);
        match own.into_iter().any(|endpoint| endpoint.default_route) {
            true => Ok(()),
            false => self.promote(locked, networks, container, None),
        }
    }
}
