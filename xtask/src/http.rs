//! As much of an HTTP client as the demo needs: loopback, one request a connection, no redirects.
//! It must run where there is no curl, and may not cost a dependency.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use serde_json::Value;

use crate::failure::{Failure, While};

/// For connecting, and for each read and write.
const TIMEOUT: Duration = Duration::from_secs(10);

/// One request. `url` is absolute, `http` only.
#[derive(Clone, Copy)]
pub(crate) struct Request<'a> {
    pub(crate) method: &'a str,
    pub(crate) url: &'a str,
    pub(crate) bearer: Option<&'a str>,
    pub(crate) body: Option<&'a Value>,
}

/// What came back, whole.
pub(crate) struct Response {
    pub(crate) status: u16,
    headers: Vec<(String, String)>,
    pub(crate) body: String,
}

impl Response {
    /// The first header of this name, in any case.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let mut headers = self.headers.iter();
        headers.find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
    }
}

/// Sends a request and reads the answer to its end.
pub(crate) fn send(request: Request<'_>) -> Result<Response, Failure> {
    let Request { method, url, bearer, body } = request;
    let calling = || format!("{method} {url}");
    let (host, path) = split(url)?;
    let mut stream = TcpStream::connect(host).while_doing(calling())?;
    stream.set_read_timeout(Some(TIMEOUT)).while_doing(calling())?;
    stream.set_write_timeout(Some(TIMEOUT)).while_doing(calling())?;
    let authorization = bearer.map_or_else(String::new, |token| format!("Authorization: Bearer {token}\r\n"));
    let body = body.map(Value::to_string).unwrap_or_default();
    let text = format!(
        "{method} {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n{authorization}\
         Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );
    stream.write_all(text.as_bytes()).while_doing(calling())?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).while_doing(calling())?;
    parse(&answer).ok_or_else(|| Failure::new(format!("{} was answered by no HTTP", calling())))
}

/// `http://127.0.0.1:8787/path?query` into `127.0.0.1:8787` and `/path?query`.
fn split(url: &str) -> Result<(&str, &str), Failure> {
    let rest = url.strip_prefix("http://").ok_or_else(|| Failure::new(format!("not a plain http address: {url}")))?;
    let end = rest.find(['/', '?']).unwrap_or(rest.len());
    Ok((&rest[..end], if end == rest.len() { "/" } else { &rest[end..] }))
}

fn parse(answer: &[u8]) -> Option<Response> {
    let head_end = answer.windows(4).position(|window| window == b"\r\n\r\n")?;
    let head = std::str::from_utf8(&answer[..head_end]).ok()?;
    let mut lines = head.split("\r\n");
    let status = lines.next()?.split(' ').nth(1)?.parse().ok()?;
    let headers: Vec<(String, String)> = lines
        .filter_map(|line| line.split_once(':'))
        .map(|(name, value)| (name.trim().to_owned(), value.trim().to_owned()))
        .collect();
    let mut response = Response { status, headers, body: String::new() };
    let body = &answer[head_end + 4..];
    response.body = match response.header("transfer-encoding") {
        Some(coding) if coding.eq_ignore_ascii_case("chunked") => text(&unchunk(body)?),
        _ => text(body),
    };
    Some(response)
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// RFC 9112, section 7.1, without trailers and extensions.
fn unchunk(mut rest: &[u8]) -> Option<Vec<u8>> {
    let mut body = Vec::new();
    loop {
        let line_end = rest.windows(2).position(|window| window == b"\r\n")?;
        let size = std::str::from_utf8(&rest[..line_end]).ok()?;
        let size = usize::from_str_radix(size.trim(), 16).ok()?;
        let begin = line_end + 2;
        if size == 0 {
            return Some(body);
        }
        body.extend_from_slice(rest.get(begin..begin + size)?);
        rest = rest.get(begin + size + 2..)?;
    }
}

/// The decoded value of a query parameter.
pub(crate) fn query_parameter(url: &str, name: &str) -> Option<String> {
    let (_, query) = url.split_once('?')?;
    let mut pairs = query.split('&').filter_map(|pair| pair.split_once('='));
    pairs.find(|(key, _)| *key == name).and_then(|(_, value)| decode(value))
}

fn decode(value: &str) -> Option<String> {
    let mut bytes = Vec::new();
    let mut rest = value.as_bytes();
    while let [first, tail @ ..] = rest {
        rest = tail;
        match first {
            b'%' => {
                let digits = std::str::from_utf8(tail.get(..2)?).ok()?;
                bytes.push(u8::from_str_radix(digits, 16).ok()?);
                rest = &tail[2..];
            }
            b'+' => bytes.push(b' '),
            other => bytes.push(*other),
        }
    }
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::{parse, query_parameter, split};

    #[test]
    fn an_answer_in_chunks_is_put_together() {
        let answer = b"HTTP/1.1 201 Created\r\nTransfer-Encoding: chunked\r\nX-A: b\r\n\r\n\
            3\r\n{\"a\r\n4\r\n\":1}\r\n0\r\n\r\n";
        let response = parse(answer).unwrap();
        assert_eq!((response.status, response.body.as_str()), (201, "{\"a\":1}"));
        assert_eq!(response.header("x-a"), Some("b"));
    }

    #[test]
    fn a_cut_off_answer_is_none() {
        assert!(parse(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n9\r\nabc").is_none());
        assert!(parse(b"HTTP/1.1 200 OK\r\n").is_none());
    }

    #[test]
    fn a_query_parameter_is_decoded() {
        let url = "http://127.0.0.1:1/auth/callback?code=a%2Fb%3D&state=x+y";
        assert_eq!(query_parameter(url, "code").unwrap(), "a/b=");
        assert_eq!(query_parameter(url, "state").unwrap(), "x y");
        assert_eq!(query_parameter(url, "iss"), None);
    }

    #[test]
    fn an_address_without_a_path_asks_for_the_root() {
        assert_eq!(split("http://127.0.0.1:1").unwrap(), ("127.0.0.1:1", "/"));
        assert!(split("https://127.0.0.1:1").is_err());
    }
}
