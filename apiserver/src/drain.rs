//! A request's body on loan to its handler: no more of it than the limit, and what an answer
//! leaves unread is read and dropped, so that a client that is still sending gets to read the
//! answer instead of a reset connection.
//!
//! Never keeps a byte, and never reads what the client waits to be asked for.

use std::{
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll},
    time::Duration,
};

use axum::body::Body;
use bytes::Bytes;
use http::{Request, header::EXPECT};
use hyper::body::{Body as HttpBody, Frame, SizeHint};

/// Largest body of a request, as upstream.
pub const MAX_BODY_BYTES: usize = 3 << 20;

/// Most that is dropped of one body; what is longer is cut off with its connection.
const DROPPED_BYTES_MAX: u64 = 256 << 20;

/// A client that has not sent the rest by then is cut off.
const DROPPING_LIMIT: Duration = Duration::from_secs(30);

/// The body of a request, while a handler may be reading it.
pub struct Rest(Option<Arc<Mutex<Shared>>>);

struct Shared {
    body: Body,
    /// The client sends when it is told to, and that is when the body is read first.
    waits: bool,
}

/// The body that the handler gets.
struct Lent {
    shared: Arc<Mutex<Shared>>,
    /// Bytes that the handler may still read.
    left: usize,
}

/// Why a body ends early for its handler: there is more of it than [`MAX_BODY_BYTES`].
#[derive(Debug, thiserror::Error)]
#[error("the body is longer than {MAX_BODY_BYTES} bytes")]
pub struct TooLong;

impl TooLong {
    /// Whether this is what reading a body failed with.
    pub fn is_cause_of(error: &(dyn std::error::Error + 'static)) -> bool {
        std::iter::successors(Some(error), |error| error.source()).any(|error| error.is::<Self>())
    }
}

/// Lends the request's body to a handler; [`Rest::read`] has what the handler leaves.
pub fn lend(request: Request<Body>) -> (Request<Body>, Rest) {
    if request.body().is_end_stream() {
        return (request, Rest(None));
    }
    let (parts, body) = request.into_parts();
    let waits = parts.headers.contains_key(EXPECT);
    let shared = Arc::new(Mutex::new(Shared { body, waits }));
    let lent = Body::new(Lent { shared: shared.clone(), left: MAX_BODY_BYTES });
    (Request::from_parts(parts, lent), Rest(Some(shared)))
}

impl Rest {
    /// Reads to the end of the body, or to the limits.
    pub async fn read(self) {
        let Some(shared) = self.0 else { return };
        if lock(&shared).waits {
            return;
        }
        let mut left = DROPPED_BYTES_MAX;
        let reading = async {
            while let Some(Ok(frame)) = next(&shared).await {
                let length = frame.data_ref().map_or(0, |data| data.len() as u64);
                left = left.saturating_sub(length);
                if left == 0 {
                    return;
                }
            }
        };
        let _ = tokio::time::timeout(DROPPING_LIMIT, reading).await;
    }
}

async fn next(shared: &Mutex<Shared>) -> Option<Result<Frame<Bytes>, axum::Error>> {
    std::future::poll_fn(|context| Pin::new(&mut lock(shared).body).poll_frame(context)).await
}

impl HttpBody for Lent {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let polled = {
            let mut shared = lock(&self.shared);
            shared.waits = false;
            Pin::new(&mut shared.body).poll_frame(context)
        };
        if let Poll::Ready(Some(Ok(frame))) = &polled {
            match self.left.checked_sub(frame.data_ref().map_or(0, Bytes::len)) {
                Some(left) => self.left = left,
                None => return Poll::Ready(Some(Err(axum::Error::new(TooLong)))),
            }
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        lock(&self.shared).body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        lock(&self.shared).body.size_hint()
    }
}

fn lock(shared: &Mutex<Shared>) -> MutexGuard<'_, Shared> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}
