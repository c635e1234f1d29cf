//! The form of netlink messages: a header of 16 bytes, a fixed part, and attributes aligned to four bytes (netlink(7)).

const HEADER_BYTES: usize = 16;
const ATTRIBUTE_BYTES: usize = 4;
const NESTED: u16 = 0x8000;
const KIND_MASK: u16 = 0x3fff;

/// A message being written.
#[derive(Debug)]
pub(crate) struct Message {
    bytes: Vec<u8>,
}

impl Message {
    /// A message of a type, with flags besides `NLM_F_REQUEST`.
    pub(crate) fn new(kind: u16, flags: u16) -> Self {
        const REQUEST: u16 = 1;
        let mut bytes = Vec::with_capacity(256);
        bytes.extend([0; 4]);
        bytes.extend(kind.to_ne_bytes());
        bytes.extend((flags | REQUEST).to_ne_bytes());
        bytes.extend([0; 8]);
        Self { bytes }
    }

    /// Appends the fixed part, or raw bytes inside a nested attribute.
    pub(crate) fn raw(mut self, bytes: &[u8]) -> Self {
        self.bytes.extend_from_slice(bytes);
        self.pad();
        self
    }

    /// Appends an attribute.
    pub(crate) fn put(mut self, kind: u16, value: &[u8]) -> Self {
        let length = (ATTRIBUTE_BYTES + value.len()) as u16;
        self.bytes.extend(length.to_ne_bytes());
        self.bytes.extend(kind.to_ne_bytes());
        self.bytes.extend_from_slice(value);
        self.pad();
        self
    }

    /// Appends a number in the machine's byte order, as links and routes have it.
    pub(crate) fn put_u32(self, kind: u16, value: u32) -> Self {
        self.put(kind, &value.to_ne_bytes())
    }

    /// Appends a number in the network's byte order, as the packet filter has it.
    pub(crate) fn put_be32(self, kind: u16, value: u32) -> Self {
        self.put(kind, &value.to_be_bytes())
    }

    /// Appends a text that ends with a zero byte.
    pub(crate) fn put_text(self, kind: u16, value: &str) -> Self {
        let mut bytes = value.as_bytes().to_vec();
        bytes.push(0);
        self.put(kind, &bytes)
    }

    /// Appends an attribute of attributes.
    pub(crate) fn nest(mut self, kind: u16, inner: impl FnOnce(Self) -> Self) -> Self {
        let start = self.bytes.len();
        self.bytes.extend([0; 2]);
        self.bytes.extend((kind | NESTED).to_ne_bytes());
        let mut message = inner(self);
        let length = (message.bytes.len() - start) as u16;
        message.bytes[start..start + 2].copy_from_slice(&length.to_ne_bytes());
        message
    }

    /// The finished bytes under a number by which the answer is known.
    pub(crate) fn finish(mut self, sequence: u32) -> Vec<u8> {
        let length = self.bytes.len() as u32;
        self.bytes[0..4].copy_from_slice(&length.to_ne_bytes());
        self.bytes[8..12].copy_from_slice(&sequence.to_ne_bytes());
        self.bytes
    }

    /// Asks for an acknowledgement.
    pub(crate) fn acknowledged(mut self) -> Self {
        const ACK: u16 = 4;
        let flags = u16::from_ne_bytes([self.bytes[6], self.bytes[7]]) | ACK;
        self.bytes[6..8].copy_from_slice(&flags.to_ne_bytes());
        self
    }

    /// How long it is so far.
    pub(crate) fn len(&self) -> usize {
        self.bytes.len()
    }

    fn pad(&mut self) {
        self.bytes.resize(self.bytes.len().next_multiple_of(4), 0);
    }
}

/// One received message.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Received<'a> {
    pub(crate) kind: u16,
    pub(crate) sequence: u32,
    pub(crate) body: &'a [u8],
}

/// The messages of one datagram; ends at the first that is cut off.
pub(crate) fn messages(datagram: &[u8]) -> impl Iterator<Item = Received<'_>> {
    let mut rest = datagram;
    std::iter::from_fn(move || {
        let length = number(rest, 0)? as usize;
        let body = rest.get(HEADER_BYTES..length)?;
        let kind = u16::from_ne_bytes([rest[4], rest[5]]);
        let sequence = number(rest, 8)?;
        rest = rest.get(length.next_multiple_of(4)..).unwrap_or_default();
        Some(Received { kind, sequence, body })
    })
}

/// A number of the machine's byte order at an offset.
pub(crate) fn number(bytes: &[u8], offset: usize) -> Option<u32> {
    let bytes = bytes.get(offset..offset + 4)?;
    Some(u32::from_ne_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]))
}

/// The attributes of a received message; ends at the first that is cut off.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Attributes<'a>(pub(crate) &'a [u8]);

impl<'a> Attributes<'a> {
    /// The value of the first attribute of a kind.
    pub(crate) fn get(self, kind: u16) -> Option<&'a [u8]> {
        self.find(|(found, _)| *found == kind).map(|(_, value)| value)
    }

    /// The number that the first attribute of a kind holds.
    pub(crate) fn get_u32(self, kind: u16) -> Option<u32> {
        self.get(kind).and_then(|value| number(value, 0))
    }

    /// The text that the first attribute of a kind holds.
    pub(crate) fn get_text(self, kind: u16) -> Option<String> {
        let value = self.get(kind)?;
        let end = value.iter().position(|b| *b == 0).unwrap_or(value.len());
        String::from_utf8(value[..end].to_vec()).ok()
    }

    fn find(mut self, matches: impl Fn(&(u16, &'a [u8])) -> bool) -> Option<(u16, &'a [u8])> {
        loop {
            let length = usize::from(u16::from_ne_bytes([*self.0.first()?, *self.0.get(1)?]));
            let kind = u16::from_ne_bytes([*self.0.get(2)?, *self.0.get(3)?]) & KIND_MASK;
            let value = self.0.get(ATTRIBUTE_BYTES..length)?;
            self.0 = self.0.get(length.next_multiple_of(4)..).unwrap_or_default();
            if matches(&(kind, value)) {
                return Some((kind, value));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn attributes_are_aligned_and_nested_ones_count_their_inside() {
        let bytes = Message::new(16, 0x500)
            .raw(&[1, 2, 3, 4])
            .put_text(3, "eth0")
            .nest(18, |m| m.put(1, b"x"))
            .finish(7);
        assert_eq!(bytes.len() % 4, 0);
        let all: Vec<_> = messages(&bytes).collect();
        assert_eq!(all.len(), 1);
        assert_eq!((all[0].kind, all[0].sequence), (16, 7));
        let attributes = Attributes(&all[0].body[4..]);
        assert_eq!(attributes.get_text(3).as_deref(), Some("eth0"));
        assert_eq!(Attributes(attributes.get(18).unwrap()).get(1), Some(&b"x"[..]));
        assert_eq!(attributes.get(99), None);
    }

    proptest! {
        #[test]
        fn no_bytes_make_the_reader_panic_or_loop(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            for message in messages(&bytes).take(100) {
                let _ = Attributes(message.body).get(3);
            }
            let _ = Attributes(&bytes).get_text(1);
        }
    }
}
