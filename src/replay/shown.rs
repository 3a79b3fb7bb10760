//! A state as people and programs see it: each item as the API shows it.

use std::collections::BTreeMap;

use aggregates::{SessionKind, Status, StreamId};
use projections::{ApiTokenRow, Key, Recorded, SessionRow, UserRow};
use serde::Serialize;
use serde_json::{Value, json};
use utoipa::ToSchema;

use super::{AsOf, ReplayError, State};
use crate::items::{ApiToken, ConfiguredProvider, Session, StatusAnswer, User};
use crate::log::history::OpenedEvent;
use crate::log::past::Past;

/// How things stood.
#[derive(Debug, Serialize, ToSchema)]
pub struct Shown {
    /// Position of the last event that counts.
    pub position: i64,
    /// Unix seconds: what had run out by then was no longer alive.
    pub at: i64,
    /// Absent before the first event.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub setup: Option<StatusAnswer>,
    /// Absent when none was configured.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub identity_provider: Option<ConfiguredProvider>,
    pub users: Vec<User>,
    /// Those alive at that moment. When a session was last seen is not in the log: `last_seen_at` is when it was opened.
    pub sessions: Vec<Session>,
    /// Those that worked at that moment.
    pub api_tokens: Vec<ApiToken>,
}

/// What one stream had made.
#[derive(Debug, Serialize, ToSchema)]
pub struct OneStream {
    /// Position of the last event that counts.
    pub position: i64,
    /// Unix seconds.
    pub at: i64,
    pub stream: String,
    /// The item as the API shows it; null when there was none any more.
    pub state: Value,
}

impl OneStream {
    /// Folds one stream up to a position.
    ///
    /// # Errors
    /// [`ReplayError::NoSuchStream`]; when the log cannot be read or folded.
    pub async fn as_of(past: &Past, stream: &StreamId, as_of: AsOf) -> Result<Self, ReplayError> {
        let events = past.stream(stream, as_of.position).await?;
        if events.is_empty() {
            return Err(ReplayError::NoSuchStream(stream.clone()));
        }
        let mut state = State::before_everything(as_of.at);
        let events: Vec<Recorded<'_>> = events.iter().map(OpenedEvent::recorded).collect();
        state.fold(&events, past.hasher())?;
        let item = Shown::of_one_stream(&state).items().into_values().next();
        let (position, at) = (as_of.position, as_of.at.0);
        Ok(Self { position, at, stream: stream.to_string(), state: item.unwrap_or_default() })
    }
}

/// Names one thing that a state shows: its kind, and its id where there are several.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, ToSchema)]
pub struct Item {
    /// `setup`, `identity_provider`, `user`, `session` or `api_token`.
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
        let setup = models.setup.upserts().into_iter().next();
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
            setup: setup.map(|row| StatusAnswer::of(row.instance_id, row.state)),
            identity_provider: provider.and_then(ConfiguredProvider::of),
            users: users.into_iter().map(|row| row.clone().into()).collect(),
            sessions: sessions.into_iter().filter_map(|row| Session::as_recorded(row.clone())).collect(),
            api_tokens: tokens.into_iter().map(|row| ApiToken::of(row.clone(), None)).collect(),
        }
    }

    /// Everything shown, by name.
    pub fn items(&self) -> BTreeMap<Item, Value> {
        let only = [
            ("setup", self.setup.as_ref().map(|item| json!(item))),
            ("identity_provider", self.identity_provider.as_ref().map(|item| json!(item))),
        ];
        let mut items = BTreeMap::new();
        for (kind, value) in only {
            items.extend(value.map(|value| (Item { kind, id: None }, value)));
        }
        let many = self.users.iter().map(|item| ("user", json!(item)));
        let many = many.chain(self.sessions.iter().map(|item| ("session", json!(item))));
        for (kind, value) in many.chain(self.api_tokens.iter().map(|item| ("api_token", json!(item)))) {
            items.insert(Item { kind, id: value["id"].as_str().map(str::to_owned) }, value);
        }
        items
    }
}

fn user_of(state: &State, id: aggregates::UserId) -> Option<&UserRow> {
    state.models.users.get(&Key::Id(id.0))
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
