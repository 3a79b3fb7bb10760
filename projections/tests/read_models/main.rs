//! Every fold, from events to the rows a store would hold.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod audit;
mod golden;
mod identity_provider;
mod partition;
mod recorded;
mod samples;
mod sessions_and_tokens;
mod setup;
mod store;
mod units;
mod users;
