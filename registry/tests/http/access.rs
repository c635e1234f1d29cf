//! Who may do what: htpasswd, tokens, per-repository rights.

use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use oci::Digest;
use registry::config::{Auth, BasicAuth, Config, ExternalTokenAuth, TokenAuth};
use registry::{Action, Grant, RepositoryPattern};

use crate::site::{Answer, Site};

fn users(folder: &Path, names: &[&str]) -> PathBuf {
    let path = folder.join("htpasswd");
    let line = |name: &&str| {
        format!("{name}:{}\n", bcrypt::hash(format!("{name}-secret"), 4).expect("a hash"))
    };
    std::fs::write(&path, names.iter().map(line).collect::<String>()).expect("written");
    path
}

fn grant(user: &str, repository: &str, actions: &[Action]) -> Grant {
    Grant {
        users: vec![user.to_owned()],
        repositories: vec![RepositoryPattern::try_from(repository.to_owned()).expect("a pattern")],
        actions: actions.to_vec(),
    }
}

fn rules() -> Vec<Grant> {
    vec![
        grant("anonymous", "public/**", &[Action::Pull]),
        grant("*", "public/**", &[Action::Pull]),
        grant("builder", "**", &[Action::Pull, Action::Push]),
        grant("admin", "**", &[Action::Pull, Action::Push, Action::Delete]),
    ]
}

fn basic(user: &str) -> String {
    format!("Basic {}", STANDARD.encode(format!("{user}:{user}-secret")))
}

fn with_basic(folder: &Path) -> Site {
    let htpasswd = users(folder, &["builder", "admin", "eve"]);
    Site::with(|config: &mut Config| {
        config.auth = Auth::Basic(BasicAuth { htpasswd, realm: "here".to_owned() });
        config.access = rules();
    })
}

async fn as_user(site: &Site, user: &str, method: &str, path: &str) -> Answer {
    site.send(method, path, &[("authorization", &basic(user))], "").await
}

#[tokio::test]
async fn basic_users_get_in_with_their_password_and_nobody_else() {
    let folder = tempfile::tempdir().expect("a folder");
    let site = with_basic(folder.path());
    let probe = site.get("/v2/").await;
    probe.refused(401, "UNAUTHORIZED");
    assert_eq!(probe.header("www-authenticate"), "Basic realm=\"here\", charset=\"UTF-8\"");
    as_user(&site, "eve", "GET", "/v2/").await.is(200);
    let wrong = STANDARD.encode("eve:wrong");
    for header in [format!("Basic {wrong}"), format!("Basic {}", STANDARD.encode("nobody:x"))] {
        site.send("GET", "/v2/", &[("authorization", &header)], "")
            .await
            .refused(401, "UNAUTHORIZED");
    }
    assert!(!site.log.text().contains("secret") && !site.log.text().contains("wrong"));
}

#[tokio::test]
async fn rights_are_per_repository_and_action() {
    let folder = tempfile::tempdir().expect("a folder");
    let site = with_basic(folder.path());
    let digest = Digest::sha256(b"x");
    for name in ["public/a", "private"] {
        let path = format!("/v2/{name}/blobs/uploads/?digest={digest}");
        site.send("POST", &path, &[("authorization", &basic("builder"))], "x").await.is(201);
    }
    let (public, private) =
        (format!("/v2/public/a/blobs/{digest}"), format!("/v2/private/blobs/{digest}"));
    site.get(&public).await.is(200);
    site.get(&private).await.refused(401, "UNAUTHORIZED");
    as_user(&site, "eve", "GET", &public).await.is(200);
    as_user(&site, "eve", "GET", &private).await.refused(403, "DENIED");
    as_user(&site, "eve", "POST", "/v2/public/a/blobs/uploads/").await.refused(403, "DENIED");
    as_user(&site, "builder", "DELETE", &private).await.refused(403, "DENIED");
    as_user(&site, "admin", "DELETE", &private).await.is(202);
    let catalog = as_user(&site, "eve", "GET", "/v2/_catalog").await.is(200).json();
    assert_eq!(catalog["repositories"], serde_json::json!(["public/a"]));
    site.get("/healthz").await.is(200);
}

