//! `sync`: repositories of one registry kept equal to those of another.
//!
//! The rules (which tags, what is to be done) are the client's and are functions of what was observed. Here they are
//! read, each pair of repositories is observed, and the plan is shown or carried out. One pair that fails does not
//! stop the others.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use async_trait::async_trait;
use oci::{Descriptor, Platform, Repository};
use registry_client::blocking::BlockingRepository;
use registry_client::copy::{CopyOptions, copy_with_closure};
use registry_client::sync::{
    SkopeoImage, SyncFailure, SyncFile, SyncJob, SyncOptions, SyncReport, TagPattern, TagRules,
    Vanished, WithReferrers, carry_out, observe, parse_skopeo, plan,
};
use registry_client::{
    BudgetConfig, Client, Credential, Keychain, KeychainError, Selector, TlsConfig,
};
use trust::artifact::POINTER_TAG;

use super::copy::first_root;
use crate::Engine;
use crate::error::{Error, Result};
use crate::ports::keychain::DockerKeychain;
use crate::transport::host_certificates;
use crate::trust::metadata;

pub use registry_client::Quota;
pub use registry_client::sync::{
    Naming, Requests, SyncAct, SyncAction, SyncPlan, TagChoice as Tags, Vanished as VanishedTags,
};

/// Requests at one registry at a time: nobody who waits shares this process.
const BACKGROUND_REQUESTS: usize = 12;

/// What to keep equal, and how.
#[derive(Clone, Debug)]
pub struct SyncRequest {
    /// Which repositories.
    pub jobs: SyncJobs,
    /// Whether the plan is carried out.
    pub mode: SyncMode,
    /// Images at a time.
    pub parallel: usize,
}

/// Which repositories are kept equal.
#[derive(Clone, Debug)]
pub enum SyncJobs {
    /// Those of a sync file.
    File(Vec<u8>),
    /// Those of a file of `skopeo sync --src yaml`, below a registry or a path in one.
    Skopeo {
        /// The file.
        file: Vec<u8>,
        /// Below what, as `mirror.example.com/team`.
        target: String,
        /// How repositories are called there.
        naming: Naming,
    },
    /// One.
    One(Box<OneSync>),
}

/// One repository to be kept equal to another, as flags say it.
#[derive(Clone, Debug)]
pub struct OneSync {
    /// Where from.
    pub source: String,
    /// Where to.
    pub target: String,
    /// Which tags.
    pub tags: Tags,
    /// Only these platforms; all where none is named.
    pub platforms: Vec<Platform>,
    /// What becomes of tags that the source has no more.
    pub vanished: VanishedTags,
    /// Whether signatures and the like go along.
    pub attachments: super::Attachments,
}

/// Whether a plan is carried out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SyncMode {
    /// It is only shown.
    Plan,
    /// It is carried out.
    CarryOut,
}

/// What became of one pair of repositories.
#[derive(Debug)]
pub struct SyncOutcome {
    /// Where from.
    pub source: Repository,
    /// Where to.
    pub target: Repository,
    /// What happened.
    pub result: Result<Synced>,
}

/// A pair of repositories that was looked at.
#[derive(Debug)]
pub struct Synced {
    /// What was to be done.
    pub plan: SyncPlan,
    /// Manifests wanted by digest that the target does not have.
    pub digests: Vec<oci::Digest>,
    /// Tags that were created, moved or deleted.
    pub done: Vec<String>,
    /// Tags that failed, each with the reason.
    pub failed: Vec<(String, Error)>,
    /// Bytes that were sent.
    pub bytes: u64,
    /// What the source said of its pull quota.
    pub quota: Option<Quota>,
}

/// A job with what only it needs.
struct Job {
    rules: SyncJob,
    digests: Vec<oci::Digest>,
}

/// Keeps repositories equal; tells of each pair as it is done.
pub(crate) fn sync(
    engine: &Engine,
    request: &SyncRequest,
    told: &mut dyn FnMut(SyncOutcome),
) -> Result<()> {
    let (jobs, extra) = jobs_of(&request.jobs)?;
    let client = client(engine, extra)?;
    let runner = Runner { engine, client, request };
    for job in jobs {
        let (source, target) = (job.rules.source.clone(), job.rules.target.clone());
        told(SyncOutcome { source, target, result: runner.run(&job) });
    }
    Ok(())
}

/// Settings of registries that a file of skopeo brings along.
#[derive(Default)]
struct Extra {
    credentials: BTreeMap<String, Credential>,
    hosts: BTreeMap<String, (Option<registry_client::Insecure>, TlsConfig)>,
}

