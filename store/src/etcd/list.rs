//! Lists, read from etcd in pieces that fit into a message, all as of one revision.
//!
//! Never mixes revisions: the first piece fixes it for the others.

use std::sync::Arc;

use etcd_client::{GetOptions, GetResponse};

use crate::{
    Error, KeyValue, List, ListOptions, Revision,
    etcd::{
        Etcd, MESSAGE_BYTES_MAX, Repeat,
        answer::{Refusal, key_value, prefix_end, prefix_start},
        header_revision,
    },
};

/// Most keys of one piece.
const PIECE_KEYS_MAX: usize = 1000;
/// The next piece asks for as many keys as should have about this many bytes.
const PIECE_BYTES: usize = 8 << 20;
/// How often a list of the newest revision starts again because it was compacted meanwhile.
const ATTEMPTS: usize = 3;

/// Lists a prefix.
pub(super) async fn list(etcd: &Etcd, options: &ListOptions) -> Result<List, Error> {
    let mut attempt = 1;
    loop {
        match read(etcd, options).await {
            Err(Error::Compacted { .. }) if options.revision == 0 && attempt < ATTEMPTS => {
                attempt += 1;
            }
            other => return other,
        }
    }
}

async fn read(etcd: &Etcd, options: &ListOptions) -> Result<List, Error> {
    let end = prefix_end(&options.prefix);
    let mut start = match options.after.as_deref() {
        Some(after) if after >= options.prefix.as_str() => after_key(after),
        _ => prefix_start(&options.prefix),
    };
    let mut list = List { revision: options.revision, items: Vec::new(), remaining: 0 };
    // A key after the prefix would make a range that ends before it starts.
    let past = end != [0] && start >= end;
    let mut piece = PIECE_KEYS_MAX;
    loop {
        let missing = match options.limit {
            0 => usize::MAX,
            limit => limit - list.items.len(),
        };
        let range = Range {
            start: start.clone(),
            end: if past { start.clone() } else { end.clone() },
            limit: piece.min(missing),
            revision: list.revision,
        };
        let mut response = match get(etcd, range).await {
            Ok(response) => response,
            Err(Refusal::AnswerTooLarge) if piece > 1 => {
                piece = (piece / 8).max(1);
                continue;
            }
            Err(refused) => return Err(etcd.explain(refused, list.revision).await),
        };
        if list.revision == 0 {
            list.revision = header_revision(response.header());
        }
        if past {
            return Ok(list);
        }
        let (count, more) = (response.count(), response.more());
        let kvs = response.take_kvs();
        let got = kvs.len();
        for kv in kvs {
            list.items.push(key_value(kv)?);
        }
        list.remaining = usize::try_from(count).unwrap_or(0).saturating_sub(got);
        if !more || got == 0 || got == missing {
            return Ok(list);
        }
        let read = &list.items[list.items.len() - got..];
        piece = next_piece(read);
        if let Some(last) = read.last() {
            start = after_key(&last.key);
        }
    }
}

/// As many keys as fit into a piece if they are like the ones before.
fn next_piece(read: &[KeyValue]) -> usize {
    let bytes: usize = read.iter().map(|kv| kv.key.len() + kv.value.len()).sum();
    let each = (bytes / read.len().max(1)).max(1);
    (PIECE_BYTES / each).clamp(1, PIECE_KEYS_MAX)
}

fn after_key(key: &str) -> Vec<u8> {
    let mut after = key.as_bytes().to_vec();
    after.push(0);
    after
}

struct Range {
    start: Vec<u8>,
    end: Vec<u8>,
    limit: usize,
    revision: Revision,
}

async fn get(etcd: &Etcd, range: Range) -> Result<GetResponse, Refusal> {
    let limit = i64::try_from(range.limit).unwrap_or(i64::MAX);
    let options =
        GetOptions::new().with_range(range.end).with_limit(limit).with_revision(range.revision);
    let start = Arc::new(range.start);
    let got = etcd.call(Repeat::Read, 0, |client| {
        let mut kv = client.kv_client().max_decoding_message_size(MESSAGE_BYTES_MAX);
        let (start, options) = (start.to_vec(), options.clone());
        async move { kv.get(start, Some(options)).await }
    });
    got.await
}
