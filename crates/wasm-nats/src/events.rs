//! What happens on all nodes, told as it happens to whoever listens, and kept by nobody.

use async_nats::connection::State;
use bytes::Bytes;

use wasm_host::{Events, HandledMessages};

use crate::connect::{Connection, NatsError};
use crate::heard::{EventsOfNodes, Record};

impl Connection {
    /// What happens on all nodes from now on, but for messages that were handled. Nothing is kept
    /// for those who do not listen: they have missed it, but for dead letters
    /// ([`latest_dead_letters`](Self::latest_dead_letters)).
    ///
    /// # Errors
    /// [`NatsError::Stream`] when it cannot be listened to.
    pub async fn events(&self) -> Result<EventsOfNodes, NatsError> {
        let subject = self.names.events();
        let failed = |reason: String| NatsError::Stream {
            name: self.names.events(),
            reason,
        };
        let subscribe = async {
            let subscriber = self.wire.client.subscribe(subject).await;
            let subscriber = subscriber.map_err(|error| failed(error.to_string()))?;
            // A server that answers this knows of the subscription.
            let answer = self.nodes.get_info().await;
            answer.map_err(|error| failed(error.to_string()))?;
            Ok(subscriber)
        };
        self.listeners.add(&self.names, subscribe).await
    }

    /// Tells whoever listens what happens in the host of this node, for as long as it is polled.
    /// While NATS is away nothing is told, and those who listen learn how much that was.
    pub(crate) async fn tell_events(&self, events: Events) {
        let mut events = events.with_messages(HandledMessages::None);
        let client = &self.wire.client;
        let subject = self.names.event(&self.node);
        let mut number = 0;
        while let Some(event) = events.next().await {
            // What is counted and not told is known to be missing.
            number += 1;
            if client.connection_state() != State::Connected {
                continue;
            }
            let record = Record::new(&event, &self.incarnation, number);
            if let Ok(text) = serde_json::to_vec(&record) {
                let _ = client.publish(subject.clone(), Bytes::from(text)).await;
            }
        }
    }
}
