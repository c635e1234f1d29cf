//! Transactions of nftables (linux/netfilter/nf_tables.h).

use std::io;

use rustix::io::Errno;

use super::TABLE;
use super::expr::Expression;
use crate::netlink::route::is;
use crate::netlink::{Message, Protocol, Socket};

const SUBSYSTEM: u16 = 10;
const BATCH_BEGIN: u16 = 0x10;
const BATCH_END: u16 = 0x11;
const NEWTABLE: u16 = 0;
const GETTABLE: u16 = 1;
const DELTABLE: u16 = 2;
const NEWCHAIN: u16 = 3;
const NEWRULE: u16 = 6;
const NEWSET: u16 = 9;
const NEWSETELEM: u16 = 12;
const DELSETELEM: u16 = 14;
const CREATE: u16 = 0x400;
const APPEND: u16 = 0x800;
/// The family of tables that see both protocols.
const INET: u8 = 1;
/// Attributes are at most 65535 bytes long: elements go in portions.
const ELEMENTS_PER_MESSAGE: usize = 256;

/// A base chain's place in the packet's way.
#[derive(Clone, Copy, Debug)]
pub(super) struct Hook {
    pub(super) kind: &'static str,
    pub(super) number: u32,
    pub(super) priority: i32,
}

/// A set, or a map when it has data.
#[derive(Clone, Copy, Debug)]
pub(super) struct Set {
    pub(super) name: &'static str,
    /// The types of the key's parts, as `nft` knows them, with their lengths.
    pub(super) key: &'static [Type],
    /// The same for the data of a map.
    pub(super) data: &'static [Type],
}

/// A type of `nft` and its length in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Type(u32, u32);

impl Type {
    pub(super) const IPV4: Self = Self(7, 4);
    pub(super) const IPV6: Self = Self(8, 16);
    pub(super) const PROTOCOL: Self = Self(12, 1);
    pub(super) const PORT: Self = Self(13, 2);
    pub(super) const INTERFACE: Self = Self(41, 16);

    /// The number of a concatenation: six bits for each part.
    fn of(parts: &[Self]) -> u32 {
        parts.iter().fold(0, |all, part| all << 6 | part.0)
    }

    /// Parts of a concatenation are aligned to four bytes; one alone is not.
    fn length(parts: &[Self]) -> u32 {
        match parts {
            [one] => one.1,
            many => many.iter().map(|part| part.1.next_multiple_of(4)).sum(),
        }
    }
}

/// One element of a set.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Element {
    pub(super) key: Vec<u8>,
    pub(super) data: Option<Vec<u8>>,
}

/// Messages that take effect together or not at all.
#[derive(Debug)]
pub(super) struct Batch {
    messages: Vec<Message>,
}

impl Batch {
    pub(super) fn begin() -> Self {
        Self { messages: vec![bracket(BATCH_BEGIN)] }
    }

    pub(super) fn commit(mut self) -> io::Result<()> {
        if self.messages.len() == 1 {
            return Ok(());
        }
        self.messages.push(bracket(BATCH_END));
        Socket::open(Protocol::Netfilter)?.transact(self.messages)
    }

    pub(super) fn add_table(&mut self) {
        const NAME: u16 = 1;
        const FLAGS: u16 = 2;
        self.push(message(NEWTABLE, CREATE).put_text(NAME, TABLE).put_be32(FLAGS, 0));
    }

    pub(super) fn delete_table(&mut self) {
        self.push(message(DELTABLE, 0).put_text(1, TABLE));
    }

    pub(super) fn add_chain(&mut self, name: &str, hook: Option<Hook>) {
        const TABLE_NAME: u16 = 1;
        const NAME: u16 = 3;
        const HOOK: u16 = 4;
        const POLICY: u16 = 5;
        const TYPE: u16 = 7;
        const ACCEPT: u32 = 1;
        let mut chain = message(NEWCHAIN, CREATE).put_text(TABLE_NAME, TABLE).put_text(NAME, name);
        if let Some(hook) = hook {
            chain = chain
                .nest(HOOK, |m| m.put_be32(1, hook.number).put_be32(2, hook.priority as u32))
                .put_be32(POLICY, ACCEPT)
                .put_text(TYPE, hook.kind);
        }
        self.push(chain);
    }

