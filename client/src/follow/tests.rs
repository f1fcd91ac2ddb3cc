//! What an API server answers, in order, and what a follower asks and tells.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};

use k8s_openapi::api::core::v1::ConfigMap;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ListMeta, ObjectMeta};
use kube::core::TypeMeta;

use super::*;

/// Plays answers: for a list `a1 b1@5`, or `a1@5+more` for a page with another one behind it;
/// for a watch `opens`; in it `set a2@6`, `gone a2@7`, `mark @9`, `ends` and `later`, a second
/// that passes; for any `error CODE`. What is asked is noted with what is told.
#[derive(Clone)]
struct Script {
    answers: Arc<Mutex<VecDeque<&'static str>>>,
    story: Arc<Mutex<Vec<String>>>,
}

impl Script {
    fn note(&self, line: String) {
        self.story.lock().expect("no panic").push(line);
    }

    /// The next answer. Where there is none, nothing ever comes.
    async fn answer(&self) -> kube::Result<&'static str> {
        loop {
            let answer = self.answers.lock().expect("no panic").pop_front();
            match answer {
                None => std::future::pending().await,
                Some("later") => tokio::time::sleep(SOON).await,
                Some(answer) => match answer.strip_prefix("error ") {
                    Some(code) => return Err(failure(code)),
                    None => return Ok(answer),
                },
            }
        }
    }
}

fn failure(code: &str) -> kube::Error {
    let code = code.parse().expect("a code");
    kube::Error::Api(Status::failure("no", "Reason").with_code(code).boxed())
}

/// An object from its name, the letter that stands for its UID, and its revision.
fn object(text: &str) -> ConfigMap {
    let (text, revision) = text.split_once('@').unwrap_or((text, "1"));
    let (name, uid) = text.split_at(1);
    ConfigMap {
        metadata: ObjectMeta {
            name: Some(name.to_owned()),
            uid: Some(uid.to_owned()),
            resource_version: Some(revision.to_owned()),
            ..ObjectMeta::default()
        },
        ..ConfigMap::default()
    }
}

impl Server<ConfigMap> for Script {
    fn path(&self) -> &str {
        "script"
    }

    async fn list(&self, token: Option<&str>) -> kube::Result<ObjectList<ConfigMap>> {
        self.note(format!("list{}", token.map(|token| format!(" {token}")).unwrap_or_default()));
        let answer = self.answer().await?;
        let (names, at) = answer.split_once('@').expect("a revision");
        let (revision, more) = match at.split_once('+') {
            Some((revision, token)) => (revision, Some(token.to_owned())),
            None => (at, None),
        };
        Ok(ObjectList {
            types: TypeMeta::default(),
            metadata: ListMeta {
                resource_version: Some(revision.to_owned()),
                continue_: more,
                ..ListMeta::default()
            },
            items: names.split_whitespace().map(object).collect(),
        })
    }

    async fn watch(&self, from: &str) -> kube::Result<Events<ConfigMap>> {
        self.note(format!("watch {from}"));
        assert_eq!(self.answer().await?, "opens");
        let script = self.clone();
        Ok(stream::unfold(script, |script| async move {
            let event = match script.answer().await {
                Err(kube::Error::Api(status)) => WatchEvent::Error(status),
                Err(error) => return Some((Err(error), script)),
                Ok("ends") => return None,
                Ok(line) => match line.split_once(' ').expect("two words") {
                    ("set", text) => WatchEvent::Modified(object(text)),
                    ("gone", text) => WatchEvent::Deleted(object(text)),
                    ("mark", at) => WatchEvent::Bookmark(mark(at.trim_start_matches('@'))),
                    other => panic!("{other:?}"),
                },
            };
            Some((Ok(event), script))
        })
        .boxed())
    }
}

fn mark(revision: &str) -> kube::core::watch::Bookmark {
    serde_json::from_value(serde_json::json!({
        "apiVersion": "v1", "kind": "ConfigMap", "metadata": {"resourceVersion": revision},
    }))
    .expect("a bookmark")
}

