//! Odd requests, from many addresses.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use clap::Args;
use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpSocket;
use tokio::task::JoinSet;

use crate::{Failure, odd};

const CALLERS: usize = 16;

#[derive(Args)]
pub(crate) struct StrangeArgs {
    /// Address and port.
    #[arg(long)]
    address: SocketAddr,
    /// The number of the first request: each is unlike the others.
    #[arg(long, default_value_t = 0)]
    first: usize,
    #[arg(long, default_value_t = 100_000)]
    requests: usize,
}

pub(crate) async fn send(args: StrangeArgs) -> Result<(), Failure> {
    let next = Arc::new(AtomicUsize::new(args.first / odd::ON_A_CONNECTION));
    let end = (args.first + args.requests) / odd::ON_A_CONNECTION;
    let mut callers = JoinSet::new();
    for _ in 0..CALLERS {
        callers.spawn(call_again_and_again(args.address, Arc::clone(&next), end));
    }
    let mut answered = 0;
    while let Some(by_one) = callers.join_next().await {
        answered += by_one??;
    }
    println!("{}", json!({ "requests": args.requests, "answered": answered }));
    Ok(())
}

async fn call_again_and_again(address: SocketAddr, next: Arc<AtomicUsize>, end: usize) -> Result<usize, Failure> {
    let mut answered = 0;
    loop {
        let number = next.fetch_add(1, Ordering::Relaxed);
        if number >= end {
            return Ok(answered);
        }
        let socket = TcpSocket::new_v4()?;
        socket.bind(odd::source(number))?;
        let (mut read, mut write) = socket.connect(address).await?.into_split();
        let sending = tokio::spawn(async move {
            // The server closes after what is no HTTP, perhaps before it has read all of it.
            let _ = write.write_all(&odd::connection(number)).await;
            // Or it waits for what is missing: the end of a body, of a head.
            let _ = write.shutdown().await;
            write
        });
        let mut answers = Vec::new();
        let _ = read.read_to_end(&mut answers).await;
        drop(sending.await?);
        answered += answers.windows(9).filter(|bytes| bytes == b"HTTP/1.1 ").count();
    }
}
