//! How all nodes are, asked from any of them or from outside.

use std::time::Duration;

use bytes::Bytes;
use futures_util::StreamExt as _;
use serde::{Deserialize, Serialize};
use tokio::time::{Instant, timeout_at};

use wasm_core::{ComponentId, RuntimeEngine};
use wasm_host::{ComponentStatus, Host};

use crate::connect::{Connection, NatsError};
use crate::view::Watched;

/// What a node says of itself.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[non_exhaustive]
pub struct NodeStatus {
    /// Its name.
    pub node: String,
    /// How many partitions it owns.
    pub partitions: usize,
    /// The patterns of which it owns components, unless it owns whatever there is.
    #[serde(default)]
    pub only: Vec<String>,
    /// How many components there are that no running node may own, as far as it sees.
    #[serde(default)]
    pub homeless: usize,
    /// The first of these.
    #[serde(default)]
    pub first_homeless: Vec<String>,
    /// The components that it has, in the order of their ids.
    pub components: Vec<ComponentOfNode>,
    /// These are not all: more follow.
    #[serde(default)]
    has_more: bool,
}

/// Components of which a message tells: at a few hundred bytes each it is smaller than any limit
/// of a server.
const IN_A_MESSAGE: usize = 500;

/// Components without a node that are named.
const NAMED: usize = 20;

/// Puts together what a node says in parts.
fn add(nodes: &mut Vec<NodeStatus>, part: NodeStatus) {
    match nodes.iter_mut().find(|it| it.node == part.node) {
        Some(node) if node.has_more => {
            node.components.extend(part.components);
            node.has_more = part.has_more;
        }
        Some(_) => {}
        None => nodes.push(part),
    }
}

/// A component of a node.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[non_exhaustive]
pub struct ComponentOfNode {
    /// Who it is.
    pub id: String,
    /// What it is doing.
    pub phase: String,
    /// What it said when it was asked last.
    pub health: String,
    /// Messages that it has handled here.
    pub handled: u64,
    /// Messages that wait for it at the node.
    pub waiting: u64,
    /// How often it has failed here.
    pub failures: u64,
    /// What it has used here, if it has an instance.
    pub usage: Option<UsageOfNode>,
}

/// What an instance has used.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[non_exhaustive]
pub struct UsageOfNode {
    /// Of all its calls.
    pub total_fuel: u64,
    /// Now.
    pub memory_bytes: u64,
}

impl From<ComponentStatus> for ComponentOfNode {
    fn from(status: ComponentStatus) -> Self {
        Self {
            id: status.id.to_string(),
            phase: status.phase.to_string(),
            health: status.health.to_string(),
            handled: status.handled,
            waiting: status.waiting as u64,
            failures: status.failures,
            usage: status.usage.map(|usage| UsageOfNode {
                total_fuel: usage.total_fuel,
                memory_bytes: usage.memory_bytes,
            }),
        }
    }
}

impl Connection {
    /// How the nodes are, in the order of their names: all that answer within this time, which
    /// is waited for only while one is missing.
    ///
    /// # Errors
    /// [`NatsError::Stream`] when it is not known which there are, or they cannot be asked.
    pub async fn nodes(&self, within: Duration) -> Result<Vec<NodeStatus>, NatsError> {
        let names = self.nodes_there().await?;
        let failed = |reason: String| NatsError::Stream {
            name: self.names.ask(),
            reason,
        };
        let client = &self.wire.client;
        let inbox = client.new_inbox();
        let answers = client.subscribe(inbox.clone()).await;
        let mut answers = answers.map_err(|error| failed(error.to_string()))?;
        let asked = client
            .publish_with_reply(self.names.ask(), inbox, Bytes::new())
            .await;
        asked.map_err(|error| failed(error.to_string()))?;
        let until = Instant::now() + within;
        let mut nodes: Vec<NodeStatus> = Vec::new();
        while !names
            .iter()
            .all(|it| nodes.iter().any(|node| node.node == *it && !node.has_more))
            && let Ok(Some(answer)) = timeout_at(until, answers.next()).await
        {
            if let Ok(part) = serde_json::from_slice(&answer.payload) {
                add(&mut nodes, part);
            }
        }
        nodes.sort_by(|one, other| one.node.cmp(&other.node));
        Ok(nodes)
    }

    /// Answers those who ask how this node is, for as long as it is polled.
    pub(crate) async fn tell_status<E: RuntimeEngine + ?Sized + 'static>(
        &self,
        host: Host<E>,
        watched: &Watched,
    ) {
        let client = &self.wire.client;
        let Ok(mut asked) = client.subscribe(self.names.ask()).await else {
            return;
        };
        while let Some(asked) = asked.next().await {
            // Whoever may ask must not have a node write wherever that may.
            let Some(reply) = asked.reply.filter(|it| self.names.is_inbox(it)) else {
                continue;
            };
            let components: Vec<ComponentOfNode> =
                host.status().await.into_iter().map(Into::into).collect();
            let homeless = self.homeless(&self.view(watched).homeless());
            for status in self.parts(&components, &homeless) {
                if let Ok(text) = serde_json::to_vec(&status) {
                    // Whoever asked asks again.
                    let _ = client.publish(reply.clone(), text.into()).await;
                }
            }
        }
    }

    /// How this node is, in as many parts as fit into messages.
    fn parts(&self, components: &[ComponentOfNode], homeless: &[ComponentId]) -> Vec<NodeStatus> {
        let part = |components: &[ComponentOfNode], is_last: bool| NodeStatus {
            node: self.node.clone(),
            partitions: self.claims.all().len(),
            only: self.only.clone(),
            homeless: homeless.len(),
            first_homeless: homeless
                .iter()
                .take(NAMED)
                .map(ToString::to_string)
                .collect(),
            components: components.to_vec(),
            has_more: !is_last,
        };
        let mut parts: Vec<_> = components
            .chunks(IN_A_MESSAGE)
            .map(|components| part(components, false))
            .collect();
        match parts.last_mut() {
            Some(last) => last.has_more = false,
            None => parts.push(part(&[], true)),
        }
        parts
    }
}
