//! Which pages of other origins may call and read the answers (Fetch standard, section 3.2): the
//! origins of the settings, by name and with credentials. There is no `*`, and `null` is nobody.

use axum::extract::Request;
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use axum::response::{IntoResponse, Response};

use crate::settings::{Origin, Settings};

/// The methods that the API has routes for.
const METHODS: &str = "GET, HEAD, POST, PUT, PATCH, DELETE";
/// The request headers that the API reads.
const HEADERS: &str = "authorization, content-type, last-event-id";
/// The answer's headers that a page may read besides the simple ones.
const EXPOSED: &str = "x-request-id, retry-after, www-authenticate";
/// How long a browser may remember a preflight, in seconds.
const MAX_AGE_SECONDS: &str = "600";

pub(super) struct Cors {
    allowed: Vec<Origin>,
}

impl Cors {
    pub(super) fn new(settings: &Settings) -> Self {
        Self { allowed: settings.allowed_origins.iter().chain(&settings.public_url).cloned().collect() }
    }

    /// The origin to name in the answer, when the request comes from one that is allowed.
    pub(super) fn allowed(&self, headers: &HeaderMap) -> Option<HeaderValue> {
        let origin = Origin::from_header(single(headers, &header::ORIGIN)?)?;
        let allowed = self.allowed.contains(&origin);
        allowed.then(|| HeaderValue::from_str(&origin.to_string()).ok()).flatten()
    }
}

fn single<'a>(headers: &'a HeaderMap, name: &header::HeaderName) -> Option<&'a str> {
    let mut values = headers.get_all(name).iter();
    match (values.next(), values.next()) {
        (Some(value), None) => value.to_str().ok(),
        _ => None,
    }
}

/// The answer to a preflight; it never reaches a handler. What it allows is said by `name_origin`,
/// and by the headers here, which mean nothing without it.
pub(super) fn preflight(request: &Request) -> Option<Response> {
    let headers = request.headers();
    let asks = request.method() == Method::OPTIONS
        && headers.contains_key(header::ORIGIN)
        && headers.contains_key(header::ACCESS_CONTROL_REQUEST_METHOD);
    asks.then(|| {
        let allow = [
            (header::ACCESS_CONTROL_ALLOW_METHODS, METHODS),
            (header::ACCESS_CONTROL_ALLOW_HEADERS, HEADERS),
            (header::ACCESS_CONTROL_MAX_AGE, MAX_AGE_SECONDS),
        ];
        (StatusCode::NO_CONTENT, allow).into_response()
    })
}

/// Names the allowed origin. `Vary` is there for everybody: an answer to one origin must not be
/// handed to another from a cache.
pub(super) fn name_origin(response: &mut Response, allowed: Option<HeaderValue>) {
    let headers = response.headers_mut();
    headers.append(header::VARY, HeaderValue::from_static("Origin"));
    let Some(origin) = allowed else { return };
    headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin);
    headers.insert(header::ACCESS_CONTROL_ALLOW_CREDENTIALS, HeaderValue::from_static("true"));
    headers.insert(header::ACCESS_CONTROL_EXPOSE_HEADERS, HeaderValue::from_static(EXPOSED));
}