fn jobs_of(jobs: &SyncJobs) -> Result<(Vec<Job>, Extra)> {
    let invalid = |error: &dyn std::fmt::Display| Error::Invalid(format!("sync: {error}"));
    let plain = |rules| Job { rules, digests: Vec::new() };
    match jobs {
        SyncJobs::File(bytes) => {
            let file = SyncFile::parse(bytes).map_err(|e| invalid(&e))?;
            Ok((file.jobs.into_iter().map(plain).collect(), Extra::default()))
        }
        SyncJobs::One(one) => Ok((vec![plain(one_job(one)?)], Extra::default())),
        SyncJobs::Skopeo { file, target, naming } => {
            let (mut jobs, mut extra) = (Vec::new(), Extra::default());
            for registry in parse_skopeo(file).map_err(|e| invalid(&e))? {
                for image in registry.images {
                    jobs.push(skopeo_job(image, target, *naming)?);
                }
                let name = registry.registry;
                let tls = match &registry.certificates {
                    Some(folder) => host_certificates(Path::new(folder))?,
                    None => TlsConfig::default(),
                };
                extra.hosts.insert(name.clone(), (registry.insecure, tls));
                if !matches!(registry.credential, Credential::Anonymous) {
                    extra.credentials.insert(name, registry.credential);
                }
            }
            refuse_one_target_twice(&jobs)?;
            Ok((jobs, extra))
        }
    }
}

fn one_job(one: &OneSync) -> Result<SyncJob> {
    let tags = one.tags.rules();
    Ok(SyncJob {
        source: one.source.parse()?,
        target: one.target.parse()?,
        tags: tags.map_err(|error| Error::Invalid(format!("sync {}: {error}", one.source)))?,
        platforms: one.platforms.clone(),
        referrers: match one.attachments {
            super::Attachments::Along => WithReferrers::Yes,
            super::Attachments::Behind => WithReferrers::No,
        },
        vanished: one.vanished,
    })
}

fn skopeo_job(image: SkopeoImage, target: &str, naming: Naming) -> Result<Job> {
    let target = naming.target(target, &image.repository);
    let rules = SyncJob {
        target: target.map_err(|error| Error::Invalid(format!("sync: {error}")))?,
        source: image.repository,
        tags: image.tags,
        platforms: Vec::new(),
        referrers: WithReferrers::Yes,
        vanished: Vanished::Keep,
    };
    Ok(Job { rules, digests: image.digests })
}

/// Two repositories under one name would overwrite each other's tags.
fn refuse_one_target_twice(jobs: &[Job]) -> Result<()> {
    let mut seen = BTreeMap::new();
    for job in jobs {
        let (source, target) = (&job.rules.source, job.rules.target.to_string());
        if let Some(first) = seen.insert(target.clone(), source)
            && first != source
        {
            return Err(Error::Invalid(format!(
                "sync: {first} and {source} would both become {target}; --scoped keeps their whole names"
            )));
        }
    }
    Ok(())
}

fn client(engine: &Engine, extra: Extra) -> Result<Client> {
    let transport = engine.transport();
    let mut settings = transport.settings()?;
    settings.budget = BudgetConfig { background: BACKGROUND_REQUESTS, ..settings.budget };
    for (name, (insecure, tls)) in extra.hosts {
        let template = settings.host(&name).clone();
        let host = settings.hosts.entry(name).or_insert(template);
        host.insecure = insecure.unwrap_or(host.insecure);
        if tls != TlsConfig::default() {
            host.tls = tls;
        }
    }
    settings.keychain =
        Arc::new(WithGiven { given: extra.credentials, rest: transport.keychain().clone() });
    Ok(Client::new(settings)?)
}

/// The credentials of a file, then those of `config.json`.
struct WithGiven {
    given: BTreeMap<String, Credential>,
    rest: Arc<DockerKeychain>,
}

#[async_trait]
impl Keychain for WithGiven {
    async fn credential(
        &self,
        registry: &str,
        repository: &str,
    ) -> std::result::Result<Credential, KeychainError> {
        match self.given.get(registry) {
            Some(given) => Ok(given.clone()),
            None => self.rest.credential(registry, repository).await,
        }
    }
}

struct Runner<'a> {
    engine: &'a Engine,
    client: Client,
    request: &'a SyncRequest,
}

