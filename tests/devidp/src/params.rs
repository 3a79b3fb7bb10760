//! Form-encoded parameters of a query or a body.

use std::collections::BTreeMap;

/// The parameters of one request, each at most once (RFC 6749 section 3.1).
#[derive(Debug, Default)]
pub(crate) struct Params(BTreeMap<String, String>);

impl Params {
    /// Refuses a repeated parameter, naming it.
    pub(crate) fn parse(encoded: &str) -> Result<Self, String> {
        let mut params = BTreeMap::new();
        for (name, value) in url::form_urlencoded::parse(encoded.as_bytes()) {
            if params.insert(name.clone().into_owned(), value.into_owned()).is_some() {
                return Err(format!("parameter {name} is repeated"));
            }
        }
        Ok(Self(params))
    }

    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str)
    }

    pub(crate) fn require(&self, name: &str) -> Result<&str, String> {
        self.get(name).ok_or_else(|| format!("parameter {name} is missing"))
    }
}
