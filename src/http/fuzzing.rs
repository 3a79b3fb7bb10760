//! What fuzzing needs to see of this room: tokens, headers, redirect URIs.
#![allow(clippy::expect_used)]

use std::ffi::OsString;
use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::sync::OnceLock;

use aggregates::TokenHash;
use axum::body::Body;
use axum::extract::{ConnectInfo, Request};
use axum::http::header::{AUTHORIZATION, HOST, ORIGIN};
use axum::http::{Extensions, HeaderMap, HeaderName, HeaderValue};
use url::{Host, Url};

use super::bearer::Bearer;
use super::cors::Cors;
use super::host::Hosts;
use super::source::SourceAddress;
use super::{RedirectPolicy, RedirectUri};
use crate::settings::{GlobalArgs, Settings, TrustedProxies};

/// As many lines of the input become header lines.
const MAX_LINES: usize = 64;

const FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");

/// Tokens that were given out.
const ISSUED: [&str; 2] = ["alog_0123456789abcdefABCDEF", "Vt9u-bq3_Kk7x~Zz.0+/A=="];

fn settings(variables: &[(&str, &str)]) -> Settings {
    let variables = variables.iter().map(|(name, value)| (OsString::from(name), OsString::from(value)));
    Settings::load(&GlobalArgs::default(), None, variables, Path::new("fuzz")).expect("settings")
}

/// A service that the internet knows, with other names, other origins and a proxy.
fn public() -> &'static Settings {
    static PUBLIC: OnceLock<Settings> = OnceLock::new();
    PUBLIC.get_or_init(|| {
        settings(&[
            ("AUTHLOG_PUBLIC_URL", "https://auth.example:8443"),
            ("AUTHLOG_ALLOWED_HOSTS", "auth.internal,10.0.0.7,2001:db8::7"),
            ("AUTHLOG_ALLOWED_ORIGINS", "https://dash.example,http://localhost:3000,http://plain.example"),
            ("AUTHLOG_TRUSTED_PROXIES", "10.0.0.0/8,fd00::/8"),
        ])
    })
}

/// One on loopback.
fn local() -> &'static Settings {
    static LOCAL: OnceLock<Settings> = OnceLock::new();
    LOCAL.get_or_init(|| settings(&[("AUTHLOG_PUBLIC_URL", "http://127.0.0.1:8787")]))
}

/// A header line of each line that can be one.
fn lines(data: &[u8], name: &HeaderName) -> HeaderMap {
    let values =
        data.split(|byte| *byte == b'\n').take(MAX_LINES).filter_map(|line| HeaderValue::from_bytes(line).ok());
    let mut headers = HeaderMap::new();
    for value in values {
        headers.append(name, value);
    }
    headers
}

/// `Authorization` headers, one a line: a token is taken from one alone, whole, and is an issued one to the letter or nobody's.
pub fn bearer(data: &[u8]) {
    let headers = lines(data, &AUTHORIZATION);
    let Ok(Some(bearer)) = Bearer::read(&headers) else { return };
    let token = bearer.expose();
    let mut values = headers.get_all(AUTHORIZATION).iter();
    let value = values.next().and_then(|value| value.to_str().ok()).expect("a token is of a header's text");
    assert_eq!(values.next(), None, "one of several headers was read");
    let rest = value.get(..6).filter(|scheme| scheme.eq_ignore_ascii_case("bearer")).and_then(|_| value.get(6..));
    assert_eq!(rest.map(|rest| rest.trim_matches(' ')), Some(token), "{value:?}");
    let again = HeaderMap::from_iter([(AUTHORIZATION, format!("Bearer {token}").parse().expect("a header"))]);
    let again = Bearer::read(&again).expect("as before").expect("as before");
    assert_eq!(again.expose(), token);
    for issued in ISSUED {
        assert_eq!(TokenHash::of(token) == TokenHash::of(issued), token == issued, "{token:?}");
    }
}

/// The same lines as `Host`, `X-Forwarded-For` and `Origin`.
pub fn headers(data: &[u8]) {
    host(lines(data, &HOST));
    forwarded_for(&lines(data, &FORWARDED_FOR));
    origin(&lines(data, &ORIGIN));
}

