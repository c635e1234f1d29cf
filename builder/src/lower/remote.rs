//! Addresses of things that are not on this machine: git repositories and files of web servers.

/// A git repository, which state of it, and which part.
///
/// `remote#ref:folder`, or as a query: `remote?ref=…&subdir=…`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GitAddress {
    /// The repository.
    pub remote: String,
    /// Branch, tag or commit; the default branch where nothing is said.
    pub reference: Option<String>,
    /// The folder of it.
    pub subdir: Option<String>,
    /// Whether `.git` is kept, where that was said.
    pub keep_git_dir: Option<bool>,
    /// Whether submodules are fetched too.
    pub submodules: bool,
    /// What the commit must begin with.
    pub checksum: Option<String>,
}

/// How addresses begin that are git's own.
const GIT_SCHEMES: [&str; 3] = ["git://", "ssh://", "git+ssh://"];

impl GitAddress {
    /// Reads an address; `None` for what is none of a git repository.
    pub fn parse(text: &str) -> Result<Option<GitAddress>, String> {
        if !is_git(text) {
            return Ok(None);
        }
        let (address, fragment) = text.split_once('#').unwrap_or((text, ""));
        let (reference, subdir) = fragment.split_once(':').unwrap_or((fragment, ""));
        let some = |text: &str| (!text.is_empty()).then(|| text.to_owned());
        let (remote, query) = address.split_once('?').unwrap_or((address, ""));
        let mut found = GitAddress {
            remote: remote.to_owned(),
            reference: some(reference),
            subdir: some(subdir),
            keep_git_dir: None,
            submodules: true,
            checksum: None,
        };
        for pair in query.split('&').filter(|pair| !pair.is_empty()) {
            let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
            found.set(key, value)?;
        }
        for word in [Some(&found.remote), found.reference.as_ref()].into_iter().flatten() {
            if word.starts_with('-') {
                return Err("a git address or reference must not begin with a dash".to_owned());
            }
        }
        Ok(Some(found))
    }

    fn set(&mut self, key: &str, value: &str) -> Result<(), String> {
        let once = |place: &mut Option<String>, value: String| match place {
            Some(_) => Err(format!("the git address says its {key} twice")),
            None => {
                *place = Some(value);
                Ok(())
            }
        };
        match key {
            "ref" => once(&mut self.reference, value.to_owned()),
            "tag" => once(&mut self.reference, format!("refs/tags/{value}")),
            "branch" => once(&mut self.reference, format!("refs/heads/{value}")),
            "subdir" => once(&mut self.subdir, value.to_owned()),
            "checksum" | "commit" => once(&mut self.checksum, value.to_owned()),
            "keep-git-dir" => {
                self.keep_git_dir = Some(switch(key, value)?);
                Ok(())
            }
            "submodules" => {
                self.submodules = switch(key, value)?;
                Ok(())
            }
            _ => Err(format!(
                "unexpected query {key:?} in a git address: ref, tag, branch, subdir, commit, keep-git-dir and submodules are known"
            )),
        }
    }

    /// True when the reference names a commit by its whole hash, which no server can change.
    pub fn names_commit(&self) -> bool {
        self.reference.as_deref().is_some_and(is_commit)
    }
}

/// A whole hash, of either length that git has.
pub fn is_commit(text: &str) -> bool {
    [40, 64].contains(&text.len()) && text.bytes().all(|b| b.is_ascii_hexdigit())
}

fn switch(key: &str, value: &str) -> Result<bool, String> {
    match value {
        "" | "1" | "true" => Ok(true),
        "0" | "false" => Ok(false),
        _ => Err(format!("{key} of a git address is true or false, not {value:?}")),
    }
}

fn is_git(text: &str) -> bool {
    let path = text.split(['#', '?']).next().unwrap_or(text);
    GIT_SCHEMES.iter().any(|scheme| text.starts_with(scheme))
        || is_scp_form(text)
        || (is_url(text) && path.ends_with(".git"))
}

/// `user@host:path`.
fn is_scp_form(text: &str) -> bool {
    let Some((user, rest)) = text.split_once('@') else { return false };
    let host = rest.split(':').next().unwrap_or_default();
    let is_word = |word: &str| {
        !word.is_empty() && word.chars().all(|c| c.is_ascii_alphanumeric() || "-_.".contains(c))
    };
    rest.contains(':') && is_word(user) && is_word(host)
}

