//! Docker's `config.json` and the `auth.json` of other tools, bytes in and bytes out.

mod helper;
#[cfg(test)]
mod tests;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value};

use crate::credentials::Credential;
use crate::limits::DOCKER_CONFIG_BYTES_MAX;
use crate::redact::Secret;

pub use helper::{HelperError, HelperExit, HelperName, HelperRequest, parse_helper_output};

/// The key under which Docker files Docker Hub.
pub const DOCKER_HUB_KEY: &str = "https://index.docker.io/v1/";

/// The user name with which a helper says that the secret is an identity token.
const TOKEN_USER: &str = "<token>";

/// A `config.json`. Fields that are not about credentials survive an edit untouched.
#[derive(Clone, Default)]
pub struct DockerConfig {
    document: Map<String, Value>,
}

/// Why a `config.json` cannot be used.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum DockerConfigError {
    /// Over the limit.
    #[error("the file is over the limit of {DOCKER_CONFIG_BYTES_MAX} bytes")]
    TooLarge,
    /// Not JSON, or not an object.
    #[error("the file is not a JSON object: {reason}")]
    Json {
        /// Where and why.
        reason: String,
    },
    /// An `auth` that is not base64 of `user:password`.
    #[error("the \"auth\" of {key} is not base64 of user:password")]
    Auth {
        /// The key in `auths`.
        key: String,
    },
    /// The name of a helper that would be a path.
    #[error(transparent)]
    Helper(#[from] HelperError),
}

/// One place to look for credentials, in the order of [`DockerConfig::lookup`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Lookup {
    /// Ask this helper for this server; "not found" means the next place.
    Helper {
        /// Which helper.
        helper: HelperName,
        /// The server names to ask for, in order.
        servers: Vec<String>,
    },
    /// The file has them.
    Found(Credential),
}

/// What must be done to keep credentials after a login.
#[derive(Clone, Debug)]
pub enum Keep {
    /// Write this file.
    File(DockerConfig),
    /// Run this helper with this input, then write this file.
    Helper {
        /// Which helper.
        helper: HelperName,
        /// Its input.
        request: HelperRequest,
        /// The file, which only names the server.
        file: DockerConfig,
    },
}

impl DockerConfig {
    /// Reads the file.
    pub fn parse(bytes: &[u8]) -> Result<Self, DockerConfigError> {
        if bytes.len() > DOCKER_CONFIG_BYTES_MAX {
            return Err(DockerConfigError::TooLarge);
        }
        if bytes.iter().all(u8::is_ascii_whitespace) {
            return Ok(Self::default());
        }
        // The error text of serde_json quotes no content, so no secret gets out.
        match serde_json::from_slice::<Value>(bytes) {
            Ok(Value::Object(document)) => Ok(Self { document }),
            Ok(_) => Err(DockerConfigError::Json { reason: "expected an object".to_owned() }),
            Err(error) => Err(DockerConfigError::Json { reason: error.to_string() }),
        }
    }

