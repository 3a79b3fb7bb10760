//! The OpenAPI document as one page without script: every operation, its parameters, its answers.

use std::fmt::Write as _;

use utoipa::openapi::OpenApi;

use super::codes::operations;
use super::routes::page::{escaped, page};

/// Renders the page.
pub fn render(document: &OpenApi) -> String {
    let mut body = String::from("<p>The same as a document: <a href=\"/openapi.json\">/openapi.json</a>.</p>");
    let mut paths = document.paths.paths.clone();
    for (path, item) in &mut paths {
        for (method, operation) in operations(item) {
            let summary = operation.summary.as_deref().unwrap_or_default();
            // Writing to a String cannot fail.
            let _ = write!(body, "<h2><code>{method} {}</code></h2><p>{}</p><ul>", escaped(path), escaped(summary));
            let answers = serde_json::to_value(&operation.responses).unwrap_or_default();
            for (status, answer) in answers.as_object().into_iter().flatten() {
                let words = answer.get("description").and_then(|words| words.as_str()).unwrap_or_default();
                let _ = write!(body, "<li><code>{}</code> {}</li>", escaped(status), escaped(words));
            }
            body.push_str("</ul>");
        }
    }
    page("authlog API", &body)
}
