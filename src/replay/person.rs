//! Everything that the log holds about one person, for that person.
//!
//! What concerns them: the streams of their account, sessions and API tokens, what they did themselves, and every other event
//! that names them. Of what other people are called or where they called from nothing is told.

use std::collections::HashSet;

use aggregates::{ApiTokenEvent, EmailAddress, Event, Role, SessionEvent, Status, StreamId, UnixSeconds, UserId};
use projections::{Key, Recorded, RecoveryKind, UserRow};
use serde::Serialize;
use serde_json::Value;

use super::{ReplayError, State};
use crate::items::User;
use crate::log::history::{HistoryError, OpenedEvent};
use crate::log::past::Past;
use crate::log::told::Told;
use crate::log::{EventRecord, UnreadableEvent};

/// What is held about a person. Values whose key has been destroyed are absent.
#[derive(Serialize)]
pub struct Held {
    /// Position of the last event that was looked at.
    pub position: i64,
    /// As the API shows them; absent when they have been erased or discarded.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user: Option<User>,
    /// Who they are at the provider.
    pub identities: Vec<HeldIdentity>,
    /// Every session they ever opened.
    pub sessions: Vec<HeldSession>,
    /// Every API token they ever issued; neither the token nor its hash.
    pub api_tokens: Vec<HeldToken>,
    /// What waits for them.
    pub pending: Vec<Pending>,
    /// Every event about them or by them, oldest first.
    pub events: Vec<HeldEvent>,
}

#[derive(Serialize)]
pub struct HeldIdentity {
    pub issuer: String,
    pub subject: String,
}

#[derive(Serialize)]
pub struct HeldSession {
    pub id: String,
    pub opened_at: UnixSeconds,
    pub expires_at: UnixSeconds,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub source_address: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user_agent: Option<String>,
}

#[derive(Serialize)]
pub struct HeldToken {
    pub id: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// The token's first 12 characters.
    pub prefix: String,
    pub role: Role,
    pub issued_at: UnixSeconds,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<UnixSeconds>,
}

/// What the next sign-in may bring about.
#[derive(Serialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Pending {
    /// The account waits to be claimed.
    Invitation { role: Role },
    /// Another identity may become the owner's.
    OwnerRecovery { by: RecoveryKind, expires_at: Option<UnixSeconds> },
}

#[derive(Serialize)]
pub struct HeldEvent {
    pub position: i64,
    pub stream: String,
    #[serde(rename = "type")]
    pub event_type: String,
    pub version: String,
    /// Microseconds since 1970.
    pub recorded_at: i64,
    /// Who did it.
    pub actor: Value,
    pub payload: Value,
    /// From where, when it was the person themselves.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub source_address: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user_agent: Option<String>,
}

/// Who has this address now.
///
/// # Errors
/// When the log cannot be read or folded.
pub async fn find_by_address(past: &Past, address: &EmailAddress) -> Result<Option<UserId>, ReplayError> {
    let mut state = State::of_users(UnixSeconds(0));
    let mut after = 0;
    loop {
        let page = past.records(after).await?;
        let Some(last) = page.last() else { break };
        after = last.position;
        let users = page.into_iter().filter(|record| record.aggregate_type == "user").collect();
        fold(&mut state, past, &past.open_all(users).await?)?;
    }
    let mut rows = state.models.users.upserts().into_iter();
    Ok(rows.find(|row| row.address == address.as_str()).map(|row| row.id))
}

fn fold(state: &mut State, past: &Past, events: &[OpenedEvent]) -> Result<(), ReplayError> {
    let events: Vec<Recorded<'_>> = events.iter().map(OpenedEvent::recorded).collect();
    state.fold(&events, past.hasher())
}

