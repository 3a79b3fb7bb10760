//! Which addresses authlog never connects to, whoever names them.
//!
//! Whoever configures a provider, or runs one, decides where authlog sends requests. Private networks
//! and loopback are ordinary homes of a provider; link-local and metadata addresses, where clouds hand
//! out credentials, are not.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// The class of a refused address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// `0.0.0.0/8`, `::`: "this host", which many systems route to loopback.
    Unspecified,
    /// `169.254.0.0/16`, `fe80::/10`.
    LinkLocal,
    /// `224.0.0.0/4`, `ff00::/8`.
    Multicast,
    /// Where a cloud answers with credentials outside of the link-local range.
    Metadata,
    /// `240.0.0.0/4`, broadcast among it.
    Reserved,
}

impl fmt::Display for Refusal {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Unspecified => "unspecified",
            Self::LinkLocal => "link-local",
            Self::Multicast => "multicast",
            Self::Metadata => "a cloud's metadata service",
            Self::Reserved => "reserved",
        })
    }
}

/// Alibaba Cloud, Azure's wire server, Oracle Cloud's former address.
const METADATA_V4: [Ipv4Addr; 3] =
    [Ipv4Addr::new(100, 100, 100, 200), Ipv4Addr::new(168, 63, 129, 16), Ipv4Addr::new(192, 0, 0, 192)];

/// Amazon, Google and Oracle over IPv6.
const METADATA_V6: [Ipv6Addr; 3] = [
    Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254),
    Ipv6Addr::new(0xfd20, 0xce, 0, 0, 0, 0, 0, 0x254),
    Ipv6Addr::new(0xfd00, 0xc1, 0, 0, 0, 0, 0xa9fe, 0xa9fe),
];

/// Why this address is refused; `None` if it may be connected to.
pub(super) fn refusal(address: IpAddr) -> Option<Refusal> {
    match address {
        IpAddr::V4(address) => refusal_v4(address),
        IpAddr::V6(address) => match embedded_v4(address) {
            Some(inner) => refusal_v4(inner),
            None => refusal_v6(address),
        },
    }
}

fn refusal_v4(address: Ipv4Addr) -> Option<Refusal> {
    let first = address.octets()[0];
    if METADATA_V4.contains(&address) {
        Some(Refusal::Metadata)
    } else if first == 0 {
        Some(Refusal::Unspecified)
    } else if address.is_link_local() {
        Some(Refusal::LinkLocal)
    } else if address.is_multicast() {
        Some(Refusal::Multicast)
    } else if first >= 240 {
        Some(Refusal::Reserved)
    } else {
        None
    }
}

fn refusal_v6(address: Ipv6Addr) -> Option<Refusal> {
    if METADATA_V6.contains(&address) {
        Some(Refusal::Metadata)
    } else if address.is_unspecified() {
        Some(Refusal::Unspecified)
    } else if address.is_unicast_link_local() {
        Some(Refusal::LinkLocal)
    } else if address.is_multicast() {
        Some(Refusal::Multicast)
    } else {
        None
    }
}

/// The IPv4 address that a mapped, compatible, translated (RFC 6052) or 6to4 address leads to.
fn embedded_v4(address: Ipv6Addr) -> Option<Ipv4Addr> {
    let s = address.segments();
    let from = |high: u16, low: u16| Ipv4Addr::from((u32::from(high) << 16) | u32::from(low));
    match s {
        [0, 0, 0, 0, 0, 0, 0, 0 | 1] => None,
        [0, 0, 0, 0, 0, 0 | 0xffff, high, low]
        | [0, 0, 0, 0, 0xffff, 0, high, low]
        | [0x64, 0xff9b, 0, 0, 0, 0, high, low]
        | [0x64, 0xff9b, 1, .., high, low]
        | [0x2002, high, low, ..] => Some(from(high, low)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::{Refusal, refusal};

    #[test]
    fn ordinary_private_and_loopback_addresses_may_be_connected_to() {
        for address in [
            "127.0.0.1",
            "127.9.9.9",
            "::1",
            "10.1.2.3",
            "172.16.0.1",
            "192.168.1.1",
            "100.64.0.1",
            "8.8.8.8",
            "2001:db8::1",
            "fd12:3456::1",
            "::ffff:127.0.0.1",
            "64:ff9b::8.8.8.8",
        ] {
            assert_eq!(refusal(address.parse().unwrap()), None, "{address}");
        }
    }

    #[test]
    fn link_local_metadata_unspecified_multicast_and_reserved_addresses_are_refused() {
        use Refusal::{LinkLocal, Metadata, Multicast, Reserved, Unspecified};
        for (address, class) in [
            ("0.0.0.0", Unspecified),
            ("0.1.2.3", Unspecified),
            ("::", Unspecified),
            ("169.254.169.254", LinkLocal),
            ("169.254.0.1", LinkLocal),
            ("fe80::1", LinkLocal),
            ("febf::1", LinkLocal),
            ("224.0.0.1", Multicast),
            ("239.255.255.255", Multicast),
            ("ff02::1", Multicast),
            ("100.100.100.200", Metadata),
            ("168.63.129.16", Metadata),
            ("fd00:ec2::254", Metadata),
            ("fd20:ce::254", Metadata),
            ("255.255.255.255", Reserved),
            ("240.0.0.1", Reserved),
        ] {
            assert_eq!(refusal(address.parse().unwrap()), Some(class), "{address}");
        }
    }

    #[test]
    fn an_ipv4_address_in_ipv6_clothes_is_recognised() {
        for address in [
            "::ffff:169.254.169.254",
            "::169.254.169.254",
            "::ffff:0:169.254.169.254",
            "64:ff9b::169.254.169.254",
            "64:ff9b:1::169.254.169.254",
            "2002:a9fe:a9fe::1",
        ] {
            let class = refusal(address.parse().unwrap());
            assert_eq!(class, Some(Refusal::LinkLocal), "{address}");
        }
    }
}
