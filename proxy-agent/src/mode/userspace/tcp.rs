//! TCP: takes a connection, makes one to an endpoint, copies both ways. Never reads
//! what it copies.

use std::net::IpAddr;
use std::os::fd::AsFd;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use rustix::net::sockopt;
use tokio::io::copy_bidirectional_with_sizes;
use tokio::net::{TcpListener, TcpStream};
use tokio::time::{sleep, timeout};

use super::balancer::Balancer;
use super::limits::Budget;

/// How long an endpoint has to answer, one try after another, each with the next
/// endpoint in turn: those of upstream's userspace mode.
const DIAL_TIMEOUTS: [Duration; 4] = [
    Duration::from_millis(250),
    Duration::from_millis(500),
    Duration::from_secs(1),
    Duration::from_secs(2),
];
/// Bytes on their way, for each direction of a connection.
const BUFFER_BYTES: usize = 16 << 10;
/// After so long without traffic an end is asked whether it is there, and then every
/// `KEEPALIVE_INTERVAL`: one that has gone without a word must not hold its place.
const KEEPALIVE_AFTER: Duration = Duration::from_secs(60);
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(15);
/// Descriptors have run out, most likely: time for some to be closed.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Accepts until the task is aborted; connections are tasks of their own and go on.
pub async fn serve(listener: TcpListener, balancer: Arc<Mutex<Balancer>>, budget: Arc<Budget>) {
    loop {
        let Ok((client, from)) = listener.accept().await else {
            sleep(ACCEPT_PAUSE).await;
            continue;
        };
        let Some(permit) = budget.connection() else {
            reset(&client);
            continue;
        };
        let balancer = balancer.clone();
        tokio::spawn(async move {
            carry(client, from.ip(), &balancer).await;
            drop(permit);
        });
    }
}

async fn carry(mut client: TcpStream, from: IpAddr, balancer: &Mutex<Balancer>) {
    let Some(mut endpoint) = dial(from, balancer).await else {
        return reset(&client);
    };
    for stream in [&client, &endpoint] {
        prepare(stream);
    }
    let copied =
        copy_bidirectional_with_sizes(&mut client, &mut endpoint, BUFFER_BYTES, BUFFER_BYTES).await;
    if copied.is_err() {
        // A broken stream must not look like one that has come to its end.
        reset(&client);
        reset(&endpoint);
    }
}

/// A connection to the next endpoint that answers; `None`: none did.
async fn dial(from: IpAddr, balancer: &Mutex<Balancer>) -> Option<TcpStream> {
    let lock = || balancer.lock().unwrap_or_else(PoisonError::into_inner);
    for patience in DIAL_TIMEOUTS {
        let target = lock().choose(from, Instant::now())?;
        let dialled = timeout(patience, TcpStream::connect((target.address, target.port))).await;
        if let Ok(Ok(stream)) = dialled {
            return Some(stream);
        }
        lock().forget(&from);
    }
    None
}

/// Best effort: the connection works without.
fn prepare(stream: &TcpStream) {
    let _ = stream.set_nodelay(true);
    let _ = sockopt::set_socket_keepalive(stream, true);
    let _ = sockopt::set_tcp_keepidle(stream, KEEPALIVE_AFTER);
    let _ = sockopt::set_tcp_keepintvl(stream, KEEPALIVE_INTERVAL);
}

/// Has the stream end with a reset when it is dropped.
fn reset(stream: &TcpStream) {
    let _ = sockopt::set_socket_linger(stream.as_fd(), Some(Duration::ZERO));
}
