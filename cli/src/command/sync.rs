use std::io::Read as _;
use std::path::PathBuf;

use engine::images::Attachments;
use engine::images::sync::{
    Naming, OneSync, SyncAct, SyncJobs, SyncMode, SyncOutcome, SyncRequest, Synced, Tags,
    VanishedTags,
};
use engine::oci::Platform;

use super::Session;
use crate::error::{Error, Result};

/// Largest file that is read: the engine refuses a larger one too.
const FILE_BYTES_MAX: u64 = 4 * 1024 * 1024 + 1;

/// Keep repositories equal to those of another registry
///
/// Which ones is said by two repositories, by a file of jobs (--file) or by a file of "skopeo sync --src yaml"
/// (--skopeo and --to). What is there already is not sent again; a line tells of every tag that changed, and one that
/// fails does not stop the others
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Only tags that match this regular expression whole
    #[arg(long, value_name = "regex")]
    allow: Vec<String>,
    /// Delete tags at the target that the source has no more
    #[arg(long)]
    delete: bool,
    /// No tags that match this regular expression whole
    #[arg(long, value_name = "regex")]
    deny: Vec<String>,
    /// Show what would be done and how many requests it takes, and do nothing
    #[arg(long)]
    dry_run: bool,
    /// File of jobs (YAML); "-" reads standard input
    #[arg(short, long, value_name = "string", conflicts_with_all = ["skopeo", "repositories"])]
    file: Option<PathBuf>,
    /// Leave signatures, attestations, other referrers and trust data behind
    #[arg(long)]
    image_only: bool,
    /// Print a JSON object for every pair of repositories
    #[arg(long)]
    json: bool,
    /// Only so many of the latest versions
    #[arg(long, value_name = "uint")]
    latest: Option<usize>,
    /// Images to copy at a time
    #[arg(long, value_name = "uint", default_value = "4")]
    parallel: usize,
    /// Only these platforms
    #[arg(long, value_name = "strings", value_delimiter = ',')]
    platform: Vec<Platform>,
    /// Name repositories at the target by their registry and whole path (with --skopeo)
    #[arg(long, requires = "skopeo")]
    scoped: bool,
    /// Only tags that are versions in this range
    #[arg(long, value_name = "string")]
    semver: Option<String>,
    /// File of "skopeo sync --src yaml"
    #[arg(long, value_name = "string", requires = "to", conflicts_with = "repositories")]
    skopeo: Option<PathBuf>,
    /// Exactly these tags, beside what other rules choose
    #[arg(long, value_name = "strings", value_delimiter = ',')]
    tag: Vec<String>,
    /// Registry, or a path in one, that repositories are copied below (with --skopeo)
    #[arg(long, value_name = "string", requires = "skopeo")]
    to: Option<String>,
    #[arg(value_name = "[SOURCE TARGET]", num_args = 2)]
    repositories: Vec<String>,
}

impl Args {
    /// Does what the rules ask for, and exits with a failure where anything failed.
    pub(crate) fn run(self, session: &Session) -> Result<()> {
        let (json, mode) =
            (self.json, if self.dry_run { SyncMode::Plan } else { SyncMode::CarryOut });
        let parallel = self.parallel.max(1);
        let request = SyncRequest { jobs: self.jobs()?, mode, parallel };
        let mut failures = Vec::new();
        let mut said = Ok(());
        session.engine()?.images().sync(&request, &mut |outcome| {
            let shown = match json {
                true => session.ui.line(as_json(&outcome)),
                false => show(session, &outcome, mode),
            };
            if said.is_ok() {
                said = shown;
            }
            failures.extend(failed(outcome));
        })?;
        said?;
        match failures.len() {
            0 => Ok(()),
            1 => Err(failures.remove(0)),
            _ => Err(Error::Several(failures)),
        }
    }

    fn jobs(self) -> Result<SyncJobs> {
        let chooses = !self.allow.is_empty()
            || !self.deny.is_empty()
            || !self.tag.is_empty()
            || !self.platform.is_empty()
            || self.semver.is_some()
            || self.latest.is_some()
            || self.delete
            || self.image_only;
        let from_file = self.file.is_some() || self.skopeo.is_some();
        if from_file && chooses {
            return Err(Error::refused(
                "sync: which tags and platforms is said in the file; flags for that go with two repositories",
                "",
            ));
        }
        if let Some(path) = self.file {
            return Ok(SyncJobs::File(read(&path)?));
        }
        if let (Some(path), Some(target)) = (self.skopeo, self.to) {
            let naming = if self.scoped { Naming::Scoped } else { Naming::Last };
            return Ok(SyncJobs::Skopeo { file: read(&path)?, target, naming });
        }
        let [source, target] = <[String; 2]>::try_from(self.repositories).map_err(|_| {
            Error::refused("sync: name two repositories, or a file with --file or --skopeo", "")
        })?;
        Ok(SyncJobs::One(Box::new(OneSync {
            source,
            target,
            tags: Tags {
                names: self.tag,
                allow: self.allow,
                deny: self.deny,
                semver: self.semver,
                latest: self.latest,
            },
            platforms: self.platform,
            vanished: if self.delete { VanishedTags::Delete } else { VanishedTags::Keep },
            attachments: if self.image_only { Attachments::Behind } else { Attachments::Along },
        })))
    }
}

