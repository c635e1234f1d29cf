use std::collections::BTreeSet;

use super::*;

fn refused(text: &str) -> String {
    match Config::parse(text) {
        Ok(_) => panic!("accepted {text:?}"),
        Err(error) => error.to_string(),
    }
}

#[test]
fn an_empty_file_is_the_default() {
    let config = Config::parse("").expect("the default");
    assert_eq!(config.addr.to_string(), "127.0.0.1:5000");
    assert_eq!(config.mode, Mode::ReadWrite);
    assert!(matches!(config.auth, Auth::Off));
}

#[test]
fn the_example_of_the_reference_is_a_valid_file() {
    let config = Config::parse(reference::EXAMPLE).expect("the example");
    assert!(matches!(config.auth, Auth::Token(ref token) if token.token_seconds == 300));
    assert_eq!(config.access.len(), 2);
}

#[test]
fn every_form_of_auth_and_log_is_read() {
    let basic =
        Config::parse("access-log = \"stderr\"\n[auth.basic]\nhtpasswd = \"/h\"").expect("basic");
    assert_eq!(basic.access_log, AccessLogTarget::Stderr);
    assert!(matches!(basic.auth, Auth::Basic(ref basic) if basic.realm == "wherry registry"));
    let external =
        "[auth.external-token]\nrealm='https://a/token'\nservice='s'\nissuer='i'\npublic-key='/k'";
    assert!(matches!(Config::parse(external).expect("external").auth, Auth::ExternalToken(_)));
    assert!(matches!(Config::parse("auth = 'off'").expect("off").auth, Auth::Off));
}

#[test]
fn what_is_wrong_is_named_with_its_key() {
    let table = [
        ("colour = 1", "colour"),
        ("[limits]\nmanifest-bytes = 1", "limits.manifest-bytes"),
        ("[limits]\nuploads = 0", "limits.uploads"),
        ("[limits]\nidle-seconds = 0", "limits.idle-seconds"),
        ("[collect]\ngrace-seconds = 5", "collect.grace-seconds"),
        ("mode = \"sometimes\"", "sometimes"),
        ("addr = \"nowhere\"", "addr"),
        ("[[access]]\nusers=['a']\nrepositories=['**']\nactions=['pull']", "auth is off"),
        ("[tls]\ncertificate = '/c'", "key"),
        (
            "[[access]]\nusers=['a']\nrepositories=['A']\nactions=['pull']\n[auth.basic]\nhtpasswd='/h'",
            "\"A\"",
        ),
    ];
    for (text, named) in table {
        let message = refused(text);
        assert!(message.contains(named), "{text:?} gave {message:?}");
    }
}

#[test]
fn the_reference_names_exactly_the_keys_that_are_read() {
    let full = r#"
        [tls]
        certificate = "c"
        key = "k"
        [proxy]
        upstream = "u"
        [auth.token]
        htpasswd = "h"
        realm = "r"
        signing-key = "s"
        [[access]]
        users = ["a"]
        repositories = ["**"]
        actions = ["pull"]
    "#;
    let mut read = BTreeSet::new();
    for auth in ["auth.basic", "auth.token", "auth.external-token"] {
        let text = match auth {
            "auth.basic" => full.replace("auth.token", auth).replace("signing-key = \"s\"", ""),
            "auth.external-token" => full
                .replace("auth.token", auth)
                .replace("htpasswd = \"h\"", "service='s'\nissuer='i'\npublic-key='k'")
                .replace("signing-key = \"s\"", ""),
            _ => full.to_owned(),
        };
        let config = Config::parse(&text).expect("a full file");
        let value = toml::Value::try_from(&config).expect("serialisable");
        collect("", &value, &mut read);
    }
    let mut documented: BTreeSet<String> =
        reference::names_and_defaults().map(|(name, _)| name.to_owned()).collect();
    documented.remove("auth");
    assert_eq!(read, documented);
}

#[test]
fn the_defaults_of_the_reference_are_the_defaults() {
    let value = toml::Value::try_from(Config::default()).expect("serialisable");
    for (name, default) in reference::names_and_defaults() {
        let mut found = Some(&value);
        for part in name.split('.') {
            found = found.and_then(|v| v.get(part));
        }
        if let Some(found) = found.filter(|_| !name.contains("[]")) {
            assert_eq!(found.to_string(), default, "{name}");
        }
    }
}

#[test]
fn the_reference_page_is_up_to_date() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/reference/registry-config.md");
    let page = reference_markdown();
    if std::env::var_os("UPDATE_EXPECT").is_some() {
        std::fs::write(&path, &page).expect("the page is writable");
    }
    let written = std::fs::read_to_string(&path).expect("the page exists");
    assert_eq!(written, page, "run the test with UPDATE_EXPECT=1 and read the difference");
}

fn collect(prefix: &str, value: &toml::Value, into: &mut BTreeSet<String>) {
    match value {
        toml::Value::Table(table) if !prefix.starts_with("access-log") => {
            for (name, value) in table {
                let path =
                    if prefix.is_empty() { name.clone() } else { format!("{prefix}.{name}") };
                collect(&path, value, into);
            }
        }
        toml::Value::Array(items) if items.iter().any(toml::Value::is_table) => {
            items.iter().for_each(|item| collect(&format!("{prefix}[]"), item, into));
        }
        _ => {
            into.insert(prefix.to_owned());
        }
    }
}

#[test]
fn variables_lie_over_the_file_and_are_read_as_toml_or_text() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("registry.toml");
    std::fs::write(&file, "addr = \"127.0.0.1:1\"\n[limits]\nidle-seconds = 9\n").expect("written");
    let set = |pairs: &[(&str, &str)]| {
        let pairs: Vec<(String, String)> = pairs
            .iter()
            .map(|(name, value)| (format!("{VARIABLE_PREFIX}{name}"), (*value).to_owned()))
            .collect();
        Config::load_with(Some(&file), &pairs)
    };
    let config = set(&[
        ("ADDR", "127.0.0.1:7"),
        ("MODE", "read-only"),
        ("LIMITS_HEAD_SECONDS", "3"),
        ("ACCESS_LOG", "{ file = \"/tmp/log\" }"),
        ("AUTH_BASIC_HTPASSWD", "/h"),
        ("ACCESS", "[{ users = [\"*\"], repositories = [\"**\"], actions = [\"pull\"] }]"),
    ])
    .expect("valid");
    assert_eq!((config.addr.port(), config.mode), (7, Mode::ReadOnly));
    assert_eq!((config.limits.idle_seconds, config.limits.head_seconds), (9, 3));
    assert!(matches!(config.access_log, AccessLogTarget::File(_)));
    assert!(matches!(config.auth, Auth::Basic(_)) && config.access.len() == 1);
    for (pair, named) in [
        (("COLOUR", "red"), "WHERRY_REGISTRY_COLOUR"),
        (("ADDR_PORT", "1"), "WHERRY_REGISTRY_ADDR_PORT"),
        (("ADDR", "nowhere"), "address"),
        (("LIMITS_UPLOADS", "0"), "limits.uploads"),
    ] {
        let error = set(&[pair]).expect_err(named).to_string();
        assert!(error.contains(named), "{error}");
    }
}
