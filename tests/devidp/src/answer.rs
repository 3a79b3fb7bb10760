//! Answers, and what can be wrong with the transport of any of them.

use axum::body::{Body, Bytes};
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use http_body::Frame;
use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::time::Sleep;

/// One byte more than a careful client reads.
const OVERSIZED_BYTES: usize = 1024 * 1024 + 1;
const DRIP_STEPS: u32 = 40;

/// What is wrong with the way an answer is sent; its content is right.
pub(crate) enum Trouble {
    ServerError,
    NotJson,
    Oversized,
    /// Sent whole, after this long.
    Slow(Duration),
    /// Sent piece by piece over this long.
    Drip(Duration),
}

/// A JSON answer that no cache may keep.
pub(crate) fn json(status: StatusCode, document: String) -> Response {
    sent(status, "application/json", Body::from(document))
}

/// A redirect that keeps the method (307).
pub(crate) fn redirect(target: &str) -> Response {
    with_location(StatusCode::TEMPORARY_REDIRECT, target)
}

/// A redirect that the browser follows with GET (303).
pub(crate) fn see_other(target: &str) -> Response {
    with_location(StatusCode::SEE_OTHER, target)
}

/// The JSON document, sent with the trouble if there is one.
pub(crate) async fn troubled(trouble: Option<Trouble>, document: String) -> Response {
    match trouble {
        None => json(StatusCode::OK, document),
        Some(Trouble::ServerError) => json(StatusCode::INTERNAL_SERVER_ERROR, r#"{"error":"server_error"}"#.to_owned()),
        Some(Trouble::NotJson) => {
            sent(StatusCode::OK, "application/json", Body::from("<!doctype html><title>Under maintenance</title>"))
        }
        Some(Trouble::Oversized) => {
            sent(StatusCode::OK, "application/json", Body::new(Pieces::at_once(oversized(&document))))
        }
        Some(Trouble::Slow(stall)) => {
            tokio::time::sleep(stall).await;
            json(StatusCode::OK, document)
        }
        Some(Trouble::Drip(stall)) => {
            sent(StatusCode::OK, "application/json", Body::new(Pieces::over(document, stall)))
        }
    }
}

/// The object with `name: value` put before everything else, whatever else it says about `name`.
pub(crate) fn with_duplicate(object: &str, name: &str, value: &str) -> String {
    let first = serde_json::json!({ name: value }).to_string();
    format!("{},{}", first.strip_suffix('}').unwrap_or(&first), object.strip_prefix('{').unwrap_or(object))
}

fn oversized(object: &str) -> String {
    format!("{},\"padding\":\"{}\"}}", object.strip_suffix('}').unwrap_or(object), "x".repeat(OVERSIZED_BYTES))
}

fn sent(status: StatusCode, content_type: &'static str, body: Body) -> Response {
    (status, [(header::CONTENT_TYPE, content_type), (header::CACHE_CONTROL, "no-store")], body).into_response()
}

fn with_location(status: StatusCode, target: &str) -> Response {
    match HeaderValue::from_str(target) {
        Ok(location) => (status, [(header::LOCATION, location)]).into_response(),
        Err(_) => (StatusCode::INTERNAL_SERVER_ERROR, "the target is not a URL").into_response(),
    }
}

/// A body without a length, in pieces.
struct Pieces {
    rest: Bytes,
    step: usize,
    pause: Duration,
    sleep: Option<Pin<Box<Sleep>>>,
}

impl Pieces {
    fn at_once(text: String) -> Self {
        Self { rest: Bytes::from(text), step: 64 * 1024, pause: Duration::ZERO, sleep: None }
    }

    fn over(text: String, stall: Duration) -> Self {
        let rest = Bytes::from(text);
        let step = rest.len().div_ceil(DRIP_STEPS as usize).max(1);
        Self { rest, step, pause: stall / DRIP_STEPS, sleep: None }
    }
}

impl http_body::Body for Pieces {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        if self.rest.is_empty() {
            return Poll::Ready(None);
        }
        if !self.pause.is_zero() {
            let pause = self.pause;
            let sleep = self.sleep.get_or_insert_with(|| Box::pin(tokio::time::sleep(pause)));
            if sleep.as_mut().poll(context).is_pending() {
                return Poll::Pending;
            }
            self.sleep = None;
        }
        let step = self.step.min(self.rest.len());
        Poll::Ready(Some(Ok(Frame::data(self.rest.split_to(step)))))
    }
}
