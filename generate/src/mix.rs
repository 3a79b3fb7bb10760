//! What happens how often. The table in `docs/performance.md` says the same, and a test compares the two.

use crate::chance::Chance;

/// Something that begins by itself, now and then.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Deed {
    SignIn,
    Refusals,
    Invite,
    IssueApiToken,
    RevokeApiToken,
    EndOtherSessions,
    ChangeRole,
    Disable,
    Erase,
    NewClientSecret,
    WrongIssuer,
    ProviderAway,
    RecoverOwner,
}

/// The weights of [`MIX`] add up to this.
pub const ALL: u64 = 10_000;

/// How often each begins, of [`ALL`] times.
pub const MIX: [(Deed, u64, &str); 13] = [
    (Deed::SignIn, 9_394, "somebody signs in"),
    (Deed::Refusals, 300, "sign-ins of a minute were refused, for one to three reasons"),
    (Deed::IssueApiToken, 70, "an API token is made"),
    (Deed::Invite, 60, "somebody is invited, one time in four by a program with an API token"),
    (Deed::EndOtherSessions, 60, "all sessions of a user are ended, two times in three by that user, who keeps one"),
    (Deed::ChangeRole, 40, "a role is changed"),
    (Deed::RevokeApiToken, 40, "an API token is revoked"),
    (Deed::Disable, 27, "a user is disabled; three in five are enabled again within 20 days"),
    (Deed::NewClientSecret, 3, "the owner sets another client secret"),
    (Deed::Erase, 3, "the owner erases a user"),
    (
        Deed::WrongIssuer,
        1,
        "the owner sets another issuer, which ends all sessions, and the operator sets the old one again",
    ),
    (Deed::ProviderAway, 1, "the operator removes the provider and sets it again"),
    (Deed::RecoverOwner, 1, "the owner gets another identity, one time in three somebody else's"),
];

impl Deed {
    pub(crate) fn by_chance(chance: &mut Chance) -> Self {
        let mut left = chance.below(ALL);
        for (deed, weight, _) in MIX {
            if left < weight {
                return deed;
            }
            left -= weight;
        }
        Self::SignIn
    }
}

#[cfg(test)]
mod tests {
    use super::{ALL, MIX};

    #[test]
    fn the_weights_add_up() {
        assert_eq!(MIX.iter().map(|(_, weight, _)| weight).sum::<u64>(), ALL);
    }
}
