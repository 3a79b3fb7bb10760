//! `/v1/audit-logs`.

use aggregates::{Role, UserId};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use uuid::Uuid;

use super::slice;
use super::users::search_text;
use crate::error::ApiError;
use crate::http::call::Call;
use crate::http::{Direction, Page, Sorting};
use crate::http::{Json, Query};
use crate::service::audit::{AuditEntry, AuditQuery, AuditSort};

/// A filter has at most so many bytes.
const MAX_FILTER_BYTES: usize = 100;

#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub struct ListQuery {
    /// Who did it.
    actor_id: Option<String>,
    /// What was done, exactly: an event's name in snake case.
    action: Option<String>,
    resource_type: Option<String>,
    /// Unix seconds, inclusive.
    from_ts: Option<i64>,
    /// Unix seconds, exclusive.
    to_ts: Option<i64>,
    /// A part of the action, the actor's address or the details.
    q: Option<String>,
    /// From `next_cursor`; goes with the default sort and without `offset`.
    cursor: Option<String>,
}

/// By what entries are listed.
#[derive(Clone, Copy, Default, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Sort {
    #[default]
    CreatedAt,
    ActorEmail,
    Action,
    ResourceType,
}

/// Whether `offset` was given at all.
#[derive(Deserialize)]
pub struct GivenOffset {
    offset: Option<String>,
}

#[derive(Serialize, ToSchema)]
pub struct Entry {
    /// The event's position in the log.
    id: i64,
    #[serde(skip_serializing_if = "Option::is_none")]
    actor_id: Option<Uuid>,
    #[serde(skip_serializing_if = "Option::is_none")]
    actor_email: Option<String>,
    action: String,
    resource_type: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    resource_id: Option<String>,
    /// JSON text.
    #[serde(skip_serializing_if = "Option::is_none")]
    details: Option<String>,
    /// Unix seconds.
    created_at: i64,
}

impl From<AuditEntry> for Entry {
    fn from(entry: AuditEntry) -> Self {
        Self {
            id: entry.row.id,
            actor_id: entry.row.actor_id.map(|actor| actor.0),
            actor_email: entry.actor_email,
            action: entry.row.action.into_owned(),
            resource_type: entry.row.resource_type.into_owned(),
            resource_id: entry.row.resource_id,
            details: entry.row.details,
            created_at: entry.row.created_at.0,
        }
    }
}

#[derive(Serialize, ToSchema)]
pub struct EntriesAnswer {
    entries: Vec<Entry>,
    /// How many fit in all, on every page.
    total: i64,
    /// There when more entries follow, in the default sort.
    #[serde(skip_serializing_if = "Option::is_none")]
    next_cursor: Option<String>,
}

/// List the audit trail
#[utoipa::path(
    get, path = "/v1/audit-logs", tag = "audit", params(ListQuery, ("sort" = Option<Sort>, Query), ("direction" = Option<Direction>, Query), Page), security(("bearer" = [])),
    responses((status = 200, body = EntriesAnswer))
)]
pub async fn list(
    call: Call,
    query: Result<Query<ListQuery>, ApiError>,
    sorting: Result<Query<Sorting<Sort>>, ApiError>,
    page: Result<Query<Page>, ApiError>,
    offset: Result<Query<GivenOffset>, ApiError>,
) -> Result<Json<EntriesAnswer>, ApiError> {
    call.caller().await?.require_role(Role::Admin)?;
    let query = parse(&call, query?.0, sorting?.0, page?.0, offset?.0.offset.is_some())?;
    let (entries, total) = call.service.list_audit(&query).await?;
    let more = i64::try_from(entries.len()).unwrap_or(i64::MAX) == query.slice.limit;
    let last = entries.last().map(|entry| entry.row.id);
    let next_cursor = match last {
        Some(last) if more && query.sort == AuditSort::CreatedAt => {
            Some(call.service.seal_cursor(last, query.slice.order)?)
        }
        _ => None,
    };
    Ok(Json(EntriesAnswer { entries: entries.into_iter().map(Entry::from).collect(), total, next_cursor }))
}

fn parse(
    call: &Call,
    query: ListQuery,
    sorting: Sorting<Sort>,
    page: Page,
    has_offset: bool,
) -> Result<AuditQuery, ApiError> {
    let sort = match sorting.sort {
        Sort::CreatedAt => AuditSort::CreatedAt,
        Sort::ActorEmail => AuditSort::ActorEmail,
        Sort::Action => AuditSort::Action,
        Sort::ResourceType => AuditSort::ResourceType,
    };
    let slice = slice(page, sorting.direction);
    let after = match &query.cursor {
        None => None,
        Some(_) if has_offset => return Err(ApiError::invalid_input("`cursor` and `offset` do not go together.")),
        Some(_) if sort != AuditSort::CreatedAt => {
            return Err(ApiError::invalid_input("`cursor` goes with the sort `created_at` only."));
        }
        Some(cursor) => Some(call.service.open_cursor(cursor, slice.order)?),
    };
    let actor_id = query.actor_id.map(|id| id.parse::<UserId>()).transpose();
    Ok(AuditQuery {
        actor_id: actor_id.map_err(|_| ApiError::invalid_input("`actor_id` must be a UUID."))?,
        action: filter(query.action)?,
        resource_type: filter(query.resource_type)?,
        from_ts: query.from_ts,
        to_ts: query.to_ts,
        q: search_text(query.q)?,
        sort,
        slice,
        after,
    })
}

fn filter(text: Option<String>) -> Result<Option<String>, ApiError> {
    match text {
        Some(text) if text.len() > MAX_FILTER_BYTES || text.contains('\0') => {
            Err(ApiError::invalid_input("`action` and `resource_type` have at most 100 bytes, none of them zero."))
        }
        text => Ok(text),
    }
}
