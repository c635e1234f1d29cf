//! A seccomp profile: rules by name of a system call, and the reader of Docker's JSON form.

use serde::Deserialize;

use crate::caps::Capabilities;
use crate::error::{Error, Result};
use crate::limits;

/// What the kernel does with a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Action {
    /// Runs it.
    Allow,
    /// Runs it and logs it.
    Log,
    /// Fails it with this error number.
    Errno(u16),
    /// Sends SIGSYS.
    Trap,
    /// Asks a tracer.
    Trace(u16),
    /// Ends the thread.
    KillThread,
    /// Ends the process.
    KillProcess,
}

/// One comparison of one argument.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct ArgumentTest {
    pub(super) index: u8,
    pub(super) comparison: Comparison,
}

/// How an argument is compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Comparison {
    Equal(u64),
    NotEqual(u64),
    Less(u64),
    LessOrEqual(u64),
    Greater(u64),
    GreaterOrEqual(u64),
    MaskedEqual { mask: u64, value: u64 },
}

/// An action for some calls, when all tests hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Rule {
    pub(super) names: Vec<String>,
    pub(super) action: Action,
    pub(super) tests: Vec<ArgumentTest>,
}

/// A default and its exceptions. Of several rules for one call the first that holds decides, those without tests last.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Profile {
    pub(super) default: Action,
    pub(super) rules: Vec<Rule>,
}

impl Profile {
    /// Reads Docker's JSON form and keeps the rules that hold for these capabilities, this kernel and this architecture.
    pub(super) fn from_json(
        text: &str,
        capabilities: Capabilities,
        kernel: (u32, u32),
    ) -> Result<Self> {
        if text.len() as u64 > limits::SECCOMP_PROFILE_BYTES {
            return Err(refuse("it is longer than 4 MiB"));
        }
        let document: Document = serde_json::from_str(text)
            .map_err(|error| refuse(format!("decoding seccomp profile failed: {error}")))?;
        let default = action(&document.default_action, document.default_errno_ret)?;
        let mut rules = Vec::new();
        for entry in document.syscalls.unwrap_or_default() {
            let included =
                entry.includes.as_ref().is_none_or(|filter| filter.all_hold(capabilities, kernel));
            let excluded = entry
                .excludes
                .as_ref()
                .is_some_and(|filter| filter.any_holds(capabilities, kernel));
            if included && !excluded {
                rules.push(entry.into_rule()?);
            }
        }
        Ok(Self { default, rules })
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Document {
    default_action: String,
    default_errno_ret: Option<u16>,
    syscalls: Option<Vec<Entry>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Entry {
    #[serde(default)]
    names: Vec<String>,
    name: Option<String>,
    action: String,
    errno_ret: Option<u16>,
    args: Option<Vec<Argument>>,
    includes: Option<Filter>,
    excludes: Option<Filter>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Argument {
    index: u8,
    value: u64,
    #[serde(default)]
    value_two: u64,
    op: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Filter {
    #[serde(default)]
    caps: Vec<String>,
    #[serde(default)]
    arches: Vec<String>,
    min_kernel: Option<String>,
}

impl Filter {
    fn parts(&self, capabilities: Capabilities, kernel: (u32, u32)) -> Vec<bool> {
        let mut parts: Vec<bool> =
            self.caps.iter().map(|name| capabilities.contains_name(name)).collect();
        if !self.arches.is_empty() {
            parts.push(self.arches.iter().any(|name| is_this_architecture(name)));
        }
        if let Some(minimum) = &self.min_kernel {
            parts.push(parse_version(minimum).is_some_and(|minimum| kernel >= minimum));
        }
        parts
    }

    fn all_hold(&self, capabilities: Capabilities, kernel: (u32, u32)) -> bool {
        self.parts(capabilities, kernel).into_iter().all(|held| held)
    }

    fn any_holds(&self, capabilities: Capabilities, kernel: (u32, u32)) -> bool {
        self.parts(capabilities, kernel).into_iter().any(|held| held)
    }
}

impl Entry {
    fn into_rule(self) -> Result<Rule> {
        if self.name.is_some() && !self.names.is_empty() {
            return Err(refuse("'name' and 'names' cannot be used together in one entry"));
        }
        let names: Vec<String> = self.names.into_iter().chain(self.name).collect();
        let tests = self
            .args
            .unwrap_or_default()
            .into_iter()
            .map(Argument::into_test)
            .collect::<Result<_>>()?;
        Ok(Rule { names, action: action(&self.action, self.errno_ret)?, tests })
    }
}

impl Argument {
    fn into_test(self) -> Result<ArgumentTest> {
        if self.index > 5 {
            return Err(refuse(format!("a system call has no argument {}", self.index)));
        }
        let comparison = match self.op.as_str() {
            "SCMP_CMP_EQ" => Comparison::Equal(self.value),
            "SCMP_CMP_NE" => Comparison::NotEqual(self.value),
            "SCMP_CMP_LT" => Comparison::Less(self.value),
            "SCMP_CMP_LE" => Comparison::LessOrEqual(self.value),
            "SCMP_CMP_GT" => Comparison::Greater(self.value),
            "SCMP_CMP_GE" => Comparison::GreaterOrEqual(self.value),
            "SCMP_CMP_MASKED_EQ" => {
                Comparison::MaskedEqual { mask: self.value, value: self.value_two }
            }
            other => return Err(refuse(format!("unknown operator {other}"))),
        };
        Ok(ArgumentTest { index: self.index, comparison })
    }
}

fn action(name: &str, errno: Option<u16>) -> Result<Action> {
    Ok(match name {
        "SCMP_ACT_ALLOW" => Action::Allow,
        "SCMP_ACT_LOG" => Action::Log,
        "SCMP_ACT_ERRNO" => Action::Errno(errno.unwrap_or(1)),
        "SCMP_ACT_TRAP" => Action::Trap,
        "SCMP_ACT_TRACE" => Action::Trace(errno.unwrap_or(1)),
        "SCMP_ACT_KILL" | "SCMP_ACT_KILL_THREAD" => Action::KillThread,
        "SCMP_ACT_KILL_PROCESS" => Action::KillProcess,
        "SCMP_ACT_NOTIFY" => {
            return Err(Error::unsupported(
                "seccomp action SCMP_ACT_NOTIFY",
                "this version has no listener for it",
            ));
        }
        other => return Err(refuse(format!("unknown action {other}"))),
    })
}

fn is_this_architecture(name: &str) -> bool {
    let this: &[&str] = match std::env::consts::ARCH {
        "x86_64" => &["amd64", "x86_64", "SCMP_ARCH_X86_64"],
        "aarch64" => &["arm64", "aarch64", "SCMP_ARCH_AARCH64"],
        other => return name == other,
    };
    this.contains(&name)
}

/// `4.8` or `6.18.44-fc` to (4, 8) and (6, 18).
pub(super) fn parse_version(text: &str) -> Option<(u32, u32)> {
    let mut numbers = text.split(|c: char| !c.is_ascii_digit()).map(str::parse);
    Some((numbers.next()?.ok()?, numbers.next()?.ok()?))
}

fn refuse(reason: impl Into<String>) -> Error {
    Error::invalid("--security-opt", "seccomp", reason)
}
