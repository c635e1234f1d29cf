//! Git repositories by the `git` program, kept away from the user's and the system's configuration.

use std::fs::{self, File};
use std::io::{self, Read};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, ExitStatus, Stdio};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use builder::lower::{is_commit, without_credentials};
use builder::ports::{Credentials, GitSource, Secret};
use builder::{Cancel, PortError};
use reqwest::Url;
use rustix::fs::{AtFlags, CWD, Timespec, Timestamps, utimensat};
use rustix::process::{Pid, Signal, kill_process_group};

use crate::config::text_variable;

/// The most that git may say: a repository with millions of references lists them all.
const OUTPUT_BYTES: u64 = 64 << 20;
/// The most that is kept of what git complains about.
const COMPLAINT_BYTES: u64 = 16 << 10;
/// How often it is looked whether git is done or is to be stopped.
const PATIENCE: Duration = Duration::from_millis(10);

/// The `git` program, with the secrets that a build was given for it.
pub(super) struct Git<'a> {
    credentials: &'a Credentials,
    cancel: &'a Cancel,
}

impl<'a> Git<'a> {
    pub(super) fn new(credentials: &'a Credentials, cancel: &'a Cancel) -> Self {
        Self { credentials, cancel }
    }

    /// The commit that a reference names now; the default branch's where none is said.
    pub(super) fn commit(&self, source: &GitSource<'_>) -> Result<String, PortError> {
        let wanted = source.reference.unwrap_or("HEAD");
        if is_commit(wanted) {
            return Ok(wanted.to_owned());
        }
        let remote = without_credentials(source.remote);
        let peeled = format!("{wanted}^{{}}");
        let args = ["ls-remote", "--quiet", "--", &remote, wanted, &peeled];
        let listed = self.run(source, Path::new("/"), &args)?;
        named(&listed, wanted).ok_or_else(|| {
            format!("the repository has no branch or tag {wanted:?}; name one, or a commit by its whole hash").into()
        })
    }

    /// The files of a commit in an empty folder, with the times of the commit.
    pub(super) fn checkout(
        &self,
        source: &GitSource<'_>,
        commit: &str,
        into: &Path,
    ) -> Result<(), PortError> {
        let remote = without_credentials(source.remote);
        let run = |args: &[&str]| self.run(source, into, args);
        run(&["init", "--quiet", "--template="])?;
        run(&["remote", "add", "origin", &remote])?;
        self.fetch(source, commit, into)?;
        run(&["checkout", "--quiet", "--detach", commit])?;
        if source.submodules && into.join(".gitmodules").exists() {
            run(&["submodule", "--quiet", "update", "--init", "--recursive", "--depth=1"])?;
        }
        let time = run(&["show", "--no-patch", "--format=%ct", commit])?;
        if !source.keep_git_dir {
            remove_git_dirs(into)?;
        }
        let seconds = time.trim().parse().map_err(|_| "git tells no time of the commit")?;
        Ok(set_times(into, seconds)?)
    }

    /// As little as the server gives: the commit alone, the reference alone, else everything.
    fn fetch(&self, source: &GitSource<'_>, commit: &str, into: &Path) -> Result<(), PortError> {
        let shallow = |what: &str| {
            let args = ["fetch", "--quiet", "--no-tags", "--depth=1", "origin", what];
            self.run(source, into, &args)
        };
        let object = format!("{commit}^{{commit}}");
        let is_here = || self.run(source, into, &["cat-file", "-e", &object]).is_ok();
        if shallow(commit).is_ok() && is_here() {
            return Ok(());
        }
        if let Some(reference) = source.reference.filter(|r| !is_commit(r))
            && shallow(reference).is_ok()
            && is_here()
        {
            return Ok(());
        }
        let everything = "+refs/heads/*:refs/remotes/origin/*";
        self.run(source, into, &["fetch", "--quiet", "--tags", "--force", "origin", everything])?;
        if is_here() {
            Ok(())
        } else {
            Err(format!("the repository has no commit {commit}").into())
        }
    }

