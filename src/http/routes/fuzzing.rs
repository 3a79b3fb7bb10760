//! What fuzzing needs to see of the handlers: how they read bodies, query strings and ids in paths.
#![allow(clippy::expect_used)]

use axum::http::HeaderMap;
use serde::Deserialize;
use serde::de::{DeserializeOwned, IgnoredAny};
use serde_json::Value;
use url::Url;

use super::sign_in::{CallbackBody, StartQuery};
use super::{api_tokens, audit, audit_stream, replay, sessions, setup, users};
use crate::error::{ApiError, ErrorCode};
use crate::http::{Page, PathId, Sorting, body, query};
use crate::replay::Moment;
use crate::settings::limits::PAGE_MAX;

/// One body, for every route that takes one: what is accepted is an object whose fields every reader takes for the same.
pub fn bodies(data: &[u8]) {
    read::<setup::VerifyBody>(data);
    read::<setup::PreferencesBody>(data);
    read::<setup::StartOwnerBody>(data);
    read::<users::InviteBody>(data);
    read::<users::RoleBody>(data);
    read::<api_tokens::IssueBody>(data);
    let any = serde_json::from_slice::<Value>(data).ok();
    let text = |name: &str| any.as_ref().map(|any| any.get(name).and_then(Value::as_str).map(str::to_owned));
    if let Some(body) = read::<CallbackBody>(data) {
        let callback = body.into_callback();
        for (name, taken) in [("code", Some(callback.code)), ("state", Some(callback.state)), ("iss", callback.iss)] {
            assert!(text(name).is_none_or(|other| other == taken), "{name} is {taken:?}");
        }
    }
    if let Some(body) = read::<setup::ProviderBody>(data) {
        let given = [
            ("issuer_url", Some(body.issuer_url.clone())),
            ("client_id", Some(body.client_id.clone())),
            ("client_secret", body.client_secret.clone()),
        ];
        for (name, taken) in given {
            assert!(text(name).is_none_or(|other| other == taken), "{name} is {taken:?}");
        }
        provider(body);
    }
}

/// An issuer that is accepted is an address that only one server answers at.
fn provider(body: setup::ProviderBody) {
    let issuer = body.issuer_url.clone();
    if let Err(refused) = body.parse() {
        return tell(&refused);
    }
    let url = Url::parse(&issuer).expect("a URL");
    assert!(matches!(url.scheme(), "https" | "http"), "{issuer:?}");
    assert_eq!((url.username(), url.password(), url.query(), url.fragment()), ("", None, None, None), "{issuer:?}");
    assert!(issuer.bytes().all(|byte| byte.is_ascii_graphic()), "{issuer:?}");
}

fn read<T: DeserializeOwned>(data: &[u8]) -> Option<T> {
    let read = body::parse::<T>(data).map_err(|refused| tell(&refused)).ok()?;
    assert!(serde_json::from_slice::<IgnoredAny>(data).is_ok(), "what is no JSON was accepted");
    assert_eq!(data.trim_ascii_start().first(), Some(&b'{'));
    Some(read)
}

/// A refusal is `invalid_input`, one short line.
fn tell(refused: &ApiError) {
    assert_eq!(refused.code(), ErrorCode::InvalidInput);
    let message = refused.message();
    assert!(message.len() <= 300 && !message.chars().any(char::is_control), "{message:?}");
}

/// One query string, for every route that reads one; and the same as an id in a path and as `Last-Event-ID`.
pub fn queries(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    parse::<StartQuery>(text);
    parse::<users::DisableQuery>(text);
    parse::<audit::ListQuery>(text);
    parse::<Sorting<users::Sort>>(text);
    parse::<Sorting<audit::Sort>>(text);
    if let Some(page) = parse::<Page>(text) {
        assert!((1..=PAGE_MAX).contains(&page.limit), "{page:?}");
    }
    search(text);
    looking_back(text);
    if let Some(whose) = parse::<sessions::WhoseQuery>(text) {
        whose.user().map_err(|refused| tell(&refused)).ok();
    }
    if let Some(stream) = parse::<audit_stream::StreamQuery>(text) {
        match audit_stream::begin_after(&HeaderMap::new(), stream) {
            Ok(position) => assert!(position >= 0, "{position}"),
            Err(refused) => tell(&refused),
        }
    }
    if let Some(PathId(id)) = PathId::read(text) {
        assert_eq!(id.to_string(), text.to_ascii_lowercase());
    }
}

#[derive(Deserialize)]
struct Search {
    q: Option<String>,
}

fn search(text: &str) {
    let Some(Search { q }) = parse(text) else { return };
    match users::search_text(q) {
        Ok(q) => assert!(q.is_none_or(|q| !q.contains('\0') && (1..=users::MAX_SEARCH_BYTES).contains(&q.len()))),
        Err(refused) => tell(&refused),
    }
}

fn looking_back(text: &str) {
    if let Some(moment) = parse::<replay::MomentQuery>(text) {
        match moment.moment() {
            Ok(Some(Moment::Position(position))) => assert!(position >= 1, "{position}"),
            Ok(_) => {}
            Err(refused) => tell(&refused),
        }
    }
    parse::<replay::DiffQuery>(text);
    if let Some(stream) = parse::<replay::StreamQuery>(text) {
        match stream.stream() {
            Ok(Some(stream)) => assert_eq!(stream.to_string().parse(), Ok(stream)),
            Ok(None) => {}
            Err(refused) => tell(&refused),
        }
    }
}

fn parse<T: DeserializeOwned>(text: &str) -> Option<T> {
    query::parse(text).map_err(|refused| tell(&refused)).ok()
}
