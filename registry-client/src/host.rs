//! Which host a registry name means and which schemes may be tried on it.

use std::net::{IpAddr, Ipv4Addr};

use url::Url;

/// How a registry is reached.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Scheme {
    /// HTTPS, and plain HTTP for loopback hosts, as Docker does.
    #[default]
    Auto,
    /// HTTPS only, also on loopback.
    HttpsOnly,
    /// Plain HTTP, whatever the host: the user said so.
    HttpOnly,
}

/// The host that serves the registry `name`. Docker Hub's name is not its host.
pub(crate) fn api_host(name: &str) -> &str {
    match name {
        "docker.io" | "index.docker.io" => "registry-1.docker.io",
        other => other,
    }
}

/// Whether `host` (with or without port) is this machine: `localhost`, `127.0.0.0/8`, `[::1]`.
pub fn is_loopback(host: &str) -> bool {
    let name = without_port(host);
    if name.eq_ignore_ascii_case("localhost") {
        return true;
    }
    match name.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>() {
        Ok(IpAddr::V4(address)) => address.octets()[0] == Ipv4Addr::LOCALHOST.octets()[0],
        Ok(IpAddr::V6(address)) => address.is_loopback(),
        Err(_) => false,
    }
}

fn without_port(host: &str) -> &str {
    if let Some(end) = host.strip_prefix('[').and_then(|rest| rest.find(']')) {
        return &host[..end + 2];
    }
    host.rsplit_once(':').map_or(host, |(name, _)| name)
}

/// How the certificate of a candidate is looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verification {
    Full,
    Skipped,
}

/// One way to reach a host, in the order they are tried.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Candidate {
    pub(crate) scheme: &'static str,
    pub(crate) verification: Verification,
}

/// The ways to reach a host. More than one only for loopback and hosts called insecure, so
/// HTTPS is never silently given up (DST-38).
pub(crate) fn candidates(
    host: &str,
    scheme: Scheme,
    insecure: Insecure,
    has_own_ca: bool,
) -> Vec<Candidate> {
    let https = |verification| Candidate { scheme: "https", verification };
    let http = Candidate { scheme: "http", verification: Verification::Full };
    let relaxed = if has_own_ca { Verification::Full } else { Verification::Skipped };
    match (scheme, insecure) {
        (Scheme::HttpOnly, _) => vec![http],
        (Scheme::HttpsOnly, Insecure::No) => vec![https(Verification::Full)],
        (Scheme::HttpsOnly, Insecure::Yes) => vec![https(Verification::Skipped)],
        // On loopback the plain way is the usual one, so it is tried first.
        (Scheme::Auto, _) if is_loopback(host) => vec![http, https(relaxed)],
        (Scheme::Auto, Insecure::Yes) => vec![https(Verification::Skipped), http],
        (Scheme::Auto, Insecure::No) => vec![https(Verification::Full)],
    }
}

/// Whether the user called a host insecure: untrusted certificates and plain HTTP are taken.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Insecure {
    /// Certificates are verified.
    #[default]
    No,
    /// Certificates are not verified and plain HTTP is tried where HTTPS is not spoken.
    Yes,
}

/// Whether two URLs go to the same server, so that credentials may follow.
pub(crate) fn same_origin(a: &Url, b: &Url) -> bool {
    a.scheme() == b.scheme()
        && a.host_str() == b.host_str()
        && a.port_or_known_default() == b.port_or_known_default()
}

/// `host` or `host:port` of a URL, the port only where it is not the scheme's own.
pub(crate) fn authority(url: &Url) -> String {
    let host = url.host_str().unwrap_or_default();
    match url.port() {
        Some(port) => format!("{host}:{port}"),
        None => host.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Covers: DST-38
    #[test]
    fn only_this_machine_is_loopback() {
        for host in
            ["localhost", "localhost:5000", "127.0.0.1", "127.9.8.7:80", "[::1]:5000", "[::1]"]
        {
            assert!(is_loopback(host), "{host}");
        }
        for host in [
            "example.com",
            "localhost.evil.com",
            "128.0.0.1",
            "10.0.0.1:5000",
            "[2001:db8::1]:5000",
            "127.0.0.1.evil.com",
        ] {
            assert!(!is_loopback(host), "{host}");
        }
    }

    /// Covers: DST-38
    #[test]
    fn https_is_given_up_only_for_loopback_and_where_the_user_says_so() {
        let schemes = |host, scheme, insecure| {
            candidates(host, scheme, insecure, false)
                .iter()
                .map(|c| (c.scheme, c.verification == Verification::Full))
                .collect::<Vec<_>>()
        };
        assert_eq!(schemes("example.com", Scheme::Auto, Insecure::No), [("https", true)]);
        assert_eq!(
            schemes("example.com", Scheme::Auto, Insecure::Yes),
            [("https", false), ("http", true)]
        );
        assert_eq!(
            schemes("127.0.0.1:5000", Scheme::Auto, Insecure::No),
            [("http", true), ("https", false)]
        );
        assert_eq!(schemes("localhost", Scheme::HttpsOnly, Insecure::No), [("https", true)]);
        assert_eq!(schemes("example.com", Scheme::HttpOnly, Insecure::No), [("http", true)]);
    }

    #[test]
    fn a_loopback_host_with_its_own_authority_is_verified() {
        let ways = candidates("localhost:5000", Scheme::Auto, Insecure::No, true);
        assert!(ways.iter().all(|way| way.verification == Verification::Full));
    }

    #[test]
    fn docker_hub_lives_elsewhere() {
        assert_eq!(api_host("docker.io"), "registry-1.docker.io");
        assert_eq!(api_host("ghcr.io"), "ghcr.io");
    }

    #[test]
    fn an_origin_is_scheme_host_and_port() {
        let url = |text: &str| text.parse::<Url>().expect("valid");
        assert!(same_origin(&url("https://h/a"), &url("https://h:443/b")));
        assert!(!same_origin(&url("https://h/a"), &url("http://h/a")));
        assert!(!same_origin(&url("https://h/a"), &url("https://h:444/a")));
        assert!(!same_origin(&url("https://h/a"), &url("https://h.evil/a")));
    }
}
