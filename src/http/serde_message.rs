//! What a deserializer has to say, without what the client sent. serde's messages repeat the value
//! they refuse, and a value in the wrong field is often a secret.

use std::fmt::Display;

/// A sentence for a value that did not deserialize: where (`path`, made of our field names) and what
/// would be accepted. A type of ours that explains itself begins its message with "must".
pub(super) fn sentence(path: &serde_path_to_error::Path, message: &dyn Display) -> String {
    let path = path.to_string();
    let subject = if path == "." { String::from("The request") } else { format!("`{path}`") };
    let message = message.to_string();
    // serde_json says where in the text, which the path says better.
    let message = message.rsplit_once(" at line ").map_or(message.as_str(), |(message, _)| message);
    if let Some(field) = message.strip_prefix("missing field ") {
        return format!("{field} is missing.");
    }
    if let Some(field) = message.strip_prefix("duplicate field ") {
        return format!("{field} is given twice.");
    }
    if message.starts_with("must ") {
        return format!("{subject} {message}.");
    }
    // The last ", expected" is serde's: what follows it is about our types and holds no value.
    match message.rsplit_once(", expected ") {
        Some((_, expected)) => format!("{subject} is not accepted: expected {expected}."),
        None => format!("{subject} is not accepted."),
    }
}
