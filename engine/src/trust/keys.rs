//! The keys of this user: private halves encrypted, roots that are pinned.

use std::collections::BTreeMap;
use std::fs;
use std::io::ErrorKind;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use oci::Repository;
use trust::Secret;
use trust::key::{
    self, KdfCost, KeyId, KeyName, KeyRole, PemKind, PrivateKeyFile, PublicKey, Signer, pem_kind,
    public_key_from_pem, public_key_to_pem, signer_from_pem,
};

use super::file_name;
use super::state::{write, write_private};
use crate::config::text_variable;
use crate::error::{Error, Result};
use crate::files;

/// The variables that passphrases come from: of root keys, of all others, and ours for both.
pub(super) const PASSPHRASE_VARIABLES: [&str; 3] = [
    "DOCKER_CONTENT_TRUST_ROOT_PASSPHRASE",
    "DOCKER_CONTENT_TRUST_REPOSITORY_PASSPHRASE",
    "WHERRY_TRUST_PASSPHRASE",
];

/// Whose passphrase is wanted.
#[derive(Clone, Debug)]
pub struct PassphraseRequest {
    /// The key's name.
    pub name: String,
    /// What it signs.
    pub role: KeyRole,
    /// The beginning of its id.
    pub short_id: String,
    /// Whether a new passphrase is chosen (and must be typed twice).
    pub choose: bool,
}

/// Where passphrases come from when the environment has none: a terminal.
pub trait PassphraseSource: Send + Sync {
    /// The passphrase, or why there is none.
    fn passphrase(&self, request: &PassphraseRequest) -> std::result::Result<Secret, String>;
}

/// The keys under the configuration folder.
pub struct Keys<'a> {
    dir: PathBuf,
    source: &'a dyn PassphraseSource,
    /// Asked once per role in one process.
    known: Mutex<BTreeMap<String, Secret>>,
}

impl<'a> Keys<'a> {
    pub(crate) fn new(dir: PathBuf, source: &'a dyn PassphraseSource) -> Self {
        Self { dir, source, known: Mutex::new(BTreeMap::new()) }
    }

    /// Makes a key pair: the private half goes into the key folder, the public one to `public`,
    /// which must not exist yet (TRU-40).
    pub fn generate_signer(&self, name: &KeyName, public: &Path) -> Result<PublicKey> {
        if public.exists() {
            return Err(Error::Conflict(format!(
                "key generate {name}: {} exists already; remove it or choose another name or --dir",
                public.display()
            )));
        }
        let signer = self.generate(name.as_str(), KeyRole::Signer, None)?;
        write(public, public_key_to_pem(signer.public())?.as_bytes())?;
        Ok(signer.public().clone())
    }

    /// Takes a private key from a PEM file that others cannot read (TRU-41).
    pub fn load_signer(&self, file: &Path, name: &KeyName) -> Result<PublicKey> {
        let text = files::read_text(file).map_err(|e| Error::io("read key", file, e))?;
        let mode =
            fs::metadata(file).map_err(|e| Error::io("read key", file, e))?.permissions().mode();
        // A public key may be read by everybody; it gets the advice that helps.
        if mode & 0o077 != 0 && pem_kind(&text) != PemKind::Public {
            return Err(Error::Invalid(format!(
                "private key file {} must not be readable or writable by others (mode {:03o}): chmod 600 it",
                file.display(),
                mode & 0o777
            )));
        }
        let signer = signer_from_pem(&file.display().to_string(), &text)?;
        self.keep(&*signer, name.as_str(), KeyRole::Signer, None)?;
        Ok(signer.public().clone())
    }

    /// Takes a key of another tool into the key folder, under a passphrase of this user. A key that
    /// is here already stays as it is.
    pub(crate) fn adopt(
        &self,
        signer: &dyn Signer,
        name: &str,
        role: KeyRole,
        repository: Option<&Repository>,
    ) -> Result<()> {
        let id = signer.public().id();
        if self.list()?.iter().any(|file| file.id() == id) {
            return Ok(());
        }
        self.keep(signer, name, role, repository)
    }

    /// A passphrase for a key that is not ours yet.
    pub(crate) fn passphrase_of(&self, name: &str, role: KeyRole, id: &str) -> Result<Secret> {
        let short_id = id.chars().take(7).collect();
        let name = name.to_owned();
        self.passphrase(&PassphraseRequest { name, role, short_id, choose: false })
    }

    /// Unlocks the signer key of this name; the first by id where none is named.
    pub fn unlock_signer(&self, name: Option<&KeyName>) -> Result<Arc<dyn Signer>> {
        let fits = |file: &PrivateKeyFile| {
            file.role() == KeyRole::Signer && name.is_none_or(|name| name.as_str() == file.name())
        };
        let file = self.list()?.into_iter().find(fits).ok_or_else(|| {
            let wanted = name.map_or("a signer key".to_owned(), |name| format!("the key {name:?}", name = name.as_str()));
            Error::Invalid(format!(
                "{wanted} is not here; `wherry trust key generate NAME` makes one, `wherry trust key load` takes one in"
            ))
        })?;
        self.unlock_file(&file).map(Arc::from)
    }

    /// A public key from a PEM file, as `signer add --key` takes it.
    pub fn public_from_file(&self, file: &Path) -> Result<PublicKey> {
        let text = files::read_text(file).map_err(|e| Error::io("read key", file, e))?;
        Ok(public_key_from_pem(&file.display().to_string(), &text)?)
    }

    /// Makes and keeps a key.
    pub(crate) fn generate(
        &self,
        name: &str,
        role: KeyRole,
        repository: Option<&Repository>,
    ) -> Result<Box<dyn Signer>> {
        let signer = key::generate()?;
        self.keep(&signer, name, role, repository)?;
        Ok(Box::new(signer))
    }

