//! All nodes of an application, as the gateway of one of them tells of them.

use std::sync::Arc;

use async_trait::async_trait;

use wasm_gateway::{
    Cluster, ClusterComponent, ClusterDeadLetter, ClusterError, ClusterEvent, ClusterEvents,
    ClusterNode, ClusterUsage,
};
use wasm_nats::{
    ComponentOfNode, EventOfNode, EventsOfNodes, LostLetter, NatsError, Node, NodeStatus,
};

use crate::session::nodes::PATIENCE;

/// What this node knows of all.
pub(crate) struct Everywhere(pub(crate) Arc<Node>);

#[async_trait]
impl Cluster for Everywhere {
    async fn nodes(&self) -> Result<Vec<ClusterNode>, ClusterError> {
        let nodes = self.0.connection().nodes(PATIENCE).await;
        let nodes = nodes.map_err(|error| unknown(&error))?;
        Ok(nodes.into_iter().map(node).collect())
    }

    async fn dead_letters(&self, limit: usize) -> Result<Vec<ClusterDeadLetter>, ClusterError> {
        let letters = self.0.connection().latest_dead_letters(limit).await;
        let letters = letters.map_err(|error| unknown(&error))?;
        Ok(letters.into_iter().map(dead_letter).collect())
    }

    async fn events(&self) -> Result<Box<dyn ClusterEvents>, ClusterError> {
        let events = self.0.connection().events().await;
        let events = events.map_err(|error| unknown(&error))?;
        Ok(Box::new(Told(events)))
    }
}

struct Told(EventsOfNodes);

#[async_trait]
impl ClusterEvents for Told {
    async fn next(&mut self) -> Option<ClusterEvent> {
        self.0.next().await.map(event)
    }
}

fn unknown(error: &NatsError) -> ClusterError {
    ClusterError::new(error.to_string())
}

fn node(status: NodeStatus) -> ClusterNode {
    let mut node = ClusterNode::default();
    node.node = status.node;
    node.partitions = status.partitions;
    node.only = status.only;
    node.homeless = status.homeless;
    node.first_homeless = status.first_homeless;
    node.components = status.components.into_iter().map(component).collect();
    node
}

fn component(status: ComponentOfNode) -> ClusterComponent {
    let mut component = ClusterComponent::default();
    component.id = status.id;
    component.phase = status.phase;
    component.health = status.health;
    component.waiting = status.waiting;
    component.handled = status.handled;
    component.failures = status.failures;
    component.usage = status.usage.map(|used| {
        let mut usage = ClusterUsage::default();
        usage.memory_bytes = used.memory_bytes;
        usage.total_fuel = used.total_fuel;
        usage
    });
    component
}

fn dead_letter(lost: LostLetter) -> ClusterDeadLetter {
    let mut letter = ClusterDeadLetter::default();
    letter.number = lost.number;
    letter.node = lost.node;
    letter.from = lost.message.sender.to_string();
    letter.to = lost.message.recipient.to_string();
    letter.message_type = lost.message.message_type.as_deref().map(str::to_owned);
    letter.bytes = lost.payload_bytes;
    letter.cause = lost.cause;
    letter.text = lost.reason;
    letter.at = lost.at_millis;
    letter
}

fn event(told: EventOfNode) -> ClusterEvent {
    let mut event = ClusterEvent::default();
    event.node = told.node;
    event.kind = told.kind;
    event.at = told.at_millis;
    event.text = told.text;
    event.component = told.component;
    event
}
