//! When a session or an API token was last used. It decides nothing but idleness, so it is not in the log.

use aggregates::UnixSeconds;

use super::dialect::Dialect;
use super::{Arg, Log};

impl Log {
    /// When the session or token with this id was last used; `None` when nobody wrote it down.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn last_seen(&self, id: &str) -> sqlx::Result<Option<UnixSeconds>> {
        let sql = match self.read().database().dialect() {
            Dialect::Sqlite => "SELECT CAST(seen_at AS TEXT) FROM last_seen WHERE id = $1",
            Dialect::Postgres => "SELECT seen_at::text FROM last_seen WHERE id = $1",
        };
        let rows = self.read().database().texts(sql, &[Arg::from(id)]).await?;
        Ok(rows.first().and_then(|seen_at| seen_at.parse().ok()).map(UnixSeconds))
    }

    /// Forgets the last use of sessions and API tokens that are gone.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn forget_last_seen(&self, ids: &[String]) -> sqlx::Result<()> {
        if ids.is_empty() {
            return Ok(());
        }
        let argument = serde_json::json!(ids).to_string();
        let turn = self.beside.turn().await;
        turn.transaction(async |connection, dialect| {
            connection.run(&dialect.delete_last_seen(), &argument).await.map(drop)
        })
        .await
    }

    /// Writes a use down; an earlier time never takes the place of a later one.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn note_last_seen(&self, id: &str, seen_at: UnixSeconds) -> sqlx::Result<()> {
        let argument = serde_json::json!({ "id": id, "seen_at": seen_at }).to_string();
        let turn = self.beside.turn().await;
        turn.transaction(async |connection, dialect| {
            let sql = match dialect {
                Dialect::Sqlite => {
                    "INSERT INTO last_seen (id, seen_at) VALUES ($1->>'id', $1->>'seen_at') \
                     ON CONFLICT (id) DO UPDATE SET seen_at = max(seen_at, excluded.seen_at)"
                }
                Dialect::Postgres => {
                    "INSERT INTO last_seen (id, seen_at) VALUES ($1::json->>'id', ($1::json->>'seen_at')::bigint) \
                     ON CONFLICT (id) DO UPDATE SET seen_at = greatest(last_seen.seen_at, excluded.seen_at)"
                }
            };
            connection.run(sql, &argument).await.map(drop)
        })
        .await
    }
}
