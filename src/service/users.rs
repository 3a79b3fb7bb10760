//! Users: list, invite, change.

use std::sync::Arc;

use aggregates::{EmailAddress, Protected, Role, StreamId, User, UserCommand, UserError, UserId};
use projections::{Key, ReadModels, UserRow};
use uuid::Uuid;

use super::authenticate::Caller;
use super::decision::{Decide, Decision};
use super::{CallContext, Service, Slice, store_error};
use crate::error::{ApiError, ErrorCode};
use crate::log::Arg;

/// By what a list of users is ordered.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum UserSort {
    #[default]
    CreatedAt,
    Email,
    Role,
    Status,
}

/// Which users to list.
#[derive(Clone, Debug)]
pub struct UserQuery {
    /// A part of the address or the name, in any case.
    pub q: Option<String>,
    pub sort: UserSort,
    pub slice: Slice,
}

pub(crate) fn user_error(error: &UserError) -> ApiError {
    let code = match error {
        UserError::NotFound => ErrorCode::NotFound,
        UserError::Exists => ErrorCode::AlreadyExists,
        UserError::Forbidden(_) => ErrorCode::Forbidden,
        UserError::OwnerIsMadeBySetup => ErrorCode::InvalidInput,
        UserError::NotInvited | UserError::NoRecovery => ErrorCode::UserNotFound,
    };
    ApiError::new(code).worded(error)
}

impl Service {
    /// A page of users and how many there are in all.
    ///
    /// # Errors
    /// `store_error`.
    pub async fn list_users(&self, query: &UserQuery) -> Result<(Vec<UserRow>, i64), ApiError> {
        let column = match query.sort {
            UserSort::CreatedAt => "created_at",
            UserSort::Email => "address",
            UserSort::Role => "role",
            UserSort::Status => "status",
        };
        let direction = query.slice.order.sql();
        let mut args = vec![Arg::Integer(query.slice.limit), Arg::Integer(query.slice.offset)];
        let mut condition = String::from("WHERE 1 = 1");
        if let Some(q) = &query.q {
            args.push(Arg::Text(like_pattern(&q.to_lowercase())));
            args.push(Arg::Text(like_pattern(q)));
            // SQLite knows the case of ASCII only: of other letters it finds what is written as it was asked for.
            condition = format!(
                "WHERE (lower(t.address) LIKE ${0} ESCAPE '\\' OR lower(coalesce(t.display_name, '')) LIKE ${0} ESCAPE '\\' \
                 OR t.display_name LIKE ${1} ESCAPE '\\')",
                args.len() - 1,
                args.len()
            );
        }
        let clause = format!("{condition} ORDER BY t.{column} {direction}, t.id {direction} LIMIT $1 OFFSET $2");
        let users = self.log.read().rows::<UserRow>(&clause, &args).await.map_err(store_error)?;
        // The count takes the same arguments, so that the numbers of the condition stay.
        let counted = format!("{condition} AND $1 > 0 AND $2 >= 0");
        let total = self.log.read().count::<UserRow>(&counted, &args).await.map_err(store_error)?;
        Ok((users, total))
    }

    /// Invites somebody.
    ///
    /// # Errors
    /// `already_exists`, `forbidden`, `invalid_input`.
    pub async fn invite_user(
        &self,
        context: &CallContext,
        caller: &Caller,
        address: EmailAddress,
        role: Role,
    ) -> Result<UserRow, ApiError> {
        let call = InviteUser { caller: caller.clone(), address, role };
        let (id, rows) = self.run_for_rows(context, call).await?;
        self.existing_user(id, rows).await
    }

    /// # Errors
    /// `not_found`, `forbidden`, `invalid_input`.
    pub async fn change_role(
        &self,
        context: &CallContext,
        caller: &Caller,
        user: UserId,
        role: Role,
    ) -> Result<UserRow, ApiError> {
        self.change_user(context, caller, user, UserChange::Role(role)).await
    }

    /// # Errors
    /// `not_found`, `forbidden`.
    pub async fn disable_user(
        &self,
        context: &CallContext,
        caller: &Caller,
        user: UserId,
    ) -> Result<UserRow, ApiError> {
        self.change_user(context, caller, user, UserChange::Disable).await
    }

    /// # Errors
    /// `not_found`, `forbidden`.
    pub async fn enable_user(&self, context: &CallContext, caller: &Caller, user: UserId) -> Result<UserRow, ApiError> {
        self.change_user(context, caller, user, UserChange::Enable).await
    }

    async fn change_user(
        &self,
        context: &CallContext,
        caller: &Caller,
        user: UserId,
        change: UserChange,
    ) -> Result<UserRow, ApiError> {
        let ((), rows) = self.run_for_rows(context, ChangeUser { caller: caller.clone(), user, change }).await?;
        self.existing_user(user, rows).await
    }

    /// The row as the call left it; read when the call changed nothing.
    async fn existing_user(&self, id: UserId, rows: Option<Arc<ReadModels>>) -> Result<UserRow, ApiError> {
        if let Some(row) = rows.as_ref().and_then(|rows| rows.users.get(&Key::Id(id.0))) {
            return Ok(row.clone());
        }
        let row = self.user(id).await.map_err(store_error)?;
        row.map(|row| (*row).clone()).ok_or_else(|| user_error(&UserError::NotFound))
    }
}

/// `%text%` with the pattern's own characters escaped.
pub(crate) fn like_pattern(text: &str) -> String {
    let escaped = text.replace('\\', "\\\\").replace('%', "\\%").replace('_', "\\_");
    format!("%{escaped}%")
}

struct InviteUser {
    caller: Caller,
    address: EmailAddress,
    role: Role,
}

impl Decide for InviteUser {
    type Answer = UserId;
    const COMMAND: &'static str = "invite_user";

    async fn decide(&self, _: &Service, decision: &mut Decision) -> Result<UserId, ApiError> {
        let actor = decision.reauthenticate(&self.caller).await?;
        let id = UserId(Uuid::now_v7());
        let mut user = decision.begin::<User>(StreamId::user(id));
        let address = Protected::of_person(id, self.address.as_str());
        let invite = UserCommand::Invite { actor, address, role: self.role };
        decision.handle(&mut user, invite).await.map_err(|error| user_error(&error))?;
        decision.make_person_key(id)?;
        Ok(id)
    }
}

#[derive(Clone, Copy)]
enum UserChange {
    Role(Role),
    Disable,
    Enable,
}

struct ChangeUser {
    caller: Caller,
    user: UserId,
    change: UserChange,
}

impl Decide for ChangeUser {
    type Answer = ();
    const COMMAND: &'static str = "change_user";

    async fn decide(&self, _: &Service, decision: &mut Decision) -> Result<(), ApiError> {
        let actor = decision.reauthenticate(&self.caller).await?;
        let user_id = self.user;
        let mut user = decision.load::<User>(StreamId::user(user_id)).await?;
        let command = match self.change {
            UserChange::Role(role) => UserCommand::ChangeRole { actor, user_id, role },
            UserChange::Disable => UserCommand::Disable { actor, user_id },
            UserChange::Enable => UserCommand::Enable { actor, user_id },
        };
        decision.handle(&mut user, command).await.map(drop).map_err(|error| user_error(&error))
    }
}
