//! All read models of one batch of events.

use std::str::FromStr;

use aggregates::{Event, UserEvent};

use crate::{
    AnyRows, ApiTokenRow, AuditRow, FoldError, IdentityProviderRow, KeyedHasher, Recorded, Row, Rows, SessionRow,
    SetupRow, Table, UniqueKeyRow, UserRow, api_tokens, audit, identity_provider, sessions, setup, unique_keys, users,
};

/// Every read model, in the order of [`ReadModels::tables`].
pub const TABLES: [&Table; 7] = [
    SetupRow::TABLE,
    IdentityProviderRow::TABLE,
    UserRow::TABLE,
    UniqueKeyRow::TABLE,
    SessionRow::TABLE,
    ApiTokenRow::TABLE,
    AuditRow::TABLE,
];

/// The read models of one batch: one appending transaction, or one page of a rebuild.
///
/// [`ReadModels::need`] for every event of the batch, then load what is missing, then [`ReadModels::fold`] unit by unit, then
/// write what changed.
#[derive(Clone, Debug, Default)]
pub struct ReadModels {
    pub setup: Rows<SetupRow>,
    pub identity_provider: Rows<IdentityProviderRow>,
    pub users: Rows<UserRow>,
    pub unique_keys: Rows<UniqueKeyRow>,
    pub sessions: Rows<SessionRow>,
    pub api_tokens: Rows<ApiTokenRow>,
    pub audit: Rows<AuditRow>,
}

impl ReadModels {
    /// All of them.
    pub fn new() -> Self {
        Self::default()
    }

    /// Only those named need rows and fold events; the others stay empty. Names are those of [`TABLES`].
    pub fn only(names: &[&str]) -> Self {
        Self {
            setup: only(names),
            identity_provider: only(names),
            users: only(names),
            unique_keys: only(names),
            sessions: only(names),
            api_tokens: only(names),
            audit: only(names),
        }
    }

    /// All of them for whoever loads and writes rows, in the order of [`TABLES`]. One that was not selected misses nothing and
    /// changes nothing.
    pub fn tables(&mut self) -> [&mut dyn AnyRows; 7] {
        [
            &mut self.setup,
            &mut self.identity_provider,
            &mut self.users,
            &mut self.unique_keys,
            &mut self.sessions,
            &mut self.api_tokens,
            &mut self.audit,
        ]
    }

    /// Marks the rows that an event touches. Which they are is in the event alone.
    pub fn need(&mut self, recorded: &Recorded<'_>, hasher: &KeyedHasher) {
        match recorded.event {
            Event::Setup(event) if self.setup.is_selected() => setup::need(&mut self.setup, event),
            Event::Session(event) if self.sessions.is_selected() => {
                if let Ok(session) = stream_id(recorded) {
                    sessions::need(&mut self.sessions, session, event);
                }
            }
            Event::User(event) => {
                if self.users.is_selected()
                    && let Ok(user) = stream_id(recorded)
                {
                    users::need(&mut self.users, user, event);
                }
                if self.unique_keys.is_selected() {
                    unique_keys::need(&mut self.unique_keys, event, hasher);
                }
                if let UserEvent::UserErased { .. } = event
                    && let Ok(user) = stream_id(recorded)
                {
                    self.sessions.need_all_of(user);
                    self.api_tokens.need_all_of(user);
                }
            }
            Event::ApiToken(event) if self.api_tokens.is_selected() => {
                if let Ok(token) = stream_id(recorded) {
                    api_tokens::need(&mut self.api_tokens, token, event);
                }
            }
            Event::IdentityProvider(_) if self.identity_provider.is_selected() => {
                identity_provider::need(&mut self.identity_provider);
            }
            Event::Setup(_) | Event::Session(_) | Event::ApiToken(_) | Event::IdentityProvider(_) => {}
        }
    }

