//! Event: what happened to an object, for people.
//!
//! Never expires one: the API server gives it a time to live.

use jiff::Timestamp;
use k8s_openapi::api::core::v1::Event;
use serde_json::Value;

use crate::{
    check::Checks,
    duration,
    field::{FieldError, Path},
    kind::{Column, Names, Rules},
    table::{column, wide},
};

/// Rules of `events`.
pub struct EventRules;

impl Rules for EventRules {
    type Object = Event;

    fn names() -> Names {
        Names::namespaced("", "v1", "Event", "events").short(&["ev"])
    }

    const EXPIRES: bool = true;

    fn validate(event: &Event) -> Vec<FieldError> {
        let mut checks = Checks::new();
        let path = Path::new("involvedObject.namespace");
        let namespace = event.metadata.namespace.as_deref().unwrap_or_default();
        let object = event.involved_object.namespace.as_deref().unwrap_or_default();
        // What is in no namespace has its events in one of these.
        let fits = match object {
            "" => matches!(namespace, "default" | "kube-system" | ""),
            object => object == namespace,
        };
        checks.holds(fits, &path, object, "does not match event.namespace");
        checks.into_errors()
    }

    const FIELDS: &'static [&'static str] = &[
        "involvedObject.kind",
        "involvedObject.namespace",
        "involvedObject.name",
        "involvedObject.uid",
        "involvedObject.apiVersion",
        "involvedObject.resourceVersion",
        "involvedObject.fieldPath",
        "reason",
        "reportingComponent",
        "source",
        "type",
    ];

    fn fields(event: &Event) -> Vec<(&'static str, String)> {
        let object = event.involved_object.clone();
        let reporter = event.reporting_component.clone().unwrap_or_default();
        let source = event.source.clone().and_then(|source| source.component);
        let values = [
            object.kind,
            object.namespace,
            object.name,
            object.uid,
            object.api_version,
            object.resource_version,
            object.field_path,
            event.reason.clone(),
            Some(reporter.clone()),
            Some(source.filter(|source| !source.is_empty()).unwrap_or(reporter)),
            event.type_.clone(),
        ];
        Self::FIELDS.iter().copied().zip(values.map(Option::unwrap_or_default)).collect()
    }

    const COLUMNS: &'static [Column] = &[
        column("Last Seen", "string", "Time since it was last seen."),
        column("Type", "string", "Normal, or Warning."),
        column("Reason", "string", "One word for programs."),
        column("Object", "string", "What it happened to."),
        wide("Subobject", "string", "Which part of the object."),
        wide("Source", "string", "Who reports it."),
        column("Message", "string", "A sentence for people."),
        wide("First Seen", "string", "Time since it was first seen."),
        wide("Count", "string", "How often it was seen."),
        Column { priority: 1, ..crate::table::NAME },
    ];

    fn row(event: &Event, now: Timestamp) -> Vec<Value> {
        let (last_seen, first_seen, count) = seen(event, now);
        let object = &event.involved_object;
        let kind = object.kind.clone().unwrap_or_default().to_lowercase();
        let target = match object.name.as_deref() {
            None | Some("") => kind,
            Some(name) => format!("{kind}/{name}"),
        };
        vec![
            Value::from(last_seen),
            Value::from(event.type_.clone().unwrap_or_default()),
            Value::from(event.reason.clone().unwrap_or_default()),
            Value::from(target),
            Value::from(object.field_path.clone().unwrap_or_default()),
            Value::from(source(event)),
            Value::from(event.message.as_deref().unwrap_or_default().trim()),
            Value::from(first_seen),
            Value::from(count),
            crate::table::name(event),
        ]
    }

    const NUMBERS: &'static str = "
        Event metadata=1 involvedObject=2 reason=3 message=4 source=5 firstTimestamp=6
          lastTimestamp=7 count=8 type=9 eventTime=10 series=11 action=12 related=13
          reportingComponent=14* reportingInstance=15*
        EventSeries count=1 lastObservedTime=2
        EventSource component=1 host=2
    ";
}

/// Last seen, first seen, count. Events of the new form have `eventTime` and `series` instead
/// of the old timestamps and count.
fn seen(event: &Event, now: Timestamp) -> (String, String, i32) {
    let first = match &event.first_timestamp {
        Some(time) => duration::since(Some(time), now),
        None => duration::since_micro(event.event_time.as_ref(), now),
    };
    if let Some(series) = &event.series {
        let last = duration::since_micro(series.last_observed_time.as_ref(), now);
        return (last, first, series.count.unwrap_or(0));
    }
    let last = match &event.last_timestamp {
        Some(time) => duration::since(Some(time), now),
        None => first.clone(),
    };
    let count = event.count.filter(|count| *count != 0).unwrap_or(1);
    (last, first, count)
}

fn source(event: &Event) -> String {
    let named = |component: Option<&str>, instance: Option<&str>| {
        let component = component.unwrap_or_default();
        match instance {
            None | Some("") => component.to_owned(),
            Some(instance) => format!("{component}, {instance}"),
        }
    };
    let old = event.source.as_ref();
    match old.and_then(|source| source.component.as_deref()) {
        None | Some("") => {
            named(event.reporting_component.as_deref(), event.reporting_instance.as_deref())
        }
        component => named(component, old.and_then(|source| source.host.as_deref())),
    }
}
