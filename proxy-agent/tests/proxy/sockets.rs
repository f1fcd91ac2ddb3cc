//! Questions from a given address and answers that say who asked, over TCP, UDP and SCTP.
//! Never knows why a question is put.
//!
//! A kernel need not have SCTP for its sockets, but has it for NAT: so an INIT chunk is
//! sent by hand, and the answer is an INIT ACK that carries the text.

use std::io::{self, Read, Write};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::Duration;

use proxy_agent::routes::Protocol;
use rustix::net::{AddressFamily, SocketType, bind, ipproto, socket, sockopt};

/// Every endpoint listens on these.
const TCP_PORTS: [u16; 2] = [8080, 9090];
const UDP_PORTS: [u16; 2] = [8080, 5353];

/// Asks from `source` and gives the two words of the answer: who answered, and whom it
/// saw. After `patience` nobody will.
pub fn ask(
    protocol: Protocol,
    source: IpAddr,
    to: SocketAddr,
    patience: Duration,
) -> io::Result<(SocketAddr, SocketAddr)> {
    let answer = match protocol {
        Protocol::Tcp => ask_tcp_from(source, to, patience)?,
        Protocol::Udp => ask_udp(source, to, patience)?,
        Protocol::Sctp => ask_sctp(source, to, patience)?,
    };
    let unreadable = || io::Error::new(io::ErrorKind::InvalidData, answer.clone());
    let (own, client) = answer.split_once(' ').ok_or_else(unreadable)?;
    let parse = |text: &str| text.parse().map_err(|_| unreadable());
    Ok((parse(own)?, parse(client)?))
}

fn family_of(address: &IpAddr) -> AddressFamily {
    if address.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 }
}

/// A connection from a given address; std can only bind or connect.
pub fn ask_tcp_from(source: IpAddr, to: SocketAddr, patience: Duration) -> io::Result<String> {
    let fd = socket(family_of(&to.ip()), SocketType::STREAM, None)?;
    bind(&fd, &SocketAddr::new(source, 0))?;
    // What the kernel takes for `connect` too.
    sockopt::set_socket_timeout(&fd, sockopt::Timeout::Send, Some(patience))?;
    match rustix::net::connect(&fd, &to) {
        Err(rustix::io::Errno::INPROGRESS) => Err(io::ErrorKind::TimedOut)?,
        connected => connected?,
    }
    read_all(TcpStream::from(fd), patience)
}

fn read_all(mut stream: TcpStream, patience: Duration) -> io::Result<String> {
    stream.set_read_timeout(Some(patience))?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    Ok(answer)
}

/// A socket at a port that no question had before: the kernel keeps a connection by its ports, and
/// a former one's go where that went.
pub fn new_udp(source: IpAddr) -> io::Result<UdpSocket> {
    static PORT: AtomicU16 = AtomicU16::new(10_000);
    loop {
        match UdpSocket::bind((source, PORT.fetch_add(1, Ordering::Relaxed))) {
            Err(error) if error.kind() == io::ErrorKind::AddrInUse => {}
            bound => return bound,
        }
    }
}

fn ask_udp(source: IpAddr, to: SocketAddr, patience: Duration) -> io::Result<String> {
    let socket = new_udp(source)?;
    socket.set_read_timeout(Some(patience))?;
    socket.connect(to)?;
    send(&socket, b"who")?;
    let mut answer = [0; 128];
    let length = socket.recv(&mut answer)?;
    Ok(String::from_utf8_lossy(&answer[..length]).into_owned())
}

/// The kernel says "not permitted" of what is dropped and of what is refused on its way
/// out; which of the two, the next `recv` tells.
fn send(socket: &UdpSocket, bytes: &[u8]) -> io::Result<()> {
    match socket.send(bytes) {
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => Ok(()),
        sent => sent.map(drop),
    }
}