/// Covers: DST-15
#[tokio::test]
async fn a_mount_gives_out_only_what_a_pull_would() {
    let folder = tempfile::tempdir().expect("a folder");
    let htpasswd = users(folder.path(), &["builder", "guest"]);
    let site = Site::with(|config| {
        config.auth = Auth::Basic(BasicAuth { htpasswd, realm: "here".to_owned() });
        config.access = rules();
        config.access.push(grant("guest", "guest/**", &[Action::Pull, Action::Push]));
    });
    let digest = Digest::sha256(b"x");
    let push = format!("/v2/private/blobs/uploads/?digest={digest}");
    site.send("POST", &push, &[("authorization", &basic("builder"))], "x").await.is(201);
    for query in [format!("mount={digest}&from=private"), format!("mount={digest}")] {
        as_user(&site, "guest", "POST", &format!("/v2/guest/a/blobs/uploads/?{query}"))
            .await
            .is(202);
        as_user(&site, "builder", "POST", &format!("/v2/other/blobs/uploads/?{query}"))
            .await
            .is(201);
    }
    as_user(&site, "guest", "GET", &format!("/v2/guest/a/blobs/{digest}")).await.is(404);
}

fn with_tokens(folder: &Path) -> Site {
    let htpasswd = users(folder, &["builder", "admin"]);
    Site::with(|config| {
        config.auth = Auth::Token(TokenAuth {
            htpasswd,
            service: "test".to_owned(),
            realm: None,
            token_seconds: 300,
            signing_key: None,
        });
        config.access = rules();
    })
}

#[tokio::test]
async fn a_client_follows_the_challenge_to_a_token_that_opens_what_it_names() {
    let folder = tempfile::tempdir().expect("a folder");
    let site = with_tokens(folder.path());
    site.get("/v2/").await.refused(401, "UNAUTHORIZED");
    let refused = site.send("POST", "/v2/private/blobs/uploads/", &[], "").await;
    refused.refused(401, "UNAUTHORIZED");
    let challenge = refused.header("www-authenticate").to_owned();
    let part = |key: &str| {
        let start = challenge.find(&format!("{key}=\"")).expect("a part") + key.len() + 2;
        challenge[start..].split('"').next().expect("an end").to_owned()
    };
    assert_eq!(part("scope"), "repository:private:pull,push");
    assert_eq!(part("realm"), site.url("/token"));
    let path = format!("{}?service={}&scope={}", part("realm"), part("service"), part("scope"));
    site.send(
        "GET",
        &path,
        &[("authorization", &format!("Basic {}", STANDARD.encode("builder:wrong")))],
        "",
    )
    .await
    .refused(401, "UNAUTHORIZED");
    let issued =
        site.send("GET", &path, &[("authorization", &basic("builder"))], "").await.is(200).json();
    assert_eq!(
        (issued["expires_in"].as_u64(), &issued["token"]),
        (Some(300), &issued["access_token"])
    );
    let bearer = format!("Bearer {}", issued["token"].as_str().expect("a token"));
    site.send("GET", "/v2/", &[("authorization", &bearer)], "").await.is(200);
    site.send("POST", "/v2/private/blobs/uploads/", &[("authorization", &bearer)], "")
        .await
        .is(202);
    let elsewhere =
        site.send("POST", "/v2/other/blobs/uploads/", &[("authorization", &bearer)], "").await;
    elsewhere.refused(401, "UNAUTHORIZED");
    assert!(
        elsewhere
            .header("www-authenticate")
            .contains("scope=\"repository:other:pull,push\",error=\"insufficient_scope\"")
    );
    let forged = format!("{}A", &bearer[..bearer.len() - 20]);
    site.send("GET", "/v2/", &[("authorization", &forged)], "").await.refused(401, "UNAUTHORIZED");
}

