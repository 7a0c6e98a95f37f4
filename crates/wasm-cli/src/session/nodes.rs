//! What is shown of all nodes of an application on NATS.

use std::time::Duration;

use wasm_core::text::{Escaped, Quoted};
use wasm_core::units::format_bytes;
use wasm_nats::{ComponentOfNode, Connection, LostLetter, NodeStatus};

use crate::input::cluster::told;
use crate::output::report::{Report, aside};
use crate::output::table::{self, Entry};

/// How long a node may take to say how it is.
pub(crate) const PATIENCE: Duration = Duration::from_secs(2);

/// The latest; the table of them is no archive.
const SHOWN_DEAD_LETTERS: usize = 20;

/// The longest text of an event that is shown, in characters: nodes tell no longer one.
const EVENT_CHARS: usize = 1_000;

/// What happened on this node.
pub(crate) fn event_line(node: &str, text: &str) -> String {
    let text = Escaped::up_to(EVENT_CHARS, text);
    match node {
        // Some were missed, of whatever nodes.
        "" => format!("{text}\n"),
        node => format!("{}: {text}\n", Escaped::new(node)),
    }
}

/// A table of components for each node.
pub(crate) async fn nodes(connection: &Connection) -> Result<String, Report> {
    let nodes = connection.nodes(PATIENCE).await;
    let nodes = nodes.map_err(|error| told(&error))?;
    Ok(tables(&nodes))
}

/// The same of nodes that are known.
pub(crate) fn tables(nodes: &[NodeStatus]) -> String {
    if nodes.is_empty() {
        aside("there are no nodes");
    }
    let mut text = String::new();
    for node in nodes {
        let (name, partitions) = (Escaped::new(&node.node), node.partitions);
        text += &format!("node {name}, with {partitions} partitions");
        if !node.only.is_empty() {
            text += &format!(", only {}", Escaped::new(&node.only.join(" ")));
        }
        text += "\n";
        text += &table::components(node.components.iter().map(entry));
    }
    if let Some(report) = homeless(nodes) {
        report.print();
    }
    text
}

/// Components that none of the nodes may own, as one of them says.
pub(crate) fn homeless(nodes: &[NodeStatus]) -> Option<Report> {
    let node = nodes.iter().max_by_key(|node| node.homeless)?;
    let (count, first) = (node.homeless, node.first_homeless.join(", "));
    if count == 0 {
        return None;
    }
    let more = match count - node.first_homeless.len().min(count) {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    let text = format!("no running node may own {}{more}", Escaped::new(&first));
    let report = Report::warning(text).with_note("what is sent to them waits");
    Some(report.with_help("start a node without --only, or with one that matches"))
}

fn entry(component: &ComponentOfNode) -> Entry {
    let usage = component.usage.as_ref();
    Entry::new(
        [&component.id, &component.phase, &component.health],
        [component.handled, component.waiting, component.failures],
        usage.map(|usage| (usage.total_fuel, usage.memory_bytes)),
    )
}

/// A line for each of the latest dead letters of all nodes.
pub(crate) async fn lost_letters(connection: &Connection) -> Result<String, Report> {
    let letters = connection.latest_dead_letters(SHOWN_DEAD_LETTERS).await;
    let letters = letters.map_err(|error| told(&error))?;
    if letters.is_empty() {
        aside("there are no dead letters");
    }
    Ok(letters.iter().map(line).collect())
}

fn line(letter: &LostLetter) -> String {
    let message = &letter.message;
    let payload = match std::str::from_utf8(message.payload.as_bytes()) {
        Ok(text) => Quoted::prose(text).to_string(),
        Err(_) => format_bytes(message.payload.len() as u64),
    };
    let (number, from, to) = (letter.number, &message.sender, &message.recipient);
    let (node, reason) = (Escaped::new(&letter.node), Escaped::new(&letter.reason));
    format!("{number}: from {from} to {to}, {payload}, on node {node}: {reason}\n")
}
