//! What holds for every log: its hashes, its folds, its rebuilds, and the rules of the contract under random commands.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod commands;
mod elsewhere;
mod leaf_hash_vectors;
mod looking_back;
mod machine;
mod model;
mod rebuild;
mod remains;
mod story;
#[path = "../support/mod.rs"]
mod support;
mod world;
