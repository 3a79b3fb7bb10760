//! Lifts events of older versions to the present one. A stored event is never rewritten (promise P7): it is lifted each time it is
//! read, step by step, from each version to the next.
//!
//! Every event is at its first version, so there is nothing to lift yet; the loading of streams and the reading of the whole
//! log both pass through here. `tests/lifting.rs` is a worked example, `docs/changing-an-event.md` says what else there is to do.

use cqrs_es::persist::{EventUpcaster, SerializedEvent};
use serde_json::{Map, Value};

/// The steps there are, those of one type in the order of its versions.
pub(crate) const LIFTS: &[Lift] = &[];

/// The fields of an event, by their names.
pub type Fields = Map<String, Value>;

/// One step: an event type from one version to the next.
#[derive(Clone, Copy, Debug)]
pub struct Lift {
    pub event_type: &'static str,
    pub from: &'static str,
    pub to: &'static str,
    /// The fields of the one version made to those of the other. It knows nothing else: no clock, no other event. Fields that are
    /// protected stay as they are, by name, place and text: what is sealed opens only where it was sealed.
    pub fields: fn(Fields) -> Fields,
}

impl Lift {
    fn fits(&self, event_type: &str, event_version: &str) -> bool {
        (self.event_type, self.from) == (event_type, event_version)
    }

    /// A payload is an object whose one member is the type's name. Another one stays as it is, to be refused when it is parsed.
    fn payload(&self, payload: Value) -> Value {
        let Value::Object(mut payload) = payload else { return payload };
        if let Some(fields) = payload.get_mut(self.event_type).and_then(Value::as_object_mut) {
            *fields = (self.fields)(std::mem::take(fields));
        }
        Value::Object(payload)
    }
}

impl EventUpcaster for Lift {
    fn can_upcast(&self, event_type: &str, event_version: &str) -> bool {
        self.fits(event_type, event_version)
    }

    fn upcast(&self, event: SerializedEvent) -> SerializedEvent {
        SerializedEvent { event_version: self.to.to_owned(), payload: self.payload(event.payload), ..event }
    }
}

/// The steps as whoever loads a stream applies them: each in its turn, where it fits.
pub fn upcasters() -> Vec<Box<dyn EventUpcaster>> {
    LIFTS.iter().map(|lift| Box::new(*lift) as Box<dyn EventUpcaster>).collect()
}

/// Whether an event of this type and version is older than the present one.
pub(crate) fn applies_to(lifts: &[Lift], event_type: &str, event_version: &str) -> bool {
    lifts.iter().any(|lift| lift.fits(event_type, event_version))
}

/// Lifts a stored payload as far as it goes; answers the version that it has then.
pub(crate) fn lift<'v>(lifts: &[Lift], event_type: &str, event_version: &'v str, payload: Value) -> (&'v str, Value) {
    lifts.iter().fold((event_version, payload), |(version, payload), lift| {
        if lift.fits(event_type, version) { (lift.to, lift.payload(payload)) } else { (version, payload) }
    })
}
