//! `create`, `rename` and `update`: what a container is.

use std::path::Path;

use super::Runtime;
use crate::bundle;
use crate::caps::{Capabilities, Grant};
use crate::cgroup::{self, Cgroup};
use crate::clock;
use crate::error::{Error, Result};
use crate::id::{self, ContainerId};
use crate::options::{NamespaceMode, NetworkMode, RestartPolicy, RunOptions};
use crate::record::{CreateRequest, Record, Status};
use crate::request::{Changes, Container};
use crate::{processors, seccomp, spec};

impl Runtime {
    /// Makes a container without starting it.
    ///
    /// # Errors
    /// A name in use, options that cannot be meant, no command.
    pub fn create(&self, mut request: CreateRequest) -> Result<ContainerId> {
        self.resolve_joined(&mut request.options)?;
        check_options(&request.options)?;
        let naming = self.dirs.naming()?;
        let name = match request.name.take() {
            Some(name) => {
                id::check_name(&name)?;
                match self.dirs.named(&name)? {
                    Some(owner) => return Err(Error::NameInUse { name, id: owner.to_string() }),
                    None => name,
                }
            }
            None => self.free_random_name()?,
        };
        let id = request.id.clone();
        let record = Record::new(request, name, clock::now())?;
        self.dirs.insert(&record)?;
        if let Err(error) = self.dirs.take_name(&record.name, &id, &naming) {
            let _ = self.dirs.delete(&id);
            return Err(error);
        }
        self.dirs.journal().container(&record, "create", &[]);
        Ok(id)
    }

    /// Gives another name.
    ///
    /// # Errors
    /// The name is in use or not allowed.
    pub fn rename(&self, id: &ContainerId, name: &str) -> Result<()> {
        let name = name.strip_prefix('/').unwrap_or(name);
        let naming = self.dirs.naming()?;
        let mut record = self.dirs.record(id)?;
        if record.name == name {
            return Err(Error::invalid(
                "name",
                name,
                "Renaming a container with the same name as its current name",
            ));
        }
        self.dirs.take_name(name, id, &naming)?;
        let old = std::mem::replace(&mut record.name, name.to_owned());
        if let Err(error) = self.dirs.write_record(&record) {
            let _ = self.dirs.free_name(name, id, &naming);
            return Err(error);
        }
        let journal = self.dirs.journal();
        journal.container(&record, "rename", &[("oldName", &format!("/{old}"))]);
        self.dirs.free_name(&old, id, &naming)
    }

    /// Changes which networks the container is to have from its next start on.
    ///
    /// # Errors
    /// Its record cannot be read or written.
    pub fn change_networks(
        &self,
        id: &ContainerId,
        change: impl FnOnce(&mut RunOptions),
    ) -> Result<()> {
        let mut record = self.dirs.record(id)?;
        change(&mut record.options);
        self.dirs.write_record(&record)
    }

    /// Gives a running container new texts for its `/etc/hosts` and `/etc/resolv.conf`.
    ///
    /// # Errors
    /// They cannot be written.
    pub fn rewrite_network_files(
        &self,
        id: &ContainerId,
        hosts: &str,
        resolv_conf: &str,
    ) -> Result<()> {
        bundle::rewrite_network_files(&self.dirs.container(id), hosts, resolv_conf)
    }

    /// Changes limits and restart policy, at once where the container runs.
    ///
    /// # Errors
    /// Numbers that cannot be meant, or that the kernel refuses for what the container uses already.
    pub fn update(&self, id: &ContainerId, changes: &Changes) -> Result<()> {
        let Container { mut record, state } = self.get(id)?;
        let restart = changes.restart.unwrap_or(record.options.restart);
        if record.options.auto_remove && restart != RestartPolicy::No {
            return Err(Error::ConflictingOptions(
                "Restart policy cannot be updated because AutoRemove is enabled for the container"
                    .to_owned(),
            ));
        }
        let resources = record.options.resources.changed_by(&changes.resources);
        processors::check(&resources)?;
        let document = spec::limits_document(&resources, cgroup::has_swap_limits())?;
        if matches!(state.status, Status::Running | Status::Paused) {
            Cgroup::of(id.as_str()).apply(document)?;
        }
        record.options.resources = resources;
        record.options.restart = restart;
        self.dirs.write_record(&record)?;
        self.dirs.journal().container(&record, "update", &[]);
        Ok(())
    }

    fn free_random_name(&self) -> Result<String> {
        for attempt in 0.. {
            let name = id::random_name(attempt)?;
            if self.dirs.named(&name)?.is_none() {
                return Ok(name);
            }
        }
        Err(Error::invalid("name", "", "no random name is free"))
    }

    /// `container:NAME` is kept as an id: names may change.
    fn resolve_joined(&self, options: &mut RunOptions) -> Result<()> {
        let resolve = |reference: &mut String| -> Result<()> {
            *reference = self.dirs.resolve(reference)?.to_string();
            Ok(())
        };
        for mode in [&mut options.pid, &mut options.ipc, &mut options.uts]
            .into_iter()
            .chain(options.cgroupns.as_mut())
        {
            if let NamespaceMode::Container(reference) = mode {
                resolve(reference)?;
            }
        }
        if let NetworkMode::Container(reference) = &mut options.network {
            resolve(reference)?;
        }
        Ok(())
    }
}

/// Everything that can be refused without starting anything.
fn check_options(options: &RunOptions) -> Result<()> {
    let grant = if options.privileged { Grant::Everything } else { Grant::Listed };
    let capabilities = Capabilities::resolve(&options.cap_add, &options.cap_drop, grant)?;
    seccomp::check(&options.seccomp, capabilities)?;
    processors::check(&options.resources)?;
    spec::limits_document(&options.resources, cgroup::has_swap_limits())?;
    bundle::check_sources(&options.mounts)?;
    for mount in &options.mounts {
        if mount.target == Path::new("/") {
            return Err(Error::invalid("mount", "/", "destination can't be '/'"));
        }
    }
    Ok(())
}
