//! Crowds that call at once: on SQLite, on PostgreSQL, and through two server processes on one PostgreSQL (promises P3, P4).
//!
//! Every test ends with the same questions: does the log obey its own rules, in whatever order it was written, and do the read
//! models say what an independent fold of the log says?
#![allow(clippy::unwrap_used, clippy::expect_used)]

#[path = "../support/mod.rs"]
mod support;

mod bootstrap;
mod nodes;
mod people;
mod rivals;
mod rules_hold;
mod stage;
