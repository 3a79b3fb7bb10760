//! The identity provider is slow, dead, or lies.

use std::sync::Arc;

use devidp::Fault;

use super::pause;
use crate::dice::Dice;
use crate::person::LIES;
use crate::tally::Kind;
use crate::world::World;

const AWAY: [Fault; 12] = [
    Fault::DiscoveryServerError,
    Fault::DiscoverySlow,
    Fault::DiscoveryNotJson,
    Fault::JwksServerError,
    Fault::JwksSlow,
    Fault::JwksEmpty,
    Fault::TokenServerError,
    Fault::TokenSlow,
    Fault::TokenDrip,
    Fault::TokenInvalidGrant,
    Fault::TokenNotJson,
    Fault::NoIdToken,
];

pub(crate) async fn make_trouble(world: Arc<World>, mut dice: Dice) {
    while world.goes_on() {
        pause(&world, dice.millis(2_000, 5_000)).await;
        let (fault, name) = if dice.chance(50) {
            (dice.one_of(&LIES), "lies in the ID token")
        } else {
            (dice.one_of(&AWAY), "is away, slow or talks nonsense")
        };
        world.set_provider_fault(Some(fault));
        world.fault(Kind::Provider, name, &fault.name());
        pause(&world, dice.millis(500, 2_000)).await;
        world.set_provider_fault(None);
    }
}
