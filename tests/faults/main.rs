//! What goes wrong around the service: the database's network, the database itself, its disk, the clock, the provider, the callers.
//!
//! Every test ends with the log: what was acknowledged is in it once, what was refused is not, and it obeys its own rules.
#![allow(clippy::unwrap_used, clippy::expect_used)]

#[path = "../support/mod.rs"]
mod support;

mod clock;
mod cluster;
mod crash_database;
mod frozen;
mod full_disk;
mod hang_up;
mod heavy_network;
mod ledger;
mod provider;
mod shim;
