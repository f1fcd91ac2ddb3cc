//! What writers were told, and whether a store kept it.
//!
//! Each writer sets keys one after another, each once, with contents that tell a torn value.
//! Knows no store: it is given lines on one side, keys and values on the other.

use std::collections::BTreeMap;

/// Length of the padding of value number `n`: from nothing to more than a page.
fn padding(number: usize) -> usize {
    (number * 977) % 9000
}

/// The key prefix of a writer.
pub fn prefix(writer: usize) -> String {
    format!("/w/{writer:02}/")
}

/// The key and value of a write.
pub fn write(writer: usize, number: usize) -> (String, Vec<u8>) {
    let key = format!("{}{number:08}", prefix(writer));
    let mut value = format!("{writer} {number} ").into_bytes();
    value.resize(value.len() + padding(number), b'a' + (number % 26) as u8);
    value.extend_from_slice(b" end");
    (key, value)
}

/// What is said once a write is acknowledged.
pub fn line(writer: usize, number: usize) -> String {
    format!("ack {writer} {number}")
}

/// The acknowledged writes: how many of each writer.
#[derive(Default)]
pub struct Acks {
    written: BTreeMap<usize, usize>,
}

impl Acks {
    /// Takes a line a writer said. A line that was cut by a kill is an error to ignore.
    pub fn record(&mut self, line: &str) -> Result<(), String> {
        let mut words = line.split(' ');
        let mut number = || words.next().and_then(|word| word.parse::<usize>().ok());
        let parsed = match line.split(' ').next() {
            Some("ack") => {
                number();
                number().zip(number())
            }
            _ => None,
        };
        let (writer, number) = parsed.ok_or_else(|| format!("not an acknowledgement: {line:?}"))?;
        let written = self.written.entry(writer).or_default();
        *written = (*written).max(number + 1);
        Ok(())
    }

    /// How many writes were acknowledged.
    pub fn count(&self) -> usize {
        self.written.values().sum()
    }

    /// What is wrong with a store's contents. Besides what was acknowledged a writer may
    /// have one write there that it was not told about, whole.
    pub fn check<'a>(
        &self,
        found: impl Iterator<Item = (&'a str, &'a [u8])>,
        writers: usize,
    ) -> Vec<String> {
        let mut found: BTreeMap<_, _> = found.collect();
        let mut broken = Vec::new();
        for writer in 0..writers {
            let written = self.written.get(&writer).copied().unwrap_or(0);
            for number in 0..=written {
                let (key, value) = write(writer, number);
                match found.remove(&key[..]) {
                    Some(there) if there == value => {}
                    Some(there) => broken.push(format!("{key} is torn: {} bytes", there.len())),
                    None if number < written => broken.push(format!("{key} is missing")),
                    None => {}
                }
            }
        }
        broken.extend(found.keys().map(|key| format!("{key} was never written")));
        broken
    }
}
