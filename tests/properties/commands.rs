//! Random commands. They name tokens, people and sessions by small numbers, so that a failing case shrinks to a short one.

use aggregates::Role;
use proptest::prelude::*;
use proptest::sample::select;

/// Subjects and addresses there are, each.
pub const PEOPLE: u8 = 4;
pub const ROLES: [Role; 4] = [Role::QaViewer, Role::Developer, Role::Admin, Role::Owner];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Guess {
    Present,
    /// The token before the present one.
    Former,
    Wrong,
}

/// Whose setup session a call brings.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SetupBy {
    Latest,
    /// The one before.
    Former,
    Unknown,
    Nobody,
}

/// Whose session a call brings.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum By {
    /// The latest live session of the user with this number; 0 is the owner, but after a restart of setup.
    User(u8),
    /// One of the live sessions, counted from the latest and round again.
    Live(u8),
    /// The session that was opened so many before the latest, dead or alive.
    Recent(u8),
    Unknown,
}

/// What the provider says of the address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Claim {
    Verified,
    Unverified,
    Absent,
}

/// Whom the provider vouches for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Person {
    pub subject: u8,
    pub email: Option<u8>,
    pub claim: Claim,
    pub name: Option<u8>,
}

impl Person {
    /// Somebody with a verified address of their own.
    pub const fn plain(number: u8) -> Self {
        Self { subject: number, email: Some(number), claim: Claim::Verified, name: Some(number) }
    }
}

#[derive(Clone, Debug)]
pub enum Command {
    IssueToken {
        expired: bool,
        pinned: Option<u8>,
    },
    Verify(Guess),
    /// As often as locks a token.
    GuessFiveTimes,
    Preferences(SetupBy),
    Configure {
        by: SetupBy,
        issuer: u8,
        client: u8,
        secret: bool,
    },
    RegisterOwner {
        by: SetupBy,
        who: Person,
    },
    Summary(SetupBy),
    Complete(SetupBy),
    RestartSetup,
    SignIn(Person),
    Recover {
        by_subject: bool,
        number: u8,
        expired: bool,
    },
    Me(By),
    Invite {
        by: By,
        email: u8,
        role: Role,
    },
    ChangeRole {
        by: By,
        user: u8,
        role: Role,
    },
    Disable {
        by: By,
        user: u8,
    },
    Enable {
        by: By,
        user: u8,
    },
    Erase {
        by: By,
        user: u8,
    },
    RevokeSession {
        by: By,
        session: u8,
    },
    RevokeSessions {
        by: By,
        user: Option<u8>,
    },
    SignOut(By),
    /// Not a call: the service is stopped and started.
    StopAndStart,
}

/// From a new instance to one whose owner (subject and address 0) has signed in.
pub fn set_up() -> Vec<Command> {
    vec![
        Command::IssueToken { expired: false, pinned: None },
        Command::Verify(Guess::Present),
        Command::Configure { by: SetupBy::Latest, issuer: 0, client: 0, secret: true },
        Command::RegisterOwner { by: SetupBy::Latest, who: Person::plain(0) },
        Command::Complete(SetupBy::Latest),
        Command::SignIn(Person::plain(0)),
    ]
}

/// An owner with an admin, a developer and a viewer, all signed in.
fn staffed() -> Vec<Command> {
    let mut commands = set_up();
    for (number, role) in [(1, Role::Admin), (2, Role::Developer), (3, Role::QaViewer)] {
        commands.push(Command::Invite { by: By::User(0), email: number, role });
        commands.push(Command::SignIn(Person::plain(number)));
    }
    commands
}

/// A case: an instance from its first moment, one whose setup has begun, one that is set up, and one with people in it.
pub fn case() -> impl Strategy<Value = Vec<Command>> {
    let commands = || prop::collection::vec(prop_oneof![12 => in_setup(), 1 => of_people()], 1..50);
    let begun = vec![Command::IssueToken { expired: false, pinned: None }, Command::Verify(Guess::Present)];
    let calls = || prop::collection::vec(prop_oneof![1 => in_setup(), 25 => of_people()], 1..80);
    prop_oneof![
        1 => commands(),
        2 => commands().prop_map(move |rest| [begun.clone(), rest].concat()),
        2 => calls().prop_map(|rest| [set_up(), rest].concat()),
        3 => calls().prop_map(|rest| [staffed(), rest].concat()),
    ]
}

