//! The builder's RUN steps, run by the container runtime.

use std::path::PathBuf;

use builder::PortError;
use builder::frontend::{Network, Security};
use builder::ports::{LogStream, StepExit, StepMountSource, StepRun, Worker};
use runtime::{
    Access, MissingSource, MountKind, MountRequest, OutputStream, Resources, RootFs, Runtime,
    StepNetwork, StepRequest, Ulimit,
};

/// Runs steps with one runtime.
pub(crate) struct RuntimeWorker {
    runtime: Runtime,
}

impl RuntimeWorker {
    pub(crate) fn new(runtime: Runtime) -> Self {
        Self { runtime }
    }
}

impl Worker for RuntimeWorker {
    fn run(
        &self,
        step: &StepRun<'_>,
        log: &mut dyn FnMut(LogStream, &[u8]),
    ) -> Result<StepExit, PortError> {
        let request = request(step)?;
        let status = self.runtime.run_step(&request, &mut |stream, bytes| {
            let stream = match stream {
                OutputStream::Stdout => LogStream::Stdout,
                OutputStream::Stderr => LogStream::Stderr,
            };
            log(stream, bytes);
        })?;
        Ok(StepExit {
            code: status.code(),
            // A step that went on after one of its processes was killed, and was content, is content.
            out_of_memory: status.is_out_of_memory() && !status.success(),
        })
    }
}

fn request(step: &StepRun<'_>) -> Result<StepRequest, PortError> {
    Ok(StepRequest {
        rootfs: RootFs::Path { path: step.rootfs.to_path_buf() },
        args: step.args.to_vec(),
        env: step.env.iter().map(|(name, value)| format!("{name}={value}")).collect(),
        workdir: PathBuf::from(step.cwd),
        user: format!("{}:{}", step.user.uid, step.user.gid),
        mounts: step.mounts.iter().map(mount).collect(),
        // A build's default network is the host's until there is a bridge: apt and pip must work.
        network: match step.network {
            Network::Default | Network::Host => StepNetwork::Host,
            Network::None => StepNetwork::None,
        },
        resources: resources(step)?,
        hostname: step.hostname.to_owned(),
        insecure: step.security == Security::Insecure,
        extra_hosts: step.extra_hosts.iter().map(|(name, at)| format!("{name}:{at}")).collect(),
        groups: step.user.groups.iter().map(ToString::to_string).collect(),
        shm_size: step.limits.shm_size,
        ulimits: step.limits.ulimits.iter().map(ulimit).collect::<Result<_, _>>()?,
        stop: Some(step.cancel.flag()),
    })
}

fn ulimit((name, soft, hard): &(String, u64, u64)) -> Result<Ulimit, runtime::Error> {
    let text = |limit: u64| match limit {
        u64::MAX => "unlimited".to_owned(),
        limit => limit.to_string(),
    };
    format!("{name}={}:{}", text(*soft), text(*hard)).parse()
}

fn mount(mount: &builder::ports::StepMount) -> MountRequest {
    let (kind, access) = match &mount.source {
        StepMountSource::Bind { path, access } => (
            MountKind::Bind { source: path.clone(), missing: MissingSource::Refuse },
            match access {
                store::Access::View => Access::ReadOnly,
                store::Access::Writable => Access::ReadWrite,
            },
        ),
        StepMountSource::Tmpfs { size, mode } => {
            let mut options = vec![format!("mode={mode:o}")];
            options.extend(size.map(|size| format!("size={size}")));
            (MountKind::Tmpfs { options }, Access::ReadWrite)
        }
    };
    MountRequest {
        kind,
        target: PathBuf::from(&mount.target),
        access,
        propagation: "rprivate".to_owned(),
    }
}

fn resources(step: &StepRun<'_>) -> Result<Resources, PortError> {
    let limits = step.limits;
    let memory = limits.memory.map(i64::try_from).transpose()?;
    Ok(Resources {
        memory,
        memory_swap: limits.memory_swap,
        cpu_shares: limits.cpu_shares,
        cpu_period: limits.cpu_period,
        cpu_quota: limits.cpu_quota,
        cpuset_cpus: limits.cpuset_cpus.clone(),
        cpuset_mems: limits.cpuset_mems.clone(),
        ..Resources::default()
    })
}