    /// The file as Docker writes it.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        let formatter = serde_json::ser::PrettyFormatter::with_indent(b"\t");
        let mut serializer = serde_json::Serializer::with_formatter(&mut bytes, formatter);
        // Writing a tree of JSON values to memory cannot fail.
        let _ = serde::Serialize::serialize(&self.document, &mut serializer);
        bytes
    }

    /// Where to look for the credentials of a repository, best place first: the helper of that
    /// registry, the helper of all, then the file's entries from the longest path up.
    pub fn lookup(
        &self,
        registry: &str,
        repository: &str,
    ) -> Result<Vec<Lookup>, DockerConfigError> {
        let mut places = Vec::new();
        if let Some(name) = self.helper_name(registry) {
            places.push(Lookup::Helper {
                helper: HelperName::parse(name)?,
                servers: server_names(registry),
            });
        }
        if let Some((key, entry)) = self.best_entry(registry, repository) {
            let credential = credential_of(key, entry)?;
            if !credential.is_anonymous() {
                places.push(Lookup::Found(credential));
            }
        }
        Ok(places)
    }

    /// What keeps the credentials of a login.
    pub fn login(
        &self,
        registry: &str,
        credential: &Credential,
    ) -> Result<Keep, DockerConfigError> {
        let key = key_for(registry);
        match self.helper_name(registry) {
            Some(name) => {
                let helper = HelperName::parse(name)?;
                let request = HelperRequest::store(&key, credential)?;
                Ok(Keep::Helper { helper, request, file: self.with_entry(&key, Map::new()) })
            }
            None => Ok(Keep::File(self.with_entry(&key, entry_of(credential)))),
        }
    }

    /// What forgets the credentials of a registry; nothing where none are kept.
    pub fn logout(&self, registry: &str) -> Result<Option<Keep>, DockerConfigError> {
        let mut file = self.clone();
        let mut removed = false;
        if let Some(Value::Object(auths)) = file.document.get_mut("auths") {
            let keys = matching_keys(auths, registry);
            removed = !keys.is_empty();
            keys.iter().for_each(|key| {
                auths.shift_remove(key);
            });
        }
        match self.helper_name(registry) {
            Some(name) => Ok(Some(Keep::Helper {
                helper: HelperName::parse(name)?,
                request: HelperRequest::erase(&key_for(registry)),
                file,
            })),
            None => Ok(removed.then_some(Keep::File(file))),
        }
    }

    /// The registries that have an entry or a helper of their own, as the file names them.
    pub fn registries(&self) -> Vec<String> {
        let keys = |field: &str| {
            self.object(field)
                .map(|map| map.keys().cloned().collect::<Vec<_>>())
                .unwrap_or_default()
        };
        let mut names = keys("auths");
        names.extend(keys("credHelpers"));
        names.sort();
        names.dedup();
        names
    }

    fn helper_name(&self, registry: &str) -> Option<&str> {
        let own = self.object("credHelpers").and_then(|helpers| {
            helpers.iter().find(|(key, _)| host_of(key) == host_of(registry)).map(|(_, name)| name)
        });
        own.or_else(|| self.document.get("credsStore"))
            .and_then(Value::as_str)
            .filter(|name| !name.is_empty())
    }

    fn best_entry(&self, registry: &str, repository: &str) -> Option<(&String, &Value)> {
        let wanted = format!("{}/{repository}", host_of(registry));
        self.object("auths")?
            .iter()
            .filter_map(|entry| Some((match_length(entry.0, &wanted)?, entry)))
            .max_by_key(|(length, _)| *length)
            .map(|(_, entry)| entry)
    }

    fn with_entry(&self, key: &str, entry: Map<String, Value>) -> Self {
        let mut file = self.clone();
        let auths = file.document.entry("auths").or_insert_with(|| Value::Object(Map::new()));
        if !auths.is_object() {
            *auths = Value::Object(Map::new());
        }
        if let Value::Object(auths) = auths {
            auths.insert(key.to_owned(), Value::Object(entry));
        }
        file
    }

    fn object(&self, field: &str) -> Option<&Map<String, Value>> {
        self.document.get(field)?.as_object()
    }
}

impl std::fmt::Debug for DockerConfig {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "DockerConfig({:?})", self.registries())
    }
}

/// The key that Docker uses in `auths` and for helpers.
pub fn key_for(registry: &str) -> String {
    match host_of(registry).as_str() {
        "docker.io" => DOCKER_HUB_KEY.to_owned(),
        host => host.to_owned(),
    }
}

/// Names under which a helper may know the registry, the one that Docker uses first.
fn server_names(registry: &str) -> Vec<String> {
    match key_for(registry) {
        hub if hub == DOCKER_HUB_KEY => {
            vec![hub, "index.docker.io".to_owned(), "docker.io".to_owned()]
        }
        host => vec![host.clone(), format!("https://{host}")],
    }
}

