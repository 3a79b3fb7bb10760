use aggregates::{LinkedIdentity, Profile, Protected, Role, SessionEvent, StreamId, UnixSeconds, UserEvent};
use projections::{ClaimKind, FoldError};
use serde_json::{Value, json};

use crate::samples::{
    ISSUER, accepted, api_token, identity, invited, owner_registered, personal, profile, session, session_opened,
    token_issued, user,
};
use crate::store::{Entry, Log, Store, at, hasher};

/// The store after events of user 1, each a unit.
fn after(events: Vec<UserEvent>) -> Store {
    let mut log = Log::default();
    let mut store = Store::default();
    for event in events {
        assert_eq!(store.take(&[log.write(StreamId::user(user(1)), event)]), Ok(()));
    }
    store
}

fn invitation() -> Value {
    json!({
        "id": user(1), "address": "ann@example.com", "issuer": null, "subject": null, "display_name": null,
        "picture": null, "role": "developer", "status": "invited", "linked": 0, "created_at": at(1),
        "updated_at": at(1), "session_epoch": 0, "token_epoch": 0, "recovery_hash": null, "recovery_kind": null,
        "recovery_expires_at": null,
    })
}

fn with(mut row: Value, changes: &Value) -> Value {
    for (name, value) in changes.as_object().unwrap() {
        row[name] = value.clone();
    }
    row
}

fn claimed() -> Value {
    let changes = json!({
        "issuer": ISSUER, "subject": "s1", "display_name": "s1", "picture": "https://pic/s1", "status": "active",
        "linked": 1, "updated_at": at(2),
    });
    with(invitation(), &changes)
}

fn key(kind: &str, hash: &str, n: u128) -> Value {
    json!({"key": hash, "kind": kind, "user_id": user(n)})
}

#[test]
fn an_invitation_is_claimed() {
    assert_eq!(after(vec![invited(1, "ann@example.com")]).only("users"), invitation());
    assert_eq!(after(vec![invited(1, "ann@example.com"), accepted(1, "s1")]).only("users"), claimed());
}

#[test]
fn each_event_changes_what_it_says_and_no_more() {
    let disabled = UserEvent::UserDisabled { disabled_by: user(2) };
    let enabled = UserEvent::UserEnabled { enabled_by: user(2) };
    let cases = [
        (
            vec![UserEvent::ProfileChanged {
                profile: Profile { display_name: Some(personal(1, "Ann\0")), picture: None },
            }],
            json!({"display_name": "Ann\u{fffd}", "picture": null, "updated_at": at(3)}),
        ),
        (
            vec![UserEvent::RoleChanged { role: Role::Admin, changed_by: user(2) }],
            json!({"role": "admin", "updated_at": at(3)}),
        ),
        (
            vec![disabled.clone()],
            json!({"status": "disabled", "session_epoch": 1, "token_epoch": 1, "updated_at": at(3)}),
        ),
        (vec![disabled, enabled], json!({"session_epoch": 1, "token_epoch": 1, "updated_at": at(4)})),
        (vec![UserEvent::SessionsRevoked { revoked_by: None, kept: None }], json!({"session_epoch": 1})),
        (
            vec![UserEvent::IdentityUnlinked { released: identity(1, "s1") }],
            json!({
                "issuer": null, "subject": null, "display_name": null, "picture": null, "status": "invited",
                "linked": 0, "session_epoch": 1, "token_epoch": 1, "updated_at": at(3),
            }),
        ),
    ];
    for (events, changes) in cases {
        let mut all = vec![invited(1, "ann@example.com"), accepted(1, "s1")];
        all.extend(events.clone());
        assert_eq!(after(all).only("users"), with(claimed(), &changes), "{events:?}");
    }
}

#[test]
fn a_disabled_invitation_is_an_invitation_again_when_enabled() {
    let store = after(vec![
        invited(1, "ann@example.com"),
        UserEvent::UserDisabled { disabled_by: user(2) },
        UserEvent::UserEnabled { enabled_by: user(2) },
    ]);
    assert_eq!(store.only("users")["status"], "invited");
}

