use std::fmt::{self, Debug};
use std::fs::File;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};

use thiserror::Error;

use wasm_core::text::{EscapedPath, Quoted, without_mark};
use wasm_host::{open_regular_file, read_bounded};

use crate::access::role::Roles;

/// A file of more is something else.
const MAX_FILE_BYTES: u64 = 1 << 20;

/// Tokens and what each of them permits.
///
/// They are written in a file, one a line: roles parted by commas, and the token.
///
/// ```text
/// # what watches it
/// read Q3VyaW9zaXR5LWtpbGxlZC10aGUtY2F0
/// read,message YW5kLXNhdGlzZmFjdGlvbg
/// administer YnJvdWdodC1pdC1iYWNr
/// ```
///
/// Kept is only a digest of each, under a key of this process, and digests are compared in a
/// time that does not tell how much of them is alike.
#[derive(Clone)]
pub struct Tokens {
    key: [u8; 32],
    entries: Vec<(blake3::Hash, Roles)>,
}

impl Tokens {
    /// A token that is shorter can be found by trying, in bytes.
    pub const MIN_BYTES: usize = 16;
    /// A token is no longer, in bytes.
    pub const MAX_BYTES: usize = 512;

    /// Reads the file. It blocks.
    ///
    /// # Errors
    /// [`TokenFileError`], which quotes no token: for a file that cannot be read, that others
    /// than its owner can read, that has more than 1 MiB, no token or a line that is none.
    pub fn read(path: &Path) -> Result<Self, TokenFileError> {
        let error = |problem| TokenFileError {
            path: path.to_owned(),
            problem,
        };
        let unreadable = |source| error(TokenProblem::Unreadable(source));
        let file = open_regular_file(path).map_err(unreadable)?;
        check_private(&file).map_err(error)?;
        let content = read_bounded(file, MAX_FILE_BYTES).map_err(|source| match source.kind() {
            ErrorKind::FileTooLarge => error(TokenProblem::TooLarge(source)),
            _ => unreadable(source),
        })?;
        let text = String::from_utf8(without_mark(content));
        let text = text.map_err(|_| error(TokenProblem::NoText))?;
        Self::parse(&text).map_err(error)
    }

    fn parse(text: &str) -> Result<Self, TokenProblem> {
        let mut key = [0; 32];
        getrandom::fill(&mut key)
            .map_err(|error| TokenProblem::Unreadable(io::Error::other(error)))?;
        let mut tokens = Self {
            key,
            entries: Vec::new(),
        };
        for (number, line) in (1..).zip(text.lines()) {
            let line = line.trim();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let mut words = line.split_whitespace();
            let (Some(roles), Some(token), None) = (words.next(), words.next(), words.next())
            else {
                return Err(TokenProblem::Words { line: number });
            };
            let roles = roles
                .parse()
                .map_err(|word| TokenProblem::Role { line: number, word })?;
            let fits = (Self::MIN_BYTES..=Self::MAX_BYTES).contains(&token.len());
            if !fits || !token.bytes().all(|byte| byte.is_ascii_graphic()) {
                return Err(TokenProblem::Token { line: number });
            }
            tokens
                .entries
                .push((tokens.digest(token.as_bytes()), roles));
        }
        match tokens.entries.is_empty() {
            true => Err(TokenProblem::Empty),
            false => Ok(tokens),
        }
    }

    fn digest(&self, token: &[u8]) -> blake3::Hash {
        blake3::keyed_hash(&self.key, token)
    }

    /// Looks at all of them, whichever it is.
    pub(crate) fn roles_of(&self, token: &[u8]) -> Option<Roles> {
        if token.len() > Self::MAX_BYTES {
            return None;
        }
        let digest = self.digest(token);
        let mut found = None;
        for (entry, roles) in &self.entries {
            // Of two hashes, in constant time.
            if *entry == digest {
                found = Some(*roles);
            }
        }
        found
    }
}

impl Debug for Tokens {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Tokens({})", self.entries.len())
    }
}

#[cfg(unix)]
fn check_private(file: &File) -> Result<(), TokenProblem> {
    use std::os::unix::fs::PermissionsExt as _;

    let mode = file.metadata().map_err(TokenProblem::Unreadable)?;
    let mode = mode.permissions().mode() & 0o777;
    match mode & 0o077 {
        0 => Ok(()),
        _ => Err(TokenProblem::Open { mode }),
    }
}

#[cfg(not(unix))]
fn check_private(_: &File) -> Result<(), TokenProblem> {
    Ok(())
}

/// Why a token file cannot be used. No token is in it.
#[derive(Debug, Error)]
#[error("the token file {} cannot be used: {problem}", EscapedPath(path))]
pub struct TokenFileError {
    path: PathBuf,
    problem: TokenProblem,
}

