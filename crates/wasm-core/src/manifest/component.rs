//! What a manifest says, once it is read.

use std::path::PathBuf;

use bytes::Bytes;

use crate::{
    ComponentConfig, ComponentId, HttpRoute, InstancePolicy, Permissions, ResourceLimits,
    Supervision,
};

/// What a `Component.toml` says.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct ComponentManifest {
    /// Who the component is.
    pub id: ComponentId,
    /// The component's file, relative to the manifest's folder.
    pub wasm: PathBuf,
    /// As written; no scheme is imposed.
    pub version: Option<String>,
    /// What the component is for.
    pub description: Option<String>,
    /// Who made it.
    pub authors: Vec<String>,
    /// Under which terms.
    pub license: Option<String>,
    /// What it may use.
    pub limits: ResourceLimits,
    /// How long an instance is there.
    pub instances: InstancePolicy,
    /// Calls that may run at a time, each in an instance of its own.
    pub concurrency: u32,
    /// Handed to `initialize`, in the order of the file. Names are not empty and
    /// have no `=`; neither names nor values have a NUL character.
    pub env: Vec<(String, String)>,
    /// Variables whose values are not written in the manifest, in the order of the file.
    pub secrets: Vec<(String, SecretSource)>,
    /// Where its configuration data comes from.
    pub config: ConfigSource,
    /// What it may do. The host's side of a directory is already joined with the
    /// manifest's folder.
    pub permissions: Permissions,
    /// What its host does when it fails.
    pub supervision: Supervision,
    /// Which HTTP requests are for it.
    pub http: Option<HttpRoute>,
    /// `command` of `[build]`: the line of a shell that makes the component's file, run in
    /// the manifest's folder. No host runs it; `airssys-wasm build` and `up --build` do.
    pub build_command: Option<String>,
    /// `sources` of `[build]`: folders with sources, relative to the manifest's, for the tool
    /// of their language. Where it is empty, they are in the manifest's folder.
    pub build_sources: Vec<PathBuf>,
}

/// Where the configuration data of a component comes from.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum ConfigSource {
    /// There is none.
    #[default]
    None,
    /// The content of a file, relative to the manifest's folder.
    File(PathBuf),
    /// The text itself.
    Text(String),
}

/// Where the value of a variable comes from that the manifest does not say.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum SecretSource {
    /// The content of a file without the end of its last line, relative to the manifest's folder
    /// unless its path is absolute.
    File(PathBuf),
    /// A variable of the environment of the process that loads the component.
    Environment(String),
}

impl ComponentManifest {
    /// A manifest is written by hand: a file of more bytes is something else.
    pub const MAX_BYTES: u64 = 1 << 20;

    /// Of each list and of `[env]`: nobody writes more by hand, and a host keeps something for
    /// each, such as every folder on the way to one that is granted.
    pub const MAX_ENTRIES: usize = 1000;

    /// The least that a manifest must say; everything else is absent.
    pub fn new(id: ComponentId, wasm: impl Into<PathBuf>, limits: ResourceLimits) -> Self {
        Self {
            id,
            wasm: wasm.into(),
            version: None,
            description: None,
            authors: Vec::new(),
            license: None,
            limits,
            instances: InstancePolicy::default(),
            concurrency: 1,
            env: Vec::new(),
            secrets: Vec::new(),
            config: ConfigSource::None,
            permissions: Permissions::default(),
            supervision: Supervision::default(),
            http: None,
            build_command: None,
            build_sources: Vec::new(),
        }
    }

    /// What to load the component with.
    ///
    /// `file_content` is that of [`ConfigSource::File`], which the caller has read;
    /// it is ignored for a manifest that names no file. So has the caller read the
    /// [`secrets`](Self::secrets), which are to be added.
    pub fn config(&self, file_content: Option<Bytes>) -> ComponentConfig {
        let mut config = ComponentConfig::new(self.limits)
            .with_instances(self.instances)
            .with_concurrency(self.concurrency)
            .with_permissions(self.permissions.clone());
        config.env.clone_from(&self.env);
        config.config_data = match &self.config {
            ConfigSource::None => None,
            ConfigSource::File(_) => file_content.map(Into::into),
            ConfigSource::Text(text) => Some(text.clone().into()),
        };
        config
    }
}
