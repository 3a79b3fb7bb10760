//! Read model `sessions`: every session whose token still gets an answer of its own.
//!
//! A session that was ended is deleted: its token is as good as unknown. One that has expired stays, marked and
//! without where it was opened from, because its token is answered with `session_expired`. Whether a session is alive also depends on the epochs of its user and of the
//! provider, which whoever checks compares.

use std::fmt;

use aggregates::{Event, SessionEnd, SessionEvent, SessionId, SessionKind, TokenHash, UnixSeconds, UserId};
use serde::{Deserialize, Serialize};

use crate::{Column, FoldError, Index, Key, Recorded, Row, Rows, Table, table::bit, text};

#[derive(Clone, PartialEq, Serialize, Deserialize)]
pub struct SessionRow {
    pub id: SessionId,
    pub kind: SessionKind,
    pub token_hash: TokenHash,
    /// Absent for a setup session.
    pub user_id: Option<UserId>,
    pub created_at: UnixSeconds,
    pub expires_at: UnixSeconds,
    /// 0 for a setup session, as `provider_epoch`.
    pub user_epoch: u64,
    pub provider_epoch: u64,
    #[serde(with = "bit")]
    pub expired: bool,
    /// From where the session was opened, if that was sealed for its user and until it expires.
    pub source_address: Option<String>,
    pub user_agent: Option<String>,
}

impl Row for SessionRow {
    const TABLE: &'static Table = &Table {
        name: "sessions",
        version: 1,
        columns: &[
            Column::text("id"),
            Column::text("kind"),
            Column::text("token_hash"),
            Column::text("user_id").nullable(),
            Column::integer("created_at"),
            Column::integer("expires_at"),
            Column::integer("user_epoch"),
            Column::integer("provider_epoch"),
            Column::integer("expired"),
            Column::text("source_address").personal().nullable(),
            Column::text("user_agent").personal().nullable(),
        ],
        key: "id",
        owner: Some("user_id"),
        indexes: &[
            Index::unique(&["token_hash"]),
            Index::on(&["user_id", "created_at"]),
            Index::on(&["expires_at"]).only("expired = 0"),
        ],
    };

    fn key(&self) -> Key {
        Key::Id(self.id.0)
    }

    fn owner(&self) -> Option<UserId> {
        self.user_id
    }
}

/// Personal data does not get into logs by way of `{:?}`.
impl fmt::Debug for SessionRow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SessionRow").field("id", &self.id).field("kind", &self.kind).finish_non_exhaustive()
    }
}

/// Whether a fold looks at where the call behind an event came from: to open it for all others would be work for nothing.
pub fn shows_caller(event: &Event) -> bool {
    matches!(event, Event::Session(SessionEvent::SessionOpened { .. }))
}

pub(crate) fn need(rows: &mut Rows<SessionRow>, session: SessionId, event: &SessionEvent) {
    match event {
        SessionEvent::SetupSessionOpened { .. } | SessionEvent::SessionOpened { .. } => {
            rows.need_new(Key::Id(session.0));
        }
        _ => rows.need(Key::Id(session.0)),
    }
}

pub(crate) fn fold(
    rows: &mut Rows<SessionRow>,
    recorded: &Recorded<'_>,
    session: SessionId,
    event: &SessionEvent,
) -> Result<(), FoldError> {
    let key = Key::Id(session.0);
    match event {
        SessionEvent::SetupSessionOpened { token_hash, opened_at, expires_at } => {
            rows.put(SessionRow {
                id: session,
                kind: SessionKind::Setup,
                token_hash: *token_hash,
                user_id: None,
                created_at: *opened_at,
                expires_at: *expires_at,
                user_epoch: 0,
                provider_epoch: 0,
                expired: false,
                source_address: None,
                user_agent: None,
            });
            Ok(())
        }
        SessionEvent::SessionOpened { user_id, token_hash, opened_at, expires_at, user_epoch, provider_epoch } => {
            let broken = |reason| Rows::<SessionRow>::broken(recorded, reason);
            rows.put(SessionRow {
                id: session,
                kind: SessionKind::User,
                token_hash: *token_hash,
                user_id: Some(*user_id),
                created_at: *opened_at,
                expires_at: *expires_at,
                user_epoch: *user_epoch,
                provider_epoch: *provider_epoch,
                expired: false,
                source_address: text::column_of_person(recorded.metadata.source_address.as_ref()).map_err(broken)?,
                user_agent: text::column_of_person(recorded.metadata.user_agent.as_ref()).map_err(broken)?,
            });
            Ok(())
        }
        SessionEvent::SetupSessionExtended { expires_at, .. } => {
            rows.change(recorded, &key, |row| row.expires_at = *expires_at)
        }
        SessionEvent::SessionKept { user_epoch, provider_epoch } => rows.change(recorded, &key, |row| {
            row.user_epoch = *user_epoch;
            row.provider_epoch = *provider_epoch;
        }),
        SessionEvent::SetupSessionEnded { reason: SessionEnd::Expired } | SessionEvent::SessionExpired {} => rows
            .change(recorded, &key, |row| {
                row.expired = true;
                row.source_address = None;
                row.user_agent = None;
            }),
        SessionEvent::SetupSessionEnded {
            reason: SessionEnd::Replaced | SessionEnd::SetupOver | SessionEnd::SignedOut | SessionEnd::Revoked,
        }
        | SessionEvent::SessionSignedOut {}
        | SessionEvent::SessionRevoked {} => rows.delete(recorded, key),
    }
}
