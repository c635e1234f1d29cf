//! DNS messages (RFC 1035, 4.1), as far as a server of addresses and names needs them: reading a query, writing an answer.

use std::net::IpAddr;

use crate::limits;

const HEADER_BYTES: usize = 12;
const LABEL_BYTES_MAX: usize = 63;
const NAME_BYTES_MAX: usize = 255;
const RESPONSE: u8 = 0x80;
const TRUNCATED: u8 = 0x02;
const RECURSION_DESIRED: u8 = 0x01;
const RECURSION_AVAILABLE: u8 = 0x80;
const AUTHORITATIVE: u8 = 0x04;
const OPCODE: u8 = 0x78;
const CLASS_IN: u16 = 1;
const OPT: u16 = 41;
/// The question's name, from an answer: a pointer to the first byte behind the header.
const NAME_OF_QUESTION: [u8; 2] = [0xc0, HEADER_BYTES as u8];

/// What is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// An IPv4 address.
    A,
    /// An IPv6 address.
    Aaaa,
    /// A name.
    Ptr,
    /// Anything else.
    Other(u16),
}

impl Kind {
    fn of(number: u16) -> Self {
        match number {
            1 => Self::A,
            28 => Self::Aaaa,
            12 => Self::Ptr,
            other => Self::Other(other),
        }
    }
}

/// How an answer ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    /// All is well.
    Ok,
    /// The query cannot be read.
    FormatError,
    /// No server could answer.
    ServerFailure,
    /// There is no such name.
    NoSuchName,
    /// Not this kind of query.
    NotImplemented,
    /// The server does not want to.
    Refused,
}

impl Status {
    fn code(self) -> u8 {
        match self {
            Self::Ok => 0,
            Self::FormatError => 1,
            Self::ServerFailure => 2,
            Self::NoSuchName => 3,
            Self::NotImplemented => 4,
            Self::Refused => 5,
        }
    }
}

/// A query with one question.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Query<'a> {
    bytes: &'a [u8],
    question_end: usize,
    /// The name in lower case without the last dot, where it is one of letters, digits and the like.
    pub name: Option<String>,
    /// What is asked for.
    pub kind: Kind,
    /// Whether it is about the Internet.
    pub internet: bool,
    /// The largest answer that the client takes over UDP.
    pub udp_bytes_max: usize,
    extended: bool,
}

impl<'a> Query<'a> {
    /// Reads a query; `Err` says how to answer it, `None` that it deserves no answer.
    pub fn read(bytes: &'a [u8]) -> Result<Self, Option<Status>> {
        if bytes.len() < HEADER_BYTES || bytes[2] & RESPONSE != 0 {
            return Err(None);
        }
        if bytes[2] & OPCODE != 0 {
            return Err(Some(Status::NotImplemented));
        }
        let number = |at| number(bytes, at).unwrap_or_default();
        if number(4) != 1 {
            return Err(Some(Status::FormatError));
        }
        let malformed = Some(Status::FormatError);
        let (name, after_name) = read_name(bytes, HEADER_BYTES).ok_or(malformed)?;
        if bytes.len() < after_name + 4 {
            return Err(malformed);
        }
        let question_end = after_name + 4;
        let plain = number(6) == 0 && number(8) == 0 && number(10) > 0;
        let extension = plain.then(|| extension(bytes, question_end)).flatten();
        Ok(Self {
            bytes,
            question_end,
            name,
            kind: Kind::of(number(after_name)),
            internet: number(after_name + 2) == CLASS_IN,
            udp_bytes_max: extension.unwrap_or(0).max(limits::DNS_UDP_ANSWER_BYTES),
            extended: extension.is_some(),
        })
    }

