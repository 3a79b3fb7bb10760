//! Requests that no client of ours sends, each unlike the others: made up from their number, so that the same ones come each time.
//! For `cargo xtask bench` too.

use std::net::{Ipv4Addr, SocketAddr};

/// Requests of one connection; the last of them is no HTTP, or ends the connection by itself.
pub const ON_A_CONNECTION: usize = 20;

/// Loopback addresses that strangers call from.
pub fn source(number: usize) -> SocketAddr {
    // A prime, so that as many different ones come as there are.
    let bits = 0x7f01_0000 + u32::try_from(number * 7919 % 0x00fe_0000).unwrap_or(0);
    SocketAddr::new(Ipv4Addr::from_bits(bits).into(), 0)
}

/// All bytes that one connection sends, one request after another.
pub fn connection(number: usize) -> Vec<u8> {
    let first = number * ON_A_CONNECTION;
    let mut bytes: Vec<u8> =
        (first..first + ON_A_CONNECTION - 1).flat_map(|odd| well_formed(odd).into_bytes()).collect();
    bytes.extend(malformed(number));
    bytes
}

/// Odd, and HTTP all the same.
fn well_formed(odd: usize) -> String {
    let host = "Host: localhost\r\n";
    match odd % 14 {
        0 => format!("BREW{odd} / HTTP/1.1\r\n{host}\r\n"),
        1 => format!("GET /odd/{odd}/../{odd} HTTP/1.1\r\n{host}\r\n"),
        2 => format!("GET /v1/users/{odd} HTTP/1.1\r\n{host}Authorization: Bearer odd{odd}\r\n\r\n"),
        3 => format!("GET /v1/public/setup-status HTTP/1.1\r\nHost: host{odd}.example\r\n\r\n"),
        4 => format!("GET /healthz HTTP/1.1\r\nHost: host{odd}.example:1\r\nX-Odd-{odd}: {odd}\r\n\r\n"),
        5 => format!("GET /v1/public/setup-status?odd{odd}={odd}%00%ff HTTP/1.1\r\n{host}\r\n"),
        6 => format!("GET /v1/users?sort={odd}&q={odd} HTTP/1.1\r\n{host}Cookie: odd{odd}={odd}\r\n\r\n"),
        7 => format!(
            "POST /v1/auth/oidc/callback HTTP/1.1\r\n{host}Content-Type: odd/{odd}\r\nContent-Length: 3\r\n\r\n{{}}x"
        ),
        8 => format!(
            "OPTIONS /{odd} HTTP/1.1\r\n{host}Origin: https://odd{odd}.example\r\nAccess-Control-Request-Method: GET\r\n\r\n"
        ),
        9 => {
            let body = format!("{{\"state\":\"{odd}\",\"code\":\"{odd}\"}}");
            let head = format!("POST /v1/auth/oidc/callback HTTP/1.1\r\n{host}Content-Type: application/json\r\n");
            format!("{head}Content-Length: {}\r\n\r\n{body}", body.len())
        }
        10 => format!(
            "GET /v1/sessions HTTP/1.1\r\n{host}User-Agent: {odd}\r\nX-Forwarded-For: 10.{}.{}.9\r\n\r\n",
            odd % 251,
            odd % 241
        ),
        11 => format!("HEAD /{odd}%2f%252e{odd} HTTP/1.1\r\n{host}Accept-Language: odd-{odd}\r\n\r\n"),
        12 => format!(
            "DELETE /v1/users/0198c0de-0000-7000-8000-{odd:012} HTTP/1.1\r\n{host}Authorization: Odd{odd} {odd}\r\n\r\n"
        ),
        _ => {
            format!("GET http://odd{odd}.example/{odd} HTTP/1.1\r\nHost: odd{odd}.example\r\nReferer: odd{odd}\r\n\r\n")
        }
    }
}

/// What is answered with 400 at most.
fn malformed(number: usize) -> Vec<u8> {
    match number % 6 {
        0 => format!("G\u{e9}T /{number} HTTP/1.1\r\n\r\n").into_bytes(),
        1 => format!("GET /{number} HTTP/9.{number}\r\n\r\n").into_bytes(),
        2 => format!("GET /{number} HTTP/1.1\r\nHost: localhost\r\nno colon {number}\r\n\r\n").into_bytes(),
        3 => format!("POST / HTTP/1.1\r\nContent-Length: {number}x\r\n\r\n").into_bytes(),
        4 => [format!("GET /{number}").as_bytes(), &[0, 0xff, 0xfe], b" HTTP/1.1\r\n\r\n"].concat(),
        _ => format!("GET / HTTP/1.1\r\nHost: localhost\r\nX: {}\r\n\r\n", "y".repeat(20_000)).into_bytes(),
    }
}
