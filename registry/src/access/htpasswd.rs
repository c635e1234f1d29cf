//! Users and passwords: `user:bcrypt-hash` lines as `htpasswd -B` writes them.

use std::collections::{HashMap, HashSet};
use std::fmt;
use std::fs::Metadata;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::HeaderValue;
use oci::{Algorithm, Digest, Hasher};
use tokio::sync::Semaphore;

use crate::config::read_bounded;
use crate::error::Error;
use crate::limits;

/// A user name with a password. Its `Debug` shows no password.
pub(crate) struct Login {
    user: String,
    password: String,
}

impl fmt::Debug for Login {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Login").field("user", &self.user).field("password", &"***").finish()
    }
}

impl Login {
    /// A pair that came by another way than the header.
    pub(crate) fn new(user: String, password: String) -> Self {
        Self { user, password }
    }

    /// Reads a `Basic` header. Anything else, and a pair without a user, is nobody.
    pub(crate) fn parse(header: Option<&HeaderValue>) -> Option<Self> {
        let (kind, encoded) = header?.to_str().ok()?.split_once(' ')?;
        if !kind.eq_ignore_ascii_case("basic") {
            return None;
        }
        let text = String::from_utf8(STANDARD.decode(encoded.trim()).ok()?).ok()?;
        let (user, password) = text.split_once(':')?;
        (!user.is_empty()).then(|| Self::new(user.to_owned(), password.to_owned()))
    }

    /// The user name, once the password was right.
    pub(crate) fn into_user(self) -> String {
        self.user
    }
}

/// An htpasswd file that is read again when it changes.
pub(crate) struct Htpasswd {
    path: PathBuf,
    loaded: Mutex<Loaded>,
    turns: Semaphore,
}

struct Loaded {
    stamp: Stamp,
    users: Arc<HashMap<String, String>>,
    // Hashes of pairs that were right with this version of the file.
    verified: HashSet<Digest>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Stamp(u64, i64, i64, u64);

impl Stamp {
    fn of(metadata: &Metadata) -> Self {
        Self(metadata.ino(), metadata.mtime(), metadata.mtime_nsec(), metadata.len())
    }
}

impl Htpasswd {
    /// Reads the file; every line must be usable.
    pub(crate) fn open(path: &Path) -> Result<Self, Error> {
        let loaded = Mutex::new(load(path)?);
        Ok(Self {
            path: path.to_owned(),
            loaded,
            turns: Semaphore::new(limits::PASSWORD_CHECKS_MAX),
        })
    }

    /// Whether the password is the user's. An unknown user takes as long as a wrong password.
    pub(crate) async fn check(&self, login: &Login) -> bool {
        let pair = fingerprint(login);
        let (hash, known) = match self.hash_of(login, &pair) {
            Found::Verified => return true,
            Found::Nobody => return false,
            Found::User(hash) => (hash, true),
            Found::Other(hash) => (hash, false),
        };
        // Nobody closes the semaphore; a closed one lets nobody in.
        let Ok(_turn) = self.turns.acquire().await else { return false };
        let password = login.password.clone();
        let verify = move || bcrypt::verify(password, &hash).unwrap_or(false);
        let right = tokio::task::spawn_blocking(verify).await.unwrap_or(false) && known;
        if right {
            let mut loaded = self.locked();
            if loaded.verified.len() >= limits::VERIFIED_PASSWORDS_MAX {
                loaded.verified.clear();
            }
            loaded.verified.insert(pair);
        }
        right
    }

    fn hash_of(&self, login: &Login, pair: &Digest) -> Found {
        let stamp = std::fs::metadata(&self.path).map(|metadata| Stamp::of(&metadata)).ok();
        let mut loaded = self.locked();
        if stamp.is_some_and(|stamp| stamp != loaded.stamp) {
            match load(&self.path) {
                Ok(fresh) => *loaded = fresh,
                // The users that were there stay until the file is right again.
                Err(error) => {
                    tracing::warn!(error = %crate::fault::chain(&error), "keeping the users read before")
                }
            }
        }
        if loaded.verified.contains(pair) {
            return Found::Verified;
        }
        match (loaded.users.get(&login.user), loaded.users.values().next()) {
            (Some(hash), _) => Found::User(hash.clone()),
            (None, Some(other)) => Found::Other(other.clone()),
            (None, None) => Found::Nobody,
        }
    }