#[tokio::test]
async fn a_token_can_be_had_by_form_and_without_a_user() {
    let folder = tempfile::tempdir().expect("a folder");
    let site = with_tokens(folder.path());
    let form = "grant_type=password&username=builder&password=builder-secret&service=test&scope=repository%3Aa%3Apull%2Cpush";
    let issued = site
        .send("POST", "/token", &[("content-type", "application/x-www-form-urlencoded")], form)
        .await
        .is(200)
        .json();
    let bearer = format!("Bearer {}", issued["access_token"].as_str().expect("a token"));
    site.send("POST", "/v2/a/blobs/uploads/", &[("authorization", &bearer)], "").await.is(202);
    let refresh =
        site.send("POST", "/token", &[], "grant_type=refresh_token&refresh_token=x").await;
    refresh.refused(400, "UNSUPPORTED");
    let anonymous =
        site.get("/token?service=test&scope=repository:public/a:pull,push").await.is(200).json();
    let bearer = format!("Bearer {}", anonymous["token"].as_str().expect("a token"));
    site.send("GET", "/v2/public/a/tags/list", &[("authorization", &bearer)], "")
        .await
        .refused(404, "NAME_UNKNOWN");
    site.send("POST", "/v2/public/a/blobs/uploads/", &[("authorization", &bearer)], "")
        .await
        .refused(401, "UNAUTHORIZED");
}

#[tokio::test]
async fn one_token_may_hold_several_scopes() {
    let folder = tempfile::tempdir().expect("a folder");
    let site = with_tokens(folder.path());
    let path = "/token?service=test&scope=repository:a:pull,push&scope=repository:b:pull%20repository:c:push";
    let issued =
        site.send("GET", path, &[("authorization", &basic("builder"))], "").await.is(200).json();
    let bearer = format!("Bearer {}", issued["token"].as_str().expect("a token"));
    let status = async |method: &str, name: &str| {
        let path = if method == "POST" {
            format!("/v2/{name}/blobs/uploads/")
        } else {
            format!("/v2/{name}/tags/list")
        };
        site.send(method, &path, &[("authorization", &bearer)], "").await.status.as_u16()
    };
    assert_eq!(
        [status("POST", "a").await, status("GET", "a").await, status("GET", "b").await],
        [202, 404, 404]
    );
    assert_eq!(
        [status("POST", "b").await, status("POST", "c").await, status("GET", "c").await],
        [401, 202, 401]
    );
}

#[tokio::test]
async fn tokens_of_another_issuer_are_checked_with_its_key() {
    use ed25519_dalek::pkcs8::EncodePublicKey;
    use ed25519_dalek::{Signer, SigningKey};
    let folder = tempfile::tempdir().expect("a folder");
    let key = SigningKey::from_bytes(&[7; 32]);
    let public_key = folder.path().join("key.pem");
    let pem = key.verifying_key().to_public_key_pem(Default::default()).expect("a PEM");
    std::fs::write(&public_key, pem).expect("written");
    let site = Site::with(|config| {
        config.auth = Auth::ExternalToken(ExternalTokenAuth {
            realm: "https://auth.example/token".to_owned(),
            service: "reg".to_owned(),
            issuer: "auth.example".to_owned(),
            public_key,
        });
    });
    let token = |key: &SigningKey, audience: &str| {
        let encode = |text: &str| base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(text);
        let now = std::time::SystemTime::now()
            .duration_since(std::time::UNIX_EPOCH)
            .expect("after 1970")
            .as_secs();
        let claims = serde_json::json!({
            "iss": "auth.example", "sub": "carol", "aud": audience, "exp": now + 60,
            "access": [{ "type": "repository", "name": "a", "actions": ["pull", "push"] }],
        });
        let signed = format!(
            "{}.{}",
            encode("{\"typ\":\"JWT\",\"alg\":\"EdDSA\"}"),
            encode(&claims.to_string())
        );
        let signature = key.sign(signed.as_bytes()).to_bytes();
        format!(
            "Bearer {signed}.{}",
            base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(signature)
        )
    };
    let challenge = site.get("/v2/").await;
    assert!(
        challenge
            .header("www-authenticate")
            .starts_with("Bearer realm=\"https://auth.example/token\",service=\"reg\"")
    );
    let post = async |bearer: String| {
        site.send("POST", "/v2/a/blobs/uploads/", &[("authorization", &bearer)], "").await
    };
    post(token(&key, "reg")).await.is(202);
    post(token(&key, "other")).await.refused(401, "UNAUTHORIZED");
    post(token(&SigningKey::from_bytes(&[8; 32]), "reg")).await.refused(401, "UNAUTHORIZED");
    assert_eq!(site.get("/token").await.status, 404, "tokens are had elsewhere");
    assert!(site.log.text().contains(" carol POST "));
}
