use proptest::prelude::*;

use super::*;

fn config(text: &str) -> DockerConfig {
    DockerConfig::parse(text.as_bytes()).expect("valid")
}

fn found(config: &DockerConfig, registry: &str, repository: &str) -> Option<Credential> {
    config.lookup(registry, repository).expect("readable").into_iter().find_map(|place| match place
    {
        Lookup::Found(credential) => Some(credential),
        Lookup::Helper { .. } => None,
    })
}

/// Covers: DST-34
#[test]
fn keys_may_carry_scheme_and_path_and_the_hub_has_its_own() {
    let bob = STANDARD.encode("bob:pw");
    let table = [
        ("https://index.docker.io/v1/", "docker.io", true),
        ("docker.io", "docker.io", true),
        ("index.docker.io", "docker.io", true),
        ("https://h:5000/v2/", "h:5000", true),
        ("http://h:5000", "h:5000", true),
        ("h:5000", "h:5000", true),
        ("h:5000", "h", false),
        ("h", "h:5000", false),
        ("h.evil", "h", false),
    ];
    for (key, registry, matches) in table {
        let config = config(&format!(r#"{{"auths":{{"{key}":{{"auth":"{bob}"}}}}}}"#));
        let expected = matches.then(|| Credential::password("bob", "pw"));
        assert_eq!(found(&config, registry, "a/b"), expected, "{key} for {registry}");
    }
}

/// Covers: DST-35
#[test]
fn the_longest_path_wins() {
    let auth = |user: &str| STANDARD.encode(format!("{user}:pw"));
    let config = config(&format!(
        r#"{{"auths":{{"h":{{"auth":"{}"}},"h/team":{{"auth":"{}"}},"h/team/app":{{"auth":"{}"}}}}}}"#,
        auth("host"),
        auth("team"),
        auth("app")
    ));
    let table = [
        ("team/app", "app"),
        ("team/app/x", "app"),
        ("team/apple", "team"),
        ("teams", "host"),
        ("", "host"),
    ];
    for (repository, user) in table {
        assert_eq!(
            found(&config, "h", repository),
            Some(Credential::password(user, "pw")),
            "{repository}"
        );
    }
}

/// Covers: DST-34
#[test]
fn identity_tokens_come_in_two_spellings() {
    let token = Credential::IdentityToken { username: Some("bob".into()), token: Secret::new("t") };
    let field = config(&format!(
        r#"{{"auths":{{"h":{{"auth":"{}","identitytoken":"t"}}}}}}"#,
        STANDARD.encode("bob:")
    ));
    assert_eq!(found(&field, "h", ""), Some(token));
    let user = config(r#"{"auths":{"h":{"username":"<token>","password":"t"}}}"#);
    let bare = Credential::IdentityToken { username: None, token: Secret::new("t") };
    assert_eq!(found(&user, "h", ""), Some(bare));
}

/// Covers: DST-34
#[test]
fn the_helper_of_a_registry_beats_the_helper_of_all() {
    let config =
        config(r#"{"credsStore":"desktop","credHelpers":{"h":"ecr-login"},"auths":{"h":{}}}"#);
    let programs = |registry: &str| {
        config
            .lookup(registry, "a")
            .expect("readable")
            .into_iter()
            .map(|place| match place {
                Lookup::Helper { helper, servers } => (helper.program(), servers[0].clone()),
                Lookup::Found(credential) => panic!("no helper but {credential:?}"),
            })
            .collect::<Vec<_>>()
    };
    assert_eq!(programs("h"), [("docker-credential-ecr-login".to_owned(), "h".to_owned())]);
    assert_eq!(
        programs("docker.io"),
        [("docker-credential-desktop".to_owned(), DOCKER_HUB_KEY.to_owned())]
    );
}

#[test]
fn a_helper_name_that_would_be_a_path_is_refused() {
    for name in ["../x", "a/b", "", "-rf", ".hidden", "a b", "a\0"] {
        assert!(HelperName::parse(name).is_err(), "{name:?}");
    }
    let config = config(r#"{"credsStore":"../../tmp/x"}"#);
    assert!(config.lookup("h", "").is_err());
}

/// Covers: DST-34
#[test]
fn login_and_logout_leave_everything_else_alone() {
    let before = config(
        r#"{"HttpHeaders":{"X":"1"},"auths":{"other":{"auth":"YTpi"}},"detachKeys":"ctrl-e"}"#,
    );
    let Keep::File(after) =
        before.login("docker.io", &Credential::password("bob", "pw")).expect("possible")
    else {
        panic!("there is no helper");
    };
    let text = String::from_utf8(after.to_bytes()).expect("text");
    assert!(text.contains("\t\"https://index.docker.io/v1/\": {"), "{text}");
    assert!(text.contains("detachKeys") && text.contains("HttpHeaders"), "{text}");
    assert_eq!(found(&after, "docker.io", "library/x"), Some(Credential::password("bob", "pw")));
    let Some(Keep::File(gone)) = after.logout("docker.io").expect("possible") else {
        panic!("there was an entry");
    };
    assert_eq!(gone.document, before.document);
    assert!(gone.logout("docker.io").expect("possible").is_none());
}

/// Covers: DST-36
#[test]
fn login_with_a_helper_keeps_the_secret_out_of_the_file() {
    let before = config(r#"{"credsStore":"pass"}"#);
    let kept = before.login("h:5000", &Credential::password("bob", "hunter2")).expect("possible");
    let Keep::Helper { helper, request, file } = kept else { panic!("there is a helper") };
    assert_eq!((helper.program().as_str(), request.verb()), ("docker-credential-pass", "store"));
    assert_eq!(request.input(), br#"{"ServerURL":"h:5000","Username":"bob","Secret":"hunter2"}"#);
    assert!(!format!("{request:?}").contains("hunter2"));
    let text = String::from_utf8(file.to_bytes()).expect("text");
    assert!(text.contains("h:5000") && !text.contains("hunter2"), "{text}");
}

/// Covers: DST-36
#[test]
fn a_helper_that_has_nothing_is_no_failure() {
    let nothing =
        parse_helper_output(HelperExit::Failure, b"credentials not found in native keychain\n");
    assert_eq!(nothing, Ok(None));
    let broken = parse_helper_output(HelperExit::Failure, b"gpg: no secret key");
    assert!(matches!(broken, Err(HelperError::Failed { .. })), "{broken:?}");
    let answer = br#"{"ServerURL":"h","Username":"<token>","Secret":"t"}"#;
    let token = Credential::IdentityToken { username: None, token: Secret::new("t") };
    assert_eq!(parse_helper_output(HelperExit::Success, answer), Ok(Some(token)));
    assert!(parse_helper_output(HelperExit::Success, b"no JSON").is_err());
}

#[test]
fn a_broken_file_is_refused_without_quoting_it() {
    let secret = "aHVudGVyMg";
    let error = DockerConfig::parse(format!(r#"{{"auths":{{"h":{{"auth":"{secret}"#).as_bytes())
        .expect_err("cut off");
    assert!(!error.to_string().contains(secret), "{error}");
    let config = config(r#"{"auths":{"h":{"auth":"!!!"}}}"#);
    assert_eq!(
        config.lookup("h", "").expect_err("not base64"),
        DockerConfigError::Auth { key: "h".into() }
    );
    assert!(DockerConfig::parse(b"").expect("empty is a new file").registries().is_empty());
}

proptest! {
    #[test]
    fn no_file_panics_the_parser(bytes: Vec<u8>, registry in "[a-z./:]{0,20}") {
        if let Ok(config) = DockerConfig::parse(&bytes) {
            let _ = config.lookup(&registry, &registry);
        }
    }

    #[test]
    fn what_was_kept_is_found(user in "[a-z]{1,8}", password in "[ -~]{1,20}", host in "[a-z]{1,5}(:[0-9]{1,4})?") {
        let credential = Credential::password(user, password);
        let Keep::File(kept) = DockerConfig::default().login(&host, &credential).expect("possible") else {
            panic!("there is no helper");
        };
        let read = DockerConfig::parse(&kept.to_bytes()).expect("our own");
        prop_assert_eq!(found(&read, &host, "a"), Some(credential));
    }
}
