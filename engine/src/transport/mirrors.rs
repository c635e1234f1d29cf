//! `registries.conf` (version 2) of Podman, Buildah and skopeo: mirrors, insecure and blocked registries.
//!
//! Read where its meaning is the same here. What would mean something else is not guessed at: the registry that it is
//! about is refused with the reason, and all others go on. Short names are Docker's, so what the file says
//! of them (aliases, registries to search) does not concern us.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use registry_client::{
    ApiRoot, ClientConfig, Insecure, Mirror, MirrorCapabilities, NamespaceQuery,
};
use serde::Deserialize;

use crate::error::{Error, Result};

/// Time that a mirror has to begin its answer: the next one waits behind it.
const MIRROR_DEADLINE: Duration = Duration::from_secs(15);
/// Largest file that is read.
const FILE_BYTES_MAX: u64 = 4 * 1024 * 1024;

#[derive(Debug, Default, Deserialize)]
struct Document {
    #[serde(default)]
    registry: Vec<Registry>,
    /// Version 1 of the format, which is another language.
    registries: Option<toml::Value>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "kebab-case")]
struct Registry {
    prefix: Option<String>,
    location: Option<String>,
    #[serde(default)]
    insecure: bool,
    #[serde(default)]
    blocked: bool,
    #[serde(default)]
    mirror_by_digest_only: bool,
    #[serde(default)]
    mirror: Vec<MirrorDocument>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "kebab-case")]
struct MirrorDocument {
    location: String,
    #[serde(default)]
    insecure: bool,
    pull_from_mirror: Option<String>,
}

/// Adds what the files say to the settings of the client. Later files win over earlier ones,
/// registry by registry.
pub(super) fn add(config: &mut ClientConfig, files: &[PathBuf]) -> Result<()> {
    let mut registries = BTreeMap::new();
    for file in files {
        for registry in read(file)? {
            let prefix = registry.prefix.clone().or_else(|| registry.location.clone());
            let prefix = prefix.ok_or_else(|| {
                invalid(file, "a [[registry]] has neither prefix nor location".to_owned())
            })?;
            registries.insert(prefix, (file.clone(), registry));
        }
    }
    for (prefix, (file, registry)) in registries {
        add_registry(config, &prefix, &file, &registry)?;
    }
    Ok(())
}

fn read(file: &Path) -> Result<Vec<Registry>> {
    let length = std::fs::metadata(file).map_err(|e| Error::io("read", file, e))?.len();
    if length > FILE_BYTES_MAX {
        return Err(invalid(file, format!("it is over the limit of {FILE_BYTES_MAX} bytes")));
    }
    let text = crate::files::read_text(file).map_err(|e| Error::io("read", file, e))?;
    let document: Document =
        toml::from_str(&text).map_err(|e| invalid(file, e.message().to_owned()))?;
    match document.registries {
        Some(_) => {
            Err(invalid(file, "it is in version 1 of the format; write [[registry]]".to_owned()))
        }
        None => Ok(document.registry),
    }
}

fn invalid(file: &Path, reason: String) -> Error {
    Error::Configuration { file: file.display().to_string(), reason }
}

fn add_registry(
    config: &mut ClientConfig,
    prefix: &str,
    file: &Path,
    registry: &Registry,
) -> Result<()> {
    let name = prefix.split('/').next().unwrap_or_default().to_owned();
    let template = config.host(&name).clone();
    let host = config.hosts.entry(name).or_insert(template);
    if registry.blocked {
        host.refused = Some(format!("{} blocks {prefix}", file.display()));
        return Ok(());
    }
    if let Some(reason) = unlike(prefix, registry) {
        let text = format!("{} says of {prefix} what is not supported: {reason}", file.display());
        host.refused = Some(text);
        return Ok(());
    }
    if registry.insecure {
        host.insecure = Insecure::Yes;
    }
    host.location = registry.location.clone().filter(|location| location != prefix);
    for mirror in &registry.mirror {
        host.mirrors.push(mirror_of(mirror, registry, file)?);
    }
    Ok(())
}

/// Why an entry would mean something else here.
fn unlike(prefix: &str, registry: &Registry) -> Option<String> {
    if prefix.contains('/') {
        return Some("settings are those of a whole registry, not of a path in it".to_owned());
    }
    if prefix.starts_with("*.") && registry.location.is_some() {
        return Some("a location for all registries of a domain".to_owned());
    }
    let odd = registry.mirror.iter().find_map(|mirror| match mirror.pull_from_mirror.as_deref() {
        None | Some("all" | "digest-only") => None,
        Some(other) => Some(other),
    });
    odd.map(|other| format!("pull-from-mirror = {other:?}"))
}

