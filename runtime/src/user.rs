//! Who a process runs as: `user[:group]` looked up in the image's own passwd and group files.

use std::path::Path;

use crate::error::{Error, Result};
use crate::limits;
use crate::rootfs::Root;

/// A resolved user.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Identity {
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    /// All groups, the first one among them, sorted. Without it a file that shuts its group out would be open to a process whose
    /// group was changed (CVE-2022-36109).
    pub(crate) groups: Vec<u32>,
    pub(crate) home: String,
}

/// Looks a user up in the files of a root file system.
pub(crate) fn look_up(root: &Root, user: &str, group_add: &[String]) -> Result<Identity> {
    let text = |path: &str| -> Result<String> {
        let bytes = root.read(Path::new(path), limits::USER_DATABASE_BYTES)?.unwrap_or_default();
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    };
    resolve(user, group_add, &text("/etc/passwd")?, &text("/etc/group")?)
}

/// Docker's rules: a name must be in passwd; a number need not be, and then has the home `/` and group 0. A group that is
/// given replaces the user's groups; otherwise a named or known user is in all groups that list it.
fn resolve(user: &str, group_add: &[String], passwd: &str, group: &str) -> Result<Identity> {
    let (user, wanted_group) =
        user.split_once(':').map_or((user, None), |(user, group)| (user, Some(group)));
    let user = if user.is_empty() { "0" } else { user };
    let number = user.parse::<u32>().ok().filter(|uid| i32::try_from(*uid).is_ok());
    let entries = || passwd.lines().filter_map(PasswdLine::parse);
    let entry = entries()
        .find(|entry| entry.name == user)
        .or_else(|| entries().find(|entry| Some(entry.uid) == number));
    let mut identity = match (&entry, number) {
        (Some(entry), _) => Identity {
            uid: entry.uid,
            gid: entry.gid,
            groups: Vec::new(),
            home: entry.home.to_owned(),
        },
        (None, Some(uid)) => Identity { uid, gid: 0, groups: Vec::new(), home: String::new() },
        (None, None) => return Err(Error::NoSuchUser { user: user.to_owned() }),
    };
    match (wanted_group.filter(|name| !name.is_empty()), &entry) {
        (Some(name), _) => identity.gid = group_number(name, group)?,
        (None, Some(entry)) => identity.groups = groups_of(entry.name, identity.gid, group),
        (None, None) => {}
    }
    for name in group_add {
        identity.groups.push(group_number(name, group)?);
    }
    identity.groups.push(identity.gid);
    identity.groups.sort_unstable();
    identity.groups.dedup();
    if identity.home.is_empty() {
        identity.home = "/".to_owned();
    }
    Ok(identity)
}

struct PasswdLine<'a> {
    name: &'a str,
    uid: u32,
    gid: u32,
    home: &'a str,
}

impl<'a> PasswdLine<'a> {
    fn parse(line: &'a str) -> Option<Self> {
        let fields: Vec<&str> = line.trim().split(':').collect();
        match fields.as_slice() {
            [name, _, uid, gid, _, home, ..] if !name.is_empty() => {
                Some(Self { name, uid: uid.parse().ok()?, gid: gid.parse().ok()?, home })
            }
            _ => None,
        }
    }
}

fn group_lines(group: &str) -> impl Iterator<Item = (&str, u32, &str)> {
    group.lines().filter_map(|line| {
        let fields: Vec<&str> = line.trim().split(':').collect();
        match fields.as_slice() {
            [name, _, gid, rest @ ..] => {
                Some((*name, gid.parse().ok()?, rest.first().copied().unwrap_or_default()))
            }
            _ => None,
        }
    })
}

fn group_number(name: &str, group: &str) -> Result<u32> {
    group_lines(group)
        .find(|(known, _, _)| *known == name)
        .map(|(_, gid, _)| gid)
        .or_else(|| name.parse::<u32>().ok().filter(|gid| i32::try_from(*gid).is_ok()))
        .ok_or_else(|| Error::NoSuchGroup { group: name.to_owned() })
}

fn groups_of(user: &str, primary: u32, group: &str) -> Vec<u32> {
    group_lines(group)
        .filter(|(_, gid, members)| {
            *gid != primary && members.split(',').any(|member| member == user)
        })
        .map(|(_, gid, _)| gid)
        .collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const PASSWD: &str = "root:x:0:0:root:/root:/bin/sh\nweb:x:1000:1001:Web:/home/web:/bin/sh\nbroken\n7:x:70:70::/seven:\n";
    const GROUP: &str = "root:x:0:\nweb:x:1001:\naudio:x:29:web,other\nvideo:x:44:web\n9:x:90:\n";

    fn identity(uid: u32, gid: u32, groups: &[u32], home: &str) -> Identity {
        Identity { uid, gid, groups: groups.to_vec(), home: home.to_owned() }
    }

    /// Covers: RUN-50
    #[test]
    fn users_and_groups_resolve_by_dockers_table() {
        let table = [
            ("", identity(0, 0, &[0], "/root")),
            ("root", identity(0, 0, &[0], "/root")),
            ("web", identity(1000, 1001, &[29, 44, 1001], "/home/web")),
            ("1000", identity(1000, 1001, &[29, 44, 1001], "/home/web")),
            ("web:audio", identity(1000, 29, &[29], "/home/web")),
            ("web:5", identity(1000, 5, &[5], "/home/web")),
            ("web:", identity(1000, 1001, &[29, 44, 1001], "/home/web")),
            ("4242", identity(4242, 0, &[0], "/")),
            ("4242:4343", identity(4242, 4343, &[4343], "/")),
            (":audio", identity(0, 29, &[29], "/root")),
            ("7", identity(70, 70, &[70], "/seven")),
        ];
        for (user, expected) in table {
            assert_eq!(resolve(user, &[], PASSWD, GROUP).unwrap(), expected, "{user:?}");
        }
        assert_eq!(
            resolve("web", &["9".into(), "77".into()], PASSWD, GROUP).unwrap().groups,
            [29, 44, 77, 90, 1001]
        );
    }

    /// Covers: RUN-50
    #[test]
    fn what_the_image_does_not_have_is_named_in_the_error() {
        let message = |user: &str| resolve(user, &[], PASSWD, GROUP).unwrap_err().to_string();
        assert_eq!(
            message("nobody"),
            "unable to find user nobody: no matching entries in passwd file"
        );
        assert_eq!(
            message("web:nogroup"),
            "unable to find group nogroup: no matching entries in group file"
        );
        assert!(resolve("-1", &[], PASSWD, GROUP).is_err());
        assert!(resolve("4294967295", &[], PASSWD, GROUP).is_err());
    }

    proptest! {
        #[test]
        fn hostile_databases_never_panic(user in ".{0,20}", passwd in ".{0,300}", group in ".{0,300}") {
            let _ = resolve(&user, &[], &passwd, &group);
        }
    }
}
