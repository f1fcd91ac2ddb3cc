//! The hot paths, measured from the outside: this tree's `coracle`, an older one, or any API
//! server at a URL, in one run, as a table with ratios. See `--help`.
//!
//! Traffic stays on loopback, but for a `--url` that leads elsewhere.

mod fanout;
mod figure;
mod flip;
mod lab;
mod load;
mod meter;
mod objects;
mod server;

use std::io::Write;
use std::path::PathBuf;

use anyhow::Context;
use clap::Parser;
use futures::future::BoxFuture;

use figure::{Figure, print_table};
use server::{Foreign, Server, Subject};

/// Measures the hot paths. Without a ROW all but the long ones run.
#[derive(Parser)]
#[command(name = "hot_paths", after_help = rows_help())]
struct Options {
    /// Rows to measure, by name.
    #[arg(value_name = "ROW", value_parser = known_row)]
    rows: Vec<String>,
    /// The `coracle` binary to measure; by default the one built from this tree.
    #[arg(long, value_name = "PATH")]
    coracle: Option<PathBuf>,
    /// Another `coracle` binary, measured before it; ratios are against its figures.
    #[arg(long, value_name = "PATH")]
    baseline: Option<PathBuf>,
    /// A server that runs already, in the place of `--coracle`; rows that need the program are
    /// left out. It gets a namespace of its own, which is deleted in the end.
    #[command(flatten)]
    foreign: Foreign,
    /// How often to start `coracle up`.
    #[arg(long, value_name = "N", default_value_t = 20)]
    starts: usize,
    /// What `cargo bench` passes.
    #[arg(long, hide = true)]
    bench: bool,
}

/// A line of the table, and how it is measured.
struct Row {
    name: &'static str,
    about: &'static str,
    /// Left out unless asked for by name.
    long: bool,
    measure: Measure,
}

type Figures<'a> = BoxFuture<'a, anyhow::Result<Vec<Figure>>>;

enum Measure {
    /// On a fresh server.
    Server(fn(&Server) -> Figures<'_>),
    /// With the program alone; the number is [`Options::starts`].
    Program(fn(PathBuf, usize) -> Figures<'static>),
}

const ROWS: &[Row] = &[
    Row {
        name: "flip",
        about: "one pod's readiness → EndpointSlice at a watcher, 1,000 pods, 100 flips/s",
        long: false,
        measure: Measure::Server(|server| Box::pin(flip::readiness(server))),
    },
    Row {
        name: "slices",
        about: "new Service over 1,000 ready pods → all EndpointSlices",
        long: false,
        measure: Measure::Server(|server| Box::pin(flip::new_service(server))),
    },
    Row {
        name: "create",
        about: "create pods of 2.2 KB, get and list them, 16 connections",
        long: false,
        measure: Measure::Server(|server| Box::pin(load::create_get_list(server))),
    },
    Row {
        name: "watch",
        about: "1,000 watchers, one writer flat out",
        long: false,
        measure: Measure::Server(|server| Box::pin(fanout::watch(server))),
    },
    Row {
        name: "memory",
        about: "memory with 10,000 pods of 7.2 KB",
        long: false,
        measure: Measure::Server(|server| Box::pin(load::memory(server, 10_000, 0))),
    },
    Row {
        name: "large",
        about: "memory with 90,000 pods of 7.2 KB and 50,000 Services",
        long: true,
        measure: Measure::Server(|server| Box::pin(load::memory(server, 90_000, 50_000))),
    },
    Row {
        name: "up",
        about: "`coracle up` until it is ready, several starts",
        long: false,
        measure: Measure::Program(|program, starts| Box::pin(lab::starts(program, starts))),
    },
    Row {
        name: "idle",
        about: "a lab's memory ten minutes after 250 pods came and went",
        long: true,
        measure: Measure::Program(|program, _| Box::pin(lab::idle(program))),
    },
];

fn rows_help() -> String {
    let line = |row: &Row| {
        let long = if row.long { " (long: only by name)" } else { "" };
        format!("  {:8} {}{long}", row.name, row.about)
    };
    format!("Rows:\n{}", ROWS.iter().map(line).collect::<Vec<_>>().join("\n"))
}

fn known_row(name: &str) -> Result<String, String> {
    match ROWS.iter().any(|row| row.name == name) {
        true => Ok(name.to_owned()),
        false => Err(rows_help()),
    }
}

/// What the measurement is doing now, for a person who waits.
fn say(text: &str) {
    let _ = writeln!(std::io::stderr(), "{text}");
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let options = Options::parse();
    let subjects = subjects(&options)?;
    let chosen = |row: &&Row| match options.rows.is_empty() {
        true => !row.long,
        false => options.rows.iter().any(|name| name == row.name),
    };
    for row in ROWS.iter().filter(chosen) {
        let mut columns = Vec::new();
        for subject in &subjects {
            say(&format!("{}: {} ({})", subject.name(), row.name, row.about));
            if let Some(figures) = measure(row, subject, options.starts).await? {
                columns.push((subject.name(), figures));
            }
        }
        print_table(row.name, row.about, &columns);
    }
    Ok(())
}

fn subjects(options: &Options) -> anyhow::Result<Vec<Subject>> {
    let baseline =
        options.baseline.clone().map(|program| Subject::Program { name: "baseline", program });
    let own = match options.foreign.clone() {
        foreign if foreign.url.is_some() => Subject::Foreign(foreign),
        _ => {
            // Set where cargo builds this as a benchmark of the package.
            let built = option_env!("CARGO_BIN_EXE_coracle-under-test").map(PathBuf::from);
            let program = options.coracle.clone().or(built);
            Subject::Program { name: "coracle", program: program.context("give --coracle PATH")? }
        }
    };
    Ok(baseline.into_iter().chain([own]).collect())
}

async fn measure(
    row: &Row,
    subject: &Subject,
    starts: usize,
) -> anyhow::Result<Option<Vec<Figure>>> {
    let figures = match (&row.measure, subject) {
        (Measure::Server(measure), _) => {
            let server = subject.server().await?;
            let figures = measure(&server).await;
            server.end().await?;
            figures
        }
        (Measure::Program(measure), Subject::Program { program, .. }) => {
            measure(program.clone(), starts).await
        }
        (Measure::Program(_), Subject::Foreign(_)) => return Ok(None),
    };
    figures.with_context(|| format!("{}: {}", subject.name(), row.name)).map(Some)
}
