use std::fmt::{self, Display};
use std::str::FromStr;

/// What somebody may do who reaches a host from outside.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Role {
    /// See what there is and what happens.
    Read,
    /// Send messages and requests.
    Message,
    /// Load, replace, restart and unload components, change their permissions, read the
    /// payloads of dead letters and deliver them again; and everything that the others may.
    Administer,
}

impl Role {
    /// All there are.
    pub const ALL: [Self; 3] = [Self::Read, Self::Message, Self::Administer];

    /// As a token file names it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Message => "message",
            Self::Administer => "administer",
        }
    }
}

impl Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// Roles of one token.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Roles {
    read: bool,
    message: bool,
    administer: bool,
}

impl Roles {
    pub(crate) fn permit(self, role: Role) -> bool {
        self.administer
            || match role {
                Role::Read => self.read,
                Role::Message => self.message,
                Role::Administer => false,
            }
    }
}

impl FromStr for Roles {
    /// The word that is no role.
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let mut roles = Self::default();
        for word in text.split(',') {
            match Role::ALL.into_iter().find(|role| role.as_str() == word) {
                Some(Role::Read) => roles.read = true,
                Some(Role::Message) => roles.message = true,
                Some(Role::Administer) => roles.administer = true,
                None => return Err(word.to_owned()),
            }
        }
        Ok(roles)
    }
}
