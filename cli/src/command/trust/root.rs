//! `trust init`, `trust rotate`, `trust recover`: the root and who holds its keys.

use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::Arc;

use engine::oci::Reference;
use engine::trust::{Finish, Finished, RECOVERY, RecoveryPlan, RootHolder, RootPlan, new_phrase};
use engine::trust_types::Secret;
use engine::trust_types::key::Signer;

use super::with::WithArgs;
use super::{TopRole, draft, repository};
use crate::command::Session;
use crate::error::{Error, Result};

/// Make the trust data of a repository and pin its root here
#[derive(Debug, clap::Args)]
pub(super) struct InitArgs {
    #[command(flatten)]
    holders: HolderArgs,
    #[command(flatten)]
    with: WithArgs,
    #[arg(value_name = "REPOSITORY", required = true)]
    repository: Reference,
}

/// Give a role of a repository's trust data new keys: one of yours, or those of others
#[derive(Debug, clap::Args)]
pub(super) struct RotateArgs {
    #[command(flatten)]
    holders: HolderArgs,
    #[command(flatten)]
    with: WithArgs,
    /// Do not publish: write the new root to a file, for others to sign
    #[arg(long, value_name = "file")]
    draft: Option<PathBuf>,
    /// The role
    #[arg(value_name = "ROLE", required = true)]
    role: TopRole,
    #[arg(value_name = "REPOSITORY", required = true)]
    repository: Reference,
}

/// Replace lost root keys, and the keys of a lost machine
///
/// Consumers notice nothing: they walk from the root they pinned to the new one.
#[derive(Debug, clap::Args)]
pub(super) struct RecoverArgs {
    /// What is lost: device, "recovery phrase", a person, or the beginning of a key id (default: device)
    #[arg(long, value_name = "list")]
    lost: Vec<String>,
    /// New root key of a person who lost theirs
    #[arg(long, value_name = "NAME=FILE")]
    holder: Vec<NamedKey>,
    /// Write the new recovery phrase to this new file
    #[arg(long, value_name = "file")]
    recovery_file: Option<PathBuf>,
    #[command(flatten)]
    with: WithArgs,
    /// Do not publish: write the new root to a file, for others to sign
    #[arg(long, value_name = "file")]
    draft: Option<PathBuf>,
    #[arg(value_name = "REPOSITORY", required = true)]
    repository: Reference,
}

/// Who holds root keys besides this machine.
#[derive(Debug, clap::Args)]
struct HolderArgs {
    /// How many of how many keys must sign, such as 2-of-3
    #[arg(long, value_name = "string")]
    threshold: Option<Threshold>,
    /// Make a key on paper: its phrase is shown once, on a terminal
    #[arg(long)]
    recovery_phrase: bool,
    /// Make a key on paper and write its phrase to this new file
    #[arg(long, value_name = "file")]
    recovery_file: Option<PathBuf>,
    /// Public key file of a person who holds a key
    #[arg(long, value_name = "NAME=FILE")]
    holder: Vec<NamedKey>,
}

/// `M-of-N`, or `M`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Threshold {
    needed: u64,
    keys: Option<u64>,
}

impl FromStr for Threshold {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("{text:?} is no threshold: write it as 2-of-3");
        let number = |text: &str| text.parse::<u64>().ok().filter(|n| (1..=64).contains(n));
        let (needed, keys) = match text.split_once("-of-") {
            Some((needed, keys)) => (needed, Some(number(keys).ok_or_else(wrong)?)),
            None => (text, None),
        };
        let needed = number(needed).ok_or_else(wrong)?;
        match keys.is_none_or(|keys| needed <= keys) {
            true => Ok(Self { needed, keys }),
            false => Err(wrong()),
        }
    }
}

/// `NAME=FILE`.
#[derive(Clone, Debug)]
struct NamedKey {
    name: String,
    file: PathBuf,
}

