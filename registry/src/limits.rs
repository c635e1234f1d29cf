//! Bounds on everything a client can send or hold, each with the attack or failure it stops.

use std::time::Duration;

/// Largest manifest accepted. The specification asks for at least 4 MiB; more is a memory attack.
pub const MANIFEST_BYTES_MAX: u64 = oci::limits::MANIFEST_BYTES_MAX;

/// Longest repository name. Many clients cap `host/name` at 255, and a longer one is a path attack.
pub const NAME_BYTES_MAX: usize = oci::limits::REPOSITORY_NAME_BYTES_MAX;

/// Longest tag (distribution-spec, "Pulling manifests").
pub const TAG_BYTES_MAX: usize = oci::limits::TAG_BYTES_MAX;

/// Largest request head in bytes: a client that sends endless headers is cut here (431).
pub const HEAD_BYTES_MAX: usize = 64 * 1024;

/// Most request headers: bounds the hash map that a head becomes.
pub const HEADERS_MAX: usize = 100;

/// How long a client may take for its request head: stops slow-loris connections.
pub const HEAD_TIMEOUT: Duration = Duration::from_secs(30);

/// How long a connection may make no progress inside a body, either way: frees stalled transfers.
pub const IDLE_TIMEOUT: Duration = Duration::from_secs(120);

/// Connections served at once: bounds memory and file descriptors.
pub const CONNECTIONS_MAX: usize = 1_024;

/// Upload and manifest bodies read at once; one more is told to come back (429).
pub const UPLOADS_MAX: usize = 256;

/// Upload sessions that may be open at once: a client that only opens sessions fills no disk.
pub const SESSIONS_MAX: usize = 10_000;

/// How long a request waits for another one that writes the same upload session.
pub const SESSION_WAIT: Duration = Duration::from_secs(10);

/// How long an in-memory session keeps its file open after its last use; the files stay.
pub const SESSION_IDLE: Duration = Duration::from_secs(300);

/// Bytes gathered before one write to disk: half of the memory that an upload costs.
pub const WRITE_BATCH_BYTES: usize = 256 * 1024;

/// Bytes read from a blob at once. Two are in flight per reader, so 200 readers stay far
/// below 100 MiB.
pub const READ_CHUNK_BYTES: usize = 128 * 1024;

/// Read buffers kept for reuse: a fresh buffer costs page faults, an unbounded pool memory.
pub const READ_BUFFERS_KEPT: usize = 512;

/// What one HTTP/1 connection may hold of response bytes before the socket takes them.
pub const CONNECTION_BUFFER_BYTES: usize = 128 * 1024;

/// Most entries of one tags or catalog page, whatever `n` asks for.
pub const PAGE_ENTRIES_MAX: usize = 10_000;

/// Largest body of one referrers page; clients refuse manifests above 4 MiB.
pub const REFERRERS_PAGE_BYTES_MAX: usize = 3 * 1024 * 1024;

/// Most tags accepted with one manifest (the specification asks for at least ten).
pub const TAGS_PER_PUT_MAX: usize = 100;

/// Most missing references named in one `MANIFEST_BLOB_UNKNOWN` answer.
pub const MISSING_NAMED_MAX: usize = 100;

/// Repositories looked through for a mount that names no source: bounds its disk work.
pub const ANONYMOUS_MOUNT_REPOSITORIES_MAX: usize = 2_000;

/// Deepest repository name that the catalog walk follows: stops symbolic-link loops.
pub const CATALOG_DEPTH_MAX: usize = 128;

/// Manifest bytes kept in memory.
pub const MANIFEST_CACHE_BYTES: usize = 32 * 1024 * 1024;

/// Largest htpasswd file read.
pub const HTPASSWD_BYTES_MAX: u64 = 16 * 1024 * 1024;

/// Largest bcrypt cost accepted in an htpasswd file: one log-in must not take minutes.
pub const BCRYPT_COST_MAX: u32 = 14;

/// Passwords compared at once: a flood of wrong ones must not take all threads from the disk.
pub const PASSWORD_CHECKS_MAX: usize = 4;

/// Passwords remembered as right, so that a pull does not pay for bcrypt on every request.
pub const VERIFIED_PASSWORDS_MAX: usize = 1_024;

/// Longest `Authorization` header considered.
pub const AUTHORIZATION_BYTES_MAX: usize = 16 * 1024;

/// Largest body of a token request.
pub const TOKEN_FORM_BYTES_MAX: usize = 16 * 1024;

/// Most scopes honoured in one token request.
pub const SCOPES_MAX: usize = 32;

/// Largest configuration file read.
pub const CONFIG_BYTES_MAX: u64 = 1024 * 1024;

/// Largest small file (link, tag, session) read from the repository layout.
pub const LINK_BYTES_MAX: u64 = 4 * 1024 * 1024;
