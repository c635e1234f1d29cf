//! What can go wrong in this crate, as situations.

use jiff::Timestamp;
use oci::Digest;

use crate::json::JsonError;
use crate::key::KeyId;

/// A failure of a key, of metadata, of a repository edit or of a policy file.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A set of metadata named by an OCI manifest is not one of ours.
    #[error("the trust artifact is malformed: {detail}")]
    ArtifactMalformed {
        /// What is wrong with it.
        detail: String,
    },
    /// A file names a format version that this program does not read.
    #[error("{what} has the format {found:?}, and only {supported:?} can be read")]
    FormatUnknown {
        /// Which kind of file.
        what: &'static str,
        /// What it says.
        found: String,
        /// What we read.
        supported: &'static str,
    },
    /// A delegation's paths do not allow what the role was asked to sign.
    #[error("the name {name:?} is not usable as {what}: {detail}")]
    InvalidName {
        /// The name.
        name: String,
        /// What it should have named.
        what: &'static str,
        /// The rule it breaks.
        detail: &'static str,
    },
    /// A document is not strict JSON, or not signable JSON.
    #[error("cannot read {what}: {source}")]
    Json {
        /// Which document.
        what: String,
        /// Why.
        source: JsonError,
    },
    /// A key file is unreadable.
    #[error("the key file {name:?} cannot be used: {detail}")]
    KeyFile {
        /// The key's name or the file's.
        name: String,
        /// Why.
        detail: String,
    },
    /// A PEM text holds a public key where a private one is needed, or the other way round.
    #[error("{name:?} holds {found}, and {needed} is needed; {hint}")]
    KeyKind {
        /// The key's name or file.
        name: String,
        /// What it holds.
        found: &'static str,
        /// What is needed.
        needed: &'static str,
        /// The way out.
        hint: &'static str,
    },
    /// A file is longer or shorter than the signed metadata that names it says.
    #[error("{file} is {found} bytes long, but the signed metadata says {expected}")]
    LengthMismatch {
        /// The file.
        file: String,
        /// Length signed for.
        expected: u64,
        /// Length seen.
        found: u64,
    },
    /// Metadata breaks the schema of its role.
    #[error("{what} is malformed: {detail}")]
    Malformed {
        /// Which document.
        what: String,
        /// Which rule.
        detail: String,
    },
    /// A file that must exist does not.
    #[error("the repository has no {file}")]
    MetadataMissing {
        /// The file.
        file: String,
    },
    /// The caller holds too few of a role's keys.
    #[error(
        "cannot sign role {role}: {needed} of its keys are needed and {held} are here ({missing})"
    )]
    MissingKeys {
        /// The role.
        role: String,
        /// Its threshold.
        needed: u64,
        /// Distinct keys that signed.
        held: u64,
        /// The keys that would do, by short id.
        missing: String,
    },
    /// A role, signer, key or tag that an edit names is not there.
    #[error("there is no {what} {name:?} in the trust data of {repository}")]
    NotFound {
        /// Kind of object.
        what: &'static str,
        /// Its name.
        name: String,
        /// The repository.
        repository: String,
    },
    /// A repository, signer or key exists already.
    #[error("the {what} {name:?} exists already in the trust data of {repository}")]
    Exists {
        /// Kind of object.
        what: &'static str,
        /// Its name.
        name: String,
        /// The repository.
        repository: String,
    },
    /// A passphrase is empty.
    #[error(
        "the passphrase for key {name:?} is empty; an unencrypted private key is never written"
    )]
    PassphraseEmpty {
        /// The key's name.
        name: String,
    },
    /// The root found is not the one pinned.
    #[error("the root metadata is not the pinned one: {detail}")]
    PinMismatch {
        /// What was expected and what was found.
        detail: String,
    },
    /// The policy file breaks its grammar; the whole file is refused.
    #[error("the policy file is refused: {detail}")]
    PolicyMalformed {
        /// Where and why, with line and column where known.
        detail: String,
    },
    /// The operating system gave no randomness.
    #[error("the operating system gave no randomness: {0}")]
    Randomness(String),
    /// A recorded verdict was changed, or was made by another machine.
    #[error("the recorded verdict of {manifest} does not authenticate; verify the image again")]
    RecordForged {
        /// The manifest it claims to speak of.
        manifest: String,
    },
    /// Trusted metadata is newer than what is offered (TUF 5.4.3, 5.5.5).
    #[error(
        "{file} was rolled back: version {offered} is offered, version {trusted} was trusted before"
    )]
    Rollback {
        /// The file.
        file: String,
        /// Version trusted before.
        trusted: u64,
        /// Version offered now.
        offered: u64,
    },
    /// Metadata is past its expiry (TUF 5.3.10, 5.4.4, 5.5.6, 5.6.5).
    #[error("the {role} metadata expired at {expires} (it is now {now})")]
    RoleExpired {
        /// The role.
        role: String,
        /// When it expired.
        expires: Timestamp,
        /// The time of the update's start.
        now: Timestamp,
    },
    /// A role that snapshot once listed is not listed any more (TUF 5.5.5).
    #[error("{file} was listed in the snapshot before and is not any more")]
    RoleRemoved {
        /// The file.
        file: String,
    },
    /// A signing key of another algorithm than it claims, or an unusable one.
    #[error("signing with key {keyid} failed")]
    SigningFailed {
        /// The key.
        keyid: KeyId,
    },
    /// Too few distinct keys of a role signed it.
    #[error("the {role} metadata is signed by {valid} of the {needed} keys it needs")]
    Threshold {
        /// The role.
        role: String,
        /// Its threshold.
        needed: u64,
        /// Distinct keys with a valid signature.
        valid: u64,
    },
    /// A file is larger than what may be read.
    #[error("{what} is larger than the {limit} bytes that may be read")]
    TooLarge {
        /// The file.
        what: String,
        /// The bound.
        limit: u64,
    },
    /// A file's hash is not the signed one.
    #[error("{file} is not the file that was signed: its {algorithm} differs")]
    HashMismatch {
        /// The file.
        file: String,
        /// The algorithm, or `no known hash` where only unknown ones are listed.
        algorithm: String,
    },
    /// A fetch by the caller failed for another reason than absence.
    #[error("cannot fetch {file}: {source}")]
    Transport {
        /// The file.
        file: String,
        /// What the transport said.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// A second, independent implementation refuses what we are about to publish.
    #[error("the metadata of role {role} would not be readable by other clients: {detail}")]
    Unpublishable {
        /// The role.
        role: String,
        /// What the other implementation said.
        detail: String,
    },
    /// The key decryption failed.
    #[error("wrong passphrase for key {name:?} ({keyid}), or its file was changed")]
    WrongPassphrase {
        /// The key's name.
        name: String,
        /// Its id, shortened.
        keyid: String,
    },
    /// A document is of another role than its file name says.
    #[error("{file} holds metadata of type {found:?} where {expected:?} belongs")]
    WrongType {
        /// The file.
        file: String,
        /// Type wanted.
        expected: &'static str,
        /// Type found.
        found: String,
    },
    /// A document's version is not the one that signed metadata demands (TUF 5.3.5, 5.5.4, 5.6.4).
    #[error("{file} has version {found}, and version {expected} was expected")]
    WrongVersion {
        /// The file.
        file: String,
        /// Version wanted.
        expected: u64,
        /// Version found.
        found: u64,
    },
    /// An envelope, attestation or signature payload speaks of another image.
    #[error("the signed statement is about {found}, not about {expected}")]
    WrongSubject {
        /// The digest at hand.
        expected: Digest,
        /// What the statement names.
        found: String,
    },
}

/// Results of this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;

impl Error {
    /// A [`Error::Malformed`] with its two texts.
    pub(crate) fn malformed(what: impl Into<String>, detail: impl Into<String>) -> Self {
        Self::Malformed { what: what.into(), detail: detail.into() }
    }
}
