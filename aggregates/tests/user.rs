//! Users, given what happened, when a command comes, then events or a refusal. Who may do what to whom is in `roles.rs`.
#![allow(clippy::unnecessary_wraps)] // Expected answers are written as the answers they are compared with.

mod cast;

use aggregates::{Actor, Profile, Role, SessionId, Status, UnixSeconds, User, UserCommand, UserError, UserEvent};
use cast::{ANNA, BOB, NOW, OWNER, SESSION, address_of, folded, identity_of, profile_of, signed_in};
use cqrs_es::test::{AggregateTestExecutor, TestFramework};

const THE_OWNER: Actor = signed_in(OWNER, Role::Owner);

fn given(events: Vec<UserEvent>) -> AggregateTestExecutor<User> {
    TestFramework::with(()).given(events)
}

fn registered() -> UserEvent {
    UserEvent::OwnerRegistered { address: address_of(OWNER), identity: identity_of(OWNER), profile: profile_of(OWNER) }
}

fn discarded() -> UserEvent {
    UserEvent::OwnerDiscarded { address: address_of(OWNER), identity: identity_of(OWNER) }
}

fn invited() -> UserEvent {
    UserEvent::UserInvited { address: address_of(ANNA), role: Role::Developer, invited_by: OWNER }
}

fn accepted() -> UserEvent {
    UserEvent::InvitationAccepted { identity: identity_of(ANNA), profile: profile_of(ANNA) }
}

fn disabled() -> UserEvent {
    UserEvent::UserDisabled { disabled_by: OWNER }
}

fn enabled() -> UserEvent {
    UserEvent::UserEnabled { enabled_by: OWNER }
}

fn erased() -> UserEvent {
    let (address, identity) = (address_of(ANNA), Some(identity_of(ANNA)));
    UserEvent::UserErased { address, identity, erased_by: Some(OWNER) }
}

fn unlinked() -> UserEvent {
    UserEvent::IdentityUnlinked { released: identity_of(ANNA) }
}

fn revoked(kept: Option<SessionId>) -> UserEvent {
    UserEvent::SessionsRevoked { revoked_by: Some(OWNER), kept }
}

fn recovery_opened(expires_at: UnixSeconds) -> UserEvent {
    UserEvent::OwnerRecoveryOpened { subject: None, address: Some(address_of(OWNER)), expires_at }
}

fn replaced() -> UserEvent {
    UserEvent::OwnerIdentityReplaced {
        identity: identity_of(OWNER),
        profile: profile_of(OWNER),
        released: Some(identity_of(OWNER)),
    }
}

fn register() -> UserCommand {
    UserCommand::RegisterOwner { address: address_of(OWNER), identity: identity_of(OWNER), profile: profile_of(OWNER) }
}

fn discard() -> UserCommand {
    UserCommand::DiscardOwner { address: address_of(OWNER), identity: identity_of(OWNER) }
}

fn invite() -> UserCommand {
    UserCommand::Invite { actor: THE_OWNER, address: address_of(ANNA), role: Role::Developer }
}

fn accept() -> UserCommand {
    UserCommand::AcceptInvitation { identity: identity_of(ANNA), profile: profile_of(ANNA) }
}

fn change_profile() -> UserCommand {
    UserCommand::ChangeProfile { profile: profile_of(ANNA) }
}

fn change_role(role: Role) -> UserCommand {
    UserCommand::ChangeRole { actor: THE_OWNER, user_id: ANNA, role }
}

fn disable() -> UserCommand {
    UserCommand::Disable { actor: THE_OWNER, user_id: ANNA }
}

fn enable() -> UserCommand {
    UserCommand::Enable { actor: THE_OWNER, user_id: ANNA }
}

fn erase(actor: Option<Actor>) -> UserCommand {
    UserCommand::Erase { actor, address: address_of(ANNA), identity: Some(identity_of(ANNA)) }
}

fn revoke_sessions(kept: Option<SessionId>) -> UserCommand {
    UserCommand::RevokeSessions { actor: THE_OWNER, user_id: ANNA, kept }
}

fn open_recovery() -> UserCommand {
    UserCommand::OpenRecovery { subject: None, address: Some(address_of(OWNER)), expires_at: NOW.plus(900) }
}

fn replace(now: UnixSeconds) -> UserCommand {
    UserCommand::ReplaceOwnerIdentity {
        identity: identity_of(OWNER),
        profile: profile_of(OWNER),
        released: Some(identity_of(OWNER)),
        now,
    }
}

fn unlink() -> UserCommand {
    UserCommand::UnlinkIdentity { released: identity_of(ANNA) }
}

fn absent() -> Vec<UserEvent> {
    vec![]
}

fn waiting() -> Vec<UserEvent> {
    vec![invited()]
}

