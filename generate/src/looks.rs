//! What people look like to a service: names, addresses, browsers, networks.

use std::net::{Ipv4Addr, Ipv6Addr};

use aggregates::{LinkedIdentity, Profile, Protected, UserId};

use crate::chance::Chance;

/// The made-up provider; nobody listens there and nobody is asked.
pub(crate) const ISSUER: &str = "https://id.example.com";
/// What the owner sets by mistake.
pub(crate) const WRONG_ISSUER: &str = "https://id-staging.example.com";
pub(crate) const CLIENT_ID: &str = "authlog";

const GIVEN_NAMES: [&str; 16] = [
    "Ada", "Bao", "Chidi", "Dana", "Elif", "Farid", "Grace", "Hana", "Ivo", "Jun", "Kofi", "Lena", "Mira", "Noor",
    "Oskar", "Zoë",
];
const FAMILY_NAMES: [&str; 16] = [
    "Adeyemi", "Berg", "Costa", "Diaz", "Eriksen", "Fujita", "Garcia", "Haddad", "Ito", "Jansen", "Kowalski", "Lopez",
    "Müller", "Nguyen", "Okafor", "Singh",
];
const DOMAINS: [&str; 4] = ["example.com", "example.org", "mail.example.net", "xn--bcher-kva.example"];
const BROWSERS: [&str; 8] = [
    "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/126.0.0.0 Safari/537.36",
    "Mozilla/5.0 (Windows NT 10.0; Win64; x64; rv:127.0) Gecko/20100101 Firefox/127.0",
    "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/126.0.0.0 Safari/537.36 Edg/126.0.2592.68",
    "Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/17.5 Safari/605.1.15",
    "Mozilla/5.0 (X11; Linux x86_64; rv:127.0) Gecko/20100101 Firefox/127.0",
    "Mozilla/5.0 (iPhone; CPU iPhone OS 17_5_1 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/17.5 Mobile/15E148 Safari/604.1",
    "Mozilla/5.0 (Linux; Android 14; Pixel 8) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/126.0.6478.110 Mobile Safari/537.36",
    "Mozilla/5.0 (X11; CrOS x86_64 14541.0.0) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/126.0.0.0 Safari/537.36",
];
/// The user agent of programs with an API token.
const PROGRAM: &str = "curl/8.8.0";

/// From where and with what a call is made.
#[derive(Clone, Debug)]
pub(crate) struct Origin {
    pub source_address: String,
    pub user_agent: &'static str,
}

impl Origin {
    /// Somewhere in the networks for documentation (RFC 5737, RFC 3849).
    pub(crate) fn by_chance(chance: &mut Chance) -> Self {
        let [a, b, c, d, net, ..] = chance.bytes::<8>();
        let source_address = match net % 4 {
            0 => Ipv6Addr::new(0x2001, 0xdb8, a.into(), b.into(), 0, 0, c.into(), d.into()).to_string(),
            1 => Ipv4Addr::new(192, 0, 2, a).to_string(),
            2 => Ipv4Addr::new(198, 51, 100, a).to_string(),
            _ => Ipv4Addr::new(203, 0, 113, a).to_string(),
        };
        Self { source_address, user_agent: chance.pick(&BROWSERS) }
    }

    pub(crate) fn of_a_program(chance: &mut Chance) -> Self {
        Self { user_agent: PROGRAM, ..Self::by_chance(chance) }
    }
}

/// What the provider says of somebody.
#[derive(Clone, Debug)]
pub(crate) struct Looks {
    pub name: String,
    pub picture: Option<String>,
}

impl Looks {
    pub(crate) fn by_chance(chance: &mut Chance) -> Self {
        let name = format!("{} {}", chance.pick(&GIVEN_NAMES), chance.pick(&FAMILY_NAMES));
        let picture = chance.one_in(3).then(|| format!("https://id.example.com/pictures/{}", chance.below(100_000)));
        Self { name, picture }
    }

    pub(crate) fn profile(&self, user: UserId) -> Profile {
        let protect = |text: &String| Protected::of_person(user, text.clone());
        Profile { display_name: Some(protect(&self.name)), picture: self.picture.as_ref().map(protect) }
    }
}

/// An address that nobody has had: `number` is another one each time.
pub(crate) fn address(chance: &mut Chance, number: usize) -> String {
    let letters = |name: &str| name.chars().filter(char::is_ascii).collect::<String>().to_lowercase();
    let (given, family) = (letters(chance.pick(&GIVEN_NAMES)), letters(chance.pick(&FAMILY_NAMES)));
    format!("{given}.{family}{number}@{}", chance.pick(&DOMAINS))
}

/// A subject that nobody has.
pub(crate) fn subject(chance: &mut Chance) -> String {
    uuid::Uuid::from_bytes(chance.bytes()).simple().to_string()
}

pub(crate) fn identity(user: UserId, subject: &str) -> LinkedIdentity {
    LinkedIdentity { issuer: ISSUER.to_owned(), subject: Protected::of_person(user, subject) }
}