impl Runner<'_> {
    fn run(&self, job: &Job) -> Result<Synced> {
        let transport = self.engine.transport();
        let rules = &job.rules;
        let options = SyncOptions {
            parallel: self.request.parallel,
            platforms: rules.platforms.clone(),
            referrers: rules.referrers,
            ..SyncOptions::default()
        };
        let source = self.client.repository(&rules.source).in_background();
        let target = transport.for_push(self.client.repository(&rules.target)).in_background();
        let tags = without_trust(&rules.tags)?;
        let looked = transport.block_on(observe(&source, &target, &tags, &options))??;
        let (observed, unreadable) = looked;
        let plan = plan(&observed, rules.vanished);
        let quotas = self.client.quotas(rules.source.registry());
        let quota = quotas.into_iter().map(|(_, quota)| quota).min_by_key(|quota| quota.remaining);
        let digests = self.missing(&target, &job.digests)?;
        let (done, failed) = (Vec::new(), failures(unreadable));
        let mut synced = Synced { plan, digests, done, failed, bytes: 0, quota };
        if self.request.mode == SyncMode::Plan {
            return Ok(synced);
        }
        let handle = transport.runtime()?.handle().clone();
        let from = BlockingRepository::new(source, handle.clone());
        let mut to = BlockingRepository::new(target, handle);
        if rules.source.registry() == rules.target.registry() {
            to = to.with_mount_sources(vec![rules.source.clone()]);
        }
        let report = carry_out(&synced.plan, &from, &to, &options);
        take(&mut synced, report);
        for digest in &synced.digests {
            let copied = bring_digest(&from, &to, digest, &options);
            match copied {
                Ok(bytes) => {
                    synced.bytes += bytes;
                    synced.done.push(digest.to_string());
                }
                Err(error) => synced.failed.push((digest.to_string(), error)),
            }
        }
        if rules.referrers == WithReferrers::Yes
            && let Err(error) = self.bring_trust(&from, &to)
        {
            synced.failed.push((POINTER_TAG.to_owned(), error));
        }
        Ok(synced)
    }

    /// Those of the digests that the target does not have.
    fn missing(
        &self,
        target: &registry_client::Repository,
        digests: &[oci::Digest],
    ) -> Result<Vec<oci::Digest>> {
        let mut missing = Vec::new();
        for digest in digests {
            let selector = Selector::Digest(digest.clone());
            if !self.engine.transport().block_on(target.has_manifest(&selector))?? {
                missing.push(digest.clone());
            }
        }
        Ok(missing)
    }

    /// Trust metadata go after the tags that they speak of; only where they changed.
    fn bring_trust(&self, from: &BlockingRepository, to: &BlockingRepository) -> Result<()> {
        let (source, target) = (from.repository().name(), to.repository().name());
        let Some(pointer) = pointer(from)? else { return Ok(()) };
        let there = pointer_digest(to)?;
        if there.as_ref() == Some(pointer.digest()) {
            return Ok(());
        }
        if there.is_some()
            && let Some(ours) = metadata::fetch_pointer(self.engine, source)?
            && let Some(theirs) = metadata::fetch_pointer(self.engine, target)?
            && first_root(&theirs) != first_root(&ours)
        {
            return Err(Error::Conflict(format!(
                "sync {source} to {target}: the target has trust data of another owner, which is left as it is"
            )));
        }
        let options = CopyOptions::into_registry();
        registry_client::copy::copy(from, to, &pointer, &options)?;
        Ok(to.tag(&pointer, POINTER_TAG)?)
    }
}

/// Trust metadata are no image: they go along by rules of their own.
fn without_trust(rules: &TagRules) -> Result<TagRules> {
    let pointer =
        TagPattern::whole(POINTER_TAG).map_err(|error| Error::Invalid(format!("sync: {error}")))?;
    Ok(rules.clone().deny(pointer))
}

fn take(synced: &mut Synced, report: SyncReport) {
    synced.done = report.done;
    synced.bytes = report.bytes_copied;
    synced.failed.extend(failures(report.failed));
}

fn failures(failed: Vec<SyncFailure>) -> Vec<(String, Error)> {
    failed.into_iter().map(|failure| (failure.tag, failure.error.into())).collect()
}

fn bring_digest(
    from: &BlockingRepository,
    to: &BlockingRepository,
    digest: &oci::Digest,
    options: &SyncOptions,
) -> Result<u64> {
    let root = from.resolve(&Selector::Digest(digest.clone()))?;
    let copying = CopyOptions { parallel: options.blobs, ..CopyOptions::into_registry() };
    Ok(copy_with_closure(from, to, &root, &copying)?.image.bytes_copied())
}

fn pointer(at: &BlockingRepository) -> Result<Option<Descriptor>> {
    let selector = Selector::Tag(POINTER_TAG.to_owned());
    // A HEAD alone: most repositories have none, and asking must not count as a pull.
    if !at.has_manifest(&selector)? {
        return Ok(None);
    }
    match at.resolve(&selector) {
        Ok(found) => Ok(Some(found)),
        Err(error) if error.is_not_found() => Ok(None),
        Err(error) => Err(error.into()),
    }
}

fn pointer_digest(at: &BlockingRepository) -> Result<Option<oci::Digest>> {
    Ok(pointer(at)?.map(|found| found.digest().clone()))
}
