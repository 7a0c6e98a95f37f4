#[cfg(feature = "json")]
use std::collections::BTreeMap;

use crate::{MessagePayload, Permissions, ResourceLimits, Secret};

/// What a component is loaded with.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct ComponentConfig {
    /// What it may use.
    pub limits: ResourceLimits,
    /// Handed to `initialize`, in this order.
    pub env: Vec<(String, String)>,
    /// Handed to `initialize` after those, and shown to nobody else.
    pub secrets: Vec<(String, Secret)>,
    /// Handed to `initialize` as `config-data`.
    pub config_data: Option<MessagePayload>,
    /// What it may do.
    pub permissions: Permissions,
    /// How long an instance is there.
    pub instances: InstancePolicy,
    concurrency: u32,
}

/// How long an instance of a component is there.
///
/// An engine that has resident instances only, one for each component, refuses to load with
/// anything else, with [`WasmError::Unsupported`](crate::WasmError::Unsupported).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[non_exhaustive]
pub enum InstancePolicy {
    /// From loading to unloading, so that it keeps what it has in memory from one call to the
    /// next. After a failure calls fail until it is restarted.
    #[default]
    Resident,
    /// For one call of an export, a callback and `health` included, before which it is
    /// initialized and after which it is shut down: no call sees what another has left in
    /// memory, and one that fails harms no other. Where `initialize` goes wrong, the call ends
    /// in that; what `shutdown` answers changes nothing. The first instance is made when the
    /// component is loaded, so that what keeps it from starting is known then.
    PerMessage,
}

impl InstancePolicy {
    /// All there are.
    pub const ALL: [Self; 2] = [Self::Resident, Self::PerMessage];

    /// As a manifest names it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Resident => "resident",
            Self::PerMessage => "per-message",
        }
    }
}

impl ComponentConfig {
    /// No environment, no configuration data, no permissions.
    pub fn new(limits: ResourceLimits) -> Self {
        Self {
            limits,
            env: Vec::new(),
            secrets: Vec::new(),
            config_data: None,
            permissions: Permissions::default(),
            instances: InstancePolicy::default(),
            concurrency: 1,
        }
    }

    /// The most calls of one component that may run at a time.
    pub const MAX_CONCURRENCY: u32 = 1024;

    /// Sets [`instances`](Self::instances).
    #[must_use]
    pub fn with_instances(mut self, policy: InstancePolicy) -> Self {
        self.instances = policy;
        self
    }

    /// Lets so many calls run at a time, each in an instance of its own with limits of its
    /// own: at least 1, which is the default, and at most
    /// [`MAX_CONCURRENCY`](Self::MAX_CONCURRENCY). With more than one, instances are made as
    /// they are needed, share no memory, and one that fails is replaced; messages are then
    /// begun in the order in which they came, and end in any. A callback is given to any
    /// instance, and may be while the call still runs that made the request.
    #[must_use]
    pub fn with_concurrency(mut self, calls: u32) -> Self {
        self.concurrency = calls.clamp(1, Self::MAX_CONCURRENCY);
        self
    }

    /// See [`with_concurrency`](Self::with_concurrency).
    pub fn concurrency(&self) -> u32 {
        self.concurrency
    }

    /// Whether a call that finds no instance has one made, and one that fails costs the
    /// component nothing else: with [`InstancePolicy::PerMessage`], and with more than one call
    /// at a time.
    pub fn renews_instances(&self) -> bool {
        self.instances == InstancePolicy::PerMessage || self.concurrency > 1
    }

    /// The memory of all instances that there may be at a time, in bytes.
    pub fn most_memory_bytes(&self) -> u64 {
        let instances = u64::from(self.concurrency);
        self.limits.memory_bytes().saturating_mul(instances)
    }

    /// Its variables, and the members of its configuration data if that is an object of JSON
    /// and no variable is called so: texts as they are, and other values as JSON.
    #[cfg(feature = "json")]
    pub fn settings(&self) -> BTreeMap<String, String> {
        let data = self.config_data.as_ref();
        let members = data.and_then(|data| data.to_json::<serde_json::Map<_, _>>().ok());
        let members = members.into_iter().flatten();
        let members = members.filter_map(|(key, value)| match value {
            serde_json::Value::Null => None,
            serde_json::Value::String(text) => Some((key, text)),
            other => Some((key, other.to_string())),
        });
        let variables = self.variables();
        let variables = variables.map(|(name, value)| (name.to_owned(), value.to_owned()));
        members.chain(variables).collect()
    }

    /// Adds a variable to [`env`](Self::env).
    #[must_use]
    pub fn with_env(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.env.push((name.into(), value.into()));
        self
    }

