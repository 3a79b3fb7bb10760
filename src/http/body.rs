//! JSON bodies: one object of at most 64 KiB, said to be JSON.
//!
//! Unknown fields are ignored, as the contract says; a field of ours that is given twice is refused,
//! because two readers may pick different ones (an unknown one given twice is nobody's business).

use std::time::Duration;

use axum::body::{Body, to_bytes};
use axum::extract::{FromRequest, Request};
use axum::http::{HeaderMap, header};
use axum::response::{IntoResponse, Response};
use http_body_util::LengthLimitError;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::error::Category;

use super::serde_message::sentence;
use crate::error::{ApiError, ErrorCode};
use crate::settings::limits::{BODY_BYTES, BODY_TIMEOUT};

/// A JSON body, in a request or in an answer.
#[derive(Debug, Clone, Copy)]
pub struct Json<T>(pub T);

impl<T: Serialize> IntoResponse for Json<T> {
    fn into_response(self) -> Response {
        axum::Json(self.0).into_response()
    }
}

impl<T: DeserializeOwned, S: Send + Sync> FromRequest<S> for Json<T> {
    type Rejection = ApiError;

    async fn from_request(request: Request, _: &S) -> Result<Self, ApiError> {
        if !is_json(request.headers()) {
            return Err(ErrorCode::UnsupportedMediaType.into());
        }
        let bytes = read(request.into_body(), BODY_TIMEOUT).await?;
        parse(&bytes).map(Self)
    }
}

/// One content type, `application/json` or one built on it, and no compression.
fn is_json(headers: &HeaderMap) -> bool {
    let mut types = headers.get_all(header::CONTENT_TYPE).iter();
    let (Some(value), None) = (types.next(), types.next()) else { return false };
    let essence = value.to_str().unwrap_or_default().split(';').next().unwrap_or_default();
    let essence = essence.trim().to_ascii_lowercase();
    let subtype = essence.strip_prefix("application/").unwrap_or_default();
    let json = subtype == "json" || subtype.ends_with("+json");
    json && !headers.contains_key(header::CONTENT_ENCODING)
}

async fn read(body: Body, limit: Duration) -> Result<axum::body::Bytes, ApiError> {
    let read = tokio::time::timeout(limit, to_bytes(body, BODY_BYTES)).await;
    let read = read.map_err(|_| ApiError::invalid_input("The body did not arrive in time."))?;
    read.map_err(|error| {
        let cause = std::error::Error::source(&error);
        if cause.is_some_and(<dyn std::error::Error + 'static>::is::<LengthLimitError>) {
            ErrorCode::PayloadTooLarge.into()
        } else {
            ApiError::invalid_input("The body did not arrive whole.").caused_by(error)
        }
    })
}

pub(super) fn parse<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, ApiError> {
    // A derived struct would also take its fields as an array, in the order of our source.
    let first = bytes.iter().find(|byte| !byte.is_ascii_whitespace());
    if first != Some(&b'{') {
        return Err(ApiError::invalid_input("The body must be a JSON object."));
    }
    let mut json = serde_json::Deserializer::from_slice(bytes);
    let value = serde_path_to_error::deserialize(&mut json).map_err(|error| {
        let inner = error.inner();
        match inner.classify() {
            Category::Data => ApiError::invalid_input(sentence(error.path(), inner)),
            Category::Io | Category::Syntax | Category::Eof => not_json(inner),
        }
    })?;
    json.end().map_err(|error| not_json(&error))?;
    Ok(value)
}

