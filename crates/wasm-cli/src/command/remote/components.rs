use std::process::ExitCode;

use bytes::Bytes;
use clap::Args;
use hyper::header::{HeaderName, HeaderValue};
use serde::Deserialize;
use serde_json::{Value, json};

use wasm_core::ComponentId;
use wasm_core::text::Quoted;
use wasm_nats::NodeStatus;

use crate::command::remote::client::{Answer, Client, HostArgs, LIST_BYTES, Question};
use crate::output;
use crate::output::outcome::{Stop, block_on};
use crate::output::report::{Report, aside};
use crate::output::table::{self, Entry};
use crate::session::nodes::tables;

/// Components that are asked for at a time.
const PAGE: usize = 1_000;

/// How long the host waits.
pub(crate) const REQUEST_TIMEOUT: HeaderName = HeaderName::from_static("request-timeout");

/// List the components of an `up` that runs elsewhere
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  airssys-wasm ps --host 127.0.0.1:7070
  airssys-wasm ps --host unix:/run/shop.sock --json
  airssys-wasm ps --host 127.0.0.1:7070 --nodes")]
pub(crate) struct Ps {
    /// List all nodes with their components, where the `up` is one of several
    #[arg(long)]
    nodes: bool,

    #[command(flatten)]
    host: HostArgs,
}

#[derive(Deserialize)]
struct Page {
    components: Vec<Value>,
    next: Option<String>,
}

/// What a host says that it has done.
#[derive(Deserialize)]
struct Done {
    done: String,
}

#[derive(Deserialize)]
struct Nodes {
    nodes: Vec<NodeStatus>,
}

impl Ps {
    pub(crate) fn execute(self) -> Result<ExitCode, Stop> {
        block_on(async {
            let client = self.host.client().await?;
            if self.nodes {
                output::print(nodes(&client, self.host.json).await?).await?;
                return Ok(ExitCode::SUCCESS);
            }
            let components = list(&client).await?;
            let text = match self.host.json {
                true => format!("{}\n", json!({ "components": components })),
                false => {
                    let entries: Result<Vec<Entry>, _> =
                        components.into_iter().map(serde_json::from_value).collect();
                    table::components(entries.map_err(|error| not_understood(&error))?)
                }
            };
            output::print(text).await?;
            Ok(ExitCode::SUCCESS)
        })
    }
}

async fn nodes(client: &Client, is_json: bool) -> Result<String, Stop> {
    let nodes: Value = get(client, "/nodes").await?;
    if is_json {
        return Ok(format!("{nodes}\n"));
    }
    let Nodes { nodes } = serde_json::from_value(nodes).map_err(|it| not_understood(&it))?;
    Ok(tables(&nodes))
}

async fn list(client: &Client) -> Result<Vec<Value>, Stop> {
    let mut components = Vec::new();
    let mut after = String::new();
    loop {
        let path = format!("/components?limit={PAGE}{after}");
        let page: Page = get(client, &path).await?;
        components.extend(page.components);
        match page.next {
            // What is not an id leads nowhere.
            Some(next) if next.parse::<ComponentId>().is_ok() => after = format!("&after={next}"),
            _ => return Ok(components),
        }
    }
}

/// What the host tells there.
pub(crate) async fn get<T: serde::de::DeserializeOwned>(
    client: &Client,
    path: &str,
) -> Result<T, Stop> {
    let question = Question::get(path, Answer::Json);
    let (_, body) = client.answer(question, LIST_BYTES, None).await?;
    serde_json::from_slice(&body).map_err(|error| not_understood(&error).into())
}

/// Has the host do something; what it says then, which is that this is done.
pub(crate) async fn order(
    client: &Client,
    path: &str,
    headers: Vec<(HeaderName, HeaderValue)>,
    done: &str,
) -> Result<Bytes, Stop> {
    let question = Question::post(path, headers, Bytes::new(), Answer::Json);
    let (_, body) = client.answer(question, LIST_BYTES, None).await?;
    let said: Done = serde_json::from_slice(&body).map_err(|error| not_understood(&error))?;
    match said.done == done {
        true => Ok(body),
        false => Err(Stop::Failed(Report::error(format!(
            "the host says that it has done {}, which was not asked",
            Quoted::new(&said.done)
        )))),
    }
}

pub(crate) fn not_understood(error: &serde_json::Error) -> Report {
    Report::error(format!("the answer is not understood: {error}"))
        .with_help("this program and the one that answers may be of different releases")
}

/// Give a component of an `up` that runs elsewhere a fresh instance
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  airssys-wasm restart demo/echo/main --host 127.0.0.1:7070")]
pub(crate) struct Restart {
    /// Which component
    #[arg(value_name = "NAMESPACE/NAME/INSTANCE")]
    id: ComponentId,

    #[command(flatten)]
    host: HostArgs,
}

impl Restart {
    pub(crate) fn execute(self) -> Result<ExitCode, Stop> {
        block_on(async {
            let client = self.host.client().await?;
            let path = format!("/components/{}/restart", self.id);
            let headers = vec![(REQUEST_TIMEOUT, self.host.timeout_header()?)];
            let body = order(&client, &path, headers, "restarted").await?;
            match self.host.json {
                true => output::print(format!("{}\n", String::from_utf8_lossy(&body))).await?,
                false => aside(format!("{} was restarted", self.id)),
            }
            Ok(ExitCode::SUCCESS)
        })
    }
}