/// Compares the story that the answers make, a line for what was asked with what was told then.
async fn check(answers: &[&'static str], expected: &[&str]) {
    let script = Script {
        answers: Arc::new(Mutex::new(answers.iter().copied().collect())),
        story: Arc::default(),
    };
    let mut updates = updates(script.clone());
    // Time is virtual: it passes when the script has no more to say.
    let patience = Duration::from_secs(u64::from(WATCH_S));
    while let Ok(Some(update)) = tokio::time::timeout(patience, updates.next()).await {
        script.note(match update {
            Update::Listing => "listing".to_owned(),
            Update::Synced => "synced".to_owned(),
            Update::Set(object) => {
                let meta = object.metadata;
                format!("{}{}", meta.name.unwrap_or_default(), meta.uid.unwrap_or_default())
            }
            Update::Gone(life) => format!("-{}{}", life.key, life.uid),
        });
    }
    let story = script.story.lock().expect("no panic").join(" | ");
    assert_eq!(story, expected.join(" | "), "answers: {answers:?}");
}

#[tokio::test(start_paused = true)]
async fn a_list_then_what_changes() {
    check(
        &["a1 b1@5", "opens", "set c1@6", "set a1@7", "gone b1@8"],
        &["listing", "list", "a1", "b1", "synced", "watch 5", "c1", "a1", "-b1"],
    )
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_list_comes_in_pages() {
    check(
        &["a1@5+p2", "b1@5+p3", "c1@5", "opens"],
        &["listing", "list", "a1", "list p2", "b1", "list p3", "c1", "synced", "watch 5"],
    )
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_watch_that_ends_goes_on_from_the_last_revision() {
    check(
        &["a1@5", "opens", "set a1@6", "later", "ends", "opens", "mark @9", "later", "ends"],
        &["listing", "list", "a1", "synced", "watch 5", "a1", "watch 6", "watch 9"],
    )
    .await;
}

#[tokio::test(start_paused = true)]
async fn what_went_while_nobody_watched_is_gone() {
    check(
        &["a1 b1 c1@5", "opens", "error 410", "a1 c2@9", "opens"],
        &[
            "listing", "list", "a1", "b1", "c1", "synced", "watch 5", "listing", "list", "a1",
            "-c1", "c2", "-b1", "synced", "watch 9",
        ],
    )
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_revision_unknown_from_the_start_needs_a_list_too() {
    check(
        &["a1@5", "error 410", "a1@9", "opens"],
        &[
            "listing", "list", "a1", "synced", "watch 5", "listing", "list", "a1", "synced",
            "watch 9",
        ],
    )
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_list_that_breaks_off_begins_anew_and_nothing_is_gone_before_it_is_complete() {
    check(
        &[
            "a1 b1@5",
            "opens",
            "error 410",
            "a1@9+p2",
            "error 410",
            "error 500",
            "a1 b1@10",
            "opens",
        ],
        &[
            "listing", "list", "a1", "b1", "synced", "watch 5", "listing", "list", "a1", "list p2",
            "listing", "list", "listing", "list", "a1", "b1", "synced", "watch 10",
        ],
    )
    .await;
}

#[tokio::test(start_paused = true)]
async fn an_error_is_waited_out_and_loses_nothing() {
    check(
        &["error 503", "a1@5", "error 403", "opens", "set b1@6", "error 500", "opens", "gone a1@7"],
        &[
            "listing", "list", "listing", "list", "a1", "synced", "watch 5", "watch 5", "b1",
            "watch 6", "-a1",
        ],
    )
    .await;
}

/// How long the answers take, in milliseconds.
async fn took(answers: &[&'static str]) -> u128 {
    let begun = Instant::now();
    let last = *answers.last().expect("an answer");
    let script = Script {
        answers: Arc::new(Mutex::new(answers.iter().copied().collect())),
        story: Arc::default(),
    };
    let mut updates = updates(script);
    let end = Update::Set(object(last.trim_start_matches("set ")));
    while updates.next().await != Some(end.clone()) {}
    begun.elapsed().as_millis()
}

#[tokio::test(start_paused = true)]
async fn only_failures_cost_time() {
    let list = ["a1@5", "opens"];
    let after = |answers: &[&'static str]| {
        let answers = [&list[..], answers, &["opens", "set z1@99"]].concat();
        async move { took(&answers).await }
    };
    assert_eq!(after(&["later", "ends"]).await, 1_000);
    assert_eq!(after(&["error 410", "a1@6"]).await, 0);
    // Too old again at once: a failure; and the next ones wait longer.
    assert_eq!(after(&["error 410", "a1@6", "error 410", "a1@7"]).await, 200);
    assert_eq!(after(&["ends"]).await, 200);
    assert_eq!(after(&["ends", "opens", "ends", "opens", "ends"]).await, 200 + 400 + 800);
    // A watch that lasted begins the delays anew.
    assert_eq!(after(&["ends", "opens", "later", "error 500"]).await, 200 + 1_000 + 200);
}
