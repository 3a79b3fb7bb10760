use aggregates::{PinnedOwner, Protected, RemoteAuthMode, RuntimeMode, SetupEvent, StreamId};
use serde_json::{Value, json};

use crate::samples::{bootstrap_token_issued, instance_created, personal, session, user};
use crate::store::{Log, Store, at, hasher};

fn after(events: Vec<SetupEvent>) -> Value {
    let mut log = Log::default();
    let mut store = Store::default();
    for event in events {
        assert_eq!(store.take(&[log.write(StreamId::setup(), event)]), Ok(()));
    }
    store.only("setup")
}

fn pinned() -> SetupEvent {
    bootstrap_token_issued(Some(PinnedOwner { user_id: user(1), address: personal(1, "ann@example.com") }))
}

fn walk() -> Vec<SetupEvent> {
    vec![
        instance_created(),
        pinned(),
        SetupEvent::VerificationFailed { failures: 1 },
        SetupEvent::BootstrapTokenVerified { session_id: session(1) },
        SetupEvent::PreferencesSet { runtime_mode: RuntimeMode::Remote, remote_auth_mode: RemoteAuthMode::Oidc },
        SetupEvent::SetupProviderAccepted { provider_version: 1 },
        SetupEvent::OwnerVerified { user_id: user(1) },
        SetupEvent::SetupCompleted {},
    ]
}

fn fresh() -> Value {
    json!({
        "id": "instance", "instance_id": "00000000-0000-0000-0000-000000000001", "state": "uninitialized",
        "runtime_mode": null, "remote_auth_mode": null, "session_id": null, "session_ever_opened": 0,
        "pinned_owner_hash": null, "pinned_owner_id": null, "owner_id": null, "configured_at": null, "updated_at": at(1),
    })
}

#[test]
fn setup_is_followed_step_by_step() {
    let mut expected = fresh();
    let mut expect = |count: usize, changes: Value| {
        for (name, value) in changes.as_object().unwrap() {
            expected[name] = value.clone();
        }
        assert_eq!(after(walk().into_iter().take(count).collect()), expected, "after {count} events");
    };
    expect(1, json!({}));
    let hash = hasher().address("ann@example.com");
    expect(
        2,
        json!({"state": "bootstrap_pending", "pinned_owner_hash": hash, "pinned_owner_id": user(1), "updated_at": at(2)}),
    );
    expect(3, json!({}));
    expect(4, json!({"session_id": session(1), "session_ever_opened": 1, "updated_at": at(4)}));
    expect(5, json!({"runtime_mode": "remote", "remote_auth_mode": "oidc", "updated_at": at(5)}));
    expect(6, json!({"state": "idp_configured", "updated_at": at(6)}));
    expect(7, json!({"state": "owner_created", "owner_id": user(1), "updated_at": at(7)}));
    expect(8, json!({"state": "ready", "session_id": null, "configured_at": at(8), "updated_at": at(8)}));
}

#[test]
fn a_restart_remembers_only_the_instance_and_that_there_was_a_session() {
    let mut events: Vec<_> = walk().into_iter().take(7).collect();
    events.push(SetupEvent::SetupRestarted {});
    let mut expected = fresh();
    expected["session_ever_opened"] = 1.into();
    expected["updated_at"] = at(8).into();
    assert_eq!(after(events), expected);
}

#[test]
fn a_newer_bootstrap_token_keeps_the_state_and_drops_the_pin() {
    let mut events: Vec<_> = walk().into_iter().take(6).collect();
    events.push(bootstrap_token_issued(None));
    let row = after(events);
    assert_eq!(row["state"], "idp_configured");
    assert_eq!((&row["pinned_owner_hash"], &row["pinned_owner_id"]), (&Value::Null, &Value::Null));
}

#[test]
fn an_erased_pinned_owner_is_still_pinned_but_nobody_fits() {
    let owner = PinnedOwner { user_id: user(1), address: Protected::Erased };
    let row = after(vec![instance_created(), bootstrap_token_issued(Some(owner))]);
    assert_eq!((&row["pinned_owner_hash"], &row["pinned_owner_id"]), (&Value::Null, &json!(user(1))));
}
