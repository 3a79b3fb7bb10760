//! authlog: an event-sourced authentication service.

pub mod clock;
pub mod keys;
pub mod log;
pub mod oidc;