fn active() -> Vec<UserEvent> {
    vec![invited(), accepted()]
}

fn disabled_while_waiting() -> Vec<UserEvent> {
    vec![invited(), disabled()]
}

fn disabled_while_active() -> Vec<UserEvent> {
    vec![invited(), accepted(), disabled()]
}

fn owner() -> Vec<UserEvent> {
    vec![registered()]
}

fn former_owner() -> Vec<UserEvent> {
    vec![registered(), discarded()]
}

/// The answers of seven users to one command, in this order: absent, waiting, active, disabled while waiting, disabled
/// while active, the owner, a discarded owner.
fn answers(command: &UserCommand) -> [Result<Vec<UserEvent>, UserError>; 7] {
    [absent(), waiting(), active(), disabled_while_waiting(), disabled_while_active(), owner(), former_owner()]
        .map(|history| given(history).when(command.clone()).inspect_result())
}

type Answer = Result<Vec<UserEvent>, UserError>;

fn refused(error: UserError) -> Answer {
    Err(error)
}

fn not_found() -> Answer {
    Err(UserError::NotFound)
}

fn exists() -> Answer {
    Err(UserError::Exists)
}

fn nothing() -> Answer {
    Ok(vec![])
}

fn done(event: UserEvent) -> Answer {
    Ok(vec![event])
}

fn above_you() -> Answer {
    refused(UserError::Forbidden("your role does not permit changing a user of that role"))
}

#[test]
fn an_owner_is_registered_on_a_stream_of_their_own_and_never_again() {
    let expected = [done(registered()), exists(), exists(), exists(), exists(), exists(), exists()];
    assert_eq!(answers(&register()), expected);
}

#[test]
fn an_invitation_makes_a_user_once_and_an_id_is_never_used_again() {
    let expected = [done(invited()), exists(), exists(), exists(), exists(), exists(), exists()];
    assert_eq!(answers(&invite()), expected);
}

#[test]
fn only_an_owner_is_discarded_and_only_once() {
    let other = || refused(UserError::Forbidden("only an owner is discarded"));
    let expected = [not_found(), other(), other(), other(), other(), done(discarded()), not_found()];
    assert_eq!(answers(&discard()), expected);
}

#[test]
fn anybody_but_the_owner_can_be_erased() {
    let owner = || refused(UserError::Forbidden("the owner is not erased: there is always one"));
    let gone = || done(erased());
    let expected = [not_found(), gone(), gone(), gone(), gone(), owner(), not_found()];
    assert_eq!(answers(&erase(Some(THE_OWNER))), expected);
    let on_the_host =
        UserEvent::UserErased { address: address_of(ANNA), identity: Some(identity_of(ANNA)), erased_by: None };
    given(active()).when(erase(None)).then_expect_events(vec![on_the_host]);
}

#[test]
fn only_the_owner_erases() {
    for role in [Role::Admin, Role::Developer, Role::QaViewer] {
        for history in [absent(), active(), owner()] {
            let refused = given(history).when(erase(Some(signed_in(BOB, role)))).inspect_result();
            assert_eq!(refused, Err(UserError::Forbidden("only the owner erases users")));
        }
    }
}

#[test]
fn somebody_who_was_erased_is_not_there_any_more() {
    let history = || [active(), vec![erased()]].concat();
    let after = |command| given(history()).when(command).inspect_result();
    let commands = [disable(), enable(), change_role(Role::Admin), change_profile(), revoke_sessions(None), unlink()];
    for command in commands.into_iter().chain([erase(None), erase(Some(THE_OWNER))]) {
        assert_eq!(after(command.clone()), not_found(), "{command:?}");
    }
    assert_eq!(after(accept()), refused(UserError::NotInvited));
    assert_eq!(after(invite()), exists());
    assert_eq!(folded::<User>(&history()).acting_role(), None);
}

#[test]
fn only_a_waiting_account_is_claimed() {
    let no = || refused(UserError::NotInvited);
    let expected = [no(), done(accepted()), no(), no(), no(), no(), no()];
    assert_eq!(answers(&accept()), expected);
}

#[test]
fn a_profile_changes_where_there_is_an_account() {
    let changed = || done(UserEvent::ProfileChanged { profile: profile_of(ANNA) });
    let expected = [not_found(), changed(), changed(), changed(), changed(), changed(), not_found()];
    assert_eq!(answers(&change_profile()), expected);
}

#[test]
fn a_role_changes_in_every_status_but_never_the_owners() {
    let changed = || done(UserEvent::RoleChanged { role: Role::Admin, changed_by: OWNER });
    let expected = [not_found(), changed(), changed(), changed(), changed(), above_you(), not_found()];
    assert_eq!(answers(&change_role(Role::Admin)), expected);
}

