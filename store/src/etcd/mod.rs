//! The store on etcd: the same trait over its v3 API.
//!
//! Reads are linearizable and tried again on another member when one is lost. A write whose
//! answer is lost is never sent again: it stays [`Error::Unavailable`], outcome unknown. The
//! one exception is a write whose connection was refused, which never left this process.
//! Never lets one answer grow past [`MESSAGE_BYTES_MAX`]: lists are read in pieces.

use std::{sync::atomic::Ordering, time::Duration};

use async_trait::async_trait;
use etcd_client::{
    Client, Compare as EtcdCompare, CompareOp, GetOptions, PutOptions, Txn as EtcdTxn, TxnOp,
    TxnOpResponse,
};
use tokio::{sync::watch as signal, time};

use crate::{
    Compare, Error, Get, KeyValue, LeaseId, List, ListOptions, Op, Revision, Store, Txn, WatchItem,
    WatchStream,
    check::{check_ttl, check_txn},
};

mod answer;
mod list;
mod options;
mod queue;
mod version;
mod watch;

pub use options::EtcdOptions;

use answer::{Refusal, key_value, refusal};
use options::Connector;
use version::Versions;

/// Largest answer that is taken, in bytes. Above the largest transaction with what was
/// before each of its keys.
pub const MESSAGE_BYTES_MAX: usize = 64 << 20;
/// How long one request may take.
pub const REQUEST_TIMEOUT: Duration = Duration::from_secs(10);
/// How often a read is sent, and a write that never left.
const ATTEMPTS: u32 = 4;
/// How long to wait before the next attempt, times the attempts so far.
const ATTEMPT_PAUSE: Duration = Duration::from_millis(100);

/// A store on an etcd cluster.
pub struct Etcd {
    connector: Connector,
    client: Client,
    versions: Versions,
    wanted: signal::Sender<u64>,
}

/// Whether a request may be sent twice.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Repeat {
    Read,
    Write,
}

impl Etcd {
    /// Connects to etcd and asks it for its revision and its members for their versions.
    ///
    /// # Errors
    /// `Invalid` if the options are, `Unavailable` if no member answers.
    pub async fn connect(options: EtcdOptions) -> Result<Self, Error> {
        let connector = Connector::new(&options)?;
        let client = connector.client().await?;
        let versions = Versions::follow(connector.clone()).await;
        let etcd = Self { connector, client, versions, wanted: signal::Sender::new(0) };
        match etcd.current_revision().await {
            Err(Error::Unavailable(reason)) => Err(Error::Unavailable(format!(
                "none of {} answers: {reason}; check the addresses and that etcd runs",
                etcd.connector.endpoints.join(", ")
            ))),
            other => other.map(|_| etcd),
        }
    }

    /// Calls etcd, with a time limit, and once more where that can do no harm.
    async fn call<T, F>(
        &self,
        repeat: Repeat,
        lease: LeaseId,
        mut send: impl FnMut(Client) -> F + Send,
    ) -> Result<T, Refusal>
    where
        F: Future<Output = Result<T, etcd_client::Error>> + Send,
    {
        let mut attempt = 1;
        loop {
            let refused = match time::timeout(REQUEST_TIMEOUT, send(self.client.clone())).await {
                Ok(Ok(answer)) => return Ok(answer),
                Ok(Err(error)) => refusal(&error, lease),
                Err(_) => Refusal::Other(Error::Unavailable("etcd does not answer".into())),
            };
            let again = match &refused {
                Refusal::NotSent(_) => true,
                Refusal::Other(Error::Unavailable(_)) => repeat == Repeat::Read,
                _ => false,
            };
            if !again || attempt == ATTEMPTS {
                return Err(refused);
            }
            time::sleep(ATTEMPT_PAUSE * attempt).await;
            attempt += 1;
        }
    }

    /// The store's error for a refused request about `wanted`.
    async fn explain(&self, refused: Refusal, wanted: Revision) -> Error {
        match refused {
            Refusal::NotSent(error) | Refusal::Other(error) => error,
            Refusal::AnswerTooLarge => {
                Error::TooLarge { what: "an answer of etcd", limit: MESSAGE_BYTES_MAX }
            }
            Refusal::Compacted => {
                Error::Compacted { wanted, oldest: self.oldest().await.unwrap_or(wanted + 1) }
            }
            Refusal::Future => match self.current_revision().await {
                Ok(newest) => Error::Future { wanted, newest },
                Err(error) => error,
            },
        }
    }

    /// The oldest kept revision. Only a watch from too early on is told it.
    async fn oldest(&self) -> Option<Revision> {
        let mut watch = self.follow("", 1, None).await.ok()?;
        let answer = async {
            loop {
                match futures::StreamExt::next(&mut watch).await? {
                    Ok(WatchItem::Progress(_)) => {}
                    Ok(WatchItem::Events(_)) => return None,
                    Err(Error::Compacted { oldest, .. }) => return Some(oldest),
                    Err(_) => return None,
                }
            }
        };
        time::timeout(REQUEST_TIMEOUT, answer).await.ok()?
    }

    async fn follow(
        &self,
        prefix: &str,
        from: Revision,
        known: Option<Revision>,
    ) -> Result<WatchStream, Error> {
        let start = watch::Start {
            connector: self.connector.clone(),
            from,
            known,
            wanted: self.wanted.subscribe(),
            truthful: self.versions.truthful(),
        };
        watch::start(prefix, start).await
    }
}

