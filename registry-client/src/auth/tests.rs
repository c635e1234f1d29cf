use std::time::Duration;

use http::StatusCode;
use proptest::prelude::*;
use url::Url;

use super::token::TokenCall;
use super::*;
use crate::credentials::Credential;
use crate::redact::Secret;

const CHALLENGE: &str =
    r#"Bearer realm="https://auth.example/token",service="reg",scope="repository:a/b:pull""#;

fn url(text: &str) -> Url {
    text.parse().expect("valid")
}

fn second(n: u64) -> Duration {
    Duration::from_secs(n)
}

fn climb(
    auth: &mut HostAuth,
    header: &str,
    credential: &Credential,
) -> Result<ScopeSet, AuthError> {
    let registry = url("https://reg.example/v2/a/b/manifests/1");
    let challenges = parse_challenges([header].into_iter());
    let sent = Sent { authorization: None, url: &registry };
    auth.challenged(&challenges, &sent, &ScopeSet::pull("a/b"), credential)
}

fn token_request(
    auth: &HostAuth,
    scopes: &ScopeSet,
    credential: &Credential,
    now: Duration,
) -> TokenRequest {
    match auth.prepare(scopes, credential, now) {
        Ready::NeedToken(request) => *request,
        other => panic!("no token asked for but {other:?}"),
    }
}

fn answer(
    auth: &mut HostAuth,
    request: &TokenRequest,
    body: &str,
    now: Duration,
) -> Option<Secret> {
    auth.answered(request, StatusCode::OK, None, body.as_bytes(), now).expect("a token")
}

/// Covers: DST-30
#[test]
fn several_challenges_in_one_header_are_read() {
    let header = r#"Negotiate, Basic realm="x", Bearer realm="https://a/t",scope="repository:h:5000/a:pull,push repository:b:pull",service="s""#;
    let challenges = parse_challenges([header].into_iter());
    assert_eq!(challenges[0], Challenge::Other("Negotiate".into()));
    assert_eq!(challenges[1], Challenge::Basic);
    let Challenge::Bearer { realm, service, scope } = &challenges[2] else {
        panic!("{challenges:?}")
    };
    assert_eq!((realm.as_str(), service.as_deref()), ("https://a/t", Some("s")));
    assert_eq!(scope.to_string(), "repository:b:pull repository:h:5000/a:pull,push");
}

/// Covers: DST-30, DST-33
#[test]
fn a_token_is_asked_for_with_one_scope_parameter_per_repository() {
    let mut auth = HostAuth::default();
    let bob = Credential::password("bob", "pw");
    climb(&mut auth, CHALLENGE, &bob).expect("bearer");
    let scopes = ScopeSet::push("a/b").union(&ScopeSet::pull("base"));
    let request = token_request(&auth, &scopes, &bob, second(0));
    let TokenCall::Get { url, authorization } = request.to_call() else { panic!("a GET") };
    assert_eq!(
        url.as_str(),
        "https://auth.example/token?service=reg&scope=repository%3Aa%2Fb%3Apull%2Cpush&scope=repository%3Abase%3Apull&account=bob"
    );
    assert_eq!(authorization, Some(Secret::new("Basic Ym9iOnB3")));
}

