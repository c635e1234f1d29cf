//! Instructions that only change the config: each leaves one history line without a layer.

use serde_json::{Value, json};

use super::stage::{StageState, Step};
use super::{Lowering, globals, ports};
use crate::error::Result;
use crate::frontend::{ArgPair, CommandLine, Form, Health, Instruction, KeyValue, golang};
use crate::graph::{Finding, HistoryOrigin};

const META: HistoryOrigin = HistoryOrigin::Metadata;

impl Lowering<'_> {
    pub(super) fn metadata(
        &mut self,
        state: &mut StageState,
        step: &Step<'_>,
        instruction: &Instruction,
    ) -> Result<()> {
        match instruction {
            Instruction::Env(pairs) => self.env(state, step, pairs),
            Instruction::Label(pairs) => self.label_pairs(state, step, pairs),
            Instruction::Expose(words) => self.expose(state, step, words),
            Instruction::Volume(words) => self.volume(state, step, words),
            Instruction::User(user) => {
                let user = self.word(state, step, user)?;
                state.config.config.user.clone_from(&user);
                state.commit(format!("USER {user}"), META);
                Ok(())
            }
            Instruction::StopSignal(signal) => self.stop_signal(state, step, signal),
            Instruction::Cmd(command) => {
                self.used_once(&mut state.cmd_set, step, "CMD");
                let args = self.command(state, step, command, "CMD");
                state.config.config.extra.insert("ArgsEscaped".to_owned(), Value::Bool(true));
                state.commit(format!("CMD {}", golang::quote_list(&args)), META);
                state.config.config.cmd = Some(args);
                Ok(())
            }
            Instruction::Entrypoint(command) => {
                self.used_once(&mut state.entrypoint_set, step, "ENTRYPOINT");
                let args = self.command(state, step, command, "ENTRYPOINT");
                state.commit(format!("ENTRYPOINT {}", golang::quote_list(&args)), META);
                state.config.config.entrypoint = Some(args);
                // An inherited CMD made sense for the inherited entry point only.
                if !state.cmd_set {
                    state.config.config.cmd = None;
                }
                Ok(())
            }
            Instruction::Healthcheck(health) => {
                self.used_once(&mut state.healthcheck_set, step, "HEALTHCHECK");
                healthcheck(state, health);
                Ok(())
            }
            Instruction::Shell(shell) => {
                state.config.config.shell = Some(shell.clone());
                state.commit(format!("SHELL {}", golang::list(shell)), META);
                Ok(())
            }
            Instruction::Maintainer(author) => {
                state.config.author = Some(author.clone());
                state.commit(format!("MAINTAINER {author}"), META);
                Ok(())
            }
            // The others are steps, arguments or triggers, and were sent elsewhere.
            _ => Ok(()),
        }
    }

    fn env(&mut self, state: &mut StageState, step: &Step<'_>, pairs: &[KeyValue]) -> Result<()> {
        let mut text = String::from("ENV");
        let pairs = self.pairs(state, step, pairs)?;
        for (key, value) in pairs {
            globals::set(&mut state.env, &key, &value);
            let entry = format!("{key}={value}");
            let env = &mut state.config.config.env;
            match env.iter_mut().find(|e| e.split_once('=').map_or(e.as_str(), |(k, _)| k) == key) {
                Some(old) => *old = entry,
                None => env.push(entry),
            }
            text.push_str(&format!(" {key}={value}"));
            state.env_names.insert(key);
        }
        state.commit(text, META);
        Ok(())
    }

    fn label_pairs(
        &mut self,
        state: &mut StageState,
        step: &Step<'_>,
        pairs: &[KeyValue],
    ) -> Result<()> {
        let mut text = String::from("LABEL");
        for (key, value) in self.pairs(state, step, pairs)? {
            text.push_str(&format!(" {key}={value}"));
            state.config.config.labels.insert(key, value);
        }
        state.commit(text, META);
        Ok(())
    }

    /// All words of one instruction see the environment before it.
    fn pairs(
        &mut self,
        state: &StageState,
        step: &Step<'_>,
        pairs: &[KeyValue],
    ) -> Result<Vec<(String, String)>> {
        pairs
            .iter()
            .map(|pair| {
                Ok((self.word(state, step, &pair.key)?, self.word(state, step, &pair.value)?))
            })
            .collect()
    }

    fn expose(&mut self, state: &mut StageState, step: &Step<'_>, words: &[String]) -> Result<()> {
        let mut expanded = Vec::new();
        for word in words {
            expanded.extend(self.expand(state, step, word)?.words);
        }
        let mut keys = ports::parse_ports(&expanded).map_err(|e| self.error(step.span, e))?;
        for key in &keys {
            state.config.config.exposed_ports.insert(key.clone(), json!({}));
        }
        keys.sort();
        keys.dedup();
        let shown: Vec<String> = keys.iter().map(|k| format!("{k}:{{}}")).collect();
        state.commit(format!("EXPOSE map[{}]", shown.join(" ")), META);
        Ok(())
    }

    fn volume(&mut self, state: &mut StageState, step: &Step<'_>, words: &[String]) -> Result<()> {
        let mut volumes = Vec::new();
        for word in words {
            let volume = self.word(state, step, word)?;
            if volume.is_empty() {
                return Err(self.error(step.span, "VOLUME specified can not be an empty string"));
            }
            state.config.config.volumes.insert(volume.clone(), json!({}));
            volumes.push(volume);
        }
        state.commit(format!("VOLUME {}", golang::list(&volumes)), META);
        Ok(())
    }

    fn stop_signal(&mut self, state: &mut StageState, step: &Step<'_>, signal: &str) -> Result<()> {
        let signal = self.word(state, step, signal)?;
        if !ports::is_signal(&signal) {
            return Err(self
                .file
                .diagnostic(step.span, format!("invalid signal: {signal}"))
                .hint("give a name such as SIGTERM or a number from 1 to 64")
                .into());
        }
        state.config.config.stop_signal = Some(signal.clone());
        state.commit(format!("STOPSIGNAL {signal}"), META);
        Ok(())
    }

    pub(super) fn arg(
        &mut self,
        state: &mut StageState,
        step: &Step<'_>,
        pairs: &[ArgPair],
    ) -> Result<()> {
        let mut texts = Vec::new();
        for pair in pairs {
            self.declared.insert(pair.name.clone());
            let value = match (self.options.build_args.get(&pair.name), &pair.default) {
                (Some(given), _) => Some(given.clone()),
                (None, Some(default)) => Some(self.word(state, step, default)?),
                (None, None) => globals::get(&self.globals, &pair.name).map(str::to_owned),
            };
            if let Some(value) = &value
                && !state.env_names.contains(&pair.name)
                && !globals::is_for_builder(&pair.name)
            {
                globals::set(&mut state.env, &pair.name, value);
            }
            texts.push(
                value
                    .as_ref()
                    .map_or_else(|| pair.name.clone(), |value| format!("{}={value}", pair.name)),
            );
            state.args.retain(|(name, _)| *name != pair.name);
            state.args.push((pair.name.clone(), value));
        }
        state.commit(format!("ARG {}", texts.join(" ")), META);
        Ok(())
    }

    fn command(
        &mut self,
        state: &StageState,
        step: &Step<'_>,
        command: &CommandLine,
        keyword: &'static str,
    ) -> Vec<String> {
        match command.form {
            Form::Exec => command.args.clone(),
            Form::Shell => {
                if state.config.config.shell.is_none() {
                    self.findings.push(Finding {
                        rule: "JSONArgsRecommended",
                        message: format!("JSON arguments recommended for {keyword} to prevent unintended behavior related to OS signals"),
                        span: step.span,
                    });
                }
                with_shell(state, &command.args.join(" "))
            }
        }
    }

    fn used_once(&mut self, set: &mut bool, step: &Step<'_>, keyword: &'static str) {
        if std::mem::replace(set, true) {
            self.findings.push(Finding {
                rule: "MultipleInstructionsDisallowed",
                message: format!("Multiple {keyword} instructions should not be used in the same stage because only the last one will be used"),
                span: step.span,
            });
        }
    }
}

/// The stage's shell with `text` as its last argument.
pub(super) fn with_shell(state: &StageState, text: &str) -> Vec<String> {
    let mut args =
        state.config.config.shell.clone().filter(|s| !s.is_empty()).unwrap_or_else(|| match state
            .platform
            .os()
        {
            "windows" => vec!["cmd".to_owned(), "/S".to_owned(), "/C".to_owned()],
            _ => vec!["/bin/sh".to_owned(), "-c".to_owned()],
        });
    args.push(text.to_owned());
    args
}

fn healthcheck(state: &mut StageState, health: &Health) {
    let text = format!(
        "HEALTHCHECK {{Test:{} Interval:{} Timeout:{} StartPeriod:{} StartInterval:{} Retries:{}}}",
        golang::list(&health.test),
        golang::duration(health.interval),
        golang::duration(health.timeout),
        golang::duration(health.start_period),
        golang::duration(health.start_interval),
        health.retries
    );
    state.config.config.healthcheck = Some(oci::Healthcheck {
        test: health.test.clone(),
        interval: health.interval,
        timeout: health.timeout,
        start_period: health.start_period,
        start_interval: health.start_interval,
        retries: health.retries,
    });
    state.commit(text, META);
}
