//! What is left when the power goes: nothing acknowledged is lost (promise P2), and nothing secret lies on the disk (P9).
#![allow(clippy::unwrap_used, clippy::expect_used)]

#[path = "../support/mod.rs"]
mod support;

mod crash_flush;
mod crash_rebuild;
mod crash_rotate;
mod crash_under_load;
mod plaintext;
mod trace;
