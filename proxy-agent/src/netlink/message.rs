//! Netlink messages and attributes, written and read. Never knows what an
//! attribute means, but for the numbers that the kernel's headers give them.
//!
//! The sources of the numbers are `linux/netlink.h`, `linux/netfilter/nfnetlink.h`
//! and `linux/netfilter/nf_tables.h`.

/// `NLM_F_*`
pub mod flag {
    pub const REQUEST: u16 = 1;
    pub const ACK: u16 = 4;
    pub const DUMP: u16 = 0x300;
    pub const CREATE: u16 = 0x400;
    pub const APPEND: u16 = 0x800;
    pub const DUMP_INTERRUPTED: u16 = 0x10;
}

/// `NLMSG_*` and `NFNL_*` types that are no subsystem's.
pub mod kind {
    pub const ERROR: u16 = 2;
    pub const DONE: u16 = 3;
    pub const BATCH_BEGIN: u16 = 0x10;
    pub const BATCH_END: u16 = 0x11;
}

/// `NFNL_SUBSYS_NFTABLES`
pub const NFTABLES: u8 = 10;
/// `NFNL_SUBSYS_CTNETLINK`
pub const CONNTRACK: u8 = 1;

/// `NLA_F_NESTED`: an attribute that holds others.
pub const NESTED: u16 = 0x8000;
const TYPE_MASK: u16 = 0x3fff;
const HEADER: usize = 16;

/// Messages one after another, as they go over the socket.
#[derive(Default)]
pub struct Messages {
    bytes: Vec<u8>,
    count: usize,
    start: usize,
}

/// An attribute that holds others and is not closed yet.
#[must_use]
pub struct Nest(usize);

impl Messages {
    /// None yet.
    pub fn new() -> Messages {
        Messages::default()
    }

    /// Begins a message of a subsystem; the last one ends here.
    pub fn begin(&mut self, subsystem: u8, message: u8, flags: u16, family: u8) {
        self.begin_raw(u16::from(subsystem) << 8 | u16::from(message), flags, family, 0);
    }

    /// Begins a message by its whole type, with `res_id`.
    pub fn begin_raw(&mut self, kind: u16, flags: u16, family: u8, resource: u16) {
        let [high, low] = resource.to_be_bytes();
        self.begin_with(kind, flags, &[family, 0, high, low]);
    }

    /// Begins a message by its whole type, with what its protocol puts before attributes.
    pub fn begin_with(&mut self, kind: u16, flags: u16, header: &[u8]) {
        self.start = self.bytes.len();
        let sequence = self.count as u32;
        self.count += 1;
        self.bytes.extend_from_slice(&0u32.to_ne_bytes());
        self.bytes.extend_from_slice(&kind.to_ne_bytes());
        self.bytes.extend_from_slice(&(flags | flag::REQUEST).to_ne_bytes());
        self.bytes.extend_from_slice(&sequence.to_ne_bytes());
        self.bytes.extend_from_slice(&0u32.to_ne_bytes());
        self.bytes.extend_from_slice(header);
        self.close();
    }

    /// Sets the length of the message that is being written.
    fn close(&mut self) {
        let length = (self.bytes.len() - self.start) as u32;
        self.bytes[self.start..self.start + 4].copy_from_slice(&length.to_ne_bytes());
    }

    /// Adds an attribute.
    pub fn attribute(&mut self, kind: u16, payload: &[u8]) {
        let length = (4 + payload.len()) as u16;
        self.bytes.extend_from_slice(&length.to_ne_bytes());
        self.bytes.extend_from_slice(&kind.to_ne_bytes());
        self.bytes.extend_from_slice(payload);
        self.bytes.resize(self.bytes.len().next_multiple_of(4), 0);
        self.close();
    }

    /// Adds a string with its NUL.
    pub fn string(&mut self, kind: u16, text: &str) {
        let mut payload = text.as_bytes().to_vec();
        payload.push(0);
        self.attribute(kind, &payload);
    }

    /// Adds a number in network order, as nf_tables has them.
    pub fn number(&mut self, kind: u16, number: u32) {
        self.attribute(kind, &number.to_be_bytes());
    }

    /// Opens an attribute that holds others.
    pub fn nest(&mut self, kind: u16) -> Nest {
        let nest = Nest(self.bytes.len());
        self.attribute(kind | NESTED, &[]);
        nest
    }

