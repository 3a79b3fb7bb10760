//! `GET /auth/callback`: the small page that ends a sign-in begun with the default redirect. No script, nothing from elsewhere.

use axum::http::header::{ALLOW, CACHE_CONTROL, CONTENT_SECURITY_POLICY, HeaderName};
use axum::http::{HeaderMap, Method, StatusCode};
use axum::response::{Html, IntoResponse as _, Response};
use serde::{Deserialize, Serialize};
use utoipa::IntoParams;

use super::sign_in::cookies;
use crate::error::{ApiError, ErrorCode};
use crate::http::Query;
use crate::http::call::Call;
use crate::service::sign_in::Callback;

/// Nothing but the page itself: no script, no style, no frame, no form.
const POLICY: &str = "default-src 'none'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'";

/// The header that keeps scripts and foreign content out of a page.
pub fn content_security_policy() -> (HeaderName, &'static str) {
    (CONTENT_SECURITY_POLICY, POLICY)
}

#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub struct Returned {
    code: Option<String>,
    state: Option<String>,
    /// RFC 9207.
    iss: Option<String>,
    /// What the provider refused with (RFC 6749, section 4.1.2.1).
    error: Option<String>,
}

/// The body of the call that finishes what this page cannot.
#[derive(Serialize)]
struct Answered {
    code: String,
    state: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    iss: Option<String>,
}

/// Where the provider sends the browser back to
#[utoipa::path(
    get, path = "/auth/callback", tag = "sign-in", params(Returned),
    responses((status = 200, content_type = "text/html", body = String))
)]
pub async fn callback(
    call: Call,
    method: Method,
    headers: HeaderMap,
    query: Result<Query<Returned>, ApiError>,
) -> Response {
    // Whoever asks for the headers alone would use the code up and see nothing of what it brought.
    if method == Method::HEAD {
        return ([(ALLOW, "GET")], ApiError::from(ErrorCode::MethodNotAllowed)).into_response();
    }
    match finish(&call, &headers, query).await {
        Ok((title, body)) => html(StatusCode::OK, title, &body),
        Err(error) => {
            error.log();
            let words = format!("<p>{}</p><p><code>{}</code></p>", escaped(error.message()), error.code().as_str());
            html(error.status(), "Not signed in", &words)
        }
    }
}

async fn finish(
    call: &Call,
    headers: &HeaderMap,
    query: Result<Query<Returned>, ApiError>,
) -> Result<(&'static str, String), ApiError> {
    let Query(returned) = query?;
    if let Some(refused) = returned.error {
        let refused: String = refused.chars().take(100).collect();
        return Err(ApiError::invalid_input("The identity provider did not sign you in.").with_details(refused));
    }
    let (Some(code), Some(state)) = (returned.code, returned.state) else {
        return Err(ApiError::invalid_input("The identity provider sent neither a code nor an error."));
    };
    if call.service.require_ready().await.is_err() {
        call.service.require_setup_open().await?;
        // Whole, with `iss`: a provider that promises it must be held to it (RFC 9207, section 2.4).
        let body = json(&Answered { code, state, iss: returned.iss });
        let page = format!(
            "<p>Setup is under way. Send this to <code>POST /v1/setup/owner/verify-oidc</code>:</p><p><code>{}</code></p>",
            escaped(&body)
        );
        return Ok(("Back from the identity provider", page));
    }
    if !call.service.cookie_fits(&state, &cookies(headers)) {
        return Err(ApiError::unknown_state());
    }
    let signed_in = call.service.finish_sign_in(&call.context, Callback { code, state, iss: returned.iss }).await?;
    let page = format!(
        "<p>You are signed in as {}.</p><p>Your session token, shown once:</p><p><code>{}</code></p>",
        escaped(&signed_in.user.address),
        escaped(&signed_in.session_token)
    );
    Ok(("Signed in", page))
}

#[expect(clippy::expect_used, reason = "three texts under fixed names")]
fn json(answered: &Answered) -> String {
    serde_json::to_string(answered).expect("texts are JSON")
}

fn html(status: StatusCode, title: &str, body: &str) -> Response {
    let headers = [content_security_policy(), (CACHE_CONTROL, "no-store")];
    (status, headers, Html(page(title, body))).into_response()
}

/// A whole page around a body that is HTML already.
pub fn page(title: &str, body: &str) -> String {
    let title = escaped(title);
    format!(
        "<!doctype html><html lang=\"en\"><head><meta charset=\"utf-8\"><title>{title}</title></head>\
         <body><h1>{title}</h1>{body}</body></html>"
    )
}

/// Text as HTML.
pub fn escaped(text: &str) -> String {
    let mut html = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '&' => html.push_str("&amp;"),
            '<' => html.push_str("&lt;"),
            '>' => html.push_str("&gt;"),
            '"' => html.push_str("&quot;"),
            '\'' => html.push_str("&#39;"),
            _ => html.push(character),
        }
    }
    html
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_cannot_become_markup() {
        assert_eq!(escaped("<b a='x' c=\"y\">&"), "&lt;b a=&#39;x&#39; c=&quot;y&quot;&gt;&amp;");
    }
}
