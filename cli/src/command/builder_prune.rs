use engine::builder::cache::PruneOptions;
use jiff::{SignedDuration, Timestamp};

use super::Session;
use super::logs::moment;
use crate::error::{Error, Result};
use crate::format::{decimal_size_precise, parse_bytes};

/// Remove build cache
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Remove all build cache, not just what no build used for a day
    #[arg(short, long)]
    all: bool,
    /// Provide filter values (e.g. "until=24h")
    #[arg(long, value_name = "filter")]
    filter: Vec<String>,
    /// Do not prompt for confirmation
    #[arg(short, long)]
    force: bool,
    /// Amount of disk space to keep for cache
    #[arg(long, visible_alias = "reserved-space", value_name = "bytes")]
    keep_storage: Option<String>,
}

/// What a build used this recently stays without `--all`.
pub(crate) const FRESH: SignedDuration = SignedDuration::from_hours(24);

impl Args {
    /// Asks, forgets records, and frees what only they held.
    pub(crate) fn run(self, session: &Session) -> Result<()> {
        let options = self.options(Timestamp::now())?;
        let question = match self.all {
            true => "WARNING! This will remove all build cache. Are you sure you want to continue?",
            false => {
                "WARNING! This will remove build cache that no build used for a day. Are you sure you want to continue?"
            }
        };
        if !self.force && !session.ui.confirm(question)? {
            return Ok(());
        }
        let bytes = session.engine()?.prune_build_cache(&options)?;
        session.ui.line(format_args!("Total reclaimed space: {}", decimal_size_precise(bytes)))
    }

    fn options(&self, now: Timestamp) -> Result<PruneOptions> {
        let mut unused_since = match self.all {
            true => None,
            false => now.checked_sub(FRESH).ok(),
        };
        for text in &self.filter {
            match text.split_once('=') {
                Some(("until", value)) => unused_since = Some(moment(value, now)?),
                _ => {
                    return Err(Error::refused(
                        format!("invalid filter '{text}'"),
                        "filters of builder prune: until",
                    ));
                }
            }
        }
        let keep = self.keep_storage.as_deref().map(parse_bytes).transpose();
        Ok(PruneOptions {
            unused_since,
            keep_bytes: keep.map_err(|reason| Error::refused(reason, ""))?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_all_the_last_day_stays() {
        let now: Timestamp = "2026-11-21T12:00:00Z".parse().unwrap();
        let args = |all| Args {
            all,
            filter: Vec::new(),
            force: true,
            keep_storage: Some("1k".to_owned()),
        };
        let kept = args(false).options(now).unwrap();
        assert_eq!(kept.unused_since, Some("2026-11-20T12:00:00Z".parse().unwrap()));
        assert_eq!(kept.keep_bytes, Some(1024));
        assert_eq!(args(true).options(now).unwrap().unused_since, None);
    }
}
