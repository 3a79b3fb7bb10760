//! What a call came to, and whether an answer is one that the documents know.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use history::{Key, Op, Role};
use reqwest::StatusCode;
use reqwest::header::HeaderMap;
use serde_json::Value;

/// Every error there is, with the statuses it may have: the tables of the page that clients read.
static DOCUMENTED: LazyLock<BTreeMap<&str, Vec<u16>>> =
    LazyLock::new(|| include_str!("../../docs/error-codes.md").lines().filter_map(row).collect());

/// `| code | 409; 400 for a state value | ...`
fn row(line: &str) -> Option<(&str, Vec<u16>)> {
    let mut cells = line.strip_prefix("| `")?.split('|');
    let code = cells.next()?.trim().trim_end_matches('`');
    let statuses = cells.next()?.split(|c: char| !c.is_ascii_digit()).filter_map(|number| number.parse().ok());
    Some((code, statuses.collect()))
}

/// What a fault beside the call may bring about, and what leaves open whether the call had its effect.
const TROUBLE: [&str; 3] = ["store_error", "session_error", "unavailable"];
/// What a provider that is away or lies brings about.
const PROVIDER: [&str; 5] = [
    "oidc_discovery_error",
    "token_exchange_error",
    "missing_id_token",
    "id_token_verification_error",
    "missing_email",
];
/// No fault that is played here brings these about: one of them is a fault of the service.
const NEVER: [&str; 6] = [
    "internal_error",
    "encryption_error",
    "decryption_error",
    "http_client_error",
    "oidc_config_error",
    "oidc_not_configured",
];

/// An answer, read whole.
#[derive(Clone, Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) body: Value,
    pub(crate) request_id: String,
}

impl Answer {
    pub(crate) async fn read(response: reqwest::Response) -> reqwest::Result<(Self, Result<(), String>)> {
        let (status, headers) = (response.status(), response.headers().clone());
        let text = response.text().await?;
        let body = serde_json::from_str(&text).unwrap_or(Value::String(text));
        let header = |name: &str| headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default();
        let answer = Self { status: status.as_u16(), request_id: header("x-request-id").to_owned(), body };
        let judged = if status.is_success() { Ok(()) } else { answer.judge(status, &headers) };
        Ok((answer, judged))
    }

    pub(crate) fn is_success(&self) -> bool {
        (200..300).contains(&self.status)
    }

    /// The code of an error's envelope; empty for what is none.
    pub(crate) fn code(&self) -> &str {
        if self.is_success() { "" } else { self.body["code"].as_str().unwrap_or("no code") }
    }

    pub(crate) fn is(&self, status: u16, code: &str) -> bool {
        self.status == status && self.code() == code
    }

    /// Whether a fault beside the call came in between: then it may have had its effect, or have it later.
    pub(crate) fn is_trouble(&self) -> bool {
        TROUBLE.contains(&self.code())
    }

    pub(crate) fn blames_provider(&self) -> bool {
        PROVIDER.contains(&self.code())
    }

    pub(crate) fn text(&self, pointer: &str) -> String {
        self.body.pointer(pointer).and_then(Value::as_str).unwrap_or_default().to_owned()
    }

    /// The same in the words of the history that is judged.
    pub(crate) fn in_history(&self, op: &Op) -> history::Answer {
        use history::Answer as A;
        let key = |pointer: &str| Key::of(&self.text(pointer));
        if self.is_success() {
            return match op {
                Op::Invite { .. } => A::Invited { user: key("/user/id") },
                Op::SignIn { .. } => A::Opened { user: Some(key("/user/user_id")), session: key("/session_token") },
                Op::Verify { .. } => A::Opened { user: None, session: key("/session_token") },
                Op::Check { .. } => Role::named(&self.text("/user/role")).map_or(A::Done, |role| A::Alive { role }),
                _ => A::Done,
            };
        }
        match self.code() {
            "invalid_session" | "session_expired" | "no_session" => A::Dead,
            "invalid_token" => A::InvalidToken,
            "too_many_attempts" => A::TooManyAttempts,
            "token_consumed" => A::TokenConsumed,
            "token_expired" => A::TokenExpired,
            "no_bootstrap_token" => A::NoBootstrapToken,
            "already_configured" => A::AlreadyConfigured,
            "invalid_state" => A::InvalidState,
            "already_exists" => A::AlreadyExists,
            "user_not_found" => A::UserNotFound,
            "not_found" => A::NotFound,
            // With a provider that lies or is away the `state` is used up all the same.
            _ if self.is_trouble() || self.blames_provider() => A::Unknown,
            _ => A::NotTried,
        }
    }

    /// What is wrong with an error, if anything: the envelope of the contract, a documented code with its status, the headers
    /// that go with them.
    fn judge(&self, status: StatusCode, headers: &HeaderMap) -> Result<(), String> {
        let wrong = |what: &str| Err(format!("{what}: {status} {headers:?} {}", self.body));
        let Some(fields) = self.body.as_object() else { return wrong("an error that is no object") };
        let code = self.code();
        if DOCUMENTED.get(code).is_none_or(|statuses| !statuses.contains(&self.status)) {
            return wrong("an error that is not documented with this status");
        }
        if NEVER.contains(&code) {
            return wrong("a fault of the service's own");
        }
        let has_words = fields.get("error").and_then(Value::as_str).is_some_and(|words| !words.is_empty());
        if !has_words || fields.keys().any(|name| !["error", "code", "details"].contains(&name.as_str())) {
            return wrong("another envelope");
        }
        let has = |name: &str| headers.contains_key(name);
        if has("retry-after") != ["rate_limited", "unavailable"].contains(&code)
            || has("www-authenticate") != (self.status == 401)
            || uuid::Uuid::parse_str(&self.request_id).is_err()
        {
            return wrong("other headers");
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use reqwest::StatusCode;
    use reqwest::header::{HeaderMap, HeaderValue};
    use serde_json::{Value, json};

    use super::{Answer, DOCUMENTED};

    fn judge(status: StatusCode, body: Value, retry_after: bool) -> Result<(), String> {
        let request_id = "0198c5a2-0000-7000-8000-000000000000".to_owned();
        let mut headers = HeaderMap::new();
        if retry_after {
            headers.insert("retry-after", HeaderValue::from_static("1"));
        }
        Answer { status: status.as_u16(), body, request_id }.judge(status, &headers)
    }

    #[test]
    fn only_documented_errors_in_the_envelope_pass() {
        assert_eq!(DOCUMENTED["invalid_state"], [409, 400]);
        assert_eq!(DOCUMENTED.len(), 40);
        let refused = |code: &str| json!({ "error": "No.", "code": code });
        let gone = StatusCode::SERVICE_UNAVAILABLE;
        assert_eq!(judge(gone, refused("unavailable"), true), Ok(()));
        assert!(judge(gone, refused("unavailable"), false).is_err());
        assert!(judge(gone, refused("store_error"), false).is_err());
        assert!(judge(StatusCode::CONFLICT, refused("conflict"), false).is_err());
        assert!(judge(StatusCode::INTERNAL_SERVER_ERROR, refused("internal_error"), false).is_err());
        assert!(judge(StatusCode::CONFLICT, json!({ "code": "already_exists" }), false).is_err());
        assert!(judge(StatusCode::CONFLICT, Value::String("no".to_owned()), false).is_err());
    }
}
