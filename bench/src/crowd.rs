//! Clients that take places and ask for nothing: idle ones from many addresses, and ones that send a byte at a time.

use std::collections::VecDeque;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use clap::Args;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpSocket, TcpStream};

use crate::Failure;

/// As fast as the idle ones come back after the server has closed them for others.
const ANEW_EVERY: Duration = Duration::from_millis(1);
const BYTE_EVERY: Duration = Duration::from_millis(100);
const HEAD: &str = "GET /healthz HTTP/1.1\r\nHost: localhost\r\nX: ";
const BODY: &str = "POST /v1/setup/bootstrap-token/verify HTTP/1.1\r\nHost: localhost\r\n\
                    Content-Type: application/json\r\nContent-Length: 60000\r\n\r\n";

#[derive(Args)]
pub(crate) struct CrowdArgs {
    /// Address and port.
    #[arg(long)]
    address: SocketAddr,
    /// Connections that say nothing, each from an address of its own.
    #[arg(long, default_value_t = 10_000)]
    idle: u32,
    /// Connections on which a head or a body comes byte by byte.
    #[arg(long, default_value_t = 200)]
    dripping: u32,
}

/// Says so when everybody is there, and stays until it is killed.
pub(crate) async fn stay(args: CrowdArgs) -> Result<(), Failure> {
    for number in 0..args.dripping {
        tokio::spawn(drip_again_and_again(args.address, number));
    }
    let mut idle = VecDeque::new();
    for number in 0..args.idle {
        idle.push_back(connect(args.address, number).await?);
    }
    println!("{}", serde_json::json!({ "idle": idle.len(), "dripping": args.dripping }));
    let mut times = tokio::time::interval(ANEW_EVERY);
    for number in (0..args.idle).cycle() {
        times.tick().await;
        idle.pop_front();
        idle.push_back(connect(args.address, number).await?);
    }
    Ok(())
}

async fn connect(address: SocketAddr, number: u32) -> Result<TcpStream, Failure> {
    let socket = TcpSocket::new_v4()?;
    socket.bind(SocketAddr::new(Ipv4Addr::from_bits(0x7f02_0000 + number).into(), 0))?;
    Ok(socket.connect(address).await?)
}

async fn drip_again_and_again(address: SocketAddr, number: u32) {
    let beginning = if number.is_multiple_of(2) { HEAD } else { BODY };
    loop {
        tokio::time::sleep(BYTE_EVERY).await;
        let Ok(mut stream) = connect(address, 0xffff + number).await else { continue };
        if stream.write_all(beginning.as_bytes()).await.is_err() {
            continue;
        }
        let (mut answer, mut byte) = ([0; 1024], tokio::time::interval(BYTE_EVERY));
        loop {
            tokio::select! {
                // Whatever it says, it is done with this one.
                _ = stream.read(&mut answer) => break,
                _ = byte.tick() => {}
            }
            if stream.write_all(b"1").await.is_err() {
                break;
            }
        }
    }
}
