//! What an answer over HTTP says, by the contract's statuses and codes.

use serde_json::Value;

use crate::call::{Answer, Key, Op, Role};

impl Answer {
    /// Reads the answer to a call. A 5xx says nothing about what has happened. A refusal that is about the caller and not about the
    /// object (rights, rates, the caller's own session) has changed nothing.
    pub fn read(op: &Op, status: u16, body: &Value) -> Self {
        match status {
            200..=299 => Self::success(op, body).unwrap_or(Self::Done),
            500.. => Self::Unknown,
            _ => Self::refusal(op, body["code"].as_str().unwrap_or_default()),
        }
    }

    fn success(op: &Op, body: &Value) -> Option<Self> {
        let key = |value: &Value| value.as_str().map(Key::of);
        match op {
            Op::Verify { .. } => Some(Self::Opened { user: None, session: key(&body["session_token"])? }),
            Op::SignIn { .. } => {
                Some(Self::Opened { user: key(&body["user"]["user_id"]), session: key(&body["session_token"])? })
            }
            Op::Invite { .. } => Some(Self::Invited { user: key(&body["user"]["id"])? }),
            Op::Check { .. } => Some(Self::Alive { role: Role::named(body["user"]["role"].as_str()?)? }),
            _ => None,
        }
    }

    fn refusal(op: &Op, code: &str) -> Self {
        let own = matches!(op, Op::Check { .. } | Op::CheckSetup { .. } | Op::Complete { .. });
        match code {
            "invalid_session" | "session_expired" | "no_session" if own => Self::Dead,
            "invalid_token" => Self::InvalidToken,
            "too_many_attempts" => Self::TooManyAttempts,
            "token_consumed" => Self::TokenConsumed,
            "token_expired" => Self::TokenExpired,
            "no_bootstrap_token" => Self::NoBootstrapToken,
            "already_configured" => Self::AlreadyConfigured,
            "invalid_state" => Self::InvalidState,
            "already_exists" => Self::AlreadyExists,
            "user_not_found" => Self::UserNotFound,
            "not_found" => Self::NotFound,
            _ => Self::NotTried,
        }
    }
}
