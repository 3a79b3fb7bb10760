//! The checker itself: a log that was tampered with is noticed, and which rule it breaks is named.

use serde_json::{Value, json};

use crate::stage::{Cast, Stage};
use crate::support::rules::broken_rules;
use crate::support::tables::{self, StoredEvent};

/// A log with one of most things: an admin who invites and is demoted, somebody disabled, a session revoked, tokens.
async fn a_rich_log() -> Vec<StoredEvent> {
    let (stage, owner) = Stage::ready(Cast::Sqlite).await;
    let node = stage.node(0);
    let (bob, session) = node.join(&owner, "bob", "admin").await;
    let guest = json!({ "email": "guest@example.com", "role": "developer" });
    let guest = node.post("/v1/users/invite", Some(&session), guest).await.ok(201)["user"]["id"].clone();
    let token = json!({ "name": "ci", "role": "admin" });
    node.post("/v1/api-tokens", Some(&session), token).await.ok(201);
    let role = json!({ "role": "developer" });
    node.call(reqwest::Method::PATCH, &format!("/v1/users/{bob}/role"), Some(&owner), Some(role)).await.ok(200);
    node.delete(&format!("/v1/users/{}", guest.as_str().unwrap()), Some(&owner)).await.ok(200);
    node.delete(&format!("/v1/sessions?user_id={bob}"), Some(&owner)).await.ok(200);
    stage.lawful().await;
    tables::log(&stage.database).await
}

fn index(log: &[StoredEvent], event_type: &str) -> usize {
    log.iter().position(|event| event.event_type == event_type).unwrap()
}

/// Gives positions, sequences and hashes anew, so that only the meaning is wrong.
fn in_order(mut log: Vec<StoredEvent>) -> Vec<StoredEvent> {
    let recorded_at = log[0].recorded_at;
    let mut sequences = std::collections::BTreeMap::new();
    for (event, position) in log.iter_mut().zip(1..) {
        let sequence = sequences.entry((event.aggregate_type.clone(), event.aggregate_id.clone())).or_insert(0);
        *sequence += 1;
        (event.position, event.sequence, event.recorded_at) = (position, *sequence, recorded_at);
        let leaf = authlog::log::leaf::leaf_hash(&authlog::log::leaf::LeafInput {
            position,
            aggregate_type: &event.aggregate_type,
            aggregate_id: &event.aggregate_id,
            sequence: event.sequence,
            event_type: &event.event_type,
            event_version: &event.event_version,
            payload: &event.payload,
            metadata: &event.metadata,
            recorded_at,
        });
        event.leaf_hash = hex::encode(leaf);
    }
    log
}

/// The log with the last event of one type moved behind the first of another, and everything numbered anew.
fn moved_behind(log: &[StoredEvent], moved: &str, behind: &str) -> Vec<StoredEvent> {
    let mut log = log.to_vec();
    let from = log.len() - 1 - log.iter().rev().position(|event| event.event_type == moved).unwrap();
    let event = log.remove(from);
    let to = index(&log, behind) + 1;
    log.insert(to, event);
    in_order(log)
}

/// The log with one field of the first event of one type changed.
fn changed(log: &[StoredEvent], event_type: &str, field: &str, value: &Value) -> Vec<StoredEvent> {
    let mut log = log.to_vec();
    let event = index(&log, event_type);
    let event = &mut log[event];
    let mut payload = event.payload();
    payload[event_type][field] = value.clone();
    event.payload = payload.to_string();
    in_order(log)
}

/// The log with an event written twice, each time in a unit of its own.
fn twice(log: &[StoredEvent], event_type: &str, behind: &str) -> Vec<StoredEvent> {
    let mut log = log.to_vec();
    let mut copy = log[index(&log, event_type)].clone();
    let mut metadata = copy.metadata();
    metadata["unit_id"] = json!(uuid::Uuid::now_v7());
    copy.metadata = metadata.to_string();
    let to = index(&log, behind) + 1;
    log.insert(to, copy);
    in_order(log)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_log_that_breaks_a_rule_is_noticed() {
    let log = a_rich_log().await;
    assert_eq!(broken_rules(&in_order(log.clone())), Vec::<String>::new());

    let mut gap = log.clone();
    gap.remove(index(&log, "ApiTokenIssued"));
    let mut swapped = log.clone();
    swapped.swap(2, 3);
    let mut backwards = log.clone();
    backwards[5].recorded_at = log[4].recorded_at - 1;
    let mut altered = log.clone();
    altered[6].payload.push(' ');
    let cases = [
        (gap, "positions are 1, 2, 3, ..."),
        (swapped, "positions are 1, 2, 3, ..."),
        (backwards, "recorded_at never runs backwards"),
        (altered, "the leaf hash is that of the row"),
        (moved_behind(&log, "ApiTokenIssued", "RoleChanged"), "a token has at most the role of who issues it"),
        (moved_behind(&log, "ApiTokenIssued", "SessionsRevoked"), "a user acts only with a live session"),
        (moved_behind(&log, "BootstrapTokenIssued", "SetupCompleted"), "ready is terminal"),
        (twice(&log, "UserDisabled", "UserDisabled"), "a change changes something"),
        (twice(&log, "BootstrapTokenVerified", "BootstrapTokenVerified"), "a bootstrap token is verified while"),
        (changed(&log, "UserInvited", "role", &json!("owner")), "one invites below one's own role"),
        (changed(&log, "UserInvited", "address", &json!("bob@example.com")), "address is sealed"),
        (changed(&log, "SessionOpened", "user_epoch", &json!(1)), "a session opens in its user's epoch"),
        (changed(&log, "UserDisabled", "disabled_by", &json!("somebody")), "nobody disables themselves"),
        (changed(&log, "ProviderConfigured", "version", &json!(2)), "configurations are counted one by one"),
    ];
    for (tampered, rule) in cases {
        let broken = broken_rules(&tampered);
        assert!(broken.iter().any(|broken| broken.contains(rule)), "{rule}: {broken:#?}");
    }
}

/// An invitation by an admin who has been demoted is the breach that the races above are about.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_invitation_behind_the_inviters_demotion_is_noticed() {
    let mut log = a_rich_log().await;
    // Whatever concerns the guest comes last, so that only the order of invitation and demotion is wrong.
    let invited = log.iter().rposition(|event| event.event_type == "UserInvited").unwrap();
    let invitation = log.remove(invited);
    let demotion = index(&log, "RoleChanged");
    log.insert(demotion + 1, invitation);
    let broken = broken_rules(&in_order(log));
    assert!(broken.iter().any(|broken| broken.contains("one invites below one's own role")), "{broken:#?}");
}