fn header_revision(header: Option<&etcd_client::ResponseHeader>) -> Revision {
    header.map_or(0, etcd_client::ResponseHeader::revision)
}

#[async_trait]
impl Store for Etcd {
    async fn get(&self, key: &str, revision: Revision) -> Result<Get, Error> {
        let options = GetOptions::new().with_revision(revision);
        let got = self.call(Repeat::Read, 0, |client| {
            let mut kv = client.kv_client().max_decoding_message_size(MESSAGE_BYTES_MAX);
            let (key, options) = (key.to_owned(), options.clone());
            async move { kv.get(key, Some(options)).await }
        });
        match got.await {
            Ok(mut response) => Ok(Get {
                revision: header_revision(response.header()),
                kv: response.take_kvs().pop().map(key_value).transpose()?,
            }),
            Err(refused) => Err(self.explain(refused, revision).await),
        }
    }

    async fn list(&self, options: ListOptions) -> Result<List, Error> {
        list::list(self, &options).await
    }

    async fn txn(&self, compares: Vec<Compare>, ops: Vec<Op>) -> Result<Txn, Error> {
        check_txn(&compares, &ops)?;
        let lease = ops.iter().find_map(|op| match op {
            Op::Put { lease, .. } if *lease != 0 => Some(*lease),
            _ => None,
        });
        let txn = etcd_txn(compares, ops);
        let done = self.call(Repeat::Write, lease.unwrap_or(0), |client| {
            let mut kv = client.kv_client().max_decoding_message_size(MESSAGE_BYTES_MAX);
            let txn = txn.clone();
            async move { kv.txn(txn).await }
        });
        let response = match done.await {
            Ok(response) => response,
            Err(refused) => return Err(self.explain(refused, 0).await),
        };
        let revision = header_revision(response.header());
        if response.succeeded() {
            return Ok(Txn::Committed { revision });
        }
        let current = response.op_responses().into_iter().map(current);
        Ok(Txn::Conflict { revision, current: current.collect::<Result<_, _>>()? })
    }

    async fn watch(&self, prefix: &str, from: Revision) -> Result<WatchStream, Error> {
        if from != 0 {
            return self.follow(prefix, from, None).await;
        }
        // etcd's own "now" is that of the member that answers, which may be behind.
        let now = self.current_revision().await?;
        self.follow(prefix, now + 1, Some(now)).await
    }

    async fn current_revision(&self) -> Result<Revision, Error> {
        let asked = self.call(Repeat::Read, 0, |mut client| async move {
            let options = GetOptions::new().with_count_only();
            client.get(vec![0], Some(options)).await
        });
        match asked.await {
            Ok(response) => Ok(header_revision(response.header())),
            Err(Refusal::NotSent(error) | Refusal::Other(error)) => Err(error),
            Err(other) => Err(Error::Unavailable(format!("etcd: {other:?}"))),
        }
    }

    async fn compact(&self, revision: Revision) -> Result<(), Error> {
        let done =
            self.call(
                Repeat::Read,
                0,
                |mut client| async move { client.compact(revision, None).await },
            );
        match done.await {
            Ok(_) | Err(Refusal::Compacted) => Ok(()),
            Err(refused) => Err(self.explain(refused, revision).await),
        }
    }

    async fn request_progress(&self) {
        self.wanted.send_modify(|times| *times += 1);
    }

    async fn reports_progress(&self) -> bool {
        self.versions.truthful().load(Ordering::Relaxed)
    }

    async fn grant_lease(&self, ttl_s: i64) -> Result<LeaseId, Error> {
        check_ttl(ttl_s)?;
        let granted = self.call(Repeat::Write, 0, |mut client| async move {
            client.lease_grant(ttl_s, None).await
        });
        match granted.await {
            Ok(response) => Ok(response.id()),
            Err(refused) => Err(self.explain(refused, 0).await),
        }
    }
}

fn etcd_txn(compares: Vec<Compare>, ops: Vec<Op>) -> EtcdTxn {
    let reads: Vec<_> =
        compares.iter().map(|compare| TxnOp::get(compare.key.as_str(), None)).collect();
    let compares: Vec<_> = compares
        .into_iter()
        .map(|c| EtcdCompare::mod_revision(c.key, CompareOp::Equal, c.mod_revision))
        .collect();
    let writes: Vec<_> = ops.into_iter().map(etcd_op).collect();
    EtcdTxn::new().when(compares).and_then(writes).or_else(reads)
}

fn etcd_op(op: Op) -> TxnOp {
    match op {
        Op::Put { key, value, lease } => {
            let options = (lease != 0).then(|| PutOptions::new().with_lease(lease));
            TxnOp::put(key, value, options)
        }
        Op::Delete { key } => TxnOp::delete(key, None),
    }
}

/// One key of a failed transaction's answer.
fn current(response: TxnOpResponse) -> Result<Option<KeyValue>, Error> {
    match response {
        TxnOpResponse::Get(mut got) => got.take_kvs().pop().map(key_value).transpose(),
        other => Err(Error::Unavailable(format!("etcd answered a read with {other:?}"))),
    }
}
