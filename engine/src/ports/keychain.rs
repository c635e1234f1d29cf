//! Docker's `config.json` and credential helpers, for the registry client.

use std::fs;
use std::io::{ErrorKind, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Mutex;

use registry_client::docker_config::{
    DockerConfig, HelperExit, HelperName, HelperRequest, Keep, Lookup, parse_helper_output,
};
use registry_client::{Credential, Keychain, KeychainError};

use crate::files;

/// A helper that prints more than this is broken; its output is a short JSON object.
const HELPER_OUTPUT_BYTES_MAX: u64 = 1 << 20;

/// Credentials from the folder of `config.json`.
#[derive(Debug)]
pub(crate) struct DockerKeychain {
    dir: PathBuf,
    /// Answers of this process: a slow helper is asked once per registry.
    known: Mutex<Vec<(String, Credential)>>,
}

impl DockerKeychain {
    pub(crate) fn new(dir: PathBuf) -> Self {
        Self { dir, known: Mutex::new(Vec::new()) }
    }

    /// The credentials of a repository, by the places of Docker's order.
    fn look_up(&self, registry: &str, repository: &str) -> Result<Credential, String> {
        for place in self.read()?.lookup(registry, repository).map_err(|e| e.to_string())? {
            match place {
                Lookup::Found(credential) => return Ok(credential),
                Lookup::Helper { helper, servers } => {
                    for server in servers {
                        if let Some(credential) = ask(&helper, &HelperRequest::get(&server))? {
                            return Ok(credential);
                        }
                    }
                }
            }
        }
        Ok(Credential::Anonymous)
    }

    /// Keeps the credentials of a login where `config.json` says.
    pub(crate) fn keep(&self, registry: &str, credential: &Credential) -> Result<(), String> {
        let keep = self.read()?.login(registry, credential).map_err(|e| e.to_string())?;
        self.carry_out(keep)
    }

    /// Forgets the credentials of a registry; whether there were any.
    pub(crate) fn forget(&self, registry: &str) -> Result<bool, String> {
        match self.read()?.logout(registry).map_err(|e| e.to_string())? {
            Some(keep) => self.carry_out(keep).map(|()| true),
            None => Ok(false),
        }
    }

    /// Whether a login would go to a helper rather than into the file.
    pub(crate) fn path(&self) -> PathBuf {
        self.dir.join("config.json")
    }

    fn carry_out(&self, keep: Keep) -> Result<(), String> {
        match keep {
            Keep::File(file) => self.write(&file),
            Keep::Helper { helper, request, file } => {
                run(&helper, &request)?;
                self.write(&file)
            }
        }
    }

    fn read(&self) -> Result<DockerConfig, String> {
        let path = self.path();
        match files::read(&path) {
            Ok(bytes) => {
                DockerConfig::parse(&bytes).map_err(|e| format!("{}: {e}", path.display()))
            }
            Err(e) if e.kind() == ErrorKind::NotFound => Ok(DockerConfig::default()),
            Err(e) => Err(format!("{}: {e}", path.display())),
        }
    }

    /// Replaces the file at once, so that a reader never sees half of it; nobody else may read it.
    fn write(&self, file: &DockerConfig) -> Result<(), String> {
        let path = self.path();
        let fail = |e: std::io::Error| format!("{}: {e}", path.display());
        fs::create_dir_all(&self.dir).map_err(fail)?;
        let staged = self.dir.join(format!(".config.json.{}", std::process::id()));
        write_private(&staged, &file.to_bytes())
            .and_then(|()| fs::rename(&staged, &path))
            .inspect_err(|_| {
                let _ = fs::remove_file(&staged);
            })
            .map_err(fail)
    }
}

#[async_trait::async_trait]
impl Keychain for DockerKeychain {
    async fn credential(
        &self,
        registry: &str,
        repository: &str,
    ) -> Result<Credential, KeychainError> {
        let key = format!("{registry}/{repository}");
        let mut known = self.known.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        if let Some((_, credential)) = known.iter().find(|(name, _)| *name == key) {
            return Ok(credential.clone());
        }
        let credential = self
            .look_up(registry, repository)
            .map_err(|reason| KeychainError { registry: registry.to_owned(), reason })?;
        known.push((key, credential.clone()));
        Ok(credential)
    }
}

fn write_private(path: &Path, bytes: &[u8]) -> std::io::Result<()> {
    let mut file =
        fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(path)?;
    file.write_all(bytes)?;
    file.sync_all()
}

fn ask(helper: &HelperName, request: &HelperRequest) -> Result<Option<Credential>, String> {
    let (exit, stdout) = exchange(helper, request)?;
    parse_helper_output(exit, &stdout).map_err(|e| format!("{}: {e}", helper.program()))
}

fn run(helper: &HelperName, request: &HelperRequest) -> Result<(), String> {
    match exchange(helper, request)? {
        (HelperExit::Success, _) => Ok(()),
        (HelperExit::Failure, stdout) => {
            let words: String = String::from_utf8_lossy(&stdout).chars().take(300).collect();
            Err(format!("{} {}: {}", helper.program(), request.verb(), words.trim()))
        }
    }
}

fn exchange(helper: &HelperName, request: &HelperRequest) -> Result<(HelperExit, Vec<u8>), String> {
    let program = helper.program();
    let fail = |e: std::io::Error| match e.kind() {
        ErrorKind::NotFound => {
            format!("the credential helper {program} named in config.json is not in PATH")
        }
        _ => format!("{program}: {e}"),
    };
    let mut child = Command::new(&program)
        .arg(request.verb())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .map_err(fail)?;
    if let Some(mut stdin) = child.stdin.take() {
        // A helper that ends without reading its input says so by its status.
        let _ = stdin.write_all(request.input());
    }
    let mut stdout = Vec::new();
    if let Some(pipe) = child.stdout.take() {
        pipe.take(HELPER_OUTPUT_BYTES_MAX).read_to_end(&mut stdout).map_err(fail)?;
    }
    let status = child.wait().map_err(fail)?;
    Ok((if status.success() { HelperExit::Success } else { HelperExit::Failure }, stdout))
}
