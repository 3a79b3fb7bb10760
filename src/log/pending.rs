//! Authorization requests under way: begun here, to be answered by the provider. One table for all nodes.

use aggregates::{SessionId, UnixSeconds};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::Log;
use super::dialect::Dialect;

/// An expired request is remembered so long, to answer that it has expired; then its state is unknown.
pub const REMEMBER_EXPIRED_SECONDS: i64 = 600;

/// What a request is for; it can be used for nothing else.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Purpose {
    Setup,
    SignIn,
}

/// A request at the provider.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PendingRequest {
    pub purpose: Purpose,
    /// Whoever began it: an address, for IPv6 a /64.
    pub source: String,
    pub redirect_uri: String,
    #[serde(default)]
    pub setup_session: Option<SessionId>,
    pub provider_version: u64,
    pub created_at: UnixSeconds,
    pub expires_at: UnixSeconds,
}

/// What became of a request that wanted to be remembered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Begun {
    Pending,
    /// The table is full and this source holds the most of it.
    TooMany,
}

#[derive(Serialize)]
struct InsertRow<'a> {
    state_hash: String,
    /// Requests that expired up to then are forgotten.
    forget_before: i64,
    #[serde(flatten)]
    request: &'a PendingRequest,
}

#[derive(Deserialize)]
struct Heaviest {
    source: String,
    pending: i64,
}

impl Log {
    /// Remembers a request under the hash of its state. A newer setup request voids the older ones. With `max_pending`
    /// requests pending, the source that holds the most is refused, and another's takes the place of that one's oldest.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn begin_request(&self, state: &str, request: &PendingRequest, max_pending: i64) -> sqlx::Result<Begun> {
        let decode = |error: serde_json::Error| sqlx::Error::Decode(error.into());
        let row = serde_json::to_string(&InsertRow {
            state_hash: hash(state),
            forget_before: request.created_at.0 - REMEMBER_EXPIRED_SECONDS,
            request,
        })
        .map_err(decode)?;
        let turn = self.beside.turn().await;
        turn.transaction(async |connection, dialect| {
            let sql = Statements(dialect);
            if dialect == Dialect::Postgres {
                connection.simple("SELECT pg_advisory_xact_lock(7310)").await?;
            }
            connection.run(sql.forget(), &row).await?;
            if request.purpose == Purpose::Setup {
                connection.simple("DELETE FROM pending_requests WHERE purpose = 'setup'").await?;
            }
            let counts = connection.texts(sql.sources(), Some(&row)).await?;
            let counts: Vec<Heaviest> =
                counts.iter().map(|row| serde_json::from_str(row)).collect::<Result<_, _>>().map_err(decode)?;
            if counts.iter().map(|source| source.pending).sum::<i64>() >= max_pending {
                let own = counts.iter().find(|source| source.source == request.source).map_or(0, |own| own.pending);
                match counts.first() {
                    Some(heaviest) if heaviest.pending > own => {
                        let argument =
                            serde_json::json!({ "source": heaviest.source, "now": request.created_at }).to_string();
                        connection.run(sql.displace(), &argument).await?;
                    }
                    _ => return Ok(Begun::TooMany),
                }
            }
            connection.run(sql.insert(), &row).await?;
            Ok(Begun::Pending)
        })
        .await
    }

    /// Takes the request of this state out of the table: whatever follows, the state is used up. `None` when there is none.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn take_request(&self, state: &str) -> sqlx::Result<Option<PendingRequest>> {
        let argument = serde_json::json!({ "state_hash": hash(state) }).to_string();
        let turn = self.beside.turn().await;
        let rows = turn
            .transaction(async |connection, dialect| {
                connection.texts(Statements(dialect).take(), Some(&argument)).await
            })
            .await?;
        let row = rows.first().map(|row| serde_json::from_str(row)).transpose();
        row.map_err(|error| sqlx::Error::Decode(error.into()))
    }

    /// Voids what setup has begun.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn void_setup_requests(&self) -> sqlx::Result<()> {
        let turn = self.beside.turn().await;
        turn.transaction(async |connection, _| {
            connection.simple("DELETE FROM pending_requests WHERE purpose = 'setup'").await
        })
        .await
    }
}

