//! Protobuf's wire format: fields with their numbers, and where in the body they are.
//!
//! Never knows what a field means.

use crate::decode_error::DecodeError;

/// Bits of a tag that say how its value is written.
const WIRE_TYPE_BITS: u32 = 3;

/// Largest field number there can be.
const MAX_FIELD_NUMBER: u64 = (1 << 29) - 1;

/// A part of the body, read from front to back.
#[derive(Debug, Clone, Copy)]
pub struct Reader<'a> {
    /// The body up to the end of this part: positions are positions in the body.
    bytes: &'a [u8],
    at: usize,
}

/// A value as it is on the wire.
#[derive(Debug, Clone, Copy)]
enum Wire<'a> {
    Varint(u64),
    Fixed64(u64),
    Fixed32,
    Delimited(Reader<'a>),
}

/// A field: its number, its value, and the position of its tag.
#[derive(Debug, Clone, Copy)]
pub struct Field<'a> {
    /// The number that the message's definition gives it.
    pub number: u32,
    at: usize,
    wire: Wire<'a>,
}

impl<'a> Reader<'a> {
    /// The body from a position on.
    pub fn new(body: &'a [u8], at: usize) -> Self {
        Self { bytes: body, at }
    }

    /// The next field, until there is none.
    pub fn field(&mut self) -> Result<Option<Field<'a>>, DecodeError> {
        if self.is_empty() {
            return Ok(None);
        }
        let at = self.at;
        let tag = self.varint()?;
        let number = tag >> WIRE_TYPE_BITS;
        let number = match u32::try_from(number) {
            Ok(small) if (1..=MAX_FIELD_NUMBER).contains(&number) => small,
            _ => return Err(malformed(at, &format!("{number} is no field number"))),
        };
        let wire = match tag & ((1 << WIRE_TYPE_BITS) - 1) {
            0 => Wire::Varint(self.varint()?),
            1 => Wire::Fixed64(u64::from_le_bytes(self.array()?)),
            2 => {
                let start = self.at;
                let length = usize::try_from(self.varint()?).unwrap_or(usize::MAX);
                let end = self.at.saturating_add(length);
                let Some(bytes) = self.bytes.get(..end) else {
                    let left = self.bytes.len() - self.at;
                    let cause = format!("field {number} has {length} bytes, of which {left} came");
                    return Err(malformed(start, &cause));
                };
                let part = Reader { bytes, at: self.at };
                self.at = end;
                Wire::Delimited(part)
            }
            5 => {
                self.array::<4>()?;
                Wire::Fixed32
            }
            // Groups: no Kubernetes message has ever had one.
            other => {
                let cause = format!("field {number} has the unknown wire type {other}");
                return Err(malformed(at, &cause));
            }
        };
        Ok(Some(Field { number, at, wire }))
    }

    /// Whether all was read.
    pub fn is_empty(&self) -> bool {
        self.at == self.bytes.len()
    }

    /// A number of up to 64 bits, seven to the byte, the lowest first.
    pub fn varint(&mut self) -> Result<u64, DecodeError> {
        let start = self.at;
        let mut number = 0_u64;
        for shift in (0..u64::BITS).step_by(7) {
            let [byte] = self.array()?;
            let bits = u64::from(byte & 0x7f);
            if shift == 63 && bits > 1 {
                break;
            }
            number |= bits << shift;
            if byte & 0x80 == 0 {
                return Ok(number);
            }
        }
        Err(malformed(start, "a number of more than 64 bits"))
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], DecodeError> {
        let rest = &self.bytes[self.at..];
        let Some(bytes) = rest.first_chunk::<N>() else {
            return Err(malformed(self.bytes.len(), "the message ends within a field"));
        };
        self.at += N;
        Ok(*bytes)
    }
}

impl<'a> Field<'a> {
    /// A number or a truth.
    pub fn varint(&self) -> Result<u64, DecodeError> {
        match self.wire {
            Wire::Varint(number) => Ok(number),
            _ => Err(self.unexpected("a number")),
        }
    }

    /// A floating-point number.
    pub fn double(&self) -> Result<f64, DecodeError> {
        match self.wire {
            Wire::Fixed64(bits) => Ok(f64::from_bits(bits)),
            _ => Err(self.unexpected("a double")),
        }
    }

    /// Bytes that are a message, or packed numbers.
    pub fn message(&self) -> Result<Reader<'a>, DecodeError> {
        match self.wire {
            Wire::Delimited(reader) => Ok(reader),
            _ => Err(self.unexpected("bytes")),
        }
    }

    /// Any bytes.
    pub fn bytes(&self) -> Result<&'a [u8], DecodeError> {
        self.message().map(|reader| &reader.bytes[reader.at..])
    }

    /// Text.
    pub fn text(&self) -> Result<&'a str, DecodeError> {
        std::str::from_utf8(self.bytes()?).map_err(|_| self.malformed("not UTF-8"))
    }

    /// Whether the value is bytes, of whatever meaning.
    pub fn is_delimited(&self) -> bool {
        matches!(self.wire, Wire::Delimited(_))
    }

    /// An error about this field.
    pub fn malformed(&self, cause: &str) -> DecodeError {
        malformed(self.at, &format!("field {}: {cause}", self.number))
    }

    fn unexpected(&self, expected: &str) -> DecodeError {
        let found = match self.wire {
            Wire::Varint(_) => "a number",
            Wire::Fixed64(_) => "64 bits",
            Wire::Fixed32 => "32 bits",
            Wire::Delimited(_) => "bytes",
        };
        self.malformed(&format!("{found} where {expected} must be"))
    }
}

fn malformed(at: usize, cause: &str) -> DecodeError {
    DecodeError::new(format!("the body is not protobuf: byte {at}: {cause}"))
}
