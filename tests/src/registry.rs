//! Registries on a port of their own: ours, and Debian's docker-registry as a peer.

use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::time::Duration;

use regex::Regex;
use tempfile::TempDir;

use crate::http;
use crate::site::binary;

/// `harbour-pass` under bcrypt.
const HTPASSWD: &str = "pilot:$2b$05$abcdefghijklmnopqrstuuDixDlWTLS9/r7iUsNMXg1WxDd2zrf8G\n";

/// A registry that lives as long as the value.
pub struct Registry {
    child: Child,
    address: String,
    dir: TempDir,
}

impl Registry {
    /// `wherry registry serve` over an empty root.
    pub fn embedded() -> Self {
        let dir = TempDir::with_prefix("wherry-registry-").expect("make a temporary folder");
        let root = dir.path().join("root");
        let (child, address) = serve(&root, "127.0.0.1:0");
        Registry { child, address, dir }
    }

    /// `wherry registry serve` as a cache of another registry.
    pub fn caching(upstream: &str) -> Self {
        Self::configured(|_| format!("[proxy]\nupstream = {upstream:?}\n"))
    }

    /// `wherry registry serve` that only `pilot` with the password `harbour-pass` may use, and only below
    /// `repositories`; `how` is the table `auth.basic` or `auth.token` with further lines of it.
    pub fn guarded(how: &str, repositories: &str) -> Self {
        Self::configured(|dir| {
            let htpasswd = dir.join("htpasswd");
            std::fs::write(&htpasswd, HTPASSWD).expect("write the users");
            format!(
                "{how}\nhtpasswd = {:?}\n\n[[access]]\nusers = [\"*\"]\nrepositories = [{repositories:?}]\nactions = [\"pull\", \"push\"]\n",
                htpasswd.display().to_string()
            )
        })
    }

    /// `wherry registry serve` over an empty root, with more settings.
    fn configured(settings: impl FnOnce(&Path) -> String) -> Self {
        let dir = TempDir::with_prefix("wherry-registry-").expect("make a temporary folder");
        let (config, root) = (dir.path().join("registry.toml"), dir.path().join("root"));
        let root = root.display().to_string();
        let text = format!("addr = \"127.0.0.1:0\"\nroot = {root:?}\n\n{}", settings(dir.path()));
        std::fs::write(&config, text).expect("write the configuration");
        let mut command = Command::new(binary());
        command.args(["registry", "serve", "--config"]).arg(&config);
        command.env("WHERRY_ROOT", dir.path().join("lib")).env("WHERRY_CONFIG_DIR", dir.path());
        let (child, address) = start(command);
        Registry { child, address, dir }
    }

    /// Debian's docker-registry over an empty folder; `None` stands for a machine without it.
    pub fn peer() -> Self {
        let dir = TempDir::with_prefix("docker-registry-").expect("make a temporary folder");
        let config = dir.path().join("config.yml");
        let text = format!(
            "version: 0.1\nlog:\n  level: info\nstorage:\n  filesystem:\n    rootdirectory: {}\n  delete:\n    enabled: true\nhttp:\n  addr: 127.0.0.1:0\n",
            dir.path().join("data").display()
        );
        std::fs::write(&config, text).expect("write the peer's configuration");
        let mut command = Command::new("docker-registry");
        command.arg("serve").arg(&config).env("OTEL_TRACES_EXPORTER", "none");
        let (child, address) = start(command);
        Registry { child, address, dir }
    }

    /// `127.0.0.1:PORT`.
    pub fn address(&self) -> &str {
        &self.address
    }

    /// A reference in this registry: `127.0.0.1:PORT/` and the name.
    pub fn name(&self, name: &str) -> String {
        format!("{}/{name}", self.address)
    }

    /// The folder of the embedded registry's store.
    pub fn root(&self) -> std::path::PathBuf {
        self.dir.path().join("root")
    }

    /// GET of a path, accepting every kind of manifest.
    #[track_caller]
    pub fn get(&self, path: &str) -> http::Answer {
        let accept = "application/vnd.oci.image.manifest.v1+json, application/vnd.oci.image.index.v1+json, \
                      application/vnd.docker.distribution.manifest.v2+json, \
                      application/vnd.docker.distribution.manifest.list.v2+json, */*";
        http::request(&self.address, "GET", path, &[("Accept", accept)], b"")
            .unwrap_or_else(|error| panic!("GET {path}: {error}"))
    }

    /// The digest that a tag has now.
    #[track_caller]
    pub fn digest(&self, repository: &str, tag: &str) -> String {
        let answer = self.get(&format!("/v2/{repository}/manifests/{tag}"));
        assert_eq!(answer.status, 200, "{}", answer.text());
        answer.header("docker-content-digest").expect("a registry says the digest").to_owned()
    }

    /// Ends it with SIGKILL and starts it again over the same root, on the same port.
    pub fn kill_and_restart(&mut self) {
        self.stop();
        let (child, address) = serve(&self.root(), &self.address);
        self.child = child;
        self.address = address;
    }

    fn stop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        self.stop();
    }
}

fn serve(root: &Path, address: &str) -> (Child, String) {
    let mut command = Command::new(binary());
    command.args(["registry", "serve", "--addr", address, "--root"]).arg(root);
    start(command)
}

/// Starts a server and reads the address that it says it listens on.
fn start(mut command: Command) -> (Child, String) {
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap_or_else(|error| panic!("cannot start {command:?}: {error}"));
    let (found, address) = mpsc::channel();
    watch(child.stdout.take().expect("piped"), found.clone());
    watch(child.stderr.take().expect("piped"), found);
    match address.recv_timeout(Duration::from_secs(30)) {
        Ok(address) => (child, address),
        Err(_) => {
            let _ = child.kill();
            panic!("{command:?} says no address");
        }
    }
}

/// Reads a server's output to its end, and sends the first address on loopback with a port.
fn watch(output: impl Read + Send + 'static, found: mpsc::Sender<String>) {
    std::thread::spawn(move || {
        let pattern =
            Regex::new(r"(127\.0\.0\.1|localhost|\[::1\]):([1-9]\d*)").expect("a valid pattern");
        for line in BufReader::new(output).lines().map_while(Result::ok) {
            if let Some(hit) = pattern.find(&line) {
                // Only the first is waited for.
                let _ = found.send(hit.as_str().to_owned());
            }
        }
    });
}
