//! Questions from the HTTP server to the agent's loop, which alone has the catalog. Never
//! a lock: the loop answers between two rounds.

use std::net::IpAddr;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};
use tokio::time::timeout;

use super::{BadQuery, Explanation, Packet, View, check, explain};
use crate::catalog::Catalog;
use crate::mode::Mode;

/// Questions that wait for the loop; more are turned away.
const WAITING: usize = 16;
/// How long one waits: changes go first.
const PATIENCE: Duration = Duration::from_secs(5);

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum NoAnswer {
    /// The question cannot be answered as it is.
    #[error(transparent)]
    Bad(#[from] BadQuery),
    /// Too many ask.
    #[error("too many questions at a time: ask again")]
    Busy,
    /// The agent does not know enough, or has ended.
    #[error("{0}")]
    NotNow(&'static str),
}

/// A question and where its answer goes.
pub struct Question {
    packet: Packet,
    answer: oneshot::Sender<Result<Explanation, NoAnswer>>,
}

/// Asks.
#[derive(Clone)]
pub struct Asker(mpsc::Sender<Question>);

impl Asker {
    /// What becomes of the packet.
    ///
    /// # Errors
    /// See [`NoAnswer`].
    pub async fn ask(&self, packet: Packet) -> Result<Explanation, NoAnswer> {
        let (answer, answered) = oneshot::channel();
        self.0.try_send(Question { packet, answer }).map_err(|error| match error {
            mpsc::error::TrySendError::Full(_) => NoAnswer::Busy,
            mpsc::error::TrySendError::Closed(_) => NoAnswer::NotNow("the agent has ended"),
        })?;
        match timeout(PATIENCE, answered).await {
            Ok(answer) => answer.unwrap_or(Err(NoAnswer::NotNow("the agent has ended"))),
            Err(_) => Err(NoAnswer::NotNow("the agent is busy with changes: ask again")),
        }
    }
}

/// Answers, on the agent's side.
pub struct Desk {
    questions: mpsc::Receiver<Question>,
}

impl Desk {
    /// A desk, and who may ask there.
    pub fn new() -> (Asker, Desk) {
        let (asker, questions) = mpsc::channel(WAITING);
        (Asker(asker), Desk { questions })
    }

    /// The next question; never, when nobody can ask any more.
    pub async fn next(&mut self) -> Question {
        match self.questions.recv().await {
            Some(question) => question,
            None => std::future::pending().await,
        }
    }
}

impl Question {
    /// Answers it from the catalog; `None`: it is not complete yet.
    pub fn answer(self, catalog: Option<&Catalog>, modes: &[Box<dyn Mode>]) {
        let answer = answer(&self.packet, catalog, modes);
        // Whoever asked may have gone.
        let _ = self.answer.send(answer);
    }
}

fn answer(
    packet: &Packet,
    catalog: Option<&Catalog>,
    modes: &[Box<dyn Mode>],
) -> Result<Explanation, NoAnswer> {
    let Some(catalog) = catalog else {
        return Err(NoAnswer::NotNow("the agent has not seen all Services and EndpointSlices yet"));
    };
    let family = packet.family();
    let Some(mode) = modes.iter().find(|mode| mode.settings().family == family) else {
        return Err(BadQuery {
            field: "destination".to_owned(),
            says: "is of an IP family that this node does not have".to_owned(),
        }
        .into());
    };
    let node_addresses = own_addresses();
    check(packet, mode.settings(), &node_addresses)?;
    let view = View { catalog, mode: mode.as_ref(), node_addresses: &node_addresses };
    Ok(explain(view, packet))
}

/// Where the kernel does not list them, none is known.
fn own_addresses() -> Vec<IpAddr> {
    crate::addresses::own().unwrap_or_else(|error| {
        tracing::warn!(%error, "cannot list this node's addresses");
        Vec::new()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn packet() -> Packet {
        let query = "source=10.244.1.11&destination=10.96.0.10:80";
        super::super::parse(query).expect("a question")
    }

    #[tokio::test]
    async fn more_questions_than_can_wait_are_turned_away() {
        let (asker, desk) = Desk::new();
        let mut answers = Vec::new();
        for _ in 0..WAITING {
            let (answer, answered) = oneshot::channel();
            answers.push(answered);
            let packet = packet();
            let question = Question { packet, answer };
            assert!(asker.0.try_send(question).is_ok());
        }
        assert!(matches!(asker.ask(packet()).await, Err(NoAnswer::Busy)));
        drop(desk);
        assert!(matches!(asker.ask(packet()).await, Err(NoAnswer::NotNow(_))));
    }
}
