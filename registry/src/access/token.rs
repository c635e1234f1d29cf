//! Bearer tokens: JSON Web Tokens with the `access` claim that registries and their clients agree
//! on. Our own are signed with Ed25519.

use std::path::Path;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ed25519_dalek::pkcs8::DecodePrivateKey;
use ed25519_dalek::{Signer, SigningKey};
use serde::{Deserialize, Serialize};

use super::htpasswd::{Htpasswd, Login};
use super::issuer_key::IssuerKey;
use super::rights::{Action, Rights};
use crate::clock;
use crate::config::{ExternalTokenAuth, TokenAuth, read_bounded};
use crate::error::Error;
use crate::limits;
use crate::name::RepositoryName;

/// Seconds by which the clock of another issuer may be off.
const LEEWAY_SECONDS: u64 = 60;

const HEADER: &str = "{\"alg\":\"EdDSA\",\"typ\":\"JWT\"}";

/// What a token allows in one repository.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Scope {
    #[serde(rename = "type")]
    kind: String,
    name: String,
    actions: Vec<String>,
}

impl Scope {
    /// Reads `repository:<name>:<action>,<action>`. The name may hold colons (a host's port).
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let (kind, rest) = text.split_once(':')?;
        let (name, actions) = rest.rsplit_once(':')?;
        let actions = actions.split(',').filter(|a| !a.is_empty()).map(str::to_owned).collect();
        Some(Self { kind: kind.to_owned(), name: name.to_owned(), actions })
    }

    /// Whether it covers the action.
    pub(crate) fn allows(&self, action: Action, name: &RepositoryName) -> bool {
        self.kind == "repository"
            && self.name == name.as_str()
            && self.actions.iter().any(|granted| granted == action.as_str() || granted == "*")
    }

    /// What of it `user` really may do.
    fn granted(&self, rights: &Rights, user: Option<&str>) -> Option<Self> {
        let name: RepositoryName = self.name.parse().ok().filter(|_| self.kind == "repository")?;
        let asked = |action: &Action| self.actions.iter().any(|a| a == action.as_str() || a == "*");
        let all = [Action::Pull, Action::Push, Action::Delete];
        let actions: Vec<String> = all
            .iter()
            .filter(|action| asked(action) && rights.allow(user, **action, &name))
            .map(|action| action.as_str().to_owned())
            .collect();
        (!actions.is_empty()).then(|| Self { actions, ..self.clone() })
    }
}

#[derive(Debug, Serialize, Deserialize)]
struct Claims {
    iss: String,
    #[serde(default)]
    sub: String,
    aud: Audience,
    exp: u64,
    #[serde(default)]
    nbf: u64,
    #[serde(default)]
    iat: u64,
    #[serde(default)]
    access: Vec<Scope>,
}

/// RFC 7519, section 4.1.3: one audience or several.
#[derive(Debug, Serialize, Deserialize)]
#[serde(untagged)]
enum Audience {
    One(String),
    Several(Vec<String>),
}

/// What a good token says.
#[derive(Clone, Debug)]
pub(crate) struct TokenGrant {
    /// Whom it was issued to.
    pub(crate) subject: Option<String>,
    /// What it allows.
    pub(crate) scopes: Arc<[Scope]>,
}

/// Checks tokens of one issuer for one service.
#[derive(Clone, Debug)]
pub(crate) struct Checker {
    key: IssuerKey,
    issuer: String,
    service: String,
}

impl Checker {
    /// A checker for the tokens of somebody else.
    pub(crate) fn external(auth: &ExternalTokenAuth) -> Result<Self, Error> {
        let path = &auth.public_key;
        let pem = read_bounded("the token key", path, limits::CONFIG_BYTES_MAX)?;
        let key = IssuerKey::from_pem(&pem).ok_or_else(|| Error::Key {
            what: "the token key",
            path: path.clone(),
            reason:
                "expected a public key in PEM: Ed25519, ECDSA P-256 or RSA of 2048 bits and more"
                    .to_owned(),
        })?;
        Ok(Self { key, issuer: auth.issuer.clone(), service: auth.service.clone() })
    }

    /// The name of this registry inside tokens.
    pub(crate) fn service(&self) -> &str {
        &self.service
    }

