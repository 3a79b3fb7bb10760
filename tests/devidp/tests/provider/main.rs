//! The provider seen from outside: right where it should be, wrong exactly where it was told to be.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod client_authentication;
mod faults_of_claims;
mod faults_of_endpoints;
mod faults_of_signatures;
mod keys;
mod npm_provider;
mod program;
mod relying_party;
mod sign_in;