    /// The query's bytes.
    pub fn bytes(&self) -> &'a [u8] {
        self.bytes
    }

    /// The question: name, kind and class.
    pub fn question(&self) -> &'a [u8] {
        &self.bytes[HEADER_BYTES..self.question_end]
    }

    /// An answer without records.
    pub fn status(&self, status: Status) -> Vec<u8> {
        self.answer(status, 0).finish()
    }

    /// An answer with addresses, as many as `bytes_max` holds; what does not fit marks the answer as cut off.
    pub fn addresses(&self, addresses: &[IpAddr], bytes_max: usize) -> Vec<u8> {
        let mut answer = self.answer(Status::Ok, bytes_max);
        for address in addresses.iter().take(limits::DNS_ADDRESSES_MAX) {
            match address {
                IpAddr::V4(ip) => answer.record(1, &ip.octets()),
                IpAddr::V6(ip) => answer.record(28, &ip.octets()),
            }
        }
        answer.finish()
    }

    /// An answer with a name.
    pub fn pointer(&self, name: &str, bytes_max: usize) -> Vec<u8> {
        let mut answer = self.answer(Status::Ok, bytes_max);
        match write_name(name) {
            Some(name) => answer.record(12, &name),
            None => return self.status(Status::NoSuchName),
        }
        answer.finish()
    }

    fn answer(&self, status: Status, bytes_max: usize) -> Answer {
        let mut bytes = Vec::with_capacity(self.question_end + 64);
        bytes.extend_from_slice(&self.bytes[..self.question_end]);
        bytes[2] = RESPONSE | AUTHORITATIVE | bytes[2] & RECURSION_DESIRED;
        bytes[3] = RECURSION_AVAILABLE | status.code();
        bytes[6..12].fill(0);
        Answer { bytes, records: 0, bytes_max, extended: self.extended, full: false }
    }
}

/// An answer to a query that cannot be read.
pub fn refusal(query: &[u8], status: Status) -> Option<Vec<u8>> {
    let mut bytes = query.get(..HEADER_BYTES)?.to_vec();
    bytes[2] = RESPONSE | bytes[2] & (OPCODE | RECURSION_DESIRED);
    bytes[3] = RECURSION_AVAILABLE | status.code();
    bytes[4..12].fill(0);
    Some(bytes)
}

/// An answer being written.
struct Answer {
    bytes: Vec<u8>,
    records: u16,
    bytes_max: usize,
    extended: bool,
    full: bool,
}

impl Answer {
    /// Bytes of the record that says how large messages may be (RFC 6891).
    const EXTENSION_BYTES: usize = 11;

    fn record(&mut self, kind: u16, data: &[u8]) {
        let extension = if self.extended { Self::EXTENSION_BYTES } else { 0 };
        if self.full || self.bytes.len() + 12 + data.len() + extension > self.bytes_max {
            self.full = true;
            return;
        }
        self.bytes.extend(NAME_OF_QUESTION);
        self.bytes.extend(kind.to_be_bytes());
        self.bytes.extend(CLASS_IN.to_be_bytes());
        self.bytes.extend(limits::DNS_TTL_SECONDS.to_be_bytes());
        self.bytes.extend((data.len() as u16).to_be_bytes());
        self.bytes.extend_from_slice(data);
        self.records += 1;
    }

    fn finish(mut self) -> Vec<u8> {
        if self.full {
            self.bytes[2] |= TRUNCATED;
        }
        self.bytes[6..8].copy_from_slice(&self.records.to_be_bytes());
        if self.extended {
            let size = (limits::DNS_UDP_BYTES_MAX as u16).to_be_bytes();
            self.bytes.extend([0, 0, OPT as u8, size[0], size[1], 0, 0, 0, 0, 0, 0]);
            self.bytes[11] = 1;
        }
        self.bytes
    }
}

/// The number that pairs query and answer.
pub fn id(message: &[u8]) -> Option<u16> {
    number(message, 0)
}

/// Gives a message another number.
pub fn set_id(message: &mut [u8], id: u16) {
    if let Some(place) = message.get_mut(..2) {
        place.copy_from_slice(&id.to_be_bytes());
    }
}

