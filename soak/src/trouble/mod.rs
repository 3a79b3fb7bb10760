//! Who makes trouble: for the nodes, for the database and the network to it, for the identity provider. Each goes on until the round
//! ends and then puts right what it has done; nothing else needs a hand.

pub(crate) mod database;
pub(crate) mod nodes;
pub(crate) mod provider;

use std::time::Duration;

use crate::world::World;

/// Waits so long, or until the round ends.
async fn pause(world: &World, time: Duration) {
    let mut goes_on = world.goes_on.subscribe();
    tokio::select! {
        () = tokio::time::sleep(time) => {}
        _ended = goes_on.wait_for(|goes_on| !goes_on) => {}
    }
}
