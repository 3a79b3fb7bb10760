//! The read models against a second opinion: the log, folded by [`Model`], and what the tables say.

use std::collections::BTreeMap;

use history::log::Event;
use history::log::model::Model;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::TestDatabase;
use super::tables;

/// What the read models of the database hold.
pub async fn stored(database: &TestDatabase) -> Model {
    let setup = ["instance_id", "state", "session_id", "session_ever_opened", "pinned_owner_id", "owner_id"];
    let setup = [&setup[..], &["configured_at"]].concat();
    let provider = ["issuer_url", "client_id", "client_secret", "version", "session_epoch"];
    let user = ["id", "role", "status", "linked", "created_at", "updated_at", "session_epoch", "token_epoch"];
    let user = [&user[..], &["recovery_expires_at"]].concat();
    let session = ["id", "kind", "token_hash", "user_id", "created_at", "expires_at", "user_epoch"];
    let session = [&session[..], &["provider_epoch", "expired"]].concat();
    let token = ["id", "user_id", "role", "prefix", "token_hash", "created_at", "expires_at", "token_epoch"];
    let claims = tables::read_model(database, "unique_keys", &["kind", "user_id"]).await;
    let audit = tables::read_model(database, "audit", &["id"]).await;
    let model = Model {
        setup: only(tables::read_model(database, "setup", &setup).await),
        provider: only(tables::read_model(database, "identity_provider", &provider).await),
        users: by_id(tables::read_model(database, "users", &user).await),
        sessions: by_id(tables::read_model(database, "sessions", &session).await),
        api_tokens: by_id(tables::read_model(database, "api_tokens", &token).await),
        claims: claims.iter().map(|row| (text(&row["kind"]), text(&row["user_id"]))).collect(),
        audit: audit.iter().map(|row| row["id"].as_i64().unwrap()).collect(),
    };
    assert_eq!(claims.len(), model.claims.len(), "somebody holds two addresses or identities: {claims:?}");
    model
}

/// Folds the log of the database and asserts that its read models say the same.
pub async fn agrees_with(database: &TestDatabase) -> Model {
    let events: Vec<Event> = tables::log(database).await.iter().map(tables::StoredEvent::event).collect();
    let (model, stored) = (Model::of(&events).unwrap(), stored(database).await);
    assert_eq!(stored.setup, model.setup, "setup");
    assert_eq!(stored.provider, model.provider, "identity_provider");
    assert_eq!(stored.users, model.users, "users");
    assert_eq!(stored.sessions, model.sessions, "sessions");
    assert_eq!(stored.api_tokens, model.api_tokens, "api_tokens");
    assert_eq!(stored.claims, model.claims, "unique_keys");
    assert_eq!(stored.audit, model.audit, "audit");
    let last = events.last().map_or((0, 0), |event| (event.position, event.recorded_at));
    assert_eq!(tables::head(database).await, last, "log_head");
    model
}

fn only<T: DeserializeOwned>(rows: Vec<Value>) -> Option<T> {
    assert!(rows.len() <= 1, "{rows:?}");
    rows.into_iter().next().map(|row| serde_json::from_value(row).unwrap())
}

fn by_id<T: DeserializeOwned>(rows: Vec<Value>) -> BTreeMap<String, T> {
    rows.into_iter().map(|row| (text(&row["id"]), serde_json::from_value(row).unwrap())).collect()
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_else(|| panic!("{value} is no text")).to_owned()
}
