//! What messages carry.

use std::fmt::{self, Debug};
use std::str::{Utf8Error, from_utf8};

/// The bytes of a message, a reply, an answer or a configuration.
///
/// Texts and bytes become one by `into()`; [`text`](Self::text) and, with the feature
/// `json`, `read_json` take them out again.
///
/// ```
/// use wasm_guest::Payload;
///
/// let payload: Payload = "hello".into();
/// assert_eq!(payload.text().unwrap(), "hello");
/// assert_eq!(payload.as_bytes(), b"hello");
/// ```
#[derive(Clone, PartialEq, Eq, Default)]
pub struct Payload(Vec<u8>);

impl Payload {
    /// The bytes themselves.
    ///
    /// ```
    /// # use wasm_guest::Payload;
    /// assert_eq!(Payload::from(vec![1, 2]).as_bytes(), [1, 2]);
    /// ```
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// The bytes, to be kept.
    ///
    /// ```
    /// # use wasm_guest::Payload;
    /// assert_eq!(Payload::from("ab").into_bytes(), vec![b'a', b'b']);
    /// ```
    pub fn into_bytes(self) -> Vec<u8> {
        self.0
    }

    /// The bytes as a text.
    ///
    /// # Errors
    /// Where they are not UTF-8.
    ///
    /// ```
    /// # use wasm_guest::Payload;
    /// assert_eq!(Payload::from("grüß").text().unwrap(), "grüß");
    /// assert!(Payload::from(vec![0xff]).text().is_err());
    /// ```
    pub fn text(&self) -> Result<&str, Utf8Error> {
        from_utf8(&self.0)
    }

    /// A value as JSON.
    ///
    /// # Errors
    /// Where a value cannot be JSON, such as a map whose keys are no strings.
    ///
    /// ```
    /// # use wasm_guest::Payload;
    /// let payload = Payload::json(&vec![1, 2]).unwrap();
    /// assert_eq!(payload.text().unwrap(), "[1,2]");
    /// ```
    #[cfg(feature = "json")]
    pub fn json<T: serde::Serialize + ?Sized>(value: &T) -> serde_json::Result<Self> {
        serde_json::to_vec(value).map(Self)
    }

    /// The value that the bytes are the JSON of.
    ///
    /// # Errors
    /// Where they are no JSON, or that of another shape; the error has line and column.
    ///
    /// ```
    /// # use wasm_guest::Payload;
    /// let payload: Payload = r#"{"name": "ann"}"#.into();
    /// #[derive(serde::Deserialize)]
    /// struct Person { name: String }
    /// let person: Person = payload.read_json().unwrap();
    /// assert_eq!(person.name, "ann");
    /// ```
    #[cfg(feature = "json")]
    pub fn read_json<'p, T: serde::Deserialize<'p>>(&'p self) -> serde_json::Result<T> {
        serde_json::from_slice(&self.0)
    }
}

impl From<Vec<u8>> for Payload {
    fn from(bytes: Vec<u8>) -> Self {
        Self(bytes)
    }
}

impl From<&[u8]> for Payload {
    fn from(bytes: &[u8]) -> Self {
        Self(bytes.to_owned())
    }
}

impl From<String> for Payload {
    fn from(text: String) -> Self {
        Self(text.into_bytes())
    }
}

impl From<&str> for Payload {
    fn from(text: &str) -> Self {
        Self(text.as_bytes().to_owned())
    }
}

impl PartialEq<str> for Payload {
    fn eq(&self, text: &str) -> bool {
        self.0 == text.as_bytes()
    }
}

impl PartialEq<&str> for Payload {
    fn eq(&self, text: &&str) -> bool {
        self == *text
    }
}

/// As a text if it is one: a test that fails shows it.
impl Debug for Payload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.text() {
            Ok(text) => Debug::fmt(text, f),
            Err(_) => Debug::fmt(&self.0, f),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_payload_is_shown_as_what_it_is() {
        assert_eq!(format!("{:?}", Payload::from("a\"b")), r#""a\"b""#);
        assert_eq!(format!("{:?}", Payload::from(vec![0xff, 1])), "[255, 1]");
        assert_eq!(Payload::from("a"), "a");
        assert_ne!(Payload::from(&b"ab"[..]), "a");
        assert_eq!(Payload::from("a".to_owned()).into_bytes(), b"a");
    }

    #[cfg(feature = "json")]
    #[test]
    fn json_of_another_shape_is_told_with_its_place() {
        let payload: Payload = "{\"n\":\n\"x\"}".into();
        #[derive(Debug, serde::Deserialize)]
        struct N {
            #[allow(dead_code)]
            n: u8,
        }
        let error = payload.read_json::<N>().unwrap_err().to_string();
        assert!(error.contains("line 2 column 3"), "{error}");
        assert!(Payload::json(&std::collections::BTreeMap::from([((), 1)])).is_err());
    }
}