    /// What a token says, or why it is not good.
    pub(crate) fn check(&self, token: &str) -> Result<TokenGrant, &'static str> {
        let (signed, signature) = token.rsplit_once('.').ok_or("the token is malformed")?;
        let (header, payload) = signed.split_once('.').ok_or("the token is malformed")?;
        let decode =
            |text: &str| URL_SAFE_NO_PAD.decode(text).map_err(|_| "the token is malformed");
        let signature = decode(signature)?;
        // The algorithm is ours, not the token's to choose; the header only has to agree.
        let header: serde_json::Value =
            serde_json::from_slice(&decode(header)?).map_err(|_| "the token is malformed")?;
        if header["alg"] != self.key.algorithm() {
            return Err(
                "the token is signed with an algorithm other than that of the issuer's key",
            );
        }
        if !self.key.verifies(signed.as_bytes(), &signature) {
            return Err("the token is not signed by the issuer that this registry trusts");
        }
        let claims: Claims =
            serde_json::from_slice(&decode(payload)?).map_err(|_| "the token is malformed")?;
        self.judge(claims, clock::unix_seconds())
    }

    fn judge(&self, claims: Claims, now: u64) -> Result<TokenGrant, &'static str> {
        if claims.iss != self.issuer {
            return Err("the token has another issuer");
        }
        let ours = match &claims.aud {
            Audience::One(service) => *service == self.service,
            Audience::Several(services) => services.contains(&self.service),
        };
        if !ours {
            return Err("the token is for another service");
        }
        if now >= claims.exp.saturating_add(LEEWAY_SECONDS) {
            return Err("the token has expired");
        }
        if now.saturating_add(LEEWAY_SECONDS) < claims.nbf {
            return Err("the token is not valid yet");
        }
        let subject = Some(claims.sub).filter(|subject| !subject.is_empty());
        Ok(TokenGrant { subject, scopes: claims.access.into() })
    }
}

/// Issues tokens to the users of an htpasswd file.
pub(crate) struct Issuer {
    key: SigningKey,
    service: String,
    lifetime_seconds: u64,
    users: Htpasswd,
    rights: Arc<Rights>,
}

/// The answer of the token endpoint.
#[derive(Debug, Serialize)]
pub(crate) struct Issued {
    token: String,
    access_token: String,
    expires_in: u64,
    issued_at: String,
}

impl Issuer {
    /// An issuer with the configured key, or one of its own making.
    pub(crate) fn new(
        auth: &TokenAuth,
        users: Htpasswd,
        rights: Arc<Rights>,
    ) -> Result<Self, Error> {
        let key = match &auth.signing_key {
            Some(path) => read_signing_key(path)?,
            None => {
                let mut seed = [0u8; 32];
                getrandom::fill(&mut seed).map_err(|error| {
                    Error::config(format!("no randomness for a token key: {error}"))
                })?;
                SigningKey::from_bytes(&seed)
            }
        };
        let (service, lifetime_seconds) = (auth.service.clone(), auth.token_seconds);
        Ok(Self { key, service, lifetime_seconds, users, rights })
    }

    /// What checks these tokens.
    pub(crate) fn checker(&self) -> Checker {
        Checker {
            key: IssuerKey::Ed25519(self.key.verifying_key()),
            issuer: self.service.clone(),
            service: self.service.clone(),
        }
    }

    /// The name of this registry inside tokens.
    pub(crate) fn service(&self) -> &str {
        &self.service
    }

    /// A token for whoever logs in, or for nobody in particular, with as much of the wanted
    /// scopes as the rules give. `None` when the password is wrong.
    pub(crate) async fn issue(&self, login: Option<Login>, scopes: &[Scope]) -> Option<Issued> {
        let user = match login {
            Some(login) if self.users.check(&login).await => Some(login.into_user()),
            Some(_) => return None,
            None => None,
        };
        let access: Vec<Scope> = scopes
            .iter()
            .filter_map(|scope| scope.granted(&self.rights, user.as_deref()))
            .collect();
        let now = clock::unix_seconds();
        let claims = Claims {
            iss: self.service.clone(),
            sub: user.unwrap_or_default(),
            aud: Audience::One(self.service.clone()),
            exp: now + self.lifetime_seconds,
            nbf: now,
            iat: now,
            access,
        };
        let token = self.sign(&claims)?;
        Some(Issued {
            access_token: token.clone(),
            token,
            expires_in: self.lifetime_seconds,
            issued_at: clock::timestamp(),
        })
    }

