//! Nodes are killed, stopped as they are and continued, stopped in good order, and started anew; what ends by itself is started
//! again, as a service manager would.

use std::sync::Arc;
use std::time::{Duration, Instant};

use reqwest::Client;
use serde_json::json;

use super::pause;
use crate::dice::Dice;
use crate::node::{Node, NotStarted, Recipe};
use crate::tally::{Kind, Promise};
use crate::world::World;

/// Nodes have so long to be ready again when everything around them is well.
const RECOVERS_WITHIN: Duration = Duration::from_secs(30);
const ASK_EVERY: Duration = Duration::from_millis(50);
/// A service manager starts again after this.
const STARTS_AGAIN_AFTER: Duration = Duration::from_millis(200);

/// The nodes of one instance.
pub(crate) struct Nodes {
    world: Arc<World>,
    recipes: Vec<Recipe>,
    running: Vec<Option<Node>>,
    dice: Dice,
}

impl Nodes {
    pub(crate) fn new(world: &Arc<World>, recipes: Vec<Recipe>, dice: Dice) -> Self {
        let running = recipes.iter().map(|_| None).collect();
        Self { world: Arc::clone(world), recipes, running, dice }
    }

    pub(crate) async fn make_trouble(mut self) -> Self {
        while self.world.goes_on() {
            self.look_after_all().await;
            pause(&self.world, self.dice.millis(300, 1_500)).await;
            let node = self.dice.below(self.running.len());
            match self.dice.below(10) {
                0..6 => self.kill(node).await,
                6..9 => self.freeze(node).await,
                _ => self.stop(node).await,
            }
        }
        self.look_after_all().await;
        self
    }

    /// Starts whatever is down.
    pub(crate) async fn look_after_all(&mut self) {
        for node in 0..self.running.len() {
            self.look_after(node).await;
        }
    }

    async fn look_after(&mut self, node: usize) {
        if let Some(running) = &mut self.running[node] {
            let Some(status) = running.ended() else { return };
            self.take(node);
            let what = format!("node {node} ended by itself with {status}");
            self.world.tally.broken(Promise::RecoversByItself, what);
        }
        let begun = Instant::now();
        loop {
            match self.recipes[node].start().await {
                Ok(started) => {
                    self.world.set_base(node, Some(started.base.clone()));
                    self.running[node] = Some(started);
                    return;
                }
                // As it may while its database is away; whoever started it starts it again.
                Err(NotStarted::Ended(status)) if begun.elapsed() < 2 * RECOVERS_WITHIN => {
                    let what = format!("{status}");
                    self.world.note(&json!({ "at": self.world.clock(), "not_started": node, "why": what }));
                    tokio::time::sleep(STARTS_AGAIN_AFTER).await;
                }
                Err(why) => {
                    let what = format!("node {node} does not start: {why}");
                    return self.world.tally.broken(Promise::RecoversByItself, what);
                }
            }
        }
    }

    fn take(&mut self, node: usize) -> Option<Node> {
        self.world.set_base(node, None);
        self.running[node].take()
    }

    async fn kill(&mut self, node: usize) {
        let Some(running) = self.take(node) else { return };
        self.world.fault(Kind::Kill, "kill -9 of a node", &node.to_string());
        running.kill().await;
        pause(&self.world, self.dice.millis(0, 500)).await;
    }

    /// Longer than a lease; whoever calls it meanwhile waits.
    async fn freeze(&mut self, node: usize) {
        let Some(running) = &self.running[node] else { return };
        running.freeze();
        self.world.fault(Kind::Node, "stopped as it is, and continued", &node.to_string());
        pause(&self.world, self.dice.millis(300, 3_000)).await;
        running.thaw();
        self.world.note(&json!({ "at": self.world.clock(), "continued": node }));
    }

    async fn stop(&mut self, node: usize) {
        let Some(running) = self.take(node) else { return };
        self.world.fault(Kind::Node, "stopped in good order, and started anew", &node.to_string());
        match running.stop().await {
            Some(status) if status.success() => {}
            ended => {
                let what = format!("node {node} was asked to stop and ended with {ended:?}");
                self.world.tally.broken(Promise::RecoversByItself, what);
            }
        }
    }

    /// Waits until every node says that it is ready.
    pub(crate) async fn recover(&mut self, http: &Client) {
        self.look_after_all().await;
        for node in 0..self.running.len() {
            let end = Instant::now() + RECOVERS_WITHIN;
            loop {
                self.world.tally.checked(Promise::RecoversByItself);
                let base = self.world.base(node).unwrap_or_default();
                let told = match http.get(format!("{base}/readyz")).send().await {
                    Ok(answer) if answer.status() == 200 => break,
                    Ok(answer) => format!("{} {}", answer.status(), answer.text().await.unwrap_or_default()),
                    Err(error) => error.to_string(),
                };
                if Instant::now() > end {
                    let what = format!("node {node} is not ready {RECOVERS_WITHIN:?} after all was well again: {told}");
                    self.world.tally.broken(Promise::RecoversByItself, what);
                    break;
                }
                tokio::time::sleep(ASK_EVERY).await;
            }
        }
    }

    pub(crate) async fn end(&mut self) {
        for node in 0..self.running.len() {
            if let Some(running) = self.take(node) {
                running.kill().await;
            }
        }
    }
}