    /// Runs git to its end, or until the build is told to stop.
    fn run(&self, source: &GitSource<'_>, at: &Path, args: &[&str]) -> Result<String, PortError> {
        let mut command = self.command(source, at);
        // What git makes is readable by everybody, whatever this process has for a mask.
        let mut child = command.args(args).spawn().map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => PortError::from("the program sh is needed to start git"),
            _ => error.into(),
        })?;
        let group = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
        let (out, err) = (child.stdout.take(), child.stderr.take());
        let (status, out, err) = std::thread::scope(|scope| {
            let out = scope.spawn(|| out.map_or(Ok(Vec::new()), |from| read(from, OUTPUT_BYTES)));
            let err =
                scope.spawn(|| err.map_or(Ok(Vec::new()), |from| read(from, COMPLAINT_BYTES)));
            let status = loop {
                match child.try_wait() {
                    Ok(Some(status)) => break Ok(status),
                    Ok(None) => {}
                    Err(error) => break Err(error),
                }
                if let (true, Some(group)) = (self.cancel.is_cancelled(), group) {
                    // Its helpers are in its group; it may have ended this very moment.
                    let _gone = kill_process_group(group, Signal::KILL);
                }
                std::thread::sleep(PATIENCE);
            };
            (status, out.join(), err.join())
        });
        let status: ExitStatus = status?;
        let out = out.map_err(|_| "reading what git says failed")??;
        let err = err.map_err(|_| "reading what git says failed")??;
        match status.code() {
            Some(0) => Ok(String::from_utf8_lossy(&out).into_owned()),
            Some(127) => Err("the program git is needed for this: install it".into()),
            _ => Err(complaint(args, &err).into()),
        }
    }

    fn command(&self, source: &GitSource<'_>, at: &Path) -> Command {
        let mut command = Command::new("/bin/sh");
        command
            .args(["-c", "umask 022 && exec git \"$@\"", "git"])
            .args(["-c", "core.hooksPath=/dev/null", "-c", "core.autocrlf=false"])
            .args(["-c", "advice.detachedHead=false", "-c", "credential.helper="])
            .current_dir(at)
            .process_group(0)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .env_clear()
            .env("LC_ALL", "C")
            .env("HOME", "/nonexistent")
            .env("GIT_CONFIG_NOSYSTEM", "1")
            .env("GIT_CONFIG_GLOBAL", "/dev/null")
            .env("GIT_TERMINAL_PROMPT", "0")
            .env("GIT_ALLOW_PROTOCOL", "http:https:git:ssh")
            .env("GIT_SSH_COMMAND", "ssh -F /dev/null -o BatchMode=yes");
        for name in [
            "PATH",
            "HTTP_PROXY",
            "http_proxy",
            "HTTPS_PROXY",
            "https_proxy",
            "NO_PROXY",
            "no_proxy",
            "SSL_CERT_FILE",
        ] {
            if let Some(value) = text_variable(name) {
                command.env(name, value);
            }
        }
        if let Some(agent) = self.credentials.ssh.get("default") {
            command.env("SSH_AUTH_SOCK", agent);
        }
        if let Some((key, header)) = self.authorization(source.remote) {
            // In the environment: the arguments of a process are seen by everybody.
            command.env("GIT_CONFIG_COUNT", "1");
            command.env("GIT_CONFIG_KEY_0", key).env("GIT_CONFIG_VALUE_0", header);
        }
        command
    }

    /// `GIT_AUTH_HEADER[.host]` and `GIT_AUTH_TOKEN[.host]` among the secrets, else what the address itself holds.
    fn authorization(&self, remote: &str) -> Option<(String, String)> {
        let url =
            Url::parse(remote).ok().filter(|url| ["http", "https"].contains(&url.scheme()))?;
        let host = url.host_str()?;
        let secret = |kind: &str| -> Option<&Secret> {
            let secrets = &self.credentials.secrets;
            secrets
                .get(&format!("GIT_AUTH_{kind}.{host}"))
                .or_else(|| secrets.get(&format!("GIT_AUTH_{kind}")))
        };
        let text =
            |secret: &Secret| String::from_utf8_lossy(secret.expose().trim_ascii()).into_owned();
        let basic = |pair: String| format!("Basic {}", BASE64.encode(pair));
        let value = match (secret("HEADER"), secret("TOKEN")) {
            (Some(header), _) => text(header),
            (None, Some(token)) => basic(format!("x-access-token:{}", text(token))),
            (None, None) if !url.username().is_empty() => {
                basic(format!("{}:{}", url.username(), url.password().unwrap_or_default()))
            }
            (None, None) => return None,
        };
        let port = url.port().map(|port| format!(":{port}")).unwrap_or_default();
        let key = format!("http.{}://{host}{port}/.extraheader", url.scheme());
        Some((key, format!("Authorization: {value}")))
    }
}

