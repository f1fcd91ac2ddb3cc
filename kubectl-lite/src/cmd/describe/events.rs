//! The Events at the end of a description. Never writes one.

use serde_json::Value;

use super::fields::text;
use super::page::Page;
use crate::client::Call;
use crate::error::Result;
use crate::{Context, time};

/// The events about an object, oldest first; none where the server has no events.
pub async fn fetch(context: &Context, object: &Value, kind: &str) -> Result<Vec<Value>> {
    let metadata = &object["metadata"];
    let namespace = match text(&metadata["namespace"]) {
        "" => "default",
        namespace => namespace,
    };
    let path = format!("/api/v1/namespaces/{namespace}/events");
    let mut selector = format!(
        "involvedObject.name={},involvedObject.namespace={},involvedObject.kind={kind}",
        text(&metadata["name"]),
        text(&metadata["namespace"]),
    );
    if !text(&metadata["uid"]).is_empty() {
        selector.push_str(&format!(",involvedObject.uid={}", text(&metadata["uid"])));
    }
    let call = Call::get(&path).parameter("fieldSelector", selector).parameter("limit", "500");
    let mut events = match context.server.call(call).await {
        Ok(mut answer) => match answer["items"].take() {
            Value::Array(items) => items,
            _ => Vec::new(),
        },
        Err(error) if error.is_not_found() => Vec::new(),
        Err(error) => return Err(error),
    };
    events.sort_by(|left, right| text(&left["lastTimestamp"]).cmp(text(&right["lastTimestamp"])));
    Ok(events)
}

/// Writes them.
pub fn describe(page: &mut Page, events: &[Value]) {
    if events.is_empty() {
        page.field(0, "Events", "<none>");
        return;
    }
    page.flush();
    page.line(0, "Events:");
    page.line(1, "Type\tReason\tAge\tFrom\tMessage");
    page.line(1, "----\t------\t----\t----\t-------");
    for event in events {
        let source = match text(&event["source"]["component"]) {
            "" => text(&event["reportingComponent"]),
            source => source,
        };
        let kind = text(&event["type"]);
        let message = text(&event["message"]).trim();
        page.line(
            1,
            format!("{kind}\t{}\t{}\t{source}\t{message}", text(&event["reason"]), age(event)),
        );
    }
}

fn age(event: &Value) -> String {
    let first = match text(&event["eventTime"]) {
        "" => text(&event["firstTimestamp"]),
        time => time,
    };
    let first = time::since(first);
    if event["series"].is_object() {
        let last = time::since(text(&event["series"]["lastObservedTime"]));
        return format!("{last} (x{} over {first})", event["series"]["count"]);
    }
    match event["count"].as_i64() {
        Some(count @ 2..) => {
            let last = time::since(text(&event["lastTimestamp"]));
            format!("{last} (x{count} over {first})")
        }
        _ => first,
    }
}