#[test]
fn the_role_somebody_has_is_nothing_new() {
    let expected = [not_found(), nothing(), nothing(), nothing(), nothing(), above_you(), not_found()];
    assert_eq!(answers(&change_role(Role::Developer)), expected);
}

#[test]
fn owner_as_a_role_is_refused_before_anybody_is_looked_up() {
    let expected = std::array::from_fn(|_| refused(UserError::OwnerIsMadeBySetup));
    assert_eq!(answers(&change_role(Role::Owner)), expected);
}

#[test]
fn a_user_is_disabled_once_and_the_owner_never() {
    let expected = [not_found(), done(disabled()), done(disabled()), nothing(), nothing(), above_you(), not_found()];
    assert_eq!(answers(&disable()), expected);
}

#[test]
fn only_a_disabled_user_is_enabled() {
    let expected = [not_found(), nothing(), nothing(), done(enabled()), done(enabled()), above_you(), not_found()];
    assert_eq!(answers(&enable()), expected);
}

#[test]
fn sessions_of_everybody_that_exists_are_revoked_by_one_event() {
    for kept in [None, Some(SESSION)] {
        let done = || done(revoked(kept));
        let expected = [not_found(), done(), done(), done(), done(), done(), not_found()];
        let mut answers = answers(&revoke_sessions(kept));
        // The command above names ANNA: on the owner's stream that would be one owner ending another's.
        let other = refused(UserError::Forbidden("your role does not permit this for a user of that role"));
        assert_eq!(answers[5], other);
        let own = UserCommand::RevokeSessions { actor: THE_OWNER, user_id: OWNER, kept };
        answers[5] = given(owner()).when(own).inspect_result();
        assert_eq!(answers, expected);
    }
}

#[test]
fn a_recovery_opens_for_the_owner_alone() {
    let other = || refused(UserError::Forbidden("only the owner is recovered"));
    let opened = done(recovery_opened(NOW.plus(900)));
    let expected = [not_found(), other(), other(), other(), other(), opened, not_found()];
    assert_eq!(answers(&open_recovery()), expected);
}

#[test]
fn a_recovery_names_a_subject_or_an_address_and_not_both() {
    let open = |subject, address| {
        given(owner()).when(UserCommand::OpenRecovery { subject, address, expires_at: NOW.plus(900) }).inspect_result()
    };
    let value = || Some(address_of(OWNER));
    let no = refused(UserError::Forbidden("a recovery names either a subject or an address"));
    assert_eq!(open(None, None), no);
    assert_eq!(open(value(), value()), no);
    let by_subject = UserEvent::OwnerRecoveryOpened { subject: value(), address: None, expires_at: NOW.plus(900) };
    assert_eq!(open(value(), None), done(by_subject));
}

#[test]
fn without_an_open_recovery_nobody_gets_another_identity() {
    let no = || refused(UserError::NoRecovery);
    let expected = [not_found(), no(), no(), no(), no(), no(), not_found()];
    assert_eq!(answers(&replace(NOW)), expected);
}

#[test]
fn an_open_recovery_is_good_until_the_second_before_its_expiry() {
    let history = vec![registered(), recovery_opened(NOW.plus(900))];
    given(history.clone()).when(replace(NOW.plus(899))).then_expect_events(vec![replaced()]);
    given(history).when(replace(NOW.plus(900))).then_expect_error(UserError::NoRecovery);
}

#[test]
fn a_recovery_is_good_once() {
    given(vec![registered(), recovery_opened(NOW.plus(900)), replaced()])
        .when(replace(NOW))
        .then_expect_error(UserError::NoRecovery);
}

#[test]
fn a_newer_recovery_takes_the_place_of_the_one_before() {
    given(vec![registered(), recovery_opened(NOW.plus(9000)), recovery_opened(NOW.plus(60))])
        .when(replace(NOW.plus(61)))
        .then_expect_error(UserError::NoRecovery);
}

#[test]
fn a_discarded_owner_is_not_recovered_by_what_was_open_before() {
    given(vec![registered(), recovery_opened(NOW.plus(900)), discarded()])
        .when(replace(NOW))
        .then_expect_error(UserError::NotFound);
}

#[test]
fn a_recovered_owner_is_still_the_owner_and_everything_old_has_ended() {
    let before = folded::<User>(&owner());
    let after = folded::<User>(&[registered(), recovery_opened(NOW.plus(900)), replaced()]);
    assert_eq!(after.acting_role(), Some(Role::Owner));
    assert_eq!(after.session_epoch, before.session_epoch + 1);
    assert_eq!(after.token_epoch, before.token_epoch + 1);
}

