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
