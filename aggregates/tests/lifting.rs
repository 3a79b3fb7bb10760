//! The worked example of a change: `UserInvited` as it might have begun. What is invented are two versions before the first one;
//! how they are lifted is what `aggregates/src/upcast.rs` does with real ones, which follow them here.
//!
//! | version | fields |
//! |---|---|
//! | 0.1 | `address`, `admin` (a boolean), `by` |
//! | 0.2 | `address`, `role`, `by`: there are more roles than two |
//! | 1 | `address`, `role`, `invited_by`: a better name |
#![allow(clippy::unwrap_used)]

mod cast;

use aggregates::{Event, Fields, Lift, Protected, Role, UserEvent, upcasters};
use cast::{ANNA, OWNER};
use cqrs_es::DomainEvent as _;
use cqrs_es::persist::{EventUpcaster, SerializedEvent};
use serde_json::{Value, json};

const LIFTS: &[Lift] = &[
    Lift { event_type: "UserInvited", from: "0.1", to: "0.2", fields: admin_becomes_a_role },
    Lift { event_type: "UserInvited", from: "0.2", to: "1", fields: by_is_called_invited_by },
];

/// Whoever was no admin was what is called a developer now.
fn admin_becomes_a_role(mut fields: Fields) -> Fields {
    let admin = fields.remove("admin").and_then(|admin| admin.as_bool()).unwrap_or_default();
    fields.insert("role".to_owned(), json!(if admin { "admin" } else { "developer" }));
    fields
}

fn by_is_called_invited_by(mut fields: Fields) -> Fields {
    if let Some(by) = fields.remove("by") {
        fields.insert("invited_by".to_owned(), by);
    }
    fields
}

/// As it stands in the log, and will for ever.
fn address() -> String {
    format!("person/{ANNA}:AAEC")
}

fn of_version_0_1(admin: bool) -> Value {
    json!({ "UserInvited": { "address": address(), "admin": admin, "by": OWNER } })
}

fn decode(version: &str, payload: &Value) -> Event {
    Event::decode_by(LIFTS, "user", "UserInvited", version, &payload.to_string()).unwrap()
}

fn invited(role: Role) -> Event {
    user_invited(role).into()
}

fn user_invited(role: Role) -> UserEvent {
    let address: Protected = serde_json::from_value(address().into()).unwrap();
    UserEvent::UserInvited { address, role, invited_by: OWNER }
}

#[test]
fn an_event_is_lifted_through_every_version_to_the_present_one() {
    assert_eq!(decode("0.1", &of_version_0_1(true)), invited(Role::Admin));
    assert_eq!(decode("0.1", &of_version_0_1(false)), invited(Role::Developer));
}

#[test]
fn an_event_between_the_first_version_and_the_present_one_is_lifted_the_rest_of_the_way() {
    let payload = json!({ "UserInvited": { "address": address(), "role": "qa_viewer", "by": OWNER } });
    assert_eq!(decode("0.2", &payload), invited(Role::QaViewer));
}

#[test]
fn an_event_of_the_present_version_is_read_as_it_is() {
    let event = invited(Role::Admin);
    let (payload, version) = (event.encode().unwrap(), user_invited(Role::Admin).event_version());
    assert_eq!(Event::decode_by(LIFTS, "user", "UserInvited", &version, &payload).unwrap(), event);
}

#[test]
fn a_version_that_no_step_begins_with_is_refused() {
    for (lifts, version) in [(LIFTS, "0.0"), (LIFTS, "9999"), (&LIFTS[..1], "0.1"), (&LIFTS[1..], "0.1"), (&[], "0.1")]
    {
        let payload = of_version_0_1(true).to_string();
        let refused = Event::decode_by(lifts, "user", "UserInvited", version, &payload).unwrap_err();
        assert!(refused.to_string().starts_with(&format!("the UserInvited event (version {version}) cannot be read")));
    }
}

/// A stream is loaded by cqrs-es, which applies the same steps to what it calls a serialized event.
#[test]
fn loading_a_stream_lifts_as_reading_the_log_does() {
    let (user, stored) = ("user".to_owned(), of_version_0_1(true));
    let event =
        SerializedEvent::new(ANNA.to_string(), 1, user, "UserInvited".to_owned(), "0.1".to_owned(), stored, json!({}));
    let earlier = LIFTS.iter().map(|lift| Box::new(*lift) as Box<dyn EventUpcaster>);
    let lifted = earlier.chain(upcasters()).fold(event, |event, lift| {
        if lift.can_upcast(&event.event_type, &event.event_version) { lift.upcast(event) } else { event }
    });
    let present = user_invited(Role::Admin);
    assert_eq!((lifted.event_type, lifted.event_version), (present.event_type(), present.event_version()));
    let event: UserEvent = serde_json::from_value(lifted.payload).unwrap();
    assert_eq!(Event::from(event), invited(Role::Admin));
}
