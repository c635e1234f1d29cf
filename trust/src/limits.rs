//! Bounds on what is read from outside, each with the attack it stops.

/// Largest root metadata file (TUF 5.3.3, "X"): an endless root would fill memory before any key is checked.
pub const ROOT_BYTES_MAX: u64 = 512 * 1024;

/// Largest timestamp metadata file (TUF 5.4.1, "Y"): it is fetched unsigned-for, so it must be small.
pub const TIMESTAMP_BYTES_MAX: u64 = 64 * 1024;

/// Largest snapshot metadata file where the timestamp names no length (TUF 5.5.1).
pub const SNAPSHOT_BYTES_MAX: u64 = 8 * 1024 * 1024;

/// Largest targets metadata file where the snapshot names no length (TUF 5.6.1).
pub const TARGETS_BYTES_MAX: u64 = 16 * 1024 * 1024;

/// Most root rotations walked in one update (TUF 5.3.3): a server could otherwise feed roots for ever.
pub const ROOT_ROTATIONS_MAX: u32 = 1024;

/// Most delegated roles visited for one target (TUF 5.6.7.1): bounds cycles and delegation bombs.
pub const DELEGATIONS_MAX: usize = 64;

/// Most signatures looked at in one document: each costs a public-key operation.
pub const SIGNATURES_MAX: usize = 256;

/// Longest role name: it becomes a file name and an annotation.
pub const ROLE_NAME_BYTES_MAX: usize = 200;

/// Largest public or private key file read.
pub const KEY_FILE_BYTES_MAX: usize = 64 * 1024;

/// Most memory a key file may ask key derivation for, in KiB: a hostile file must not exhaust the machine.
pub const KDF_MEMORY_KIB_MAX: u32 = 1024 * 1024;

/// Least memory of a key file's derivation, in KiB: a file rewritten with a cheap derivation invites guessing.
pub const KDF_MEMORY_KIB_MIN: u32 = 8 * 1024;

/// Most iterations a key file may ask key derivation for.
pub const KDF_ITERATIONS_MAX: u32 = 64;

/// Most iterations of another tool's encrypted key: a hostile file must not hold the machine up.
pub const PBKDF2_ITERATIONS_MAX: u32 = 10_000_000;

/// Largest policy file.
pub const POLICY_BYTES_MAX: usize = 1024 * 1024;

/// Largest cosign payload, bundle or DSSE envelope.
pub const ENVELOPE_BYTES_MAX: usize = 16 * 1024 * 1024;

/// Largest recorded verdict.
pub const RECORD_BYTES_MAX: usize = 64 * 1024;

/// Largest file embedded in the pointer manifest: what is larger travels as a blob.
pub const EMBEDDED_BYTES_MAX: usize = 16 * 1024;

/// Most bytes embedded in one pointer manifest, so that a cold verification stays below 40 KB.
pub const EMBEDDED_TOTAL_BYTES_MAX: usize = 24 * 1024;
