//! A proxy before PostgreSQL at which something happens to the bytes that carry a text: they are held back, lost, or the
//! connection ends.

use std::sync::{Arc, Mutex};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;

/// On which side of the server something happens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// The server has not heard of it.
    BeforeTheServer,
    /// The server has done it, and its answer is on the way.
    BeforeTheClient,
}

/// What happens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The bytes wait until they are let go.
    Hold,
    /// Both sides find the connection reset.
    Reset,
    /// The side that the bytes were for sees an end of the connection; the other goes on.
    HalfClose,
    /// The bytes are lost, and all that follow; the connection stays open.
    Swallow,
}

/// Something that is to happen once.
struct Armed {
    text: String,
    side: Side,
    fault: Fault,
    sprung: oneshot::Sender<()>,
    let_go: oneshot::Receiver<()>,
}

/// Something that was asked of a [`Proxy`].
pub struct Trap {
    sprung: oneshot::Receiver<()>,
    let_go: Option<oneshot::Sender<()>>,
}

impl Trap {
    /// Returns when it has happened.
    pub async fn sprung(&mut self) {
        (&mut self.sprung).await.expect("the proxy went");
    }

    /// Lets bytes go that are held.
    pub fn let_go(mut self) {
        let _ = self.let_go.take().map(|let_go| let_go.send(()));
    }
}

#[derive(Clone, Default)]
struct Traps(Arc<Mutex<Vec<Armed>>>);

impl Traps {
    /// The first one that these bytes spring.
    fn sprung_by(&self, bytes: &[u8]) -> Option<Armed> {
        let mut armed = self.0.lock().unwrap();
        let carry = |armed: &Armed| bytes.windows(armed.text.len()).any(|window| window == armed.text.as_bytes());
        let found = armed.iter().position(carry)?;
        Some(armed.remove(found))
    }
}

pub struct Proxy {
    pub url: String,
    traps: Traps,
}

impl Proxy {
    /// Listens before the server that `url` names.
    pub async fn before(url: &str) -> Self {
        let mut url = url::Url::parse(url).unwrap();
        let server = format!("{}:{}", url.host_str().unwrap(), url.port().unwrap_or(5432));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        url.set_host(Some("127.0.0.1")).unwrap();
        url.set_port(Some(listener.local_addr().unwrap().port())).unwrap();
        let proxy = Self { url: url.to_string(), traps: Traps::default() };
        let traps = proxy.traps.clone();
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                tokio::spawn(pass_on(client, server.clone(), traps.clone()));
            }
        });
        proxy
    }

    /// Lets `fault` happen, once, to the next request that carries this text, or to the answer to it.
    pub fn trap(&self, text: &str, side: Side, fault: Fault) -> Trap {
        let ((sprung, springs), (lets_go, let_go)) = (oneshot::channel(), oneshot::channel());
        let armed = Armed { text: text.to_owned(), side, fault, sprung, let_go };
        self.traps.0.lock().unwrap().push(armed);
        Trap { sprung: springs, let_go: Some(lets_go) }
    }
}

/// A connection, until one side ends it or a trap does.
async fn pass_on(client: TcpStream, server: String, traps: Traps) {
    let Ok(upstream) = TcpStream::connect(server).await else { return };
    // A connection that is dropped is reset: nothing of it arrives later.
    client.set_zero_linger().unwrap();
    upstream.set_zero_linger().unwrap();
    let ((from_client, to_client), (from_server, to_server)) = (client.into_split(), upstream.into_split());
    let awaited = Mutex::new(None);
    tokio::select! {
        () = requests(from_client, to_server, &traps, &awaited) => {}
        () = answers(from_server, to_client, &awaited) => {}
    }
}

/// Ends when the connection is to end.
async fn requests(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, traps: &Traps, awaited: &Mutex<Option<Armed>>) {
    let mut buffer = vec![0; 64 * 1024];
    while let Ok(read @ 1..) = from.read(&mut buffer).await {
        match traps.sprung_by(&buffer[..read]) {
            Some(armed) if armed.side == Side::BeforeTheServer => armed.happen(&mut to).await,
            Some(armed) => *awaited.lock().unwrap() = Some(armed),
            None => {}
        }
        if to.write_all(&buffer[..read]).await.is_err() {
            return;
        }
    }
}

/// Passes answers on until one is awaited: that it came shows that the server has done its part.
async fn answers(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, awaited: &Mutex<Option<Armed>>) {
    let mut buffer = vec![0; 64 * 1024];
    while let Ok(read @ 1..) = from.read(&mut buffer).await {
        let armed = awaited.lock().unwrap().take();
        if let Some(armed) = armed {
            armed.happen(&mut to).await;
        }
        if to.write_all(&buffer[..read]).await.is_err() {
            return;
        }
    }
}

impl Armed {
    /// Returns when the bytes may go on, to where `to` leads if it still leads anywhere.
    async fn happen(self, to: &mut OwnedWriteHalf) {
        let _ = self.sprung.send(());
        match self.fault {
            // Who asked may have gone; then the bytes go on.
            Fault::Hold => drop(self.let_go.await),
            // Writing fails now, and with that the connection ends.
            Fault::Reset => drop(to.shutdown().await),
            Fault::HalfClose => {
                let _ = to.shutdown().await;
                std::future::pending::<()>().await;
            }
            Fault::Swallow => std::future::pending::<()>().await,
        }
    }
}
