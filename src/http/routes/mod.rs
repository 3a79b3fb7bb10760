//! The handlers: one file a part of the contract. Each reads a call in the contract's order, asks the service, words the answer.
//!
//! Architecture invariant: no rule lives here, and no SQL.

pub mod api_tokens;
pub mod audit;
pub mod audit_stream;
#[cfg(any(test, fuzzing))]
pub mod fuzzing;
pub mod page;
pub mod provider;
pub mod replay;
pub mod sessions;
pub mod setup;
pub mod sign_in;
pub mod system;
pub mod users;

use crate::http::{Direction, Json, Page};
use crate::service::{Order, Slice};
use axum::http::header::CACHE_CONTROL;
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use utoipa::ToSchema;

/// What a call answers that has nothing to say.
#[derive(Serialize, ToSchema)]
pub struct Ok {
    pub ok: bool,
}

impl Ok {
    pub fn yes() -> Json<Self> {
        Json(Self { ok: true })
    }
}

/// An answer that holds a secret: it is never stored on the way.
pub fn secret<T: Serialize>(answer: T) -> Response {
    ([(CACHE_CONTROL, "no-store")], Json(answer)).into_response()
}

/// The part of a list that a page shows.
fn slice(page: Page, direction: Direction) -> Slice {
    let order = match direction {
        Direction::Asc => Order::Ascending,
        Direction::Desc => Order::Descending,
    };
    Slice { limit: page.limit.into(), offset: page.offset.into(), order }
}