/// A host that is answered is written in one header, by one of our names.
fn host(headers: HeaderMap) {
    static HOSTS: OnceLock<Hosts> = OnceLock::new();
    let mut request = Request::new(Body::empty());
    *request.uri_mut() = "/v1/users".parse().expect("a path");
    *request.headers_mut() = headers;
    if HOSTS.get_or_init(|| Hosts::new(public())).check(&request).is_err() {
        return;
    }
    let values: Vec<&HeaderValue> = request.headers().get_all(HOST).iter().collect();
    let [value] = values[..] else { panic!("answered with {} hosts", values.len()) };
    let text = value.to_str().expect("a name").to_ascii_lowercase();
    let is_port = |port: &str| !port.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit());
    let name = text.rsplit_once(':').filter(|(_, port)| is_port(port)).filter(|(name, _)| !name.ends_with(':'));
    let name = name.map_or(text.as_str(), |(name, _)| name);
    let bare = name.strip_prefix('[').and_then(|name| name.strip_suffix(']')).unwrap_or(name);
    let is_ours = match bare.parse::<IpAddr>() {
        Ok(address) => address.to_canonical().is_loopback() || ["10.0.0.7", "2001:db8::7"].contains(&bare),
        Err(_) => ["localhost", "auth.example", "auth.internal"].contains(&name),
    };
    assert!(is_ours, "answered as {text:?}");
}

/// A stranger's word counts for nothing: not that of the peer, and not what stands left of the first hop that is no proxy's.
fn forwarded_for(headers: &HeaderMap) {
    let trusted = &public().trusted_proxies;
    let stranger: IpAddr = "203.0.113.9".parse().expect("an address");
    assert_eq!(source(stranger, headers, trusted), stranger);
    let proxy: IpAddr = "10.0.0.1".parse().expect("an address");
    let found = source(proxy, headers, trusted);
    if trusted.contains(found) {
        return;
    }
    let claimed = "198.51.100.66, 10.0.0.2";
    let mut more = HeaderMap::from_iter([(FORWARDED_FOR, HeaderValue::from_static(claimed))]);
    for (_, value) in headers {
        more.append(FORWARDED_FOR, value.clone());
    }
    assert_eq!(source(proxy, &more, trusted), found);
    let is_named = |value: &HeaderValue| value.as_bytes().iter().any(|byte| byte.is_ascii_hexdigit() || *byte == b':');
    assert!(headers.values().any(is_named), "{found} is nowhere");
}

fn source(peer: IpAddr, headers: &HeaderMap, trusted: &TrustedProxies) -> IpAddr {
    let mut extensions = Extensions::new();
    extensions.insert(ConnectInfo(SocketAddr::new(peer, 4711)));
    SourceAddress::of(&extensions, headers, trusted).ip()
}

/// An origin that is named in the answer is an allowed one.
fn origin(headers: &HeaderMap) {
    static CORS: OnceLock<Cors> = OnceLock::new();
    let Some(named) = CORS.get_or_init(|| Cors::new(public())).allowed(headers) else { return };
    let named = named.to_str().expect("an origin");
    let allowed =
        ["https://dash.example", "http://localhost:3000", "http://plain.example", "https://auth.example:8443"];
    assert!(allowed.contains(&named), "{named}");
    assert_eq!(headers.get_all(ORIGIN).iter().count(), 1, "one of several origins was read");
    let given = headers[ORIGIN].to_str().expect("an origin").to_ascii_lowercase();
    let default = if named.starts_with("https") { ":443" } else { ":80" };
    assert!(given == named || given.strip_suffix(default) == Some(named), "{given:?} is not {named}");
}

/// A redirect URI that is accepted is, to the parser that browsers have, exactly an allowed origin and the one path, and its own
/// normal form.
pub fn redirect_uri(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let public_origins = ["https://auth.example:8443", "https://dash.example", "http://localhost:3000"];
    if let Some(accepted) = accepted(text, public()) {
        assert!(public_origins.contains(&accepted.as_str()), "{text:?} leads to {accepted}");
    }
    if let Some(accepted) = accepted(text, local()) {
        let url = Url::parse(&accepted).expect("a URL");
        let is_loopback = match url.host().expect("a host") {
            Host::Domain(name) => name == "localhost",
            Host::Ipv4(address) => address.is_loopback(),
            Host::Ipv6(address) => address.to_canonical().is_loopback(),
        };
        assert!(is_loopback, "{text:?} leads to {accepted}");
    }
}

/// The origin that browsers are sent to.
fn accepted(text: &str, settings: &Settings) -> Option<String> {
    let policy = RedirectPolicy::new(settings);
    let accepted = policy.accept(text).ok()?;
    assert_eq!(policy.accept(accepted.as_str()).as_ref().map(RedirectUri::as_str), Ok(accepted.as_str()));
    for spelling in [text, accepted.as_str()] {
        let url = Url::parse(spelling).expect("a URL");
        assert_eq!((url.path(), url.query(), url.fragment()), ("/auth/callback", None, None), "{spelling:?}");
        assert_eq!((url.username(), url.password()), ("", None), "{spelling:?}");
        let origin = url.origin().ascii_serialization();
        assert_eq!(accepted.as_str(), format!("{origin}/auth/callback"), "{text:?}");
    }
    accepted.as_str().strip_suffix("/auth/callback").map(str::to_owned)
}