    fn sign(&self, claims: &Claims) -> Option<String> {
        let payload = serde_json::to_vec(claims).ok()?;
        let signed =
            format!("{}.{}", URL_SAFE_NO_PAD.encode(HEADER), URL_SAFE_NO_PAD.encode(payload));
        let signature = self.key.sign(signed.as_bytes()).to_bytes();
        Some(format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature)))
    }
}

fn read_signing_key(path: &Path) -> Result<SigningKey, Error> {
    let pem = read_bounded("the signing key", path, limits::CONFIG_BYTES_MAX)?;
    SigningKey::from_pkcs8_pem(&pem).map_err(|_| Error::Key {
        what: "the signing key",
        path: path.to_owned(),
        reason: "expected an Ed25519 private key in PKCS#8 PEM".to_owned(),
    })
}

/// The challenge that sends a client to the token endpoint.
pub(super) fn challenge(
    realm: &str,
    service: &str,
    needs: &[(Action, RepositoryName)],
    had_token: bool,
) -> String {
    let mut text = format!("Bearer realm=\"{realm}\",service=\"{service}\"");
    let scopes = scope_texts(needs);
    if !scopes.is_empty() {
        text.push_str(&format!(",scope=\"{}\"", scopes.join(" ")));
    }
    if had_token {
        let error = if needs.is_empty() { "invalid_token" } else { "insufficient_scope" };
        text.push_str(&format!(",error=\"{error}\""));
    }
    text
}

