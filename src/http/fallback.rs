//! Answers where no handler gave one: no such path, no such method, a panic.

use std::any::Any;

use axum::response::{IntoResponse, Response};

use crate::error::{ApiError, ErrorCode};

pub(super) async fn not_found() -> ApiError {
    ErrorCode::NotFound.into()
}

/// The router adds `Allow`.
pub(super) async fn method_not_allowed() -> ApiError {
    ErrorCode::MethodNotAllowed.into()
}

/// What the panic said is left to the panic hook: it may hold anything.
pub(super) fn panicked(_: Box<dyn Any + Send>) -> Response {
    ApiError::new(ErrorCode::InternalError).caused_by("the handler panicked").into_response()
}
