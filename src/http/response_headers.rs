//! What every answer carries, unless its handler has said something of its own.

use axum::http::{HeaderName, HeaderValue, header};
use axum::response::Response;

/// Answers are about one caller at one moment, and some hold a secret: none is kept by anybody. JSON
/// is never to be shown as a page, run as a script or framed, and no address of ours is passed on.
const DEFAULTS: [(HeaderName, &str); 4] = [
    (header::CACHE_CONTROL, "no-store"),
    (header::CONTENT_SECURITY_POLICY, "default-src 'none'; frame-ancestors 'none'"),
    (header::REFERRER_POLICY, "no-referrer"),
    (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
];

pub(super) fn complete(response: &mut Response) {
    for (name, value) in DEFAULTS {
        response.headers_mut().entry(name).or_insert(HeaderValue::from_static(value));
    }
}
