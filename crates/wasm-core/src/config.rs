use crate::{MessagePayload, Permissions, ResourceLimits};

/// What a component is loaded with.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct ComponentConfig {
    /// What it may use.
    pub limits: ResourceLimits,
    /// Handed to `initialize`, in this order.
    pub env: Vec<(String, String)>,
    /// Handed to `initialize` as `config-data`.
    pub config_data: Option<MessagePayload>,
    /// What it may do.
    pub permissions: Permissions,
}

impl ComponentConfig {
    /// No environment, no configuration data, no permissions.
    pub fn new(limits: ResourceLimits) -> Self {
        Self {
            limits,
            env: Vec::new(),
            config_data: None,
            permissions: Permissions::default(),
        }
    }

    /// Adds a variable to [`env`](Self::env).
    #[must_use]
    pub fn with_env(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.env.push((name.into(), value.into()));
        self
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
        assert_eq!(config.config_data, None);
        assert_eq!(config.permissions, Permissions::default());
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