/// True for an address of a web server.
pub fn is_url(text: &str) -> bool {
    text.starts_with("http://") || text.starts_with("https://")
}

/// An address without what stands between `//` and `@`.
pub fn without_credentials(url: &str) -> String {
    let Some((scheme, rest)) = url.split_once("://") else { return url.to_owned() };
    let host_end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    match rest[..host_end].rfind('@') {
        Some(at) => format!("{scheme}://{}", &rest[at + 1..]),
        None => url.to_owned(),
    }
}

/// The name of what an address gives no name.
pub(super) const UNNAMED: &str = "__unnamed__";

/// The last element of an address's path.
pub(super) fn url_file_name(url: &str) -> String {
    let path = url.split_once("://").map_or(url, |(_, rest)| rest);
    let path = path.split(['?', '#']).next().unwrap_or(path);
    let name = path
        .split_once('/')
        .and_then(|(_, p)| p.trim_end_matches('/').rsplit('/').next())
        .unwrap_or_default();
    if name.is_empty() || name == "." || name == ".." {
        UNNAMED.to_owned()
    } else {
        name.to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn git(text: &str) -> GitAddress {
        GitAddress::parse(text).unwrap().unwrap()
    }

    /// Covers: BLD-57
    #[test]
    fn addresses_of_repositories_are_told_from_others() {
        for text in [
            "https://host/x.git",
            "https://host/x.git#v1:sub",
            "http://host/x.git?ref=v1",
            "git://host/x",
            "ssh://git@host/x",
            "git@github.com:user/x.git",
            "deploy@10.0.0.1:x",
        ] {
            assert!(GitAddress::parse(text).unwrap().is_some(), "{text}");
        }
        for text in ["https://host/x", "https://host/x.git.tar", "x.git", "./a@b", "a@b", "git"] {
            assert_eq!(GitAddress::parse(text).unwrap(), None, "{text}");
        }
    }

    /// Covers: BLD-57
    #[test]
    fn fragment_and_query_say_the_same_things() {
        let found = git("https://h/x.git#main:docs/a");
        assert_eq!(
            (found.remote.as_str(), found.reference.as_deref()),
            ("https://h/x.git", Some("main"))
        );
        assert_eq!(found.subdir.as_deref(), Some("docs/a"));
        assert_eq!(git("https://h/x.git#:docs").reference, None);
        let found =
            git("https://h/x.git?tag=v1&subdir=docs&keep-git-dir=1&submodules=false&commit=abc");
        assert_eq!(found.remote, "https://h/x.git");
        assert_eq!(found.reference.as_deref(), Some("refs/tags/v1"));
        assert_eq!((found.keep_git_dir, found.submodules), (Some(true), false));
        assert_eq!(found.checksum.as_deref(), Some("abc"));
        assert_eq!(git("https://h/x.git?branch=dev").reference.as_deref(), Some("refs/heads/dev"));
    }

    /// Covers: BLD-57
    #[test]
    fn what_git_would_take_for_an_option_is_refused() {
        for text in [
            "https://h/x.git#--upload-pack=/bin/sh",
            "https://h/x.git?ref=-x",
            "https://h/x.git?colour=blue",
            "https://h/x.git?ref=a#b",
            "https://h/x.git?submodules=maybe",
        ] {
            assert!(GitAddress::parse(text).is_err(), "{text}");
        }
    }

    /// Covers: BLD-57
    #[test]
    fn credentials_are_taken_out_of_addresses() {
        for (with, without) in [
            ("https://user:pass@host/x.git", "https://host/x.git"),
            ("https://host/a@b", "https://host/a@b"),
            ("https://token@host?x=1", "https://host?x=1"),
            ("git@github.com:user/x.git", "git@github.com:user/x.git"),
        ] {
            assert_eq!(without_credentials(with), without);
        }
    }

    #[test]
    fn a_file_is_named_after_the_last_part_of_its_address() {
        for (url, name) in [
            ("https://h/a/b.tar?x=1", "b.tar"),
            ("https://h/a/b/", "b"),
            ("https://h", "__unnamed__"),
            ("https://h/..", "__unnamed__"),
        ] {
            assert_eq!(url_file_name(url), name, "{url}");
        }
    }
}
