//! How many units a second the log takes from callers who each wait for their answer before they come again.

use std::sync::Arc;
use std::time::{Duration, Instant};

use aggregates::{Actor, EmailAddress, Protected, Role, StreamId, User, UserCommand, UserId};
use authlog::error::{ApiError, ErrorCode};
use authlog::runtime::Runtime;
use authlog::service::decision::Decision;
use authlog::service::{CallContext, Caller, Decide, Service};
use clap::Args;
use serde_json::json;
use uuid::Uuid;

use crate::Failure;
use crate::instance::{self, OWNER_TOKEN, Place};

#[derive(Args, Clone)]
pub(crate) struct UnitsArgs {
    #[command(flatten)]
    pub place: Place,
    #[arg(long, default_value_t = 64)]
    pub callers: usize,
    #[arg(long, default_value_t = 5.0)]
    pub seconds: f64,
}

/// As a browser behind a call would give it.
pub(crate) fn context() -> CallContext {
    CallContext {
        request_id: Some(Uuid::now_v7()),
        source_address: Some("192.0.2.17".to_owned()),
        user_agent: Some("Mozilla/5.0 (X11; Linux x86_64) bench".to_owned()),
    }
}

pub(crate) async fn by_service(args: UnitsArgs) -> Result<(), Failure> {
    let (runtime, caller) = open(&args).await?;
    let shared = Arc::new((runtime.service.clone(), caller));
    let call = move || {
        let shared = Arc::clone(&shared);
        async move {
            let (service, caller) = &*shared;
            let address = EmailAddress::parse(&format!("{}@bench.example", Uuid::now_v7().simple()))?;
            service.invite_user(&context(), caller, address, Role::QaViewer).await.map_err(|error| refusal(&error))?;
            Ok(())
        }
    };
    measure(&args, call).await?;
    runtime.close().await;
    Ok(())
}

pub(crate) async fn by_stream(args: UnitsArgs) -> Result<(), Failure> {
    let (runtime, caller) = open(&args).await?;
    let actor = Actor { user_id: caller.user.id, role: caller.role, credential: caller.credential };
    let service = runtime.service.clone();
    let call = move || {
        let service = service.clone();
        async move { service.run(&context(), InviteAlone { caller: actor }).await.map_err(|error| refusal(&error)) }
    };
    measure(&args, call).await?;
    runtime.close().await;
    Ok(())
}

async fn open(args: &UnitsArgs) -> Result<(Runtime, Caller), Failure> {
    let runtime = instance::ready(&args.place, instance::SET_UP_EVENTS).await?;
    let caller = runtime.service.authenticate(&context(), OWNER_TOKEN).await.map_err(|error| refusal(&error))?;
    Ok((runtime, caller))
}

fn refusal(error: &ApiError) -> Failure {
    format!("{}: {}", error.code().as_str(), error.message()).into()
}

/// The invitation as the framework decides it: on one stream, whoever asks.
struct InviteAlone {
    caller: Actor,
}

impl Decide for InviteAlone {
    type Answer = ();
    const COMMAND: &'static str = "invite_user";

    async fn decide(&self, _: &Service, decision: &mut Decision) -> Result<(), ApiError> {
        decision.acts(projections::ActorRef::User(self.caller.user_id));
        let id = UserId(Uuid::now_v7());
        let mut user = decision.load::<User>(StreamId::user(id)).await?;
        let address = Protected::of_person(id, format!("{}@bench.example", id.0.simple()));
        let invite = UserCommand::Invite { actor: self.caller, address, role: Role::QaViewer };
        let invited = decision.handle(&mut user, invite).await;
        invited.map_err(|error| ApiError::new(ErrorCode::InternalError).caused_by(error))?;
        decision.make_person_key(id)
    }
}

/// Lets all callers call until the time is over and prints how many units that were.
pub(crate) async fn measure<C, F>(args: &UnitsArgs, call: C) -> Result<(), Failure>
where
    C: Fn() -> F + Clone + Send + 'static,
    F: Future<Output = Result<(), Failure>> + Send,
{
    // Pools, plans and pages are warm before the time runs.
    call().await?;
    let begun = Instant::now();
    let end = begun + Duration::from_secs_f64(args.seconds);
    let mut callers = tokio::task::JoinSet::new();
    for _ in 0..args.callers {
        let call = call.clone();
        callers.spawn(async move {
            let (mut units, mut failed, mut last) = (0_u64, 0_u64, None);
            while Instant::now() < end {
                match call().await {
                    Ok(()) => units += 1,
                    Err(failure) => {
                        failed += 1;
                        last = Some(failure.to_string());
                    }
                }
            }
            (units, failed, last)
        });
    }
    let (mut units, mut failed, mut last) = (0, 0, None);
    while let Some(caller) = callers.join_next().await {
        let (more, more_failed, failure) = caller?;
        units += more;
        failed += more_failed;
        last = last.or(failure);
    }
    let seconds = begun.elapsed().as_secs_f64();
    println!("{}", json!({ "units": units, "failed": failed, "seconds": seconds, "failure": last }));
    Ok(())
}
