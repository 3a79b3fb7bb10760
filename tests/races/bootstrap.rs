//! The bootstrap token among a crowd.

use history::{Key, Op};
use reqwest::{Method, RequestBuilder};
use serde_json::json;

use crate::stage::{Cast, Stage, tally};
use crate::with_every_cast;

impl Stage {
    /// A guess, or the token itself.
    fn verification(&self, caller: usize, given: &str, issued: bool) -> (Op, RequestBuilder) {
        let request = self.node(caller).request(Method::POST, "/v1/setup/bootstrap-token/verify");
        (Op::Verify { token: issued.then(|| Key::of(given)) }, request.json(&json!({ "token": given })))
    }
}

/// How many callers were told what is for the history to judge: only five of the first crowd can have been told that they were wrong.
async fn forty_guesses_at_once_are_five_and_lock_the_token_for_good(cast: Cast) {
    let mut stage = Stage::empty(cast).await;
    let token = stage.bootstrap_token().await;
    stage.at_once((0..40).map(|caller| stage.verification(caller, &format!("{caller:064x}"), false)).collect()).await;
    assert_eq!(stage.count("VerificationFailed").await, 5);
    stage.at_once((0..stage.nodes().len()).map(|caller| stage.verification(caller, &token, true)).collect()).await;
    stage.restart().await;
    stage.at_once((0..10).map(|caller| stage.verification(caller, &token, true)).collect()).await;
    assert_eq!(stage.count("VerificationFailed").await, 5);

    // Another token is another count.
    let token = stage.bootstrap_token().await;
    stage.at_once(vec![stage.verification(0, "wrong", false), stage.verification(1, "wrong too", false)]).await;
    stage.at_once(vec![stage.verification(1, &token, true)]).await.remove(0).ok(200);
    stage.lawful().await;
}

async fn twenty_right_tokens_at_once_open_one_session(cast: Cast) {
    let stage = Stage::empty(cast).await;
    let token = stage.bootstrap_token().await;
    let answers = stage.at_once((0..20).map(|caller| stage.verification(caller, &token, true)).collect()).await;
    assert_eq!(stage.count("SetupSessionOpened").await, 1);
    let opened = answers.iter().find(|answer| answer.status == 200).unwrap();
    let token = opened.body["session_token"].as_str().unwrap();
    let asks = |caller| {
        let request = stage.node(caller).request(Method::GET, "/v1/setup/summary").bearer_auth(token);
        (Op::CheckSetup { session: Key::of(token) }, request)
    };
    stage.at_once((0..stage.nodes().len()).map(asks).collect()).await;
    stage.lawful().await;
}

async fn guesses_racing_the_right_token_never_open_a_locked_one(cast: Cast) {
    let stage = Stage::empty(cast).await;
    for _ in 0..6 {
        let token = stage.bootstrap_token().await;
        let calls = (0..16).map(|caller| match caller % 4 {
            3 => stage.verification(caller, &token, true),
            _ => stage.verification(caller, &format!("guess {caller}"), false),
        });
        println!("{:?}", tally(&stage.at_once(calls.collect()).await));
    }
    stage.lawful().await;
}

with_every_cast!(
    forty_guesses_at_once_are_five_and_lock_the_token_for_good,
    twenty_right_tokens_at_once_open_one_session,
    guesses_racing_the_right_token_never_open_a_locked_one,
);
