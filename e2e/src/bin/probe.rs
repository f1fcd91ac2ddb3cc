//! The test's hands inside the lab: requests from a node, and servers at addresses of choice.

use std::{
    env,
    fmt::Display,
    io::{self, Read, Write},
    net::{TcpListener, UdpSocket},
    process::ExitCode,
    str::FromStr,
    thread,
    time::{Duration, SystemTime},
};

use e2e::Request;

/// For the answer to one datagram.
const UDP_ANSWER: Duration = Duration::from_millis(300);

const USAGE: &str = "usage: probe get ADDRESS:PORT PATH COUNT PAUSE_MS TIMEOUT_MS | probe ask ADDRESS:PORT PATH PAUSE_MS TIMEOUT_MS | probe serve ADDRESS:PORT NAME | probe serve-udp ADDRESS:PORT NAME | probe ask-udp ADDRESS:PORT PAUSE_MS | probe generation | probe all-answer ADDRESS COUNT PORT SECONDS | probe reached ADDRESS:PORT ENDPOINT SECONDS | probe serve-own-address PORT";

fn main() -> ExitCode {
    let args: Vec<String> = env::args().skip(1).collect();
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    let done = match args[..] {
        ["get", to, path, count, pause_ms, timeout_ms] => {
            get(to, path, [count, pause_ms, timeout_ms])
        }
        ["ask", to, path, pause_ms, timeout_ms] => {
            end_with_caller();
            get(to, path, [&u64::MAX.to_string(), pause_ms, timeout_ms])
        }
        ["serve", at, name] => serve(at, name),
        ["serve-udp", at, name] => serve_udp(at, name).map_err(|error| format!("{at}: {error}")),
        ["ask-udp", to, pause_ms] => ask_udp(to, pause_ms),
        ["generation"] => {
            e2e::ruleset_generation().map(|id| println!("{id}")).map_err(|error| error.to_string())
        }
        ["all-answer", first, count, port, seconds] => all_answer(first, count, port, seconds),
        ["reached", service, endpoint, seconds] => reached(service, endpoint, seconds),
        ["serve-own-address", port] => number(port)
            .and_then(|port| e2e::serve_own_address(port).map_err(|error| error.to_string())),
        _ => Err(USAGE.to_owned()),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

fn number<T: FromStr<Err: Display>>(text: &str) -> Result<T, String> {
    text.parse().map_err(|error| format!("{text}: {error}"))
}

/// Prints the time of the last change of the rules before all of the Services answer.
fn all_answer(first: &str, count: &str, port: &str, seconds: &str) -> Result<(), String> {
    let patience = Duration::from_secs(number(seconds)?);
    let at = e2e::all_answer(number(first)?, number(count)?, number(port)?, patience);
    print_time(at)
}

/// Prints the time of the first connection that led to this endpoint.
fn reached(service: &str, endpoint: &str, seconds: &str) -> Result<(), String> {
    let patience = Duration::from_secs(number(seconds)?);
    print_time(e2e::reached(number(service)?, number(endpoint)?, patience))
}

/// In microseconds since 1970.
fn print_time(at: io::Result<SystemTime>) -> Result<(), String> {
    let since = at.map_err(|error| error.to_string())?;
    let since = since.duration_since(SystemTime::UNIX_EPOCH);
    println!("{}", since.map_err(|error| error.to_string())?.as_micros());
    Ok(())
}

/// Has this program end with the one that started it, wherever that is: the other end of standard
/// input is closed then.
fn end_with_caller() {
    thread::spawn(|| {
        let _ = io::copy(&mut io::stdin(), &mut io::sink());
        std::process::exit(0);
    });
}

fn get(to: &str, path: &str, numbers: [&str; 3]) -> Result<(), String> {
    let to = to.parse().map_err(|error| format!("{to}: {error}"))?;
    let [count, pause_ms, timeout_ms] = numbers.map(number::<u64>);
    let (count, pause_ms) = (count?, pause_ms?);
    let request = Request { to, path: path.to_owned(), timeout_ms: timeout_ms? };
    for _ in 0..count {
        if writeln!(io::stdout(), "{}", request.send()).is_err() {
            // Nobody reads on.
            break;
        }
        thread::sleep(Duration::from_millis(pause_ms));
    }
    Ok(())
}

/// Answers every request with `NAME CLIENT_ADDRESS`.
fn serve(at: &str, name: &str) -> Result<(), String> {
    let listener = TcpListener::bind(at).map_err(|error| format!("{at}: {error}"))?;
    end_with_caller();
    println!("serving");
    for stream in listener.incoming() {
        let Ok(mut stream) = stream else { continue };
        let Ok(peer) = stream.peer_addr() else {
            continue;
        };
        // The client writes its request at once; closing with a part unread would reset it.
        let mut request = [0; 1024];
        let _ = stream.read(&mut request);
        let body = format!("{name} {}", peer.ip());
        let head = format!(
            "HTTP/1.1 200 OK\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
            body.len()
        );
        let _ = stream.write_all((head + &body).as_bytes());
    }
    Ok(())
}

/// Answers every datagram with `NAME`.
fn serve_udp(at: &str, name: &str) -> io::Result<()> {
    let socket = UdpSocket::bind(at)?;
    end_with_caller();
    let mut question = [0; 64];
    loop {
        let (_, client) = socket.recv_from(&mut question)?;
        socket.send_to(name.as_bytes(), client)?;
    }
}

/// Asks from one socket, so from one port, until nobody reads: a line for each answer, or
/// `none`.
fn ask_udp(to: &str, pause_ms: &str) -> Result<(), String> {
    let pause = pause_ms.parse().map(Duration::from_millis);
    let pause = pause.map_err(|error| format!("{pause_ms}: {error}"))?;
    let connected = UdpSocket::bind("0.0.0.0:0").and_then(|socket| {
        socket.connect(to)?;
        socket.set_read_timeout(Some(UDP_ANSWER))?;
        Ok(socket)
    });
    let socket = connected.map_err(|error| format!("{to}: {error}"))?;
    end_with_caller();
    let mut answer = [0; 64];
    loop {
        // A refusal of an earlier datagram is an error of this call.
        let _ = socket.send(b"who");
        let text = match socket.recv(&mut answer) {
            Ok(length) => String::from_utf8_lossy(&answer[..length]).into_owned(),
            Err(_) => "none".to_owned(),
        };
        if writeln!(io::stdout(), "{text}").is_err() {
            return Ok(());
        }
        thread::sleep(pause);
    }
}
