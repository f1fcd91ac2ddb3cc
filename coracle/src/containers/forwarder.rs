//! Passes TCP connections on to the first of several servers that takes them: a container on an
//! internal network publishes no ports, one that stands on two networks does. A server that takes a
//! connection and says nothing (a paused one) is noticed where that does no harm: a TLS greeting can
//! be sent to the next. Never sends to an address that was not given.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use clap::Args;
use tokio::io::{AsyncReadExt, AsyncWriteExt, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::time::timeout;

use super::{asked_to_end, runtime};

/// Connections at a time; more wait in the kernel's backlog.
const MAX_CONNECTIONS: usize = 1024;
/// A server that has not taken a connection by then is passed over.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);
/// A server that has not answered a TLS greeting by then is passed over.
const GREETING_TIMEOUT: Duration = Duration::from_secs(2);
/// Largest first part of a connection that is looked at; a TLS greeting is smaller.
const MAX_GREETING_BYTES: usize = 16 * 1024;
/// First byte of a TLS handshake.
const TLS_HANDSHAKE: u8 = 22;
/// After a failed accept, as where no descriptor is to be had.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Options of `member forwarder`.
#[derive(Args)]
pub struct Options {
    /// Where to listen and where to pass on to: PORT=HOST:PORT[,HOST:PORT] (repeatable).
    #[arg(value_name = "PORT=SERVERS", required = true, value_parser = parse_rule)]
    rules: Vec<Rule>,
}

/// One port and its servers.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Rule {
    port: u16,
    servers: Vec<String>,
}

fn parse_rule(text: &str) -> Result<Rule, String> {
    let form = || {
        format!(
            "`{text}` is not of the form PORT=HOST:PORT[,HOST:PORT], such as 6443=apiserver-1:6443"
        )
    };
    let (port, servers) = text.split_once('=').ok_or_else(form)?;
    let port = port.parse().map_err(|_| form())?;
    let servers: Vec<String> = servers.split(',').map(str::to_owned).collect();
    let valid = |server: &String| {
        server
            .rsplit_once(':')
            .is_some_and(|(host, port)| !host.is_empty() && port.parse::<u16>().is_ok())
    };
    if servers.iter().all(valid) { Ok(Rule { port, servers }) } else { Err(form()) }
}

/// Forwards until it is asked to end.
pub fn run(options: Options) -> Result<u8> {
    runtime()?.block_on(async {
        let slots = Arc::new(Semaphore::new(MAX_CONNECTIONS));
        for rule in options.rules {
            let listener = TcpListener::bind(("0.0.0.0", rule.port))
                .await
                .with_context(|| format!("listen on port {}", rule.port))?;
            println!("port {} goes to {}", rule.port, rule.servers.join(", "));
            tokio::spawn(serve(listener, Arc::new(rule.servers), slots.clone()));
        }
        asked_to_end().await.map(|()| 0)
    })
}