    /// Adds a variable to [`secrets`](Self::secrets).
    #[must_use]
    pub fn with_secret(mut self, name: impl Into<String>, value: Secret) -> Self {
        self.secrets.push((name.into(), value));
        self
    }

    /// All that the component is handed as variables, secrets last, by their names.
    pub fn variables(&self) -> impl Iterator<Item = (&str, &str)> {
        let env = self.env.iter();
        let env = env.map(|(name, value)| (name.as_str(), value.as_str()));
        let secrets = self.secrets.iter();
        env.chain(secrets.map(|(name, value)| (name.as_str(), value.expose())))
    }

    /// Sets [`config_data`](Self::config_data).
    #[must_use]
    pub fn with_config_data(mut self, data: impl Into<MessagePayload>) -> Self {
        self.config_data = Some(data.into());
        self
    }

    /// Sets [`permissions`](Self::permissions).
    #[must_use]
    pub fn with_permissions(mut self, permissions: Permissions) -> Self {
        self.permissions = permissions;
        self
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_new_configuration_has_limits_only() {
        let limits = ResourceLimits::new(1 << 20, Duration::from_secs(1), None).unwrap();
        let config = ComponentConfig::new(limits);
        assert_eq!(config.limits, limits);
        assert_eq!(config.env, []);
        assert_eq!(config.secrets, []);
        assert_eq!(config.config_data, None);
        assert_eq!(config.permissions, Permissions::default());
        assert_eq!(config.instances, InstancePolicy::Resident);
        assert_eq!(config.concurrency(), 1);
        assert_eq!(config.most_memory_bytes(), 1 << 20);
        assert!(!config.renews_instances());
    }

    #[test]
    fn a_secret_is_a_variable_that_is_not_shown() {
        let limits = ResourceLimits::new(1 << 20, Duration::from_secs(1), None).unwrap();
        let secret = Secret::from_text("hunter2").unwrap();
        let config = ComponentConfig::new(limits)
            .with_env("A", "1")
            .with_secret("B", secret);
        let variables: Vec<_> = config.variables().collect();
        assert_eq!(variables, [("A", "1"), ("B", "hunter2")]);
        assert!(!format!("{config:?}").contains("hunter2"));
    }

    #[cfg(feature = "json")]
    #[test]
    fn settings_are_variables_and_members_of_the_configuration() {
        let limits = ResourceLimits::new(1 << 20, Duration::from_secs(1), None).unwrap();
        let config = ComponentConfig::new(limits)
            .with_env("a", "1")
            .with_env("b", "2");
        let data = r#"{"b": "not this", "c": "text", "d": [1, {}], "e": null, "f": true}"#;
        let settings = config.clone().with_config_data(data).settings();
        let settings: Vec<_> = settings
            .iter()
            .map(|(k, v)| (k.as_str(), v.as_str()))
            .collect();
        let expected = [
            ("a", "1"),
            ("b", "2"),
            ("c", "text"),
            ("d", "[1,{}]"),
            ("f", "true"),
        ];
        assert_eq!(settings, expected);
        for other in ["", "text", "[1]", "{"] {
            assert_eq!(
                config.clone().with_config_data(other).settings().len(),
                2,
                "{other}"
            );
        }
    }

    #[test]
    fn there_are_one_to_a_thousand_calls_at_a_time() {
        let limits = ResourceLimits::new(1 << 20, Duration::from_secs(1), None).unwrap();
        let concurrency = |calls| ComponentConfig::new(limits).with_concurrency(calls);
        assert_eq!(concurrency(0).concurrency(), 1);
        assert_eq!(concurrency(100).most_memory_bytes(), 100 << 20);
        assert_eq!(concurrency(u32::MAX).concurrency(), 1024);
        assert!(concurrency(2).renews_instances());
        let per_message = concurrency(1).with_instances(InstancePolicy::PerMessage);
        assert!(per_message.renews_instances());
    }

    #[test]
    fn a_configuration_keeps_what_was_set() {
        let limits = ResourceLimits::new(1 << 20, Duration::from_secs(1), None).unwrap();
        let permissions = Permissions {
            storage: Some(7),
            ..Default::default()
        };
        let config = ComponentConfig::new(limits)
            .with_env("B", "1")
            .with_env("A", "2")
            .with_env("B", "3")
            .with_config_data("{}")
            .with_permissions(permissions.clone());
        let env = [("B", "1"), ("A", "2"), ("B", "3")];
        assert_eq!(config.env, env.map(|(n, v)| (n.to_owned(), v.to_owned())));
        assert_eq!(config.config_data, Some(MessagePayload::from_static(b"{}")));
        assert_eq!(config.permissions, permissions);
    }
}
