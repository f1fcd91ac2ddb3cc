//! The server over real sockets on loopback: UDP, TCP, upstreams, and `dig`.
//! Never sends anything beyond 127.0.0.1.

use std::io::Write;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use cluster_dns::cache::{Cache, DEFAULT_MAX_TTL_SECONDS};
use cluster_dns::forward::{Forwards, Upstream};
use cluster_dns::metrics::Metrics;
use cluster_dns::resolve::Resolver;
use cluster_dns::serve::Sockets;
use cluster_dns::state::State;
use hickory_proto::op::{Message, Query, ResponseCode};
use hickory_proto::rr::rdata::A;
use hickory_proto::rr::{Name, RData, Record, RecordType};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UdpSocket, UnixListener};
use tokio::process::Command;

/// Long enough for any loopback exchange; only a failing test waits so long.
const PATIENCE: Duration = Duration::from_secs(20);
/// What an upstream that never answers is given.
const SILENCE: Duration = Duration::from_millis(300);

const CLUSTER: &str = "
    svc default/web 10.96.0.20 http:80/tcp
    svc default/out external=example.com
";

/// Starts a server over these objects.
async fn start(lines: &str, upstreams: Vec<Upstream>, synced: bool) -> SocketAddr {
    let forwards = Forwards::new(upstreams, vec![]).with_timeout(PATIENCE);
    start_with(lines, forwards, synced).await.0
}

pub async fn start_with(
    lines: &str,
    forwards: Forwards,
    synced: bool,
) -> (SocketAddr, Arc<Metrics>) {
    let state = Arc::new(State::new(crate::world::table(lines)));
    if synced {
        state.set_services_synced();
        state.set_slices_synced();
    }
    let metrics = Arc::new(Metrics::new("cluster.local."));
    let resolver = Arc::new(Resolver::new(
        state,
        forwards,
        Cache::new(DEFAULT_MAX_TTL_SECONDS),
        Arc::clone(&metrics),
        crate::world::domain(),
    ));
    let sockets = Sockets::bind(([127, 0, 0, 1], 0).into()).await.unwrap();
    let address = sockets.address().unwrap();
    tokio::spawn(sockets.serve(resolver));
    (address, metrics)
}

fn query(kind: RecordType, name: &str) -> Message {
    let mut query = Message::query();
    query.add_query(Query::query(Name::from_ascii(name).unwrap(), kind));
    query
}

async fn ask_bytes(server: SocketAddr, bytes: &[u8]) -> Message {
    let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    socket.connect(server).await.unwrap();
    socket.send(bytes).await.unwrap();
    let mut buffer = [0; 4096];
    let received = tokio::time::timeout(PATIENCE, socket.recv(&mut buffer)).await;
    let length = received.expect("no response").unwrap();
    Message::from_vec(&buffer[..length]).unwrap()
}

pub async fn ask(server: SocketAddr, kind: RecordType, name: &str) -> Message {
    ask_bytes(server, &query(kind, name).to_vec().unwrap()).await
}

pub fn data(reply: &Message) -> Vec<String> {
    let records = reply.answers.iter();
    records.map(|record| record.data.to_string()).collect()
}

/// Answers 192.0.2.7 to every query it is given.
fn upstream_reply(bytes: &[u8]) -> Vec<u8> {
    let query = Message::from_vec(bytes).unwrap();
    let mut reply = Message::response(query.metadata.id, query.metadata.op_code);
    reply.queries = query.queries.clone();
    let name = query.queries[0].name.clone();
    let data = RData::A(A("192.0.2.7".parse().unwrap()));
    reply.add_answer(Record::from_rdata(name, 5, data));
    reply.to_vec().unwrap()
}

async fn start_udp_upstream() -> Upstream {
    let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let address = socket.local_addr().unwrap();
    tokio::spawn(async move {
        let mut buffer = [0; 4096];
        while let Ok((length, client)) = socket.recv_from(&mut buffer).await {
            let reply = upstream_reply(&buffer[..length]);
            // A forged response with another ID must not be believed.
            let mut forged = reply.clone();
            forged[0] ^= 0xff;
            socket.send_to(&forged, client).await.unwrap();
            socket.send_to(&reply, client).await.unwrap();
        }
    });
    Upstream::Address(address)
}

