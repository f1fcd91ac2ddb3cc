//! Lists: which objects, as of which revision, page by page.
//!
//! From the cache wherever it can answer; older revisions come from the store. Never holds
//! a lock while it walks: the cache's state is immutable.

use std::{ops::Bound, sync::Arc};

use api::status::ApiError;
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use serde::{Deserialize, Serialize};
use store::{ListOptions, Revision};

use crate::{
    failure::Failure,
    request::Query,
    resource::Resource,
    select::Selection,
    server::Server,
    watch_cache::{entry::Entry, state::State},
};

/// Keys fetched by one call when a page comes from the store.
const STORE_PAGE: usize = 1_000;

/// What upstream says when the rest of a list is gone.
const TOO_OLD: &str = "The provided continue parameter is too old to display a consistent list result. You must start a new list without the continue parameter.";

/// A page of a list.
pub struct Page {
    /// The selected objects, in key order.
    pub entries: Vec<Arc<Entry>>,
    /// The list's `resourceVersion`.
    pub revision: Revision,
    /// Where the next page begins, if there is one.
    pub next: Option<String>,
    /// How many objects follow, where that is known.
    pub remaining: Option<usize>,
}

/// The state that goes from page to page, opaque to clients.
#[derive(Debug, Serialize, Deserialize)]
struct Continue {
    rv: Revision,
    start: String,
}

/// Which revision a list is of.
enum AsOf {
    /// Everything committed before the request.
    Newest,
    /// Whatever is at hand.
    Any,
    /// This revision or a newer one.
    NotOlderThan(Revision),
    /// Exactly this revision.
    Exact(Revision),
}

/// Reads a page.
pub async fn list(
    server: &Server,
    resource: &Resource,
    selection: &Selection,
    query: &Query,
) -> Result<Page, Failure> {
    let limit = match query.get("limit") {
        None => 0,
        Some(limit) => limit
            .parse::<usize>()
            .map_err(|_| Failure::bad_request(format!("limit: invalid value {limit:?}")))?,
    };
    let token = query.get("continue").map(decode_token).transpose()?;
    if token.is_some() && !matches!(query.get("resourceVersion"), None | Some("0")) {
        return Err(Failure::bad_request(
            "specifying resource version is not allowed when using continue",
        ));
    }
    if query.get("sendInitialEvents").is_some() {
        return Err(Failure::bad_request(
            "sendInitialEvents: Forbidden: sendInitialEvents is forbidden for list",
        ));
    }
    let as_of = match &token {
        Some(token) => AsOf::Exact(token.rv),
        None => as_of(query, limit)?,
    };
    let after = token.map(|token| token.start);
    match as_of {
        AsOf::Newest => server.progress.wait_fresh(&*server.store).await?,
        AsOf::Any => {}
        AsOf::NotOlderThan(revision) => server.progress.wait(revision).await?,
        AsOf::Exact(revision) => {
            server.progress.wait(revision).await?;
            let state = resource.cache.load();
            if state.revision > revision {
                let older = from_store(server, resource, selection, revision, after, limit);
                return older.await;
            }
            return Ok(from_state(&state, selection, revision, after, limit));
        }
    }
    // Before the state: then the state holds everything up to it.
    let reached = server.progress.reached();
    let state = resource.cache.load();
    let revision = reached.max(state.revision);
    Ok(from_state(&state, selection, revision, after, limit))
}

fn as_of(query: &Query, limit: usize) -> Result<AsOf, Failure> {
    let version = query.get("resourceVersion").map(parse_version).transpose()?;
    match (query.get("resourceVersionMatch"), version) {
        (None, None) => Ok(AsOf::Newest),
        (None, Some(0)) => Ok(AsOf::Any),
        // With a limit, upstream reads this as Exact.
        (None, Some(version)) if limit > 0 => Ok(AsOf::Exact(version)),
        (None | Some("NotOlderThan"), Some(version)) => Ok(AsOf::NotOlderThan(version)),
        (Some("Exact"), Some(0)) => Err(Failure::bad_request(
            "resourceVersionMatch \"Exact\" is forbidden for resourceVersion \"0\"",
        )),
        (Some("Exact"), Some(version)) => Ok(AsOf::Exact(version)),
        (Some(_), None) => Err(Failure::bad_request(
            "resourceVersionMatch is forbidden unless resourceVersion is provided",
        )),
        (Some(other), _) => Err(Failure::bad_request(format!(
            "resourceVersionMatch: Unsupported value: {other:?}: supported values: \"Exact\", \"NotOlderThan\""
        ))),
    }
}

