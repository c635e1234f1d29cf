//! `RUN --mount` with its variables replaced and its defaults filled in.

use super::Lowering;
use super::stage::{StageState, Step};
use crate::error::Result;
use crate::frontend::{Mount, MountKind};
use crate::graph::{CopyFrom, RunMount};
use crate::paths;

impl Lowering<'_> {
    /// Reads one `--mount`; `before` are those in front of it.
    pub(super) fn mount(
        &mut self,
        state: &StageState,
        step: &Step<'_>,
        value: &str,
        before: &[RunMount],
    ) -> Result<RunMount> {
        let lexer = self.lexer();
        let expand = |v: &str| lexer.word(v, &state.env).map_err(|e| e.to_string());
        let mount = Mount::parse(value, &expand)
            .map_err(|e| self.file.diagnostic(step.span, e.message).maybe_hint(e.hint))?;
        let cwd = &state.config.config.working_dir;
        let target = mount.target.as_deref().map(|t| paths::absolute(cwd, t));
        if target.as_deref() == Some("/") {
            return Err(self.error(step.span, "invalid mount target \"/\""));
        }
        let source = paths::from_root(mount.source.as_deref().unwrap_or_default());
        Ok(match mount.kind {
            MountKind::Bind => {
                let from = self.mount_source(state, step, mount.from.as_deref())?;
                let writable = mount.read_only == Some(false);
                RunMount::Bind { target: target.unwrap_or_default(), from, source, writable }
            }
            MountKind::Cache => {
                let seed = match mount.from.as_deref() {
                    None => None,
                    from => Some((self.mount_source(state, step, from)?, source)),
                };
                self.cache_mount(mount, target.unwrap_or_default(), seed)
            }
            MountKind::Tmpfs => {
                RunMount::Tmpfs { target: target.unwrap_or_default(), size: mount.size }
            }
            MountKind::Secret => secret(mount, target),
            MountKind::Ssh => {
                let number = before.iter().filter(|m| matches!(m, RunMount::Ssh { .. })).count();
                RunMount::Ssh {
                    owner: owner(&mount),
                    id: mount.id.unwrap_or_else(|| "default".to_owned()),
                    target: target.unwrap_or_else(|| format!("/run/buildkit/ssh_agent.{number}")),
                    required: mount.required,
                    mode: mount.mode.unwrap_or(0o600),
                }
            }
        })
    }

    fn mount_source(
        &mut self,
        state: &StageState,
        step: &Step<'_>,
        from: Option<&str>,
    ) -> Result<CopyFrom> {
        match from {
            None => Ok(CopyFrom::Context),
            Some(name) => self.copy_source(name, false, state.index, step.span, &state.platform),
        }
    }

    /// The default id is the target as it was written, so that unrelated Dockerfiles share it as they do elsewhere.
    fn cache_mount(
        &self,
        mount: Mount,
        target: String,
        seed: Option<(CopyFrom, String)>,
    ) -> RunMount {
        let given = mount.uid.is_some() || mount.gid.is_some();
        let owner = given.then(|| owner(&mount));
        let id =
            mount.id.unwrap_or_else(|| paths::clean(mount.target.as_deref().unwrap_or_default()));
        let namespace =
            self.options.build_args.get("BUILDKIT_CACHE_MOUNT_NS").map_or("", String::as_str);
        RunMount::Cache {
            target,
            id: format!("{namespace}/{id}"),
            sharing: mount.sharing,
            seed,
            mode: mount.mode,
            owner,
            read_only: mount.read_only == Some(true),
        }
    }
}

fn owner(mount: &Mount) -> (u32, u32) {
    (mount.uid.unwrap_or(0), mount.gid.unwrap_or(0))
}

/// A file unless only a variable is wanted; its id is the name of the file where none is given.
fn secret(mount: Mount, target: Option<String>) -> RunMount {
    let file_name = target.as_deref().and_then(|t| t.rsplit('/').next()).map(str::to_owned);
    let owner = owner(&mount);
    let id = mount.id.or(file_name).or_else(|| mount.env.clone()).unwrap_or_default();
    let target = target.or_else(|| mount.env.is_none().then(|| format!("/run/secrets/{id}")));
    RunMount::Secret {
        id,
        target,
        env: mount.env,
        required: mount.required,
        mode: mount.mode.unwrap_or(0o400),
        owner,
    }
}
