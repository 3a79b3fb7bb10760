//! A proxy before PostgreSQL at which something happens to the bytes that carry a text, or to those some steps later on the same
//! connection: they are held back, lost, torn, or the connection ends. And the whole network can be cut.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::tcp::{ReadHalf, WriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{oneshot, watch};

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
    /// Half of the bytes arrive, then both sides find the connection reset.
    Tear,
    /// From here on nothing arrives on either side, not even that the other one is gone.
    Silence,
}

/// How the network is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Network {
    Whole,
    /// Every connection is reset, and every new one.
    Refusing,
    /// Nothing arrives, on what is connected, for ever, and on what connects.
    Silent,
}

/// Something that is to happen once.
struct Armed {
    text: String,
    /// So many requests after the one that carries the text.
    steps: usize,
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
        assert!(self.sprung_before_the_commit().await, "it did not come to that");
    }

    /// Returns when it has happened, with `true`, or when a transaction was committed in fewer steps.
    pub async fn sprung_before_the_commit(&mut self) -> bool {
        (&mut self.sprung).await.is_ok()
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
        let found = armed.iter().position(|armed| carries(bytes, &armed.text))?;
        Some(armed.remove(found))
    }
}

pub struct Proxy {
    pub url: String,
    traps: Traps,
    network: watch::Sender<Network>,
}

impl Proxy {
    /// Listens before the server that `url` names.
    pub async fn before(url: &str) -> Self {
        let mut url = url::Url::parse(url).unwrap();
        let server = format!("{}:{}", url.host_str().unwrap(), url.port().unwrap_or(5432));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        url.set_host(Some("127.0.0.1")).unwrap();
        url.set_port(Some(listener.local_addr().unwrap().port())).unwrap();
        let (network, state) = watch::channel(Network::Whole);
        let proxy = Self { url: url.to_string(), traps: Traps::default(), network };
        let traps = proxy.traps.clone();
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                tokio::spawn(while_whole(client, server.clone(), traps.clone(), state.clone()));
            }
        });
        proxy
    }

    /// Changes how the network is, for all that is connected and all that connects.
    pub fn set_network(&self, network: Network) {
        self.network.send_replace(network);
    }

    /// Lets `fault` happen, once, to the next request that carries this text, or to the answer to it.
    pub fn trap(&self, text: &str, side: Side, fault: Fault) -> Trap {
        self.trap_after(text, 0, side, fault)
    }

    /// The same to the request that comes so many steps after that one on its connection, before anything else is committed there.
    pub fn trap_after(&self, text: &str, steps: usize, side: Side, fault: Fault) -> Trap {
        let ((sprung, springs), (lets_go, let_go)) = (oneshot::channel(), oneshot::channel());
        let armed = Armed { text: text.to_owned(), steps, side, fault, sprung, let_go };
        self.traps.0.lock().unwrap().push(armed);
        Trap { sprung: springs, let_go: Some(lets_go) }
    }
}

/// Lets a connection work while the network does.
async fn while_whole(mut client: TcpStream, server: String, traps: Traps, mut state: watch::Receiver<Network>) {
    // A connection that is dropped is reset: nothing of it arrives later.
    client.set_zero_linger().unwrap();
    let working = std::pin::pin!(pass_on(&mut client, server, &traps));
    let cut = async move { state.wait_for(|network| *network != Network::Whole).await.map(|network| *network) };
    tokio::select! {
        () = working => {}
        // What has gone silent stays there, and nobody reads or writes it.
        network = cut => if network.is_ok_and(|network| network == Network::Silent) {
            std::future::pending::<()>().await;
        },
    }
}

/// A connection, until one side ends it or a trap does.
async fn pass_on(client: &mut TcpStream, server: String, traps: &Traps) {
    let Ok(mut upstream) = TcpStream::connect(server).await else { return };
    upstream.set_zero_linger().unwrap();
    let ((from_client, to_client), (from_server, to_server)) = (client.split(), upstream.split());
    let (awaited, silent) = (Mutex::new(None), AtomicBool::new(false));
    tokio::select! {
        () = requests(from_client, to_server, traps, &awaited, &silent) => {}
        () = answers(from_server, to_client, &awaited, &silent) => {}
    }
}

/// Ends when the connection is to end.
async fn requests(
    mut from: ReadHalf<'_>,
    mut to: WriteHalf<'_>,
    traps: &Traps,
    awaited: &Mutex<Option<Armed>>,
    silent: &AtomicBool,
) {
    let mut buffer = vec![0; 64 * 1024];
    let mut counting: Option<Armed> = None;
    while let Ok(read @ 1..) = from.read(&mut buffer).await {
        let bytes = &buffer[..read];
        counting = match counting.take() {
            Some(armed) => Some(Armed { steps: armed.steps - 1, ..armed }),
            None => traps.sprung_by(bytes),
        };
        match counting.take_if(|armed| armed.steps == 0) {
            Some(armed) if armed.side == Side::BeforeTheServer => armed.happen(&mut to, bytes, silent).await,
            Some(armed) => *awaited.lock().unwrap() = Some(armed),
            None => {}
        }
        // Whoever waits for more steps than there were hears of it.
        counting.take_if(|_| carries(bytes, "COMMIT\0"));
        if silent.load(Ordering::Relaxed) {
            return std::future::pending().await;
        }
        if to.write_all(bytes).await.is_err() {
            return;
        }
    }
    if silent.load(Ordering::Relaxed) {
        std::future::pending::<()>().await;
    }
}

/// Passes answers on until one is awaited: that it came shows that the server has done its part.
async fn answers(mut from: ReadHalf<'_>, mut to: WriteHalf<'_>, awaited: &Mutex<Option<Armed>>, silent: &AtomicBool) {
    let mut buffer = vec![0; 64 * 1024];
    while let Ok(read @ 1..) = from.read(&mut buffer).await {
        let armed = awaited.lock().unwrap().take();
        if let Some(armed) = armed {
            armed.happen(&mut to, &buffer[..read], silent).await;
        }
        if silent.load(Ordering::Relaxed) {
            return std::future::pending().await;
        }
        if to.write_all(&buffer[..read]).await.is_err() {
            return;
        }
    }
    if silent.load(Ordering::Relaxed) {
        std::future::pending::<()>().await;
    }
}

fn carries(bytes: &[u8], text: &str) -> bool {
    bytes.windows(text.len()).any(|window| window == text.as_bytes())
}

impl Armed {
    /// Returns when the bytes may go on, to where `to` leads if it still leads anywhere.
    async fn happen(self, to: &mut WriteHalf<'_>, bytes: &[u8], silent: &AtomicBool) {
        let _ = self.sprung.send(());
        match self.fault {
            // Who asked may have gone; then the bytes go on.
            Fault::Hold => drop(self.let_go.await),
            // Writing fails now, and with that the connection ends.
            Fault::Reset => drop(to.shutdown().await),
            Fault::Tear => {
                let _ = to.write_all(&bytes[..bytes.len() / 2]).await;
                let _ = to.shutdown().await;
            }
            Fault::HalfClose => {
                let _ = to.shutdown().await;
                std::future::pending::<()>().await;
            }
            Fault::Silence => silent.store(true, Ordering::Relaxed),
        }
    }
}
