//! Bounds on what the package reads or hands out, each with the attack or accident it stops.

/// Largest record (a definition, or the endpoints of one network): memory exhaustion by a planted file.
pub const RECORD_BYTES_MAX: u64 = 64 * 1024 * 1024;

/// Longest name of a network: it becomes part of DNS names, whose labels end there.
pub const NAME_BYTES_MAX: usize = 63;

/// Most networks on one machine: bounds what every operation reads.
pub const NETWORKS_MAX: usize = 4096;

/// Most ports that one `-p` range may name: `1-65535` would bind every port of the host by accident.
pub const PUBLISH_RANGE_MAX: usize = 65535;

/// Largest DNS message over UDP that is read: the largest that UDP carries.
pub const DNS_UDP_BYTES_MAX: usize = 65535;

/// Largest answer given over UDP to a client that does not say more (RFC 1035, 4.2.1).
pub const DNS_UDP_ANSWER_BYTES: usize = 512;

/// Most questions on their way upstream at one time, as in Docker: a container that floods its resolver
/// would otherwise take all file descriptors of its monitor.
pub const DNS_FORWARDS_MAX: usize = 1024;

/// Most DNS clients over TCP at one time: each has a thread.
pub const DNS_TCP_CLIENTS_MAX: usize = 16;

/// Seconds that one upstream server gets, as in Docker.
pub const DNS_UPSTREAM_SECONDS: u64 = 4;

/// Most upstream servers that are asked, as in Docker (and in resolv.conf).
pub const DNS_UPSTREAMS_MAX: usize = 3;

/// Seconds a client may keep a name: Docker's 600 s outlive the container that had the address, so less.
pub const DNS_TTL_SECONDS: u32 = 5;

/// Most jumps of compressed names in one message: a loop of pointers would never end.
pub const DNS_POINTERS_MAX: usize = 32;

/// Most addresses in one answer: an alias that hundreds of containers share must still fit a message.
pub const DNS_ADDRESSES_MAX: usize = 256;

/// Largest resolv.conf that is read.
pub const RESOLV_CONF_BYTES_MAX: usize = 1024 * 1024;

/// Largest netlink answer in one read: the kernel's own largest dump buffer.
pub const NETLINK_BYTES_MAX: usize = 64 * 1024;
