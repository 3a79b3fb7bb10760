//! Sign-ins, one after the other: what one takes when nothing else is going on.

use std::time::Instant;

use clap::Args;
use serde_json::json;

use crate::Failure;
use crate::visitor::{ServiceArgs, Visitor};

#[derive(Args, Clone)]
pub(crate) struct SignInsArgs {
    #[command(flatten)]
    service: ServiceArgs,
    #[arg(long, default_value_t = 100)]
    sign_ins: usize,
}

/// Prints how long it took until a callback was answered, the exchange with the provider included.
pub(crate) async fn run(args: SignInsArgs) -> Result<(), Failure> {
    let visitor = Visitor::arrive(&args.service).await?;
    let mut micros = Vec::with_capacity(args.sign_ins);
    for _ in 0..args.sign_ins {
        let callback = visitor.go_to_the_provider().await?;
        let begun = Instant::now();
        visitor.sign_in(callback).await?;
        micros.push(begun.elapsed().as_micros());
    }
    micros.sort_unstable();
    println!("{}", json!({ "sign_ins": micros.len(), "p50_us": micros.get(micros.len() / 2) }));
    Ok(())
}