fn in_setup() -> impl Strategy<Value = Command> {
    prop_oneof![
        4 => (prop::bool::weighted(0.1), prop::option::weighted(0.3, person_number()))
            .prop_map(|(expired, pinned)| Command::IssueToken { expired, pinned }),
        8 => prop_oneof![5 => Just(Guess::Present), 1 => Just(Guess::Former), 4 => Just(Guess::Wrong)]
            .prop_map(Command::Verify),
        1 => Just(Command::GuessFiveTimes),
        2 => setup_by().prop_map(Command::Preferences),
        6 => (setup_by(), 0..2u8, 0..2u8, any::<bool>())
            .prop_map(|(by, issuer, client, secret)| Command::Configure { by, issuer, client, secret }),
        5 => (setup_by(), person()).prop_map(|(by, who)| Command::RegisterOwner { by, who }),
        2 => setup_by().prop_map(Command::Summary),
        2 => setup_by().prop_map(Command::Complete),
        1 => Just(Command::RestartSetup),
        1 => Just(Command::StopAndStart),
    ]
}

fn of_people() -> impl Strategy<Value = Command> {
    prop_oneof![
        10 => person().prop_map(Command::SignIn),
        1 => (any::<bool>(), person_number(), prop::bool::weighted(0.2))
            .prop_map(|(by_subject, number, expired)| Command::Recover { by_subject, number, expired }),
        2 => by().prop_map(Command::Me),
        8 => (by(), person_number(), role()).prop_map(|(by, email, role)| Command::Invite { by, email, role }),
        5 => (by(), user(), role()).prop_map(|(by, user, role)| Command::ChangeRole { by, user, role }),
        3 => (by(), user()).prop_map(|(by, user)| Command::Disable { by, user }),
        4 => (by(), user()).prop_map(|(by, user)| Command::Enable { by, user }),
        2 => (by(), user()).prop_map(|(by, user)| Command::Erase { by, user }),
        4 => (by(), 0..8u8).prop_map(|(by, session)| Command::RevokeSession { by, session }),
        3 => (by(), prop::option::of(user())).prop_map(|(by, user)| Command::RevokeSessions { by, user }),
        2 => by().prop_map(Command::SignOut),
        1 => Just(Command::StopAndStart),
    ]
}

fn person_number() -> impl Strategy<Value = u8> {
    0..PEOPLE
}

/// One number more than there are people, so that somebody unknown is among them.
fn user() -> impl Strategy<Value = u8> {
    0..=PEOPLE
}

fn role() -> impl Strategy<Value = Role> {
    prop_oneof![10 => select(&ROLES[..3]), 1 => Just(Role::Owner)]
}

fn person() -> impl Strategy<Value = Person> {
    let claim = prop_oneof![8 => Just(Claim::Verified), 1 => Just(Claim::Unverified), 1 => Just(Claim::Absent)];
    let plain = person_number().prop_map(Person::plain);
    let odd = (person_number(), prop::option::weighted(0.8, person_number()), claim, prop::option::of(person_number()))
        .prop_map(|(subject, email, claim, name)| Person { subject, email, claim, name });
    prop_oneof![3 => plain, 2 => odd]
}

fn setup_by() -> impl Strategy<Value = SetupBy> {
    prop_oneof![
        12 => Just(SetupBy::Latest),
        1 => Just(SetupBy::Former),
        1 => Just(SetupBy::Unknown),
        1 => Just(SetupBy::Nobody),
    ]
}

fn by() -> impl Strategy<Value = By> {
    prop_oneof![
        6 => Just(By::User(0)),
        12 => (0..8u8).prop_map(By::Live),
        2 => (1..PEOPLE).prop_map(By::User),
        2 => (0..8u8).prop_map(By::Recent),
        1 => Just(By::Unknown),
    ]
}