impl FromStr for NamedKey {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.split_once('=') {
            Some((name, file)) if !name.is_empty() && !file.is_empty() => {
                Ok(Self { name: name.to_owned(), file: file.into() })
            }
            _ => Err(format!("{text:?} is no holder: write it as NAME=FILE.pub")),
        }
    }
}

impl NamedKey {
    fn holder(&self, session: &Session) -> Result<RootHolder> {
        let key = session.engine()?.trust_keys().public_from_file(&self.file)?;
        Ok(RootHolder { name: self.name.clone(), key })
    }
}

impl InitArgs {
    pub(super) fn run(self, session: &Session) -> Result<()> {
        let name = repository(&self.repository)?;
        let (plan, paper) = self.holders.plan(session, &self.with)?;
        let signing = self.with.signing(session)?.with_signers(paper.signer());
        paper.guard(signing.init(name, &plan))?;
        session.ui.line(format_args!(
            "Successfully initialized \"{}\"",
            self.repository.familiar_repository()
        ))?;
        session.ui.line(format_args!(
            "Root pinned here, for the policy of others: {}",
            session.engine()?.trust_keys().root_path(name).display()
        ))?;
        paper.show(session)
    }
}

impl RotateArgs {
    pub(super) fn run(self, session: &Session) -> Result<()> {
        let name = repository(&self.repository)?;
        let (plan, paper) = self.holders.plan(session, &self.with)?;
        let signing = self.with.signing(session)?.with_signers(paper.signer());
        let finish = finish(self.draft.as_deref());
        let (keys, finished) =
            paper.guard(signing.rotate(name, self.role.into(), &plan, finish))?;
        if let Finished::Draft(made) = finished {
            write_draft(session, &made, self.draft.as_deref())?;
            return paper.show(session);
        }
        let ids: Vec<String> = keys.iter().map(|key| key.id().to_string()).collect();
        session.ui.line(format_args!(
            "Successfully rotated {}: the new {} {}",
            self.repository.familiar_repository(),
            if ids.len() == 1 { "key is" } else { "keys are" },
            ids.join(", ")
        ))?;
        paper.show(session)
    }
}

impl RecoverArgs {
    pub(super) fn run(self, session: &Session) -> Result<()> {
        let name = repository(&self.repository)?;
        let phrase_is_lost = self.lost.iter().any(|lost| lost == RECOVERY);
        if phrase_is_lost && self.recovery_file.is_none() && !session.ui.stdout_terminal {
            return Err(nowhere_to_show());
        }
        let mut plan = RecoveryPlan { lost: self.lost.clone(), replacements: Vec::new() };
        for key in &self.holder {
            plan.replacements.push(key.holder(session)?);
        }
        let signing = self.with.signing(session)?;
        let recovered = signing.recover(name, &plan, finish(self.draft.as_deref()))?;
        if let Some(phrase) = &recovered.phrase {
            match &self.recovery_file {
                Some(file) => write_phrase(file, phrase)?,
                None => show_phrase(session, phrase)?,
            }
        }
        if let Finished::Draft(made) = &recovered.finished {
            return write_draft(session, made, self.draft.as_deref());
        }
        session.ui.line(format_args!(
            "Successfully recovered {}: replaced {}{}",
            self.repository.familiar_repository(),
            recovered.replaced.join(", "),
            match recovered.roles.is_empty() {
                true => String::new(),
                false => format!("; new keys here for {}", recovered.roles.join(", ")),
            }
        ))
    }
}

impl HolderArgs {
    fn plan(&self, session: &Session, with: &WithArgs) -> Result<(RootPlan, Paper)> {
        let mut plan = RootPlan {
            threshold: self.threshold.map_or(0, |threshold| threshold.needed),
            keys: self.threshold.and_then(|threshold| threshold.keys),
            holders: Vec::new(),
        };
        let paper = match self.recovery_phrase || self.recovery_file.is_some() {
            false => Paper::None,
            true => Paper::make(session, self.recovery_file.clone())?,
        };
        if let Some(signer) = paper.signer() {
            let key = signer.public().clone();
            plan.holders.push(RootHolder { name: RECOVERY.to_owned(), key });
        }
        for address in &with.signers {
            let key = address.connect()?.public().clone();
            plan.holders.push(RootHolder { name: address.label(), key });
        }
        for key in &self.holder {
            plan.holders.push(key.holder(session)?);
        }
        Ok((plan, paper))
    }
}

