#![allow(clippy::unwrap_used)]

use std::collections::BTreeSet;

use axum::body::to_bytes;
use serde_json::{Value, json};

use super::*;

async fn answer(error: ApiError) -> (StatusCode, axum::http::HeaderMap, Value) {
    let response = error.into_response();
    let (parts, body) = response.into_parts();
    let body = to_bytes(body, usize::MAX).await.unwrap();
    (parts.status, parts.headers, serde_json::from_slice(&body).unwrap())
}

#[test]
fn the_documented_codes_are_those_of_the_contract_and_the_rest_are_nine() {
    let contract: Value = serde_json::from_str(include_str!("../../tests/contract/error-codes.json")).unwrap();
    let documented: Vec<(String, u64)> = contract["codes"]
        .as_array()
        .unwrap()
        .iter()
        .map(|row| (row["code"].as_str().unwrap().to_owned(), row["status"].as_u64().unwrap()))
        .collect();
    let ours: Vec<(String, u64)> =
        ErrorCode::ALL.iter().map(|code| (code.as_str().to_owned(), u64::from(code.status().as_u16()))).collect();
    assert_eq!(documented.len(), 31);
    assert_eq!(ours[..31], documented[..]);
    let beyond: Vec<(&str, u64)> = ours[31..].iter().map(|(code, status)| (code.as_str(), *status)).collect();
    assert_eq!(
        beyond,
        [
            ("not_found", 404),
            ("already_exists", 409),
            ("method_not_allowed", 405),
            ("payload_too_large", 413),
            ("unsupported_media_type", 415),
            ("misdirected_request", 421),
            ("rate_limited", 429),
            ("internal_error", 500),
            ("unavailable", 503),
        ]
    );
}

#[test]
fn a_code_is_written_the_same_in_json_in_the_schema_and_in_the_log() {
    use utoipa::PartialSchema as _;
    let schema = serde_json::to_value(ErrorCode::schema()).unwrap();
    let names: Vec<&str> = ErrorCode::ALL.iter().map(|code| code.as_str()).collect();
    assert_eq!(schema["enum"], json!(names));
    assert_eq!(serde_json::to_value(ErrorCode::ALL.as_slice()).unwrap(), json!(names));
    assert_eq!(names.iter().collect::<BTreeSet<_>>().len(), ErrorCode::ALL.len());
}

#[tokio::test]
async fn every_code_is_answered_with_its_envelope_and_its_headers() {
    for code in ErrorCode::ALL {
        let (status, headers, body) = answer(code.into()).await;
        assert_eq!(status, code.status());
        assert_eq!(body, json!({"error": code.message(), "code": code.as_str()}));
        assert!(!code.message().is_empty());
        assert_eq!(
            headers.get("www-authenticate").map(|value| value.to_str().unwrap()),
            (status == 401).then_some("Bearer"),
            "{code:?}"
        );
        let asks_again = matches!(code, ErrorCode::RateLimited | ErrorCode::Unavailable);
        assert_eq!(headers.contains_key("retry-after"), asks_again, "{code:?}");
    }
}

#[tokio::test]
async fn words_details_and_waiting_time_are_sent_and_the_cause_is_not() {
    let error = ApiError::new(ErrorCode::RateLimited)
        .with_message("Slow down.")
        .with_details("120 a minute")
        .with_retry_after(30)
        .caused_by("geheim");
    assert_eq!(error.source().unwrap().to_string(), "geheim");
    let (_, headers, body) = answer(error).await;
    assert_eq!(headers["retry-after"], "30");
    assert_eq!(body, json!({"error": "Slow down.", "code": "rate_limited", "details": "120 a minute"}));
}

#[tokio::test]
async fn an_unknown_state_value_is_invalid_state_with_400() {
    let (status, _, body) = answer(ApiError::unknown_state()).await;
    assert_eq!((status.as_u16(), &body["code"]), (400, &json!("invalid_state")));
}
