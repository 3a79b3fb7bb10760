//! The forms of an HTML page: as much of HTML as the test providers' pages are made of.

/// A form and its controls, in the order of the page.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Form {
    /// As written; empty for the page itself.
    pub(super) action: String,
    pub(super) controls: Vec<Control>,
}

/// What a control is good for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// It sends the form.
    Button,
    Text,
    Password,
    /// A checkbox or radio button.
    Choice {
        checked: bool,
    },
    /// Hidden and all others: sent as they are.
    Other,
}

/// An input or a button.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Control {
    pub(super) kind: Kind,
    pub(super) name: String,
    pub(super) value: String,
}

/// Every form of the page.
pub(super) fn parse(page: &str) -> Vec<Form> {
    let mut forms: Vec<Form> = Vec::new();
    let mut open = false;
    let mut rest = page;
    while let Some(start) = rest.find('<') {
        let (tag, after) = Tag::read(&rest[start + 1..]);
        rest = after;
        match tag.name.as_str() {
            "form" => {
                forms.push(Form { action: tag.attribute("action").unwrap_or_default(), controls: Vec::new() });
                open = true;
            }
            "/form" => open = false,
            "input" | "button" if open => {
                if let Some(form) = forms.last_mut() {
                    form.controls.push(tag.control());
                }
            }
            _ => {}
        }
    }
    forms
}

struct Tag {
    name: String,
    attributes: Vec<(String, String)>,
}

impl Tag {
    /// Reads a tag whose `<` is behind us; returns it and what follows its `>`.
    fn read(text: &str) -> (Self, &str) {
        let end = text.find(|letter: char| letter.is_whitespace() || letter == '>').unwrap_or(text.len());
        let mut tag = Self { name: text[..end].to_ascii_lowercase(), attributes: Vec::new() };
        let mut rest = text[end..].trim_start();
        while !rest.is_empty() && !rest.starts_with('>') {
            let end = rest.find(|letter: char| letter.is_whitespace() || "=>".contains(letter)).unwrap_or(rest.len());
            let name = rest[..end].to_ascii_lowercase();
            rest = rest[end..].trim_start();
            let mut value = String::new();
            if let Some(after) = rest.strip_prefix('=') {
                (value, rest) = read_value(after.trim_start());
            }
            tag.attributes.push((name, value));
            rest = rest.trim_start();
        }
        (tag, rest.strip_prefix('>').unwrap_or(rest))
    }

    fn attribute(&self, name: &str) -> Option<String> {
        self.attributes.iter().find(|(attribute, _)| attribute == name).map(|(_, value)| value.clone())
    }

    fn control(&self) -> Control {
        let written = self.attribute("type").map(|kind| kind.to_ascii_lowercase());
        let default = if self.name == "button" { "submit" } else { "text" };
        let kind = match written.as_deref().unwrap_or(default) {
            "submit" | "image" => Kind::Button,
            "text" | "email" => Kind::Text,
            "password" => Kind::Password,
            "checkbox" | "radio" => Kind::Choice { checked: self.attribute("checked").is_some() },
            _ => Kind::Other,
        };
        let take = |name| self.attribute(name).unwrap_or_default();
        Control { kind, name: take("name"), value: take("value") }
    }
}

fn read_value(text: &str) -> (String, &str) {
    for quote in ['"', '\''] {
        if let Some(quoted) = text.strip_prefix(quote) {
            let (value, rest) = quoted.split_once(quote).unwrap_or((quoted, ""));
            return (unescape(value), rest);
        }
    }
    let end = text.find(|letter: char| letter.is_whitespace() || letter == '>').unwrap_or(text.len());
    (unescape(&text[..end]), &text[end..])
}

fn unescape(text: &str) -> String {
    let mut parts = text.split('&');
    let mut plain = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let decoded = part.split_once(';').and_then(|(entity, rest)| Some((decode(entity)?, rest)));
        if let Some((letter, rest)) = decoded {
            plain.push(letter);
            plain.push_str(rest);
        } else {
            plain.push('&');
            plain.push_str(part);
        }
    }
    plain
}

fn decode(entity: &str) -> Option<char> {
    match entity {
        "amp" => Some('&'),
        "lt" => Some('<'),
        "gt" => Some('>'),
        "quot" => Some('"'),
        "apos" => Some('\''),
        _ => {
            let number = entity.strip_prefix('#')?;
            let code = match number.strip_prefix(['x', 'X']) {
                Some(digits) => u32::from_str_radix(digits, 16),
                None => number.parse(),
            };
            char::from_u32(code.ok()?)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_form_is_read_with_its_controls_and_entities() {
        let page = r#"<!doctype html><p title="a > b">x</p><input name=outside>
            <form method="post" action="/next?a=1&amp;b=&#34;&#x41;">
              <input name='user'><input type=password name=secret><input type="checkbox" name="stay" checked value=1>
              <input type="hidden" name="h" value="1 > 0"><button name="answer" value="yes">Yes</button></form><button>no</button>"#;
        let control = |kind, name: &str, value: &str| Control { kind, name: name.to_owned(), value: value.to_owned() };
        let form = Form {
            action: "/next?a=1&b=\"A".to_owned(),
            controls: vec![
                control(Kind::Text, "user", ""),
                control(Kind::Password, "secret", ""),
                control(Kind::Choice { checked: true }, "stay", "1"),
                control(Kind::Other, "h", "1 > 0"),
                control(Kind::Button, "answer", "yes"),
            ],
        };
        assert_eq!(parse(page), vec![form]);
    }
}
