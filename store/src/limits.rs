//! Bounds on what the store reads, each with the attack or accident it stops.

/// Largest `index.json`: one line per name; more is a damaged or planted file that would
/// otherwise be read into memory whole.
pub const NAMES_BYTES_MAX: u64 = 256 * 1024 * 1024;

/// Longest name: a reference is at most 255 + 1 + 128 bytes, with a digest 140 more.
pub const NAME_BYTES_MAX: usize = 640;

/// Largest record (`layer.json`, `snapshot.json`, a lease): memory exhaustion by a planted file.
pub const RECORD_BYTES_MAX: u64 = 16 * 1024 * 1024;

/// Longest stack of layers that is mounted or walked: bounds a cycle of parent records.
pub const STACK_DEPTH_MAX: usize = oci::limits::LAYERS_MAX;

/// Largest PAX or GNU extension record: a header that claims gigabytes of attributes
/// would be read into memory whole.
pub const TAR_EXTENSION_BYTES_MAX: u64 = 1024 * 1024;

/// Longest path inside an archive: the kernel's own PATH_MAX.
pub const TAR_PATH_BYTES_MAX: usize = 4096;

/// Longest name of one file: the kernel's own NAME_MAX.
pub const TAR_NAME_BYTES_MAX: usize = 255;

/// Deepest path inside an archive: bounds the recursion of walks and removals.
pub const TAR_DEPTH_MAX: usize = 1024;

/// Most extension headers before one entry: a stream of headers without an entry is a loop.
pub const TAR_EXTENSIONS_PER_ENTRY_MAX: usize = 16;

/// Most segments of one sparse file: each is kept in memory.
pub const TAR_SPARSE_SEGMENTS_MAX: usize = 1 << 20;

/// Most uncompressed bytes of one layer, and largest file in it, sparse or not: a
/// decompression bomb fills the disk otherwise.
pub const LAYER_BYTES_MAX: u64 = 256 * 1024 * 1024 * 1024;

/// Most entries of one layer: an archive of empty files exhausts inodes otherwise.
pub const LAYER_ENTRIES_MAX: u64 = 16 * 1024 * 1024;

/// Largest zstd window (2^27 = 128 MiB): a frame header may ask for gigabytes of memory.
pub const ZSTD_WINDOW_LOG_MAX: u32 = 27;

/// Most entries of an image archive: bounds the table of staged files.
pub const ARCHIVE_ENTRIES_MAX: usize = 200_000;

/// Largest `manifest.json`, `index.json` or `repositories` of an archive: read into memory whole.
pub const ARCHIVE_DOCUMENT_BYTES_MAX: u64 = 16 * 1024 * 1024;
