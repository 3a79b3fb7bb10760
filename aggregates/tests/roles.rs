//! Who may do what to whom: actor's role, target's role, command. The tables are written from the contract, "Users, sessions,
//! tokens, audit", not from the code.
#![allow(clippy::unwrap_used)]

mod cast;

use aggregates::{
    Actor, ApiToken, ApiTokenCommand, ApiTokenError, Role, User, UserCommand, UserError, UserEvent, UserId,
};
use cast::{ANNA, BOB, NOW, address_of, by_api_token, folded, handle, hash, identity_of, profile_of, signed_in};

const ROLES: [Role; 4] = [Role::Owner, Role::Admin, Role::Developer, Role::QaViewer];

/// One letter an answer: `y` an event, `-` nothing to do, `f` forbidden, `i` the request names a role it may not, `n` no such user.
fn letter(answer: &Result<Vec<UserEvent>, UserError>) -> char {
    match answer {
        Ok(events) if events.is_empty() => '-',
        Ok(events) => {
            assert_eq!(events.len(), 1);
            'y'
        }
        Err(UserError::Forbidden(_)) => 'f',
        Err(UserError::OwnerIsMadeBySetup) => 'i',
        Err(UserError::NotFound) => 'n',
        Err(other) => panic!("unexpected refusal: {other}"),
    }
}

/// An active user of this role, by the events that make one.
fn user_of(role: Role, user_id: UserId) -> User {
    let (address, identity, profile) = (address_of(user_id), identity_of(user_id), profile_of(user_id));
    folded(&match role {
        Role::Owner => vec![UserEvent::OwnerRegistered { address, identity, profile }],
        role => vec![
            UserEvent::UserInvited { address, role, invited_by: BOB },
            UserEvent::InvitationAccepted { identity, profile },
        ],
    })
}

/// The answers of BOB with each role (rows) to ANNA with each role (columns).
fn matrix(
    credential: fn(UserId, Role) -> Actor,
    command: impl Fn(Actor) -> UserCommand,
    start: impl Fn(Role) -> User,
) -> [String; 4] {
    ROLES.map(|actor| {
        let actor = credential(BOB, actor);
        ROLES.iter().map(|target| letter(&handle(&mut start(*target), command(actor)))).collect()
    })
}

fn session(user_id: UserId, role: Role) -> Actor {
    signed_in(user_id, role)
}

fn api_token(user_id: UserId, role: Role) -> Actor {
    by_api_token(user_id, role)
}

fn active(role: Role) -> User {
    user_of(role, ANNA)
}

fn disabled(role: Role) -> User {
    let mut user = active(role);
    user.disabled = true;
    user
}

fn nobody(_: Role) -> User {
    User::default()
}

fn disable(actor: Actor) -> UserCommand {
    UserCommand::Disable { actor, user_id: ANNA }
}

fn enable(actor: Actor) -> UserCommand {
    UserCommand::Enable { actor, user_id: ANNA }
}

fn revoke_sessions(actor: Actor) -> UserCommand {
    UserCommand::RevokeSessions { actor, user_id: ANNA, kept: None }
}

/// Rows: the actor is owner, admin, developer, `qa_viewer`. Columns: so is the target.
const BY_RANK: [&str; 4] = ["fyyy", "ffyy", "ffff", "ffff"];
const REPEATED: [&str; 4] = ["f---", "ff--", "ffff", "ffff"];

#[test]
fn only_the_owner_disables_an_admin_and_nobody_the_owner() {
    assert_eq!(matrix(session, disable, active), BY_RANK);
    assert_eq!(matrix(session, disable, disabled), REPEATED);
}

#[test]
fn only_the_owner_enables_an_admin() {
    assert_eq!(matrix(session, enable, disabled), BY_RANK);
    assert_eq!(matrix(session, enable, active), REPEATED);
}

#[test]
fn only_the_owner_ends_an_admins_sessions() {
    assert_eq!(matrix(session, revoke_sessions, active), BY_RANK);
    assert_eq!(matrix(session, revoke_sessions, disabled), BY_RANK);
}

#[test]
fn an_api_token_manages_users_as_its_role_does() {
    assert_eq!(matrix(api_token, disable, active), BY_RANK);
    assert_eq!(matrix(api_token, enable, disabled), BY_RANK);
}

#[test]
fn an_api_token_ends_nobodys_sessions() {
    assert_eq!(matrix(api_token, revoke_sessions, active), ["ffff"; 4]);
    assert_eq!(matrix(api_token, revoke_sessions, nobody), ["ffff"; 4]);
    for role in ROLES {
        let own = UserCommand::RevokeSessions { actor: by_api_token(ANNA, role), user_id: ANNA, kept: None };
        assert_eq!(letter(&handle(&mut active(role), own)), 'f', "{role}");
    }
}

#[test]
fn who_manages_nobody_does_not_learn_who_exists() {
    for command in [disable, enable, revoke_sessions] {
        assert_eq!(matrix(session, command, nobody), ["nnnn", "nnnn", "ffff", "ffff"]);
    }
}

/// One row an actor; in it one word a target (owner, admin, developer, `qa_viewer`), in it one letter a new role, in the same order.
#[test]
fn roles_are_changed_only_below_ones_own_and_only_to_below_ones_own() {
    let expected = [
        (Role::Owner, ["ifff", "i-yy", "iy-y", "iyy-"]),
        (Role::Admin, ["ifff", "ifff", "if-y", "ify-"]),
        (Role::Developer, ["ffff", "ffff", "ffff", "ffff"]),
        (Role::QaViewer, ["ffff", "ffff", "ffff", "ffff"]),
    ];
    for credential in [session, api_token] {
        for (actor, words) in expected {
            let answers = ROLES.map(|target| {
                let change = |role| UserCommand::ChangeRole { actor: credential(BOB, actor), user_id: ANNA, role };
                ROLES.iter().map(|role| letter(&handle(&mut active(target), change(*role)))).collect::<String>()
            });
            assert_eq!(answers, words, "{actor}");
        }
    }
}

