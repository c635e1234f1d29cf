//! Users and groups by name, looked up in the account files of a root file system.

use crate::ports::ResolvedUser;

/// Why a user cannot be resolved.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum AccountError {
    /// `user` or `group`, and the name.
    Unknown(&'static str, String),
    /// Not of the form `user[:group]`.
    Malformed(String),
}

/// The texts of `/etc/passwd` and `/etc/group`.
#[derive(Debug, Clone, Default)]
pub(crate) struct Accounts {
    pub(crate) passwd: String,
    pub(crate) group: String,
}

struct Passwd<'a> {
    name: &'a str,
    uid: u32,
    gid: u32,
    home: &'a str,
}

impl Accounts {
    fn users(&self) -> impl Iterator<Item = Passwd<'_>> {
        self.passwd.lines().filter_map(|line| {
            let mut fields = line.split(':');
            let name = fields.next()?;
            let (uid, gid) = (fields.nth(1)?.parse().ok()?, fields.next()?.parse().ok()?);
            Some(Passwd { name, uid, gid, home: fields.nth(1).unwrap_or_default() })
        })
    }

    fn groups(&self) -> impl Iterator<Item = (&str, u32, &str)> {
        self.group.lines().filter_map(|line| {
            let mut fields = line.split(':');
            let name = fields.next()?;
            Some((name, fields.nth(1)?.parse().ok()?, fields.next().unwrap_or_default()))
        })
    }

    fn group_id(&self, name: &str) -> Result<u32, AccountError> {
        let named = self.groups().find(|(n, ..)| *n == name).map(|(_, gid, _)| gid);
        named
            .or_else(|| name.parse().ok())
            .ok_or_else(|| AccountError::Unknown("group", name.to_owned()))
    }

    /// The owner that `--chown` and WORKDIR mean: a number alone is its own group.
    pub(crate) fn owner(&self, text: &str) -> Result<(u32, u32), AccountError> {
        let (user, group) = split(text)?;
        let numeric: Option<u32> = user.parse().ok();
        let known = self.users().find(|u| u.name == user).map(|u| (u.uid, u.gid));
        let (uid, primary) = match (numeric, known) {
            (Some(uid), _) => (uid, uid),
            (None, Some(ids)) => ids,
            (None, None) if user.is_empty() => (0, 0),
            (None, None) => return Err(AccountError::Unknown("user", user.to_owned())),
        };
        Ok((uid, group.map_or(Ok(primary), |g| self.group_id(g))?))
    }

    /// The user that a command runs as: a number without an entry is in the root group; an explicit group
    /// leaves no supplementary ones.
    pub(crate) fn process(&self, text: &str) -> Result<ResolvedUser, AccountError> {
        let (user, group) = split(if text.is_empty() { "0" } else { text })?;
        let numeric: Option<u32> = user.parse().ok();
        let entry =
            self.users().find(|u| u.name == user || (numeric.is_some() && Some(u.uid) == numeric));
        let (uid, primary) = match (&entry, numeric) {
            (Some(entry), _) => (entry.uid, entry.gid),
            (None, Some(uid)) => (uid, 0),
            (None, None) if user.is_empty() => (0, 0),
            (None, None) => return Err(AccountError::Unknown("user", user.to_owned())),
        };
        let home = entry.as_ref().map(|e| e.home.to_owned()).filter(|h| !h.is_empty());
        // An explicit group is the only one; the primary group is always among the supplementary ones, so that
        // permissions denied to a group cannot be had by leaving it (CVE-2022-36109).
        let gid = group.map_or(Ok(primary), |name| self.group_id(name))?;
        let mut groups = vec![gid];
        if let (None, Some(entry)) = (group, &entry) {
            let member = |members: &str| members.split(',').any(|m| m == entry.name);
            let others = self.groups().filter(|(.., members)| member(members)).map(|(_, id, _)| id);
            groups.extend(others.filter(|id| *id != gid));
        }
        Ok(ResolvedUser { uid, gid, groups, home })
    }
}

fn split(text: &str) -> Result<(&str, Option<&str>), AccountError> {
    let mut parts = text.splitn(3, ':');
    let (user, group, more) = (parts.next().unwrap_or_default(), parts.next(), parts.next());
    if more.is_some() {
        return Err(AccountError::Malformed(text.to_owned()));
    }
    Ok((user, group.filter(|g| !g.is_empty())))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn accounts() -> Accounts {
        Accounts {
            passwd: "root:x:0:0:root:/root:/bin/sh\napp:x:1000:1001::/home/app:/bin/sh\nbroken\n"
                .to_owned(),
            group: "root:x:0:\napp:x:1001:\naudio:x:29:app,other\nwheel:x:10:root\n".to_owned(),
        }
    }

    /// Covers: BLD-44
    #[test]
    fn an_owner_is_a_name_or_a_number_with_or_without_a_group() {
        for (text, expect) in [
            ("app", (1000, 1001)),
            ("7", (7, 7)),
            ("app:audio", (1000, 29)),
            ("7:8", (7, 8)),
            ("app:5", (1000, 5)),
            ("0", (0, 0)),
            (":29", (0, 29)),
        ] {
            assert_eq!(accounts().owner(text), Ok(expect), "{text}");
        }
        assert_eq!(accounts().owner("nobody"), Err(AccountError::Unknown("user", "nobody".into())));
        assert_eq!(
            accounts().owner("app:nogroup"),
            Err(AccountError::Unknown("group", "nogroup".into()))
        );
        assert!(matches!(accounts().owner("a:b:c"), Err(AccountError::Malformed(_))));
    }

    /// Covers: BLD-59
    #[test]
    fn a_process_gets_supplementary_groups_unless_a_group_is_named() {
        let ids = |text: &str| accounts().process(text).map(|u| (u.uid, u.gid, u.groups));
        assert_eq!(ids("app"), Ok((1000, 1001, vec![1001, 29])));
        assert_eq!(ids("1000"), Ok((1000, 1001, vec![1001, 29])));
        assert_eq!(ids("app:wheel"), Ok((1000, 10, vec![10])));
        assert_eq!(ids("4711"), Ok((4711, 0, vec![0])));
        assert_eq!(ids(""), Ok((0, 0, vec![0, 10])));
        assert!(ids("ghost").is_err());
        assert_eq!(accounts().process("app").unwrap().home.as_deref(), Some("/home/app"));
    }
}
