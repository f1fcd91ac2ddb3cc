//! Of several instances of a program, one works: whoever holds a Lease, by client-go's rules.
//!
//! Never starts the work before the Lease is written, and never lets anything of it out after:
//! see [`crate::fence`]. A standby instance holds no caches, so that the first list a new
//! leader reads has all that the former one wrote.

pub mod elector;
#[cfg(test)]
mod model;
pub mod options;

use std::pin::pin;
use std::time::Duration;

use anyhow::{Context, anyhow};
use futures::future::BoxFuture;
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::jiff::Timestamp;
use kube::api::PostParams;
use kube::{Api, Client};
use tokio::task::{JoinError, JoinSet};
use tokio::time::{sleep, timeout};

use self::elector::{Elector, Moment, Step};
use self::options::{JITTER_FACTOR, LeaderElection, Timing};
use crate::connect::ApiServer;
use crate::events::{EventType, Recorder};
use crate::fence::{Fence, since_boot};

/// Runs tasks that never end by themselves while this instance leads, until `stop` resolves.
/// `work` makes them, once, when leading begins. `name` is the program's and the Lease's.
///
/// # Errors
/// The kubeconfig leads nowhere, the options do not fit together, the Lease was lost, or a
/// task ended. An unreachable API server is waited for.
pub async fn run(
    options: &LeaderElection,
    name: &'static str,
    api_server: &ApiServer,
    stop: impl Future<Output = ()>,
    work: impl FnOnce(Client) -> Vec<BoxFuture<'static, ()>>,
) -> anyhow::Result<()> {
    if !options.leader_elect {
        let mut tasks = work(api_server.connect().await?).into_iter().collect::<JoinSet<()>>();
        return tokio::select! {
            () = stop => Ok(()),
            Some(ended) = tasks.join_next() => Err(ended_by_itself(ended)),
        };
    }
    let timing = options.timing()?;
    let fence = Fence::closed();
    let worker = api_server.connect_fenced(&fence).await?;
    let lease = options.leader_elect_resource_name.as_deref();
    let namespace = options.leader_elect_resource_namespace.as_str();
    let mut candidate = Candidate {
        // Its own connection: the work must not be in the way of a renewal.
        api: Api::namespaced(api_server.connect().await?, namespace),
        elector: Elector::new(namespace, lease.unwrap_or(name), &identity()?, timing),
        timing,
        fence,
        unanswered: false,
    };
    let mut stop = pin!(stop);
    tokio::select! {
        biased;
        () = &mut stop => return candidate.give_up().await,
        () = candidate.acquire() => {}
    }
    let recorder = Recorder::start(worker.clone(), name, None);
    let mut tasks = work(worker).into_iter().collect::<JoinSet<()>>();
    if let Some(lease) = candidate.elector.lease() {
        let who = elector::holder(lease);
        recorder.event(lease, EventType::Normal, "LeaderElection", format!("{who} became leader"));
    }
    let ended = tokio::select! {
        biased;
        lost = candidate.renew() => {
            candidate.fence.close();
            tracing::error!("leaderelection lost: {lost:#}");
            return Err(lost.context("leaderelection lost"));
        }
        () = &mut stop => Ok(()),
        Some(ended) = tasks.join_next() => Err(ended_by_itself(ended)),
    };
    candidate.fence.drain(timing.retry_period).await;
    tasks.shutdown().await;
    candidate.give_up().await?;
    ended
}

/// That is a bug, and the process is better restarted.
fn ended_by_itself(ended: Result<(), JoinError>) -> anyhow::Error {
    match ended {
        Ok(()) => anyhow!("a controller's task ended by itself"),
        Err(error) => anyhow!(error).context("a controller's task panicked"),
    }
}

/// `HOSTNAME_UUID`, as upstream: no two instances share it, also not two lives of one.
fn identity() -> anyhow::Result<String> {
    let host = nix::unistd::gethostname().context("cannot read this host's name")?;
    let host = host.to_string_lossy();
    Ok(format!("{host}_{}", uuid::Uuid::new_v4()))
}

/// How a try to hold the Lease ended.
enum Round {
    Leads,
    Held(String),
}

struct Candidate {
    api: Api<Lease>,
    elector: Elector,
    timing: Timing,
    fence: Fence,
    /// A write may have succeeded whose answer was not seen.
    unanswered: bool,
}

impl Candidate {
    /// Returns when this instance leads.
    async fn acquire(&mut self) {
        let name = self.elector.name().to_owned();
        tracing::info!(lease = name, "attempting to acquire leader lease");
        let mut told = String::new();
        loop {
            match self.round().await {
                Ok(Round::Leads) => break,
                Ok(Round::Held(by)) => {
                    if by != told {
                        tracing::info!(lease = name, "lock is held by {by}; standing by");
                        told = by;
                    }
                }
                Err(error) => {
                    tracing::debug!(lease = name, "error retrieving resource lock: {error:#}");
                    let text = "unreachable".to_owned();
                    if told != text {
                        tracing::warn!(lease = name, "cannot acquire the lease yet: {error:#}");
                        told = text;
                    }
                }
            }
            sleep(jittered(self.timing.retry_period)).await;
        }
        tracing::info!(lease = name, "successfully acquired lease");
    }

