//! Origins and host names, compared as what they mean and not as they are written.
//!
//! Both are accepted in their plain spelling only: what a URL parser would have to repair
//! (backslashes, odd numbers for addresses, percent signs, a second `@`) is refused, because another
//! parser might repair it differently.

use std::fmt;
use std::str::FromStr;

use url::{Host, Url};

/// The two schemes that browsers reach us by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Scheme {
    /// Plain, for loopback.
    Http,
    /// Encrypted.
    Https,
}

impl Scheme {
    fn as_str(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Https => "https",
        }
    }

    fn default_port(self) -> u16 {
        match self {
            Self::Http => 80,
            Self::Https => 443,
        }
    }
}

/// A host name or an IP address, without a port.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct HostName(Host<String>);

impl HostName {
    /// `localhost`, 127.0.0.0/8 or `::1`. Names below `localhost` are not: not every resolver keeps
    /// them at home.
    pub fn is_loopback(&self) -> bool {
        match &self.0 {
            Host::Domain(name) => name == "localhost",
            Host::Ipv4(address) => address.is_loopback(),
            Host::Ipv6(address) => address.to_canonical().is_loopback(),
        }
    }
}

impl fmt::Display for HostName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A text that is no host name, or one in an odd spelling.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("it is not a host name or an IP address in its plain ASCII spelling, without a port")]
pub struct HostNameError;

impl FromStr for HostName {
    type Err = HostNameError;

    fn from_str(text: &str) -> Result<Self, HostNameError> {
        if let Ok(address) = text.parse() {
            return Ok(Self(Host::Ipv6(address)));
        }
        let lower = text.to_ascii_lowercase();
        let host = Host::parse(&lower).map_err(|_| HostNameError)?;
        let plain = match &host {
            Host::Domain(name) => {
                !name.ends_with('.') && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b".-_".contains(&byte))
            }
            Host::Ipv4(_) | Host::Ipv6(_) => true,
        };
        if plain && host.to_string() == lower { Ok(Self(host)) } else { Err(HostNameError) }
    }
}

/// Scheme, host and port: what browsers call an origin (RFC 6454). `Display` is the form browsers
/// send, without the scheme's default port and without a slash.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Origin {
    scheme: Scheme,
    host: HostName,
    port: u16,
}

/// A text that is no origin.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum OriginError {
    /// Not an absolute URL with http or https.
    #[error("it is not an absolute http or https URL")]
    Scheme,
    /// User name or password.
    #[error("it holds credentials")]
    Credentials,
    /// Something behind the host and port.
    #[error("it has a path, a query or a fragment")]
    Path,
    /// A host in a spelling that parsers may disagree about.
    #[error("its host or port is not in its plain ASCII spelling")]
    Spelling,
}

impl Origin {
    /// Its scheme.
    pub fn scheme(&self) -> Scheme {
        self.scheme
    }

    /// Its host.
    pub fn host(&self) -> &HostName {
        &self.host
    }

    /// Its port, the scheme's own when none is written.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Whether it never leaves this machine.
    pub fn is_loopback(&self) -> bool {
        self.host.is_loopback()
    }

    /// The origin an `Origin` header names: as in settings, but a browser sends no slash.
    pub fn from_header(text: &str) -> Option<Self> {
        if text.ends_with('/') { None } else { text.parse().ok() }
    }

    /// `scheme://host[:port]` in lower case, the scheme's own port written or not.
    fn is_spelled(&self, lower: &str) -> bool {
        let Self { scheme, host, port } = self;
        lower == self.to_string() || lower == format!("{}://{host}:{port}", scheme.as_str())
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://{}", self.scheme.as_str(), self.host)?;
        if self.port == self.scheme.default_port() { Ok(()) } else { write!(f, ":{}", self.port) }
    }
}

impl FromStr for Origin {
    type Err = OriginError;