/// Everything about a person; `None` for an id that nobody has or had.
///
/// # Errors
/// When the log cannot be read or folded.
pub async fn held(past: &Past, user: UserId) -> Result<Option<Held>, ReplayError> {
    let account = past.stream(&StreamId::user(user), past.head().await?).await?;
    if account.is_empty() {
        return Ok(None);
    }
    let mut state = State::of_users(UnixSeconds(0));
    fold(&mut state, past, &account)?;
    let mut held = Held::of_account(state.models.users.get(&Key::Id(user.0)));
    let mut theirs = Theirs::of(user);
    loop {
        let page = past.records(held.position).await?;
        let Some(last) = page.last() else { return Ok(Some(held)) };
        held.position = last.position;
        let mut concerning = Vec::new();
        for record in page {
            if theirs.concerned_by(&record).map_err(HistoryError::from)? {
                concerning.push(record);
            }
        }
        for told in past.tell(user, concerning).await? {
            held.take(user, told);
        }
    }
}

/// Tells which events concern a person, in the order of the log.
struct Theirs {
    user: UserId,
    /// How events name them: in a payload, as an actor, and in every value that is sealed for them.
    name: String,
    /// The ids of their sessions and tokens, whose later events need not name them.
    streams: HashSet<String>,
}

impl Theirs {
    fn of(user: UserId) -> Self {
        let name = user.to_string();
        Self { user, streams: HashSet::from([name.clone()]), name }
    }

    fn concerned_by(&mut self, record: &EventRecord) -> Result<bool, UnreadableEvent> {
        if self.streams.contains(&record.aggregate_id) {
            return Ok(true);
        }
        if !record.payload.contains(&self.name) && !record.metadata.contains(&self.name) {
            return Ok(false);
        }
        let (Event::Session(SessionEvent::SessionOpened { user_id, .. })
        | Event::ApiToken(ApiTokenEvent::ApiTokenIssued { user_id, .. })) = record.clone().decode()?.event
        else {
            return Ok(true);
        };
        if user_id == self.user {
            self.streams.insert(record.aggregate_id.clone());
        }
        Ok(true)
    }
}

impl Held {
    fn of_account(row: Option<&UserRow>) -> Self {
        let identity = row.and_then(|row| row.issuer.clone().zip(row.subject.clone()));
        let mut pending = Vec::new();
        if let Some(row) = row {
            pending.extend((row.status == Status::Invited).then_some(Pending::Invitation { role: row.role }));
            let recovery =
                row.recovery_kind.map(|by| Pending::OwnerRecovery { by, expires_at: row.recovery_expires_at });
            pending.extend(recovery);
        }
        Self {
            position: 0,
            user: row.map(|row| User::from(row.clone())),
            identities: identity.map(|(issuer, subject)| HeldIdentity { issuer, subject }).into_iter().collect(),
            sessions: Vec::new(),
            api_tokens: Vec::new(),
            pending,
            events: Vec::new(),
        }
    }

    fn take(&mut self, user: UserId, told: Told) {
        let Told { record, event, payload, metadata } = told;
        let text = |value: &Value| value.as_str().map(str::to_owned);
        let (source_address, user_agent) = (text(&metadata["source_address"]), text(&metadata["user_agent"]));
        match event {
            Event::Session(SessionEvent::SessionOpened { user_id, opened_at, expires_at, .. }) if user_id == user => {
                self.sessions.push(HeldSession {
                    id: record.aggregate_id.clone(),
                    opened_at,
                    expires_at,
                    source_address: source_address.clone(),
                    user_agent: user_agent.clone(),
                });
            }
            Event::ApiToken(ApiTokenEvent::ApiTokenIssued { user_id, prefix, role, issued_at, expires_at, .. })
                if user_id == user =>
            {
                self.api_tokens.push(HeldToken {
                    id: record.aggregate_id.clone(),
                    name: text(&payload[record.event_type.as_str()]["name"]),
                    prefix,
                    role,
                    issued_at,
                    expires_at,
                });
            }
            _ => {}
        }
        self.events.push(HeldEvent {
            position: record.position,
            stream: format!("{}/{}", record.aggregate_type, record.aggregate_id),
            event_type: record.event_type,
            version: record.event_version,
            recorded_at: record.recorded_at,
            actor: metadata["actor"].clone(),
            payload,
            source_address,
            user_agent,
        });
    }
}
