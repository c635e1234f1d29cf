//! Lists that come in pages: tags (distribution-spec end-8).

use http::Method;
use http::header::LINK;
use serde::Deserialize;
use url::Url;

use super::Repository;
use crate::auth::ScopeSet;
use crate::error::{Act, Problem, RegistryError};
use crate::exchange::{Answer, Call, Endpoint, Exchange, Reading, resolve_location};
use crate::host::same_origin;
use crate::limits::{PAGES_MAX, TAGS_MAX, TAGS_PAGE_BYTES_MAX};

/// Names asked for in one page. Registries cap it to what they like.
const NAMES_PER_PAGE: usize = 1_000;

impl Repository {
    /// All tags, in the registry's order.
    pub async fn tags(&self) -> Result<Vec<String>, RegistryError> {
        let all = self.all_tags().await;
        all.map_err(|problem| self.error(Act::ListTags, "", problem))
    }

    async fn all_tags(&self) -> Result<Vec<String>, Problem> {
        let endpoint = self.upstream().await?;
        let first = || self.call(Method::GET, "tags/list", self.pull_scope());
        all_names(&self.exchange, &endpoint, first).await
    }
}

/// The repositories of a registry (`_catalog` of Docker's registry).
pub(crate) async fn catalog(exchange: &Exchange, registry: &str) -> Result<Vec<String>, Problem> {
    let endpoint = exchange.upstream(registry).await?;
    let first = || {
        let scopes = ScopeSet::parse("registry:catalog:*");
        Call::new(Method::GET, "v2/_catalog".to_owned(), "", scopes)
    };
    all_names(exchange, &endpoint, first).await
}

/// All names of a list, page by page. Fewer names than asked for is not the end: only a missing
/// link is (DST-21).
async fn all_names(
    exchange: &Exchange,
    endpoint: &Endpoint,
    first: impl Fn() -> Call,
) -> Result<Vec<String>, Problem> {
    let mut names = Vec::new();
    let mut next: Option<Url> = None;
    for _ in 0..PAGES_MAX {
        let reading = Reading::Document { what: "list", bytes_max: TAGS_PAGE_BYTES_MAX };
        let call = first().reads(reading);
        let call = match next {
            Some(url) => call.at_url(url),
            None => call.with_query("n", NAMES_PER_PAGE.to_string()),
        };
        let answer = exchange.call(endpoint, &call).await?;
        names.extend(names_of(&answer)?);
        if names.len() > TAGS_MAX {
            return Err(Problem::Protocol { reason: format!("more than {TAGS_MAX} names") });
        }
        match next_page(endpoint, &answer)? {
            Some(url) => next = Some(url),
            None => return Ok(names),
        }
    }
    Err(Problem::Protocol { reason: format!("more than {PAGES_MAX} pages") })
}

fn names_of(answer: &Answer) -> Result<Vec<String>, Problem> {
    #[derive(Deserialize)]
    struct Page {
        // Go encodes an empty list as null.
        tags: Option<Vec<String>>,
        repositories: Option<Vec<String>>,
    }
    let page: Page = serde_json::from_slice(&answer.bytes)
        .map_err(|error| Problem::Protocol { reason: format!("the list is not valid: {error}") })?;
    Ok(page.tags.or(page.repositories).unwrap_or_default())
}

/// The next page that an answer links to (RFC 8288), on the same server only.
pub(super) fn next_page(endpoint: &Endpoint, answer: &Answer) -> Result<Option<Url>, Problem> {
    let links = answer.headers.get_all(LINK).iter().filter_map(|value| value.to_str().ok());
    let Some(target) = links.into_iter().find_map(next_link) else { return Ok(None) };
    let header = http::HeaderValue::from_str(&target)
        .map_err(|_| Problem::Protocol { reason: "unusable Link".to_owned() })?;
    let url = resolve_location(&answer.url, &header)?;
    match same_origin(&url, &endpoint.base) {
        true if url == answer.url => {
            Err(Problem::Protocol { reason: "a page links to itself as the next".to_owned() })
        }
        true => Ok(Some(url)),
        false => Err(Problem::Protocol { reason: "the next page is on another server".to_owned() }),
    }
}

/// The target of the link whose relation is `next`.
fn next_link(header: &str) -> Option<String> {
    let mut rest = header;
    while let Some(start) = rest.find('<') {
        let (target, after) = rest[start + 1..].split_once('>')?;
        let parameters = &after[..after.find('<').unwrap_or(after.len())];
        let is_next = parameters.split([';', ',']).any(|parameter| {
            let Some((key, value)) = parameter.split_once('=') else { return false };
            key.trim().eq_ignore_ascii_case("rel")
                && value.trim().trim_matches('"').eq_ignore_ascii_case("next")
        });
        if is_next {
            return Some(target.to_owned());
        }
        rest = after;
    }
    None
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Covers: DST-21
    #[test]
    fn the_next_page_is_found_among_links() {
        let table = [
            (r#"</v2/a/tags/list?n=2&last=b>; rel="next""#, Some("/v2/a/tags/list?n=2&last=b")),
            (r#"<x>; rel=next"#, Some("x")),
            (r#"<p>; rel="prev", <n>; rel="next""#, Some("n")),
            (r#"<p>; rel="prev""#, None),
            ("", None),
            ("<unclosed", None),
        ];
        for (header, expected) in table {
            assert_eq!(next_link(header).as_deref(), expected, "{header}");
        }
    }

    proptest! {
        #[test]
        fn no_link_header_panics_the_parser(text in "\\PC{0,100}") {
            let _ = next_link(&text);
        }
    }
}
