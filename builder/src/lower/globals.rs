//! Arguments in force before the first stage, and those that need no declaration.

use std::collections::{BTreeMap, BTreeSet};

use oci::Platform;

use super::{LowerOptions, Lowering};
use crate::error::{Error, Result};
use crate::frontend::Instruction;
use crate::frontend::expand::Lexer;

/// Proxy variables: usable without ARG, in no history and no cache key.
pub(super) const PROXY_NAMES: [&str; 5] =
    ["http_proxy", "https_proxy", "ftp_proxy", "no_proxy", "all_proxy"];

/// True for a proxy variable in any case.
pub(super) fn is_proxy(name: &str) -> bool {
    PROXY_NAMES.iter().any(|p| p.eq_ignore_ascii_case(name))
}

/// Arguments for the builder itself never become environment variables.
pub(super) fn is_for_builder(name: &str) -> bool {
    name.starts_with("BUILDKIT_SBOM_SCAN_")
}

/// The last value of `name`.
pub(super) fn get<'e>(env: &'e [(String, String)], name: &str) -> Option<&'e str> {
    env.iter().rev().find(|(k, _)| k == name).map(|(_, v)| v.as_str())
}

/// Replaces a value where it stands, or adds it at the end.
pub(super) fn set(env: &mut Vec<(String, String)>, name: &str, value: &str) {
    match env.iter_mut().find(|(k, _)| k == name) {
        Some(entry) => value.clone_into(&mut entry.1),
        None => env.push((name.to_owned(), value.to_owned())),
    }
}

/// The names of the arguments that every FROM may use.
pub(crate) fn platform_arg_names() -> impl Iterator<Item = &'static str> {
    [
        "BUILDPLATFORM",
        "BUILDOS",
        "BUILDOSVERSION",
        "BUILDARCH",
        "BUILDVARIANT",
        "TARGETPLATFORM",
        "TARGETOS",
        "TARGETOSVERSION",
        "TARGETARCH",
        "TARGETVARIANT",
        "TARGETSTAGE",
    ]
    .into_iter()
}

/// `TARGET*` and `BUILD*`; `--build-arg` may replace them.
pub(super) fn platform_args(options: &LowerOptions) -> Vec<(String, String)> {
    let mut args = Vec::new();
    let mut add = |prefix: &str, platform: &Platform| {
        let variant = platform.variant().unwrap_or_default();
        for (suffix, value) in [
            ("PLATFORM", platform.to_string()),
            ("OS", platform.os().to_owned()),
            ("OSVERSION", platform.os_version().unwrap_or_default().to_owned()),
            ("ARCH", platform.architecture().to_owned()),
            ("VARIANT", variant.to_owned()),
        ] {
            args.push((format!("{prefix}{suffix}"), value));
        }
    };
    add("BUILD", &options.build_platform);
    add("TARGET", &options.platform);
    args.push((
        "TARGETSTAGE".to_owned(),
        options.target.clone().unwrap_or_else(|| "default".to_owned()),
    ));
    for (name, value) in &mut args {
        if let Some(given) = options.build_args.get(name) {
            value.clone_from(given);
        }
    }
    args
}

/// `SOURCE_DATE_EPOCH` as `--build-arg` or as the default of a global ARG.
pub(super) fn epoch(
    build_args: &BTreeMap<String, String>,
    globals: &[(String, String)],
) -> Result<Option<i64>> {
    let name = "SOURCE_DATE_EPOCH";
    let Some(value) = build_args
        .get(name)
        .map(String::as_str)
        .or_else(|| get(globals, name))
        .filter(|v| !v.is_empty())
    else {
        return Ok(None);
    };
    value.parse().ok().filter(|s| (0..=253_402_300_799).contains(s)).map(Some).ok_or_else(|| {
        Error::Request {
            what: name,
            value: value.to_owned(),
            reason: "it takes seconds since 1970".to_owned(),
        }
    })
}

/// Given arguments that nothing asked for.
pub(super) fn unused_args(
    build_args: &BTreeMap<String, String>,
    declared: &BTreeSet<String>,
) -> Vec<String> {
    let known = |name: &str| {
        declared.contains(name)
            || is_proxy(name)
            || name.starts_with("BUILDKIT_")
            || name == "SOURCE_DATE_EPOCH"
            || ["TARGET", "BUILD"].iter().any(|p| {
                name.strip_prefix(p).is_some_and(|s| {
                    ["PLATFORM", "OS", "OSVERSION", "ARCH", "VARIANT", "STAGE"].contains(&s)
                })
            })
    };
    build_args.keys().filter(|name| !known(name)).cloned().collect()
}

impl Lowering<'_> {
    pub(super) fn lexer(&self) -> Lexer {
        Lexer::new(self.file.directives.escape)
    }

    /// ARG instructions before the first FROM.
    pub(super) fn read_globals(&mut self) -> Result<()> {
        for node in &self.file.global_args {
            let Instruction::Arg(pairs) = &node.instruction else { continue };
            for pair in pairs {
                self.declared.insert(pair.name.clone());
                let value = match (self.options.build_args.get(&pair.name), &pair.default) {
                    (Some(given), _) => Some(given.clone()),
                    (None, Some(default)) => Some(
                        self.lexer()
                            .word(default, &self.globals)
                            .map_err(|e| self.error(node.span, e.to_string()))?,
                    ),
                    (None, None) => None,
                };
                if let Some(value) = value {
                    set(&mut self.globals, &pair.name, &value);
                }
            }
        }
        Ok(())
    }
}
