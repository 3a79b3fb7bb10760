//! A proxy before PostgreSQL that cuts the connection at a COMMIT, once, on one side of it or the other.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicUsize, Ordering};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};

/// Where the next COMMIT is lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Cut {
    Nowhere = 0,
    /// The server never hears of it.
    BeforeTheServer = 1,
    /// The server has done it; the client never hears of that.
    BeforeTheClient = 2,
}

pub struct Proxy {
    pub url: String,
    next: Arc<AtomicU8>,
    cuts: Arc<AtomicUsize>,
}

impl Proxy {
    /// Listens before the server that `url` names.
    pub async fn before(url: &str) -> Self {
        let mut url = url::Url::parse(url).unwrap();
        let server = format!("{}:{}", url.host_str().unwrap(), url.port().unwrap_or(5432));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        url.set_host(Some("127.0.0.1")).unwrap();
        url.set_port(Some(listener.local_addr().unwrap().port())).unwrap();
        let (next, cuts) = (Arc::new(AtomicU8::new(0)), Arc::new(AtomicUsize::new(0)));
        let proxy = Self { url: url.to_string(), next: Arc::clone(&next), cuts: Arc::clone(&cuts) };
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let upstream = TcpStream::connect(&server).await.unwrap();
                let (from_client, to_client) = client.into_split();
                let (from_server, to_server) = upstream.into_split();
                let (next, cuts) = (Arc::clone(&next), Arc::clone(&cuts));
                tokio::spawn(async move {
                    let (lost, losing) = tokio::sync::watch::channel(false);
                    tokio::select! {
                        () = requests(from_client, to_server, &next, &cuts, &lost) => {}
                        () = answers(from_server, to_client, losing) => {}
                    }
                });
            }
        });
        proxy
    }

    /// Loses the next COMMIT there.
    pub fn cut(&self, at: Cut) {
        self.next.store(at as u8, Ordering::SeqCst);
    }

    /// How many were lost.
    pub fn cuts(&self) -> usize {
        self.cuts.load(Ordering::SeqCst)
    }
}

/// Ends when the connection is to be cut.
async fn requests(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    next: &AtomicU8,
    cuts: &AtomicUsize,
    lost: &tokio::sync::watch::Sender<bool>,
) {
    let mut buffer = vec![0; 64 * 1024];
    while let Ok(read @ 1..) = from.read(&mut buffer).await {
        let commit = buffer[..read].windows(7).any(|window| window == b"COMMIT\0");
        let cut = if commit { next.swap(Cut::Nowhere as u8, Ordering::SeqCst) } else { Cut::Nowhere as u8 };
        if cut != Cut::Nowhere as u8 {
            cuts.fetch_add(1, Ordering::SeqCst);
        }
        if cut == Cut::BeforeTheServer as u8 {
            return;
        }
        if cut == Cut::BeforeTheClient as u8 {
            lost.send_replace(true);
        }
        if to.write_all(&buffer[..read]).await.is_err() {
            return;
        }
    }
}

/// Passes answers on until one is to be lost: that it came shows that the server has done its part.
async fn answers(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, losing: tokio::sync::watch::Receiver<bool>) {
    let mut buffer = vec![0; 64 * 1024];
    while let Ok(read @ 1..) = from.read(&mut buffer).await {
        if *losing.borrow() || to.write_all(&buffer[..read]).await.is_err() {
            return;
        }
    }
}
