//! The Events at the end of a description.

use k8s_openapi::api::core::v1::Event;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

use super::fields::text;
use super::page::Page;
use crate::client::Call;
use crate::error::Result;
use crate::{Context, time};

/// The events about an object, oldest first; none where the server has no events.
pub async fn fetch(context: &Context, metadata: &ObjectMeta, kind: &str) -> Result<Vec<Event>> {
    let (name, namespace) = (text(&metadata.name), text(&metadata.namespace));
    let of_cluster = if namespace.is_empty() { "default" } else { namespace };
    let path = format!("/api/v1/namespaces/{of_cluster}/events");
    let mut selector = format!(
        "involvedObject.name={name},involvedObject.namespace={namespace},involvedObject.kind={kind}"
    );
    if let Some(uid) = &metadata.uid {
        selector.push_str(&format!(",involvedObject.uid={uid}"));
    }
    let call = Call::get(&path).parameter("fieldSelector", selector).parameter("limit", "500");
    let mut events: Vec<Event> = match context.server.list(call).await {
        Err(error) if error.is_not_found() => Vec::new(),
        listed => listed?,
    };
    events.sort_by_key(|event| event.last_timestamp.clone());
    Ok(events)
}

/// Writes them.
pub fn describe(page: &mut Page, events: &[Event]) {
    if events.is_empty() {
        page.field(0, "Events", "<none>");
        return;
    }
    page.flush();
    page.line(0, "Events:");
    page.line(1, "Type\tReason\tAge\tFrom\tMessage");
    page.line(1, "----\t------\t----\t----\t-------");
    for event in events {
        let component = event.source.as_ref().and_then(|it| it.component.as_deref());
        let component = component.filter(|it| !it.is_empty());
        let source = component.unwrap_or(text(&event.reporting_component));
        let (kind, reason) = (text(&event.type_), text(&event.reason));
        let (age, message) = (age(event), text(&event.message).trim());
        page.line(1, format!("{kind}\t{reason}\t{age}\t{source}\t{message}"));
    }
}

fn age(event: &Event) -> String {
    let reported = event.event_time.as_ref().map(|it| it.0);
    let first = time::since(reported.or(event.first_timestamp.as_ref().map(|it| it.0)));
    let (count, last) = match (&event.series, event.count) {
        (Some(series), _) => {
            (series.count.unwrap_or(0), series.last_observed_time.as_ref().map(|it| it.0))
        }
        (None, Some(count @ 2..)) => (count, event.last_timestamp.as_ref().map(|it| it.0)),
        _ => return first,
    };
    format!("{} (x{count} over {first})", time::since(last))
}
