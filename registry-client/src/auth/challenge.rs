//! What a 401 asks for (RFC 9110 section 11.6.1, token specification of Docker).

use http_auth::ChallengeRef;
use url::Url;

use super::ScopeSet;
use crate::error::printable;
use crate::limits::{CHALLENGE_BYTES_MAX, CHALLENGES_MAX};

/// One way to authenticate that a registry offers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Challenge {
    /// User name and password.
    Basic,
    /// A token from a token server.
    Bearer {
        /// The token server.
        realm: Url,
        /// The name of the registry at the token server.
        service: Option<String>,
        /// What the request needs.
        scope: ScopeSet,
    },
    /// Something else, or a Bearer challenge without a usable realm.
    Other(String),
}

/// Reads all challenges of all `WWW-Authenticate` headers of an answer.
pub(crate) fn parse_challenges<'a>(headers: impl Iterator<Item = &'a str>) -> Vec<Challenge> {
    headers
        .filter(|header| header.len() <= CHALLENGE_BYTES_MAX)
        .filter_map(|header| http_auth::parse_challenges(header).ok())
        .flatten()
        .take(CHALLENGES_MAX)
        .map(|challenge| read(&challenge))
        .collect()
}

fn read(challenge: &ChallengeRef<'_>) -> Challenge {
    let parameter = |name: &str| {
        let found = challenge.params.iter().find(|(key, _)| key.eq_ignore_ascii_case(name));
        found.map(|(_, value)| value.to_unescaped())
    };
    let other = || Challenge::Other(printable(challenge.scheme, 40));
    if challenge.scheme.eq_ignore_ascii_case("basic") {
        return Challenge::Basic;
    }
    if !challenge.scheme.eq_ignore_ascii_case("bearer") {
        return other();
    }
    match parameter("realm").and_then(|realm| realm.parse::<Url>().ok()) {
        Some(realm) => Challenge::Bearer {
            realm,
            service: parameter("service").filter(|service| !service.is_empty()),
            scope: parameter("scope").map(|scope| ScopeSet::parse(&scope)).unwrap_or_default(),
        },
        None => other(),
    }
}