fn start_unix_upstream(folder: &std::path::Path) -> Upstream {
    let path = folder.join("dns.sock");
    let listener = UnixListener::bind(&path).unwrap();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let length = stream.read_u16().await.unwrap();
            let mut bytes = vec![0; length.into()];
            stream.read_exact(&mut bytes).await.unwrap();
            let reply = upstream_reply(&bytes);
            stream.write_u16(reply.len().try_into().unwrap()).await.unwrap();
            stream.write_all(&reply).await.unwrap();
        }
    });
    Upstream::Unix(path)
}

#[tokio::test]
async fn other_names_go_upstream_by_udp_and_by_unix_socket() {
    let folder = tempfile::tempdir().unwrap();
    let upstreams = [start_udp_upstream().await, start_unix_upstream(folder.path())];
    for upstream in upstreams {
        let server = start(CLUSTER, vec![upstream], true).await;
        let reply = ask(server, RecordType::A, "example.org.").await;
        assert_eq!(data(&reply), ["192.0.2.7"]);
        assert!(!reply.metadata.authoritative);
        let alias = ask(server, RecordType::A, "out.default.svc.cluster.local.").await;
        assert_eq!(data(&alias), ["example.com.", "192.0.2.7"]);
        assert!(alias.metadata.authoritative && alias.metadata.recursion_available);
    }
}

#[tokio::test]
async fn without_upstream_other_names_are_refused() {
    let server = start(CLUSTER, vec![], true).await;
    let reply = ask(server, RecordType::A, "example.org.").await;
    assert_eq!(reply.metadata.response_code, ResponseCode::Refused);
    let alias = ask(server, RecordType::A, "out.default.svc.cluster.local.").await;
    assert_eq!(data(&alias), ["example.com."]);
}

#[tokio::test]
async fn a_silent_upstream_is_passed_over_and_then_given_up() {
    let silent = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let silent_upstream = Upstream::Address(silent.local_addr().unwrap());
    let forwards = Forwards::new(vec![silent_upstream.clone()], vec![]).with_timeout(SILENCE);
    let (server, _) = start_with(CLUSTER, forwards, true).await;
    let reply = ask(server, RecordType::A, "example.org.").await;
    assert_eq!(reply.metadata.response_code, ResponseCode::ServFail);
    let second = start_udp_upstream().await;
    // The second is given no longer than the first, and has to answer on a busy machine too.
    let forwards = Forwards::new(vec![silent_upstream, second], vec![]).with_timeout(PATIENCE / 4);
    let (server, _) = start_with(CLUSTER, forwards, true).await;
    let reply = ask(server, RecordType::A, "example.org.").await;
    assert_eq!(data(&reply), ["192.0.2.7"]);
}

#[tokio::test]
async fn cluster_names_fail_until_the_table_is_complete() {
    let server = start(CLUSTER, vec![], false).await;
    let reply = ask(server, RecordType::A, "web.default.svc.cluster.local.").await;
    assert_eq!(reply.metadata.response_code, ResponseCode::ServFail);
}

#[tokio::test]
async fn tcp_takes_queries_before_earlier_ones_are_answered() {
    let silent = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let upstream = Upstream::Address(silent.local_addr().unwrap());
    let forwards = Forwards::new(vec![upstream], vec![]).with_timeout(SILENCE);
    let (server, _) = start_with(CLUSTER, forwards, true).await;
    let mut stream = TcpStream::connect(server).await.unwrap();
    let slow = query(RecordType::A, "example.org.");
    let fast = query(RecordType::A, "web.default.svc.cluster.local.");
    let mut bytes = Vec::new();
    for query in [&slow, &fast] {
        let encoded = query.to_vec().unwrap();
        bytes.extend(u16::try_from(encoded.len()).unwrap().to_be_bytes());
        bytes.extend(encoded);
    }
    stream.write_all(&bytes).await.unwrap();
    let mut ids = Vec::new();
    for _ in 0..2 {
        let length = stream.read_u16().await.unwrap();
        let mut reply = vec![0; length.into()];
        stream.read_exact(&mut reply).await.unwrap();
        ids.push(Message::from_vec(&reply).unwrap().metadata.id);
    }
    ids.sort_unstable();
    let mut expected = [slow.metadata.id, fast.metadata.id];
    expected.sort_unstable();
    assert_eq!(ids, expected);
}

