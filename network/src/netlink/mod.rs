//! Netlink without a library: messages of attributes, and a socket that sends one and reads its answers.

pub(crate) mod conntrack;
mod message;
pub(crate) mod route;
mod socket;

pub(crate) use message::Message;
pub(crate) use socket::{Protocol, Socket};
