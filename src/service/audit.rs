//! The audit trail: what happened, by whom, when.

use std::collections::{HashMap, hash_map};

use aggregates::UserId;
use projections::{AuditRow, UserRow};

use super::users::like_pattern;
use super::{Order, Service, Slice, store_error};
use crate::error::{ApiError, ErrorCode};
use crate::keys::Key;
use crate::log::Arg;

/// By what the trail is ordered.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum AuditSort {
    #[default]
    CreatedAt,
    ActorEmail,
    Action,
    ResourceType,
}

/// Which entries to list.
#[derive(Clone, Debug)]
pub struct AuditQuery {
    pub actor_id: Option<UserId>,
    /// Exact.
    pub action: Option<String>,
    pub resource_type: Option<String>,
    /// Inclusive, Unix seconds.
    pub from_ts: Option<i64>,
    /// Exclusive, Unix seconds.
    pub to_ts: Option<i64>,
    /// A part of the action, the actor's address or the details, in any case.
    pub q: Option<String>,
    pub sort: AuditSort,
    pub slice: Slice,
    /// Only entries beyond this position in the direction of the list; goes with the default order only.
    pub after: Option<i64>,
}

/// An entry with its actor's present address.
#[derive(Clone, Debug)]
pub struct AuditEntry {
    pub row: AuditRow,
    pub actor_email: Option<String>,
}

impl Service {
    /// A page of the trail and how many entries fit in all.
    ///
    /// # Errors
    /// `store_error`.
    pub async fn list_audit(&self, query: &AuditQuery) -> Result<(Vec<AuditEntry>, i64), ApiError> {
        let (condition, mut args) = self.condition(query).await?;
        let total = self.log.read().count::<AuditRow>(&condition, &args).await.map_err(store_error)?;
        let direction = query.slice.order.sql();
        let users = self.log.read().table::<UserRow>();
        let order = match query.sort {
            AuditSort::CreatedAt => format!("t.id {direction}"),
            AuditSort::ActorEmail => format!(
                "coalesce((SELECT address FROM {users} WHERE id = t.actor_id), '') {direction}, t.id {direction}"
            ),
            AuditSort::Action => format!("t.action {direction}, t.id {direction}"),
            AuditSort::ResourceType => format!("t.resource_type {direction}, t.id {direction}"),
        };
        let mut condition = condition;
        if let Some(after) = query.after {
            args.push(Arg::Integer(after));
            condition.push_str(&format!(" AND t.id {} ${}", query.slice.order.beyond(), args.len()));
        }
        args.push(Arg::Integer(query.slice.limit));
        args.push(Arg::Integer(query.slice.offset));
        let clause = format!("{condition} ORDER BY {order} LIMIT ${} OFFSET ${}", args.len() - 1, args.len());
        let rows = self.log.read().rows::<AuditRow>(&clause, &args).await.map_err(store_error)?;
        Ok((self.with_actors(rows).await?, total))
    }

    /// Entries with their actors' present addresses.
    ///
    /// # Errors
    /// `store_error`.
    pub(super) async fn with_actors(&self, rows: Vec<AuditRow>) -> Result<Vec<AuditEntry>, ApiError> {
        let mut addresses = HashMap::new();
        for actor in rows.iter().filter_map(|row| row.actor_id) {
            if let hash_map::Entry::Vacant(unknown) = addresses.entry(actor) {
                let user = self.user(actor).await.map_err(store_error)?;
                unknown.insert(user.map(|user| user.address.clone()));
            }
        }
        let with_actor = |row: AuditRow| {
            let actor_email = row.actor_id.and_then(|actor| addresses.get(&actor).cloned().flatten());
            AuditEntry { row, actor_email }
        };
        Ok(rows.into_iter().map(with_actor).collect())
    }

    async fn condition(&self, query: &AuditQuery) -> Result<(String, Vec<Arg>), ApiError> {
        let mut condition = String::from("WHERE 1 = 1");
        let mut args: Vec<Arg> = Vec::new();
        let mut and = |sql: &str, arg: Arg| {
            args.push(arg);
            condition.push_str(" AND ");
            condition.push_str(&sql.replace('?', &format!("${}", args.len())));
        };
        if let Some(actor) = query.actor_id {
            and("t.actor_id = ?", Arg::Text(actor.to_string()));
        }
        if let Some(action) = &query.action {
            and("t.action = ?", Arg::Text(action.clone()));
        }
        if let Some(resource_type) = &query.resource_type {
            and("t.resource_type = ?", Arg::Text(resource_type.clone()));
        }
        if let Some(from) = query.from_ts {
            and("t.id > ?", Arg::Integer(self.position_before(from).await?));
        }
        if let Some(to) = query.to_ts {
            and("t.id <= ?", Arg::Integer(self.position_before(to).await?));
        }
        if let Some(q) = &query.q {
            let users = self.log.read().table::<UserRow>();
            let sql = format!(
                "(t.action LIKE ? ESCAPE '\\' OR lower(coalesce(t.details, '')) LIKE ? ESCAPE '\\' \
                 OR t.actor_id IN (SELECT id FROM {users} WHERE lower(address) LIKE ? ESCAPE '\\'))"
            );
            and(&sql, Arg::Text(like_pattern(&q.to_lowercase())));
        }
        Ok((condition, args))
    }

    /// Position of the last event before a time: positions are in the order of time.
    async fn position_before(&self, time: i64) -> Result<i64, ApiError> {
        let micros = time.saturating_mul(1_000_000).saturating_sub(1);
        self.log.read().position_at(micros).await.map_err(store_error)
    }
}

impl Service {
    /// An opaque, authenticated text that says from where a list goes on.
    ///
    /// # Errors
    /// `internal_error` when the operating system gives no random bytes.
    pub fn seal_cursor(&self, position: i64, order: Order) -> Result<String, ApiError> {
        sealed_cursor(&self.log.instance_keys().cursors, position, order)
            .map_err(|error| ApiError::new(ErrorCode::InternalError).with_message("No random bytes.").caused_by(error))
    }

    /// # Errors
    /// `invalid_input` for anything but a cursor of the same direction.
    pub fn open_cursor(&self, cursor: &str, order: Order) -> Result<i64, ApiError> {
        let opened = opened_cursor(&self.log.instance_keys().cursors, cursor, order);
        let invalid = || ApiError::new(ErrorCode::InvalidInput).with_message("The cursor is not one of this list.");
        opened.ok_or_else(invalid)
    }
}

/// A position, authenticated for lists of this order.
pub(crate) fn sealed_cursor(key: &Key, position: i64, order: Order) -> Result<String, getrandom::Error> {
    key.seal(order.sql().as_bytes(), &position.to_be_bytes())
}

/// The position that was sealed, `None` for anything else.
pub(crate) fn opened_cursor(key: &Key, cursor: &str, order: Order) -> Option<i64> {
    let opened = key.open(order.sql().as_bytes(), cursor).ok()?;
    <[u8; 8]>::try_from(opened).ok().map(i64::from_be_bytes)
}
