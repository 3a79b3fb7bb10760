//! Query strings and ids in paths.

use axum::extract::{FromRequestParts, Path};
use axum::http::request::Parts;
use serde::de::DeserializeOwned;
use url::form_urlencoded;
use uuid::Uuid;

use super::serde_message::sentence;
use crate::error::{ApiError, ErrorCode};

/// The query string; what does not fit is `invalid_input`. Unknown parameters are ignored, so a
/// handler can take several of these, one for each concern.
#[derive(Debug, Clone, Copy)]
pub struct Query<T>(pub T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequestParts<S> for Query<T> {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, ApiError> {
        parse(parts.uri.query().unwrap_or_default()).map(Self)
    }
}

pub(super) fn parse<T: DeserializeOwned>(query: &str) -> Result<T, ApiError> {
    let pairs = form_urlencoded::parse(query.as_bytes());
    serde_path_to_error::deserialize(serde_urlencoded::Deserializer::new(pairs))
        .map_err(|error| ApiError::invalid_input(sentence(error.path(), error.inner())))
}

/// The `{id}` of a path. What is not a UUID in its hyphenated form names nothing: 404.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PathId(pub Uuid);

impl<S: Send + Sync> FromRequestParts<S> for PathId {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        let text = Path::<String>::from_request_parts(parts, state).await;
        text.ok().and_then(|Path(text)| Self::read(&text)).ok_or_else(|| ErrorCode::NotFound.into())
    }
}

impl PathId {
    pub(super) fn read(text: &str) -> Option<Self> {
        let id = Uuid::try_parse(text).ok().filter(|_| text.len() == uuid::fmt::Hyphenated::LENGTH);
        id.map(Self)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use axum::Router;
    use axum::body::Body;
    use axum::http::Request;
    use axum::routing::get;
    use serde::Deserialize;
    use tower::ServiceExt as _;

    use super::*;

    #[derive(Debug, Deserialize, PartialEq)]
    struct Range {
        from_ts: Option<i64>,
        q: String,
    }

    fn refusal(query: &str) -> String {
        let error = parse::<Range>(query).unwrap_err();
        assert_eq!(error.code(), ErrorCode::InvalidInput);
        error.message().to_owned()
    }

    #[test]
    fn parameters_are_decoded_and_unknown_ones_ignored() {
        let range = parse::<Range>("q=a%20b%26&x=1&x=2&from_ts=5").unwrap();
        assert_eq!(range, Range { from_ts: Some(5), q: "a b&".into() });
    }

    #[test]
    fn each_refusal_names_the_parameter_and_not_its_value() {
        assert_eq!(refusal(""), "`q` is missing.");
        assert_eq!(refusal("q=a&q=b"), "`q` is given twice.");
        assert_eq!(refusal("q=a&from_ts=geheim"), "`from_ts` is not accepted.");
        assert_eq!(refusal("q=a&from_ts="), "`from_ts` is not accepted.");
    }

    #[tokio::test]
    async fn an_id_that_is_no_uuid_is_not_found() {
        let router = Router::new().route("/users/{id}", get(|PathId(id): PathId| async move { id.to_string() }));
        let status = async |id: &str| {
            let request = Request::get(format!("/users/{id}")).body(Body::empty()).unwrap();
            router.clone().oneshot(request).await.unwrap().status().as_u16()
        };
        assert_eq!(status("0198c0de-0000-7000-8000-000000000001").await, 200);
        assert_eq!(status("0198C0DE-0000-7000-8000-000000000001").await, 200);
        for id in [
            "me",
            "1",
            "0198c0de000070008000000000000001",
            "%7B0198c0de-0000-7000-8000-000000000001%7D",
            "%FF",
            "0198c0de-0000-7000-8000-00000000000g",
        ] {
            assert_eq!(status(id).await, 404, "{id}");
        }
    }
}
