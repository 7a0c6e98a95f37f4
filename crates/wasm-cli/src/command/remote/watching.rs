use std::process::ExitCode;

use clap::Args;
use serde::Deserialize;

use wasm_core::ComponentId;
use wasm_core::text::Escaped;
use wasm_core::units::format_bytes;

use crate::command::remote::client::{Answer, HostArgs, Question};
use crate::command::remote::components::{get, not_understood, order};
use crate::output;
use crate::output::deserted::deserted;
use crate::output::outcome::{Stop, block_on};
use crate::output::report::{Report, aside};
use crate::session::nodes::event_line;

/// An event is shorter.
const EVENT_BYTES: usize = 1 << 20;

/// Follow what happens in an `up` that runs elsewhere, until Ctrl-C
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  airssys-wasm events --host 127.0.0.1:7070
  airssys-wasm events --host unix:shop.sock --messages --json
  airssys-wasm events --host 127.0.0.1:7070 --nodes")]
pub(crate) struct Events {
    /// Messages that were handled, too
    #[arg(long)]
    messages: bool,

    /// Only what is about this component
    #[arg(long, value_name = "NAMESPACE/NAME/INSTANCE")]
    component: Option<ComponentId>,

    /// What happens on all nodes, where the `up` is one of several
    #[arg(long, conflicts_with_all = ["messages", "component"])]
    nodes: bool,

    #[command(flatten)]
    host: HostArgs,
}

/// Of an event, what is shown.
#[derive(Deserialize)]
struct Told {
    /// Of those of all nodes.
    node: Option<String>,
    text: String,
}

impl Events {
    pub(crate) fn execute(self) -> Result<ExitCode, Stop> {
        block_on(async {
            tokio::select! {
                ended = self.follow() => ended,
                // For hours nothing may happen that would be printed and find nobody there.
                () = deserted() => Err(Stop::OutputClosed),
            }
        })
    }

    async fn follow(&self) -> Result<ExitCode, Stop> {
        let client = self.host.client().await?;
        let component = self.component.as_ref();
        let component = component.map_or_else(String::new, |id| format!("&component={id}"));
        let path = match self.nodes {
            true => "/nodes/events".to_owned(),
            false => format!("/events?messages={}{component}", self.messages),
        };
        let response = client.ask(Question::get(&path, Answer::Events)).await?;
        let mut body = response.into_body();
        let mut lines = Lines::default();
        while let Some(bytes) = client.next(&mut body).await? {
            for line in lines.add(&bytes)? {
                self.show(&line).await?;
            }
        }
        Err(client.ended())
    }

    async fn show(&self, line: &str) -> Result<(), Stop> {
        let Some(data) = line.strip_prefix("data: ") else {
            return Ok(());
        };
        let told: Told = serde_json::from_str(data).map_err(|it| not_understood(&it))?;
        let line = match (self.host.json, &told.node) {
            (true, _) => format!("{data}\n"),
            (false, Some(node)) => event_line(node, &told.text),
            (false, None) => format!("{}\n", Escaped::new(&told.text)),
        };
        Ok(output::print(line).await?)
    }
}

/// Lines that come in pieces.
#[derive(Default)]
struct Lines {
    begun: Vec<u8>,
}

impl Lines {
    /// Those that are whole now.
    fn add(&mut self, bytes: &[u8]) -> Result<Vec<String>, Report> {
        self.begun.extend_from_slice(bytes);
        let mut lines = Vec::new();
        while let Some(end) = self.begun.iter().position(|byte| *byte == b'\n') {
            let line: Vec<u8> = self.begun.drain(..=end).collect();
            lines.push(String::from_utf8_lossy(&line[..end]).into_owned());
        }
        match self.begun.len() > EVENT_BYTES {
            true => Err(Report::error("the answer has a line that is no event")),
            false => Ok(lines),
        }
    }
}

/// List the messages that an `up` that runs elsewhere could not have handled
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  airssys-wasm dead --host 127.0.0.1:7070
  airssys-wasm dead --host 127.0.0.1:7070 --redeliver 3
  airssys-wasm dead --host 127.0.0.1:7070 --nodes")]