#[test]
fn a_disabled_user_who_loses_the_identity_stays_disabled() {
    let store = after(vec![
        invited(1, "ann@example.com"),
        accepted(1, "s1"),
        UserEvent::UserDisabled { disabled_by: user(2) },
        UserEvent::IdentityUnlinked { released: identity(1, "s1") },
    ]);
    let row = store.only("users");
    assert_eq!((&row["status"], &row["linked"]), (&json!("disabled"), &json!(0)));
}

#[test]
fn a_discarded_owner_leaves_no_row_and_no_key() {
    let mut events = vec![owner_registered(1, "ann@example.com", "s1")];
    let store = after(events.clone());
    assert_eq!(store.only("users"), with(claimed(), &json!({"role": "owner", "updated_at": at(1)})));
    let mut keys = store.table("unique_keys");
    keys.sort_by_key(|row| row["kind"].to_string());
    assert_eq!(
        keys,
        [key("address", &hasher().address("ann@example.com"), 1), key("identity", &hasher().identity(ISSUER, "s1"), 1)]
    );
    events.push(UserEvent::OwnerDiscarded { address: personal(1, "ann@example.com"), identity: identity(1, "s1") });
    let store = after(events);
    assert_eq!((store.table("users"), store.table("unique_keys")), (vec![], vec![]));
}

#[test]
fn an_erased_user_leaves_no_row_no_key_no_session_and_no_token() {
    let mut log = Log::default();
    let (address, identity) = (personal(1, "ann@example.com"), Some(identity(1, "s1")));
    let erased = UserEvent::UserErased { address, identity, erased_by: None };
    let history = [
        log.write(StreamId::user(user(1)), invited(1, "ann@example.com")),
        log.write(StreamId::user(user(1)), accepted(1, "s1")),
        log.write(StreamId::session(session(1)), session_opened(1, 1)),
        log.write(StreamId::session(session(2)), session_opened(2, 1)),
        log.write(StreamId::session(session(2)), SessionEvent::SessionExpired {}),
        log.write(StreamId::api_token(api_token(1)), token_issued(1, 1)),
        log.write(StreamId::user(user(2)), invited(2, "bob@example.com")),
        log.write(StreamId::session(session(3)), session_opened(3, 2)),
        log.write(StreamId::api_token(api_token(2)), token_issued(2, 2)),
    ];
    let last = log.write(StreamId::user(user(1)), erased);
    let units: Vec<&[Entry]> = history.chunks(1).collect();
    // In a batch of its own, in one with what came before, and in one with a part of it.
    let mut apart = Store::of(&units);
    assert_eq!(apart.take(std::slice::from_ref(&last)), Ok(()));
    let mut together = Store::default();
    let all: Vec<&[Entry]> = units.iter().copied().chain([std::slice::from_ref(&last)]).collect();
    assert!(together.take_batch(&all).iter().all(Result::is_ok));
    let mut halves = Store::of(&units[..3]);
    assert!(halves.take_batch(&all[3..]).iter().all(Result::is_ok));
    for store in [apart, together, halves] {
        for (table, column) in
            [("users", "id"), ("unique_keys", "user_id"), ("sessions", "user_id"), ("api_tokens", "user_id")]
        {
            let owners: Vec<Value> = store.table(table).into_iter().map(|row| row[column].clone()).collect();
            assert_eq!(owners, [json!(user(2))], "{table}");
        }
    }
}

#[test]
fn a_recovery_is_open_until_the_identity_is_replaced() {
    let owner = owner_registered(1, "ann@example.com", "s1");
    let open = |subject: Option<Protected>, address: Option<Protected>| UserEvent::OwnerRecoveryOpened {
        subject,
        address,
        expires_at: UnixSeconds(900),
    };
    let registered = after(vec![owner.clone()]).only("users");
    let cases = [
        (open(Some(personal(1, "s2")), None), json!(hasher().subject("s2")), "subject"),
        (open(None, Some(personal(1, "a@b.c"))), json!(hasher().address("a@b.c")), "address"),
        (open(Some(Protected::Erased), None), Value::Null, "subject"),
    ];
    for (event, hash, kind) in cases {
        let recovery = json!({"recovery_hash": hash, "recovery_kind": kind, "recovery_expires_at": 900});
        assert_eq!(after(vec![owner.clone(), event]).only("users"), with(registered.clone(), &recovery));
    }
    let replaced = UserEvent::OwnerIdentityReplaced {
        identity: identity(1, "s2"),
        profile: profile(1, "s2"),
        released: Some(identity(1, "s1")),
    };
    let store = after(vec![owner, open(Some(personal(1, "s2")), None), replaced]);
    let changes = json!({
        "subject": "s2", "display_name": "s2", "picture": "https://pic/s2", "session_epoch": 1, "token_epoch": 1,
        "updated_at": at(3),
    });
    assert_eq!(store.only("users"), with(registered, &changes));
    let identities: Vec<_> = store.table("unique_keys").into_iter().filter(|row| row["kind"] == "identity").collect();
    assert_eq!(identities, [key("identity", &hasher().identity(ISSUER, "s2"), 1)]);
}

