use engine::containers::tree::{CommitRequest, settings};
use engine::images::change;
use engine::oci::{ContainerConfig, Platform, Reference};
use engine::runtime::Status;

use super::Session;
use crate::error::Result;

/// Create a new image from a container's changes
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Author (e.g., "John Hannibal Smith <hannibal@a-team.com>")
    #[arg(short, long, value_name = "string")]
    author: Option<String>,
    /// Apply Dockerfile instruction to the created image
    #[arg(short, long, value_name = "list")]
    change: Vec<String>,
    /// Commit message
    #[arg(short, long, value_name = "string")]
    message: Option<String>,
    /// Pause container during commit
    #[arg(short, long, default_value = "true", action = clap::ArgAction::SetFalse)]
    pause: bool,
    #[arg(value_name = "CONTAINER", required = true)]
    container: String,
    #[arg(value_name = "[REPOSITORY[:TAG]]")]
    reference: Option<Reference>,
}

impl Args {
    /// Commits and prints the image's id. A container that runs is frozen meanwhile, so that its files hold still.
    pub(crate) fn run(self, session: &Session) -> Result<()> {
        let containers = session.engine()?.containers();
        let container = containers.get(&self.container)?;
        let changed = match self.change.is_empty() {
            true => None,
            false => Some(merged(
                settings(&container),
                change::config_of(&self.change, &Platform::host())?,
            )),
        };
        let request = CommitRequest {
            reference: self.reference.map(Reference::or_latest),
            author: self.author,
            message: self.message,
            change: changed,
        };
        let freeze = self.pause && container.state.status == Status::Running;
        let runtime = session.runtime()?;
        if freeze {
            runtime.pause(container.id())?;
        }
        let committed = containers.commit(&self.container, &request);
        if freeze {
            // The container must go on whatever became of the image.
            runtime.unpause(container.id())?;
        }
        session.ui.line(committed?)
    }
}

/// What the instructions say wins; lists of names are joined.
fn merged(mut config: ContainerConfig, change: ContainerConfig) -> ContainerConfig {
    let name = |entry: &str| entry.split('=').next().unwrap_or_default().to_owned();
    config.env.retain(|entry| !change.env.iter().any(|new| name(new) == name(entry)));
    config.env.extend(change.env);
    config.labels.extend(change.labels);
    config.exposed_ports.extend(change.exposed_ports);
    config.volumes.extend(change.volumes);
    if change.entrypoint.is_some() {
        // A new entrypoint forgets the arguments of the old one.
        config.cmd = None;
    }
    config.entrypoint = change.entrypoint.or(config.entrypoint);
    config.cmd = change.cmd.or(config.cmd);
    config.healthcheck = change.healthcheck.or(config.healthcheck);
    config.shell = change.shell.or(config.shell);
    config.stop_signal = change.stop_signal.or(config.stop_signal);
    for (old, new) in
        [(&mut config.user, change.user), (&mut config.working_dir, change.working_dir)]
    {
        if !new.is_empty() {
            *old = new;
        }
    }
    config
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn changes_win_over_the_settings_of_the_container() {
        let config = |changes: &[&str]| {
            let changes: Vec<String> = changes.iter().map(|c| (*c).to_owned()).collect();
            change::config_of(&changes, &Platform::host()).unwrap()
        };
        let old = config(&["ENV A=1", "ENV B=2", "CMD [\"sh\"]", "USER me", "LABEL x=1"]);
        let new =
            merged(old, config(&["ENV B=3", "ENTRYPOINT [\"web\"]", "LABEL y=2", "WORKDIR /w"]));
        assert_eq!(new.env, ["A=1", "B=3"]);
        assert_eq!((new.entrypoint, new.cmd), (Some(vec!["web".to_owned()]), None));
        assert_eq!(
            (new.user.as_str(), new.working_dir.as_str(), new.labels.len()),
            ("me", "/w", 2)
        );
    }
}
