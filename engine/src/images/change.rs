//! `--change`: Dockerfile instructions applied to the config of an image that no build makes.

use builder::PortError;
use builder::frontend::{self, Instruction};
use builder::graph::BaseImage;
use builder::lower::{ImageResolver, LowerOptions, lower};
use oci::{ContainerConfig, Platform, Reference};

use crate::error::{Error, Result};

/// The config that these instructions make of an empty one. Only those that change a config are taken, as in Docker.
pub fn config_of(changes: &[String], platform: &Platform) -> Result<ContainerConfig> {
    if changes.is_empty() {
        return Ok(ContainerConfig::default());
    }
    for change in changes {
        let node = frontend::parse_trigger(change).map_err(|mistake| refuse(change, &mistake))?;
        if !changes_config(&node.instruction) {
            return Err(refuse(change, &format!("{} makes files", node.instruction.keyword())));
        }
    }
    let text = format!("FROM scratch\n{}\n", changes.join("\n"));
    let all = changes.join("; ");
    let file = frontend::parse(&text).map_err(|mistake| refuse(&all, &mistake))?;
    let graph = lower(&file, &LowerOptions::new(platform.clone()), &NoImages)
        .map_err(|mistake| refuse(&all, &mistake))?;
    let mut config = graph.config.config;
    // A build on scratch is given a search path; an import has what it was given.
    config.env.retain(|entry| !entry.starts_with("PATH=") || text.contains("PATH"));
    // So are its working directory and its mark on commands.
    config.extra.clear();
    if !changes.iter().any(|change| is_workdir(change)) {
        config.working_dir.clear();
    }
    Ok(config)
}

/// The settings of a container with these instructions on top. What they say wins; lists of
/// names are joined.
pub fn changed(mut config: ContainerConfig, changes: &[String]) -> Result<ContainerConfig> {
    if changes.is_empty() {
        return Ok(config);
    }
    let change = config_of(changes, &Platform::host())?;
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
    Ok(config)
}

fn is_workdir(change: &str) -> bool {
    frontend::parse_trigger(change)
        .is_ok_and(|node| matches!(node.instruction, Instruction::Workdir(_)))
}

fn changes_config(instruction: &Instruction) -> bool {
    matches!(
        instruction,
        Instruction::Cmd(_)
            | Instruction::Entrypoint(_)
            | Instruction::Env(_)
            | Instruction::Expose(_)
            | Instruction::Healthcheck(_)
            | Instruction::Label(_)
            | Instruction::Shell(_)
            | Instruction::StopSignal(_)
            | Instruction::User(_)
            | Instruction::Volume(_)
            | Instruction::Workdir(_)
    )
}

fn refuse(change: &str, reason: &dyn std::fmt::Display) -> Error {
    Error::Invalid(format!("--change {change:?}: {reason}"))
}

/// There is no FROM but scratch in a change.
struct NoImages;

impl ImageResolver for NoImages {
    fn resolve(
        &self,
        reference: &Reference,
        _: &Platform,
    ) -> std::result::Result<BaseImage, PortError> {
        Err(format!("a change starts from no image, not from {reference}").into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(changes: &[&str]) -> Result<ContainerConfig> {
        let changes: Vec<String> = changes.iter().map(|c| (*c).to_owned()).collect();
        config_of(&changes, &Platform::host())
    }

    #[test]
    fn instructions_fill_the_config() {
        let made = config(&["CMD [\"sh\"]", "ENV A=b", "LABEL c=d", "WORKDIR /x"])
            .expect("they are right");
        assert_eq!(made.cmd, Some(vec!["sh".to_owned()]));
        assert_eq!(made.env, ["A=b"]);
        assert_eq!(made.labels.get("c").map(String::as_str), Some("d"));
        assert_eq!(config(&[]).expect("nothing to do"), ContainerConfig::default());
    }

    #[test]
    fn changes_win_over_the_settings_of_the_container() {
        let texts = |texts: &[&str]| texts.iter().map(|t| (*t).to_owned()).collect::<Vec<_>>();
        let old = config(&["ENV A=1", "ENV B=2", "CMD [\"sh\"]", "USER me", "LABEL x=1"]);
        let old = old.expect("they are right");
        let change = texts(&["ENV B=3", "ENTRYPOINT [\"web\"]", "LABEL y=2", "WORKDIR /w"]);
        let new = changed(old.clone(), &change).expect("they are right");
        assert_eq!(new.env, ["A=1", "B=3"]);
        assert_eq!((new.entrypoint, new.cmd), (Some(vec!["web".to_owned()]), None));
        assert_eq!(
            (new.user.as_str(), new.working_dir.as_str(), new.labels.len()),
            ("me", "/w", 2)
        );
        assert_eq!(changed(old.clone(), &[]).expect("nothing to do"), old);
    }

    #[test]
    fn what_makes_files_or_no_sense_is_refused_by_name() {
        for (change, word) in
            [("RUN x", "RUN"), ("COPY a b", "COPY"), ("NONSENSE", "NONSENSE"), ("FROM x", "FROM")]
        {
            let said = config(&[change]).expect_err(change).to_string();
            assert!(said.contains(word), "{said}");
        }
    }
}
