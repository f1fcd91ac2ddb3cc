//! What keeps a former leader from writing: a client whose bytes leave this process only while
//! the leadership lasts.
//!
//! Never asks anybody: a clock that also counts while the process or the machine is stopped
//! decides, just before each write to a socket. What is left is the moment between that look
//! and the system call.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use http::Method;
use nix::time::{ClockId, clock_gettime};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::{Semaphore, SemaphorePermit};

/// Writing requests in flight through one fence; more wait.
pub const MAX_WRITES: u32 = 4096;

/// Time since the machine started, including the time it was suspended.
pub fn since_boot() -> Duration {
    // Linux has had this clock since 2.6.39; with none, time stands still and a leader that
    // loses its Lease finds out by the next answer.
    clock_gettime(ClockId::CLOCK_BOOTTIME).map_or(Duration::ZERO, Duration::from)
}

/// Lets writes through for as long as was said. Clones share their state.
#[derive(Clone, Debug)]
pub struct Fence(Arc<State>);

#[derive(Debug)]
struct State {
    /// Nanoseconds since boot; [`u64::MAX`] is for ever.
    until: AtomicU64,
    /// No new request is let in.
    ending: AtomicBool,
    in_flight: Semaphore,
}

impl Fence {
    /// A fence that lets everything through.
    pub fn open() -> Self {
        Self::until_nanos(u64::MAX)
    }

    /// A fence that lets nothing through until [`Fence::open_until`].
    pub fn closed() -> Self {
        Self::until_nanos(0)
    }

    fn until_nanos(until: u64) -> Self {
        Self(Arc::new(State {
            until: AtomicU64::new(until),
            ending: AtomicBool::new(false),
            in_flight: Semaphore::new(MAX_WRITES as usize),
        }))
    }

    /// Lets through until that time since boot.
    pub fn open_until(&self, until: Duration) {
        let nanos = u64::try_from(until.as_nanos()).unwrap_or(u64::MAX - 1);
        self.0.until.store(nanos, Ordering::SeqCst);
    }

    /// Lets nothing through from now on.
    pub fn close(&self) {
        self.0.ending.store(true, Ordering::SeqCst);
        self.0.until.store(0, Ordering::SeqCst);
    }

    /// Lets no new request in, and waits at most `limit` for the answers to those that write.
    pub async fn drain(&self, limit: Duration) {
        self.0.ending.store(true, Ordering::SeqCst);
        let all_answered = self.0.in_flight.acquire_many(MAX_WRITES);
        // What is not answered by then is cut off.
        let _ = tokio::time::timeout(limit, all_answered).await;
        self.close();
    }

    /// Whether bytes may leave.
    fn check(&self) -> io::Result<()> {
        let until = self.0.until.load(Ordering::SeqCst);
        if until == u64::MAX || since_boot().as_nanos() < u128::from(until) {
            return Ok(());
        }
        Err(io::Error::other("this instance does not lead: nothing is sent"))
    }

    /// Lets a request in; what it returns is kept until the answer is there.
    ///
    /// # Errors
    /// This instance does not lead, or is about to give it up.
    pub(crate) async fn enter(&self, method: &Method) -> io::Result<Option<SemaphorePermit<'_>>> {
        self.check()?;
        if *method == Method::GET {
            return Ok(None);
        }
        let permit = self.0.in_flight.acquire().await;
        let permit = permit.map_err(io::Error::other)?;
        if self.0.ending.load(Ordering::SeqCst) {
            return Err(io::Error::other("this instance ends: nothing new is sent"));
        }
        Ok(Some(permit))
    }
}

/// A connection whose writes pass a fence.
#[derive(Debug)]
pub struct Fenced<T> {
    inner: T,
    fence: Fence,
}

impl<T> Fenced<T> {
    /// `inner` behind `fence`.
    pub fn new(inner: T, fence: Fence) -> Self {
        Self { inner, fence }
    }
}

impl<T: AsyncRead + Unpin> AsyncRead for Fenced<T> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_read(context, buffer)
    }
}

impl<T: AsyncWrite + Unpin> AsyncWrite for Fenced<T> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.fence.check()?;
        Pin::new(&mut self.inner).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(context)
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.fence.check()?;
        Pin::new(&mut self.inner).poll_write_vectored(context, bytes)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    /// Writes through a fence, and returns whether it arrived.
    async fn arrives(fence: &Fence) -> bool {
        let (near, mut far) = tokio::io::duplex(64);
        let mut near = Fenced::new(near, fence.clone());
        let sent = near.write_all(b"word").await.is_ok();
        drop(near);
        let mut arrived = Vec::new();
        far.read_to_end(&mut arrived).await.expect("a pipe");
        assert_eq!(arrived == b"word", sent);
        sent
    }

    #[tokio::test]
    async fn bytes_pass_while_the_leadership_lasts() {
        let fence = Fence::closed();
        assert!(!arrives(&fence).await);
        fence.open_until(since_boot() + Duration::from_secs(3600));
        assert!(arrives(&fence).await);
        fence.open_until(since_boot());
        assert!(!arrives(&fence).await);
        assert!(arrives(&Fence::open()).await);
        fence.open_until(since_boot() + Duration::from_secs(3600));
        fence.close();
        assert!(!arrives(&fence).await);
    }

    #[tokio::test(start_paused = true)]
    async fn the_end_waits_for_answers_to_writes_and_lets_no_new_ones_in() {
        let fence = Fence::open();
        let under_way = fence.enter(&Method::POST).await.expect("open").expect("a permit");
        let ending = tokio::spawn({
            let fence = fence.clone();
            async move { fence.drain(Duration::from_secs(3600)).await }
        });
        while !fence.0.ending.load(Ordering::SeqCst) {
            tokio::task::yield_now().await;
        }
        assert!(arrives(&fence).await, "what is under way may go on");
        assert!(fence.enter(&Method::GET).await.expect("still leads").is_none());
        assert!(!ending.is_finished());
        let late = tokio::spawn({
            let fence = fence.clone();
            async move { fence.enter(&Method::POST).await.is_err() }
        });
        drop(under_way);
        ending.await.expect("ends");
        assert!(late.await.expect("answers"), "a new write is refused");
        assert!(!arrives(&fence).await);
    }
}
