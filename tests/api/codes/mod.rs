//! Every code of the contract, brought about honestly: by what a client, a provider, an operator or a broken machine does. Each
//! test begins with its code's name; `docs/error-codes.md` names them, and `documents` compares.

mod authentication;
mod beyond;
mod input;
mod oidc;
mod setup;
mod system;
