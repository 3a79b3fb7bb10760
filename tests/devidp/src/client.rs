//! Registered clients and how they prove who they are at the token endpoint (RFC 6749 section 2.3).

use crate::params::Params;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

/// How a client authenticates.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Authentication {
    /// `client_secret_basic` with this secret.
    Basic(String),
    /// `client_secret_post` with this secret.
    Post(String),
    /// Either of the two.
    BasicOrPost(String),
    /// A public client: only its id, and PKCE.
    Public,
}

/// A registered client. Its redirect URIs are not registered: any on loopback is taken, and no other.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Client {
    /// The `client_id`.
    pub id: String,
    /// How it authenticates at the token endpoint.
    pub authentication: Authentication,
}

impl Client {
    /// The secret of the clients of [`Client::defaults`], but for `authlog-test-odd`.
    pub const SECRET: &str = "authlog-test-secret-0123456789abcdef";
    /// The secret of `authlog-test-odd`: wrong when a client skips the form-encoding that Basic asks for.
    pub const ODD_SECRET: &str = "p+q/r:s%t&u=v w~0123456789abcdef";

    /// `authlog-test` (basic or post), and with the suffixes `-basic`, `-post`, `-odd` (basic) and `-public`: the names
    /// that the npm provider has as well.
    pub fn defaults() -> Vec<Self> {
        let client = |suffix: &str, authentication| Self { id: format!("authlog-test{suffix}"), authentication };
        vec![
            client("", Authentication::BasicOrPost(Self::SECRET.to_owned())),
            client("-basic", Authentication::Basic(Self::SECRET.to_owned())),
            client("-post", Authentication::Post(Self::SECRET.to_owned())),
            client("-odd", Authentication::Basic(Self::ODD_SECRET.to_owned())),
            client("-public", Authentication::Public),
        ]
    }

    /// The client's secret, if it has one.
    pub fn secret(&self) -> Option<&str> {
        match &self.authentication {
            Authentication::Basic(secret) | Authentication::Post(secret) | Authentication::BasicOrPost(secret) => {
                Some(secret)
            }
            Authentication::Public => None,
        }
    }

    fn accepts(&self, shown: &Shown) -> bool {
        match (&self.authentication, shown) {
            (
                Authentication::Basic(secret) | Authentication::BasicOrPost(secret),
                Shown::Basic { secret: shown, .. },
            )
            | (Authentication::Post(secret) | Authentication::BasicOrPost(secret), Shown::Post { secret: shown, .. }) => {
                secret == shown
            }
            (Authentication::Public, Shown::Id(_)) => true,
            _ => false,
        }
    }
}

/// What a token request shows about its client.
enum Shown {
    Basic { id: String, secret: String },
    Post { id: String, secret: String },
    Id(String),
}

impl Shown {
    fn id(&self) -> &str {
        match self {
            Self::Basic { id, .. } | Self::Post { id, .. } | Self::Id(id) => id,
        }
    }
}

/// The client that a token request comes from, or why it is refused.
pub(crate) fn authenticate<'a>(
    clients: &'a [Client],
    authorization: Option<&str>,
    params: &Params,
) -> Result<&'a Client, &'static str> {
    let shown = shown(authorization, params)?;
    let client = clients.iter().find(|client| client.id == shown.id()).ok_or("unknown client")?;
    if client.accepts(&shown) { Ok(client) } else { Err("the client did not authenticate as it is registered to") }
}

fn shown(authorization: Option<&str>, params: &Params) -> Result<Shown, &'static str> {
    match (authorization, params.get("client_id"), params.get("client_secret")) {
        (Some(_), _, Some(_)) => Err("two ways of authentication at once"),
        (Some(header), body_id, None) => {
            let (id, secret) = basic(header).ok_or("the Authorization header is not Basic")?;
            if body_id.is_some_and(|body_id| body_id != id) {
                return Err("client_id differs from the one in the Authorization header");
            }
            Ok(Shown::Basic { id, secret })
        }
        (None, Some(id), Some(secret)) => Ok(Shown::Post { id: id.to_owned(), secret: secret.to_owned() }),
        (None, Some(id), None) => Ok(Shown::Id(id.to_owned())),
        (None, None, _) => Err("no client authentication"),
    }
}

/// Id and secret are form-encoded *before* they are joined and base64 encoded (RFC 6749 section 2.3.1).
fn basic(header: &str) -> Option<(String, String)> {
    let (scheme, credentials) = header.split_once(' ')?;
    if !scheme.eq_ignore_ascii_case("basic") {
        return None;
    }
    let decoded = String::from_utf8(STANDARD.decode(credentials.trim()).ok()?).ok()?;
    let (id, secret) = decoded.split_once(':')?;
    Some((form_decode(id)?, form_decode(secret)?))
}

fn form_decode(text: &str) -> Option<String> {
    if text.contains(['&', '=']) {
        return None;
    }
    Some(url::form_urlencoded::parse(text.as_bytes()).next().map(|(key, _)| key.into_owned()).unwrap_or_default())
}
