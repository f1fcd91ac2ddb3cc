//! Names outside the cluster: a unix socket on which the cluster's DNS passes a query, in
//! the framing of DNS over TCP, to the resolvers that the host uses. Never interprets a
//! query beyond its truncation bit and never keeps an answer.

use std::net::{IpAddr, SocketAddr};
use std::os::fd::AsRawFd;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UdpSocket, UnixListener, UnixStream};
use tokio::sync::Semaphore;
use tokio::time::timeout;

/// Connections served at a time; more wait in the kernel's backlog.
const MAX_CONNECTIONS: usize = 128;
/// Resolvers asked for one query, as in the C library.
const MAX_RESOLVERS: usize = 3;
/// Largest answer over UDP.
const MAX_DATAGRAM: usize = 4096;
const RESOLVER_TIMEOUT: Duration = Duration::from_secs(2);
const RESOLV_CONF: &str = "/etc/resolv.conf";
const DNS_PORT: u16 = 53;

/// Serves on `directory/name` until dropped.
pub async fn serve(directory: &Path, name: &str) -> Result<()> {
    let listener = bind(directory, name)?;
    let slots = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    loop {
        let permit = slots.clone().acquire_owned().await?;
        let (stream, _) = listener.accept().await?;
        tokio::spawn(async move {
            if let Err(error) = serve_connection(stream).await {
                tracing::debug!("a name outside the cluster: {error:#}");
            }
            drop(permit);
        });
    }
}

/// Binds by way of the directory's descriptor: a socket's path holds 107 bytes only, and
/// a data directory may be deep.
fn bind(directory: &Path, name: &str) -> Result<UnixListener> {
    let full = directory.join(name);
    let _ = std::fs::remove_file(&full);
    let directory = std::fs::File::open(directory)?;
    let short = format!("/proc/self/fd/{}/{name}", directory.as_raw_fd());
    UnixListener::bind(short).with_context(|| format!("listen on {}", full.display()))
}

async fn serve_connection(mut stream: UnixStream) -> Result<()> {
    loop {
        let length = match stream.read_u16().await {
            Ok(length) => length,
            Err(_) => return Ok(()),
        };
        let mut query = vec![0; usize::from(length)];
        stream.read_exact(&mut query).await?;
        let answer = resolve(&query, &resolvers()).await?;
        stream.write_u16(u16::try_from(answer.len())?).await?;
        stream.write_all(&answer).await?;
    }
}

fn resolvers() -> Vec<SocketAddr> {
    parse_resolvers(&std::fs::read_to_string(RESOLV_CONF).unwrap_or_default())
}

fn parse_resolvers(conf: &str) -> Vec<SocketAddr> {
    conf.lines()
        .filter_map(|line| {
            let mut words = line.split_whitespace();
            match (words.next(), words.next()) {
                (Some("nameserver"), Some(address)) => address.parse::<IpAddr>().ok(),
                _ => None,
            }
        })
        .take(MAX_RESOLVERS)
        .map(|address| SocketAddr::new(address, DNS_PORT))
        .collect()
}

async fn resolve(query: &[u8], resolvers: &[SocketAddr]) -> Result<Vec<u8>> {
    for resolver in resolvers {
        let asked = timeout(RESOLVER_TIMEOUT, ask(query, *resolver)).await;
        if let Ok(Ok(answer)) = asked {
            return Ok(answer);
        }
    }
    bail!("none of the {} resolvers of {RESOLV_CONF} answers", resolvers.len())
}

async fn ask(query: &[u8], resolver: SocketAddr) -> Result<Vec<u8>> {
    let local: SocketAddr =
        if resolver.is_ipv4() { ([0, 0, 0, 0], 0).into() } else { ([0u16; 8], 0).into() };
    let socket = UdpSocket::bind(local).await?;
    socket.connect(resolver).await?;
    socket.send(query).await?;
    let mut answer = vec![0; MAX_DATAGRAM];
    let length = loop {
        let length = socket.recv(&mut answer).await?;
        // The id ties an answer to its query.
        if length >= 12 && answer[..2] == query[..2.min(query.len())] {
            break length;
        }
    };
    answer.truncate(length);
    let truncated = answer[2] & 0x02 != 0;
    if truncated { ask_over_tcp(query, resolver).await } else { Ok(answer) }
}

async fn ask_over_tcp(query: &[u8], resolver: SocketAddr) -> Result<Vec<u8>> {
    let mut stream = TcpStream::connect(resolver).await?;
    stream.write_u16(u16::try_from(query.len())?).await?;
    stream.write_all(query).await?;
    let mut answer = vec![0; usize::from(stream.read_u16().await?)];
    stream.read_exact(&mut answer).await?;
    Ok(answer)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn resolvers_are_read_as_the_c_library_reads_them() {
        let conf = "# note\nnameserver 127.0.0.53\nsearch lan\nnameserver ::1\nnameserver x\nnameserver 127.0.0.2\nnameserver 127.0.0.3\n";
        let got: Vec<String> = parse_resolvers(conf).iter().map(ToString::to_string).collect();
        assert_eq!(got, ["127.0.0.53:53", "[::1]:53", "127.0.0.2:53"]);
    }

    #[tokio::test]
    async fn a_truncated_answer_is_asked_for_again_over_tcp() {
        // One port for both, as a resolver has it.
        let (udp, tcp) = loop {
            let udp = UdpSocket::bind("127.0.0.1:0").await.expect("udp");
            let at = udp.local_addr().expect("address");
            if let Ok(tcp) = tokio::net::TcpListener::bind(at).await {
                break (udp, tcp);
            }
        };
        let at = udp.local_addr().expect("address");
        let mut query = vec![0u8; 12];
        query[1] = 9;
        let mut truncated = query.clone();
        truncated[2] = 0x82;
        let mut whole = query.clone();
        whole.push(1);
        let answer = whole.clone();
        let server = async {
            let mut buffer = [0; 512];
            let (_, from) = udp.recv_from(&mut buffer).await.expect("recv");
            udp.send_to(&truncated, from).await.expect("send");
            let (mut stream, _) = tcp.accept().await.expect("accept");
            let length = stream.read_u16().await.expect("length");
            let mut asked = vec![0; usize::from(length)];
            stream.read_exact(&mut asked).await.expect("query");
            stream.write_u16(13).await.expect("length");
            stream.write_all(&whole).await.expect("answer");
        };
        let resolvers = [at];
        let (got, ()) = tokio::join!(resolve(&query, &resolvers), server);
        assert_eq!(got.expect("answer"), answer);
    }
}
