//! States and differences for people.

use serde::Serialize;
use serde_json::{Value, json};

use crate::cli::output::{Failure, json_line, line, time};
use crate::replay::{Change, Difference, Shown};

pub(super) fn print_json(document: &Value) -> Result<(), Failure> {
    Ok(json_line(document)?)
}

pub(super) fn print(shown: &Shown) -> Result<(), Failure> {
    line(&format!("as of      {} (position {})", time(shown.at), shown.position))?;
    print_item("setup", &json!(shown.setup))?;
    print_item("provider", &json!(shown.identity_provider))?;
    print_items("users", &shown.users)?;
    print_items("sessions", &shown.sessions)?;
    print_items("API tokens", &shown.api_tokens)
}

fn print_items(heading: &str, items: &[impl Serialize]) -> Result<(), Failure> {
    line(&format!("{heading}: {}", items.len()))?;
    items.iter().try_for_each(|item| print_item(" ", &json!(item)))
}

/// An item on one line: its fields in their order.
pub(super) fn print_item(name: &str, item: &Value) -> Result<(), Failure> {
    let Some(fields) = item.as_object() else {
        return Ok(line(&format!("{name:<10} not there"))?);
    };
    let text = |(name, value): (&String, &Value)| format!("{name}={}", plain(value));
    let fields: Vec<String> = fields.iter().map(text).collect();
    Ok(line(&format!("{name:<10} {}", fields.join("  ")))?)
}

fn plain(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

/// What serde calls a variant.
pub(super) fn word(variant: &impl Serialize) -> String {
    plain(&json!(variant))
}

pub(super) fn print_difference(difference: &Difference, json: bool) -> Result<(), Failure> {
    if json {
        return print_json(&json!(difference));
    }
    let id = difference.item.id.as_deref().unwrap_or_default();
    let name = format!("{} {id}", difference.item.kind);
    match &difference.change {
        Change::Appeared(value) => print_item(&format!("+ {name}"), value),
        Change::Vanished(value) => print_item(&format!("- {name}"), value),
        Change::Changed(fields) => {
            let text =
                |(field, [from, to]): (&String, &[Value; 2])| format!("{field}: {} -> {}", plain(from), plain(to));
            let fields: Vec<String> = fields.iter().map(text).collect();
            Ok(line(&format!("~ {name}  {}", fields.join("  ")))?)
        }
    }
}
