//! Content discovery (distribution-spec 1.1, "Listing Tags", "Listing Referrers"): end-8, end-12,
//! and the catalog.

use axum::body::Body;
use axum::response::Response;
use http::StatusCode;
use http::header::{CONTENT_LENGTH, CONTENT_TYPE, HeaderName, LINK};
use oci::{Descriptor, Digest};
use serde_json::json;

use super::{Call, json as json_response, set};
use crate::access::Action;
use crate::fault::{Code, Fault};
use crate::limits;
use crate::name::RepositoryName;
use crate::route::query_escaped;
use crate::uploads::blocking;

/// Says which filters a listing was made with.
const OCI_FILTERS_APPLIED: HeaderName = HeaderName::from_static("oci-filters-applied");
const OCI_INDEX: &str = "application/vnd.oci.image.index.v1+json";

/// end-8: the tags after `last`, at most `n`, in the order of their bytes.
pub(super) async fn tags(call: &Call, name: RepositoryName) -> Result<Response, Fault> {
    let upstream = match &call.app.pull_through {
        Some(pull_through) => pull_through.tags(&name).await?,
        None => None,
    };
    let all = match upstream {
        Some(tags) => tags,
        None => local_tags(call, &name).await?,
    };
    let page = Page::of(call, &all)?;
    let mut response =
        json_response(&json!({ "name": name.as_str(), "tags": page.entries }), call.is_head());
    page.link(&mut response, &format!("/v2/{name}/tags/list"));
    Ok(response)
}

async fn local_tags(call: &Call, name: &RepositoryName) -> Result<Vec<String>, Fault> {
    let (repositories, owned) = (call.app.repositories.clone(), name.clone());
    let listed = blocking("list tags", move || {
        if !repositories.exists(&owned)? {
            return Ok(None);
        }
        Ok(Some(repositories.tags(&owned)?.iter().map(ToString::to_string).collect()))
    });
    listed.await?.ok_or_else(|| Fault::name_unknown(name))
}

/// The repositories that the caller may read. Not of the specification; clients expect it.
pub(super) async fn catalog(call: &Call) -> Result<Response, Fault> {
    let (repositories, identity) = (call.app.repositories.clone(), call.identity.clone());
    let listed = blocking("list repositories", move || {
        let all = repositories.list()?;
        let readable = all.iter().filter(|name| identity.may(Action::Pull, name));
        Ok(readable.map(ToString::to_string).collect::<Vec<_>>())
    });
    let all = listed.await?;
    let page = Page::of(call, &all)?;
    let mut response = json_response(&json!({ "repositories": page.entries }), call.is_head());
    page.link(&mut response, "/v2/_catalog");
    Ok(response)
}

/// A part of a sorted list.
struct Page<'a> {
    entries: &'a [String],
    asked: Option<usize>,
    more: bool,
}

impl<'a> Page<'a> {
    /// `n` caps the page; `last` need not be in the list any more.
    fn of(call: &Call, all: &'a [String]) -> Result<Self, Fault> {
        let asked = match call.parameter("n") {
            None => None,
            Some(text) => Some(text.parse::<usize>().map_err(|_| {
                let message = format!("n={text:?} is not a number of entries");
                Fault::new(Code::Unsupported, message).with_status(StatusCode::BAD_REQUEST)
            })?),
        };
        let last = call.parameter("last").unwrap_or_default();
        let start = all.partition_point(|entry| entry.as_str() <= last);
        let rest = &all[start..];
        let length = rest.len().min(asked.unwrap_or(usize::MAX)).min(limits::PAGE_ENTRIES_MAX);
        // n=0 asks for nothing, not for a first page (the specification forbids a Link then).
        let more = length < rest.len() && asked != Some(0);
        Ok(Self { entries: &rest[..length], asked, more })
    }

    /// RFC 8288: where the next page is.
    fn link(&self, response: &mut Response, path: &str) {
        if let (true, Some(last)) = (self.more, self.entries.last()) {
            let n = self.asked.unwrap_or(limits::PAGE_ENTRIES_MAX);
            let target = format!("{path}?n={n}&last={}", query_escaped(last));
            set(response, LINK, &format!("<{target}>; rel=\"next\""));
        }
    }
}

/// end-12: an index of what refers to a manifest; empty, never 404, when nothing does.
pub(super) async fn referrers(
    call: &Call,
    name: RepositoryName,
    subject: Digest,
) -> Result<Response, Fault> {
    let after = call.parameter("last").map(str::parse::<Digest>).transpose()?;
    let upstream = match &call.app.pull_through {
        Some(pull_through) => pull_through.referrers(&name, &subject).await?,
        None => None,
    };
    let (repositories, owned, target) =
        (call.app.repositories.clone(), name.clone(), subject.clone());
    let mut found = match upstream {
        Some(all) => {
            all.into_iter().filter(|d| after.as_ref().is_none_or(|a| d.digest() > a)).collect()
        }
        None => {
            blocking("list referrers", move || {
                repositories.referrers(&owned, &target, after.as_ref())
            })
            .await?
        }
    };
    // A media type has no spaces, but many a "+json" that arrives unescaped.
    let filter = call.parameter("artifactType").filter(|filter| !filter.is_empty());
    let filter = filter.map(|filter| filter.replace(' ', "+"));
    if let Some(filter) = &filter {
        found.retain(|descriptor| descriptor.artifact_type() == Some(filter));
    }
    let (index, last) = index_page(&found);
    let mut response = index_response(call, index);
    if let Some(filter) = &filter {
        set(&mut response, OCI_FILTERS_APPLIED, "artifactType");
        link_referrers(
            &mut response,
            &name,
            &subject,
            last,
            &format!("&artifactType={}", query_escaped(filter)),
        );
    } else {
        link_referrers(&mut response, &name, &subject, last, "");
    }
    Ok(response)
}

fn index_response(call: &Call, index: String) -> Response {
    let length = index.len();
    let mut response =
        Response::new(if call.is_head() { Body::empty() } else { Body::from(index) });
    set(&mut response, CONTENT_TYPE, OCI_INDEX);
    set(&mut response, CONTENT_LENGTH, &length.to_string());
    response
}

fn link_referrers(
    response: &mut Response,
    name: &RepositoryName,
    subject: &Digest,
    last: Option<&Digest>,
    filter: &str,
) {
    if let Some(last) = last {
        let target = format!("/v2/{name}/referrers/{subject}?last={last}{filter}");
        set(response, LINK, &format!("<{target}>; rel=\"next\""));
    }
}

/// As many descriptors as a client accepts in one index, and the last of them if there are more.
fn index_page(found: &[Descriptor]) -> (String, Option<&Digest>) {
    let mut entries = Vec::new();
    let mut length = 0;
    for descriptor in found {
        let text = serde_json::to_string(descriptor).unwrap_or_default();
        if length + text.len() > limits::REFERRERS_PAGE_BYTES_MAX && !entries.is_empty() {
            break;
        }
        length += text.len() + 1;
        entries.push(text);
    }
    let last = (entries.len() < found.len()).then(|| found[entries.len() - 1].digest());
    let manifests = entries.join(",");
    let index = format!(
        "{{\"schemaVersion\":2,\"mediaType\":\"{OCI_INDEX}\",\"manifests\":[{manifests}]}}"
    );
    (index, last)
}
