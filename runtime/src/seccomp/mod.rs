//! The filter of system calls: profile, compiler, and a cache of compiled programs by digest.
//!
//! The program is installed by our own call of seccomp(2), see [`crate::executor`]. It is compiled here and not by a library
//! because one filter must give different errors (`clone3` fails with ENOSYS, the rest with EPERM), know the 32-bit tables
//! of its architecture, and take every action that a user's profile may name.

mod compile;
mod default;
mod profile;

use std::path::Path;

use sha2::{Digest, Sha256};

use crate::caps::Capabilities;
use crate::error::Result;
use crate::limits;
use crate::options::SeccompChoice;
use crate::state;
use crate::sys::BpfInstruction;

/// Changed whenever the compiler or the default profile would give another program for the same input.
const COMPILER_VERSION: &str = "wherry-seccomp-1";
const INSTRUCTION_BYTES: usize = 8;

/// The filter for a container with these capabilities, from the cache or compiled; `None` for an unconfined one.
pub(crate) fn filter(
    choice: &SeccompChoice,
    capabilities: Capabilities,
    cache: &Path,
) -> Result<Option<Vec<BpfInstruction>>> {
    let kernel = kernel_version();
    let text = match choice {
        SeccompChoice::Unconfined => return Ok(None),
        SeccompChoice::Default => "",
        SeccompChoice::Profile(text) => text.as_str(),
    };
    let file = cache.join(key(text, capabilities, kernel));
    if let Some(program) =
        state::read_bounded(&file, (limits::BPF_INSTRUCTIONS * INSTRUCTION_BYTES) as u64)
            .ok()
            .and_then(|bytes| from_bytes(&bytes))
    {
        return Ok(Some(program));
    }
    let profile = match choice {
        SeccompChoice::Profile(text) => profile::Profile::from_json(text, capabilities, kernel)?,
        _ => default::profile(capabilities, kernel),
    };
    let program = compile::compile(&profile)?;
    state::make_private_dir(cache)?;
    state::write_atomically(&file, &to_bytes(&program))?;
    Ok(Some(program))
}

/// The filter of an OCI specification's `linux.seccomp`, whose rules hold whatever the capabilities are.
pub(crate) fn filter_of_specification(text: &str) -> Result<Vec<BpfInstruction>> {
    compile::compile(&profile::Profile::from_json(text, Capabilities::NONE, kernel_version())?)
}

/// Refuses a profile that could not be compiled, before a container is made with it.
pub(crate) fn check(choice: &SeccompChoice, capabilities: Capabilities) -> Result<()> {
    match choice {
        SeccompChoice::Profile(text) => {
            compile::compile(&profile::Profile::from_json(text, capabilities, kernel_version())?)
                .map(drop)
        }
        SeccompChoice::Default | SeccompChoice::Unconfined => Ok(()),
    }
}

fn key(text: &str, capabilities: Capabilities, kernel: (u32, u32)) -> String {
    let mut hash = Sha256::new();
    let since_4_8 = kernel >= (4, 8);
    hash.update(format!(
        "{COMPILER_VERSION} {} {:x} {since_4_8}\n",
        std::env::consts::ARCH,
        capabilities.bits()
    ));
    if !text.is_empty() {
        hash.update(format!("{}.{}\n", kernel.0, kernel.1));
        hash.update(text);
    }
    format!("{}.bpf", hex::encode(hash.finalize()))
}

fn to_bytes(program: &[BpfInstruction]) -> Vec<u8> {
    program
        .iter()
        .flat_map(|instruction| {
            let [a, b] = instruction.code.to_le_bytes();
            let [c, d, e, f] = instruction.operand.to_le_bytes();
            [a, b, instruction.jump_true, instruction.jump_false, c, d, e, f]
        })
        .collect()
}

fn from_bytes(bytes: &[u8]) -> Option<Vec<BpfInstruction>> {
    if bytes.is_empty() || !bytes.len().is_multiple_of(INSTRUCTION_BYTES) {
        return None;
    }
    let instruction = |chunk: &[u8]| match chunk {
        [a, b, jump_true, jump_false, c, d, e, f] => Some(BpfInstruction {
            code: u16::from_le_bytes([*a, *b]),
            jump_true: *jump_true,
            jump_false: *jump_false,
            operand: u32::from_le_bytes([*c, *d, *e, *f]),
        }),
        _ => None,
    };
    bytes.chunks_exact(INSTRUCTION_BYTES).map(instruction).collect()
}

fn kernel_version() -> (u32, u32) {
    let name = rustix::system::uname();
    name.release().to_str().ok().and_then(profile::parse_version).unwrap_or((0, 0))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::caps::Grant;

    /// Covers: RUN-11
    #[test]
    fn a_compiled_filter_is_kept_and_read_back_the_same() {
        let cache = tempfile::tempdir().unwrap();
        let capabilities = Capabilities::docker_default();
        let first = filter(&SeccompChoice::Default, capabilities, cache.path()).unwrap().unwrap();
        assert_eq!(std::fs::read_dir(cache.path()).unwrap().count(), 1);
        let second = filter(&SeccompChoice::Default, capabilities, cache.path()).unwrap().unwrap();
        assert_eq!(first, second);
        let other = Capabilities::resolve(&["SYS_ADMIN".into()], &[], Grant::Listed).unwrap();
        assert_ne!(filter(&SeccompChoice::Default, other, cache.path()).unwrap().unwrap(), first);
        assert_eq!(std::fs::read_dir(cache.path()).unwrap().count(), 2);
    }

    #[test]
    fn a_damaged_cache_file_is_compiled_anew() {
        let cache = tempfile::tempdir().unwrap();
        let good = filter(&SeccompChoice::Default, Capabilities::NONE, cache.path()).unwrap();
        let file = std::fs::read_dir(cache.path()).unwrap().next().unwrap().unwrap().path();
        std::fs::write(&file, b"123").unwrap();
        assert_eq!(
            filter(&SeccompChoice::Default, Capabilities::NONE, cache.path()).unwrap(),
            good
        );
    }

    #[test]
    fn a_users_profile_is_checked_before_use() {
        let check =
            |text: &str| check(&SeccompChoice::Profile(text.to_owned()), Capabilities::NONE);
        assert!(check(r#"{"defaultAction":"SCMP_ACT_ALLOW","syscalls":[{"names":["mkdir"],"action":"SCMP_ACT_ERRNO"}]}"#).is_ok());
        for bad in [
            "",
            "{}",
            r#"{"defaultAction":"SCMP_ACT_MAYBE"}"#,
            r#"{"defaultAction":"SCMP_ACT_ALLOW","syscalls":[{"name":"a","names":["b"],"action":"SCMP_ACT_ERRNO"}]}"#,
            r#"{"defaultAction":"SCMP_ACT_ALLOW","syscalls":[{"names":["b"],"action":"SCMP_ACT_ERRNO","args":[{"index":9,"value":0,"op":"SCMP_CMP_EQ"}]}]}"#,
            r#"{"defaultAction":"SCMP_ACT_ALLOW","syscalls":[{"names":["b"],"action":"SCMP_ACT_NOTIFY"}]}"#,
        ] {
            assert!(check(bad).is_err(), "{bad} must be refused");
        }
    }
}