    /// Closes it. The caller keeps it below 64 KiB.
    pub fn end(&mut self, nest: Nest) {
        let length = self.bytes.len() - nest.0;
        debug_assert!(length <= usize::from(u16::MAX));
        self.bytes[nest.0..nest.0 + 2].copy_from_slice(&(length as u16).to_ne_bytes());
        self.close();
    }

    /// Asks for an acknowledgement of the last message.
    pub fn acknowledge(&mut self) {
        let flags = self.start + 6;
        let bytes = [self.bytes[flags], self.bytes[flags + 1]];
        let asked = u16::from_ne_bytes(bytes) | flag::ACK;
        self.bytes[flags..flags + 2].copy_from_slice(&asked.to_ne_bytes());
    }

    /// How many messages.
    pub fn count(&self) -> usize {
        self.count
    }

    /// Bytes so far.
    pub fn len(&self) -> usize {
        self.bytes.len()
    }

    /// The bytes.
    pub fn into_bytes(self) -> Vec<u8> {
        self.bytes
    }
}

/// A received message.
pub struct Received<'a> {
    /// Its type.
    pub kind: u16,
    /// Its flags.
    pub flags: u16,
    /// The request's number.
    pub sequence: u32,
    /// The port of the socket that it answers, or whose transaction it tells of.
    pub port: u32,
    /// What follows the header.
    pub payload: &'a [u8],
}

impl<'a> Received<'a> {
    /// The attributes after the four bytes that netfilter puts first.
    pub fn attributes(&self) -> Attributes<'a> {
        self.attributes_after(4)
    }

    /// The attributes after what the protocol puts first.
    pub fn attributes_after(&self, header: usize) -> Attributes<'a> {
        Attributes(self.payload.get(header..).unwrap_or_default())
    }

    /// The address family among those four bytes.
    pub fn family(&self) -> u8 {
        self.payload.first().copied().unwrap_or_default()
    }

    /// The negative errno of an error message; 0 is an acknowledgement.
    pub fn errno(&self) -> i32 {
        self.payload.get(..4).and_then(|b| b.try_into().ok()).map_or(0, i32::from_ne_bytes)
    }
}

/// Splits what was received into messages; stops where it is cut off.
pub fn split(mut bytes: &[u8]) -> impl Iterator<Item = Received<'_>> {
    std::iter::from_fn(move || {
        let header = bytes.get(..HEADER)?;
        let word = |at: usize| -> Option<u32> {
            Some(u32::from_ne_bytes(header.get(at..at + 4)?.try_into().ok()?))
        };
        let half = |at: usize| -> Option<u16> {
            Some(u16::from_ne_bytes(header.get(at..at + 2)?.try_into().ok()?))
        };
        let length = word(0)? as usize;
        let message = Received {
            kind: half(4)?,
            flags: half(6)?,
            sequence: word(8)?,
            port: word(12)?,
            payload: bytes.get(HEADER..length)?,
        };
        bytes = bytes.get(length.next_multiple_of(4)..).unwrap_or_default();
        Some(message)
    })
}

/// Attributes one after another.
#[derive(Clone, Copy)]
pub struct Attributes<'a>(pub &'a [u8]);

impl<'a> Iterator for Attributes<'a> {
    type Item = (u16, &'a [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        let length = usize::from(u16::from_ne_bytes(self.0.get(..2)?.try_into().ok()?));
        let kind = u16::from_ne_bytes(self.0.get(2..4)?.try_into().ok()?);
        let payload = self.0.get(4..length)?;
        self.0 = self.0.get(length.next_multiple_of(4)..).unwrap_or_default();
        Some((kind & TYPE_MASK, payload))
    }
}

impl<'a> Attributes<'a> {
    /// The first attribute of this kind.
    pub fn find(mut self, kind: u16) -> Option<&'a [u8]> {
        self.find_map(|(is, payload)| (is == kind).then_some(payload))
    }

    /// The attributes inside one.
    pub fn inside(self, kind: u16) -> Option<Attributes<'a>> {
        self.find(kind).map(Attributes)
    }

    /// A string without its NUL.
    pub fn text(self, kind: u16) -> Option<&'a str> {
        std::str::from_utf8(self.find(kind)?).ok().map(|text| text.trim_end_matches('\0'))
    }

    /// A number in network order.
    pub fn number(self, kind: u16) -> Option<u32> {
        Some(u32::from_be_bytes(self.find(kind)?.get(..4)?.try_into().ok()?))
    }
}
