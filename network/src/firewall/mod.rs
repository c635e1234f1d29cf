//! The packet filter: one table of our own, `inet wherry`, written without any program over nfnetlink.
//!
//! The chains and their rules are always the same (`rules.rs`); what differs from host to host are the elements of
//! sets and maps ([`Elements`]), which are a pure function of the records. A change is the difference of two sets of
//! elements in one transaction; a table that is missing or not as expected is made anew, whole, in one transaction.
//!
//! Our chains let pass or drop. Letting pass ends our own chain only, so a `drop` of the host's firewall in its own
//! tables holds for containers and published ports as well.

mod elements;
mod expr;
mod inside;
mod nft;
mod rules;

use std::io;

use rustix::io::Errno;

pub(crate) use elements::{Bridge, Elements};
pub(crate) use inside::lead_dns;

use crate::door::Door;
use crate::error::{Error, Result};
use crate::netlink::route::is;
use nft::Batch;

/// Our table's name.
pub(crate) const TABLE: &str = "wherry";

/// The packet filter of the calling thread's namespace.
#[derive(Debug)]
pub(crate) struct Firewall<'a> {
    door: &'a Door,
}

impl<'a> Firewall<'a> {
    pub(crate) fn new(door: &'a Door) -> Self {
        Self { door }
    }

    /// Makes the table hold `new` where it held `old`, in one transaction.
    pub(crate) fn change(&self, old: &Elements, new: &Elements) -> Result<()> {
        if !self.exists()? {
            return self.rebuild(new);
        }
        if old == new {
            return Ok(());
        }
        let mut batch = Batch::begin();
        new.difference(old, &mut batch);
        match self.commit(batch, "change the rules") {
            // Somebody has been at our table: what it should be is known, so it is made again.
            Err(error)
                if matches!(error.errno(), Some(Errno::NOENT | Errno::EXIST | Errno::INVAL)) =>
            {
                self.rebuild(new)
            }
            other => other,
        }
    }

    /// Makes the whole table anew, in one transaction.
    pub(crate) fn rebuild(&self, elements: &Elements) -> Result<()> {
        let mut batch = Batch::begin();
        // Adding before deleting makes deleting sure to find it.
        batch.add_table();
        batch.delete_table();
        batch.add_table();
        rules::write(&mut batch);
        elements.write(&mut batch);
        self.commit(batch, "write the table")
    }

    /// Takes the table away; that there is none is no error.
    pub(crate) fn remove(&self) -> Result<()> {
        let mut batch = Batch::begin();
        batch.add_table();
        batch.delete_table();
        self.commit(batch, "remove the table")
    }

    fn commit(&self, batch: Batch, act: &'static str) -> Result<()> {
        self.door.ask(act, TABLE).map_err(failed(act))?;
        batch.commit().map_err(failed(act))
    }

    /// Whether our table is there.
    pub(crate) fn exists(&self) -> Result<bool> {
        match nft::table_exists() {
            Err(error) if is(&error, Errno::OPNOTSUPP) || is(&error, Errno::INVAL) => {
                Err(Error::Unsupported {
                    what: "nftables".to_owned(),
                    reason: "this kernel does not have it; load the module nf_tables".to_owned(),
                })
            }
            other => other.map_err(failed("look for the table")),
        }
    }
}

fn failed(act: &'static str) -> impl FnOnce(io::Error) -> Error {
    move |source| Error::Firewall { act, source }
}
