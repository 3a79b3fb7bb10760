//! How many events a second become read models, and how many can be read at all.

use std::time::Instant;

use authlog::log::rebuild::rebuild;
use clap::Args;
use projections::TABLES;
use serde_json::json;

use crate::Failure;
use crate::instance::Place;

#[derive(Args)]
pub(crate) struct RebuildArgs {
    #[command(flatten)]
    place: Place,
    /// Read and parse the same rows without folding them.
    #[arg(long)]
    scan: bool,
}

pub(crate) async fn run(args: RebuildArgs) -> Result<(), Failure> {
    let runtime = args.place.open().await?;
    let log = &runtime.service.log;
    let (keyring, hasher) = (log.keyring().clone(), log.hasher().clone());
    let events = log.read().read_head().await?.position;
    let location = args.place.location()?;
    runtime.close().await;

    let begun = Instant::now();
    if args.scan {
        let mut history = args.place.past().await?.history(0).await?;
        let mut read = 0;
        while let Some(page) = history.next().await {
            read += page?.events.len();
        }
        assert_eq!(i64::try_from(read)?, events);
    } else {
        rebuild(&location, &keyring, &hasher, &TABLES.map(|table| table.name)).await?;
    }
    let seconds = begun.elapsed().as_secs_f64();
    println!("{}", json!({ "events": events, "seconds": seconds, "peak_kib": peak_kib()? }));
    Ok(())
}

/// The most memory that this process has had resident so far, as Linux tells it.
fn peak_kib() -> Result<u64, Failure> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).ok_or("no VmHWM")?;
    Ok(line.trim().trim_end_matches("kB").trim().parse()?)
}
