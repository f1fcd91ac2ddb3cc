//! From etcd's answers and errors to the store's.
//!
//! etcd tells its errors apart by their text; the ones that matter are all here. An error
//! that says nothing about a write's outcome stays [`Error::Unavailable`].

use std::{error::Error as _, io};

use etcd_client::Error as EtcdError;

use crate::{Error, KeyValue, LeaseId};

/// etcd's own default for the size of a request, in bytes.
const REQUEST_BYTES_DEFAULT: usize = 1_572_864;

/// What kind of answer an etcd error is.
#[derive(Debug)]
pub(super) enum Refusal {
    /// The wanted revision is compacted; etcd does not say what is kept.
    Compacted,
    /// The wanted revision does not exist yet.
    Future,
    /// The answer is larger than this client takes.
    AnswerTooLarge,
    /// The request never left: no connection could be made.
    NotSent(Error),
    /// Anything else.
    Other(Error),
}

/// Sorts an error; `lease` is the one the request named.
pub(super) fn refusal(error: &EtcdError, lease: LeaseId) -> Refusal {
    let text = match error {
        EtcdError::GRpcStatus(status) => status.message(),
        _ => "",
    };
    let has = |part: &str| text.contains(part);
    if has("required revision has been compacted") {
        return Refusal::Compacted;
    }
    if has("required revision is a future revision") {
        return Refusal::Future;
    }
    if has("decoded message length too large") {
        return Refusal::AnswerTooLarge;
    }
    if has("database space exceeded") {
        return Refusal::Other(Error::Full(format!(
            "etcd: {text}; compact and defragment it, raise its quota, then disarm its alarm"
        )));
    }
    if has("requested lease not found") {
        return Refusal::Other(Error::NoLease { lease });
    }
    if has("request is too large") || has("larger than max") {
        return Refusal::Other(Error::TooLarge {
            what: "a request to etcd (see its --max-request-bytes)",
            limit: REQUEST_BYTES_DEFAULT,
        });
    }
    if has("duplicate key given") || has("too many operations") || has("key is not provided") {
        return Refusal::Other(Error::Invalid(text.to_owned()));
    }
    let unavailable = Error::Unavailable(format!("etcd: {}", chain(error)));
    match refused_connection(error) {
        true => Refusal::NotSent(unavailable),
        false => Refusal::Other(unavailable),
    }
}

/// The message with its causes: tonic's own says no more than "transport error".
fn chain(error: &EtcdError) -> String {
    let mut text = match error {
        EtcdError::GRpcStatus(status) => status.message().to_owned(),
        error => error.to_string(),
    };
    let mut cause = inner(error);
    while let Some(error) = cause {
        let next = error.to_string();
        if !text.contains(&next) {
            text = format!("{text}: {next}");
        }
        cause = error.source();
    }
    text
}

fn inner(error: &EtcdError) -> Option<&(dyn std::error::Error + 'static)> {
    match error {
        EtcdError::GRpcStatus(status) => status.source(),
        EtcdError::TransportError(error) => error.source(),
        _ => None,
    }
}

/// Only the making of a connection can be refused, so the request was never sent.
fn refused_connection(error: &EtcdError) -> bool {
    let mut cause = inner(error);
    while let Some(error) = cause {
        if let Some(io) = error.downcast_ref::<io::Error>()
            && io.kind() == io::ErrorKind::ConnectionRefused
        {
            return true;
        }
        cause = error.source();
    }
    false
}

/// A key as the store has it.
pub(super) fn key_value(kv: etcd_client::KeyValue) -> Result<KeyValue, Error> {
    let (create_revision, mod_revision) = (kv.create_revision(), kv.mod_revision());
    let (key, value) = kv.into_key_value();
    let key = String::from_utf8(key).map_err(|error| {
        Error::Corrupt(format!(
            "etcd has a key that is no text: {:?}; it was not written by this program",
            String::from_utf8_lossy(error.as_bytes())
        ))
    })?;
    Ok(KeyValue { key, value: value.into(), create_revision, mod_revision })
}

/// The first key that no longer has the prefix; etcd's sign for the end if there is none.
pub(super) fn prefix_end(prefix: &str) -> Vec<u8> {
    let mut end = prefix.as_bytes().to_vec();
    while let Some(last) = end.pop() {
        if last < u8::MAX {
            end.push(last + 1);
            return end;
        }
    }
    vec![0]
}

/// The first key of a prefix, or etcd's sign for the first of all.
pub(super) fn prefix_start(prefix: &str) -> Vec<u8> {
    match prefix {
        "" => vec![0],
        prefix => prefix.as_bytes().to_vec(),
    }
}
