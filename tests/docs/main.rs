//! The docs say what is true: their commands are run, their tables compared with the code, their links and test names followed.
#![allow(clippy::unwrap_used, clippy::expect_used)]

#[path = "../support/mod.rs"]
mod support;

mod help;
mod markdown;
mod names;
mod pages;
mod role;
mod tables;
mod walk;
