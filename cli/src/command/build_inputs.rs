//! The small grammars of `build`: limits, secrets, agents.

use std::os::unix::ffi::OsStringExt;
use std::path::PathBuf;

use engine::builder::ports::{Secret, StepLimits};
use engine::runtime::Ulimit;

use crate::error::{Error, Result};
use crate::format::parse_bytes;

/// Limits of RUN steps.
#[derive(Debug, clap::Args)]
pub(crate) struct LimitArgs {
    /// Limit the CPU CFS (Completely Fair Scheduler) period
    #[arg(long, value_name = "int")]
    cpu_period: Option<u64>,
    /// Limit the CPU CFS (Completely Fair Scheduler) quota
    #[arg(long, value_name = "int", allow_negative_numbers = true)]
    cpu_quota: Option<i64>,
    /// CPU shares (relative weight)
    #[arg(short, long, value_name = "int")]
    cpu_shares: Option<u64>,
    /// CPUs in which to allow execution (0-3, 0,1)
    #[arg(long, value_name = "string")]
    cpuset_cpus: Option<String>,
    /// MEMs in which to allow execution (0-3, 0,1)
    #[arg(long, value_name = "string")]
    cpuset_mems: Option<String>,
    /// Memory limit
    #[arg(short, long, value_name = "bytes")]
    memory: Option<String>,
    /// Swap limit equal to memory plus swap: -1 to enable unlimited swap
    #[arg(long, value_name = "bytes", allow_hyphen_values = true)]
    memory_swap: Option<String>,
    /// Shared memory size for build containers
    #[arg(long, value_name = "bytes")]
    shm_size: Option<String>,
    /// Ulimit options
    #[arg(long, value_name = "ulimit")]
    ulimit: Vec<String>,
}

/// What the limits mean to a step.
pub(crate) fn limits_of(args: &LimitArgs) -> Result<StepLimits> {
    let swap = match args.memory_swap.as_deref() {
        None => None,
        Some("-1") => Some(-1),
        Some(text) => Some(i64::try_from(bytes("--memory-swap", text)?).unwrap_or(i64::MAX)),
    };
    let ulimit = |text: &String| {
        let limit: Ulimit = text.parse()?;
        Ok((limit.name().to_owned(), limit.soft(), limit.hard()))
    };
    Ok(StepLimits {
        memory: args.memory.as_deref().map(|text| bytes("-m, --memory", text)).transpose()?,
        memory_swap: swap,
        cpu_shares: args.cpu_shares,
        cpu_period: args.cpu_period,
        cpu_quota: args.cpu_quota,
        cpuset_cpus: args.cpuset_cpus.clone(),
        cpuset_mems: args.cpuset_mems.clone(),
        shm_size: args.shm_size.as_deref().map(|text| bytes("--shm-size", text)).transpose()?,
        ulimits: args.ulimit.iter().map(ulimit).collect::<Result<_>>()?,
        cgroup_parent: None,
    })
}

fn bytes(flag: &str, text: &str) -> Result<u64> {
    parse_bytes(text).map_err(|reason| {
        Error::refused(format!("invalid argument {text:?} for {flag:?} flag: {reason}"), "")
    })
}

/// The largest secret, as BuildKit has it.
const SECRET_BYTES_MAX: usize = 500 << 10;

/// `id=NAME[,src=FILE|,env=VARIABLE][,type=file|env]`.
pub(crate) fn secret(text: &str) -> Result<(String, Secret)> {
    let wrong = |reason: &str| {
        Error::refused(
            format!("invalid secret {text:?}: {reason}"),
            "write id=NAME,src=FILE or id=NAME,env=VARIABLE",
        )
    };
    let (mut id, mut file, mut variable, mut kind) = (None, None, None, None);
    for field in text.split(',') {
        match field.split_once('=') {
            Some(("id", value)) => id = Some(value),
            Some(("src" | "source", value)) => file = Some(value),
            Some(("env", value)) => variable = Some(value),
            Some(("type", value @ ("file" | "env"))) => kind = Some(value),
            _ => return Err(wrong("unknown field")),
        }
    }
    let id = id.filter(|id| !id.is_empty()).ok_or_else(|| wrong("id is missing"))?;
    if kind == Some("env") {
        variable = variable.or(file).or(Some(id));
        file = None;
    }
    // Without a source BuildKit takes the variable of that name, then the file of that name.
    let in_environment = || std::env::var_os(id).is_some();
    let value = match (file, variable) {
        (Some(_), Some(_)) => return Err(wrong("both a file and a variable")),
        (None, Some(name)) => from_environment(name)?,
        (None, None) if in_environment() => from_environment(id)?,
        (file, None) => from_file(file.unwrap_or(id))?,
    };
    if value.len() > SECRET_BYTES_MAX {
        return Err(Error::refused(
            format!("secret {id} is larger than {SECRET_BYTES_MAX} bytes"),
            "",
        ));
    }
    Ok((id.to_owned(), Secret::new(value)))
}

fn from_environment(name: &str) -> Result<Vec<u8>> {
    std::env::var_os(name).map(OsStringExt::into_vec).ok_or_else(|| {
        Error::refused(format!("secret: the environment has no variable {name}"), "")
    })
}

fn from_file(path: &str) -> Result<Vec<u8>> {
    engine::files::read(path).map_err(|source| Error::File {
        act: "read secret",
        path: path.to_owned(),
        source,
    })
}

/// `ID[=SOCKET]`; without a socket the one of `SSH_AUTH_SOCK`.
pub(crate) fn ssh_agent(text: &str) -> Result<(String, PathBuf)> {
    let (id, socket) = text.split_once('=').unwrap_or((text, ""));
    let socket = match socket {
        "" => std::env::var_os("SSH_AUTH_SOCK").map(PathBuf::from),
        path => Some(PathBuf::from(path)),
    };
    let socket = socket.ok_or_else(|| {
        Error::refused(
            format!("invalid empty ssh agent socket for {id}"),
            "start an agent, or write ID=SOCKET",
        )
    })?;
    Ok((id.to_owned(), socket))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Covers: BLD-62
    #[test]
    fn secrets_come_from_files_and_variables_and_are_not_shown() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("token");
        std::fs::write(&file, "hunter2").unwrap();
        let (id, value) = secret(&format!("id=token,src={}", file.display())).unwrap();
        assert_eq!((id.as_str(), value.expose()), ("token", b"hunter2".as_slice()));
        assert_eq!(format!("{value:?}"), "Secret(***)");
        let (_, path) = secret("id=p,env=PATH").unwrap();
        assert_eq!(path.expose(), std::env::var("PATH").unwrap().as_bytes());
        for bad in [
            "src=x",
            "id=",
            "id=a,src=/no/such/file",
            "id=a,colour=blue",
            "id=a,src=x,env=y",
            "id=a,env=NO_SUCH_VARIABLE",
        ] {
            assert!(secret(bad).is_err(), "{bad}");
        }
    }
}