#[test]
fn a_role_change_of_nobody_is_refused_by_role_then_by_request_then_by_existence() {
    let expected = [(Role::Owner, "innn"), (Role::Admin, "innn"), (Role::Developer, "ffff"), (Role::QaViewer, "ffff")];
    for (actor, word) in expected {
        let change = |role| UserCommand::ChangeRole { actor: signed_in(BOB, actor), user_id: ANNA, role };
        let answers: String = ROLES.iter().map(|role| letter(&handle(&mut User::default(), change(*role)))).collect();
        assert_eq!(answers, word, "{actor}");
    }
}

#[test]
fn an_invitation_is_for_a_role_below_ones_own() {
    let expected = [(Role::Owner, "iyyy"), (Role::Admin, "ifyy"), (Role::Developer, "ffff"), (Role::QaViewer, "ffff")];
    for credential in [session, api_token] {
        for (actor, word) in expected {
            let invite = |role| UserCommand::Invite { actor: credential(BOB, actor), address: address_of(ANNA), role };
            let answers: String =
                ROLES.iter().map(|role| letter(&handle(&mut User::default(), invite(*role)))).collect();
            assert_eq!(answers, word, "{actor}");
        }
    }
}

/// Even one whose role in the request is above the one in their stream: that is why it is asked before rank.
#[test]
fn nobody_changes_disables_or_enables_themselves() {
    let themselves = || Err(UserError::Forbidden("nobody changes or disables themselves"));
    for own in ROLES {
        for claimed in [Role::Owner, Role::Admin] {
            let actor = signed_in(ANNA, claimed);
            let change = UserCommand::ChangeRole { actor, user_id: ANNA, role: Role::QaViewer };
            for command in [disable(actor), enable(actor), change] {
                let said = format!("{own} as {claimed}: {command:?}");
                assert_eq!(handle(&mut active(own), command), themselves(), "{said}");
            }
        }
    }
}

#[test]
fn only_owner_and_admin_outrank_anybody() {
    let expected = [
        (Role::Owner, [false, true, true, true]),
        (Role::Admin, [false, false, true, true]),
        (Role::Developer, [false; 4]),
        (Role::QaViewer, [false; 4]),
    ];
    for (role, row) in expected {
        assert_eq!(ROLES.map(|other| role.outranks(other)), row, "{role}");
        assert_eq!(role.manages(), role == Role::Owner || role == Role::Admin);
    }
}

#[test]
fn roles_are_spelled_as_in_the_contract() {
    let names = ["owner", "admin", "developer", "qa_viewer"];
    assert_eq!(ROLES.map(Role::as_str), names);
    assert_eq!(names.map(|name| name.parse::<Role>().unwrap()), ROLES);
    assert_eq!(ROLES.map(|role| serde_json::to_value(role).unwrap()), names.map(serde_json::Value::from));
    for name in ["", "Owner", "ADMIN", "qa-viewer", " admin", "root"] {
        name.parse::<Role>().unwrap_err();
    }
}

#[test]
fn everybody_ends_their_own_sessions() {
    for role in ROLES {
        assert_eq!(letter(&handle(&mut active(role), revoke_sessions(signed_in(ANNA, role)))), 'y', "{role}");
    }
}

/// What ends an API token is decided on its owner's stream.
#[test]
fn ones_own_api_tokens_and_those_of_lower_roles_may_be_ended() {
    let expected = [
        (Role::Owner, [false, true, true, true]),
        (Role::Admin, [false, false, true, true]),
        (Role::Developer, [false; 4]),
        (Role::QaViewer, [false; 4]),
    ];
    for (role, row) in expected {
        let allowed = |actor: Actor| ROLES.map(|target| active(target).may_be_ended_by(actor, ANNA).is_ok());
        assert_eq!(allowed(signed_in(BOB, role)), row, "{role}");
        assert_eq!(allowed(signed_in(ANNA, role)), [true; 4], "{role}");
        assert_eq!(allowed(by_api_token(BOB, role)), [false; 4], "{role}");
        assert_eq!(allowed(by_api_token(ANNA, role)), [false; 4], "{role}");
    }
}

/// Rows: the actor. Columns: the token's role (owner, admin, developer, `qa_viewer`).
#[test]
fn an_api_token_gets_at_most_ones_own_role_and_never_owner() {
    let expected = [(Role::Owner, "fyyy"), (Role::Admin, "fyyy"), (Role::Developer, "ffyy"), (Role::QaViewer, "ffff")];
    for (role, word) in expected {
        let answers = |actor: Actor| -> String {
            let issue = |role| ApiTokenCommand::Issue {
                actor,
                name: address_of(BOB),
                prefix: "alog_0123456".to_owned(),
                token_hash: hash(1),
                role,
                now: NOW,
                expires_at: None,
                token_epoch: 0,
            };
            let letter = |answer| match answer {
                Ok(_) => 'y',
                Err(ApiTokenError::Forbidden(_)) => 'f',
                Err(other) => panic!("unexpected refusal: {other}"),
            };
            ROLES.iter().map(|role| letter(handle(&mut ApiToken::default(), issue(*role)))).collect()
        };
        assert_eq!(answers(signed_in(BOB, role)), word, "{role}");
        assert_eq!(answers(by_api_token(BOB, role)), "ffff", "{role}");
    }
}
