//! A log with many events, made up: `generate` writes it, and what is measured on it acts as its owner.

use clap::Args;
use serde_json::json;

use crate::Failure;
use crate::instance::{self, OWNER_TOKEN, Place};

#[derive(Args)]
pub(crate) struct FillArgs {
    #[command(flatten)]
    place: Place,
    /// A log that is made has at least so many events.
    #[arg(long, default_value_t = instance::SET_UP_EVENTS)]
    events: i64,
}

pub(crate) async fn fill(args: FillArgs) -> Result<(), Failure> {
    let runtime = instance::ready(&args.place, args.events).await?;
    let events = runtime.service.log.read().read_head().await?.position;
    runtime.close().await;
    println!("{}", json!({ "events": events, "token": OWNER_TOKEN }));
    Ok(())
}
