//! A headless browser for sign-in pages made of plain HTML forms: it fills in who is signing in, agrees to what is
//! asked, and stops at the redirect back to the client, which it does not follow. Loopback only.

mod forms;

use crate::wire::{Request, WireError, authority};
use forms::{Control, Form, Kind};
use std::collections::HashMap;
use url::Url;

const MAX_STEPS: usize = 20;

/// Where a sign-in ended: at the client's redirect URI, with a code.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SignedIn {
    /// The whole redirect.
    pub redirect_url: Url,
    /// Its `code`.
    pub code: String,
    /// Its `state`.
    pub state: String,
    /// Its `iss` (RFC 9207), if the provider sends one.
    pub iss: Option<String>,
}

/// Why a sign-in did not end with a code.
#[derive(Debug, thiserror::Error)]
pub enum BrowserError {
    /// The authorization URL is not one, or names no `redirect_uri`.
    #[error("not an authorization URL: {0}")]
    NotAnAuthorizationUrl(String),
    /// A request failed.
    #[error(transparent)]
    Wire(#[from] WireError),
    /// The provider sent the browser back with an error or without `code` or `state`.
    #[error("the provider answered without a code: {0}")]
    NoCode(Url),
    /// A page without a form to go on with.
    #[error("stuck at {url}, status {status}: {body}")]
    Stuck {
        /// The page.
        url: Url,
        /// Its status.
        status: u16,
        /// What it says.
        body: String,
    },
}

/// What the person at the browser does.
#[derive(Clone, Copy, Debug)]
enum Person<'a> {
    SignsIn { account: &'a str, password: &'a str },
    Cancels,
}

/// Signs in and reads the redirect.
pub async fn sign_in(authorization_url: &str, account: &str, password: &str) -> Result<SignedIn, BrowserError> {
    let redirect_url = walk(authorization_url, account, password).await?;
    let find =
        |name: &str| redirect_url.query_pairs().find(|(key, _)| key == name).map(|(_, value)| value.into_owned());
    match (find("code"), find("state"), find("iss")) {
        (Some(code), Some(state), iss) => Ok(SignedIn { redirect_url, code, state, iss }),
        _ => Err(BrowserError::NoCode(redirect_url)),
    }
}

/// Signs in and returns the redirect as it is, whatever it holds.
pub async fn walk(authorization_url: &str, account: &str, password: &str) -> Result<Url, BrowserError> {
    visit(authorization_url, Person::SignsIn { account, password }).await
}

/// Presses the page's cancel button and returns the redirect.
pub async fn cancel(authorization_url: &str) -> Result<Url, BrowserError> {
    visit(authorization_url, Person::Cancels).await
}

async fn visit(authorization_url: &str, person: Person<'_>) -> Result<Url, BrowserError> {
    let refused = |why: String| BrowserError::NotAnAuthorizationUrl(why);
    let mut url = Url::parse(authorization_url).map_err(|error| refused(error.to_string()))?;
    let redirect_uri = url
        .query_pairs()
        .find(|(name, _)| name == "redirect_uri")
        .and_then(|(_, value)| Url::parse(&value).ok())
        .ok_or_else(|| refused("no redirect_uri".to_owned()))?;
    let mut jar = CookieJar::default();
    let mut fields: Option<Vec<(String, String)>> = None;
    for _ in 0..MAX_STEPS {
        if same_page(&url, &redirect_uri) {
            return Ok(url);
        }
        let mut request = match &fields {
            None => Request::get(&url),
            Some(fields) => Request::post_form(&url, fields).header("Origin", &url.origin().ascii_serialization()),
        };
        if let Some(cookies) = jar.header(&url) {
            request = request.header("Cookie", &cookies);
        }
        let answer = request.send().await?;
        jar.remember(&url, answer.headers.iter().filter(|(name, _)| name == "set-cookie").map(|(_, value)| value));
        let stuck = |url: &Url| BrowserError::Stuck { url: url.clone(), status: answer.status, body: answer.text() };
        if let Some(location) = answer.header("location") {
            url = url.join(location).map_err(|_| stuck(&url))?;
            fields = None;
            continue;
        }
        let page = answer.text();
        let (form, filled) = forms::parse(&page)
            .into_iter()
            .find_map(|form| fill(&form, person).map(|filled| (form, filled)))
            .ok_or_else(|| stuck(&url))?;
        // the same page with the same answers once more: the answers were not taken
        if fields.as_ref() == Some(&filled) {
            return Err(stuck(&url));
        }
        if !form.action.is_empty() {
            url = url.join(&form.action).map_err(|_| stuck(&url))?;
        }
        fields = Some(filled);
    }
    Err(BrowserError::Stuck { url, status: 0, body: format!("still no redirect after {MAX_STEPS} steps") })
}

fn same_page(url: &Url, redirect_uri: &Url) -> bool {
    url.origin() == redirect_uri.origin() && url.path() == redirect_uri.path()
}

/// The fields the person sends; `None` when the form has nothing for them (a search box, a language switch).
fn fill(form: &Form, person: Person<'_>) -> Option<Vec<(String, String)>> {
    let (account, password) = match person {
        Person::SignsIn { account, password } => (account, password),
        Person::Cancels => ("", ""),
    };
    let mut fields = Vec::new();
    for control in form.controls.iter().filter(|control| !control.name.is_empty()) {
        let value = match control.kind {
            Kind::Button | Kind::Choice { checked: false } => continue,
            Kind::Text => account,
            Kind::Password => password,
            Kind::Choice { checked: true } | Kind::Other => &control.value,
        };
        fields.push((control.name.clone(), value.to_owned()));
    }
    let buttons: Vec<&Control> = form.controls.iter().filter(|control| control.kind == Kind::Button).collect();
    let words: &[&str] = match person {
        Person::SignsIn { .. } => &[account, "login", "accept", "allow", "continue", "yes"],
        Person::Cancels => &["cancel", "deny", "no"],
    };
    let button = words.iter().find_map(|word| buttons.iter().find(|button| button.value.eq_ignore_ascii_case(word)))?;
    if !button.name.is_empty() {
        fields.push((button.name.clone(), button.value.clone()));
    }
    Some(fields)
}

/// Cookies by authority: unlike in a browser, the ports of one host do not share them. Path and expiry are left to the
/// providers, which look at what they know; an emptied cookie is gone.
#[derive(Default)]
struct CookieJar(HashMap<String, HashMap<String, String>>);

impl CookieJar {
    fn remember<'a>(&mut self, url: &Url, set_cookies: impl Iterator<Item = &'a String>) {
        let cookies = self.0.entry(authority(url)).or_default();
        for line in set_cookies {
            let pair = line.split(';').next().unwrap_or_default();
            match pair.split_once('=') {
                Some((name, "")) => {
                    cookies.remove(name.trim());
                }
                Some((name, value)) => {
                    cookies.insert(name.trim().to_owned(), value.trim().to_owned());
                }
                None => {}
            }
        }
    }

    fn header(&self, url: &Url) -> Option<String> {
        let cookies = self.0.get(&authority(url)).filter(|cookies| !cookies.is_empty())?;
        Some(cookies.iter().map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>().join("; "))
    }
}
