//! All nodes of an application on NATS, as they are told of at any of them and from outside.

use std::process::ExitCode;

use clap::Args;

use wasm_nats::Connection;

use crate::input::cluster::{Nats, told};
use crate::output;
use crate::output::outcome::{Stop, block_on};
use crate::output::report::aside;
use crate::session::nodes::{event_line, lost_letters, nodes};

/// List the nodes of an application on NATS, with the components that each has
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  airssys-wasm nodes --nats nats://127.0.0.1:4222
  airssys-wasm nodes --nats nats://127.0.0.1:4222 --dead
  airssys-wasm nodes --nats nats://127.0.0.1:4222 --events")]
pub(crate) struct Nodes {
    /// Addresses of servers of NATS, with commas between them
    #[arg(long, value_name = "URL")]
    nats: String,

    /// List the messages that no node could have handled instead
    #[arg(long)]
    dead: bool,

    /// Follow what happens on all nodes instead, until Ctrl-C
    #[arg(long, conflicts_with = "dead")]
    events: bool,

    #[command(flatten)]
    options: Nats,
}

impl Nodes {
    pub(crate) fn execute(self) -> Result<ExitCode, Stop> {
        block_on(async {
            let connection = self.options.connect(&self.nats).await?;
            if self.events {
                follow(&connection).await?;
                return Ok(ExitCode::SUCCESS);
            }
            let text = match self.dead {
                true => lost_letters(&connection).await?,
                false => nodes(&connection).await?,
            };
            output::print(text).await?;
            Ok(ExitCode::SUCCESS)
        })
    }
}

/// A line for each event of any node, until there are no more.
async fn follow(connection: &Connection) -> Result<(), Stop> {
    let events = connection.events().await;
    let mut events = events.map_err(|error| told(&error))?;
    aside("what happens on all nodes follows");
    while let Some(event) = events.next().await {
        output::print(event_line(&event.node, &event.text)).await?;
    }
    aside("no more events come: the connection to NATS has ended");
    Ok(())
}
