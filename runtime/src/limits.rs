//! The bounds on everything the runtime reads from an image, a container or another process, each with what it stops.

/// Largest `/etc/passwd` or `/etc/group` read from an image: a hostile image must not make the helper read gigabytes.
pub const USER_DATABASE_BYTES: u64 = 8 << 20;
/// Longest frame on an attach connection: a broken peer must not make the monitor allocate without end.
pub const FRAME_BYTES: usize = 1 << 20;
/// Longest piece of a line kept in one log entry; longer lines are split and marked partial, as Docker does.
pub const LOG_LINE_BYTES: usize = 16 << 10;
/// Bytes queued for one attached client before the monitor stops reading the container's output.
pub const CLIENT_QUEUE_BYTES: usize = 1 << 20;
/// Bytes queued for the container's stdin before the monitor stops reading from the client.
pub const STDIN_QUEUE_BYTES: usize = 64 << 10;
/// Attached clients and waiters one monitor serves at the same time.
pub const CLIENTS: usize = 512;
/// Largest record or state file read back from the state folder.
pub const RECORD_BYTES: u64 = 16 << 20;
/// Largest seccomp profile given by a user.
pub const SECCOMP_PROFILE_BYTES: u64 = 4 << 20;
/// Instructions the kernel takes in one classic BPF program (`BPF_MAXINSNS`).
pub const BPF_INSTRUCTIONS: usize = 4096;
/// Largest message a helper returns about a failure.
pub const ERROR_BYTES: usize = 64 << 10;
/// Characters of a container name, bounded by what a file name may hold.
pub const NAME_CHARS: usize = 200;
/// Bytes of one of the two files of the journal of events: what happens on a machine in years must not fill its disk.
pub const EVENTS_FILE_BYTES: u64 = 4 << 20;
/// Size of `/dev/shm` where none is asked for, as in Docker.
pub const SHM_BYTES: u64 = 64 << 20;
/// Size at which a container's log file is rotated where none is asked for.
pub const LOG_FILE_BYTES: u64 = 20 << 20;
/// Number of log files kept where none is asked for.
pub const LOG_FILES: u32 = 5;