fn scope_texts(needs: &[(Action, RepositoryName)]) -> Vec<String> {
    let mut by_name: Vec<(&RepositoryName, Vec<&str>)> = Vec::new();
    // Who pushes also looks: every client asks for both at once.
    let wanted = needs.iter().flat_map(|(action, name)| {
        let look = (*action == Action::Push).then_some((Action::Pull, name));
        look.into_iter().chain([(*action, name)])
    });
    for (action, name) in wanted {
        match by_name.iter_mut().find(|(known, _)| *known == name) {
            Some((_, actions)) if actions.contains(&action.as_str()) => {}
            Some((_, actions)) => actions.push(action.as_str()),
            None => by_name.push((name, vec![action.as_str()])),
        }
    }
    by_name
        .iter()
        .map(|(name, actions)| format!("repository:{name}:{}", actions.join(",")))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::super::rights::{Grant, RepositoryPattern};
    use super::*;

    fn issuer(grants: &[Grant]) -> Issuer {
        let file = tempfile::NamedTempFile::new().expect("a file");
        let line = format!("alice:{}\n", bcrypt::hash("secret", 4).expect("a hash"));
        std::fs::write(file.path(), line).expect("written");
        let auth = TokenAuth {
            htpasswd: file.path().to_owned(),
            service: "test".to_owned(),
            realm: None,
            token_seconds: 300,
            signing_key: None,
        };
        let users = Htpasswd::open(file.path()).expect("users");
        // Open descriptors outlive the path: only a later re-read would miss the file.
        Issuer::new(&auth, users, Arc::new(Rights::new(grants))).expect("an issuer")
    }

    fn grant(user: &str, repository: &str, actions: &[Action]) -> Grant {
        Grant {
            users: vec![user.to_owned()],
            repositories: vec![
                RepositoryPattern::try_from(repository.to_owned()).expect("a pattern"),
            ],
            actions: actions.to_vec(),
        }
    }

    fn alice() -> Option<Login> {
        Some(Login::new("alice".to_owned(), "secret".to_owned()))
    }

    fn scope(text: &str) -> Scope {
        Scope::parse(text).expect("a scope")
    }

    #[tokio::test]
    async fn a_token_holds_what_was_asked_and_allowed_and_nothing_else() {
        let issuer = issuer(&[grant("alice", "a/**", &[Action::Pull, Action::Push])]);
        let asked = [
            scope("repository:a/x:pull,push,delete"),
            scope("repository:b:pull"),
            scope("registry:catalog:*"),
        ];
        let issued = issuer.issue(alice(), &asked).await.expect("a token");
        let read = issuer.checker().check(&issued.token).expect("good");
        assert_eq!(read.subject.as_deref(), Some("alice"));
        assert_eq!(*read.scopes, [scope("repository:a/x:pull,push")]);
        let name: RepositoryName = "a/x".parse().expect("a name");
        assert!(
            read.scopes[0].allows(Action::Push, &name)
                && !read.scopes[0].allows(Action::Delete, &name)
        );
    }

    #[tokio::test]
    async fn a_wrong_password_gives_no_token_and_nobody_an_anonymous_one() {
        let issuer = issuer(&[grant("anonymous", "public", &[Action::Pull])]);
        let wrong = Some(Login::new("alice".to_owned(), "wrong".to_owned()));
        assert!(issuer.issue(wrong, &[]).await.is_none());
        let asked = [scope("repository:public:pull,push"), scope("repository:private:pull")];
        let issued = issuer.issue(None, &asked).await.expect("a token");
        let read = issuer.checker().check(&issued.token).expect("good");
        assert_eq!((read.subject, &*read.scopes), (None, &[scope("repository:public:pull")][..]));
    }

    #[tokio::test]
    async fn a_changed_token_is_not_good() {
        let issuer = issuer(&[]);
        let issued = issuer.issue(alice(), &[scope("repository:a:pull")]).await.expect("a token");
        let checker = issuer.checker();
        for at in 0..issued.token.len() {
            let mut bytes = issued.token.clone().into_bytes();
            bytes[at] = if bytes[at] == b'A' { b'B' } else { b'A' };
            let changed = String::from_utf8(bytes).expect("text");
            // The last character of a part may hold bits that do not count.
            if let Ok(read) = checker.check(&changed) {
                assert_eq!(*read.scopes, [scope("repository:a:pull")], "at {at}");
                assert!(
                    changed[at + 1..].is_empty() || changed.as_bytes()[at + 1] == b'.',
                    "at {at}"
                );
            }
        }
        let none = format!(
            "{}.{}.",
            URL_SAFE_NO_PAD.encode("{\"alg\":\"none\"}"),
            issued.token.split('.').nth(1).expect("a payload")
        );
        for bad in ["", ".", "..", "a.b.c", none.as_str()] {
            assert!(checker.check(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn issuer_audience_and_times_are_judged() {
        let checker = issuer(&[]).checker();
        let claims = |change: &dyn Fn(&mut Claims)| {
            let mut claims = Claims {
                iss: "test".to_owned(),
                sub: "s".to_owned(),
                aud: Audience::One("test".to_owned()),
                exp: 2000,
                nbf: 1000,
                iat: 1000,
                access: Vec::new(),
            };
            change(&mut claims);
            checker.judge(claims, 1500).map(|_| ())
        };
        assert_eq!(claims(&|_| {}), Ok(()));
        assert_eq!(
            claims(&|c| c.aud = Audience::Several(vec!["x".to_owned(), "test".to_owned()])),
            Ok(())
        );
        assert!(claims(&|c| c.iss = "other".to_owned()).is_err());
        assert!(claims(&|c| c.aud = Audience::One("other".to_owned())).is_err());
        assert!(claims(&|c| c.aud = Audience::Several(Vec::new())).is_err());
        assert!(claims(&|c| c.exp = 1500 - LEEWAY_SECONDS).is_err());
        assert!(claims(&|c| c.nbf = 1501 + LEEWAY_SECONDS).is_err());
    }

    #[test]
    fn the_challenge_names_every_scope_once_per_repository() {
        let name = |text: &str| text.parse::<RepositoryName>().expect("a name");
        let needs =
            [(Action::Pull, name("a")), (Action::Push, name("a")), (Action::Pull, name("b"))];
        assert_eq!(
            challenge("http://h/token", "s", &needs, false),
            "Bearer realm=\"http://h/token\",service=\"s\",scope=\"repository:a:pull,push repository:b:pull\""
        );
        assert!(challenge("r", "s", &[], true).ends_with(",error=\"invalid_token\""));
        assert!(challenge("r", "s", &needs, true).ends_with(",error=\"insufficient_scope\""));
    }

    #[test]
    fn a_scope_name_may_hold_a_port() {
        let read = scope("repository:localhost:5000/a:pull,");
        assert_eq!((read.name.as_str(), read.actions.len()), ("localhost:5000/a", 1));
        assert_eq!(Scope::parse("repository"), None);
    }
}
