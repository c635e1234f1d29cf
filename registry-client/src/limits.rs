//! Bounds on everything a registry, a token server or a file can make this crate read or do,
//! each with the attack or failure it bounds.

use std::time::Duration;

/// A manifest or index. Distribution-spec asks registries to take at least 4 MiB; more in a
/// response is a memory attack.
pub const MANIFEST_BYTES_MAX: u64 = oci::limits::MANIFEST_BYTES_MAX;

/// An error page. A proxy may answer a 502 with megabytes of HTML.
pub const ERROR_BODY_BYTES_MAX: u64 = 64 * 1024;

/// A token server's answer. Tokens of a few KiB are common; an endless one is an attack.
pub const TOKEN_BODY_BYTES_MAX: u64 = 1024 * 1024;

/// One page of tags.
pub const TAGS_PAGE_BYTES_MAX: u64 = 16 * 1024 * 1024;

/// All tags of a repository together: a registry could page for ever.
pub const TAGS_MAX: usize = 1_000_000;

/// Pages of a list. Bounds a `Link` that points to itself under ever new names.
pub const PAGES_MAX: usize = 10_000;

/// Referrers of one manifest.
pub const REFERRERS_MAX: usize = 100_000;

/// Redirects followed for one request: bounds a loop.
pub const REDIRECTS_MAX: usize = 5;

/// Challenges read from one 401. Servers send one or two.
pub const CHALLENGES_MAX: usize = 8;

/// Length of one authentication header that is parsed.
pub const CHALLENGE_BYTES_MAX: usize = 8 * 1024;

/// Tokens kept for one host: bounds growth in a process that syncs many repositories.
pub const TOKENS_MAX: usize = 1_024;

/// The longest wait or quota window believed. `Retry-After` is a number of any size, and a moment
/// that far away cannot be reckoned with.
pub const WAIT_ASKED_MAX: Duration = Duration::from_secs(30 * 24 * 3600);

/// Credentials kept by one client, for the same reason.
pub const CREDENTIALS_MAX: usize = 1_024;

/// Life of a token whose server does not say (token specification of Docker).
pub const TOKEN_LIFE_DEFAULT: Duration = Duration::from_secs(60);

/// Longest life believed. A skewed server must not make us keep a dead token for ever.
pub const TOKEN_LIFE_MAX: Duration = Duration::from_secs(24 * 3600);

/// Distinct warnings kept in one client, and the length of each.
pub const WARNINGS_MAX: usize = 64;

/// Length of one kept warning.
pub const WARNING_CHARS_MAX: usize = 512;

/// Errors kept from one error body, and the length of each message.
pub const ERROR_DETAILS_MAX: usize = 16;

/// Length of one kept error message.
pub const ERROR_MESSAGE_CHARS_MAX: usize = 1024;

/// Manifests and blobs in one copied graph: bounds an index of indexes built to explode.
pub const GRAPH_NODES_MAX: usize = 200_000;

/// Depth of a graph. An index in an index is legal, a chain of thousands is an attack.
pub const GRAPH_DEPTH_MAX: usize = oci::limits::INDEX_DEPTH_MAX;

/// A `config.json` of Docker.
pub const DOCKER_CONFIG_BYTES_MAX: usize = 4 * 1024 * 1024;

/// The answer of a credential helper.
pub const HELPER_OUTPUT_BYTES_MAX: usize = 1024 * 1024;

/// A sync file.
pub const SYNC_FILE_BYTES_MAX: usize = 4 * 1024 * 1024;

/// Size of a compiled tag expression: bounds a pattern that needs gigabytes.
pub const TAG_REGEX_BYTES_MAX: usize = 1024 * 1024;

/// The first chunk size of an upload.
pub const CHUNK_BYTES_DEFAULT: u64 = 16 * 1024 * 1024;

/// The size that chunks shrink to on a bad link.
pub const CHUNK_BYTES_MIN: u64 = 512 * 1024;

/// The largest `OCI-Chunk-Min-Length` obeyed: a chunk is held in memory until it is confirmed.
pub const CHUNK_BYTES_MAX: u64 = 256 * 1024 * 1024;

/// Chunks between a blocking reader or writer and the network task.
pub const CHANNEL_DEPTH: usize = 8;

/// Size of one piece in such a channel.
pub const PIECE_BYTES: usize = 256 * 1024;
