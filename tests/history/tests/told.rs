//! What callers were told against a log of a few events: what is lost, doubled, refused and clear is named.
#![allow(clippy::unwrap_used)]

use history::log::told::Told;
use history::log::{Event, read};
use serde_json::json;

const BOB: &str = "0198c0de-0000-7000-8000-00000000b0b0";
const EVE: &str = "0198c0de-0000-7000-8000-00000000e0e0";

fn event(position: i64, stream: &str, event_type: &str, fields: &serde_json::Value) -> Event {
    let line = json!({
        "position": position, "stream": stream, "sequence": 1, "type": event_type, "version": "1", "recorded_at": 7,
        "payload": { event_type: fields }, "metadata": { "actor": "operator", "unit_id": position.to_string() },
    });
    read(&line.to_string()).unwrap().remove(0)
}

fn invited(position: i64, user: &str) -> Event {
    event(position, &format!("user/{user}"), "UserInvited", &json!({ "role": "admin" }))
}

fn opened(position: i64, session: &str, hash: &str) -> Event {
    event(position, &format!("session/{session}"), "SessionOpened", &json!({ "token_hash": hash }))
}

#[track_caller]
fn finds(told: &Told, log: &[Event], expected: &[&str]) {
    let found = told.check(log);
    assert_eq!(found.len(), expected.len(), "{found:#?}");
    for (found, expected) in found.iter().zip(expected) {
        assert!(found.starts_with(expected), "{found}");
    }
}

#[test]
fn what_was_acknowledged_and_is_not_there_is_lost_and_what_is_there_twice_is_doubled() {
    let mut told = Told::default();
    told.acknowledged("UserInvited", BOB);
    finds(&told, &[invited(2, BOB)], &[]);
    finds(&told, &[], &["lost: UserInvited of 0198c0de-0000-7000-8000-00000000b0b0 was acknowledged 1 times"]);
    finds(&told, &[invited(2, BOB), invited(3, BOB)], &["doubled or refused: UserInvited of"]);
    // Twice acknowledged is twice there.
    told.acknowledged("UserInvited", BOB);
    finds(&told, &[invited(2, BOB)], &["lost: "]);
    finds(&told, &[invited(2, BOB), invited(3, BOB)], &[]);
}

#[test]
fn what_nobody_was_told_of_is_there_only_where_a_call_is_of_unknown_outcome() {
    let mut told = Told::default();
    told.watch("UserInvited");
    told.watch("SessionRevoked");
    finds(&told, &[invited(2, EVE)], &["untold: 1 events UserInvited that nobody was told of, where 0 calls"]);
    told.lost_new("UserInvited");
    finds(&told, &[invited(2, EVE)], &[]);
    finds(&told, &[invited(2, EVE), invited(3, BOB)], &["untold: 2 events UserInvited"]);
    let revoked = |position| event(position, "session/one", "SessionRevoked", &json!({}));
    finds(&told, &[revoked(2)], &["untold: 1 events SessionRevoked"]);
    told.lost("SessionRevoked", "one");
    finds(&told, &[revoked(2)], &[]);
    finds(&told, &[revoked(2), revoked(3)], &["doubled or refused: SessionRevoked of one is there 2 times"]);
}

#[test]
fn a_session_is_known_by_its_token_or_by_its_id() {
    let mut told = Told::default();
    told.acknowledged("SessionOpened", "hash-of-one");
    told.acknowledged("SessionSignedOut", "hash-of-one");
    told.acknowledged("SessionRevoked", "two");
    told.acknowledged("SessionOpened", "hash-of-two");
    let ended = |position, session: &str, how: &str| event(position, &format!("session/{session}"), how, &json!({}));
    let mut log = vec![opened(2, "one", "hash-of-one"), opened(3, "two", "hash-of-two")];
    log.extend([ended(4, "one", "SessionSignedOut"), ended(5, "two", "SessionRevoked")]);
    finds(&told, &log, &[]);
    log.remove(2);
    finds(&told, &log, &["lost: SessionSignedOut of hash-of-one"]);
}

#[test]
fn a_text_of_the_run_that_stands_in_clear_is_named_and_so_is_where() {
    let mut told = Told::default();
    told.secret("an address", "Bob@example.com");
    told.secret("a token", "00ff00ff");
    let clear = event(4, "user/bob", "UserInvited", &json!({ "address": "bob@EXAMPLE.com" }));
    finds(&told, std::slice::from_ref(&clear), &["4 UserInvited of user/bob: an address stands there in clear"]);
    let mut aside = invited(2, BOB);
    aside.metadata["request_id"] = "x00ff00ffx".into();
    finds(&told, &[aside], &["2 UserInvited of user/0198c0de-0000-7000-8000-00000000b0b0: a token stands there"]);
    finds(&told, &[invited(2, BOB)], &[]);
}

#[test]
fn refused_sign_ins_are_one_event_a_minute_reason_and_process() {
    let refused = |position, minute: i64, reason: &str| {
        let fields = json!({ "reason": reason, "count": 3 });
        event(position, &format!("identity_provider/refused-{minute}"), "SignInsRefused", &fields)
    };
    let mut told = Told::default();
    let flood: Vec<Event> = (2..5).map(|position| refused(position, 60, "user_not_found")).collect();
    finds(&told, &flood, &[]);
    told.processes(1);
    // One when its minute was over, and one when it stopped.
    finds(&told, &flood[..2], &[]);
    finds(&told, &flood, &["identity_provider/refused-60: 3 events for the reason user_not_found, of 1 processes"]);
    finds(&told, &[refused(2, 60, "a"), refused(3, 60, "b"), refused(4, 120, "a")], &[]);
}
