//! The token a caller brings: from the one `Authorization` header, and from nowhere else (RFC 6750,
//! section 2.1; not from the query, section 2.3).

use axum::extract::{FromRequestParts, OptionalFromRequestParts};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderValue, header};
use secrecy::{ExposeSecret, SecretString};

use crate::error::{ApiError, ErrorCode};
use crate::settings::limits::BEARER_BYTES;

/// A bearer token as it was sent, well formed and otherwise unknown. `Debug` does not show it.
///
/// No header, or one of another scheme, is `missing_auth`: no token was brought (RFC 6750, section
/// 3.1, treats both alike). A bearer header whose token cannot be one is `invalid_session`, as an
/// unknown token is. Two headers are `invalid_input`.
///
/// `Option<Bearer>` is `None` where this is `missing_auth`, and refuses the rest the same.
#[derive(Debug, Clone)]
pub struct Bearer(SecretString);

impl Bearer {
    /// The token, to be hashed.
    pub fn expose(&self) -> &str {
        self.0.expose_secret()
    }

    pub(super) fn read(headers: &HeaderMap) -> Result<Option<Self>, ApiError> {
        let mut values = headers.get_all(header::AUTHORIZATION).iter();
        match (values.next(), values.next()) {
            (None, _) => Ok(None),
            (Some(value), None) => Self::parse(value),
            (Some(_), Some(_)) => Err(ApiError::invalid_input("There must be one Authorization header, not several.")),
        }
    }

    fn parse(value: &HeaderValue) -> Result<Option<Self>, ApiError> {
        let bytes = value.as_bytes();
        let end = bytes.iter().position(|byte| *byte == b' ').unwrap_or(bytes.len());
        let (scheme, rest) = bytes.split_at(end);
        if !scheme.eq_ignore_ascii_case(b"bearer") {
            return Ok(None);
        }
        let token = std::str::from_utf8(rest).unwrap_or_default().trim_matches(' ');
        if is_token(token) { Ok(Some(Self(SecretString::from(token)))) } else { Err(ErrorCode::InvalidSession.into()) }
    }
}

/// `b64token` of RFC 6750, section 2.1.
fn is_token(text: &str) -> bool {
    let body = text.trim_end_matches('=');
    !body.is_empty()
        && text.len() <= BEARER_BYTES
        && body.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._~+/".contains(&byte))
}

impl<S: Send + Sync> FromRequestParts<S> for Bearer {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, ApiError> {
        Self::read(&parts.headers)?.ok_or_else(|| ErrorCode::MissingAuth.into())
    }
}

impl<S: Send + Sync> OptionalFromRequestParts<S> for Bearer {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Option<Self>, ApiError> {
        Self::read(&parts.headers)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn read(values: &[&[u8]]) -> Result<Option<String>, ErrorCode> {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(header::AUTHORIZATION, HeaderValue::from_bytes(value).unwrap());
        }
        let read = Bearer::read(&headers).map_err(|error| error.code())?;
        Ok(read.map(|bearer| bearer.expose().to_owned()))
    }

    #[test]
    fn the_scheme_is_read_in_any_case() {
        for value in ["Bearer abc", "bearer abc", "BEARER abc", "Bearer  abc", "Bearer abc "] {
            assert_eq!(read(&[value.as_bytes()]), Ok(Some("abc".into())), "{value}");
        }
        assert_eq!(read(&[b"Bearer alog_0aF-._~+/=="]), Ok(Some("alog_0aF-._~+/==".into())));
    }

    #[test]
    fn no_header_and_another_scheme_bring_no_token() {
        assert_eq!(read(&[]), Ok(None));
        for value in ["", "Basic YTpi", "Bearerabc", "abc", "DPoP abc", "\tBearer abc"] {
            assert_eq!(read(&[value.as_bytes()]), Ok(None), "{value}");
        }
    }

    #[test]
    fn a_bearer_header_without_a_possible_token_is_an_invalid_session() {
        let long = format!("Bearer {}", "a".repeat(BEARER_BYTES + 1));
        for value in [
            "Bearer",
            "Bearer ",
            "Bearer a b",
            "Bearer a, Bearer b",
            "Bearer a,b",
            "Bearer =",
            "Bearer a=b",
            "Bearer \"a\"",
            &long,
        ] {
            assert_eq!(read(&[value.as_bytes()]), Err(ErrorCode::InvalidSession), "{value}");
        }
        assert_eq!(read(&[b"Bearer \xff"]), Err(ErrorCode::InvalidSession));
    }

    #[test]
    fn two_headers_are_refused_even_when_they_agree() {
        assert_eq!(read(&[b"Bearer a", b"Bearer a"]), Err(ErrorCode::InvalidInput));
        assert_eq!(read(&[b"Basic a", b"Bearer a"]), Err(ErrorCode::InvalidInput));
    }

    #[test]
    fn a_token_is_not_shown() {
        let bearer = Bearer::parse(&HeaderValue::from_static("Bearer geheim")).unwrap().unwrap();
        assert!(!format!("{bearer:?}").contains("geheim"));
    }
}