fn mirror_of(mirror: &MirrorDocument, registry: &Registry, file: &Path) -> Result<Mirror> {
    let (host, path) = mirror.location.split_once('/').unwrap_or((&mirror.location, ""));
    let loopback = registry_client::is_loopback(host);
    let scheme = if mirror.insecure || loopback { "http" } else { "https" };
    // The repositories of the mirror are under the path, the protocol is at the root.
    let (url, api_root) = match path {
        "" => (format!("{scheme}://{host}"), ApiRoot::UnderV2),
        path => (format!("{scheme}://{host}/v2/{path}"), ApiRoot::AtUrl),
    };
    let digests_only =
        registry.mirror_by_digest_only || mirror.pull_from_mirror.as_deref() == Some("digest-only");
    Ok(Mirror {
        url: url.parse().map_err(|error| {
            invalid(file, format!("the mirror {:?} is no host: {error}", mirror.location))
        })?,
        capabilities: match digests_only {
            true => MirrorCapabilities::Pull,
            false => MirrorCapabilities::PullAndResolve,
        },
        namespace: NamespaceQuery::Omit,
        insecure: if mirror.insecure { Insecure::Yes } else { Insecure::No },
        api_root,
        deadline: MIRROR_DEADLINE,
    })
}

/// The files that hold: the one that is named, else ours, else the system's with its additions.
pub(super) fn files(named: Option<PathBuf>, config_dir: &Path) -> Result<Vec<PathBuf>> {
    if let Some(named) = named {
        return Ok(vec![named]);
    }
    let ours = config_dir.join("registries.conf");
    if ours.exists() {
        return Ok(vec![ours]);
    }
    let system = Path::new("/etc/containers/registries.conf");
    let mut files: Vec<PathBuf> =
        system.exists().then(|| system.to_path_buf()).into_iter().collect();
    let more = super::entries(Path::new("/etc/containers/registries.conf.d"))?;
    files.extend(more.into_iter().filter(|path| path.extension().is_some_and(|e| e == "conf")));
    Ok(files)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn configured(text: &str) -> Result<ClientConfig> {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("registries.conf");
        std::fs::write(&file, text).expect("written");
        let mut config = ClientConfig::default();
        add(&mut config, &[file]).map(|()| config)
    }

    /// Covers: DST-62
    #[test]
    fn mirrors_keep_their_order_and_what_they_are_trusted_with() {
        let config = configured(
            "unqualified-search-registries = [\"example.org\"]\n\
             [[registry]]\nlocation = \"docker.io\"\n\
             [[registry.mirror]]\nlocation = \"near.example.com/hub\"\npull-from-mirror = \"digest-only\"\n\
             [[registry.mirror]]\nlocation = \"127.0.0.1:5000\"\n",
        )
        .expect("a file");
        let mirrors = &config.host("docker.io").mirrors;
        let found: Vec<_> =
            mirrors.iter().map(|m| (m.url.as_str(), m.api_root, m.capabilities)).collect();
        assert_eq!(
            found,
            [
                ("https://near.example.com/v2/hub", ApiRoot::AtUrl, MirrorCapabilities::Pull),
                ("http://127.0.0.1:5000/", ApiRoot::UnderV2, MirrorCapabilities::PullAndResolve),
            ]
        );
        assert_eq!(config.host("docker.io").refused, None);
        assert!(config.host("quay.io").mirrors.is_empty());
    }

    /// Covers: DST-62
    #[test]
    fn what_would_mean_something_else_is_refused_for_that_registry_alone() {
        let table = [
            ("[[registry]]\nprefix = \"a.example\"\nblocked = true", "a.example", "blocks"),
            ("[[registry]]\nprefix = \"a.example/team\"\nlocation = \"b\"", "a.example", "path"),
            ("[[registry]]\nprefix = \"*.a.example\"\nlocation = \"b\"", "x.a.example", "domain"),
            (
                "[[registry]]\nlocation = \"a.example\"\n[[registry.mirror]]\nlocation = \"b\"\npull-from-mirror = \"tag-only\"",
                "a.example",
                "tag-only",
            ),
        ];
        for (text, host, reason) in table {
            let config = configured(text).expect("a file");
            let refused = config.host(host).refused.clone().expect(text);
            assert!(refused.contains(reason), "{text}: {refused}");
            assert_eq!(config.host("other.example").refused, None);
        }
        for (text, reason) in [
            ("[registries.search]\nregistries = []", "version 1"),
            ("[[registry]]\ninsecure = true", "neither prefix nor location"),
            ("[[registry]", "expected"),
        ] {
            let error = configured(text).expect_err(text).to_string();
            assert!(error.contains(reason), "{text}: {error}");
        }
    }

    #[test]
    fn a_registry_may_be_elsewhere_and_a_domain_may_be_insecure() {
        let config = configured(
            "[[registry]]\nprefix = \"a.example\"\nlocation = \"b.example/mirror/a\"\n\
             [[registry]]\nprefix = \"*.lab.example\"\ninsecure = true\n",
        )
        .expect("a file");
        assert_eq!(config.host("a.example").location.as_deref(), Some("b.example/mirror/a"));
        assert_eq!(config.host("x.lab.example").insecure, Insecure::Yes);
        assert_eq!(config.host("lab.example").insecure, Insecure::No);
    }
}
