//! A plain HTTP/1.1 client that talks to loopback and to nothing else: one request a connection, no redirects followed,
//! answers and time bounded. It shows answers as they are, wrong ones too.

use crate::loopback::is_loopback;
use std::fmt::Write as _;
use std::io;
use std::time::Duration;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use url::Url;

const MAX_ANSWER_BYTES: u64 = 8 * 1024 * 1024;
const DEADLINE: Duration = Duration::from_secs(30);

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum WireError {
    /// The URL is not `http` on loopback.
    #[error("{0} is not http on loopback")]
    NotLoopback(Url),
    /// Connecting, sending or receiving failed.
    #[error("{0}: {1}")]
    Io(Url, #[source] io::Error),
    /// The answer was not complete in time.
    #[error("{0}: no whole answer within {1:?}")]
    Late(Url, Duration),
    /// What came is not an HTTP/1.1 answer, or over 8 MiB.
    #[error("{0}: the answer is not HTTP: {1}")]
    NotHttp(Url, &'static str),
}

/// A request that can be sent.
#[derive(Clone, Debug)]
pub struct Request {
    url: Url,
    method: &'static str,
    headers: Vec<(String, String)>,
    body: Option<String>,
    deadline: Duration,
}

/// What came back.
#[derive(Clone, Debug)]
pub struct Answer {
    /// The status code.
    pub status: u16,
    /// Names in lower case, in the order received.
    pub headers: Vec<(String, String)>,
    /// The body, put together from its chunks.
    pub body: Vec<u8>,
}

impl Answer {
    /// The first header of that name (in lower case).
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(header, _)| header == name).map(|(_, value)| value.as_str())
    }

    /// The body as text, anything that is not UTF-8 replaced.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The body as JSON.
    pub fn json(&self) -> serde_json::Result<serde_json::Value> {
        serde_json::from_slice(&self.body)
    }
}

impl Request {
    fn new(method: &'static str, url: &Url) -> Self {
        Self { url: url.clone(), method, headers: Vec::new(), body: None, deadline: DEADLINE }
    }

    /// A GET of the URL.
    pub fn get(url: &Url) -> Self {
        Self::new("GET", url)
    }

    /// A POST of form fields.
    pub fn post_form(url: &Url, fields: &[(String, String)]) -> Self {
        let body = url::form_urlencoded::Serializer::new(String::new()).extend_pairs(fields).finish();
        let request = Self::new("POST", url).header("Content-Type", "application/x-www-form-urlencoded");
        Self { body: Some(body), ..request }
    }

    /// A POST of a JSON document.
    pub fn post_json(url: &Url, document: &serde_json::Value) -> Self {
        let request = Self::new("POST", url).header("Content-Type", "application/json");
        Self { body: Some(document.to_string()), ..request }
    }

    /// With one header more.
    #[must_use]
    pub fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    /// The same request to another URL: following a redirect by hand.
    #[must_use]
    pub fn to(self, url: &Url) -> Self {
        Self { url: url.clone(), ..self }
    }

    /// With another deadline for the whole exchange than 30 seconds.
    #[must_use]
    pub fn within(self, deadline: Duration) -> Self {
        Self { deadline, ..self }
    }

    /// Sends the request and reads the whole answer.
    pub async fn send(self) -> Result<Answer, WireError> {
        if self.url.scheme() != "http" || !is_loopback(&self.url) {
            return Err(WireError::NotLoopback(self.url));
        }
        let received = match tokio::time::timeout(self.deadline, self.exchange()).await {
            Err(_) => return Err(WireError::Late(self.url, self.deadline)),
            Ok(Err(error)) => return Err(WireError::Io(self.url, error)),
            Ok(Ok(received)) => received,
        };
        parse(&received).map_err(|why| WireError::NotHttp(self.url, why))
    }

    async fn exchange(&self) -> io::Result<Vec<u8>> {
        // the brackets of an IPv6 host are of the URL, not of the address
        let host = self.url.host_str().unwrap_or_default().trim_matches(['[', ']']);
        let mut stream = TcpStream::connect((host, self.url.port_or_known_default().unwrap_or(80))).await?;
        stream.write_all(self.serialize().as_bytes()).await?;
        let mut received = Vec::new();
        stream.take(MAX_ANSWER_BYTES).read_to_end(&mut received).await?;
        Ok(received)
    }

    fn serialize(&self) -> String {
        let query = self.url.query().map(|query| format!("?{query}")).unwrap_or_default();
        let mut head = format!(
            "{} {}{query} HTTP/1.1\r\nHost: {}\r\nConnection: close\r\nAccept: */*\r\n",
            self.method,
            self.url.path(),
            authority(&self.url),
        );
        for (name, value) in &self.headers {
            let _ = write!(head, "{name}: {value}\r\n");
        }
        let body = self.body.as_deref().unwrap_or_default();
        if self.body.is_some() {
            let _ = write!(head, "Content-Length: {}\r\n", body.len());
        }
        format!("{head}\r\n{body}")
    }
}

/// `host:port`, the port left out when it is the scheme's own.
pub(crate) fn authority(url: &Url) -> String {
    let host = url.host_str().unwrap_or_default();
    url.port().map_or_else(|| host.to_owned(), |port| format!("{host}:{port}"))
}

fn parse(received: &[u8]) -> Result<Answer, &'static str> {
    let end = received.windows(4).position(|window| window == b"\r\n\r\n").ok_or("no end of the headers")?;
    let head = std::str::from_utf8(&received[..end]).map_err(|_| "headers that are not text")?;
    let mut lines = head.split("\r\n");
    let status = lines
        .next()
        .and_then(|line| line.strip_prefix("HTTP/1.1 "))
        .and_then(|rest| rest.get(..3)?.parse().ok())
        .ok_or("no status line")?;
    let headers = lines
        .map(|line| line.split_once(':').map(|(name, value)| (name.to_ascii_lowercase(), value.trim().to_owned())))
        .collect::<Option<Vec<_>>>()
        .ok_or("a header without a colon")?;
    let mut answer = Answer { status, headers, body: received[end + 4..].to_vec() };
    if answer.header("transfer-encoding").is_some_and(|coding| coding.eq_ignore_ascii_case("chunked")) {
        answer.body = join_chunks(&answer.body)?;
    } else if let Some(length) = answer.header("content-length").and_then(|length| length.parse::<usize>().ok())
        && answer.body.len() != length
    {
        return Err("a body of another length than announced");
    }
    Ok(answer)
}

fn join_chunks(mut rest: &[u8]) -> Result<Vec<u8>, &'static str> {
    let mut body = Vec::new();
    loop {
        let end = rest.windows(2).position(|window| window == b"\r\n").ok_or("a chunk without a size")?;
        let size = std::str::from_utf8(&rest[..end]).ok().and_then(|size| usize::from_str_radix(size.trim(), 16).ok());
        let size = size.ok_or("a chunk size that is not a number")?;
        rest = &rest[end + 2..];
        if size == 0 {
            return Ok(body);
        }
        body.extend_from_slice(rest.get(..size).ok_or("a chunk that breaks off")?);
        rest = rest.get(size + 2..).ok_or("a chunk that breaks off")?;
    }
}
