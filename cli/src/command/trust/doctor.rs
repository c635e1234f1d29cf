//! `trust doctor`: how long trust data live, and what happens when a key is lost.

use engine::oci::{Reference, Repository};
use engine::trust::{Checkup, Loss, Rehearsal, RoleHealth};

use super::repository;
use super::with::WithArgs;
use crate::command::Session;
use crate::error::{Error, Result};

/// Show how long trust data live, and rehearse the loss of each root key
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Format output: 'json' prints in JSON format
    #[arg(short, long, value_name = "string", value_parser = ["json"])]
    format: Option<String>,
    #[command(flatten)]
    with: WithArgs,
    #[arg(value_name = "[REPOSITORY...]")]
    repositories: Vec<Reference>,
}

impl Args {
    pub(super) fn run(self, session: &Session) -> Result<()> {
        let signing = self.with.signing(session)?;
        let repositories: Vec<Repository> = match self.repositories.is_empty() {
            true => signing.repositories()?,
            false => {
                let named = self.repositories.iter().map(|name| repository(name).cloned());
                named.collect::<Result<_>>()?
            }
        };
        if repositories.is_empty() {
            return Err(Error::refused(
                "trust doctor: no root is pinned here, so there is no repository to look at",
                "name one, or make trust data with `wherry trust init`",
            ));
        }
        let mut checkups = Vec::new();
        for repository in &repositories {
            checkups.push(signing.check_up(repository)?);
        }
        match self.format {
            Some(_) => session.ui.line(checkups.iter().map(json).collect::<serde_json::Value>())?,
            None => checkups.iter().try_for_each(|checkup| session.ui.print(&text(checkup)))?,
        }
        match checkups.iter().all(Checkup::is_healthy) {
            true => Ok(()),
            false => Err(Error::Status(1)),
        }
    }
}

fn text(checkup: &Checkup) -> String {
    let mut out = format!("{}\n", checkup.repository.familiar());
    for role in &checkup.roles {
        out.push_str(&format!(
            "  {} {:20} {:>6} days left, {} of {} keys needed, {} here\n",
            if role.is_due() { "!" } else { "✓" },
            role.role,
            role.days,
            role.needed,
            role.keys,
            role.here
        ));
        if role.is_due() {
            out.push_str(&format!("    remedy: {}\n", remedy(role, checkup)));
        }
    }
    for loss in &checkup.losses {
        let (sign, words) = outcome(loss);
        out.push_str(&format!("  {sign} loss of {} ({}): {words}\n", loss.holder, loss.short_id));
    }
    out
}

fn remedy(role: &RoleHealth, checkup: &Checkup) -> String {
    let name = checkup.repository.familiar();
    match role.role.as_str() {
        "snapshot" | "timestamp" => format!("wherry trust refresh {name}"),
        role => format!("wherry trust refresh --role {role} {name}"),
    }
}

fn outcome(loss: &Loss) -> (&'static str, String) {
    match &loss.outcome {
        Rehearsal::Recovered => ("✓", "recovered in rehearsal, without consumer action".to_owned()),
        Rehearsal::Needs(holders) => {
            let holders = holders.join(" and ");
            ("!", format!("not rehearsed; needs a signature of {holders} (--phrase, --signer, or a draft)"))
        }
        Rehearsal::NoWayBack => (
            "✗",
            "no way back: every consumer would have to pin a new root; `wherry trust rotate --threshold 2-of-3 \
             --recovery-phrase root` adds holders"
                .to_owned(),
        ),
    }
}

fn json(checkup: &Checkup) -> serde_json::Value {
    let role = |role: &RoleHealth| {
        serde_json::json!({
            "Role": role.role, "Expires": role.expires.to_string(), "Days": role.days, "Due": role.is_due(),
            "Needed": role.needed, "Keys": role.keys, "Here": role.here,
        })
    };
    let loss = |loss: &Loss| {
        let (word, needs) = match &loss.outcome {
            Rehearsal::Recovered => ("recovered", &[][..]),
            Rehearsal::Needs(holders) => ("needs", holders.as_slice()),
            Rehearsal::NoWayBack => ("no-way-back", &[][..]),
        };
        serde_json::json!({
            "Holder": loss.holder, "Key": loss.short_id, "Outcome": word, "Needs": needs,
        })
    };
    serde_json::json!({
        "Repository": checkup.repository.to_string(),
        "Roles": checkup.roles.iter().map(role).collect::<Vec<_>>(),
        "Losses": checkup.losses.iter().map(loss).collect::<Vec<_>>(),
        "Healthy": checkup.is_healthy(),
    })
}