/// The commit behind a name in the words of `ls-remote`; a tag's own object is not what is meant.
fn named(listed: &str, wanted: &str) -> Option<String> {
    let lines: Vec<(&str, &str)> =
        listed.lines().filter_map(|line| line.split_once('\t')).collect();
    let find = |name: &str| lines.iter().find(|(_, found)| *found == name).map(|(hash, _)| *hash);
    let candidates =
        [wanted.to_owned(), format!("refs/heads/{wanted}"), format!("refs/tags/{wanted}")];
    let hash =
        candidates.iter().find_map(|name| find(&format!("{name}^{{}}")).or_else(|| find(name)))?;
    is_commit(hash).then(|| hash.to_owned())
}

/// What git complains about, or that it failed, without credentials.
fn complaint(args: &[&str], err: &[u8]) -> String {
    let text = String::from_utf8_lossy(err);
    let lines: Vec<&str> = text.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    match lines.is_empty() {
        true => format!("git {} failed", args.first().unwrap_or(&"")),
        false => format!("git {}: {}", args.first().unwrap_or(&""), lines.join("; ")),
    }
}

fn read(mut from: impl Read, limit: u64) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    from.by_ref().take(limit).read_to_end(&mut bytes)?;
    // What goes beyond is not wanted, but git must be able to say it.
    io::copy(&mut from, &mut io::sink())?;
    Ok(bytes)
}

/// Removes `.git` of the repository and of its submodules.
fn remove_git_dirs(folder: &Path) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let (entry, kind) = entry.and_then(|entry| Ok((entry.path(), entry.file_type()?)))?;
        match (entry.file_name().is_some_and(|name| name == ".git"), kind.is_dir()) {
            (true, true) => fs::remove_dir_all(&entry)?,
            (true, false) => fs::remove_file(&entry)?,
            (false, true) => remove_git_dirs(&entry)?,
            (false, false) => {}
        }
    }
    Ok(())
}

/// Gives everything below a folder, and the folder, one time.
fn set_times(folder: &Path, seconds: i64) -> io::Result<()> {
    let time = Timespec { tv_sec: seconds, tv_nsec: 0 };
    let times = Timestamps { last_access: time, last_modification: time };
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            set_times(&entry.path(), seconds)?;
        } else {
            utimensat(CWD, entry.path(), &times, AtFlags::SYMLINK_NOFOLLOW)?;
        }
    }
    Ok(rustix::fs::futimens(File::open(folder)?, &times)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Covers: BLD-57
    #[test]
    fn a_tag_means_its_commit_and_a_branch_comes_before_a_tag() {
        let (one, two, three) = ("1".repeat(40), "2".repeat(40), "3".repeat(40));
        let listed = format!("{one}\trefs/tags/v1\n{two}\trefs/tags/v1^{{}}\n");
        assert_eq!(named(&listed, "v1"), Some(two.clone()));
        let listed = format!("{one}\trefs/heads/x\n{three}\trefs/tags/x\n");
        assert_eq!(named(&listed, "x"), Some(one));
        assert_eq!(named(&format!("{two}\tHEAD\n"), "HEAD"), Some(two));
        assert_eq!(named(&format!("{three}\trefs/heads/other/x\n"), "x"), None);
    }

    /// Covers: BLD-57
    #[test]
    fn credentials_go_in_a_header_and_never_in_arguments() {
        let mut credentials = Credentials::default();
        let cancel = Cancel::default();
        let header = |credentials: &Credentials, remote: &str| {
            Git::new(credentials, &cancel).authorization(remote)
        };
        let (key, value) = header(&credentials, "https://me:pw@host:8443/x.git").unwrap();
        assert_eq!(key, "http.https://host:8443/.extraheader");
        assert_eq!(value, format!("Authorization: Basic {}", BASE64.encode(b"me:pw")));
        assert_eq!(header(&credentials, "https://host/x.git"), None);
        credentials.secrets.insert("GIT_AUTH_TOKEN".into(), Secret::new("t"));
        credentials.secrets.insert("GIT_AUTH_HEADER.other".into(), Secret::new("Bearer q"));
        let (_, value) = header(&credentials, "https://host/x.git").unwrap();
        assert_eq!(value, format!("Authorization: Basic {}", BASE64.encode(b"x-access-token:t")));
        let (_, value) = header(&credentials, "https://other/x.git").unwrap();
        assert_eq!(value, "Authorization: Bearer q");
        assert_eq!(header(&credentials, "ssh://git@host/x.git"), None);
    }
}
