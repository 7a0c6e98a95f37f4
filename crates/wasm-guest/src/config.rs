//! What a component is started with.

use std::str::{Utf8Error, from_utf8};

use crate::payload::Payload;

/// What the manifest has for the component: `[config]` and `[env]`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct Config {
    /// The text or the file of `[config]`, if there is one.
    pub data: Option<Payload>,
    /// Names and values of `[env]`, in its order.
    pub variables: Vec<(String, String)>,
}

impl Config {
    /// The configuration as a text; `None` where the manifest has none.
    ///
    /// # Errors
    /// Where it is not UTF-8.
    ///
    /// ```
    /// # use wasm_guest::Config;
    /// let config = Config::default();
    /// assert_eq!(config.text().unwrap(), None);
    /// ```
    pub fn text(&self) -> Result<Option<&str>, Utf8Error> {
        let data = self.data.as_ref();
        data.map(|data| from_utf8(data.as_bytes())).transpose()
    }

    /// The value of a variable of `[env]`.
    ///
    /// ```
    /// # use wasm_guest::Config;
    /// let mut config = Config::default();
    /// config.variables.push(("GREETING".to_owned(), "hello".to_owned()));
    /// assert_eq!(config.variable("GREETING"), Some("hello"));
    /// assert_eq!(config.variable("OTHER"), None);
    /// ```
    pub fn variable(&self, name: &str) -> Option<&str> {
        let mut variables = self.variables.iter();
        let found = variables.find(|(found, _)| found == name);
        found.map(|(_, value)| &**value)
    }

    /// The configuration, which is JSON. Where the manifest has none, it reads as `{}`, so
    /// that fields with a default can be left out.
    ///
    /// # Errors
    /// Where it is of another shape; the error names `[config]`, the line and the column.
    ///
    /// ```
    /// # use wasm_guest::Config;
    /// #[derive(serde::Deserialize)]
    /// struct Settings { #[serde(default)] greeting: String }
    ///
    /// let mut config = Config::default();
    /// assert_eq!(config.json::<Settings>().unwrap().greeting, "");
    /// config.data = Some(r#"{"greeting": "hi"}"#.into());
    /// assert_eq!(config.json::<Settings>().unwrap().greeting, "hi");
    /// config.data = Some("hi".into());
    /// let error = config.json::<Settings>().err().unwrap();
    /// assert_eq!(error.to_string(), "[config]: expected value at line 1 column 1");
    /// ```
    #[cfg(feature = "json")]
    pub fn json<'c, T: serde::Deserialize<'c>>(&'c self) -> crate::error::Result<T> {
        let data = self.data.as_ref().map_or(&b"{}"[..], Payload::as_bytes);
        serde_json::from_slice(data)
            .map_err(|error| crate::error::Error::from(error).context("[config]"))
    }
}
