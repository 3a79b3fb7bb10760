//! The one way through: what happens to every request, in order.

use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::time::Duration;

use axum::Router;
use axum::extract::{Request, State};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use futures_util::FutureExt as _;

use super::observe::Observed;
use super::server::ProbesOnly;
use super::{HttpState, PROBES, RequestId, SourceAddress, cors, fallback, response_headers};
use crate::error::{ApiError, ErrorCode};
use crate::service::overloaded;
use crate::settings::limits::CALL_TIMEOUT;

/// Puts everything around a router whose routes are complete.
///
/// From the outside in, and why there:
///
/// 1. the request's id, so that everything below can be found by it;
/// 2. the source address, before anything counts or records by it;
/// 3. the observation (whose lines they are, the access log line, metrics), around all that can refuse;
/// 4. the headers of every answer: CORS and the protecting ones, so that refusals carry them too and a
///    dashboard can read why;
/// 5. the host check: nothing of ours answers to a name that is not ours, preflights included;
/// 6. room: when every connection is at work, those beyond answer probes only;
/// 7. preflights, which go no further;
/// 8. the time a call may take;
/// 9. panics, inside everything that makes an answer whole;
/// 10. the routes, and the answers to paths and methods that there are none for.
pub fn layers(router: Router, state: &HttpState) -> Router {
    router
        .fallback(fallback::not_found)
        .method_not_allowed_fallback(fallback::method_not_allowed)
        .layer(from_fn_with_state(state.clone(), answer))
}

/// One function and not a layer a step: the order is there to be read, and each layer would box the
/// rest of the way anew.
async fn answer(State(http): State<HttpState>, mut request: Request, next: Next) -> Response {
    let request_id = RequestId::generate();
    let source = SourceAddress::of(request.extensions(), request.headers(), &http.0.trusted_proxies);
    request.extensions_mut().insert(request_id);
    request.extensions_mut().insert(source);
    let observed = Observed::begin(&http, request_id, &request);
    let labels = observed.labels();
    let answered = async move {
        let origin = http.0.cors.allowed(request.headers());
        let mut response = admit(&http, request, next).await;
        cors::name_origin(&mut response, origin);
        response_headers::complete(&mut response);
        request_id.write(&mut response);
        observed.end(response.status());
        response
    };
    labels.around(answered).await
}

async fn admit(http: &HttpState, request: Request, next: Next) -> Response {
    if let Err(error) = http.0.hosts.check(&request) {
        return error.into_response();
    }
    if request.extensions().get::<ProbesOnly>().is_some() && !PROBES.contains(&request.uri().path()) {
        return overloaded().into_response();
    }
    if let Some(response) = cors::preflight(&request) {
        return response;
    }
    let answer = AssertUnwindSafe(next.run(request)).catch_unwind();
    within(CALL_TIMEOUT, answer.map(|answer| answer.unwrap_or_else(fallback::panicked))).await
}

/// The answer, or after the limit that there is none.
async fn within(limit: Duration, answer: impl Future<Output = Response>) -> Response {
    match tokio::time::timeout(limit, answer).await {
        Ok(response) => response,
        Err(elapsed) => ApiError::new(ErrorCode::Unavailable).caused_by(elapsed).into_response(),
    }
}

#[cfg(test)]
mod tests;