#[derive(Debug, Error)]
enum TokenProblem {
    #[error("{0}")]
    Unreadable(io::Error),
    #[error(
        "{0}; take out the tokens that nobody has any more, or name the file that has them \
         (`--token-file`)"
    )]
    TooLarge(io::Error),
    #[error("it is not UTF-8 text")]
    NoText,
    #[error("others than its owner may read it (its mode is {mode:03o}); `chmod 600` mends that")]
    Open { mode: u32 },
    #[error("line {line} is not `ROLES TOKEN`, such as `read,message` and a token")]
    Words { line: usize },
    #[error(
        "line {line} has the role {}; there are `read`, `message` and `administer`, parted by commas",
        Quoted::new(word)
    )]
    Role { line: usize, word: String },
    #[error(
        "the token of line {line} is not {} to {} visible characters of ASCII; \
         `openssl rand -hex 32` makes one",
        Tokens::MIN_BYTES,
        Tokens::MAX_BYTES
    )]
    Token { line: usize },
    #[error("there is no token in it")]
    Empty,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::access::role::Role;

    const FILE: &str = "# who watches\n\nread  aaaaaaaaaaaaaaaa\n\
                        read,message bbbbbbbbbbbbbbbb\nadminister cccccccccccccccc\n";

    #[test]
    fn a_token_has_the_roles_of_its_line() {
        let tokens = Tokens::parse(FILE).unwrap();
        let permitted = |token: &str| {
            let roles = tokens.roles_of(token.as_bytes());
            roles.map(|roles| Role::ALL.map(|role| roles.permit(role)))
        };
        assert_eq!(permitted(&"a".repeat(16)), Some([true, false, false]));
        assert_eq!(permitted(&"b".repeat(16)), Some([true, true, false]));
        assert_eq!(permitted(&"c".repeat(16)), Some([true, true, true]));
        for none in [
            "",
            "a",
            &"a".repeat(15),
            &"a".repeat(17),
            &"a".repeat(1 << 20),
        ] {
            assert_eq!(permitted(none), None);
        }
        assert_eq!(format!("{tokens:?}"), "Tokens(3)");
    }

    #[test]
    fn a_line_that_is_none_is_named_and_not_quoted() {
        for (text, part) in [
            ("", "no token in it"),
            ("# read aaaaaaaaaaaaaaaa", "no token in it"),
            ("read", "line 1 is not"),
            ("\nread aaaaaaaaaaaaaaaa secret-of-mine", "line 2 is not"),
            ("reed aaaaaaaaaaaaaaaa", "the role \"reed\""),
            ("read, aaaaaaaaaaaaaaaa", "the role \"\""),
            ("read secret-of-mine", "the token of line 1"),
            ("read sécret-of-mine-of-mine", "the token of line 1"),
        ] {
            let error = Tokens::parse(text).unwrap_err().to_string();
            assert!(error.contains(part), "{error}");
            assert!(!error.contains("secret-of"), "{error}");
        }
    }

    /// No line of it is left out.
    #[test]
    fn a_file_is_read_whole_or_refused() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let line = "read aaaaaaaaaaaaaaaa\n";
        let fitting = line.repeat(MAX_FILE_BYTES as usize / line.len());
        std::fs::write(file.path(), &fitting).unwrap();
        let tokens = Tokens::read(file.path()).unwrap();
        assert_eq!(tokens.entries.len(), fitting.lines().count());
        std::fs::write(file.path(), fitting + line).unwrap();
        let error = Tokens::read(file.path()).unwrap_err().to_string();
        for part in ["it has 1048586B", "1MiB", "--token-file"] {
            assert!(error.contains(part), "{error}");
        }
    }

    #[test]
    fn a_byte_order_mark_is_no_part_of_a_role() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), "\u{feff}read aaaaaaaaaaaaaaaa\n").unwrap();
        assert_eq!(Tokens::read(file.path()).unwrap().entries.len(), 1);
        std::fs::write(file.path(), b"\xff\xfer\0").unwrap();
        let error = Tokens::read(file.path()).unwrap_err().to_string();
        assert!(error.contains("not UTF-8"), "{error}");
    }

    #[cfg(unix)]
    #[test]
    fn a_file_that_others_may_read_is_refused() {
        use std::fs::{Permissions, set_permissions};
        use std::os::unix::fs::PermissionsExt as _;

        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), FILE).unwrap();
        for (mode, is_private) in [(0o600, true), (0o400, true), (0o640, false), (0o604, false)] {
            set_permissions(file.path(), Permissions::from_mode(mode)).unwrap();
            let read = Tokens::read(file.path());
            match is_private {
                true => assert_eq!(read.unwrap().entries.len(), 3),
                false => {
                    let error = read.unwrap_err().to_string();
                    assert!(error.contains("chmod 600"), "{error}");
                }
            }
        }
    }
}