    /// The key files, by id.
    pub fn list(&self) -> Result<Vec<PrivateKeyFile>> {
        let dir = self.private_dir();
        let entries = match fs::read_dir(&dir) {
            Ok(entries) => entries,
            Err(e) if e.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
            Err(e) => return Err(Error::io("list", dir, e)),
        };
        let mut paths = Vec::new();
        for entry in entries {
            paths.push(entry.map_err(|e| Error::io("list", &dir, e))?.path());
        }
        paths.sort();
        let is_key = |path: &PathBuf| path.extension().is_some_and(|extension| extension == "json");
        paths.into_iter().filter(is_key).map(|path| read_key(&path)).collect()
    }

    /// Unlocks those of `wanted` that are here.
    pub(crate) fn unlock(&self, wanted: &[KeyId]) -> Result<Vec<Box<dyn Signer>>> {
        let mut signers = Vec::new();
        for file in self.list()? {
            if wanted.contains(&file.id()) {
                signers.push(self.unlock_file(&file)?);
            }
        }
        Ok(signers)
    }

    fn unlock_file(&self, file: &PrivateKeyFile) -> Result<Box<dyn Signer>> {
        let request = PassphraseRequest {
            name: file.name().to_owned(),
            role: file.role(),
            short_id: file.id().short(7).to_owned(),
            choose: false,
        };
        Ok(file.unlock(&self.passphrase(&request)?)?)
    }

    fn keep(
        &self,
        signer: &dyn Signer,
        name: &str,
        role: KeyRole,
        repository: Option<&Repository>,
    ) -> Result<()> {
        let id = signer.public().id();
        let short_id = id.short(7).to_owned();
        let request = PassphraseRequest { name: name.to_owned(), role, short_id, choose: true };
        let passphrase = self.passphrase(&request)?;
        let repository = repository.map(ToString::to_string);
        let cost = KdfCost::STANDARD;
        let file =
            PrivateKeyFile::seal(signer, name, role, repository.as_deref(), &passphrase, cost)?;
        let dir = self.private_dir();
        fs::create_dir_all(&dir)
            .and_then(|()| fs::set_permissions(&dir, fs::Permissions::from_mode(0o700)))
            .map_err(|e| Error::io("create", &dir, e))?;
        write_private(&dir.join(format!("{}.json", id.as_str())), &file.to_bytes()?)
    }

    /// From the environment, from an earlier question, or from whoever can be asked.
    fn passphrase(&self, request: &PassphraseRequest) -> Result<Secret> {
        let [root, repository, ours] = PASSPHRASE_VARIABLES;
        let variable = if request.role == KeyRole::Root { root } else { repository };
        let given = text_variable(variable).or_else(|| text_variable(ours));
        if let Some(text) = given {
            return Ok(Secret::from(text));
        }
        let class = format!("{:?}", request.role);
        let mut known = self.known.lock().unwrap_or_else(|p| p.into_inner());
        if let Some(secret) = known.get(&class) {
            return Ok(secret.clone());
        }
        let secret = self.source.passphrase(request).map_err(|reason| Error::Configuration {
            file: format!("passphrase of key {} ({})", request.name, request.short_id),
            reason: format!("{reason}; set {ours} (or {variable}) where nobody can be asked"),
        })?;
        known.insert(class, secret.clone());
        Ok(secret)
    }

    /// Pins the first root of a repository that was made here.
    pub(crate) fn pin(&self, repository: &Repository, root: &[u8]) -> Result<()> {
        let dir = self.dir.join("roots");
        fs::create_dir_all(&dir).map_err(|e| Error::io("create", &dir, e))?;
        write(&self.root_path(repository), root)
    }

    /// The root pinned for a repository.
    pub(crate) fn pinned(&self, repository: &Repository) -> Result<Option<Vec<u8>>> {
        let path = self.root_path(repository);
        match fs::read(&path) {
            Ok(bytes) => Ok(Some(bytes)),
            Err(e) if e.kind() == ErrorKind::NotFound => Ok(None),
            Err(e) => Err(Error::io("read", path, e)),
        }
    }

    /// Where the root pinned for a repository is kept, to be named in a policy.
    pub fn root_path(&self, repository: &Repository) -> PathBuf {
        self.dir.join("roots").join(format!("{}.json", file_name(&repository.to_string())))
    }

    /// All pinned roots.
    pub(crate) fn roots(&self) -> Result<Vec<(Repository, Vec<u8>)>> {
        let dir = self.dir.join("roots");
        let entries = match fs::read_dir(&dir) {
            Ok(entries) => entries,
            Err(e) if e.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
            Err(e) => return Err(Error::io("list", dir, e)),
        };
        let mut roots = Vec::new();
        for entry in entries {
            let path = entry.map_err(|e| Error::io("list", &dir, e))?.path();
            let name = path.file_stem().and_then(|name| name.to_str()).unwrap_or_default();
            let name = name.replace("%2F", "/").replace("%25", "%");
            if let Ok(repository) = name.parse() {
                roots.push((repository, fs::read(&path).map_err(|e| Error::io("read", &path, e))?));
            }
        }
        Ok(roots)
    }

    fn private_dir(&self) -> PathBuf {
        self.dir.join("private")
    }
}

fn read_key(path: &Path) -> Result<PrivateKeyFile> {
    let bytes = files::read(path).map_err(|e| Error::io("read key", path, e))?;
    Ok(PrivateKeyFile::parse(&path.display().to_string(), &bytes)?)
}
