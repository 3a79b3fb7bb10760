//! What the contract says, written anew for the tests: nothing here comes from the service's own rules.
//!
//! People, sessions and tokens are numbers; which ids and bearer values the service gave them is for whoever drives both.

use aggregates::Role;

use crate::commands::{By, Claim, Command, Guess, Person, SetupBy};

/// What a call answers: what it says, or the code of its refusal.
pub type Answer = Result<Said, &'static str>;

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Said {
    Done,
    Person(Shown),
    Revoked(usize),
    Summary { state: &'static str, provider: Option<Provider>, owner: Option<u8> },
}

/// A user as the API shows them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shown {
    pub email: u8,
    pub role: Role,
    pub status: &'static str,
    pub name: Option<u8>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Provider {
    pub issuer: u8,
    pub client: u8,
    pub secret: bool,
}

struct BootstrapToken {
    failures: u8,
    consumed: bool,
    expired: bool,
    pinned: Option<u8>,
}

#[derive(Clone, Copy)]
struct Recovery {
    by_subject: bool,
    number: u8,
    expired: bool,
}

pub struct User {
    pub email: u8,
    pub role: Role,
    /// Issuer and subject.
    pub identity: Option<(u8, u8)>,
    pub disabled: bool,
    /// Erased, or an owner whom a restart of setup discarded.
    pub gone: bool,
    pub name: Option<u8>,
    recovery: Option<Recovery>,
}

pub struct Session {
    pub user: usize,
    pub alive: bool,
}

pub struct Model {
    pub state: &'static str,
    token: Option<BootstrapToken>,
    setup_sessions: usize,
    present: Option<usize>,
    pub provider: Option<Provider>,
    pub users: Vec<User>,
    pub sessions: Vec<Session>,
}

impl User {
    pub fn status(&self) -> &'static str {
        match (self.disabled, self.identity) {
            (true, _) => "disabled",
            (false, Some(_)) => "active",
            (false, None) => "invited",
        }
    }

    fn shown(&self) -> Shown {
        Shown { email: self.email, role: self.role, status: self.status(), name: self.name }
    }
}

fn rank(role: Role) -> u8 {
    match role {
        Role::Owner => 3,
        Role::Admin => 2,
        Role::Developer => 1,
        Role::QaViewer => 0,
    }
}

fn manages(role: Role) -> bool {
    rank(role) >= 2
}

impl Model {
    pub fn new() -> Self {
        Self {
            state: "uninitialized",
            token: None,
            setup_sessions: 0,
            present: None,
            provider: None,
            users: Vec::new(),
            sessions: Vec::new(),
        }
    }

    pub fn answer(&mut self, command: &Command) -> Answer {
        match *command {
            Command::IssueToken { expired, pinned } => self.issue_token(expired, pinned),
            Command::Verify(guess) => self.verify(guess),
            Command::GuessFiveTimes => {
                for _ in 0..4 {
                    let _ = self.verify(Guess::Wrong);
                }
                self.verify(Guess::Wrong)
            }
            Command::Preferences(by) => self.setup_call(by, &[]).map(|()| Said::Done),
            Command::Configure { by, issuer, client, secret } => self.configure(by, issuer, client, secret),
            Command::RegisterOwner { by, who } => self.register_owner(by, who),
            Command::Summary(by) => self.summary(by),
            Command::Complete(by) => self.complete(by),
            Command::RestartSetup => self.restart(),
            Command::SignIn(who) => self.sign_in(who),
            Command::Recover { by_subject, number, expired } => self.recover(by_subject, number, expired),
            Command::Me(by) => self.caller(by).map(|(_, me)| Said::Person(self.users[me].shown())),
            Command::Invite { by, email, role } => self.invite(by, email, role),
            Command::ChangeRole { by, user, role } => self.change_role(by, user.into(), role),
            Command::Disable { by, user } => self.disable(by, user.into()),
            Command::Enable { by, user } => self.enable(by, user.into()),
            Command::Erase { by, user } => self.erase(by, user.into()),
            Command::RevokeSession { by, session } => self.revoke_session(by, session),
            Command::RevokeSessions { by, user } => self.revoke_sessions(by, user.map(usize::from)),
            Command::SignOut(by) => {
                let (session, _) = self.caller(by)?;
                self.sessions[session].alive = false;
                Ok(Said::Done)
            }
            Command::StopAndStart => Ok(Said::Done),
        }
    }

