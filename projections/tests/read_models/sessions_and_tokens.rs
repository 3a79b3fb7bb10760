use aggregates::{ApiTokenEvent, KeyId, Protected, SessionEnd, SessionEvent, StreamId, TokenHash, UnixSeconds};
use projections::FoldError;
use serde_json::{Value, json};

use crate::samples::{api_token, personal, session, session_opened, setup_session_opened, token_issued, user};
use crate::store::{Entry, Log, Store};

/// The rows of sessions after events of session 1, each a unit.
fn after(events: Vec<SessionEvent>) -> Vec<Value> {
    let mut log = Log::default();
    let mut store = Store::default();
    for event in events {
        assert_eq!(store.take(&[log.write(StreamId::session(session(1)), event)]), Ok(()));
    }
    store.table("sessions")
}

fn opened() -> Value {
    json!({
        "id": session(1), "kind": "user", "token_hash": TokenHash::of("session 1"), "user_id": user(1),
        "created_at": 100, "expires_at": 200, "user_epoch": 3, "provider_epoch": 4, "expired": 0,
        "source_address": null, "user_agent": null,
    })
}

fn setup_opened() -> Value {
    json!({
        "id": session(1), "kind": "setup", "token_hash": TokenHash::of("session 1"), "user_id": null,
        "created_at": 100, "expires_at": 200, "user_epoch": 0, "provider_epoch": 0, "expired": 0,
        "source_address": null, "user_agent": null,
    })
}

#[test]
fn a_session_that_was_ended_is_gone() {
    assert_eq!(after(vec![session_opened(1, 1)]), [opened()]);
    assert_eq!(after(vec![setup_session_opened(1)]), [setup_opened()]);
    for end in [SessionEvent::SessionSignedOut {}, SessionEvent::SessionRevoked {}] {
        assert_eq!(after(vec![session_opened(1, 1), end]), Vec::<Value>::new());
    }
    for reason in [SessionEnd::Replaced, SessionEnd::SetupOver, SessionEnd::SignedOut, SessionEnd::Revoked] {
        let end = SessionEvent::SetupSessionEnded { reason };
        assert_eq!(after(vec![setup_session_opened(1), end]), Vec::<Value>::new());
    }
}

#[test]
fn a_session_that_expired_stays_marked() {
    let mut expected = opened();
    expected["expired"] = 1.into();
    assert_eq!(after(vec![session_opened(1, 1), SessionEvent::SessionExpired {}]), [expected]);
    let mut expected = setup_opened();
    expected["expired"] = 1.into();
    let end = SessionEvent::SetupSessionEnded { reason: SessionEnd::Expired };
    assert_eq!(after(vec![setup_session_opened(1), end]), [expected]);
}

#[test]
fn a_session_is_extended_and_kept() {
    let mut expected = setup_opened();
    expected["expires_at"] = 260.into();
    let extended = SessionEvent::SetupSessionExtended { extended_at: UnixSeconds(160), expires_at: UnixSeconds(260) };
    assert_eq!(after(vec![setup_session_opened(1), extended]), [expected]);
    let mut expected = opened();
    expected["user_epoch"] = 5.into();
    expected["provider_epoch"] = 6.into();
    let kept = SessionEvent::SessionKept { user_epoch: 5, provider_epoch: 6 };
    assert_eq!(after(vec![session_opened(1, 1), kept]), [expected]);
}

fn opened_from(source_address: Option<Protected>, user_agent: Option<Protected>) -> Entry {
    let mut entry = Log::default().write(StreamId::session(session(1)), session_opened(1, 1));
    entry.metadata.source_address = source_address;
    entry.metadata.user_agent = user_agent;
    entry
}

#[test]
fn a_session_shows_from_where_it_was_opened_only_while_its_user_has_a_key() {
    let row = Store::of(&[&[opened_from(Some(personal(1, "192.0.2.1")), Some(personal(1, "curl")))]]).only("sessions");
    assert_eq!((&row["source_address"], &row["user_agent"]), (&json!("192.0.2.1"), &json!("curl")));
    let strangers = Protected::Clear { key: KeyId::Strangers("2026-11".to_owned()), text: "192.0.2.1".to_owned() };
    let row = Store::of(&[&[opened_from(Some(strangers), Some(Protected::Erased))]]).only("sessions");
    assert_eq!((&row["source_address"], &row["user_agent"]), (&Value::Null, &Value::Null));
}

#[test]
fn a_session_that_expired_does_not_show_any_more_from_where_it_was_opened() {
    let mut log = Log::default();
    let mut open = log.write(StreamId::session(session(1)), session_opened(1, 1));
    open.metadata.source_address = Some(personal(1, "192.0.2.1"));
    open.metadata.user_agent = Some(personal(1, "curl"));
    let expire = log.write(StreamId::session(session(1)), SessionEvent::SessionExpired {});
    let row = Store::of(&[&[open], &[expire]]).only("sessions");
    assert_eq!((&row["source_address"], &row["user_agent"]), (&Value::Null, &Value::Null));
}

#[test]
fn a_personal_value_that_nobody_opened_is_refused() {
    let sealed = Protected::Sealed { key: KeyId::Person(user(1)), sealed: "AAEC".to_owned() };
    assert_eq!(
        Store::default().take(&[opened_from(Some(sealed), None)]),
        Err(FoldError::Broken { table: "sessions", position: 1, reason: "a personal value has not been opened" })
    );
}

#[test]
fn an_api_token_is_there_until_it_is_revoked() {
    let mut log = Log::default();
    let mut write = |event: ApiTokenEvent| log.write(StreamId::api_token(api_token(1)), event);
    let mut store = Store::of(&[&[write(token_issued(1, 2))]]);
    assert_eq!(
        store.only("api_tokens"),
        json!({
            "id": api_token(1), "user_id": user(2), "name": "ci", "prefix": "alog_0123456",
            "token_hash": TokenHash::of("token 1"), "role": "qa_viewer", "created_at": 100, "expires_at": 300,
            "token_epoch": 5,
        })
    );
    assert_eq!(store.take(&[write(ApiTokenEvent::ApiTokenRevoked { revoked_by: user(2) })]), Ok(()));
    assert_eq!(store.table("api_tokens"), Vec::<Value>::new());
}
