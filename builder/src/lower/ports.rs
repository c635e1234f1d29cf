//! `EXPOSE 80 443/udp 8000-8010`.

use crate::limits;

/// `[ip:][host:]port[-port][/proto]` as `port/proto` keys.
pub(super) fn parse_port(spec: &str) -> Result<Vec<String>, String> {
    let container = spec.rsplit(':').next().unwrap_or(spec);
    let (range, proto) = container.split_once('/').unwrap_or((container, ""));
    if range.is_empty() {
        return Err(format!("no port specified: {spec}<empty>"));
    }
    let proto = match proto.to_ascii_lowercase().as_str() {
        "" => "tcp".to_owned(),
        known @ ("tcp" | "udp" | "sctp") => known.to_owned(),
        other => return Err(format!("invalid proto: {other}")),
    };
    let port =
        |text: &str| text.parse::<u16>().ok().filter(|_| text.bytes().all(|b| b.is_ascii_digit()));
    let (first, last) = match range.split_once('-') {
        Some((first, last)) => (port(first), port(last)),
        None => (port(range), port(range)),
    };
    match (first, last) {
        (Some(first), Some(last)) if first <= last => {
            Ok((first..=last).map(|p| format!("{p}/{proto}")).collect())
        }
        _ => Err(format!("invalid containerPort: {range}")),
    }
}

/// The keys of several words, in order and bounded.
pub(super) fn parse_ports(words: &[String]) -> Result<Vec<String>, String> {
    let mut ports = Vec::new();
    for word in words {
        ports.extend(parse_port(word)?);
        if ports.len() > limits::EXPOSED_PORTS {
            return Err("too many ports".to_owned());
        }
    }
    Ok(ports)
}

/// True when a signal of this name or number exists.
pub(super) fn is_signal(text: &str) -> bool {
    const NAMES: [&str; 34] = [
        "ABRT", "ALRM", "BUS", "CHLD", "CLD", "CONT", "FPE", "HUP", "ILL", "INT", "IO", "IOT",
        "KILL", "PIPE", "POLL", "PROF", "PWR", "QUIT", "SEGV", "STKFLT", "STOP", "SYS", "TERM",
        "TRAP", "TSTP", "TTIN", "TTOU", "URG", "USR1", "USR2", "VTALRM", "WINCH", "XCPU", "XFSZ",
    ];
    if text.bytes().all(|b| b.is_ascii_digit()) {
        return text.parse::<u32>().is_ok_and(|n| (1..=64).contains(&n));
    }
    let upper = text.to_ascii_uppercase();
    let name = upper.strip_prefix("SIG").unwrap_or(&upper);
    let offset = |prefix: &str, max: u32| {
        name.strip_prefix(prefix).is_some_and(|rest| {
            rest.is_empty() || rest[1..].parse::<u32>().is_ok_and(|n| (1..=max).contains(&n))
        })
    };
    NAMES.contains(&name) || (name.is_ascii() && (offset("RTMIN", 15) || offset("RTMAX", 14)))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Covers: BLD-61
    #[test]
    fn ports_become_keys_with_a_protocol() {
        for (spec, expect) in [
            ("80", vec!["80/tcp"]),
            ("80/UDP", vec!["80/udp"]),
            ("8000-8002", vec!["8000/tcp", "8001/tcp", "8002/tcp"]),
            ("127.0.0.1:8080:80", vec!["80/tcp"]),
        ] {
            assert_eq!(parse_port(spec).unwrap(), expect);
        }
        for bad in ["", "/tcp", "x", "80/icmp", "9-8", "70000", "-1", "+80"] {
            assert!(parse_port(bad).is_err(), "{bad}");
        }
    }

    /// Covers: BLD-66
    #[test]
    fn signals_go_by_name_or_number() {
        for good in ["SIGTERM", "term", "9", "SIGRTMIN+3", "RTMAX-1", "SIGRTMIN"] {
            assert!(is_signal(good), "{good}");
        }
        for bad in ["", "SIGNOPE", "0", "65", "99999999999", "RTMIN+16", "SIGRTMIN+x"] {
            assert!(!is_signal(bad), "{bad}");
        }
    }
}