#[test]
fn what_has_been_erased_is_empty_and_claims_nothing() {
    let store = after(vec![
        UserEvent::UserInvited { address: Protected::Erased, role: Role::Developer, invited_by: user(2) },
        UserEvent::InvitationAccepted {
            identity: LinkedIdentity { issuer: ISSUER.to_owned(), subject: Protected::Erased },
            profile: Profile { display_name: Some(Protected::Erased), picture: None },
        },
    ]);
    let changes = json!({"address": "", "subject": null, "display_name": null, "picture": null});
    assert_eq!(store.only("users"), with(claimed(), &changes));
    assert_eq!(store.table("unique_keys"), Vec::<Value>::new());
}

#[test]
fn an_address_and_an_identity_belong_to_one_user() {
    let mut log = Log::default();
    let mut write = |n, event| log.write(StreamId::user(user(n)), event);
    let mut store = Store::of(&[&[write(1, invited(1, "ann@example.com")), write(1, accepted(1, "s1"))]]);
    assert_eq!(store.take(&[write(2, invited(2, "ann@example.com"))]), Err(FoldError::Claimed(ClaimKind::Address)));
    let unit = [write(3, invited(3, "bob@example.com")), write(3, accepted(3, "s1"))];
    assert_eq!(store.take(&unit), Err(FoldError::Claimed(ClaimKind::Identity)));
    assert_eq!(store.table("users").len(), 1);
    assert_eq!(store.table("audit").len(), 2);
}

#[test]
fn an_identity_is_released_and_claimed_within_one_unit_in_the_order_of_its_events() {
    let mut log = Log::default();
    let mut write = |n, event| log.write(StreamId::user(user(n)), event);
    let mut store = Store::of(&[
        &[write(1, owner_registered(1, "ann@example.com", "s1"))],
        &[write(2, invited(2, "bob@example.com")), write(2, accepted(2, "s2"))],
    ]);
    let unlink = UserEvent::IdentityUnlinked { released: identity(2, "s2") };
    let replace = UserEvent::OwnerIdentityReplaced {
        identity: identity(1, "s2"),
        profile: profile(1, "s2"),
        released: Some(identity(1, "s1")),
    };
    let claimed_first = [write(1, replace.clone()), write(2, unlink.clone())];
    assert_eq!(store.take(&claimed_first), Err(FoldError::Claimed(ClaimKind::Identity)));
    assert_eq!(store.take(&[write(2, unlink), write(1, replace)]), Ok(()));
    let identities: Vec<_> = store.table("unique_keys").into_iter().filter(|row| row["kind"] == "identity").collect();
    assert_eq!(identities, [key("identity", &hasher().identity(ISSUER, "s2"), 1)]);
}

#[test]
fn nobody_releases_the_key_of_somebody_else() {
    let mut log = Log::default();
    let mut write = |n, event| log.write(StreamId::user(user(n)), event);
    let mut store = Store::of(&[
        &[write(1, invited(1, "ann@example.com")), write(1, accepted(1, "s1"))],
        &[write(2, invited(2, "bob@example.com")), write(2, accepted(2, "s2"))],
    ]);
    let keys = store.table("unique_keys");
    assert_eq!(store.take(&[write(2, UserEvent::IdentityUnlinked { released: identity(1, "s1") })]), Ok(()));
    assert_eq!(store.table("unique_keys"), keys);
}
