//! The host of airssys-wasm on many machines, on NATS JetStream.
//!
//! A [`Connection`] gives a [`Host`](wasm_host::Host) its storage and its
//! [`Carrier`](wasm_host::Carrier); [`Node::start`] makes that host one of several. The ids of
//! components are divided into partitions, each of which one node owns at a time; it has the
//! components in it, and gives them what is stored for them in a stream.
//!
//! | to | see |
//! |---|---|
//! | connect | [`NatsConfig`], [`Connection`] |
//! | be one of several | [`Node`], [`Tenants`] |
//! | deploy | [`Connection::deploy`], [`Connection::roll_back`], [`Release`] |
//! | see how all nodes are, and what happens there | [`Connection::nodes`], [`Connection::events`], [`Connection::latest_dead_letters`] |
//! | see what nodes decide | [`protocol`] |

mod address;
mod answers;
mod book;
mod carrier;
mod claim;
mod connect;
mod dead;
mod division;
mod envelope;
mod events;
mod heard;
mod homeless;
mod inbox;
mod mail;
mod name;
mod node;
mod partition;
pub mod protocol;
mod release;
mod room;
mod roster;
mod sent;
mod shared;
mod status;
mod storage;
mod tenants;
mod tenure;
mod view;
mod wire;
mod work;

pub use connect::{Connection, NatsConfig, NatsError};
pub use dead::LostLetter;
pub use division::{InvalidPins, MOST_PINNED};
pub use heard::{EventOfNode, EventsOfNodes};
pub use name::{InvalidName, NAME_RULE, check_name, partition_of};
pub use node::Node;
pub use release::{Applied, Objects, Part, Release, ReleasePart};
pub use status::{ComponentOfNode, NodeStatus, UsageOfNode};
pub use tenants::Tenants;
