//! The relying party against a provider that can be told to misbehave in one way at a time.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod faults;
mod fetching;
mod house;
mod sign_in;
