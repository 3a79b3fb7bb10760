//! Read model `api_tokens`: every API token that was not revoked. Whether one is alive also depends on its expiry and on the
//! token epoch of its user, which whoever checks compares.

use std::fmt;

use aggregates::{ApiTokenEvent, ApiTokenId, Role, TokenHash, UnixSeconds, UserId};
use serde::{Deserialize, Serialize};

use crate::{Column, FoldError, Index, Key, Recorded, Row, Rows, Table, text};

#[derive(Clone, PartialEq, Serialize, Deserialize)]
pub struct ApiTokenRow {
    pub id: ApiTokenId,
    pub user_id: UserId,
    /// Empty when it has been erased.
    pub name: String,
    pub prefix: String,
    pub token_hash: TokenHash,
    pub role: Role,
    pub created_at: UnixSeconds,
    pub expires_at: Option<UnixSeconds>,
    pub token_epoch: u64,
}

impl Row for ApiTokenRow {
    const TABLE: &'static Table = &Table {
        name: "api_tokens",
        version: 1,
        columns: &[
            Column::text("id"),
            Column::text("user_id"),
            Column::text("name").personal(),
            Column::text("prefix"),
            Column::text("token_hash"),
            Column::text("role"),
            Column::integer("created_at"),
            Column::integer("expires_at").nullable(),
            Column::integer("token_epoch"),
        ],
        key: "id",
        owner: Some("user_id"),
        indexes: &[Index::unique(&["token_hash"]), Index::on(&["user_id", "created_at"])],
    };

    fn key(&self) -> Key {
        Key::Id(self.id.0)
    }

    fn owner(&self) -> Option<UserId> {
        Some(self.user_id)
    }
}

/// Personal data does not get into logs by way of `{:?}`.
impl fmt::Debug for ApiTokenRow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ApiTokenRow").field("id", &self.id).field("user_id", &self.user_id).finish_non_exhaustive()
    }
}

pub(crate) fn need(rows: &mut Rows<ApiTokenRow>, token: ApiTokenId, event: &ApiTokenEvent) {
    match event {
        ApiTokenEvent::ApiTokenIssued { .. } => rows.need_new(Key::Id(token.0)),
        ApiTokenEvent::ApiTokenRevoked { .. } => rows.need(Key::Id(token.0)),
    }
}

pub(crate) fn fold(
    rows: &mut Rows<ApiTokenRow>,
    recorded: &Recorded<'_>,
    token: ApiTokenId,
    event: &ApiTokenEvent,
) -> Result<(), FoldError> {
    match event {
        ApiTokenEvent::ApiTokenIssued {
            user_id,
            name,
            prefix,
            token_hash,
            role,
            issued_at,
            expires_at,
            token_epoch,
        } => {
            let name = text::column(Some(name)).map_err(|reason| Rows::<ApiTokenRow>::broken(recorded, reason))?;
            rows.put(ApiTokenRow {
                id: token,
                user_id: *user_id,
                name: name.unwrap_or_default(),
                prefix: prefix.clone(),
                token_hash: *token_hash,
                role: *role,
                created_at: *issued_at,
                expires_at: *expires_at,
                token_epoch: *token_epoch,
            });
            Ok(())
        }
        ApiTokenEvent::ApiTokenRevoked { .. } => rows.delete(recorded, Key::Id(token.0)),
    }
}
