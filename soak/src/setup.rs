//! Setup of a fresh instance while faults are played: strangers guess its bootstrap token, then somebody with the right one goes on
//! until it is done.

use history::{Key, Op};
use reqwest::Method;
use serde_json::{Value, json};
use tokio::task::JoinSet;

use crate::caller::{Call, Caller, Outcome};
use crate::command::run;
use crate::person::{REDIRECT_URI, callback_body, sign_in};
use crate::tally::Promise;

/// Who becomes the owner.
const OWNER: &str = "alice";
const GUESSERS: usize = 4;
const GUESSES_EACH: usize = 4;
/// Failures that a token bears.
const FAILURES: usize = 5;
const STATES: [&str; 5] = ["uninitialized", "bootstrap_pending", "idp_configured", "owner_created", "ready"];

/// A new bootstrap token; `None` when the round ends first.
async fn bootstrap_token(caller: &Caller) -> Option<String> {
    while caller.world.goes_on() {
        let begun = caller.world.recorder.begin(0, Op::IssueToken);
        // Without a database the command fails, and is given again.
        let done = run(&caller.world, &["setup", "token", "--json"]).await.ok().filter(|done| done.code == 0);
        let printed = done.and_then(|done| serde_json::from_str::<Value>(&done.stdout).ok());
        if let Some(token) = printed.as_ref().and_then(|printed| printed["token"].as_str()) {
            begun.end(history::Answer::Issued { token: Key::of(token) });
            return Some(token.to_owned());
        }
        begun.unknown();
    }
    None
}

fn verify(token: &str) -> Call {
    let op = Op::Verify { token: Some(Key::of(token)) };
    Call::post("/v1/setup/bootstrap-token/verify", None, json!({ "token": token })).for_op(op)
}

fn wrong(guess: &str) -> Call {
    verify(guess).for_op(Op::Verify { token: None })
}

/// Strangers guess, all at once; one of them knows the token and is no better off once it is locked.
pub(crate) async fn guess(caller: &Caller, guessers: Vec<Caller>) -> Option<()> {
    let token = bootstrap_token(caller).await?;
    let mut crowd = JoinSet::new();
    for (number, mut guesser) in guessers.into_iter().take(GUESSERS).enumerate() {
        let token = token.clone();
        crowd.spawn(async move {
            let mut told = Vec::new();
            for guess in 0..GUESSES_EACH {
                let is_right = number == 0 && guess == 2;
                let call = if is_right { verify(&token) } else { wrong(&format!("guess-{number}-{guess}")) };
                let Some(Outcome::Answered(answer)) = guesser.anywhere(&call).await else { continue };
                told.push(answer.code().to_owned());
            }
            told
        });
    }
    let told: Vec<String> = crowd.join_all().await.into_iter().flatten().collect();
    let count = |code: &str| told.iter().filter(|told| *told == code).count();
    let tally = &caller.world.tally;
    tally.checked(Promise::StrangersBounded);
    let known = ["", "invalid_token", "too_many_attempts", "token_consumed"];
    if count("invalid_token") > FAILURES || count("") > 1 || told.iter().any(|code| !known.contains(&code.as_str())) {
        tally.broken(Promise::StrangersBounded, format!("guesses at one token were answered {told:?}"));
    }
    Some(())
}

/// Goes on with setup until the owner has a session; `None` when the round ends first.
pub(crate) async fn set_up(caller: &mut Caller) -> Option<String> {
    let mut reached = 0;
    loop {
        let state = state(caller).await?;
        let stands = STATES.iter().position(|known| *known == state).unwrap_or_default();
        caller.world.tally.checked(Promise::ReadYourWrites);
        if stands < reached {
            let what = format!("setup stands at {state} and stood at {} before", STATES[reached]);
            caller.world.tally.broken(Promise::ReadYourWrites, what);
        }
        reached = stands;
        if state == "ready" {
            return sign_in(caller, OWNER, None).await;
        }
        // What went wrong on the way is gone about anew.
        let _not_yet = go_on(caller, &state).await;
        tokio::time::sleep(caller.dice.millis(20, 200)).await;
    }
}

async fn state(caller: &mut Caller) -> Option<String> {
    let call = Call::new(Method::GET, "/v1/public/setup-status", None);
    Some(caller.settle(&call).await?.answer.text("/state"))
}

/// Whatever is left to do from this state on; `None` when something came in between.
async fn go_on(caller: &mut Caller, state: &str) -> Option<()> {
    let token = bootstrap_token(caller).await?;
    let setup = succeed(caller, &verify(&token), Some("BootstrapTokenVerified")).await?.text("/session_token");
    caller.world.keep_out_of_the_log(&token);
    caller.world.keep_out_of_the_log(&setup);
    if state != "owner_created" {
        let provider = json!({
            "issuer_url": caller.world.provider.issuer(),
            "client_id": "authlog-test",
            "client_secret": devidp::Client::SECRET,
        });
        succeed(caller, &Call::post("/v1/setup/oidc/configure", Some(&setup), provider), None).await?;
        let start = Call::post("/v1/setup/owner/start-oidc", Some(&setup), json!({ "redirect_uri": REDIRECT_URI }));
        let url = succeed(caller, &start, None).await?.text("/authorization_url");
        let back = caller.world.provider.sign_in(&url, OWNER).await.ok()?;
        let verify = Call::post("/v1/setup/owner/verify-oidc", Some(&setup), callback_body(back));
        succeed(caller, &verify, Some("OwnerVerified")).await?;
    }
    let done = Op::Complete { session: Key::of(&setup) };
    let complete = Call::post("/v1/setup/complete", Some(&setup), json!({})).for_op(done);
    succeed(caller, &complete, Some("SetupCompleted")).await?;
    Some(())
}

/// The answer, if it is no error; with it the event is in the log.
async fn succeed(caller: &mut Caller, call: &Call, event: Option<&'static str>) -> Option<crate::answer::Answer> {
    match caller.anywhere(call).await? {
        Outcome::Answered(answer) if answer.is_success() => {
            if let Some(event) = event {
                caller.world.acknowledge(event, &answer.request_id, &call.words());
            }
            Some(answer)
        }
        _ => None,
    }
}