    fn not_ready(&self) -> Result<(), &'static str> {
        if self.state == "ready" { Err("already_configured") } else { Ok(()) }
    }

    fn ready(&self) -> Result<(), &'static str> {
        if self.state == "ready" { Ok(()) } else { Err("setup_incomplete") }
    }

    fn issue_token(&mut self, expired: bool, pinned: Option<u8>) -> Answer {
        self.not_ready()?;
        self.token = Some(BootstrapToken { failures: 0, consumed: false, expired, pinned });
        if self.state == "uninitialized" {
            self.state = "bootstrap_pending";
        }
        Ok(Said::Done)
    }

    fn verify(&mut self, guess: Guess) -> Answer {
        self.not_ready()?;
        let token = self.token.as_mut().ok_or("no_bootstrap_token")?;
        if token.failures >= 5 {
            return Err("too_many_attempts");
        }
        if token.consumed {
            return Err("token_consumed");
        }
        if token.expired {
            return Err("token_expired");
        }
        if guess != Guess::Present {
            token.failures += 1;
            return Err("invalid_token");
        }
        token.consumed = true;
        self.present = Some(self.setup_sessions);
        self.setup_sessions += 1;
        Ok(Said::Done)
    }

    fn setup_call(&self, by: SetupBy, allowed: &[&str]) -> Result<(), &'static str> {
        self.not_ready()?;
        if by == SetupBy::Nobody {
            return Err("missing_auth");
        }
        if self.setup_sessions == 0 {
            return Err("no_session");
        }
        let session = match by {
            SetupBy::Latest => Some(self.setup_sessions - 1),
            SetupBy::Former => self.setup_sessions.checked_sub(2),
            SetupBy::Unknown | SetupBy::Nobody => None,
        };
        if session.is_none() || session != self.present {
            return Err("invalid_session");
        }
        if !allowed.is_empty() && !allowed.contains(&self.state) {
            return Err("invalid_state");
        }
        Ok(())
    }

    fn configure(&mut self, by: SetupBy, issuer: u8, client: u8, secret: bool) -> Answer {
        self.setup_call(by, &["bootstrap_pending", "idp_configured"])?;
        let kept = self.provider.is_some_and(|old| old.secret && (old.issuer, old.client) == (issuer, client));
        self.provider = Some(Provider { issuer, client, secret: secret || kept });
        self.state = "idp_configured";
        Ok(Said::Done)
    }

    fn register_owner(&mut self, by: SetupBy, who: Person) -> Answer {
        self.setup_call(by, &["idp_configured"])?;
        let email = who.email.ok_or("missing_email")?;
        if who.claim == Claim::Unverified {
            return Err("id_token_verification_error");
        }
        let pinned = self.token.as_ref().and_then(|token| token.pinned);
        if pinned.is_some_and(|pinned| pinned != email) {
            return Err("user_not_found");
        }
        let issuer = self.provider.unwrap().issuer;
        self.users.push(User {
            email,
            role: Role::Owner,
            identity: Some((issuer, who.subject)),
            disabled: false,
            gone: false,
            name: who.name,
            recovery: None,
        });
        self.state = "owner_created";
        Ok(Said::Done)
    }

    fn summary(&self, by: SetupBy) -> Answer {
        self.setup_call(by, &[])?;
        Ok(Said::Summary { state: self.state, provider: self.provider, owner: self.owner().map(|owner| owner.email) })
    }

    fn complete(&mut self, by: SetupBy) -> Answer {
        self.setup_call(by, &["owner_created"])?;
        self.state = "ready";
        self.present = None;
        Ok(Said::Done)
    }

    fn restart(&mut self) -> Answer {
        self.not_ready()?;
        self.state = "uninitialized";
        (self.token, self.present, self.provider) = (None, None, None);
        for user in &mut self.users {
            user.gone = true;
        }
        Ok(Said::Done)
    }

    fn owner(&self) -> Option<&User> {
        self.users.iter().find(|user| user.role == Role::Owner && !user.gone)
    }

    fn user_where(&self, fits: impl Fn(&User) -> bool) -> Option<usize> {
        self.users.iter().position(|user| !user.gone && fits(user))
    }

    fn end_sessions(&mut self, user: usize) {
        self.sessions.iter_mut().filter(|session| session.user == user).for_each(|session| session.alive = false);
    }

    fn sign_in(&mut self, who: Person) -> Answer {
        self.ready()?;
        let identity = (self.provider.unwrap().issuer, who.subject);
        let user = match self.recovered(who) {
            Some(owner) => self.replace_owner_identity(owner, identity),
            None => match self.user_where(|user| user.identity == Some(identity)) {
                Some(known) if self.users[known].disabled => return Err("user_not_found"),
                Some(known) => known,
                None => self.claimed_invitation(who)?,
            },
        };
        self.users[user].identity = Some(identity);
        self.users[user].name = who.name;
        self.sessions.push(Session { user, alive: true });
        Ok(Said::Person(self.users[user].shown()))
    }

    /// The owner, when an open recovery names this person.
    fn recovered(&self, who: Person) -> Option<usize> {
        let owner = self.user_where(|user| user.role == Role::Owner)?;
        let recovery = self.users[owner].recovery.filter(|recovery| !recovery.expired)?;
        let fits = if recovery.by_subject {
            recovery.number == who.subject
        } else {
            who.email == Some(recovery.number) && who.claim == Claim::Verified
        };
        fits.then_some(owner)
    }

    fn replace_owner_identity(&mut self, owner: usize, identity: (u8, u8)) -> usize {
        let holder = self.user_where(|user| user.identity == Some(identity)).filter(|holder| *holder != owner);
        if let Some(holder) = holder {
            (self.users[holder].identity, self.users[holder].name) = (None, None);
            self.end_sessions(holder);
        }
        self.users[owner].recovery = None;
        self.end_sessions(owner);
        owner
    }

    fn claimed_invitation(&self, who: Person) -> Result<usize, &'static str> {
        let email = who.email.ok_or("missing_email")?;
        let invited = self.user_where(|user| user.email == email && user.status() == "invited");
        invited.filter(|_| who.claim == Claim::Verified).ok_or("user_not_found")
    }

    fn recover(&mut self, by_subject: bool, number: u8, expired: bool) -> Answer {
        self.ready()?;
        let owner = self.user_where(|user| user.role == Role::Owner).unwrap();
        self.users[owner].recovery = Some(Recovery { by_subject, number, expired });
        Ok(Said::Done)
    }

    /// The session that was opened so many before the latest.
    pub fn recent_session(&self, number: u8) -> Option<usize> {
        self.sessions.len().checked_sub(1 + usize::from(number))
    }

    /// The session a call brings, if there is such a one.
    pub fn session_of(&self, by: By) -> Option<usize> {
        match by {
            By::User(user) => {
                self.sessions.iter().rposition(|session| session.alive && session.user == usize::from(user))
            }
            By::Live(number) => {
                let live: Vec<usize> =
                    (0..self.sessions.len()).filter(|session| self.sessions[*session].alive).collect();
                let back = usize::from(number).checked_rem(live.len())?;
                Some(live[live.len() - 1 - back])
            }
            By::Recent(number) => self.recent_session(number),
            By::Unknown => None,
        }
    }

    /// Session and user of an authenticated caller.
    fn caller(&self, by: By) -> Result<(usize, usize), &'static str> {
        let session = self.session_of(by).filter(|session| self.sessions[*session].alive);
        session.map(|session| (session, self.sessions[session].user)).ok_or("invalid_session")
    }

    fn manager(&self, by: By) -> Result<usize, &'static str> {
        let (_, me) = self.caller(by)?;
        if manages(self.users[me].role) { Ok(me) } else { Err("forbidden") }
    }

    fn existing(&self, user: usize) -> Result<Role, &'static str> {
        self.users.get(user).filter(|user| !user.gone).map(|user| user.role).ok_or("not_found")
    }

    /// Nobody touches themselves or the owner, and only the owner an admin.
    fn may_change(&self, me: usize, user: usize) -> Result<(), &'static str> {
        let role = self.existing(user)?;
        if me == user || rank(self.users[me].role) <= rank(role) { Err("forbidden") } else { Ok(()) }
    }

    fn invite(&mut self, by: By, email: u8, role: Role) -> Answer {
        let me = self.manager(by)?;
        if role == Role::Owner {
            return Err("invalid_input");
        }
        if rank(self.users[me].role) <= rank(role) {
            return Err("forbidden");
        }
        if self.user_where(|user| user.email == email).is_some() {
            return Err("already_exists");
        }
        let (identity, name, recovery) = (None, None, None);
        let invited = User { email, role, identity, disabled: false, gone: false, name, recovery };
        let shown = invited.shown();
        self.users.push(invited);
        Ok(Said::Person(shown))
    }

    fn change_role(&mut self, by: By, user: usize, role: Role) -> Answer {
        let me = self.manager(by)?;
        if role == Role::Owner {
            return Err("invalid_input");
        }
        self.may_change(me, user)?;
        if rank(self.users[me].role) <= rank(role) {
            return Err("forbidden");
        }
        self.users[user].role = role;
        Ok(Said::Person(self.users[user].shown()))
    }

    fn disable(&mut self, by: By, user: usize) -> Answer {
        let me = self.manager(by)?;
        self.may_change(me, user)?;
        self.users[user].disabled = true;
        self.end_sessions(user);
        Ok(Said::Person(self.users[user].shown()))
    }

    fn enable(&mut self, by: By, user: usize) -> Answer {
        let me = self.manager(by)?;
        self.may_change(me, user)?;
        self.users[user].disabled = false;
        Ok(Said::Person(self.users[user].shown()))
    }

    fn erase(&mut self, by: By, user: usize) -> Answer {
        let (_, me) = self.caller(by)?;
        if self.users[me].role != Role::Owner {
            return Err("forbidden");
        }
        self.may_change(me, user)?;
        self.users[user].gone = true;
        self.end_sessions(user);
        Ok(Said::Done)
    }

    /// One's own always, others' by rank.
    fn may_end(&self, me: usize, user: usize) -> Result<(), &'static str> {
        if me == user {
            return Ok(());
        }
        if !manages(self.users[me].role) {
            return Err("forbidden");
        }
        self.may_change(me, user)
    }

    fn revoke_session(&mut self, by: By, number: u8) -> Answer {
        let (_, me) = self.caller(by)?;
        let session = self.recent_session(number).ok_or("not_found")?;
        let user = self.sessions[session].user;
        self.may_end(me, user)?;
        self.sessions[session].alive = false;
        Ok(Said::Done)
    }

    fn revoke_sessions(&mut self, by: By, user: Option<usize>) -> Answer {
        let (own, me) = self.caller(by)?;
        self.may_end(me, user.unwrap_or(me))?;
        let mut ended = 0;
        for (number, session) in self.sessions.iter_mut().enumerate() {
            let kept = user.is_none() && number == own;
            if session.alive && session.user == user.unwrap_or(me) && !kept {
                session.alive = false;
                ended += 1;
            }
        }
        Ok(Said::Revoked(ended))
    }
}
