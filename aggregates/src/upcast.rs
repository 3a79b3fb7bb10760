//! Lifts events of older versions to the present one. A stored event is never rewritten (promise P7).
//!
//! Every event is at its first version, so there is nothing to lift yet; the loading of streams and the reading of the whole
//! log both pass through here.

use cqrs_es::persist::{EventUpcaster, SerializedEvent};
use serde_json::Value;

/// The upcasters in the order in which they apply; a chain lifts an event through several versions.
pub fn upcasters() -> Vec<Box<dyn EventUpcaster>> {
    Vec::new()
}

/// Whether an event of this type and version is older than the present one.
pub(crate) fn applies_to(event_type: &str, event_version: &str) -> bool {
    upcasters().iter().any(|upcaster| upcaster.can_upcast(event_type, event_version))
}

/// Runs one stored payload through [`upcasters`]; the answer names the type and version that it has now.
pub(crate) fn lift(aggregate_type: &str, event_type: &str, event_version: &str, payload: Value) -> SerializedEvent {
    let event = SerializedEvent::new(
        String::new(),
        0,
        aggregate_type.to_owned(),
        event_type.to_owned(),
        event_version.to_owned(),
        payload,
        Value::Null,
    );
    upcasters().iter().fold(event, |event, upcaster| {
        if upcaster.can_upcast(&event.event_type, &event.event_version) { upcaster.upcast(event) } else { event }
    })
}