async fn serve(listener: TcpListener, servers: Arc<Vec<String>>, slots: Arc<Semaphore>) {
    // The semaphore is never closed.
    while let Ok(slot) = slots.clone().acquire_owned().await {
        match listener.accept().await {
            Ok((stream, _)) => {
                let servers = servers.clone();
                tokio::spawn(async move {
                    pass_on(stream, &servers).await;
                    drop(slot);
                });
            }
            Err(error) => {
                eprintln!("accept: {error}");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

/// A connection that no server takes is closed.
async fn pass_on(mut client: TcpStream, servers: &[String]) {
    let mut greeting = vec![0; MAX_GREETING_BYTES];
    match client.read(&mut greeting).await {
        Ok(length) if length > 0 => greeting.truncate(length),
        _ => return,
    }
    let _ = client.set_nodelay(true);
    for server in servers {
        if let Some(mut stream) = greet(server, &greeting).await {
            // However it ends, both sides are closed.
            let _ = copy_bidirectional(&mut client, &mut stream).await;
            return;
        }
    }
    eprintln!("none of {} takes a connection", servers.join(", "));
}

/// A connection to a server that has the greeting, and has begun to answer where it is one of TLS.
async fn greet(server: &str, greeting: &[u8]) -> Option<TcpStream> {
    let connected = timeout(CONNECT_TIMEOUT, TcpStream::connect(server)).await;
    let mut stream = connected.ok()?.ok()?;
    let _ = stream.set_nodelay(true);
    stream.write_all(greeting).await.ok()?;
    if greeting.first() == Some(&TLS_HANDSHAKE) {
        let answered = timeout(GREETING_TIMEOUT, stream.readable()).await;
        answered.ok()?.ok()?;
    }
    Some(stream)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rules_are_a_port_and_its_servers() {
        let rule = parse_rule("6443=a:1,10.0.0.2:2").expect("a rule");
        assert_eq!((rule.port, rule.servers.join(" ")), (6443, "a:1 10.0.0.2:2".to_owned()));
        for wrong in ["6443", "x=a:1", "1=a", "1=a:b", "1=:1", "1=", "70000=a:1"] {
            assert!(parse_rule(wrong).is_err(), "{wrong}");
        }
    }

    /// What a client of the forwarder gets, which sends `greeting`, where the first of two servers
    /// takes connections and never answers.
    async fn beside_a_paused_server(greeting: &[u8]) -> Vec<u8> {
        let paused = TcpListener::bind("127.0.0.1:0").await.expect("bind");
        let there = TcpListener::bind("127.0.0.1:0").await.expect("bind");
        let servers = [&paused, &there].map(|l| l.local_addr().expect("address").to_string());
        let front = TcpListener::bind("127.0.0.1:0").await.expect("bind");
        let at = front.local_addr().expect("address");
        let slots = Arc::new(Semaphore::new(1));
        tokio::spawn(serve(front, Arc::new(servers.to_vec()), slots));
        let mut client = TcpStream::connect(at).await.expect("connect");
        client.write_all(greeting).await.expect("write");
        let answers = async {
            let (mut server, _) = there.accept().await.expect("accept");
            let mut asked = vec![0; greeting.len()];
            server.read_exact(&mut asked).await.expect("read");
            server.write_all(&asked).await.expect("write");
        };
        let mut answer = vec![0; greeting.len()];
        answers.await;
        client.read_exact(&mut answer).await.expect("an answer");
        answer
    }

    #[tokio::test]
    async fn a_tls_greeting_goes_to_the_next_server_where_the_first_is_paused() {
        assert_eq!(beside_a_paused_server(b"\x16hello").await, b"\x16hello");
    }

    #[tokio::test]
    async fn a_server_that_is_gone_is_passed_over() {
        use tokio::io::{AsyncReadExt, AsyncWriteExt};
        let gone = TcpListener::bind("127.0.0.1:0").await.expect("bind");
        let gone_at = gone.local_addr().expect("address").to_string();
        drop(gone);
        let there = TcpListener::bind("127.0.0.1:0").await.expect("bind");
        let servers = vec![gone_at, there.local_addr().expect("address").to_string()];
        let front = TcpListener::bind("127.0.0.1:0").await.expect("bind");
        let at = front.local_addr().expect("address");
        tokio::spawn(serve(front, Arc::new(servers), Arc::new(Semaphore::new(1))));
        let mut client = TcpStream::connect(at).await.expect("connect");
        client.write_all(b"ask").await.expect("write");
        let (mut server, _) = there.accept().await.expect("accept");
        let mut asked = [0; 3];
        server.read_exact(&mut asked).await.expect("read");
        server.write_all(b"told").await.expect("write");
        drop(server);
        let mut answer = String::new();
        client.read_to_string(&mut answer).await.expect("read");
        assert_eq!((&asked, answer.as_str()), (b"ask", "told"));
    }
}
