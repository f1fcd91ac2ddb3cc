//! Small answers over plain HTTP/1.1 on one listener. Never reads a body, and never
//! keeps more connections than its limit.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use futures::future::BoxFuture;
use http::{HeaderValue, Request, Response, StatusCode, header};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::TcpListener;
use tokio::task::JoinSet;

/// Connections to one listener at a time; more wait in its backlog.
const MAX_CONNECTIONS: usize = 64;
/// A client that has not sent its request's head by then is hung up on.
const HEAD_TIMEOUT: Duration = Duration::from_secs(10);

/// Makes an answer from a request's head.
pub type Answer =
    Arc<dyn Fn(Request<Incoming>) -> BoxFuture<'static, Response<String>> + Send + Sync>;

/// Answers until it is dropped; the listener and all its connections are closed then.
pub async fn accept(listener: TcpListener, answer: Answer) {
    let mut connections = JoinSet::new();
    loop {
        let has_room = connections.len() < MAX_CONNECTIONS;
        let accepted = tokio::select! {
            Some(_) = connections.join_next() => continue,
            accepted = listener.accept(), if has_room => accepted,
        };
        let Ok((stream, _)) = accepted else {
            // Out of descriptors, most likely: let some be closed.
            tokio::time::sleep(Duration::from_millis(100)).await;
            continue;
        };
        let answer = answer.clone();
        connections.spawn(async move {
            let service = service_fn(|request| {
                let answer = answer(request);
                async { Ok::<_, Infallible>(answer.await) }
            });
            // A client that goes away is no concern of the agent.
            let _ = hyper::server::conn::http1::Builder::new()
                .timer(TokioTimer::new())
                .header_read_timeout(HEAD_TIMEOUT)
                .serve_connection(TokioIo::new(stream), service)
                .await;
        });
    }
}

/// An answer; browsers are not to guess at its type.
pub fn respond(status: StatusCode, content_type: &'static str, body: String) -> Response<String> {
    let mut response = Response::new(body);
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    response
}

#[cfg(test)]
mod tests {
    use futures::FutureExt;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpStream;

    use super::*;

    const REQUEST: &[u8] = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n";

    /// A server, and where it is.
    async fn start() -> (std::net::SocketAddr, tokio::task::JoinHandle<()>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("an address");
        let answer: Answer = Arc::new(|_| {
            let answer = respond(StatusCode::OK, "text/plain", "here\n".to_owned());
            std::future::ready(answer).boxed()
        });
        (address, tokio::spawn(accept(listener, answer)))
    }

    /// A connection that has been answered, and is kept.
    async fn ask(address: std::net::SocketAddr) -> TcpStream {
        let mut stream = TcpStream::connect(address).await.expect("a connection");
        stream.write_all(REQUEST).await.expect("sent");
        let mut answer = Vec::new();
        while !answer.ends_with(b"here\n") {
            let count = stream.read_buf(&mut answer).await.expect("an answer");
            assert_ne!(count, 0, "hung up");
        }
        stream
    }

    #[tokio::test]
    async fn kept_connections_end_with_their_server() {
        let (address, server) = start().await;
        let mut kept = ask(address).await;
        server.abort();
        let _ = server.await;
        let mut rest = Vec::new();
        // The end of the stream, or a reset.
        let _ = kept.write_all(REQUEST).await;
        let _ = kept.read_to_end(&mut rest).await;
        assert_eq!(rest, b"");
    }

    #[tokio::test]
    async fn more_connections_than_the_limit_wait_for_their_turn() {
        let (address, server) = start().await;
        let mut kept = Vec::new();
        for _ in 0..MAX_CONNECTIONS {
            kept.push(ask(address).await);
        }
        let mut waits = TcpStream::connect(address).await.expect("a connection");
        waits.write_all(REQUEST).await.expect("sent");
        // All that can be done now is done, and it is not among it.
        for _ in 0..100 {
            tokio::task::yield_now().await;
        }
        let mut answer = [0; 8];
        let now = waits.try_read(&mut answer).map_err(|error| error.kind());
        assert_eq!(now, Err(std::io::ErrorKind::WouldBlock));
        drop(kept.pop());
        waits.read_exact(&mut answer).await.expect("its turn");
        assert_eq!(&answer, b"HTTP/1.1");
        server.abort();
    }
}
