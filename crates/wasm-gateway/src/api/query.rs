use axum::http::Uri;

use crate::problem::Problem;

/// What stands after the `?` of a path: each key once, and only those that are known.
pub(crate) struct Query<'a>(Vec<(&'a str, &'a str)>);

impl<'a> Query<'a> {
    pub(crate) fn read(uri: &'a Uri, known: &[&str]) -> Result<Self, Problem> {
        let pairs = uri.query().unwrap_or_default();
        let pairs = pairs.split('&').filter(|pair| !pair.is_empty());
        let mut query = Vec::new();
        for pair in pairs {
            let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
            if !known.contains(&key) || query.iter().any(|(other, _)| *other == key) {
                let known = known.join("`, `");
                return Err(Problem::bad_request(format!(
                    "what stands after `?` is one of `{known}`, each once"
                )));
            }
            query.push((key, value));
        }
        Ok(Self(query))
    }

    pub(crate) fn value(&self, key: &str) -> Option<&'a str> {
        let mut pairs = self.0.iter();
        pairs
            .find(|(name, _)| *name == key)
            .map(|(_, value)| *value)
    }
}