fn read(path: &std::path::Path) -> Result<Vec<u8>> {
    let failed = |source| Error::File { act: "read", path: path.display().to_string(), source };
    let mut bytes = Vec::new();
    let done = match path.as_os_str() == "-" {
        true => std::io::stdin().lock().take(FILE_BYTES_MAX).read_to_end(&mut bytes),
        false => {
            let file = std::fs::File::open(path).map_err(failed)?;
            file.take(FILE_BYTES_MAX).read_to_end(&mut bytes)
        }
    };
    done.map(|_| bytes).map_err(failed)
}

/// The words for what is done with a tag, and the digest behind it.
fn words(act: &SyncAct) -> (&'static str, String) {
    match act {
        SyncAct::Create(to) => ("create", to.digest().to_string()),
        SyncAct::Move { to, .. } => ("move", to.digest().to_string()),
        SyncAct::Attach(to) => ("attach", to.digest().to_string()),
        SyncAct::Delete => ("delete", String::new()),
    }
}

fn show(session: &Session, outcome: &SyncOutcome, mode: SyncMode) -> Result<()> {
    let Ok(synced) = &outcome.result else { return Ok(()) };
    let target = outcome.target.familiar();
    let is_over =
        |name: &str| mode == SyncMode::Plan || synced.done.iter().any(|done| done == name);
    for action in synced.plan.actions().iter().filter(|action| is_over(&action.tag)) {
        let (word, digest) = words(&action.act);
        session.ui.line(format!("{word} {target}:{} {digest}", action.tag).trim_end())?;
    }
    for digest in synced.digests.iter().filter(|digest| is_over(&digest.to_string())) {
        session.ui.line(format_args!("create {target}@{digest}"))?;
    }
    session.ui.line(format_args!("{}: {}", outcome.source.familiar(), summary(synced, mode)))
}

fn summary(synced: &Synced, mode: SyncMode) -> String {
    let unchanged = synced.plan.unchanged();
    let requests = synced.plan.requests();
    if mode == SyncMode::CarryOut {
        let (done, failed) = (synced.done.len(), synced.failed.len());
        return format!(
            "{done} changed, {unchanged} unchanged, {failed} failed; {} bytes sent",
            synced.bytes
        );
    }
    let actions = synced.plan.actions().len() + synced.digests.len();
    let mut text = format!(
        "{actions} to do, {unchanged} unchanged; {} looks and at least {} pulls at the source",
        requests.looks,
        requests.pulls + synced.digests.len() as u64
    );
    if let Some(quota) = synced.quota {
        text.push_str(&format!("; its quota has {} pulls left", quota.remaining));
    }
    text
}

fn as_json(outcome: &SyncOutcome) -> serde_json::Value {
    let mut object = serde_json::json!({
        "source": outcome.source.to_string(),
        "target": outcome.target.to_string(),
    });
    let synced = match &outcome.result {
        Ok(synced) => synced,
        Err(error) => {
            object["error"] = error.to_string().into();
            return object;
        }
    };
    let actions = synced.plan.actions().iter().map(|action| {
        let (word, digest) = words(&action.act);
        serde_json::json!({ "tag": action.tag, "act": word, "digest": digest })
    });
    object["actions"] = actions.collect();
    object["digests"] = synced.digests.iter().map(ToString::to_string).collect();
    object["unchanged"] = synced.plan.unchanged().into();
    object["done"] = synced.done.clone().into();
    object["failed"] = synced
        .failed
        .iter()
        .map(|(tag, error)| serde_json::json!({ "tag": tag, "error": error.to_string() }))
        .collect();
    object["bytes"] = synced.bytes.into();
    object["looks"] = synced.plan.requests().looks.into();
    object["pulls"] = synced.plan.requests().pulls.into();
    object
}

fn failed(outcome: SyncOutcome) -> Vec<Error> {
    match outcome.result {
        Ok(synced) => synced.failed.into_iter().map(|(_, error)| error.into()).collect(),
        Err(error) => vec![error.into()],
    }
}
