//! When a node's proxy has brought Services into the kernel, seen from outside it: by connections
//! through them and by the generation of the kernel's rules. The same for every proxy.

use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::thread::sleep;
use std::time::{Duration, Instant, SystemTime};

use crate::ruleset_generation;

/// Between two looks; it bounds how exact a time is.
const LOOK_EVERY: Duration = Duration::from_micros(200);
/// For a connection. A Service without rules is refused at once where its address is routed here.
const CONNECT: Duration = Duration::from_millis(500);
/// An endpoint's answer is an address.
const ANSWER_BYTES_MAX: usize = 64;

/// The last change of the rules before all of `count` Services, at consecutive addresses, answer.
///
/// # Errors
/// `patience` is over, or the rules of nftables never changed: the proxy writes others.
pub fn all_answer(
    first: Ipv4Addr,
    count: u32,
    port: u16,
    patience: Duration,
) -> io::Result<SystemTime> {
    let begun = Instant::now();
    let mut generation = ruleset_generation()?;
    let mut changed = None;
    let mut answered = 0;
    while answered < count {
        let now = ruleset_generation()?;
        if now != generation {
            generation = now;
            changed = Some(SystemTime::now());
        }
        let address = Ipv4Addr::from(u32::from(first) + answered);
        if TcpStream::connect_timeout(&(address, port).into(), CONNECT).is_ok() {
            answered += 1;
        } else if begun.elapsed() > patience {
            return Err(io::Error::other(format!(
                "{address}:{port} does not answer, {answered} before it do"
            )));
        } else {
            sleep(LOOK_EVERY);
        }
    }
    changed.ok_or_else(|| io::Error::other("nothing of nftables has changed: is it iptables-nft?"))
}

/// When the first connection to a Service is answered by `endpoint`.
///
/// # Errors
/// `patience` is over.
pub fn reached(
    service: SocketAddr,
    endpoint: Ipv4Addr,
    patience: Duration,
) -> io::Result<SystemTime> {
    let begun = Instant::now();
    let wanted = endpoint.to_string();
    while who_answers(service).ok().as_deref() != Some(&wanted) {
        if begun.elapsed() > patience {
            return Err(io::Error::other(format!("{service} never led to {wanted}")));
        }
        sleep(LOOK_EVERY);
    }
    Ok(SystemTime::now())
}

fn who_answers(service: SocketAddr) -> io::Result<String> {
    let stream = TcpStream::connect_timeout(&service, CONNECT)?;
    stream.set_read_timeout(Some(CONNECT))?;
    let mut text = String::new();
    stream.take(ANSWER_BYTES_MAX as u64).read_to_string(&mut text)?;
    Ok(text)
}

/// Answers every connection with the address that it came to: an endpoint at each of them.
///
/// # Errors
/// The port is taken.
pub fn serve_own_address(port: u16) -> io::Result<()> {
    let listener = TcpListener::bind((Ipv4Addr::UNSPECIFIED, port))?;
    for stream in listener.incoming() {
        // A client that has gone wants no answer.
        let _ = stream.and_then(|mut stream| {
            let address = stream.local_addr()?.ip().to_string();
            stream.write_all(address.as_bytes())
        });
    }
    Ok(())
}
