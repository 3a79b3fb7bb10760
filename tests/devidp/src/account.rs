//! The people the provider knows. None of them has a password: who picks an account is signed in.

/// Somebody who can sign in. An absent field is an absent claim.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Account {
    /// What the account is called on the sign-in page and in `login_hint`.
    pub login: String,
    /// The `sub` claim.
    pub subject: String,
    /// The `email` claim.
    pub email: Option<String>,
    /// The `email_verified` claim; sent only together with `email`.
    pub email_verified: Option<bool>,
    /// The `name` claim.
    pub name: Option<String>,
    /// The `picture` claim, a URL.
    pub picture: Option<String>,
}

impl Account {
    /// An account with a verified address at example.com, a name and a picture; subject `LOGIN-1`.
    pub fn new(login: &str) -> Self {
        let mut name = login.to_owned();
        if let Some(initial) = name.get_mut(0..1) {
            initial.make_ascii_uppercase();
        }
        Self {
            login: login.to_owned(),
            subject: format!("{login}-1"),
            email: Some(format!("{login}@example.com")),
            email_verified: Some(true),
            name: Some(format!("{name} Example")),
            picture: Some(format!("https://pictures.example.com/{login}.png")),
        }
    }

    /// alice and bob are unremarkable; carol has no address, eve's is `email_verified: false`, dave's comes without any
    /// word on it.
    pub fn defaults() -> Vec<Self> {
        vec![
            Self::new("alice"),
            Self::new("bob"),
            Self { email: None, email_verified: None, ..Self::new("carol") },
            Self { email_verified: Some(false), ..Self::new("eve") },
            Self { email_verified: None, ..Self::new("dave") },
        ]
    }
}
