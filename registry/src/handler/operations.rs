//! Endpoints about the server itself.

use axum::body::Body;
use axum::http::request::Parts;
use axum::response::Response;
use http::header::{AUTHORIZATION, CONTENT_TYPE, WWW_AUTHENTICATE};
use http::{Method, StatusCode};
use serde_json::json;

use super::{App, json as json_response, set};
use crate::access::{Login, Scope};
use crate::body::Incoming;
use crate::fault::{Code, Fault};
use crate::limits;
use crate::route::query_pairs;

/// end-1: the registry speaks the protocol.
pub(super) fn base() -> Result<Response, Fault> {
    Ok(json_response(&json!({}), false))
}

/// Whether the server can serve: its root answers.
pub(super) fn health(app: &App, method: &Method) -> Result<Response, Fault> {
    reading(method)?;
    let alive = app.repositories.staging().try_exists().unwrap_or(false);
    let mut response =
        json_response(&json!({ "status": if alive { "ok" } else { "no root" } }), false);
    if !alive {
        *response.status_mut() = StatusCode::SERVICE_UNAVAILABLE;
    }
    Ok(response)
}

/// The counters.
pub(super) fn metrics(app: &App, method: &Method) -> Result<Response, Fault> {
    reading(method)?;
    let page = app.metrics.render(app.uploads.open_sessions(), app.uploads.receiving());
    let mut response = Response::new(Body::from(page));
    set(&mut response, CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8");
    Ok(response)
}

/// A token, for a password or for nobody: `GET` with a Basic header, or the `POST` of OAuth2.
pub(super) async fn token(app: &App, head: &Parts, mut body: Incoming) -> Result<Response, Fault> {
    let issuer = app.gate.issuer().ok_or_else(Fault::no_endpoint)?;
    let form = match head.method {
        Method::GET => query_pairs(head.uri.query()),
        Method::POST => {
            let over = || Fault::new(Code::Unauthorized, "the token request is too long");
            let bytes = body.whole(limits::TOKEN_FORM_BYTES_MAX as u64, over).await?;
            query_pairs(std::str::from_utf8(&bytes).ok())
        }
        _ => return Err(Fault::method_not_allowed("GET, POST")),
    };
    let field = |key: &str| form.iter().find(|(k, _)| k == key).map(|(_, value)| value.clone());
    if field("grant_type").is_some_and(|kind| kind != "password") {
        return Err(Fault::new(Code::Unsupported, "only grant_type=password is supported")
            .with_status(StatusCode::BAD_REQUEST));
    }
    let login = match (field("username"), field("password")) {
        (Some(user), Some(password)) if head.method == Method::POST => {
            Some(Login::new(user, password))
        }
        _ => Login::parse(head.headers.get(AUTHORIZATION)),
    };
    // A scope parameter may hold several scopes, and may be repeated.
    let texts = form.iter().filter(|(key, _)| key == "scope").flat_map(|(_, v)| v.split(' '));
    let scopes: Vec<Scope> = texts.filter_map(Scope::parse).take(limits::SCOPES_MAX).collect();
    match issuer.issue(login, &scopes).await {
        Some(issued) => Ok(json_response(&json!(issued), false)),
        None => Err(Fault::new(Code::Unauthorized, "wrong user name or password")
            .with_header(WWW_AUTHENTICATE, "Basic realm=\"token\", charset=\"UTF-8\"")),
    }
}

fn reading(method: &Method) -> Result<(), Fault> {
    match *method {
        Method::GET | Method::HEAD => Ok(()),
        _ => Err(Fault::method_not_allowed("GET")),
    }
}