fn hash(state: &str) -> String {
    hex::encode(Sha256::digest(state.as_bytes()))
}

/// The statements, each with one JSON object as its argument.
struct Statements(Dialect);

impl Statements {
    /// Forgets requests that have been expired for long.
    fn forget(&self) -> &'static str {
        match self.0 {
            Dialect::Sqlite => "DELETE FROM pending_requests WHERE expires_at <= $1->>'forget_before'",
            Dialect::Postgres => {
                "DELETE FROM pending_requests WHERE expires_at <= ($1::json->>'forget_before')::bigint"
            }
        }
    }

    /// The sources with requests pending, the heaviest first.
    fn sources(&self) -> &'static str {
        match self.0 {
            Dialect::Sqlite => {
                "SELECT json_object('source', source, 'pending', count(*)) FROM pending_requests \
                 WHERE expires_at > $1->>'created_at' GROUP BY source ORDER BY count(*) DESC, min(created_at), source"
            }
            Dialect::Postgres => {
                "SELECT json_build_object('source', source, 'pending', count(*))::text FROM pending_requests \
                 WHERE expires_at > ($1::json->>'created_at')::bigint \
                 GROUP BY source ORDER BY count(*) DESC, min(created_at), source"
            }
        }
    }

    /// Takes the oldest pending request of a source away; one that has expired keeps no place.
    fn displace(&self) -> &'static str {
        match self.0 {
            Dialect::Sqlite => {
                "DELETE FROM pending_requests WHERE state_hash = (SELECT state_hash FROM pending_requests \
                 WHERE source = $1->>'source' AND expires_at > $1->>'now' ORDER BY created_at, state_hash LIMIT 1)"
            }
            Dialect::Postgres => {
                "DELETE FROM pending_requests WHERE state_hash = (SELECT state_hash FROM pending_requests \
                 WHERE source = $1::json->>'source' AND expires_at > ($1::json->>'now')::bigint \
                 ORDER BY created_at, state_hash LIMIT 1)"
            }
        }
    }

    fn insert(&self) -> &'static str {
        match self.0 {
            Dialect::Sqlite => {
                "INSERT INTO pending_requests (state_hash, purpose, source, redirect_uri, setup_session, provider_version, \
                 created_at, expires_at) VALUES ($1->>'state_hash', $1->>'purpose', $1->>'source', $1->>'redirect_uri', \
                 $1->>'setup_session', $1->>'provider_version', $1->>'created_at', $1->>'expires_at')"
            }
            Dialect::Postgres => {
                "INSERT INTO pending_requests (state_hash, purpose, source, redirect_uri, setup_session, provider_version, \
                 created_at, expires_at) SELECT state_hash, purpose, source, redirect_uri, setup_session, provider_version, \
                 created_at, expires_at FROM json_to_record($1::json) AS row(state_hash text, purpose text, source text, \
                 redirect_uri text, setup_session text, provider_version bigint, created_at bigint, expires_at bigint)"
            }
        }
    }

    fn take(&self) -> &'static str {
        match self.0 {
            Dialect::Sqlite => {
                "DELETE FROM pending_requests WHERE state_hash = $1->>'state_hash' RETURNING \
                 json_object('purpose', purpose, 'source', source, 'redirect_uri', redirect_uri, 'setup_session', \
                 setup_session, 'provider_version', provider_version, 'created_at', created_at, 'expires_at', expires_at)"
            }
            Dialect::Postgres => {
                "DELETE FROM pending_requests WHERE state_hash = $1::json->>'state_hash' RETURNING \
                 json_build_object('purpose', purpose, 'source', source, 'redirect_uri', redirect_uri, 'setup_session', \
                 setup_session, 'provider_version', provider_version, 'created_at', created_at, 'expires_at', \
                 expires_at)::text"
            }
        }
    }
}