/// Whether `to` answers an ICMP echo request.
pub fn is_pinged(source: IpAddr, to: IpAddr, patience: Duration) -> io::Result<bool> {
    let (protocol, request, reply) = match to {
        IpAddr::V4(_) => (ipproto::ICMP, 8, 0),
        IpAddr::V6(_) => (ipproto::ICMPV6, 128, 129),
    };
    let socket = raw(source, protocol)?;
    socket.set_read_timeout(Some(patience))?;
    socket.connect(SocketAddr::new(to, 0))?;
    // Type, code, sum, identifier and number; of IPv6 the kernel puts the sum in.
    let mut packet = [request, 0, 0, 0, 0, 0, 0, 1];
    if to.is_ipv4() {
        let sum = !(u16::from(request) << 8).wrapping_add(1);
        packet[2..4].copy_from_slice(&sum.to_be_bytes());
    }
    send(&socket, &packet)?;
    let mut buffer = [0; 256];
    loop {
        match socket.recv(&mut buffer) {
            Ok(length) => {
                let header = header_bytes(&buffer[..length], family_of(&to));
                if buffer.get(header) == Some(&reply) {
                    return Ok(true);
                }
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            // Nobody, or somebody who says that nobody is there.
            Err(_) => return Ok(false),
        }
    }
}

/// Answers at `address` until the process ends.
pub fn listen(address: IpAddr) {
    let tcp = TCP_PORTS.map(|port| (Protocol::Tcp, port));
    let udp = UDP_PORTS.map(|port| (Protocol::Udp, port));
    let all = tcp.into_iter().chain(udp).chain([(Protocol::Sctp, 0)]);
    for (protocol, port) in all {
        listen_on(protocol, SocketAddr::new(address, port)).expect("a free port");
    }
}

/// Whether the calling thread's namespace has this address.
pub fn has_address(address: IpAddr) -> bool {
    UdpSocket::bind((address, 0)).is_ok()
}

/// Answers at one port until the process ends; with SCTP at each of the address.
pub fn listen_on(protocol: Protocol, own: SocketAddr) -> io::Result<()> {
    match protocol {
        Protocol::Tcp => {
            let tcp = TcpListener::bind(own)?;
            std::thread::spawn(move || answer_tcp(&tcp));
        }
        Protocol::Udp => {
            let udp = UdpSocket::bind(own)?;
            std::thread::spawn(move || answer_udp(&udp));
        }
        Protocol::Sctp => {
            let sctp = raw_sctp(own.ip())?;
            std::thread::spawn(move || answer_sctp(own.ip(), &sctp));
        }
    }
    Ok(())
}

fn answer_tcp(tcp: &TcpListener) {
    for stream in tcp.incoming().flatten() {
        if let (Ok(own), Ok(client)) = (stream.local_addr(), stream.peer_addr()) {
            // A client that has gone is none of the server's business.
            let _ = (&stream).write_all(format!("{own} {client}").as_bytes());
        }
    }
}

fn answer_udp(udp: &UdpSocket) {
    let mut buffer = [0; 16];
    while let Ok((_, client)) = udp.recv_from(&mut buffer) {
        let own = udp.local_addr().expect("own address");
        let _ = udp.send_to(format!("{own} {client}").as_bytes(), client);
    }
}

/// A raw socket has no bind and connect of ports, and otherwise is used like one for UDP.
fn raw_sctp(address: IpAddr) -> io::Result<UdpSocket> {
    raw(address, ipproto::SCTP)
}

fn raw(address: IpAddr, protocol: rustix::net::Protocol) -> io::Result<UdpSocket> {
    let fd: OwnedFd = socket(family_of(&address), SocketType::RAW, Some(protocol))?;
    bind(&fd, &SocketAddr::new(address, 0))?;
    Ok(UdpSocket::from(fd))
}

const INIT: u8 = 1;
const INIT_ACK: u8 = 2;
/// Tags by which each side knows its peer; zero is none.
const CLIENT_TAG: u32 = 0x0c11_e117;
const SERVER_TAG: u32 = 0x5e14_7e14;

/// A packet of one chunk: common header, INIT or INIT ACK, and a parameter with `text`.
fn sctp_packet(ports: (u16, u16), tag: u32, chunk: u8, own_tag: u32, text: &str) -> Vec<u8> {
    let mut packet = Vec::new();
    packet.extend(ports.0.to_be_bytes());
    packet.extend(ports.1.to_be_bytes());
    packet.extend(tag.to_be_bytes());
    packet.extend([0; 4]);
    let mut text = text.as_bytes().to_vec();
    text.resize(text.len().next_multiple_of(4), b' ');
    let parameter = 4 + text.len();
    let chunk_length = 20 + parameter;
    packet.extend([chunk, 0]);
    packet.extend((chunk_length as u16).to_be_bytes());
    packet.extend(own_tag.to_be_bytes());
    // Window, streams out and in, first sequence number.
    packet.extend(0x1_0000u32.to_be_bytes());
    packet.extend([0, 1, 0, 1]);
    packet.extend(1u32.to_be_bytes());
    // A parameter that who does not know it skips.
    packet.extend(0x8777u16.to_be_bytes());
    packet.extend((parameter as u16).to_be_bytes());
    packet.extend(text);
    let sum = crc32c::crc32c(&packet);
    packet[8..12].copy_from_slice(&sum.to_le_bytes());
    packet
}

/// Of IPv4 a raw socket sees the IP header too.
fn header_bytes(packet: &[u8], family: AddressFamily) -> usize {
    match (family, packet.first()) {
        (AddressFamily::INET, Some(first)) => usize::from(first & 0x0f) * 4,
        _ => 0,
    }
}

/// Ports, kind of chunk and text of a packet.
fn read_sctp(packet: &[u8], family: AddressFamily) -> Option<(u16, u16, u8, String)> {
    let packet = packet.get(header_bytes(packet, family)..)?;
    let number = |at: usize| Some(u16::from_be_bytes(packet.get(at..at + 2)?.try_into().ok()?));
    let text = String::from_utf8_lossy(packet.get(36..)?).trim().to_owned();
    Some((number(0)?, number(2)?, *packet.get(12)?, text))
}

fn answer_sctp(own: IpAddr, socket: &UdpSocket) {
    let mut buffer = [0; 256];
    while let Ok((length, client)) = socket.recv_from(&mut buffer) {
        let Some((from, to, INIT, _)) = read_sctp(&buffer[..length], family_of(&own)) else {
            continue;
        };
        let (own, seen) = (SocketAddr::new(own, to), SocketAddr::new(client.ip(), from));
        let text = format!("{own} {seen}");
        let packet = sctp_packet((to, from), CLIENT_TAG, INIT_ACK, SERVER_TAG, &text);
        let _ = socket.send_to(&packet, SocketAddr::new(client.ip(), 0));
    }
}

fn ask_sctp(source: IpAddr, to: SocketAddr, patience: Duration) -> io::Result<String> {
    // Another port each time, so that each INIT begins an association.
    static PORT: AtomicU16 = AtomicU16::new(20_000);
    let port = PORT.fetch_add(1, Ordering::Relaxed);
    let socket = raw_sctp(source)?;
    socket.set_read_timeout(Some(patience))?;
    socket.connect(SocketAddr::new(to.ip(), 0))?;
    let packet = sctp_packet((port, to.port()), 0, INIT, CLIENT_TAG, "who");
    send(&socket, &packet)?;
    let mut buffer = [0; 256];
    loop {
        let length = socket.recv(&mut buffer)?;
        match read_sctp(&buffer[..length], family_of(&source)) {
            Some((from, own, INIT_ACK, text)) if (from, own) == (to.port(), port) => {
                return Ok(text);
            }
            _ => {}
        }
    }
}
