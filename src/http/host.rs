//! Which host a request means. A page of another site can make a browser resolve its own name to
//! 127.0.0.1 and talk to a service there (DNS rebinding); the name it asks for gives it away.

use std::collections::HashSet;

use axum::extract::Request;
use axum::http::header;
use axum::http::uri::Authority;

use super::PROBES;
use crate::error::{ApiError, ErrorCode};
use crate::settings::{HostName, Settings};

/// The names the service answers to, besides loopback.
pub(super) struct Hosts {
    ours: HashSet<HostName>,
    /// How nearly every request spells them: these need no parsing.
    usual: HashSet<String>,
}

impl Hosts {
    pub(super) fn new(settings: &Settings) -> Self {
        let public = settings.public_url.iter().map(|url| url.host().clone());
        let ours: HashSet<HostName> = public.chain(settings.allowed_hosts.iter().cloned()).collect();
        let loopback = ["localhost", "127.0.0.1", "[::1]"].map(str::to_owned);
        let usual = ours.iter().map(ToString::to_string).chain(loopback).collect();
        Self { ours, usual }
    }

    /// Every name the request gives must be ours: the target's authority (HTTP/2, or HTTP/1 in
    /// absolute form) and the one `Host` header. Ports do not matter. None, two or an odd one: 421.
    pub(super) fn check(&self, request: &Request) -> Result<(), ApiError> {
        // Probes and scrapers come by address or by a cluster's names.
        if PROBES.contains(&request.uri().path()) || self.is_ours(request) {
            Ok(())
        } else {
            Err(ErrorCode::MisdirectedRequest.into())
        }
    }

    fn is_ours(&self, request: &Request) -> bool {
        let mut headers = request.headers().get_all(header::HOST).iter();
        let (first, second) = (headers.next(), headers.next());
        let by_target = request.uri().authority().map(|authority| self.knows(authority));
        let by_header = first.map(|value| {
            let authority = value.to_str().ok().and_then(|text| text.parse().ok());
            authority.is_some_and(|authority| self.knows(&authority))
        });
        match (by_target, by_header) {
            (None, None) => false,
            (by_target, by_header) => second.is_none() && by_target.unwrap_or(true) && by_header.unwrap_or(true),
        }
    }

    fn knows(&self, authority: &Authority) -> bool {
        // The parser allows credentials, and for a port what is no number or has a sign; browsers send none of them.
        let text = authority.as_str();
        let port = text.strip_prefix(authority.host());
        let is_port = |digits: &str| digits.bytes().all(|byte| byte.is_ascii_digit()) && digits.parse::<u16>().is_ok();
        if !port.is_some_and(|port| port.is_empty() || port.strip_prefix(':').is_some_and(is_port)) {
            return false;
        }
        let host = authority.host();
        self.usual.contains(host)
            || host.parse::<HostName>().is_ok_and(|host| host.is_loopback() || self.ours.contains(&host))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use axum::body::Body;

    use super::*;
    use crate::http::testing::settings;

    fn verdict(uri: &str, hosts: &[&str]) -> u16 {
        let hosts_known = Hosts::new(&settings(
            "public_url = 'https://auth.example:8443'\nallowed_hosts = ['auth.internal', '10.0.0.7', '2001:db8::7']",
        ));
        let request = hosts.iter().fold(Request::get(uri), |request, host| request.header("host", *host));
        match hosts_known.check(&request.body(Body::empty()).unwrap()) {
            Ok(()) => 200,
            Err(error) => error.status().as_u16(),
        }
    }

    #[test]
    fn our_names_are_answered_whatever_the_port_and_case() {
        for host in [
            "localhost",
            "localhost:1234",
            "LocalHost",
            "127.0.0.1:8787",
            "[::1]:8787",
            "auth.example",
            "auth.example:443",
            "AUTH.example",
            "auth.internal:80",
            "10.0.0.7",
            "[2001:db8::7]:1",
        ] {
            assert_eq!(verdict("/v1/users", &[host]), 200, "{host}");
        }
    }

    #[test]
    fn other_and_odd_names_are_misdirected() {
        for host in [
            "",
            "evil.example",
            "auth.example.evil.example",
            "localhost.evil.example",
            "localhost.",
            "evil.example@localhost",
            "localhost@evil.example",
            "localhost:",
            "localhost:x",
            "localhost:99999",
            "localhost:+80",
            "localhost, evil.example",
            "0x7f.1",
            "2130706433",
            "::1",
            "[::1",
            "auth.example/",
            "*",
        ] {
            assert_eq!(verdict("/v1/users", &[host]), 421, "{host}");
        }
    }

    #[test]
    fn none_and_two_names_are_misdirected() {
        assert_eq!(verdict("/v1/users", &[]), 421);
        assert_eq!(verdict("/v1/users", &["localhost", "localhost"]), 421);
        assert_eq!(verdict("/v1/users", &["localhost", "evil.example"]), 421);
    }

    #[test]
    fn the_authority_of_the_target_counts_as_well_as_the_header() {
        assert_eq!(verdict("http://localhost/v1/users", &[]), 200);
        assert_eq!(verdict("http://localhost/v1/users", &["auth.example"]), 200);
        assert_eq!(verdict("http://evil.example/v1/users", &[]), 421);
        assert_eq!(verdict("http://evil.example/v1/users", &["localhost"]), 421);
        assert_eq!(verdict("http://localhost/v1/users", &["evil.example"]), 421);
    }

    #[test]
    fn health_and_metrics_are_answered_by_any_name_and_nothing_beside_them() {
        for path in ["/healthz", "/readyz", "/metrics"] {
            assert_eq!(verdict(path, &["10.1.2.3"]), 200, "{path}");
        }
        assert_eq!(verdict("/metrics/", &["10.1.2.3"]), 421);
        assert_eq!(verdict("/healthz/../v1/users", &["10.1.2.3"]), 421);
    }
}
