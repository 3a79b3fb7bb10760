//! A long day of an instance: nearly everything that can be written down happens at least once, and somebody is erased in the
//! middle of it.

use aggregates::{ApiTokenId, RemoteAuthMode};
use aggregates::{EmailAddress, Role, RuntimeMode, SetupState, UserId};
use authlog::error::ErrorCode;
use authlog::service::Caller;
use authlog::service::api_tokens::NewApiToken;
use authlog::service::recover::RecoverBy;
use authlog::service::setup::{NewProvider, SetupCaller};

use crate::world::{World, context, identity};

pub const ISSUER: &str = "https://id.example.com";
/// Sign-ins that make the log longer than a page of a rebuild.
const SIGN_INS: usize = 260;

fn address(name: &str) -> EmailAddress {
    EmailAddress::parse(&format!("{name}@example.com")).unwrap()
}

/// Who is still there at the end.
pub struct Cast {
    pub bob: UserId,
}

pub async fn tell(world: &World) -> Cast {
    setup_that_is_restarted(world).await;
    let owner = setup_to_its_end(world).await;
    let bob = people(world, &owner).await;
    api_tokens(world, "bob").await;
    recovery(world).await;
    for n in 0..SIGN_INS {
        sign_in(world, "bob", if n % 2 == 0 { "Bob" } else { "Robert" }).await;
    }
    world.service().refusals.count(ErrorCode::UserNotFound);
    world.service().write_refusals().await.unwrap();
    world.service().remove_provider(&context()).await.unwrap();
    Cast { bob }
}

async fn open_setup(world: &World, owner: Option<&str>) -> String {
    let service = world.service();
    let issued = service.issue_bootstrap_token(&context(), 900, owner.map(address)).await.unwrap();
    assert!(service.verify_bootstrap_token(&context(), "wrong").await.is_err());
    service.verify_bootstrap_token(&context(), &issued.token).await.unwrap().token
}

async fn setup_caller(world: &World, token: &str) -> SetupCaller {
    world.service().setup_caller(Some(token), &[]).await.unwrap()
}

async fn register(world: &World, token: &str, name: &str) {
    let service = world.service();
    let caller = setup_caller(world, token).await;
    service.set_preferences(&context(), &caller, RuntimeMode::Remote, RemoteAuthMode::Oidc).await.unwrap();
    let provider = NewProvider::parse(ISSUER, "authlog".to_owned(), Some("hunter2".to_owned())).unwrap();
    service.configure_provider_in_setup(&context(), &caller, provider).await.unwrap();
    let (version, email) = (world.provider_version().await, format!("{name}@example.com"));
    let identity = identity(ISSUER, name, Some(&email), Some("Näme"));
    service.register_owner(&context(), caller.session, version, identity).await.unwrap();
}

/// Two owners who never were: one pinned and replaced, one registered and discarded. The keys of both are destroyed.
async fn setup_that_is_restarted(world: &World) {
    open_setup(world, Some("replaced")).await;
    let token = open_setup(world, Some("discarded")).await;
    register(world, &token, "discarded").await;
    assert!(world.service().restart_setup(&context()).await.unwrap());
    assert_eq!(world.service().setup_status().await.unwrap().state, SetupState::Uninitialized);
}

pub async fn setup_to_its_end(world: &World) -> Caller {
    let token = open_setup(world, Some("alice")).await;
    register(world, &token, "alice").await;
    let caller = setup_caller(world, &token).await;
    world.service().complete_setup(&context(), &caller).await.unwrap();
    sign_in(world, "alice", "Alice").await
}

pub async fn sign_in(world: &World, name: &str, shown: &str) -> Caller {
    let (version, email) = (world.provider_version().await, format!("{name}@example.com"));
    let identity = identity(ISSUER, name, Some(&email), Some(shown));
    let signed_in = world.service().sign_in(&context(), version, identity).await.unwrap();
    world.service().authenticate(&context(), &signed_in.session_token).await.unwrap()
}

async fn people(world: &World, owner: &Caller) -> UserId {
    let (service, context) = (world.service(), context());
    let invite = async |name, role| service.invite_user(&context, owner, address(name), role).await.unwrap().id;
    let bob = invite("bob", Role::QaViewer).await;
    let carol = invite("carol", Role::Developer).await;
    invite("nobody-came", Role::Admin).await;
    service.change_role(&context, owner, bob, Role::Admin).await.unwrap();
    sign_in(world, "bob", "Bob").await;
    let caller = sign_in(world, "bob", "Bob").await;
    sign_in(world, "carol", "Carol").await;
    service.disable_user(&context, &caller, carol).await.unwrap();
    service.enable_user(&context, &caller, carol).await.unwrap();
    let caller_of_carol = sign_in(world, "carol", "Carol").await;
    assert_eq!(service.revoke_sessions(&context, &caller, None).await.unwrap(), 1);
    service.revoke_session(&context, &caller, caller_of_carol.require_session().unwrap()).await.unwrap();
    service.sign_out(&context, &caller).await.unwrap();
    bob
}

async fn api_tokens(world: &World, name: &str) {
    let (service, context) = (world.service(), context());
    let caller = sign_in(world, name, "Bob").await;
    let mut issued: Vec<ApiTokenId> = Vec::new();
    for expires_at in [None, Some(service.now().plus(3600))] {
        let token = NewApiToken { name: r"Bobs \ Täken \N\t\.".to_owned(), role: Role::Developer, expires_at };
        issued.push(service.issue_api_token(&context, &caller, token).await.unwrap().0.id);
    }
    service.revoke_api_token(&context, &caller, issued[0]).await.unwrap();
}

/// The owner takes over the identity of somebody who had accepted an invitation.
async fn recovery(world: &World) {
    let service = world.service();
    service.recover_owner(&context(), RecoverBy::Address(address("unknown")), 900).await.unwrap();
    service.recover_owner(&context(), RecoverBy::Subject("carol".to_owned()), 900).await.unwrap();
    let owner = sign_in(world, "carol", "Carol").await;
    assert_eq!(owner.role, Role::Owner);
}