    /// Renews the Lease for as long as that goes; returns why it does not any more.
    async fn renew(&mut self) -> anyhow::Error {
        let mut failure = anyhow!("no answer from the API server");
        loop {
            let left = match self.left() {
                Some(left) => left,
                None => {
                    let deadline = self.timing.renew_deadline;
                    return failure.context(format!("failed to renew lease within {deadline:?}"));
                }
            };
            sleep(self.timing.retry_period.min(left)).await;
            // The process may have been stopped meanwhile.
            let Some(left) = self.left() else { continue };
            match timeout(left, self.round()).await {
                Ok(Ok(Round::Leads)) => tracing::debug!("successfully renewed lease"),
                Ok(Ok(Round::Held(by))) => return anyhow!("{by} holds the lease now"),
                Ok(Err(error)) => {
                    tracing::warn!("the lease is not renewed yet: {error:#}");
                    failure = error;
                }
                Err(_) => {}
            }
        }
    }

    /// How long this instance still leads.
    fn left(&self) -> Option<Duration> {
        let until = self.elector.leads_until()?;
        until.checked_sub(since_boot()).filter(|left| !left.is_zero())
    }

    /// Tries once to hold the Lease.
    async fn round(&mut self) -> anyhow::Result<Round> {
        if let Some(lease) = self.elector.renewal(now()) {
            match self.write(lease).await {
                Ok(()) => return Ok(Round::Leads),
                Err(error) => tracing::debug!(
                    "failed to update lease optimistically, falling back to slow path: {error:#}"
                ),
            }
        }
        let name = self.elector.name().to_owned();
        let lease = self.bounded(self.api.get_opt(&name)).await?;
        self.unanswered = false;
        match self.elector.read(now(), lease) {
            Step::Held(by) => Ok(Round::Held(by)),
            Step::Write(lease) => {
                self.write(*lease).await?;
                Ok(Round::Leads)
            }
        }
    }

    /// Writes the Lease as its holder.
    async fn write(&mut self, lease: Lease) -> anyhow::Result<()> {
        let begun = since_boot();
        self.unanswered = true;
        let written = self.put(&lease).await?;
        self.unanswered = false;
        self.elector.wrote(begun, since_boot(), written);
        if let Some(until) = self.elector.leads_until() {
            self.fence.open_until(until);
        }
        Ok(())
    }

    async fn put(&self, lease: &Lease) -> anyhow::Result<Lease> {
        let params = PostParams::default();
        if lease.metadata.resource_version.is_none() {
            return self.bounded(self.api.create(&params, lease)).await;
        }
        let name = lease.metadata.name.as_deref().unwrap_or_default();
        self.bounded(self.api.replace(name, &params, lease)).await
    }

    /// Waits for an answer no longer than half the renew deadline, as upstream: then there is
    /// time for a second try.
    async fn bounded<T>(&self, answer: impl Future<Output = kube::Result<T>>) -> anyhow::Result<T> {
        let limit = self.timing.renew_deadline / 2;
        match timeout(limit, answer).await {
            Ok(answer) => Ok(answer?),
            Err(_) => Err(anyhow!("no answer from the API server within {limit:?}")),
        }
    }

    /// Lets go of the Lease, if this instance holds it, so that the next one need not wait.
    async fn give_up(mut self) -> anyhow::Result<()> {
        self.fence.close();
        if let Err(error) = self.release().await {
            // Then the others wait for the lease to run out.
            tracing::warn!("failed to release lease: {error:#}");
        }
        Ok(())
    }

    async fn release(&mut self) -> anyhow::Result<()> {
        if !self.unanswered {
            match self.elector.release(now()) {
                None => return Ok(()),
                Some(lease) => match self.put(&lease).await {
                    Ok(_) => {
                        tracing::info!("released lease");
                        return Ok(());
                    }
                    Err(error) => tracing::debug!("the lease has changed: {error:#}"),
                },
            }
        }
        let name = self.elector.name().to_owned();
        let Some(lease) = self.bounded(self.api.get_opt(&name)).await? else {
            return Ok(());
        };
        self.elector.read(now(), Some(lease));
        if let Some(lease) = self.elector.release(now()) {
            self.put(&lease).await?;
            tracing::info!("released lease");
        }
        Ok(())
    }
}

fn now() -> Moment {
    Moment { at: since_boot(), wall: Timestamp::now() }
}

/// Some time from `period` on, so that instances that started together do not ask together.
fn jittered(period: Duration) -> Duration {
    period.mul_f64(1.0 + JITTER_FACTOR * rand::random::<f64>())
}