/// A recovery phrase on its way to paper.
enum Paper {
    None,
    Terminal(Secret, Arc<dyn Signer>),
    File(PathBuf, Arc<dyn Signer>),
}

impl Paper {
    /// Makes a phrase. Into a file it goes at once, so that none is published that nobody has.
    fn make(session: &Session, file: Option<PathBuf>) -> Result<Self> {
        let (phrase, signer) = new_phrase()?;
        match file {
            Some(file) => {
                write_phrase(&file, &phrase)?;
                Ok(Self::File(file, signer))
            }
            None if session.ui.stdout_terminal => Ok(Self::Terminal(phrase, signer)),
            None => Err(nowhere_to_show()),
        }
    }

    fn signer(&self) -> Option<Arc<dyn Signer>> {
        match self {
            Self::None => None,
            Self::Terminal(_, signer) | Self::File(_, signer) => Some(signer.clone()),
        }
    }

    /// A phrase whose key was not published is no phrase.
    fn guard<T, E>(&self, outcome: Result<T, E>) -> Result<T, E> {
        if let (Self::File(file, _), Err(_)) = (self, &outcome) {
            let _ = std::fs::remove_file(file);
        }
        outcome
    }

    fn show(&self, session: &Session) -> Result<()> {
        match self {
            Self::None => Ok(()),
            Self::Terminal(phrase, _) => show_phrase(session, phrase),
            Self::File(file, _) => session.ui.line(format_args!(
                "Recovery phrase in {}: print it or write it down, and remove the file",
                file.display()
            )),
        }
    }
}

fn nowhere_to_show() -> Error {
    Error::refused(
        "a recovery phrase is shown on a terminal only, so that it does not end in a log",
        "name a new file for it with --recovery-file",
    )
}

fn show_phrase(session: &Session, phrase: &Secret) -> Result<()> {
    session.ui.line("Recovery phrase (write it down, it is not shown again):")?;
    session.ui.line(format_args!("  {}", String::from_utf8_lossy(phrase.expose())))
}

/// Writes a phrase for its owner alone; a file that exists stays as it is.
fn write_phrase(file: &Path, phrase: &Secret) -> Result<()> {
    let fail = |source| Error::File { act: "write", path: file.display().to_string(), source };
    let mut options = std::fs::OpenOptions::new();
    let mut out = options.write(true).create_new(true).mode(0o600).open(file).map_err(fail)?;
    out.write_all(phrase.expose()).and_then(|()| out.write_all(b"\n")).map_err(fail)?;
    out.sync_all().map_err(fail)
}

fn finish(draft: Option<&Path>) -> Finish {
    if draft.is_some() { Finish::Draft } else { Finish::Publish }
}

fn write_draft(
    session: &Session,
    made: &engine::trust_types::tuf::Draft,
    file: Option<&Path>,
) -> Result<()> {
    match file {
        Some(file) => draft::write(session, made, file),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_threshold_is_written_as_it_is_spoken() {
        let of = |needed, keys| Ok(Threshold { needed, keys });
        assert_eq!("2-of-3".parse(), of(2, Some(3)));
        assert_eq!("1".parse(), of(1, None));
        for wrong in ["", "0", "0-of-3", "4-of-3", "2-of-", "2 of 3", "-1", "2-of-65"] {
            assert!(wrong.parse::<Threshold>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_holder_has_a_name_and_a_file() {
        let key: NamedKey = "alice=a=b.pub".parse().unwrap();
        assert_eq!((key.name.as_str(), key.file), ("alice", PathBuf::from("a=b.pub")));
        for wrong in ["alice", "=x", "alice="] {
            assert!(wrong.parse::<NamedKey>().is_err(), "{wrong}");
        }
    }
}