/// A `resourceVersion` as a revision; another text is a 400.
pub fn parse_version(text: &str) -> Result<Revision, Failure> {
    text.parse().ok().filter(|revision| *revision >= 0).ok_or_else(|| {
        Failure::bad_request(format!("Invalid value: {text:?}: resourceVersion must be a number"))
    })
}

fn decode_token(token: &str) -> Result<Continue, Failure> {
    URL_SAFE_NO_PAD
        .decode(token)
        .ok()
        .and_then(|json| serde_json::from_slice(&json).ok())
        .ok_or_else(|| Failure::bad_request("continue key is not valid"))
}

fn encode_token(rv: Revision, start: &str) -> Option<String> {
    let token = Continue { rv, start: start.to_owned() };
    let json = serde_json::to_vec(&token).ok()?;
    Some(URL_SAFE_NO_PAD.encode(json))
}

fn from_state(
    state: &State,
    selection: &Selection,
    revision: Revision,
    after: Option<String>,
    limit: usize,
) -> Page {
    let mut page = Page { entries: Vec::new(), revision, next: None, remaining: None };
    if let Some(only) = &selection.only {
        let found = state.items.get(only.as_str()).filter(|e| selection.matches(e));
        page.entries.extend(found.cloned());
        return page;
    }
    let start: Arc<str> = after.as_deref().unwrap_or(&selection.prefix).into();
    let start = match after {
        Some(_) => Bound::Excluded(start),
        None => Bound::Included(start),
    };
    let mut walk = state
        .items
        .range((start, Bound::<Arc<str>>::Unbounded))
        .take_while(|(key, _)| key.starts_with(&selection.prefix))
        .map(|(_, entry)| entry)
        .filter(|entry| selection.matches(entry));
    if limit == 0 {
        page.entries.extend(walk.cloned());
        return page;
    }
    page.entries.extend(walk.by_ref().take(limit).cloned());
    let last = page.entries.last().map(|entry| entry.key.clone());
    if let (Some(last), Some(_)) = (last, walk.next()) {
        page.next = encode_token(revision, &last);
        page.remaining = selection.is_plain().then(|| 1 + walk.count());
    }
    page
}

async fn from_store(
    server: &Server,
    resource: &Resource,
    selection: &Selection,
    revision: Revision,
    after: Option<String>,
    limit: usize,
) -> Result<Page, Failure> {
    let prefix = format!("{}{}", resource.prefix, selection.prefix);
    let mut after = after.map(|after| format!("{}{after}", resource.prefix));
    let mut page = Page { entries: Vec::new(), revision, next: None, remaining: None };
    loop {
        let options = ListOptions {
            prefix: prefix.clone(),
            after: after.take(),
            limit: STORE_PAGE,
            revision,
        };
        let listed = server.store.list(options).await.map_err(|error| match error {
            store::Error::Compacted { .. } => ApiError::expired(TOO_OLD).into(),
            other => Failure::from(other),
        })?;
        let fetched = listed.items.len();
        for (at, kv) in listed.items.iter().enumerate() {
            let name = &kv.key[resource.prefix.len()..];
            let entry = Entry::of(&*resource.kind, name, kv.value.clone(), kv.mod_revision);
            let Ok(entry) = entry else { continue };
            if !selection.matches(&entry) {
                continue;
            }
            if limit > 0 && page.entries.len() == limit {
                let last = page.entries.last().map(|entry| entry.key.clone());
                page.next = last.and_then(|last| encode_token(revision, &last));
                let rest = fetched - at + listed.remaining;
                page.remaining = selection.is_plain().then_some(rest);
                return Ok(page);
            }
            page.entries.push(Arc::new(entry));
        }
        if listed.remaining == 0 || fetched == 0 {
            return Ok(page);
        }
        after = listed.items.last().map(|kv| kv.key.clone());
    }
}