/// Host of a key, which may carry a scheme and a path; Docker Hub's hosts are one.
fn host_of(key: &str) -> String {
    let bare = without_scheme(key);
    match bare.split('/').next().unwrap_or_default() {
        "index.docker.io" | "registry-1.docker.io" | "docker.io" => "docker.io".to_owned(),
        host => host.to_owned(),
    }
}

fn without_scheme(key: &str) -> &str {
    key.strip_prefix("https://").or_else(|| key.strip_prefix("http://")).unwrap_or(key)
}

/// How much of `wanted` (host/path) the key covers, or nothing where it is another's key.
fn match_length(key: &str, wanted: &str) -> Option<usize> {
    let bare = without_scheme(key).trim_end_matches('/');
    let path = bare.split_once('/').map_or("", |(_, path)| path);
    // `https://host/v1/` is a key for the whole host, left from the first protocol.
    let path = if matches!(path, "v1" | "v2") { "" } else { path };
    let prefix = match path {
        "" => host_of(key),
        path => format!("{}/{path}", host_of(key)),
    };
    let rest = wanted.strip_prefix(&prefix)?;
    (rest.is_empty() || rest.starts_with('/')).then_some(prefix.len())
}

fn matching_keys(auths: &Map<String, Value>, registry: &str) -> Vec<String> {
    let wanted = host_of(registry);
    auths
        .keys()
        .filter(|key| host_of(key) == wanted && match_length(key, &wanted).is_some())
        .cloned()
        .collect()
}

fn credential_of(key: &str, entry: &Value) -> Result<Credential, DockerConfigError> {
    let text = |field: &str| {
        entry
            .get(field)
            .and_then(Value::as_str)
            .filter(|value| !value.is_empty())
            .map(str::to_owned)
    };
    let (mut username, mut password) = (text("username"), text("password"));
    if let Some(auth) = text("auth") {
        let (user, secret) = decode_auth(&auth)
            .ok_or_else(|| DockerConfigError::Auth { key: without_scheme(key).to_owned() })?;
        (username, password) = (Some(user), Some(secret).filter(|secret| !secret.is_empty()));
    }
    if let Some(token) = text("identitytoken") {
        return Ok(Credential::IdentityToken { username, token: Secret::new(token) });
    }
    if let Some(token) = text("registrytoken") {
        return Ok(Credential::RegistryToken(Secret::new(token)));
    }
    Ok(match (username, password) {
        (Some(user), Some(token)) if user == TOKEN_USER => {
            Credential::IdentityToken { username: None, token: Secret::new(token) }
        }
        (Some(username), Some(password)) => Credential::password(username, password),
        _ => Credential::Anonymous,
    })
}

fn decode_auth(auth: &str) -> Option<(String, String)> {
    let bytes = STANDARD.decode(auth.trim()).ok()?;
    let text = String::from_utf8(bytes).ok()?;
    let (user, password) = text.split_once(':')?;
    // Old versions of Docker padded with NUL.
    Some((user.to_owned(), password.trim_end_matches('\0').to_owned()))
}

fn entry_of(credential: &Credential) -> Map<String, Value> {
    let mut entry = Map::new();
    let encode = |user: &str, password: &str| {
        Value::String(STANDARD.encode(format!("{user}:{password}").as_bytes()))
    };
    match credential {
        Credential::Anonymous => {}
        Credential::Password { username, password } => {
            entry.insert("auth".to_owned(), encode(username, password.expose()));
        }
        Credential::IdentityToken { username, token } => {
            let user = username.as_deref().unwrap_or_default();
            entry.insert("auth".to_owned(), encode(user, ""));
            entry.insert("identitytoken".to_owned(), Value::String(token.expose().to_owned()));
        }
        Credential::RegistryToken(token) => {
            entry.insert("registrytoken".to_owned(), Value::String(token.expose().to_owned()));
        }
    }
    entry
}