/// Covers: DST-30
#[test]
fn the_life_of_a_token_counts_from_receipt_and_is_a_minute_unless_said() {
    let table = [
        (r#"{"token":"t"}"#, 60),
        (r#"{"access_token":"t","expires_in":300,"issued_at":"2001-01-01T00:00:00Z"}"#, 300),
        (r#"{"token":"t","expires_in":0}"#, 60),
    ];
    for (body, life) in table {
        let mut auth = HostAuth::default();
        let nobody = Credential::Anonymous;
        let scopes = climb(&mut auth, CHALLENGE, &nobody).expect("bearer");
        let request = token_request(&auth, &scopes, &nobody, second(1000));
        answer(&mut auth, &request, body, second(1000));
        let fresh = auth.prepare(&scopes, &nobody, second(1000 + life * 8 / 10));
        assert_eq!(fresh, Ready::Send(Some(Secret::new("Bearer t"))), "{body}");
        let stale = auth.prepare(&scopes, &nobody, second(1000 + life * 95 / 100));
        assert!(matches!(stale, Ready::NeedToken(_)), "{body}");
    }
}

/// Covers: DST-33
#[test]
fn a_token_serves_what_it_covers_and_nothing_more() {
    let mut auth = HostAuth::default();
    let bob = Credential::password("bob", "pw");
    climb(&mut auth, CHALLENGE, &bob).expect("bearer");
    let request = token_request(&auth, &ScopeSet::push("a/b"), &bob, second(0));
    answer(&mut auth, &request, r#"{"token":"t"}"#, second(0));
    assert!(matches!(auth.prepare(&ScopeSet::pull("a/b"), &bob, second(1)), Ready::Send(Some(_))));
    for scopes in [ScopeSet::pull("a/c"), ScopeSet::delete("a/b")] {
        assert!(matches!(auth.prepare(&scopes, &bob, second(1)), Ready::NeedToken(_)));
    }
    let eve = Credential::password("eve", "pw");
    assert!(matches!(auth.prepare(&ScopeSet::pull("a/b"), &eve, second(1)), Ready::NeedToken(_)));
}

/// Covers: DST-31
#[test]
fn an_identity_token_is_exchanged_by_post_and_never_in_a_url() {
    let mut auth = HostAuth::default();
    let identity = Credential::IdentityToken { username: None, token: Secret::new("refresh me") };
    let scopes = climb(&mut auth, CHALLENGE, &identity).expect("bearer");
    let request = token_request(&auth, &scopes, &identity, second(0));
    let TokenCall::PostForm { url, form } = request.to_call() else { panic!("a POST") };
    assert_eq!(url.as_str(), "https://auth.example/token");
    assert_eq!(
        form.expose(),
        "grant_type=refresh_token&refresh_token=refresh+me&client_id=wherry&service=reg&scope=repository%3Aa%2Fb%3Apull"
    );
    assert!(!format!("{request:?}").contains("refresh me"));
}

/// Covers: DST-31
#[test]
fn credentials_go_to_no_unsafe_token_server() {
    let table = [
        ("https://reg", "https://elsewhere/t", true),
        ("https://reg", "http://reg/t", false),
        ("https://reg", "http://127.0.0.1/t", false),
        ("http://127.0.0.1:5000", "http://127.0.0.1:5001/t", true),
        ("http://127.0.0.1:5000", "http://localhost:5001/t", true),
        ("http://127.0.0.1:5000", "http://evil/t", false),
        ("http://10.0.0.1:5000", "http://10.0.0.1:5000/t", true),
        ("https://reg", "ftp://reg/t", false),
        ("https://reg", "file:///etc/passwd", false),
    ];
    for (registry, realm, allowed) in table {
        let mut auth = HostAuth::default();
        let header = format!(r#"Bearer realm="{realm}""#);
        let challenges = parse_challenges([header.as_str()].into_iter());
        let registry = url(registry);
        let sent = Sent { authorization: None, url: &registry };
        let done = auth.challenged(&challenges, &sent, &ScopeSet::none(), &Credential::Anonymous);
        assert_eq!(done.is_ok(), allowed, "{registry} {realm}: {done:?}");
    }
}

/// Covers: DST-29
#[test]
fn a_password_is_tried_once_and_only_after_a_basic_challenge() {
    let mut auth = HostAuth::default();
    let bob = Credential::password("bob", "pw");
    assert_eq!(auth.prepare(&ScopeSet::none(), &bob, second(0)), Ready::Send(None));
    climb(&mut auth, r#"Basic realm="x""#, &bob).expect("basic");
    let Ready::Send(Some(header)) = auth.prepare(&ScopeSet::none(), &bob, second(0)) else {
        panic!("a header");
    };
    assert_eq!(header.expose(), "Basic Ym9iOnB3");
    let registry = url("https://reg.example/v2/");
    let sent = Sent { authorization: Some(&header), url: &registry };
    let error = auth
        .challenged(&[Challenge::Basic], &sent, &ScopeSet::none(), &bob)
        .expect_err("refused once");
    assert!(
        matches!(&error, AuthError::WrongCredentials { host, .. } if host == "reg.example"),
        "{error}"
    );
}

#[test]
fn who_has_no_credentials_is_told_to_log_in() {
    let error = climb(&mut HostAuth::default(), r#"Basic realm="x""#, &Credential::Anonymous)
        .expect_err("none");
    assert!(error.to_string().contains("log in first"), "{error}");
    let identity = Credential::IdentityToken { username: None, token: Secret::new("t") };
    let error = climb(&mut HostAuth::default(), r#"Basic realm="x""#, &identity).expect_err("kind");
    assert!(matches!(error, AuthError::WrongKind { .. }));
    let error = climb(&mut HostAuth::default(), "Negotiate", &identity).expect_err("scheme");
    assert!(error.to_string().contains("Negotiate"), "{error}");
}

#[test]
fn a_refused_token_request_says_who_refused_what() {
    let mut auth = HostAuth::default();
    let bob = Credential::password("bob", "hunter2");
    let scopes = climb(&mut auth, CHALLENGE, &bob).expect("bearer");
    let request = token_request(&auth, &scopes, &bob, second(0));
    let body = br#"{"details":"incorrect username or password"}"#;
    let error = auth
        .answered(&request, StatusCode::UNAUTHORIZED, None, body, second(0))
        .expect_err("refused");
    assert_eq!(
        error.to_string(),
        "https://auth.example/token does not accept these credentials: incorrect username or password"
    );
    let busy = auth
        .answered(&request, StatusCode::TOO_MANY_REQUESTS, Some(second(3)), b"", second(0))
        .expect_err("busy");
    assert!(busy.is_temporary());
    let empty = auth.answered(&request, StatusCode::OK, None, b"{}", second(0)).expect_err("none");
    assert!(matches!(empty, AuthError::BadToken { .. }));
}

#[test]
fn a_refused_token_is_not_used_again() {
    let mut auth = HostAuth::default();
    let nobody = Credential::Anonymous;
    let scopes = climb(&mut auth, CHALLENGE, &nobody).expect("bearer");
    let request = token_request(&auth, &scopes, &nobody, second(0));
    answer(&mut auth, &request, r#"{"token":"t"}"#, second(0));
    let Ready::Send(Some(header)) = auth.prepare(&scopes, &nobody, second(1)) else {
        panic!("cached")
    };
    let registry = url("https://reg.example/v2/");
    let sent = Sent { authorization: Some(&header), url: &registry };
    let challenges = parse_challenges([CHALLENGE].into_iter());
    auth.challenged(&challenges, &sent, &scopes, &nobody).expect("replay");
    assert!(matches!(auth.prepare(&scopes, &nobody, second(1)), Ready::NeedToken(_)));
}

#[test]
fn a_login_gets_the_refresh_token() {
    let mut auth = HostAuth::default();
    let bob = Credential::password("bob", "pw");
    let scopes = climb(&mut auth, CHALLENGE, &bob).expect("bearer");
    let request = TokenRequest {
        purpose: TokenPurpose::Login,
        ..token_request(&auth, &scopes, &bob, second(0))
    };
    let TokenCall::Get { url, .. } = request.to_call() else { panic!("a GET") };
    assert!(url.as_str().ends_with("client_id=wherry&offline_token=true"), "{url}");
    let refresh = answer(&mut auth, &request, r#"{"token":"t","refresh_token":"r"}"#, second(0));
    assert_eq!(refresh, Some(Secret::new("r")));
}

proptest! {
    #[test]
    fn no_header_panics_the_parser(text in "\\PC{0,200}") {
        let _ = parse_challenges([text.as_str()].into_iter());
    }

    #[test]
    fn scopes_print_as_they_parse(names in proptest::collection::vec("[a-z]{1,5}(/[a-z]{1,5})?", 0..4)) {
        let set = names.iter().fold(ScopeSet::none(), |set, name| set.union(&ScopeSet::push(name)));
        prop_assert_eq!(ScopeSet::parse(&set.to_string()), set.clone());
        prop_assert!(set.covers(&set) && set.covers(&ScopeSet::none()));
    }
}
