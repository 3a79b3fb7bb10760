//! The HTML pages a person sees: no script, everything escaped.

use axum::http::{StatusCode, header};
use axum::response::{Html, IntoResponse as _, Response};
use std::fmt::Write as _;

const STYLE: &str = "body{font:1rem system-ui;max-width:24rem;margin:4rem auto;padding:0 1rem}\
    button{display:block;width:100%;margin:.5rem 0;padding:.7rem;font:inherit;text-align:left}small{color:#555}";

/// One account to pick.
pub(crate) struct Choice {
    pub(crate) login: String,
    pub(crate) note: String,
}

/// The page that asks who is signing in. `action` is the address the form is posted to.
pub(crate) fn picker(client_id: &str, action: &str, choices: &[Choice]) -> Response {
    let mut buttons = String::new();
    for Choice { login, note } in choices {
        let (login, note) = (escape(login), escape(note));
        let _ = writeln!(
            buttons,
            "<button type=\"submit\" name=\"account\" value=\"{login}\">{login} <small>{note}</small></button>"
        );
    }
    let body = format!(
        "<p>{} wants to know who you are. This provider is for tests: nobody has a password.</p>\n\
         <form method=\"post\" action=\"{}\">\n{buttons}\
         <button type=\"submit\" name=\"answer\" value=\"cancel\">Cancel</button>\n</form>",
        escape(client_id),
        escape(action),
    );
    page(StatusCode::OK, "Sign in", &body)
}

/// The page for a request that cannot be answered with a redirect.
pub(crate) fn refused(why: &str) -> Response {
    page(StatusCode::BAD_REQUEST, "This request cannot be answered", &format!("<p>{}</p>", escape(why)))
}

fn page(status: StatusCode, title: &str, body: &str) -> Response {
    let document = format!(
        "<!doctype html>\n<html lang=\"en\"><meta charset=\"utf-8\"><title>{title}</title><style>{STYLE}</style>\n\
         <h1>{title}</h1>\n{body}\n</html>\n"
    );
    let headers = [
        (header::CONTENT_SECURITY_POLICY, "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'"),
        (header::CACHE_CONTROL, "no-store"),
        (header::REFERRER_POLICY, "no-referrer"),
    ];
    (status, headers, Html(document)).into_response()
}

fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for letter in text.chars() {
        match letter {
            '&' | '<' | '>' | '"' | '\'' => {
                let _ = write!(escaped, "&#{};", u32::from(letter));
            }
            _ => escaped.push(letter),
        }
    }
    escaped
}