    pub(super) fn add_rule(&mut self, chain: &str, expressions: &[Expression]) {
        const TABLE_NAME: u16 = 1;
        const CHAIN: u16 = 2;
        const EXPRESSIONS: u16 = 4;
        let rule = message(NEWRULE, CREATE | APPEND)
            .put_text(TABLE_NAME, TABLE)
            .put_text(CHAIN, chain)
            .nest(EXPRESSIONS, |m| expressions.iter().fold(m, |m, expression| expression.write(m)));
        self.push(rule);
    }

    pub(super) fn add_set(&mut self, set: &Set, id: u32) {
        const TABLE_NAME: u16 = 1;
        const NAME: u16 = 2;
        const FLAGS: u16 = 3;
        const KEY_TYPE: u16 = 4;
        const KEY_LENGTH: u16 = 5;
        const DATA_TYPE: u16 = 6;
        const DATA_LENGTH: u16 = 7;
        const ID: u16 = 10;
        const USER_DATA: u16 = 13;
        // For `nft` alone: names of interfaces are in the machine's byte order, not in the network's.
        const KEY_IN_HOST_ORDER: [u8; 6] = {
            let order = 1u32.to_ne_bytes();
            [0, 4, order[0], order[1], order[2], order[3]]
        };
        const MAP: u32 = 8;
        let flags = if set.data.is_empty() { 0 } else { MAP };
        let mut new = message(NEWSET, CREATE)
            .put_text(TABLE_NAME, TABLE)
            .put_text(NAME, set.name)
            .put_be32(FLAGS, flags)
            .put_be32(KEY_TYPE, Type::of(set.key))
            .put_be32(KEY_LENGTH, Type::length(set.key));
        if !set.data.is_empty() {
            new = new
                .put_be32(DATA_TYPE, Type::of(set.data))
                .put_be32(DATA_LENGTH, Type::length(set.data));
        }
        new = new.put_be32(ID, id);
        if let [Type::INTERFACE] = set.key {
            new = new.put(USER_DATA, &KEY_IN_HOST_ORDER);
        }
        self.push(new);
    }

    pub(super) fn add_elements(&mut self, set: &str, elements: &[Element]) {
        self.elements(NEWSETELEM, CREATE, set, elements);
    }

    pub(super) fn delete_elements(&mut self, set: &str, elements: &[Element]) {
        self.elements(DELSETELEM, 0, set, elements);
    }

    fn elements(&mut self, kind: u16, flags: u16, set: &str, elements: &[Element]) {
        const TABLE_NAME: u16 = 1;
        const SET: u16 = 2;
        const ELEMENTS: u16 = 3;
        for portion in elements.chunks(ELEMENTS_PER_MESSAGE) {
            let change = message(kind, flags)
                .put_text(TABLE_NAME, TABLE)
                .put_text(SET, set)
                .nest(ELEMENTS, |m| portion.iter().fold(m, write_element));
            self.push(change);
        }
    }

    fn push(&mut self, message: Message) {
        self.messages.push(message);
    }
}

fn write_element(message: Message, element: &Element) -> Message {
    const ELEMENT: u16 = 1;
    const KEY: u16 = 1;
    const DATA: u16 = 2;
    const VALUE: u16 = 1;
    message.nest(ELEMENT, |m| {
        let m = m.nest(KEY, |m| m.put(VALUE, &element.key));
        match &element.data {
            Some(data) => m.nest(DATA, |m| m.put(VALUE, data)),
            None => m,
        }
    })
}

/// Whether our table is there.
pub(super) fn table_exists() -> io::Result<bool> {
    let question = message(GETTABLE, 0).put_text(1, TABLE);
    match Socket::open(Protocol::Netfilter)?.ask(question, |_| Some(())) {
        Ok(found) => Ok(found.is_some()),
        Err(error) if is(&error, Errno::NOENT) => Ok(false),
        Err(error) => Err(error),
    }
}

fn message(kind: u16, flags: u16) -> Message {
    Message::new(SUBSYSTEM << 8 | kind, flags).raw(&[INET, 0, 0, 0])
}

fn bracket(kind: u16) -> Message {
    Message::new(kind, 0).raw(&[0, 0, 0, SUBSYSTEM as u8])
}