    fn from_str(text: &str) -> Result<Self, OriginError> {
        let url = Url::parse(text).map_err(|_| OriginError::Scheme)?;
        let scheme = match url.scheme() {
            "http" => Scheme::Http,
            "https" => Scheme::Https,
            _ => return Err(OriginError::Scheme),
        };
        if !url.username().is_empty() || url.password().is_some() {
            return Err(OriginError::Credentials);
        }
        if url.path() != "/" || url.query().is_some() || url.fragment().is_some() {
            return Err(OriginError::Path);
        }
        let host = url.host_str().ok_or(OriginError::Scheme)?;
        let host = host.parse().map_err(|_| OriginError::Spelling)?;
        let port = url.port().unwrap_or(scheme.default_port());
        let origin = Self { scheme, host, port };
        let lower = text.to_ascii_lowercase();
        if origin.is_spelled(lower.strip_suffix('/').unwrap_or(&lower)) {
            Ok(origin)
        } else {
            Err(OriginError::Spelling)
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn an_origin_is_what_it_means() {
        let plain: Origin = "https://dash.example".parse().unwrap();
        for same in ["https://dash.example/", "https://dash.example:443", "HTTPS://Dash.Example"] {
            assert_eq!(same.parse::<Origin>().unwrap(), plain, "{same}");
        }
        for other in ["http://dash.example", "https://dash.example:8443", "https://dash.example.evil"] {
            assert_ne!(other.parse::<Origin>().unwrap(), plain, "{other}");
        }
        assert_eq!(plain.to_string(), "https://dash.example");
        assert_eq!("http://[::1]:80".parse::<Origin>().unwrap().to_string(), "http://[::1]");
    }

    #[test]
    fn what_is_no_origin_is_refused_with_its_reason() {
        for (text, reason) in [
            ("null", OriginError::Scheme),
            ("*", OriginError::Scheme),
            ("dash.example", OriginError::Scheme),
            ("ftp://dash.example", OriginError::Scheme),
            ("https://", OriginError::Scheme),
            ("https://me@dash.example", OriginError::Credentials),
            ("https://dash.example@evil.example", OriginError::Credentials),
            ("https://dash.example/app", OriginError::Path),
            ("https://dash.example?x", OriginError::Path),
            ("https://dash.example#x", OriginError::Path),
            ("https://@dash.example", OriginError::Spelling),
            ("https:dash.example", OriginError::Spelling),
            ("https:\\\\dash.example", OriginError::Spelling),
            ("https://dash.example\\", OriginError::Spelling),
            ("https://dash.example.", OriginError::Spelling),
            ("https://*.example", OriginError::Spelling),
            ("https://d%61sh.example", OriginError::Spelling),
            ("https://bücher.example", OriginError::Spelling),
            ("https://dash.example:", OriginError::Spelling),
            ("https://dash.example:0443", OriginError::Spelling),
            ("http://2130706433", OriginError::Spelling),
            ("http://0x7f.1", OriginError::Spelling),
            (" https://dash.example", OriginError::Spelling),
            ("https://dash.ex\tample", OriginError::Spelling),
        ] {
            assert_eq!(text.parse::<Origin>(), Err(reason), "{text}");
        }
    }

    #[test]
    fn loopback_is_the_machine_itself_and_nothing_that_looks_like_it() {
        for host in ["localhost", "LOCALHOST", "127.0.0.1", "127.9.9.9", "[::1]", "::1", "[::ffff:7f00:1]"] {
            assert!(host.parse::<HostName>().unwrap().is_loopback(), "{host}");
        }
        for host in ["localhost.evil.example", "my.localhost", "127.0.0.1.evil.example", "0.0.0.0", "[::]"] {
            assert!(host.parse::<HostName>().is_ok_and(|host| !host.is_loopback()), "{host}");
        }
        for host in ["", "localhost.", "a b", "a:1", "a/b", "a@b", "127.1", "0177.0.0.1", "%6cocalhost"] {
            assert_eq!(host.parse::<HostName>(), Err(HostNameError), "{host}");
        }
    }
}
