//! A log with many events, made up but honest: every unit goes through the log writer, is sealed and hashed, and moves the read
//! models, as if the service had run for a long time. Each life is one unit of ten events, to make it quick.

use std::sync::Arc;

use aggregates::{Event, Protected, Role, SessionEvent, StreamId, UnixSeconds, UserEvent, UserId};
use authlog::log::Log;
use clap::Args;
use projections::ActorRef;
use serde_json::json;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use uuid::Uuid;

use crate::Failure;
use crate::instance::{self, Draft, OWNER_TOKEN, Place};

/// Units on their way at once: enough for full groups, below what the queue takes.
const UNDER_WAY: usize = 256;
const EVENTS_OF_A_LIFE: i64 = 10;
const SESSIONS_OF_A_LIFE: usize = 4;

#[derive(Args)]
pub(crate) struct FillArgs {
    #[command(flatten)]
    place: Place,
    /// The log has at least so many events afterwards.
    #[arg(long, default_value_t = 1)]
    events: i64,
}

pub(crate) async fn fill(args: FillArgs) -> Result<(), Failure> {
    let runtime = args.place.open().await?;
    let log = runtime.service.log.clone();
    let mut head = log.read().read_head().await?.position;
    if head == 1 {
        instance::set_up(&log, runtime.service.now()).await?;
        head = log.read().read_head().await?.position;
    }
    let lives = (args.events - head).max(0) / EVENTS_OF_A_LIFE + 1;
    let room = Arc::new(Semaphore::new(UNDER_WAY));
    let mut under_way = JoinSet::new();
    for number in 0..lives {
        let place = Arc::clone(&room).acquire_owned().await?;
        let (log, now) = (log.clone(), runtime.service.now());
        under_way.spawn(async move {
            let written = live(&log, number, now).await;
            drop(place);
            written
        });
        while let Some(written) = under_way.try_join_next() {
            written??;
        }
        if number % 10_000 == 9_999 {
            eprintln!("  {} events", (number + 1) * EVENTS_OF_A_LIFE);
        }
    }
    while let Some(written) = under_way.join_next().await {
        written??;
    }
    let events = log.read().read_head().await?.position;
    drop(log);
    runtime.close().await;
    println!("{}", json!({ "events": events, "token": OWNER_TOKEN }));
    Ok(())
}

/// Somebody is invited, accepts, signs in four times and is still signed in the last time.
async fn live(log: &Log, number: i64, now: UnixSeconds) -> Result<(), Failure> {
    let user = instance::new_user();
    let mut draft = Draft::new(ActorRef::User(user), "bench_fill");
    draft.person(log, user)?;
    draft.events(StreamId::user(user), 0, story(user, number).map(Event::from));
    for visit in 1..=SESSIONS_OF_A_LIFE {
        let token = Uuid::now_v7().to_string();
        let opened = instance::session_opened(user, &token, now);
        let signed_out = (visit < SESSIONS_OF_A_LIFE).then(|| Event::from(SessionEvent::SessionSignedOut {}));
        draft.events(instance::new_session(), 0, std::iter::once(opened).chain(signed_out));
    }
    draft.append(log).await
}

fn story(user: UserId, number: i64) -> [UserEvent; 3] {
    [
        UserEvent::UserInvited {
            address: Protected::of_person(user, format!("person-{number}@bench.example")),
            role: Role::QaViewer,
            invited_by: user,
        },
        UserEvent::InvitationAccepted {
            identity: instance::identity(user, &format!("subject-{number}")),
            profile: instance::profile(user, "Percy Person"),
        },
        UserEvent::ProfileChanged { profile: instance::profile(user, "Percy P. Person") },
    ]
}
