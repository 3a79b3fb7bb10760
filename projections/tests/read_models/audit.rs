use std::collections::BTreeSet;

use aggregates::{ApiTokenEvent, IdentityProviderEvent, SessionEvent, SetupEvent, StreamId, UserEvent};
use projections::{ActorRef, FoldError, ReadModels};
use serde_json::{Value, json};

use crate::samples::{api_token, instance_created, invited, one_of_each, session, user};
use crate::store::{Entry, Log, Store, at, hasher, metadata};

fn types() -> BTreeSet<String> {
    [SetupEvent::TYPES, SessionEvent::TYPES, UserEvent::TYPES, ApiTokenEvent::TYPES, IdentityProviderEvent::TYPES]
        .into_iter()
        .flatten()
        .map(|(name, _)| (*name).to_owned())
        .collect()
}

fn snake_case(name: &str) -> String {
    let mut snake = String::new();
    for letter in name.chars() {
        if letter.is_ascii_uppercase() && !snake.is_empty() {
            snake.push('_');
        }
        snake.push(letter.to_ascii_lowercase());
    }
    snake
}

/// Audit alone, so that events need not make sense together.
fn entries(events: &[Entry]) -> Vec<Value> {
    let mut store = Store::default();
    assert_eq!(store.take_with(ReadModels::only(&["audit"]), &[events]), [Ok(())]);
    let mut entries = store.table("audit");
    entries.sort_by_key(|entry| entry["id"].as_i64());
    entries
}

#[test]
fn every_event_type_has_an_entry_under_its_name_in_snake_case() {
    let mut log = Log::default();
    let events: Vec<_> = one_of_each().into_iter().map(|(stream, event)| log.write(stream, event)).collect();
    assert_eq!(events.iter().map(|entry| entry.event.event_type()).collect::<BTreeSet<_>>(), types());
    let actions: Vec<_> = entries(&events).into_iter().map(|entry| entry["action"].clone()).collect();
    let names: Vec<_> = events.iter().map(|entry| snake_case(&entry.event.event_type())).collect();
    assert_eq!(actions, names);
}

#[test]
fn details_are_the_harmless_facts() {
    let mut log = Log::default();
    let events: Vec<_> = one_of_each().into_iter().map(|(stream, event)| log.write(stream, event)).collect();
    let details: Vec<Value> = entries(&events)
        .into_iter()
        .map(|entry| entry["details"].as_str().map_or(Value::Null, |text| serde_json::from_str(text).unwrap()))
        .collect();
    let issuer = "https://id.example.com";
    assert_eq!(
        details,
        [
            json!({"instance_id": "00000000-0000-0000-0000-000000000001"}),
            json!({"user_id": user(1), "expires_at": 900}),
            json!({"failures": 3}),
            json!({"session_id": session(1)}),
            json!({"runtime_mode": "remote", "remote_auth_mode": "oidc"}),
            json!({"version": 6}),
            json!({"user_id": user(1)}),
            Value::Null,
            Value::Null,
            json!({"expires_at": 200}),
            json!({"expires_at": 250}),
            json!({"reason": "replaced"}),
            json!({"user_id": user(1), "expires_at": 200}),
            Value::Null,
            Value::Null,
            Value::Null,
            Value::Null,
            json!({"role": "owner", "issuer_url": issuer}),
            Value::Null,
            json!({"role": "developer"}),
            json!({"issuer_url": issuer}),
            Value::Null,
            json!({"role": "admin"}),
            Value::Null,
            Value::Null,
            Value::Null,
            json!({"session_id": session(2)}),
            json!({"recovery": "subject", "expires_at": 900}),
            json!({"issuer_url": issuer}),
            json!({"issuer_url": issuer}),
            json!({"user_id": user(2), "role": "qa_viewer", "expires_at": 300}),
            Value::Null,
            json!({"issuer_url": issuer, "client_id": "authlog", "has_client_secret": true, "version": 6}),
            json!({"version": 7}),
            json!({"refused_with": "user_not_found", "count": 3}),
        ]
    );
}

#[test]
fn an_entry_says_who_what_and_when() {
    let mut log = Log::default();
    let actors = [
        (ActorRef::User(user(1)), json!(user(1))),
        (ActorRef::ApiToken { user: user(1), token: api_token(1) }, json!(user(1))),
        (ActorRef::SetupSession(session(1)), Value::Null),
        (ActorRef::Operator, Value::Null),
        (ActorRef::System, Value::Null),
        (ActorRef::Anonymous, Value::Null),
    ];
    for (position, (actor, id)) in (1..).zip(actors) {
        let mut entry = log.write(StreamId::user(user(2)), invited(2, "ann@example.com"));
        entry.metadata = metadata(actor);
        assert_eq!(
            entries(&[entry]),
            [json!({
                "id": position, "actor_id": id, "action": "user_invited", "resource_type": "user",
                "resource_id": user(2), "details": "{\"role\":\"developer\"}", "created_at": at(position),
            })]
        );
    }
    let entry = entries(&[log.write(StreamId::setup(), instance_created())]).remove(0);
    assert_eq!((&entry["resource_type"], &entry["resource_id"]), (&json!("setup"), &Value::Null));
}

#[test]
fn a_failure_of_audit_alone_is_told_apart_and_leaves_the_other_tables_folded() {
    let mut log = Log::default();
    let created = log.write(StreamId::setup(), instance_created());
    let first = log.write(StreamId::user(user(1)), invited(1, "ann@example.com"));
    let mut models = ReadModels::new();
    let unit = [created.recorded(), first.recorded()];
    for event in &unit {
        models.need(event, &hasher());
    }
    for rows in models.tables() {
        rows.supply_json("[]").unwrap();
    }
    let twice = [unit[0], unit[1], unit[1]];
    assert_eq!(
        models.fold(&twice, &hasher()),
        Err(FoldError::Audit { position: 2, reason: "there is an entry for that position" })
    );
    assert_eq!(models.audit.upserts(), Vec::<&projections::AuditRow>::new());
    assert_eq!((models.setup.upserts().len(), models.users.upserts().len()), (1, 1));
}
