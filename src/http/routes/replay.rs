//! `/v1/replay...` and `/v1/users/{id}/why`.

use aggregates::{Role, StreamId, UserId};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use crate::error::ApiError;
use crate::http::call::Call;
use crate::http::{Json, PathId, Query};
use crate::replay::{Moment, OneStream, Shown, Why};
use crate::service::looking_back::Compared;

/// Bytes of a stream's id at most.
const MAX_ID_BYTES: usize = 64;

#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub struct MomentQuery {
    /// As of the end of this second: RFC 3339, or Unix seconds. Without it and `position`: now.
    at: Option<String>,
    /// As of the event at this position. Not together with `at`.
    #[param(minimum = 1)]
    position: Option<i64>,
}

impl MomentQuery {
    pub(super) fn moment(&self) -> Result<Option<Moment>, ApiError> {
        match (&self.at, self.position) {
            (Some(_), Some(_)) => Err(ApiError::invalid_input("`at` and `position` do not go together.")),
            (Some(at), None) => {
                let time = at.parse().map_err(|reason| ApiError::invalid_input(format!("`at`: {reason}.")))?;
                Ok(Some(Moment::Time(time)))
            }
            (None, Some(position)) if position < 1 => Err(ApiError::invalid_input("`position` is 1 or more.")),
            (None, position) => Ok(position.map(Moment::Position)),
        }
    }
}

#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub struct StreamQuery {
    /// Only what this stream has made: `TYPE/ID`.
    stream: Option<String>,
}

impl StreamQuery {
    pub(super) fn stream(&self) -> Result<Option<StreamId>, ApiError> {
        let parse = |text: &String| {
            let unknown = "`stream` is TYPE/ID, with TYPE one of setup, session, user, api_token, identity_provider.";
            let stream = text.parse::<StreamId>().ok();
            // A zero byte is no text to PostgreSQL, and no id is long or has control characters.
            let may_be = |stream: &StreamId| {
                stream.aggregate_id.len() <= MAX_ID_BYTES && !stream.aggregate_id.chars().any(char::is_control)
            };
            stream.filter(may_be).ok_or_else(|| ApiError::invalid_input(unknown))
        };
        self.stream.as_ref().map(parse).transpose()
    }
}

#[derive(Serialize, ToSchema)]
#[serde(untagged)]
pub enum ReplayAnswer {
    Everything(Box<Shown>),
    OneStream(OneStream),
}

/// How things stood at a moment, folded from the log alone
#[utoipa::path(
    get, path = "/v1/replay", tag = "replay", params(MomentQuery, StreamQuery), security(("bearer" = [])),
    responses((status = 200, body = ReplayAnswer))
)]
pub async fn replay(
    call: Call,
    moment: Result<Query<MomentQuery>, ApiError>,
    stream: Result<Query<StreamQuery>, ApiError>,
) -> Result<Json<ReplayAnswer>, ApiError> {
    call.caller().await?.require_role(Role::Admin)?;
    let (moment, stream) = (moment?.0.moment()?, stream?.0.stream()?);
    Ok(Json(match stream {
        Some(stream) => ReplayAnswer::OneStream(call.service.replay_stream(&stream, moment).await?),
        None => ReplayAnswer::Everything(Box::new(call.service.replay(moment).await?)),
    }))
}

#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub struct DiffQuery {
    /// A position, or an RFC 3339 time.
    from: String,
    /// A position, or an RFC 3339 time.
    to: String,
}

/// What differs between two moments
#[utoipa::path(
    get, path = "/v1/replay/diff", tag = "replay", params(DiffQuery), security(("bearer" = [])),
    responses((status = 200, body = Compared))
)]
pub async fn diff(call: Call, query: Result<Query<DiffQuery>, ApiError>) -> Result<Json<Compared>, ApiError> {
    call.caller().await?.require_role(Role::Admin)?;
    let Query(query) = query?;
    let moment = |name: &str, text: &str| {
        text.parse::<Moment>().map_err(|reason| ApiError::invalid_input(format!("`{name}`: {reason}.")))
    };
    let (from, to) = (moment("from", &query.from)?, moment("to", &query.to)?);
    Ok(Json(call.service.compare_moments(from, to).await?))
}

/// Which events decide how a user is, or was at a moment
#[utoipa::path(
    get, path = "/v1/users/{id}/why", tag = "replay", params(("id" = String, Path), MomentQuery), security(("bearer" = [])),
    responses((status = 200, body = Why))
)]
pub async fn why(
    call: Call,
    id: Result<PathId, ApiError>,
    moment: Result<Query<MomentQuery>, ApiError>,
) -> Result<Json<Why>, ApiError> {
    call.caller().await?.require_role(Role::Admin)?;
    let user = UserId(id?.0);
    let moment = moment?.0.moment()?;
    Ok(Json(call.service.why(user, moment).await?))
}
