//! What was seen, as the table in the documents.

use std::{fmt::Write, fs, path::Path, sync::Mutex, time::Duration};

/// What one fault did.
pub struct Row {
    /// In words.
    pub fault: String,
    /// Acknowledged writes, and how many of them are gone.
    pub writes: (usize, usize),
    /// Longest time without an acknowledged write.
    pub write_gap: Duration,
    /// Requests of a client to a Service, and how many of them failed.
    pub requests: (usize, usize),
    /// Longest time without an answer.
    pub request_gap: Duration,
    /// Until a Service made after the fault answers by its name, from a node that was not hit.
    pub healed: Duration,
}

/// All rows so far.
#[derive(Default)]
pub struct Table(Mutex<Vec<Row>>);

impl Table {
    /// One more.
    pub fn add(&self, row: Row) {
        self.0.lock().expect("no panic").push(row);
    }

    /// Prints it, and writes it to the document where that is asked for.
    pub fn show(&self, record: bool) {
        let mut text = String::from(
            "| Fault | Acknowledged writes lost | Longest time without a write | Requests failed | Longest time without an answer | Until a new Service works every time |\n|---|---|---|---|---|---|\n",
        );
        for row in self.0.lock().expect("no panic").iter() {
            let _ = writeln!(
                text,
                "| {} | {} of {} | {:.1} s | {} of {} | {:.1} s | {:.1} s |",
                row.fault,
                row.writes.1,
                row.writes.0,
                row.write_gap.as_secs_f32(),
                row.requests.1,
                row.requests.0,
                row.request_gap.as_secs_f32(),
                row.healed.as_secs_f32(),
            );
        }
        println!("\n{text}");
        if record {
            let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("FAILURES.md");
            let document = fs::read_to_string(&path).expect("the document is there");
            let begin = document.find("| Fault ").expect("the document has the table");
            let rest = document[begin..].find("\n\n").map_or("", |end| &document[begin + end..]);
            let new = format!("{}{}{rest}", &document[..begin], text.trim_end());
            fs::write(&path, new).expect("the document is written");
        }
    }
}
