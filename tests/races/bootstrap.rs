//! The bootstrap token among a crowd.

use reqwest::{Method, RequestBuilder};
use serde_json::json;

use crate::stage::{Cast, Stage, assert_tally, at_once};
use crate::with_every_cast;

impl Stage {
    fn verification(&self, caller: usize, token: &str) -> RequestBuilder {
        let request = self.node(caller).request(Method::POST, "/v1/setup/bootstrap-token/verify");
        request.json(&json!({ "token": token }))
    }
}

async fn forty_guesses_at_once_are_five_and_lock_the_token_for_good(cast: Cast) {
    let mut stage = Stage::empty(cast).await;
    let token = stage.node(0).bootstrap_token().await;
    let guesses = (0..40).map(|caller| stage.verification(caller, &format!("{caller:064x}"))).collect();
    let answers = at_once(guesses).await;
    assert_tally(&answers, &[("401 invalid_token", 5), ("429 too_many_attempts", 35)]);
    assert_eq!(stage.count("VerificationFailed").await, 5);

    for caller in 0..stage.nodes().len() {
        let body = json!({ "token": token });
        let right = stage.node(caller).post("/v1/setup/bootstrap-token/verify", None, body).await;
        right.refused(429, "too_many_attempts");
    }
    stage.restart().await;
    let answers = at_once((0..10).map(|caller| stage.verification(caller, &token)).collect()).await;
    assert_tally(&answers, &[("429 too_many_attempts", 10)]);
    assert_eq!(stage.count("VerificationFailed").await, 5);

    // Another token is another count.
    let token = stage.node(0).bootstrap_token().await;
    let answers = at_once(vec![stage.verification(0, "wrong"), stage.verification(1, "wrong too")]).await;
    assert_tally(&answers, &[("401 invalid_token", 2)]);
    at_once(vec![stage.verification(1, &token)]).await.remove(0).ok(200);
    stage.lawful().await;
}

async fn twenty_right_tokens_at_once_open_one_session(cast: Cast) {
    let stage = Stage::empty(cast).await;
    let token = stage.node(0).bootstrap_token().await;
    let answers = at_once((0..20).map(|caller| stage.verification(caller, &token)).collect()).await;
    assert_tally(&answers, &[("200 ok", 1), ("410 token_consumed", 19)]);
    assert_eq!(stage.count("SetupSessionOpened").await, 1);
    let opened = answers.iter().find(|answer| answer.status == 200).unwrap();
    let session = opened.body["session_token"].as_str().unwrap();
    for node in stage.nodes() {
        node.get("/v1/setup/summary", Some(session)).await.ok(200);
    }
    stage.lawful().await;
}

async fn guesses_racing_the_right_token_never_open_a_locked_one(cast: Cast) {
    let stage = Stage::empty(cast).await;
    for _ in 0..6 {
        let token = stage.node(0).bootstrap_token().await;
        let failed_before = stage.count("VerificationFailed").await;
        let calls = (0..16).map(|caller| {
            let given = if caller % 4 == 3 { token.clone() } else { format!("guess {caller}") };
            stage.verification(caller, &given)
        });
        let answers = at_once(calls.collect()).await;
        let with = |code: &str| answers.iter().filter(|answer| answer.code() == code).count();
        let opened = answers.iter().filter(|answer| answer.status == 200).count();
        assert!(opened <= 1, "{answers:#?}");
        assert!(opened == 1 || with("too_many_attempts") == 11, "neither opened nor locked: {answers:#?}");
        assert_eq!(stage.count("VerificationFailed").await - failed_before, with("invalid_token"));
        assert_eq!(opened + with("invalid_token") + with("too_many_attempts") + with("token_consumed"), 16);
    }
    stage.lawful().await;
}

with_every_cast!(
    forty_guesses_at_once_are_five_and_lock_the_token_for_good,
    twenty_right_tokens_at_once_open_one_session,
    guesses_racing_the_right_token_never_open_a_locked_one,
);
