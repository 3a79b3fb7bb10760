//! PostgreSQL is killed, stopped and started again, loses connections; the network to it is slow, cut, swallows what it is given, or
//! fails at some byte.

use std::sync::Arc;

use rustix::process::Signal;
use serde_json::json;

use super::pause;
use crate::Failure;
use crate::cluster::Cluster;
use crate::dice::Dice;
use crate::proxy::{Fault, Proxy, Side, Weather};
use crate::signal;
use crate::tally::Kind;
use crate::world::World;

/// What the requests of an append carry, in its order.
const STEPS: [&str; 4] = ["BEGIN", "log_head", "INSERT INTO events", "COMMIT"];
/// A trap springs within so many bytes of requests: some seconds' worth.
const WITHIN_BYTES: usize = 60_000;

/// The server, and the way to it from each node.
pub(crate) struct Database {
    pub(crate) cluster: Cluster,
    pub(crate) proxies: Vec<Proxy>,
    pub(crate) dice: Dice,
}

impl Database {
    pub(crate) async fn make_trouble(mut self, world: Arc<World>) -> Result<Self, Failure> {
        while world.goes_on() {
            pause(&world, self.dice.millis(800, 3_000)).await;
            match self.dice.below(12) {
                0 => self.restart(&world, Signal::KILL, "kill -9 of PostgreSQL").await?,
                1 => self.restart(&world, Signal::QUIT, "immediate stop of PostgreSQL").await?,
                2 => self.restart(&world, Signal::INT, "fast stop of PostgreSQL").await?,
                3 => self.signal_a_backend(&world, Signal::KILL, "kill -9 of one of PostgreSQL's processes"),
                4 => self.signal_a_backend(&world, Signal::TERM, "an administrator ends one of PostgreSQL's processes"),
                5 => self.freeze_a_backend(&world).await,
                6 => self.weather(&world, Weather::Cut, "network cut").await,
                7 => self.weather(&world, Weather::Swallow, "network swallows everything").await,
                8 => {
                    let by = self.dice.millis(20, 400);
                    self.weather(&world, Weather::Slow(by), "network slow").await;
                }
                _ => self.set_a_trap(&world).await,
            }
        }
        self.clear_up();
        if self.cluster.has_ended() {
            self.cluster.begin().await?;
        }
        Ok(self)
    }

    /// What hangs in the network is reset, and nothing is left to happen.
    fn clear_up(&self) {
        for proxy in &self.proxies {
            proxy.disarm();
            proxy.turn(Weather::Cut);
            proxy.turn(Weather::Clear);
        }
    }

    async fn restart(&mut self, world: &World, how: Signal, name: &'static str) -> Result<(), Failure> {
        world.fault(Kind::Database, name, "");
        self.cluster.end(how).await?;
        pause(world, self.dice.millis(0, 800)).await;
        self.cluster.begin().await?;
        world.note(&json!({ "at": world.clock(), "started": "PostgreSQL" }));
        Ok(())
    }

    fn a_backend(&mut self) -> Option<u32> {
        let backends = self.cluster.backends();
        (!backends.is_empty()).then(|| self.dice.one_of(&backends))
    }

    fn signal_a_backend(&mut self, world: &World, how: Signal, name: &'static str) {
        if let Some(backend) = self.a_backend() {
            world.fault(Kind::Database, name, &backend.to_string());
            signal::send(backend, how);
        }
    }

    async fn freeze_a_backend(&mut self, world: &World) {
        if let Some(backend) = self.a_backend() {
            world.fault(Kind::Database, "one of PostgreSQL's processes stopped, and continued", &backend.to_string());
            signal::send(backend, Signal::STOP);
            pause(world, self.dice.millis(300, 2_000)).await;
            signal::send(backend, Signal::CONT);
        }
    }

    /// For one node or for all.
    async fn weather(&mut self, world: &World, weather: Weather, name: &'static str) {
        let one = (!self.dice.chance(40)).then(|| self.dice.below(self.proxies.len()));
        let affected = |node: &usize| one.is_none_or(|one| one == *node);
        world.fault(Kind::Database, name, &one.map_or("all nodes".to_owned(), |one| one.to_string()));
        for node in (0..self.proxies.len()).filter(affected) {
            self.proxies[node].turn(weather);
        }
        pause(world, self.dice.millis(200, 2_500)).await;
        for node in (0..self.proxies.len()).filter(affected) {
            self.proxies[node].turn(Weather::Clear);
        }
        world.note(&json!({ "at": world.clock(), "cleared_up": name }));
    }

    /// At some step of an append, or at some byte of whatever is sent.
    async fn set_a_trap(&mut self, world: &World) {
        let node = self.dice.below(self.proxies.len());
        let side = self.dice.one_of(&[Side::BeforeTheServer, Side::BeforeTheClient]);
        let fault = self.dice.one_of(&[Fault::Hold, Fault::Reset, Fault::Reset, Fault::HalfClose, Fault::Swallow]);
        let proxy = &self.proxies[node];
        let (mut trap, place) = if self.dice.chance(50) {
            let text = self.dice.one_of(&STEPS);
            (proxy.trap(text, side, fault), text.to_owned())
        } else {
            let bytes = self.dice.below(WITHIN_BYTES);
            (proxy.trap_after(bytes, side, fault), format!("byte {bytes}"))
        };
        let sprung = tokio::select! {
            () = trap.sprung() => true,
            () = pause(world, std::time::Duration::from_secs(3)) => false,
        };
        if !sprung {
            return proxy.disarm();
        }
        let name = match fault {
            Fault::Hold => "held back at a byte",
            Fault::Reset => "connection reset at a byte",
            Fault::HalfClose => "connection half closed at a byte",
            Fault::Swallow => "connection swallows all from a byte on",
        };
        world.fault(Kind::Database, name, &format!("node {node}, {side:?}, {place}"));
        pause(world, self.dice.millis(100, 2_500)).await;
        trap.let_go();
    }
}
