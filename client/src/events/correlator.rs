//! Which reports become an Event of their own, by client-go's rules: the same again raises a count,
//! many alike become one, and who reports too much about one object is not heard.
//!
//! Reads no clock: each report says when it was made.

use std::collections::{HashMap, HashSet};

use k8s_openapi::api::core::v1::ObjectReference;
use k8s_openapi::jiff::{SignedDuration, Timestamp};

use super::EventType;

/// Entries of each kind that are remembered; where there are more, all are forgotten.
const REMEMBERED_LIMIT: usize = 4096;
/// From so many different messages of one reason on they are combined.
const MAX_SIMILAR: usize = 10;
/// Messages further apart are not similar.
const SIMILAR_FOR: SignedDuration = SignedDuration::from_secs(600);
/// What a combined message begins with.
const COMBINED: &str = "(combined from similar events): ";
/// Reports about one object that are heard at once.
const BURST: f64 = 25.0;
/// And one more in so many seconds.
const REFILL_S: f64 = 300.0;

/// Something that was seen about an object.
#[derive(Clone, Debug)]
pub struct Report {
    /// The object.
    pub regarding: ObjectReference,
    /// How bad it is.
    pub event_type: EventType,
    /// Why, as one word.
    pub reason: String,
    /// The whole story.
    pub message: String,
    /// When.
    pub at: Timestamp,
}

/// What makes two reports the same Event.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Same {
    alike: Alike,
    /// Of combined ones the message does not count.
    message: Option<String>,
}

/// What makes two reports similar.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Alike {
    object: String,
    event_type: EventType,
    reason: String,
}

/// An Event to be written.
#[derive(Debug)]
pub struct Entry {
    /// Which one, for [`Correlator::wrote`].
    pub same: Same,
    /// What it says.
    pub message: String,
    /// The name and the count of the Event that is there already.
    pub written: Option<(String, i32)>,
}

/// The memory of one component's reports.
#[derive(Default)]
pub struct Correlator {
    /// By object: reports that are still heard, at that time.
    heard: HashMap<String, (f64, Timestamp)>,
    similar: HashMap<Alike, (HashSet<String>, Timestamp)>,
    written: HashMap<Same, (String, i32)>,
}

impl Correlator {
    /// What is to be written of a report, if anything.
    pub fn correlate(&mut self, report: &Report) -> Option<Entry> {
        let alike = Alike {
            object: object(&report.regarding),
            event_type: report.event_type,
            reason: report.reason.clone(),
        };
        let mut entry = Entry {
            same: Same { alike, message: Some(report.message.clone()) },
            message: report.message.clone(),
            written: None,
        };
        if self.are_many(&entry.same.alike, report) {
            entry.same.message = None;
            entry.message = format!("{COMBINED}{}", report.message);
        }
        if !self.is_heard(&entry.same.alike.object, report.at) {
            return None;
        }
        entry.written = self.written.get(&entry.same).cloned();
        Some(entry)
    }

    /// Notes that the Event is there now, and what its count is.
    pub fn wrote(&mut self, same: Same, name: String, count: i32) {
        bound(&mut self.written);
        self.written.insert(same, (name, count));
    }

    fn are_many(&mut self, alike: &Alike, report: &Report) -> bool {
        bound(&mut self.similar);
        let fresh = || (HashSet::new(), report.at);
        let (messages, last) = self.similar.entry(alike.clone()).or_insert_with(fresh);
        if report.at.duration_since(*last) > SIMILAR_FOR {
            messages.clear();
        }
        *last = report.at;
        if messages.len() + 1 < MAX_SIMILAR || messages.contains(&report.message) {
            messages.insert(report.message.clone());
            return false;
        }
        true
    }

    fn is_heard(&mut self, object: &str, at: Timestamp) -> bool {
        bound(&mut self.heard);
        let (left, last) = self.heard.entry(object.to_owned()).or_insert((BURST, at));
        let passed = at.duration_since(*last).as_secs_f64().max(0.0);
        *left = (*left + passed / REFILL_S).min(BURST);
        *last = at;
        let is_heard = *left >= 1.0;
        if is_heard {
            *left -= 1.0;
        }
        is_heard
    }
}

fn bound<K, V>(memory: &mut HashMap<K, V>) {
    if memory.len() >= REMEMBERED_LIMIT {
        memory.clear();
    }
}

fn object(of: &ObjectReference) -> String {
    let parts = [&of.kind, &of.namespace, &of.name, &of.uid, &of.field_path];
    parts.map(|part| part.as_deref().unwrap_or_default()).join("/")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Reports, one a line as `SECOND OBJECT REASON MESSAGE`, and what is written of each: `new`
    /// or the count, the message where it is another one, or `-`.
    fn check(lines: &[&str]) {
        let mut correlator = Correlator::default();
        for line in lines {
            let (report, expected) = line.split_once(" => ").expect("an arrow");
            let words: Vec<&str> = report.splitn(4, ' ').collect();
            let report = Report {
                regarding: ObjectReference {
                    name: Some(words[1].to_owned()),
                    ..ObjectReference::default()
                },
                event_type: EventType::Normal,
                reason: words[2].to_owned(),
                message: words[3].to_owned(),
                at: Timestamp::from_second(words[0].parse().expect("seconds")).expect("a time"),
            };
            let found = match correlator.correlate(&report) {
                None => "-".to_owned(),
                Some(Entry { same, message, written }) => {
                    let (name, count) =
                        written.map_or((words[3].to_owned(), 1), |(name, count)| (name, count + 1));
                    correlator.wrote(same, name.clone(), count);
                    let said = if message == words[3] { "" } else { " combined" };
                    format!("{name} {count}{said}")
                }
            };
            assert_eq!(found, expected, "{line}");
        }
    }

    #[test]
    fn the_same_again_is_counted() {
        check(&[
            "1 pod BackOff slow => slow 1",
            "2 pod BackOff slow => slow 2",
            "3 pod BackOff slower => slower 1",
            "4 other BackOff slow => slow 1",
            "5 pod Killing slow => slow 1",
            "6 pod BackOff slow => slow 3",
        ]);
    }

    #[test]
    fn many_alike_become_one_until_it_has_been_quiet() {
        check(&[
            "1 set Created a => a 1",
            "1 set Created b => b 1",
            "1 set Created c => c 1",
            "1 set Created d => d 1",
            "1 set Created e => e 1",
            "1 set Created f => f 1",
            "1 set Created g => g 1",
            "1 set Created h => h 1",
            "1 set Created i => i 1",
            "1 set Created j => j 1 combined",
            "1 set Created k => j 2 combined",
            "1 set Created a => a 2",
            "602 set Created l => l 1",
        ]);
    }

    #[test]
    fn who_says_too_much_is_not_heard_for_a_while() {
        let burst = (1..=25).map(|count| format!("1 pod BackOff slow => slow {count}"));
        let after = ["1 pod BackOff slow => -", "2 other BackOff slow => slow 1"];
        let later = ["300 pod BackOff slow => -", "602 pod BackOff slow => slow 26"];
        let lines: Vec<String> =
            burst.chain(after.into_iter().chain(later).map(str::to_owned)).collect();
        check(&lines.iter().map(String::as_str).collect::<Vec<_>>());
    }
}