#[tokio::test]
async fn bytes_that_are_no_message_get_formerr() {
    let server = start(CLUSTER, vec![], true).await;
    let mut bytes = query(RecordType::A, "web.default.svc.cluster.local.").to_vec().unwrap();
    bytes.truncate(20);
    let reply = ask_bytes(server, &bytes).await;
    assert_eq!(reply.metadata.response_code, ResponseCode::FormErr);
    assert_eq!(reply.metadata.id.to_be_bytes(), bytes[..2]);
}

/// Forty endpoints: 640 bytes of addresses at least.
fn many() -> String {
    let mut lines = "svc default/many None\neps default/many-1 many".to_owned();
    for last in 1..=60 {
        lines.push_str(&format!(" 10.244.7.{last}"));
    }
    lines
}

#[tokio::test]
async fn a_long_answer_is_cut_over_udp() {
    let server = start(&many(), vec![], true).await;
    let reply = ask(server, RecordType::A, "many.default.svc.cluster.local.").await;
    assert!(reply.metadata.truncation);
    let kept = reply.answers.len();
    assert!((1..60).contains(&kept), "{kept} of 60");
    assert!(reply.to_vec().unwrap().len() <= 512);
}

/// What `dig` prints, or nothing where it is not installed (an error under CI=true).
async fn dig(server: SocketAddr, arguments: &[&str]) -> Option<String> {
    let mut command = Command::new("dig");
    command.arg(format!("@{}", server.ip()));
    command.args(["-p", &server.port().to_string()]).args(arguments);
    match command.output().await {
        Ok(output) => Some(String::from_utf8(output.stdout).unwrap()),
        Err(error) => {
            let text = format!("dig (Debian: bind9-dnsutils) cannot run: {error}");
            assert!(std::env::var_os("CI").is_none(), "{text}");
            // Not `eprintln!`, which the harness keeps to itself.
            let _ = writeln!(std::io::stderr(), "SKIPPED: {text}");
            None
        }
    }
}

#[tokio::test]
async fn dig_agrees() {
    let server = start(&(CLUSTER.to_owned() + &many()), vec![], true).await;
    let name = "web.default.svc.cluster.local.";
    for transport in ["+notcp", "+tcp"] {
        let Some(text) = dig(server, &["-t", "A", name, transport]).await else {
            return;
        };
        let words: Vec<_> = text.split_whitespace().collect();
        let record = [name, "30", "IN", "A", "10.96.0.20"];
        assert!(words.windows(5).any(|it| it == record), "{text}");
        assert!(text.contains("status: NOERROR"), "{text}");
        assert!(text.contains("flags: qr aa rd;"), "{text}");
        assert!(text.contains("EDNS: version: 0"), "{text}");
        assert!(!text.contains("warning: Message"), "{text}");
    }
    let cut = "many.default.svc.cluster.local.";
    let whole = dig(server, &["-t", "A", cut, "+noedns", "+short"]).await.unwrap();
    // dig comes back over TCP by itself.
    assert_eq!(whole.lines().filter(|it| it.starts_with("10.")).count(), 60, "{whole}");
    let missing = dig(server, &["-t", "A", "nope.default.svc.cluster.local."]).await.unwrap();
    assert!(missing.contains("status: NXDOMAIN"), "{missing}");
    assert!(missing.contains("SOA\tns.dns.cluster.local."), "{missing}");
}