pub(crate) struct Dead {
    /// Deliver the one of this number again, once
    #[arg(long, value_name = "NUMBER")]
    redeliver: Option<u64>,

    /// List the latest of all nodes, where the `up` is one of several
    #[arg(long, conflicts_with = "redeliver")]
    nodes: bool,

    #[command(flatten)]
    host: HostArgs,
}

#[derive(Deserialize)]
struct DeadLetters {
    dead_letters: Vec<DeadLetter>,
}

#[derive(Deserialize)]
struct DeadLetter {
    number: u64,
    from: String,
    to: String,
    /// Of those of one node.
    kind: Option<String>,
    /// Of those of all.
    node: Option<String>,
    bytes: u64,
    text: String,
}

impl Dead {
    pub(crate) fn execute(self) -> Result<ExitCode, Stop> {
        block_on(async {
            match self.redeliver {
                Some(number) => self.redeliver(number).await?,
                None => self.list().await?,
            }
            Ok(ExitCode::SUCCESS)
        })
    }

    async fn redeliver(&self, number: u64) -> Result<(), Stop> {
        let client = self.host.client().await?;
        let path = format!("/dead-letters/{number}/redeliver");
        let body = order(&client, &path, Vec::new(), "redelivered").await?;
        match self.host.json {
            true => output::print(format!("{}\n", String::from_utf8_lossy(&body))).await?,
            false => aside(format!("dead letter {number} is delivered again")),
        }
        Ok(())
    }

    async fn list(&self) -> Result<(), Stop> {
        let client = self.host.client().await?;
        let path = match self.nodes {
            true => "/nodes/dead-letters",
            false => "/dead-letters",
        };
        if self.host.json {
            let letters: serde_json::Value = get(&client, path).await?;
            return Ok(output::print(format!("{letters}\n")).await?);
        }
        let DeadLetters { dead_letters } = get(&client, path).await?;
        if dead_letters.is_empty() {
            aside("there are no dead letters");
        }
        let lines = dead_letters.iter().map(DeadLetter::line);
        Ok(output::print(lines.collect()).await?)
    }
}

impl DeadLetter {
    fn line(&self) -> String {
        let (number, kind) = (self.number, self.kind.as_deref().unwrap_or("message"));
        let kind = Escaped::new(kind);
        let node = self.node.as_deref().map_or_else(String::new, |node| {
            format!(", on node {}", Escaped::new(node))
        });
        let (from, to) = (Escaped::new(&self.from), Escaped::new(&self.to));
        let (size, text) = (format_bytes(self.bytes), Escaped::new(&self.text));
        format!("{number}: {kind} of {size} from {from} to {to}{node}: {text}\n")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dead_letter_of_all_nodes_says_on_which() {
        let line = |json: &str| serde_json::from_str::<DeadLetter>(json).unwrap().line();
        assert_eq!(
            line(
                r#"{"number": 3, "kind": "request", "from": "d/a/m", "to": "d/b/m", "bytes": 4,
                    "text": "it failed"}"#
            ),
            "3: request of 4B from d/a/m to d/b/m: it failed\n"
        );
        assert_eq!(
            line(
                r#"{"number": 3, "node": "n\u001b", "from": "d/a/m", "to": "d/b/m", "bytes": 4,
                    "text": "it failed"}"#
            ),
            "3: message of 4B from d/a/m to d/b/m, on node n\\u{1b}: it failed\n"
        );
    }

    #[test]
    fn lines_come_in_pieces() {
        let mut lines = Lines::default();
        assert_eq!(lines.add(b"data: {").unwrap(), [""; 0]);
        assert_eq!(lines.add(b"}\n\nid").unwrap(), ["data: {}", ""]);
        assert_eq!(lines.add(b": 1\n").unwrap(), ["id: 1"]);
        let endless = vec![b'x'; EVENT_BYTES + 1];
        assert!(
            lines
                .add(&endless)
                .unwrap_err()
                .to_string()
                .contains("no event")
        );
    }
}
