//! A proxy before PostgreSQL at which something happens to the bytes that carry a text, or that come after so many others: they
//! are held back, lost, or the connection ends. Or the whole network behind it is slow, gone, or swallows what it is given.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
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
    /// The bytes are lost, and all that follow; the connection stays open.
    Swallow,
}

/// How the network is as a whole.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Weather {
    #[default]
    Clear,
    /// All bytes take so much longer, on each way.
    Slow(Duration),
    /// Every connection is reset, and new ones are.
    Cut,
    /// Bytes are lost, and new connections get no answer. When it clears up, the connections that lost something are reset.
    Swallow,
}

/// To which bytes something happens.
enum Mark {
    Text(String),
    /// Those after so many others, of whichever connection.
    After(usize),
}

/// Something that is to happen once.
struct Armed {
    mark: Mark,
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
    /// The first one that these bytes spring, and how many of them come before it.
    fn sprung_by(&self, bytes: &[u8]) -> Option<(Armed, usize)> {
        let mut armed = self.0.lock().unwrap();
        let mut before = 0;
        let found = armed.iter_mut().position(|armed| match &mut armed.mark {
            Mark::Text(text) => bytes.windows(text.len()).any(|window| window == text.as_bytes()),
            Mark::After(left) if *left < bytes.len() => {
                before = *left;
                true
            }
            Mark::After(left) => {
                *left -= bytes.len();
                false
            }
        })?;
        Some((armed.remove(found), before))
    }
}

pub struct Proxy {
    pub url: String,
    traps: Traps,
    weather: watch::Sender<Weather>,
}

impl Proxy {
    /// Listens before the server that `url` names.
    pub async fn before(url: &str) -> Self {
        let mut url = url::Url::parse(url).unwrap();
        let server = format!("{}:{}", url.host_str().unwrap(), url.port().unwrap_or(5432));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        url.set_host(Some("127.0.0.1")).unwrap();
        url.set_port(Some(listener.local_addr().unwrap().port())).unwrap();
        let (weather, mut forecast) = watch::channel(Weather::Clear);
        let proxy = Self { url: url.to_string(), traps: Traps::default(), weather };
        let traps = proxy.traps.clone();
        tokio::spawn(async move {
            loop {
                tokio::select! {
                    accepted = listener.accept() => match accepted {
                        Ok((client, _)) => drop(tokio::spawn(pass_on(client, server.clone(), traps.clone(), forecast.clone()))),
                        Err(_) => return,
                    },
                    // The proxy was dropped.
                    Err(_) = forecast.changed() => return,
                }
            }
        });
        proxy
    }

    /// Changes the weather, for the connections that there are as well.
    pub fn turn(&self, weather: Weather) {
        self.weather.send_replace(weather);
    }

    /// Lets `fault` happen, once, to the next request that carries this text, or to the answer to it.
    pub fn trap(&self, text: &str, side: Side, fault: Fault) -> Trap {
        self.arm(Mark::Text(text.to_owned()), side, fault)
    }

    /// The same to what is requested after so many bytes, wherever in a message that is, or to the answer to it.
    pub fn trap_after(&self, bytes: usize, side: Side, fault: Fault) -> Trap {
        self.arm(Mark::After(bytes), side, fault)
    }

    /// Takes back what has not happened yet.
    pub fn disarm(&self) {
        self.traps.0.lock().unwrap().clear();
    }

    fn arm(&self, mark: Mark, side: Side, fault: Fault) -> Trap {
        let ((sprung, springs), (lets_go, let_go)) = (oneshot::channel(), oneshot::channel());
        let armed = Armed { mark, side, fault, sprung, let_go };
        self.traps.0.lock().unwrap().push(armed);
        Trap { sprung: springs, let_go: Some(lets_go) }
    }
}

/// A connection, until one side ends it, or a trap or the weather does.
async fn pass_on(client: TcpStream, server: String, traps: Traps, weather: watch::Receiver<Weather>) {
    // A connection that is dropped is reset: nothing of it arrives later.
    client.set_zero_linger().unwrap();
    if *weather.borrow() == Weather::Swallow {
        return until(weather, |now| now != Weather::Swallow).await;
    }
    if *weather.borrow() == Weather::Cut {
        return;
    }
    let Ok(upstream) = TcpStream::connect(server).await else { return };
    upstream.set_zero_linger().unwrap();
    let ((from_client, to_client), (from_server, to_server)) = (client.into_split(), upstream.into_split());
    let awaited = Mutex::new(None);
    tokio::select! {
        () = requests(from_client, to_server, &traps, &awaited, weather.clone()) => {}
        () = answers(from_server, to_client, &awaited, weather.clone()) => {}
        () = until(weather, |now| now == Weather::Cut) => {}
    }
}

async fn until(mut weather: watch::Receiver<Weather>, wanted: impl Fn(Weather) -> bool) {
    // When the proxy is dropped, its connections go on by themselves.
    if weather.wait_for(|now| wanted(*now)).await.is_err() {
        std::future::pending::<()>().await;
    }
}

/// Whether bytes go on through this weather; `false` when they are lost, and the connection with them.
async fn come_through(weather: &watch::Receiver<Weather>) -> bool {
    let now = *weather.borrow();
    match now {
        Weather::Clear | Weather::Cut => {}
        Weather::Slow(by) => tokio::time::sleep(by).await,
        Weather::Swallow => {
            until(weather.clone(), |now| now != Weather::Swallow).await;
            return false;
        }
    }
    true
}

/// Ends when the connection is to end.
async fn requests(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    traps: &Traps,
    awaited: &Mutex<Option<Armed>>,
    weather: watch::Receiver<Weather>,
) {
    let mut buffer = vec![0; 64 * 1024];
    while let Ok(read @ 1..) = from.read(&mut buffer).await {
        if !come_through(&weather).await {
            return;
        }
        let mut rest = &buffer[..read];
        match traps.sprung_by(rest) {
            Some((armed, before)) if armed.side == Side::BeforeTheServer => {
                let (first, left) = rest.split_at(before);
                if to.write_all(first).await.is_err() {
                    return;
                }
                rest = left;
                armed.happen(&mut to).await;
            }
            Some((armed, _)) => *awaited.lock().unwrap() = Some(armed),
            None => {}
        }
        if to.write_all(rest).await.is_err() {
            return;
        }
    }
}

/// Passes answers on until one is awaited: that it came shows that the server has done its part.
async fn answers(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    awaited: &Mutex<Option<Armed>>,
    weather: watch::Receiver<Weather>,
) {
    let mut buffer = vec![0; 64 * 1024];
    while let Ok(read @ 1..) = from.read(&mut buffer).await {
        if !come_through(&weather).await {
            return;
        }
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