#[test]
fn only_a_linked_identity_of_another_than_the_owner_is_unlinked() {
    let never = refused(UserError::Forbidden("the owner's identity is replaced, never only unlinked"));
    let expected = [not_found(), nothing(), done(unlinked()), nothing(), done(unlinked()), never, not_found()];
    assert_eq!(answers(&unlink()), expected);
}

#[test]
fn an_unlinked_account_waits_to_be_claimed_again() {
    let user = folded::<User>(&[active(), vec![unlinked()]].concat());
    assert_eq!((user.status(), user.acting_role()), (Some(Status::Invited), None));
    given([active(), vec![unlinked()]].concat()).when(accept()).then_expect_events(vec![accepted()]);
}

/// Status, and the role with which the user acts.
#[test]
fn only_an_active_user_acts() {
    let standing = |history: Vec<UserEvent>| {
        let user = folded::<User>(&history);
        (user.status(), user.acting_role())
    };
    assert_eq!(standing(absent()), (None, None));
    assert_eq!(standing(waiting()), (Some(Status::Invited), None));
    assert_eq!(standing(active()), (Some(Status::Active), Some(Role::Developer)));
    assert_eq!(standing(disabled_while_waiting()), (Some(Status::Disabled), None));
    assert_eq!(standing(disabled_while_active()), (Some(Status::Disabled), None));
    assert_eq!(standing(owner()), (Some(Status::Active), Some(Role::Owner)));
    assert_eq!(standing(former_owner()), (None, None));
}

#[test]
fn enabling_gives_back_the_status_from_before() {
    let status = |history: Vec<UserEvent>| folded::<User>(&history).status();
    assert_eq!(status([disabled_while_waiting(), vec![enabled()]].concat()), Some(Status::Invited));
    assert_eq!(status([disabled_while_active(), vec![enabled()]].concat()), Some(Status::Active));
    assert_eq!(status([disabled_while_active(), vec![unlinked(), enabled()]].concat()), Some(Status::Invited));
}

#[test]
fn somebody_invited_disabled_and_enabled_can_still_accept() {
    given([disabled_while_waiting(), vec![enabled()]].concat()).when(accept()).then_expect_events(vec![accepted()]);
}

#[test]
fn a_role_given_while_disabled_is_the_role_after_enabling() {
    let changed = UserEvent::RoleChanged { role: Role::QaViewer, changed_by: OWNER };
    let user = folded::<User>(&[disabled_while_active(), vec![changed, enabled()]].concat());
    assert_eq!(user.acting_role(), Some(Role::QaViewer));
}

/// By how much each event raises the session epoch and the token epoch.
#[test]
fn each_event_ends_exactly_the_sessions_and_tokens_it_says() {
    let role = UserEvent::RoleChanged { role: Role::Admin, changed_by: OWNER };
    let profile = UserEvent::ProfileChanged { profile: Profile::default() };
    let table = [
        (active(), role, (0, 0)),
        (active(), profile, (0, 0)),
        (active(), disabled(), (1, 1)),
        (disabled_while_active(), enabled(), (0, 0)),
        (active(), revoked(None), (1, 0)),
        (active(), revoked(Some(SESSION)), (1, 0)),
        (active(), unlinked(), (1, 1)),
        (waiting(), accepted(), (0, 0)),
        (owner(), recovery_opened(NOW), (0, 0)),
        (owner(), replaced(), (1, 1)),
        (owner(), discarded(), (1, 1)),
        (active(), erased(), (1, 1)),
    ];
    for (history, event, rise) in table {
        let before = folded::<User>(&history);
        let after = folded::<User>(&[history, vec![event.clone()]].concat());
        let risen = (after.session_epoch - before.session_epoch, after.token_epoch - before.token_epoch);
        assert_eq!(risen, rise, "{event:?}");
    }
}

#[test]
fn sessions_and_tokens_of_a_disabled_user_stay_ended_after_enabling() {
    let before = folded::<User>(&active());
    let after = folded::<User>(&[disabled_while_active(), vec![enabled()]].concat());
    assert!(after.session_epoch > before.session_epoch && after.token_epoch > before.token_epoch);
}

#[test]
fn nobody_but_the_actor_is_named_as_the_one_who_did_it() {
    let admin = signed_in(BOB, Role::Admin);
    given(active())
        .when(UserCommand::Disable { actor: admin, user_id: ANNA })
        .then_expect_events(vec![UserEvent::UserDisabled { disabled_by: BOB }]);
    given(vec![])
        .when(UserCommand::Invite { actor: admin, address: address_of(ANNA), role: Role::QaViewer })
        .then_expect_events(vec![UserEvent::UserInvited {
            address: address_of(ANNA),
            role: Role::QaViewer,
            invited_by: BOB,
        }]);
}
