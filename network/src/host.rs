//! The kernel of the calling thread's namespace, as the drivers use it: every change asks at the door first.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use crate::door::Door;
use crate::error::{Result, at, kernel};
use crate::netlink::route::{Link, Route};

/// The kernel of the host's namespace.
#[derive(Debug)]
pub(crate) struct Host<'a> {
    door: &'a Door,
    route: Route,
}

impl<'a> Host<'a> {
    pub(crate) fn open(door: &'a Door) -> Result<Self> {
        let route = Route::open().map_err(kernel("open a netlink socket"))?;
        Ok(Self { door, route })
    }

    /// Changes a link, an address or a route.
    pub(crate) fn change<T>(
        &mut self,
        act: &'static str,
        object: &str,
        change: impl FnOnce(&mut Route) -> io::Result<T>,
    ) -> Result<T> {
        change_of(self.door, act, object, || change(&mut self.route))
    }

    /// The link of a name.
    pub(crate) fn link(&mut self, name: &str) -> Result<Option<Link>> {
        self.route.link(name).map_err(kernel(format!("find interface {name}")))
    }

    /// The kernel, for reading.
    pub(crate) fn route(&mut self) -> &mut Route {
        &mut self.route
    }

    pub(crate) fn door(&self) -> &'a Door {
        self.door
    }

    /// A kernel parameter of this namespace, where it is there.
    pub(crate) fn parameter(&self, name: &str) -> Option<String> {
        fs::read_to_string(parameter_path(name)).ok().map(|text| text.trim().to_owned())
    }

    /// The names below a kernel parameter's folder.
    pub(crate) fn parameters_of(&self, folder: &str) -> Vec<String> {
        let entries = fs::read_dir(parameter_path(folder)).into_iter().flatten().flatten();
        entries.filter_map(|entry| entry.file_name().into_string().ok()).collect()
    }

    /// Sets a kernel parameter of this namespace, `net/ipv4/ip_forward` for one, unless it has the value.
    pub(crate) fn set_parameter(&self, name: &str, value: &str) -> Result<()> {
        let path = parameter_path(name);
        if fs::read_to_string(&path).is_ok_and(|now| now.trim() == value) {
            return Ok(());
        }
        self.door.ask("set parameter", name).map_err(at("set kernel parameter", &path))?;
        fs::write(&path, value).map_err(at("set kernel parameter", &path))
    }

    /// Sets a kernel parameter that not every kernel has.
    pub(crate) fn set_parameter_if_there(&self, name: &str, value: &str) -> Result<()> {
        if parameter_path(name).exists() { self.set_parameter(name, value) } else { Ok(()) }
    }
}

/// Does one change that the door lets pass.
pub(crate) fn change_of<T>(
    door: &Door,
    act: &'static str,
    object: &str,
    change: impl FnOnce() -> io::Result<T>,
) -> Result<T> {
    let describe = || format!("{act} {object}");
    door.ask(act, object).map_err(|error| kernel(describe())(error))?;
    change().map_err(|error| kernel(describe())(error))
}

fn parameter_path(name: &str) -> PathBuf {
    Path::new("/proc/sys").join(name)
}