/// Whether a message answers the question of a query (the case of letters may differ).
pub fn answers(message: &[u8], question: &[u8]) -> bool {
    let found = message.get(HEADER_BYTES..HEADER_BYTES + question.len());
    message.get(2).is_some_and(|flags| flags & RESPONSE != 0)
        && found.is_some_and(|found| found.eq_ignore_ascii_case(question))
}

/// Whether an answer says that the server failed or refused: another one may know.
pub fn is_failure(message: &[u8]) -> bool {
    message.get(3).is_some_and(|flags| matches!(flags & 0x0f, 2 | 5))
}

/// Cuts an answer down to its question and marks it as cut off, where it is larger than the client takes.
pub fn fit(mut answer: Vec<u8>, question_bytes: usize, bytes_max: usize) -> Vec<u8> {
    if answer.len() > bytes_max && answer.len() >= HEADER_BYTES + question_bytes {
        answer.truncate(HEADER_BYTES + question_bytes);
        answer[2] |= TRUNCATED;
        answer[6..12].fill(0);
    }
    answer
}

/// The address that a name under `in-addr.arpa` or `ip6.arpa` stands for.
pub fn reverse_address(name: &str) -> Option<IpAddr> {
    if let Some(rest) = name.strip_suffix(".in-addr.arpa") {
        let mut octets = [0u8; 4];
        let mut labels = rest.rsplit('.');
        for octet in &mut octets {
            *octet = labels.next()?.parse().ok()?;
        }
        return labels.next().is_none().then(|| IpAddr::from(octets));
    }
    let rest = name.strip_suffix(".ip6.arpa")?;
    let mut octets = [0u8; 16];
    let mut labels = rest.rsplit('.');
    for octet in &mut octets {
        for _ in 0..2 {
            let label = labels.next().filter(|label| label.len() == 1)?;
            *octet = *octet << 4 | u8::from_str_radix(label, 16).ok()?;
        }
    }
    labels.next().is_none().then(|| IpAddr::from(octets))
}

fn number(bytes: &[u8], at: usize) -> Option<u16> {
    let bytes = bytes.get(at..at + 2)?;
    Some(u16::from_be_bytes([bytes[0], bytes[1]]))
}

/// Reads a name without pointers (a question is the first name, so there is nothing to point to); the name is `None`
/// when it has other characters than host names have. Gives the offset behind it.
fn read_name(bytes: &[u8], start: usize) -> Option<(Option<String>, usize)> {
    let mut at = start;
    let mut name = String::new();
    let mut plain = true;
    loop {
        let length = usize::from(*bytes.get(at)?);
        at += 1;
        if length == 0 {
            return Some((plain.then_some(name), at));
        }
        if length > LABEL_BYTES_MAX || at + length - start >= NAME_BYTES_MAX {
            return None;
        }
        let label = bytes.get(at..at + length)?;
        plain &= label.iter().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'/'));
        if !name.is_empty() {
            name.push('.');
        }
        name.extend(label.iter().map(|b| char::from(b.to_ascii_lowercase())));
        at += length;
    }
}

/// A name as it is sent; `None` where a label or the whole is too long.
fn write_name(name: &str) -> Option<Vec<u8>> {
    let mut bytes = Vec::with_capacity(name.len() + 2);
    for label in name.split('.').filter(|label| !label.is_empty()) {
        if label.len() > LABEL_BYTES_MAX {
            return None;
        }
        bytes.push(label.len() as u8);
        bytes.extend_from_slice(label.as_bytes());
    }
    bytes.push(0);
    (bytes.len() <= NAME_BYTES_MAX).then_some(bytes)
}

/// The client's largest UDP message, from the extension behind the question (RFC 6891, 6.1.2).
fn extension(bytes: &[u8], at: usize) -> Option<usize> {
    let root = *bytes.get(at)? == 0;
    let is_extension = root && number(bytes, at + 1)? == OPT;
    is_extension.then(|| number(bytes, at + 3).map(usize::from)).flatten()
}

#[cfg(test)]
mod tests;
