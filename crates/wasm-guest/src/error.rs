//! What goes wrong in a component, as a text for whoever sent the message.

use std::error::Error as StdError;
use std::fmt::{self, Debug, Display};

/// What a component's functions return; errors of any kind become an [`Error`] by `?`.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Why a component could not do what it was asked: a text.
///
/// Every [`std::error::Error`] becomes one by `?`, with the errors that caused it after a
/// colon each. For this to be possible it is not a [`std::error::Error`] itself.
///
/// ```
/// fn double(text: &str) -> wasm_guest::Result<u64> {
///     Ok(2 * text.parse::<u64>()?)
/// }
///
/// assert_eq!(double("4").unwrap(), 8);
/// assert_eq!(double("four").unwrap_err().to_string(), "invalid digit found in string");
/// ```
pub struct Error(String);

impl Error {
    /// An error of this text.
    ///
    /// ```
    /// use wasm_guest::{Error, Result};
    ///
    /// fn only_small(number: u64) -> Result<u64> {
    ///     if number > 9 {
    ///         return Err(Error::new(format!("{number} is more than 9")));
    ///     }
    ///     Ok(number)
    /// }
    ///
    /// assert_eq!(only_small(10).unwrap_err().to_string(), "10 is more than 9");
    /// ```
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// With what was being done, in front of the text.
    ///
    /// ```
    /// let error = wasm_guest::Error::new("no digit").context("the price");
    /// assert_eq!(error.to_string(), "the price: no digit");
    /// ```
    #[must_use]
    pub fn context(mut self, what: &str) -> Self {
        self.0.insert_str(0, ": ");
        self.0.insert_str(0, what);
        self
    }
}

impl Error {
    /// The text, as the contract has it.
    #[cfg(target_family = "wasm")]
    pub(crate) fn into_text(self) -> String {
        self.0
    }
}

impl<E: StdError> From<E> for Error {
    fn from(error: E) -> Self {
        let mut text = error.to_string();
        let mut cause = error.source();
        while let Some(error) = cause {
            text.push_str(": ");
            text.push_str(&error.to_string());
            cause = error.source();
        }
        Self(text)
    }
}

impl Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// As [`Display`]: `unwrap` and `main` show it that way.
impl Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug)]
    struct Outer(std::num::ParseIntError);

    impl Display for Outer {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("no price")
        }
    }

    impl StdError for Outer {
        fn source(&self) -> Option<&(dyn StdError + 'static)> {
            Some(&self.0)
        }
    }

    #[test]
    fn causes_follow_what_they_caused() {
        let cause = "x".parse::<u8>().unwrap_err();
        let error = Error::from(Outer(cause));
        assert_eq!(error.to_string(), "no price: invalid digit found in string");
        assert_eq!(format!("{error:?}"), error.to_string());
    }
}