fn not_json(error: &serde_json::Error) -> ApiError {
    let (line, column) = (error.line(), error.column());
    ApiError::invalid_input(format!("The body is not JSON: line {line}, column {column}."))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use serde::Deserialize;

    use super::*;

    #[derive(Debug, Deserialize)]
    #[serde(rename_all = "snake_case")]
    enum Role {
        Admin,
        Developer,
    }

    #[derive(Debug, Deserialize)]
    #[expect(dead_code, reason = "read by the derive")]
    struct Invitation {
        email: String,
        role: Role,
        expires_at: Option<i64>,
    }

    async fn outcome(content_type: Option<&str>, body: impl Into<Body>) -> (u16, String) {
        let request =
            content_type.iter().fold(Request::post("/"), |request, value| request.header("content-type", *value));
        let request = request.body(body.into()).unwrap();
        match Json::<Invitation>::from_request(request, &()).await {
            Ok(Json(invitation)) => (200, invitation.email),
            Err(error) => (error.status().as_u16(), error.message().to_owned()),
        }
    }

    async fn message(body: &str) -> String {
        let (status, message) = outcome(Some("application/json"), body.to_owned()).await;
        assert_eq!(status, 400, "{body}");
        message
    }

    const GOOD: &str = r#"{"email": "a@b.example", "role": "admin"}"#;

    #[tokio::test]
    async fn an_object_of_the_right_shape_is_taken_and_unknown_fields_ignored() {
        let good = (200, String::from("a@b.example"));
        assert_eq!(outcome(Some("application/json"), GOOD).await, good);
        assert_eq!(outcome(Some("Application/JSON; charset=utf-8"), GOOD).await, good);
        assert_eq!(outcome(Some("application/merge-patch+json"), GOOD).await, good);
        let more = r#" {"x": 1, "x": 2, "email": "a@b.example", "role": "admin", "y": {"z": []}} "#;
        assert_eq!(outcome(Some("application/json"), more).await, good);
    }

    #[tokio::test]
    async fn another_content_type_or_none_is_unsupported() {
        for content_type in
            [None, Some("text/plain"), Some("application/x-www-form-urlencoded"), Some("application/jsonx"), Some("")]
        {
            assert_eq!(outcome(content_type, GOOD).await.0, 415, "{content_type:?}");
        }
    }

    #[tokio::test]
    async fn more_than_64_kib_is_too_large_and_64_kib_is_not() {
        let padded = |size: usize| format!("{GOOD}{}", " ".repeat(size - GOOD.len()));
        assert_eq!(outcome(Some("application/json"), padded(BODY_BYTES)).await.0, 200);
        assert_eq!(outcome(Some("application/json"), padded(BODY_BYTES + 1)).await.0, 413);
    }

    #[tokio::test]
    async fn each_refusal_says_what_is_wrong() {
        let object = "The body must be a JSON object.";
        for body in ["", "  ", "[]", r#"["a@b.example", "admin", null]"#, "null", "\"x\"", "\u{feff}{}"] {
            assert_eq!(message(body).await, object, "{body}");
        }
        for (body, expected) in [
            (r#"{"role": "admin"}"#, "`email` is missing."),
            (r#"{"email": 7, "role": "admin"}"#, "`email` is not accepted: expected a string."),
            (r#"{"email": null, "role": "admin"}"#, "`email` is not accepted: expected a string."),
            (r#"{"email": "a", "email": "b", "role": "admin"}"#, "`email` is given twice."),
            (r#"{"email": "a", "role": "owner"}"#, "`role` is not accepted: expected `admin` or `developer`."),
            (r#"{"email": "a", "role": "admin", "expires_at": 1.5}"#, "`expires_at` is not accepted: expected i64."),
            (r#"{"email": "a", "role"}"#, "The body is not JSON: line 1, column 22."),
            (r#"{"email": "a", "role": "admin"} x"#, "The body is not JSON: line 1, column 33."),
            ("{", "The body is not JSON: line 1, column 1."),
        ] {
            assert_eq!(message(body).await, expected, "{body}");
        }
    }

    #[tokio::test]
    async fn what_the_client_sent_is_never_repeated() {
        for body in [
            r#"{"email": "a", "role": "geheim, expected x"}"#,
            r#"{"email": "a", "role": "admin", "expires_at": "geheim, expected x at line 1"}"#,
            r#"{"email": "a", "role": {"geheim": 1}}"#,
            r#"{"geheim": [1, 2,], "email": "a"}"#,
            r#"{"geheim": 1}"#,
        ] {
            assert!(!message(body).await.contains("geheim"), "{body}");
        }
    }

    #[tokio::test]
    async fn a_deeply_nested_body_is_refused_and_not_followed() {
        let deep = format!(r#"{{"x": {}"#, "[".repeat(60_000));
        assert!(message(&deep).await.starts_with("The body is not JSON"));
    }

    /// A client that says it will send something and does not.
    struct Silent;

    impl hyper::body::Body for Silent {
        type Data = axum::body::Bytes;
        type Error = std::convert::Infallible;

        fn poll_frame(
            self: std::pin::Pin<&mut Self>,
            _: &mut std::task::Context<'_>,
        ) -> std::task::Poll<Option<Result<hyper::body::Frame<Self::Data>, Self::Error>>> {
            std::task::Poll::Pending
        }
    }

    #[tokio::test]
    async fn a_body_that_does_not_come_is_not_waited_for() {
        let error = read(Body::new(Silent), Duration::from_millis(1)).await.unwrap_err();
        assert_eq!(error.code(), ErrorCode::InvalidInput);
        assert_eq!(error.message(), "The body did not arrive in time.");
    }

    #[tokio::test]
    async fn a_body_that_is_not_utf_8_is_refused() {
        let body = Body::from(b"{\"email\": \"\xff\", \"role\": \"admin\"}".to_vec());
        assert_eq!(outcome(Some("application/json"), body).await.0, 400);
    }
}
