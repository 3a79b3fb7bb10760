//! Erasing a person: what the log says of them can no longer be read, and nothing else still says it.
//!
//! One unit does it all: [`aggregates::UserEvent::UserErased`] ends sessions and API tokens and frees address and identity, the
//! folds delete the rows, and the person's key is destroyed. The log's bytes stay as they are.
//!
//! Architecture invariant: whatever is sealed for a person or speaks of them in clear depends on the version of their stream, so
//! nothing of theirs can be written any more once this unit is: no session, no API token, no event by them.

use aggregates::{LinkedIdentity, Protected, StreamId, User, UserCommand, UserId};
use projections::{ActorRef, ApiTokenRow, SessionRow, UserRow};

use super::authenticate::Caller;
use super::decision::{Decide, Decision};
use super::users::user_error;
use super::{CallContext, Service, store_error};
use crate::error::ApiError;

/// What erasing somebody took away.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Erased {
    /// Rows of sessions, those that had run out included.
    pub sessions: usize,
    pub api_tokens: usize,
    /// Whether the files of a SQLite database are rid of what they held; PostgreSQL takes care of that itself, in its time.
    pub wiped: bool,
}

/// Who asks for it.
#[derive(Clone)]
pub enum Eraser {
    /// The owner, by a call.
    Caller(Box<Caller>),
    /// Somebody on the host.
    Operator,
}

impl Service {
    /// Erases a person for good.
    ///
    /// # Errors
    /// `forbidden` for anybody but the owner, and for the owner themselves; `not_found`, also when they were erased before.
    pub async fn erase_user(&self, context: &CallContext, by: Eraser, user: UserId) -> Result<Erased, ApiError> {
        let ((), rows) = self.run_for_rows(context, EraseUser { by, user }).await?;
        let (sessions, tokens) = match &rows {
            Some(rows) => (rows.sessions.deleted(), rows.api_tokens.deleted()),
            None => Default::default(),
        };
        let sessions: Vec<&SessionRow> = sessions.into_iter().filter(|row| row.user_id == Some(user)).collect();
        let tokens: Vec<&ApiTokenRow> = tokens.into_iter().filter(|row| row.user_id == user).collect();
        let ids = sessions.iter().map(|row| row.id.to_string()).chain(tokens.iter().map(|row| row.id.to_string()));
        // The person is erased: a failure of what tidies up after that is not the call's.
        if let Err(error) = self.log.forget_last_seen(&ids.collect::<Vec<_>>()).await {
            store_error(error).log();
        }
        let wiped = self.wipe_remains().await.unwrap_or_else(|error| {
            error.log();
            false
        });
        Ok(Erased { sessions: sessions.len(), api_tokens: tokens.len(), wiped })
    }

    /// Rids the database's files of what was deleted, as far as that is up to us; answers whether nothing is left.
    ///
    /// # Errors
    /// `store_error`.
    pub async fn wipe_remains(&self) -> Result<bool, ApiError> {
        self.log.wipe_remains().await.map_err(store_error)
    }
}

struct EraseUser {
    by: Eraser,
    user: UserId,
}

impl Decide for EraseUser {
    type Answer = ();
    const COMMAND: &'static str = "erase_user";

    async fn decide(&self, service: &Service, decision: &mut Decision) -> Result<(), ApiError> {
        let actor = match &self.by {
            Eraser::Caller(caller) => Some(decision.reauthenticate(caller).await?),
            Eraser::Operator => {
                decision.acts(ActorRef::Operator);
                None
            }
        };
        let mut user = decision.load::<User>(StreamId::user(self.user)).await?;
        // Read after the stream: should the row be of a later version, the unit is refused and decided again.
        let clause = "WHERE t.id = $1";
        let row = service.log.read().row::<UserRow>(clause, &[self.user.to_string().into()]).await;
        let row = row.map_err(store_error)?;
        let of_person = |text: String| Protected::of_person(self.user, text);
        let (address, identity) = match row {
            // Their key is gone already: a log from before was restored with keys from after it. The account
            // is left, and the event that ends it is sealed with a key that is destroyed with it.
            Some(row) if row.is_without_key() => {
                decision.make_person_key(self.user)?;
                (of_person(String::new()), None)
            }
            Some(row) => (of_person(row.address), row.issuer.zip(row.subject)),
            // The aggregate says that there is no such user.
            None => (Protected::Erased, None),
        };
        let identity = identity.map(|(issuer, subject)| LinkedIdentity { issuer, subject: of_person(subject) });
        let erase = UserCommand::Erase { actor, address, identity };
        decision.handle(&mut user, erase).await.map_err(|error| user_error(&error))?;
        decision.destroy_person_key(self.user);
        Ok(())
    }
}
