//! Callers that want the same at the same time, each at whichever node; and one that asks about what has ended.

use serde_json::json;

use devidp::Account;
use history::{Key, Op, Role};

use crate::caller::{Call, Caller, Outcome};
use crate::person::{at_the_provider, refused};
use crate::tally::Promise;

/// Three that race for one thing after the other until the round ends.
pub(crate) async fn race(mut rivals: [Caller; 3], owner: String) -> [Caller; 3] {
    while rivals[0].world.goes_on() {
        let call = if rivals[0].dice.chance(50) {
            let email = format!("r{}@example.com", rivals[0].world.next_person());
            Some(invite(&owner, &email))
        } else {
            somebody_back_from_the_provider(&mut rivals[0], &owner).await
        };
        if let Some(call) = call {
            race_for(&mut rivals, &call).await;
        }
        let pause = rivals[0].dice.millis(50, 300);
        tokio::time::sleep(pause).await;
    }
    rivals
}

/// One `state` that all will use.
async fn somebody_back_from_the_provider(caller: &mut Caller, owner: &str) -> Option<Call> {
    let login = format!("s{}", caller.world.next_person());
    caller.world.provider.add_account(Account::new(&login));
    let invited = caller.settle(&invite(owner, &format!("{login}@example.com"))).await?.answer;
    if invited.status != 201 {
        return None;
    }
    at_the_provider(caller, &login, Some(Key::of(&invited.text("/user/id")))).await
}

fn invite(owner: &str, email: &str) -> Call {
    let body = json!({ "email": email, "role": "qa_viewer" });
    let op = Op::Invite { address: Key::of(email), role: Role::QaViewer };
    Call::post("/v1/users/invite", Some(owner), body).for_op(op)
}

/// One wins at most; and one does, unless a fault came in between.
async fn race_for(rivals: &mut [Caller; 3], call: &Call) {
    let [one, two, three] = rivals;
    let (a, b, c) = tokio::join!(one.anywhere(call), two.anywhere(call), three.anywhere(call));
    let (mut won, mut open) = (0, 0);
    for outcome in [a, b, c] {
        match outcome {
            None | Some(Outcome::Unknown) => open += 1,
            Some(Outcome::Answered(answer)) if answer.is_success() => won += 1,
            // The one whose turn it was has met a provider that lies, or is away.
            Some(Outcome::Answered(answer)) if answer.blames_provider() => open += 1,
            Some(Outcome::Answered(answer)) => {
                if !answer.is(409, "already_exists") && !answer.is(400, "invalid_state") {
                    one.broken(Promise::RacesSafely, call, &answer, "a rival was refused for another reason");
                }
            }
        }
    }
    one.world.tally.checked(Promise::RacesSafely);
    if won > 1 || (won == 0 && open == 0) {
        let what = format!("{won} of three rivals had {} ({:?}), {open} are open", call.words(), call.body);
        one.world.tally.broken(Promise::RacesSafely, what);
    }
}

/// Asks any node about any token that has ended, until the round ends.
pub(crate) async fn ask_about_the_ended(mut caller: Caller) -> Caller {
    while caller.world.goes_on() {
        let (node, number) = (caller.dice.below(caller.world.nodes()), caller.dice.below(usize::MAX));
        if let Some(ended) = caller.world.an_ended(number) {
            refused(&mut caller, node, &ended.token, &ended.how).await;
        }
        let pause = caller.dice.millis(10, 60);
        tokio::time::sleep(pause).await;
    }
    caller
}