    /// Takes needed rows from the batch before this one, which may not be stored yet; what it does not know has to be loaded.
    pub fn supply_from(&mut self, earlier: &Self) {
        self.setup.supply_from(&earlier.setup);
        self.identity_provider.supply_from(&earlier.identity_provider);
        self.users.supply_from(&earlier.users);
        self.unique_keys.supply_from(&earlier.unique_keys);
        self.sessions.supply_from(&earlier.sessions);
        self.api_tokens.supply_from(&earlier.api_tokens);
        self.audit.supply_from(&earlier.audit);
    }

    /// Folds the events of a unit, all or none, into what earlier units left.
    ///
    /// # Errors
    /// [`FoldError::Claimed`] and [`FoldError::Broken`]: every table is as it was before the unit. [`FoldError::Audit`]: only
    /// the audit trail is; all other tables have taken the unit.
    pub fn fold(&mut self, events: &[Recorded<'_>], hasher: &KeyedHasher) -> Result<(), FoldError> {
        self.begin();
        for recorded in events {
            if let Err(refused) = self.fold_event(recorded, hasher) {
                self.roll_back();
                return Err(refused);
            }
        }
        if self.audit.is_selected() {
            for recorded in events {
                if let Err(refused) = audit::fold(&mut self.audit, recorded) {
                    self.audit.roll_back();
                    return Err(refused);
                }
            }
        }
        Ok(())
    }

    fn fold_event(&mut self, recorded: &Recorded<'_>, hasher: &KeyedHasher) -> Result<(), FoldError> {
        match recorded.event {
            Event::Setup(event) if self.setup.is_selected() => setup::fold(&mut self.setup, recorded, event, hasher),
            Event::Session(event) if self.sessions.is_selected() => {
                let session = stream_id(recorded).map_err(|reason| Rows::<SessionRow>::broken(recorded, reason))?;
                sessions::fold(&mut self.sessions, recorded, session, event)
            }
            Event::User(event) => {
                let user = stream_id(recorded).map_err(|reason| Rows::<UserRow>::broken(recorded, reason))?;
                if self.unique_keys.is_selected() {
                    unique_keys::fold(&mut self.unique_keys, recorded, user, event, hasher)?;
                }
                if self.users.is_selected() {
                    users::fold(&mut self.users, recorded, user, event, hasher)?;
                }
                if let UserEvent::UserErased { .. } = event {
                    self.sessions.delete_all_of(recorded, user)?;
                    self.api_tokens.delete_all_of(recorded, user)?;
                }
                Ok(())
            }
            Event::ApiToken(event) if self.api_tokens.is_selected() => {
                let token = stream_id(recorded).map_err(|reason| Rows::<ApiTokenRow>::broken(recorded, reason))?;
                api_tokens::fold(&mut self.api_tokens, recorded, token, event)
            }
            Event::IdentityProvider(event) if self.identity_provider.is_selected() => {
                identity_provider::fold(&mut self.identity_provider, recorded, event)
            }
            // Nobody who is selected folds it.
            Event::Setup(_) | Event::Session(_) | Event::ApiToken(_) | Event::IdentityProvider(_) => Ok(()),
        }
    }

    fn begin(&mut self) {
        self.setup.begin();
        self.identity_provider.begin();
        self.users.begin();
        self.unique_keys.begin();
        self.sessions.begin();
        self.api_tokens.begin();
        self.audit.begin();
    }

    fn roll_back(&mut self) {
        self.setup.roll_back();
        self.identity_provider.roll_back();
        self.users.roll_back();
        self.unique_keys.roll_back();
        self.sessions.roll_back();
        self.api_tokens.roll_back();
        self.audit.roll_back();
    }
}

fn only<R: Row>(names: &[&str]) -> Rows<R> {
    Rows::selected(names.contains(&R::TABLE.name))
}

fn stream_id<Id: FromStr>(recorded: &Recorded<'_>) -> Result<Id, &'static str> {
    recorded.stream.aggregate_id.parse().map_err(|_| "the id of its stream is no UUID")
}
