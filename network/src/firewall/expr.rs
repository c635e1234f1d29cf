//! The expressions of rules: small machines that load values into registers, compare them, and act.

use crate::netlink::Message;

/// Registers of four bytes, of which a concatenated key takes several in a row.
const REGISTER_0: u32 = 8;

/// What a rule does with a packet that came so far.
#[derive(Clone, Copy, Debug)]
pub(super) enum Verdict {
    Drop,
    Accept,
    Return,
    Jump(&'static str),
    Goto(&'static str),
}

/// The packet's property that is loaded.
#[derive(Clone, Copy, Debug)]
pub(super) enum Meta {
    InName,
    OutName,
    NetworkProtocol,
    TransportProtocol,
}

/// One step of a rule. Registers are counted in words of four bytes.
#[derive(Clone, Debug)]
pub(super) enum Expression {
    Meta(Meta, u32),
    /// Bytes of the network header.
    Network {
        offset: u32,
        length: u32,
        register: u32,
    },
    /// Bytes of the transport header.
    Transport {
        offset: u32,
        length: u32,
        register: u32,
    },
    /// Loads the state of the connection.
    ConnectionState(u32),
    /// Loads what happened to the connection.
    ConnectionStatus(u32),
    And {
        register: u32,
        mask: Vec<u8>,
    },
    Equal(u32, Vec<u8>),
    NotEqual(u32, Vec<u8>),
    /// Goes on when the key is in the set.
    In {
        set: &'static str,
        register: u32,
    },
    /// Goes on when the key is not in the set.
    NotIn {
        set: &'static str,
        register: u32,
    },
    /// Loads what the map has for the key; without it the rule ends.
    Map {
        set: &'static str,
        register: u32,
        into: u32,
    },
    /// Loads what kind of address the destination is here.
    DestinationKind(u32),
    /// Replaces the destination.
    DestinationNat {
        family: u8,
        address: u32,
        port: u32,
    },
    Masquerade,
    /// Puts a value into a register.
    Load {
        register: u32,
        value: Vec<u8>,
    },
    /// Replaces bytes of the transport header, and corrects the checksum at its offset.
    SetTransport {
        offset: u32,
        length: u32,
        register: u32,
        checksum: u32,
    },
    Verdict(Verdict),
}

impl Expression {
    pub(super) fn write(&self, message: Message) -> Message {
        const ELEMENT: u16 = 1;
        const NAME: u16 = 1;
        const DATA: u16 = 2;
        message.nest(ELEMENT, |m| m.put_text(NAME, self.name()).nest(DATA, |m| self.write_data(m)))
    }

    fn name(&self) -> &'static str {
        match self {
            Self::Meta(..) => "meta",
            Self::Network { .. } | Self::Transport { .. } | Self::SetTransport { .. } => "payload",
            Self::ConnectionState(_) | Self::ConnectionStatus(_) => "ct",
            Self::And { .. } => "bitwise",
            Self::Equal(..) | Self::NotEqual(..) => "cmp",
            Self::In { .. } | Self::NotIn { .. } | Self::Map { .. } => "lookup",
            Self::DestinationKind(_) => "fib",
            Self::DestinationNat { .. } => "nat",
            Self::Masquerade => "masq",
            Self::Load { .. } | Self::Verdict(_) => "immediate",
        }
    }

    fn write_data(&self, m: Message) -> Message {
        match self {
            Self::Meta(key, register) => m.put_be32(1, word(*register)).put_be32(2, key.number()),
            Self::Network { offset, length, register } => {
                payload(m, 1, *offset, *length, *register)
            }
            Self::Transport { offset, length, register } => {
                payload(m, 2, *offset, *length, *register)
            }
            Self::ConnectionState(register) => m.put_be32(1, word(*register)).put_be32(2, 0),
            Self::ConnectionStatus(register) => m.put_be32(1, word(*register)).put_be32(2, 2),
            Self::And { register, mask } => and(m, *register, mask),
            Self::Equal(register, value) => compare(m, *register, 0, value),
            Self::NotEqual(register, value) => compare(m, *register, 1, value),
            Self::In { set, register } => lookup(m, set, *register),
            Self::NotIn { set, register } => lookup(m, set, *register).put_be32(5, 1),
            Self::Map { set, register, into } => lookup(m, set, *register).put_be32(3, word(*into)),
            // Result: the kind of address; of the destination.
            Self::DestinationKind(register) => {
                m.put_be32(1, word(*register)).put_be32(2, 3).put_be32(3, 2)
            }
            Self::DestinationNat { family, address, port } => m
                .put_be32(1, 1)
                .put_be32(2, u32::from(*family))
                .put_be32(3, word(*address))
                .put_be32(5, word(*port)),
            Self::Masquerade => m,
            Self::Load { register, value } => {
                m.put_be32(1, word(*register)).nest(2, |m| m.put(1, value))
            }
            // Transport header; the checksum is the Internet's.
            Self::SetTransport { offset, length, register, checksum } => m
                .put_be32(5, word(*register))
                .put_be32(2, 2)
                .put_be32(3, *offset)
                .put_be32(4, *length)
                .put_be32(6, 1)
                .put_be32(7, *checksum),
            Self::Verdict(verdict) => immediate(m, *verdict),
        }
    }
}

impl Meta {
    fn number(self) -> u32 {
        match self {
            Self::InName => 6,
            Self::OutName => 7,
            Self::NetworkProtocol => 15,
            Self::TransportProtocol => 16,
        }
    }
}

fn word(register: u32) -> u32 {
    REGISTER_0 + register
}

fn payload(m: Message, base: u32, offset: u32, length: u32, register: u32) -> Message {
    m.put_be32(1, word(register)).put_be32(2, base).put_be32(3, offset).put_be32(4, length)
}

fn and(m: Message, register: u32, mask: &[u8]) -> Message {
    const VALUE: u16 = 1;
    m.put_be32(1, word(register))
        .put_be32(2, word(register))
        .put_be32(3, mask.len() as u32)
        .nest(4, |m| m.put(VALUE, mask))
        .nest(5, |m| m.put(VALUE, &vec![0; mask.len()]))
}

fn compare(m: Message, register: u32, operation: u32, value: &[u8]) -> Message {
    m.put_be32(1, word(register)).put_be32(2, operation).nest(3, |m| m.put(1, value))
}

fn lookup(m: Message, set: &str, register: u32) -> Message {
    m.put_text(1, set).put_be32(2, word(register))
}

fn immediate(m: Message, verdict: Verdict) -> Message {
    const VERDICT_REGISTER: u32 = 0;
    const VERDICT: u16 = 2;
    let (code, chain) = match verdict {
        Verdict::Drop => (0, None),
        Verdict::Accept => (1, None),
        Verdict::Return => (-5, None),
        Verdict::Jump(chain) => (-3, Some(chain)),
        Verdict::Goto(chain) => (-4, Some(chain)),
    };
    m.put_be32(1, VERDICT_REGISTER).nest(2, |m| {
        m.nest(VERDICT, |m| {
            let m = m.put_be32(1, code as u32);
            match chain {
                Some(chain) => m.put_text(2, chain),
                None => m,
            }
        })
    })
}
