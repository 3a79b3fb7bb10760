//! Who calls, by address. `X-Forwarded-For` is a claim: what stands in it is believed from the right,
//! as far as the hops are proxies the operator trusts, and not one further.

use std::convert::Infallible;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use axum::extract::{ConnectInfo, FromRequestParts};
use axum::http::request::Parts;
use axum::http::{Extensions, HeaderMap};

use crate::settings::TrustedProxies;
use crate::settings::limits::FORWARDED_HOPS;
use crate::settings::masked;

/// The address a request comes from: the peer's, or behind trusted proxies the first hop from the
/// right that is not one of them. IPv4 written as IPv6 is IPv4 here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SourceAddress(IpAddr);

/// What counts as one source when calls are counted: an IPv4 address, or an IPv6 /64, which is what
/// one customer is given.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RateKey(IpAddr);

impl SourceAddress {
    /// This address.
    pub fn new(address: IpAddr) -> Self {
        Self(address.to_canonical())
    }

    /// The address of a request. Without a peer (a router called directly, in a test) it is 0.0.0.0.
    pub(super) fn of(extensions: &Extensions, headers: &HeaderMap, trusted: &TrustedProxies) -> Self {
        let peer = extensions
            .get::<ConnectInfo<SocketAddr>>()
            .map_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED), |ConnectInfo(peer)| peer.ip());
        Self::new(behind(peer, headers, trusted))
    }

    /// The address itself.
    pub fn ip(self) -> IpAddr {
        self.0
    }

    /// The source this address is counted as.
    pub fn rate_key(self) -> RateKey {
        match self.0 {
            IpAddr::V4(_) => RateKey(self.0),
            IpAddr::V6(_) => RateKey(masked(self.0, 64)),
        }
    }
}

impl RateKey {
    /// The address, or the first of its /64.
    pub fn ip(self) -> IpAddr {
        self.0
    }

    /// The neighbourhood it is counted with when there are too many sources to count one by one:
    /// at most 8192 of them.
    pub(super) fn neighbourhood(self) -> Self {
        Self(masked(self.0, 12))
    }
}

impl fmt::Display for SourceAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl<S: Send + Sync> FromRequestParts<S> for SourceAddress {
    type Rejection = Infallible;

    /// The address that `layers` found; a router without the layers trusts no proxy.
    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Infallible> {
        let found = parts.extensions.get::<Self>().copied();
        Ok(found.unwrap_or_else(|| Self::of(&parts.extensions, &parts.headers, &TrustedProxies::default())))
    }
}

/// Walks from the peer to the left while the last address seen is a trusted proxy's. A hop that is no
/// address ends the walk: the proxy that passed it on is all that is known.
fn behind(peer: IpAddr, headers: &HeaderMap, trusted: &TrustedProxies) -> IpAddr {
    let lines = headers.get_all("x-forwarded-for").iter().collect::<Vec<_>>();
    let hops = lines.iter().rev().flat_map(|line| line.as_bytes().rsplit(|byte| *byte == b',')).take(FORWARDED_HOPS);
    let mut nearest = peer;
    for hop in hops {
        if !trusted.contains(nearest) {
            break;
        }
        match hop_address(hop) {
            Some(address) => nearest = address,
            None => break,
        }
    }
    nearest
}

/// An address, with or without a port.
fn hop_address(hop: &[u8]) -> Option<IpAddr> {
    let text = std::str::from_utf8(hop).ok()?.trim();
    let bare = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(text);
    bare.parse().ok().or_else(|| text.parse::<SocketAddr>().ok().map(|address| address.ip()))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn source(peer: &str, lines: &[&str]) -> String {
        let trusted = ["10.0.0.0/8", "fd00::/8"].map(|network| network.parse().unwrap());
        let mut headers = HeaderMap::new();
        for line in lines {
            headers.append("x-forwarded-for", line.parse().unwrap());
        }
        let mut extensions = Extensions::new();
        extensions.insert(ConnectInfo(SocketAddr::new(peer.parse().unwrap(), 4711)));
        SourceAddress::of(&extensions, &headers, &TrustedProxies::new(trusted.to_vec())).to_string()
    }

    #[test]
    fn a_stranger_cannot_choose_an_address() {
        assert_eq!(source("203.0.113.9", &["192.0.2.1"]), "203.0.113.9");
        assert_eq!(source("203.0.113.9", &[]), "203.0.113.9");
        assert_eq!(source("10.0.0.1", &["192.0.2.1, 203.0.113.9"]), "203.0.113.9");
    }

    #[test]
    fn behind_trusted_proxies_the_first_other_hop_from_the_right_counts() {
        assert_eq!(source("10.0.0.1", &["192.0.2.1"]), "192.0.2.1");
        assert_eq!(source("10.0.0.1", &["192.0.2.1, 10.0.0.3 ,10.0.0.2"]), "192.0.2.1");
        assert_eq!(source("10.0.0.1", &["6.6.6.6, 192.0.2.1", "10.0.0.3"]), "192.0.2.1");
        assert_eq!(source("fd00::1", &["2001:db8::9"]), "2001:db8::9");
        assert_eq!(source("::ffff:10.0.0.1", &["::ffff:192.0.2.1"]), "192.0.2.1");
        assert_eq!(source("10.0.0.1", &["10.0.0.3, 10.0.0.2"]), "10.0.0.3");
        assert_eq!(source("10.0.0.1", &[]), "10.0.0.1");
    }

    #[test]
    fn hops_may_carry_ports_and_what_is_no_address_ends_the_walk() {
        assert_eq!(source("10.0.0.1", &["192.0.2.1:4711"]), "192.0.2.1");
        assert_eq!(source("10.0.0.1", &["[2001:db8::9]:4711"]), "2001:db8::9");
        assert_eq!(source("10.0.0.1", &["[2001:db8::9]"]), "2001:db8::9");
        assert_eq!(source("10.0.0.1", &["192.0.2.1, unknown, 10.0.0.2"]), "10.0.0.2");
        assert_eq!(source("10.0.0.1", &[""]), "10.0.0.1");
    }

    #[test]
    fn no_more_than_thirty_two_hops_are_looked_at() {
        let line = format!("192.0.2.1{}", ", 10.0.0.2".repeat(40));
        assert_eq!(source("10.0.0.1", &[&line]), "10.0.0.2");
    }

    #[test]
    fn an_ipv6_source_is_its_64_and_a_mapped_one_is_ipv4() {
        let key = |text: &str| SourceAddress::new(text.parse().unwrap()).rate_key().ip().to_string();
        assert_eq!(key("2001:db8:1:2:3:4:5:6"), "2001:db8:1:2::");
        assert_eq!(key("192.0.2.1"), "192.0.2.1");
        assert_eq!(key("::ffff:192.0.2.1"), "192.0.2.1");
    }
}
