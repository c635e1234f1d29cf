use engine::ErrorKind;
use engine::doctor::{Finding, Health};

use super::Session;
use crate::error::{Error, Result};

/// Say what this machine lacks and what that costs
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Format output: 'json' prints in JSON format
    #[arg(short, long, value_name = "string", value_parser = ["json"])]
    format: Option<String>,
}

impl Args {
    /// Looks, prints, and fails where the main verbs cannot work.
    pub(crate) fn run(self, session: &Session) -> Result<()> {
        let findings = engine::doctor::examine(&session.config);
        match self.format {
            Some(_) => session.ui.line(json(&findings))?,
            None => findings.iter().try_for_each(|finding| session.ui.print(&text(finding)))?,
        }
        if findings.iter().any(|finding| finding.health == Health::Broken) {
            return Err(Error::Refused {
                message: "this machine cannot run containers".to_owned(),
                hint: "each line marked with a cross says what is missing and what to do"
                    .to_owned(),
                kind: ErrorKind::Unavailable,
            });
        }
        Ok(())
    }
}

fn word(health: Health) -> &'static str {
    match health {
        Health::Good => "ok",
        Health::Limited => "limited",
        Health::Broken => "broken",
    }
}

fn text(finding: &Finding) -> String {
    let sign = match finding.health {
        Health::Good => "✓",
        Health::Limited => "!",
        Health::Broken => "✗",
    };
    let mut out =
        format!("{sign} {:12} {:8} {}\n", finding.subject, word(finding.health), finding.seen);
    for (label, text) in [("cost", &finding.cost), ("remedy", &finding.remedy)] {
        if !text.is_empty() {
            out.push_str(&format!("    {label}: {text}\n"));
        }
    }
    out
}

fn json(findings: &[Finding]) -> serde_json::Value {
    let one = |finding: &Finding| {
        serde_json::json!({
            "Subject": finding.subject, "Health": word(finding.health), "Seen": finding.seen,
            "Cost": finding.cost, "Remedy": finding.remedy,
        })
    };
    findings.iter().map(one).collect()
}
