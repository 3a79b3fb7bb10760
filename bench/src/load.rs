//! Load over HTTP/1.1 connections that are kept open, each with one call under way.
//!
//! Written for few instructions a call, so that on a core of its own it keeps a server on another one busy: no HTTP library,
//! and answers are read only as far as their length must be known.

use std::time::{Duration, Instant};

use clap::Args;
use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use uuid::Uuid;

use crate::Failure;

/// An answer of ours has at most so many bytes.
const ANSWER_BYTES: usize = 16 * 1024;

#[derive(Args, Clone)]
pub(crate) struct LoadArgs {
    /// Address and port.
    #[arg(long)]
    address: String,
    /// A session's token.
    #[arg(long)]
    token: String,
    #[arg(long, default_value_t = 64)]
    connections: usize,
    #[arg(long, default_value_t = 5.0)]
    seconds: f64,
    /// Invite somebody new with each call instead of asking `GET /v1/users/me`.
    #[arg(long)]
    invite: bool,
}

/// What one connection has seen.
#[derive(Default)]
struct Seen {
    latencies_micros: Vec<u32>,
    refused: u64,
}

/// Calls until the time is over and prints how that went.
pub(crate) async fn load(args: LoadArgs) -> Result<(), Failure> {
    let begun = Instant::now();
    let end = begun + Duration::from_secs_f64(args.seconds);
    let mut connections = tokio::task::JoinSet::new();
    for _ in 0..args.connections {
        connections.spawn(keep_calling(args.clone(), end));
    }
    let mut all = Seen::default();
    while let Some(seen) = connections.join_next().await {
        let seen = seen??;
        all.latencies_micros.extend(seen.latencies_micros);
        all.refused += seen.refused;
    }
    let seconds = begun.elapsed().as_secs_f64();
    all.latencies_micros.sort_unstable();
    let percentile = |of_thousand: usize| {
        let last = all.latencies_micros.len().saturating_sub(1);
        all.latencies_micros.get(last * of_thousand / 1000).copied().unwrap_or_default()
    };
    println!(
        "{}",
        json!({
            "calls": all.latencies_micros.len(), "refused": all.refused, "seconds": seconds,
            "p50_us": percentile(500), "p99_us": percentile(990),
        })
    );
    Ok(())
}

async fn keep_calling(args: LoadArgs, end: Instant) -> Result<Seen, Failure> {
    let mut stream = TcpStream::connect(&args.address).await?;
    stream.set_nodelay(true)?;
    let mut request = request(&args);
    let mut answer = vec![0; ANSWER_BYTES];
    let mut seen = Seen::default();
    loop {
        let begun = Instant::now();
        if begun >= end {
            return Ok(seen);
        }
        if args.invite {
            request = invitation(&args);
        }
        stream.write_all(request.as_bytes()).await?;
        if !read_answer(&mut stream, &mut answer).await? {
            seen.refused += 1;
        }
        seen.latencies_micros.push(u32::try_from(begun.elapsed().as_micros()).unwrap_or(u32::MAX));
    }
}

fn request(args: &LoadArgs) -> String {
    let LoadArgs { address, token, .. } = args;
    format!("GET /v1/users/me HTTP/1.1\r\nHost: {address}\r\nAuthorization: Bearer {token}\r\n\r\n")
}

fn invitation(args: &LoadArgs) -> String {
    let LoadArgs { address, token, .. } = args;
    let body =
        json!({ "email": format!("{}@bench.example", Uuid::now_v7().simple()), "role": "qa_viewer" }).to_string();
    format!(
        "POST /v1/users/invite HTTP/1.1\r\nHost: {address}\r\nAuthorization: Bearer {token}\r\n\
         Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    )
}

/// Reads one answer; says whether it was a success.
async fn read_answer(stream: &mut TcpStream, buffer: &mut [u8]) -> Result<bool, Failure> {
    let mut filled = 0;
    loop {
        let room = buffer.get_mut(filled..).filter(|room| !room.is_empty()).ok_or("an answer is too long")?;
        let read = stream.read(room).await?;
        if read == 0 {
            return Err("the server closed a connection".into());
        }
        filled += read;
        if let Some(whole) = length(&buffer[..filled])?
            && filled >= whole
        {
            return Ok(buffer.starts_with(b"HTTP/1.1 2"));
        }
    }
}

/// The length of the answer that begins here, once its head is whole.
fn length(answer: &[u8]) -> Result<Option<usize>, Failure> {
    let Some(head) = answer.windows(4).position(|window| window == b"\r\n\r\n") else { return Ok(None) };
    let name = b"content-length: ";
    let found = answer[..head].windows(name.len()).position(|window| window.eq_ignore_ascii_case(name));
    let digits = &answer[found.ok_or("an answer without a content-length")? + name.len()..head];
    let digits = digits.split(|byte| *byte == b'\r').next().unwrap_or_default();
    let body: usize = std::str::from_utf8(digits)?.trim().parse()?;
    Ok(Some(head + 4 + body))
}
