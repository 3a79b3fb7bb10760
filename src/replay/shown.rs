//! A state as people and programs see it: each item as the API shows it.

use std::collections::BTreeMap;

use aggregates::{SessionKind, Status};
use projections::{ApiTokenRow, IdentityProviderRow, SessionRow, UserRow};
use serde::Serialize;
use serde_json::{Value, json};

use super::State;
use crate::http::routes::api_tokens::ApiToken;
use crate::http::routes::sessions::Session;
use crate::http::routes::setup::StatusAnswer;
use crate::http::routes::users::User;

/// How things stood.
#[derive(Serialize)]
pub struct Shown {
    /// Position of the last event that counts.
    pub position: i64,
    /// Unix seconds.
    pub at: i64,
    /// As `GET /v1/public/setup-status`; null before the first event.
    pub setup: Value,
    /// Null when none is configured.
    pub identity_provider: Value,
    pub users: Vec<Value>,
    /// Those alive at that moment. When a session was last seen is not in the log: `last_seen_at` is when it was opened.
    pub sessions: Vec<Value>,
    /// Those that worked at that moment.
    pub api_tokens: Vec<Value>,
}

/// Names one thing that a state shows: its kind, and its id where there are several.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Item {
    pub kind: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
}

impl Shown {
    /// What a state says.
    pub fn of(state: &State) -> Self {
        Self::with(state, |row| is_alive(row, state), |row| works(row, state))
    }

    /// What a state says that was folded from one stream: whether a session or a token is alive other streams tell, too, so
    /// it is shown while its own stream has not ended it.
    pub fn of_one_stream(state: &State) -> Self {
        Self::with(state, |row| !row.expired, |_| true)
    }

    fn with(state: &State, session: impl Fn(&SessionRow) -> bool, token: impl Fn(&ApiTokenRow) -> bool) -> Self {
        let models = &state.models;
        let setup =
            models.setup.upserts().into_iter().next().map(|row| json!(StatusAnswer::of(row.instance_id, row.state)));
        let provider = models.identity_provider.upserts().into_iter().next();
        let mut users = models.users.upserts();
        users.sort_by_key(|row| (row.created_at, row.id));
        let mut sessions = models.sessions.upserts();
        sessions.retain(|row| session(row));
        sessions.sort_by_key(|row| (row.created_at, row.id));
        let mut tokens = models.api_tokens.upserts();
        tokens.retain(|row| token(row));
        tokens.sort_by_key(|row| (row.created_at, row.id));
        Self {
            position: state.position,
            at: state.at.0,
            setup: setup.unwrap_or_default(),
            identity_provider: provider.map(shown_provider).unwrap_or_default(),
            users: users.into_iter().map(|row| json!(User::from(row.clone()))).collect(),
            sessions: sessions
                .into_iter()
                .filter_map(|row| Session::as_recorded(row.clone()))
                .map(|row| json!(row))
                .collect(),
            api_tokens: tokens.into_iter().map(|row| json!(ApiToken::of(row.clone(), None))).collect(),
        }
    }

    /// Everything shown, by name.
    pub fn items(&self) -> BTreeMap<Item, &Value> {
        let only = [("setup", &self.setup), ("identity_provider", &self.identity_provider)];
        let only = only.into_iter().filter(|(_, value)| !value.is_null());
        let many = [("user", &self.users), ("session", &self.sessions), ("api_token", &self.api_tokens)];
        let many = many.into_iter().flat_map(|(kind, values)| values.iter().map(move |value| (kind, value)));
        let id = |value: &Value| value["id"].as_str().map(str::to_owned);
        only.map(|(kind, value)| (Item { kind, id: None }, value))
            .chain(many.map(|(kind, value)| (Item { kind, id: id(value) }, value)))
            .collect()
    }
}

fn user_of(state: &State, id: aggregates::UserId) -> Option<&UserRow> {
    state.models.users.get(&projections::Key::Id(id.0))
}

fn is_alive(row: &SessionRow, state: &State) -> bool {
    let provider_epoch = state.models.identity_provider.upserts().first().map_or(0, |row| row.session_epoch);
    let user = row.user_id.and_then(|user| user_of(state, user));
    let user = user.is_some_and(|user| user.status == Status::Active && user.session_epoch == row.user_epoch);
    row.kind == SessionKind::User
        && user
        && row.provider_epoch == provider_epoch
        && !row.expired
        && row.expires_at > state.at
}

fn works(row: &ApiTokenRow, state: &State) -> bool {
    let user = user_of(state, row.user_id);
    user.is_some_and(|user| user.status == Status::Active && user.token_epoch == row.token_epoch)
        && row.expires_at.is_none_or(|expires_at| expires_at > state.at)
}

fn shown_provider(row: &IdentityProviderRow) -> Value {
    let Some(issuer_url) = &row.issuer_url else { return Value::Null };
    json!({
        "issuer_url": issuer_url,
        "client_id": row.client_id,
        "has_client_secret": row.client_secret.is_some(),
        "configured_at": row.configured_at,
    })
}
