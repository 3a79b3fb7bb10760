//! An OpenID Connect provider for authlog's demo and its fault tests.
//!
//! It signs people in without a password, signs its own tokens, and can be told to misbehave in one named way at a
//! time ([`Fault`]). Beside it live a headless browser that walks the sign-in pages of any test provider
//! ([`browser`]) and a starter for the npm provider of `tests/provider` ([`npm`]).
//!
//! Invariant: nothing here listens on, redirects to or calls an address that is not loopback. The keys, secrets and
//! accounts are public; the provider must never be reachable by anybody but the machine's own user.

mod account;
mod answer;
mod authorize;
pub mod browser;
mod client;
mod discovery;
mod fault;
mod form_page;
mod id_token;
mod jose;
mod keys;
mod loopback;
pub mod npm;
mod params;
mod profile;
mod server;
mod state;
mod token;
mod userinfo;
pub mod wire;

pub use account::Account;
pub use client::{Authentication, Client};
pub use fault::Fault;
pub use keys::{Algorithm, KeyError, Rotation};
pub use profile::ClaimsIn;
pub use server::{DevIdp, Options, StartError};
pub use state::Served;