    fn locked(&self) -> std::sync::MutexGuard<'_, Loaded> {
        self.loaded.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What there is to compare a password with.
enum Found {
    /// Nothing: this pair was right before.
    Verified,
    /// The user's hash.
    User(String),
    /// Somebody else's hash: the user is unknown, and the answer must not come sooner for it.
    Other(String),
    /// The file has no users.
    Nobody,
}

fn fingerprint(login: &Login) -> Digest {
    let mut hasher = Hasher::new(Algorithm::Sha512);
    hasher.update(&(login.user.len() as u64).to_le_bytes());
    hasher.update(login.user.as_bytes());
    hasher.update(login.password.as_bytes());
    hasher.finish()
}

fn load(path: &Path) -> Result<Loaded, Error> {
    let text = read_bounded("the htpasswd file", path, limits::HTPASSWD_BYTES_MAX)?;
    let metadata = std::fs::metadata(path);
    let stamp = metadata.map(|metadata| Stamp::of(&metadata)).unwrap_or_default();
    let mut users = HashMap::new();
    for (at, line) in text.lines().enumerate() {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let (user, hash) = parse_line(line).map_err(|reason| Error::Htpasswd {
            path: path.to_owned(),
            line: at + 1,
            reason,
        })?;
        users.insert(user.to_owned(), hash.to_owned());
    }
    Ok(Loaded { stamp, users: Arc::new(users), verified: HashSet::new() })
}

fn parse_line(line: &str) -> Result<(&str, &str), &'static str> {
    let (user, hash) = line.split_once(':').ok_or("expected user:hash")?;
    if user.is_empty() {
        return Err("the user name is empty");
    }
    let mut parts = hash.split('$');
    let (Some(""), Some(version), Some(cost), Some(rest), None) =
        (parts.next(), parts.next(), parts.next(), parts.next(), parts.next())
    else {
        return Err("only bcrypt hashes are accepted: make the line with `htpasswd -B`");
    };
    if !matches!(version, "2a" | "2b" | "2x" | "2y") || rest.len() != 53 {
        return Err("only bcrypt hashes are accepted: make the line with `htpasswd -B`");
    }
    match cost.parse::<u32>() {
        Ok(4..=limits::BCRYPT_COST_MAX) => Ok((user, hash)),
        _ => Err("the bcrypt cost is not between 4 and 14"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(lines: &[(&str, &str)]) -> tempfile::NamedTempFile {
        let file = tempfile::NamedTempFile::new().expect("a file");
        write(file.path(), lines);
        file
    }

    fn write(path: &Path, lines: &[(&str, &str)]) {
        let lines: String = lines
            .iter()
            .map(|(user, password)| {
                format!("{user}:{}\n", bcrypt::hash(password, 4).expect("a hash"))
            })
            .collect();
        std::fs::write(path, format!("# users\n\n{lines}")).expect("written");
    }

    fn login(user: &str, password: &str) -> Login {
        Login::new(user.to_owned(), password.to_owned())
    }

    #[tokio::test]
    async fn only_the_right_password_of_a_known_user_passes() {
        let file = file(&[("alice", "secret"), ("bob", "ü:ü")]);
        let users = Htpasswd::open(file.path()).expect("a file");
        for (user, password, right) in [
            ("alice", "secret", true),
            ("alice", "secret", true),
            ("alice", "Secret", false),
            ("alice", "", false),
            ("bob", "ü:ü", true),
            ("bob", "secret", false),
            ("eve", "secret", false),
            ("alicesecret", "", false),
        ] {
            assert_eq!(users.check(&login(user, password)).await, right, "{user} {password}");
        }
    }

    #[tokio::test]
    async fn a_changed_file_is_read_again_and_a_broken_one_is_not_taken() {
        let file = file(&[("alice", "old")]);
        let users = Htpasswd::open(file.path()).expect("a file");
        assert!(users.check(&login("alice", "old")).await);
        write(file.path(), &[("alice", "changed"), ("b", "b")]);
        assert!(!users.check(&login("alice", "old")).await, "the remembered password is forgotten");
        assert!(users.check(&login("alice", "changed")).await);
        std::fs::write(file.path(), "alice:plain\n").expect("written");
        assert!(users.check(&login("alice", "changed")).await);
        assert!(!users.check(&login("alice", "plain")).await);
    }

    #[test]
    fn a_bad_line_is_named_by_number_and_never_shown() {
        for (line, reason) in [
            ("alice", "user:hash"),
            (":x", "empty"),
            ("alice:plainpassword", "bcrypt"),
            ("alice:$apr1$abcdefgh$ijklmnopqrstuvwxyzabcd", "bcrypt"),
            ("alice:{SHA}secret", "bcrypt"),
            ("alice:$2y$31$abcdefghijklmnopqrstuuabcdefghijklmnopqrstuvwxyzabcde", "cost"),
        ] {
            let file = tempfile::NamedTempFile::new().expect("a file");
            std::fs::write(file.path(), format!("# first\n{line}\n")).expect("written");
            let Err(error) = Htpasswd::open(file.path()) else { panic!("accepted {line}") };
            let message = error.to_string();
            assert!(message.contains("line 2") && message.contains(reason), "{message}");
            assert!(!message.contains("plainpassword") && !message.contains("secret"), "{message}");
        }
    }

    #[test]
    fn only_a_basic_header_with_a_user_is_a_login() {
        let parse = |text: &str| Login::parse(Some(&HeaderValue::from_str(text).expect("a value")));
        let encode = |text: &str| format!("Basic {}", STANDARD.encode(text));
        let good = parse(&encode("a:b:c")).expect("a login");
        assert_eq!((good.user.as_str(), good.password.as_str()), ("a", "b:c"));
        assert!(!format!("{good:?}").contains("b:c"));
        for bad in [
            encode(":b"),
            encode("ab"),
            "Basic !".to_owned(),
            "Bearer YTpi".to_owned(),
            "Basic".to_owned(),
        ] {
            assert!(parse(&bad).is_none(), "{bad}");
        }
    }
}
