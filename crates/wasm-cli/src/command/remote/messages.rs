use std::ffi::OsString;
use std::process::ExitCode;

use bytes::Bytes;
use clap::Args;
use hyper::StatusCode;
use hyper::header::{CONTENT_TYPE, HeaderName, HeaderValue};
use serde_json::json;

use wasm_core::ComponentId;
use wasm_core::text::Quoted;
use wasm_core::units::parse_bytes;

use crate::command::remote::client::{Answer, HostArgs, LIST_BYTES, Question, header_value};
use crate::command::remote::components::REQUEST_TIMEOUT;
use crate::output;
use crate::output::outcome::{Stop, block_on};
use crate::output::reply::{as_json, shown};
use crate::output::report::{Report, aside};

/// What is sent, and to whom.
#[derive(Debug, Args)]
struct Message {
    /// Which component
    #[arg(value_name = "NAMESPACE/NAME/INSTANCE")]
    id: ComponentId,

    /// What it is told
    #[arg(default_value = "")]
    text: OsString,

    /// Type of the message, such as application/json
    #[arg(long = "type", value_name = "TYPE")]
    message_type: Option<String>,
}

impl Message {
    fn headers(&self) -> Result<Vec<(HeaderName, HeaderValue)>, Report> {
        let Some(text) = &self.message_type else {
            return Ok(Vec::new());
        };
        let value = header_value(text, || format!("the type {} of --type", Quoted::new(text)))?;
        Ok(vec![(CONTENT_TYPE, value)])
    }

    fn payload(&self) -> Bytes {
        self.text.clone().into_encoded_bytes().into()
    }
}

/// Send a message to a component of an `up` that runs elsewhere, and print its reply
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  airssys-wasm request demo/echo/main hello --host 127.0.0.1:7070")]
pub(crate) struct Request {
    #[command(flatten)]
    message: Message,

    /// Longest reply
    #[arg(long, value_name = "SIZE", default_value = "16MiB", value_parser = parse_bytes)]
    max_reply: u64,

    #[command(flatten)]
    host: HostArgs,
}

impl Request {
    pub(crate) fn execute(self) -> Result<ExitCode, Stop> {
        block_on(async {
            let client = self.host.client().await?;
            let path = format!("/components/{}", self.message.id);
            let mut headers = self.message.headers()?;
            headers.push((REQUEST_TIMEOUT, self.host.timeout_header()?));
            let payload = self.message.payload();
            let question = Question::post(&path, headers, payload, Answer::Reply);
            let answer = client.answer(question, self.max_reply, Some("--max-reply"));
            let (status, body) = answer.await?;
            let reply = (status != StatusCode::NO_CONTENT).then_some(body);
            match (self.host.json, reply) {
                (true, reply) => {
                    let reply = reply.map(|reply| as_json(&reply));
                    output::print(format!("{}\n", json!({ "reply": reply }))).await?;
                }
                (false, Some(reply)) => output::print(format!("{}\n", shown(&reply))).await?,
                (false, None) => aside(format!("{} has no reply", self.message.id)),
            }
            Ok(ExitCode::SUCCESS)
        })
    }
}

/// Send a message to a component of an `up` that runs elsewhere, and wait for nothing
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  airssys-wasm send demo/echo/main hello --host 127.0.0.1:7070")]
pub(crate) struct Send {
    #[command(flatten)]
    message: Message,

    #[command(flatten)]
    host: HostArgs,
}

impl Send {
    pub(crate) fn execute(self) -> Result<ExitCode, Stop> {
        block_on(async {
            let client = self.host.client().await?;
            let path = format!("/components/{}/messages", self.message.id);
            let (headers, payload) = (self.message.headers()?, self.message.payload());
            let question = Question::post(&path, headers, payload, Answer::Accepted);
            client.answer(question, LIST_BYTES, None).await?;
            if self.host.json {
                output::print(format!("{}\n", json!({ "done": "accepted" }))).await?;
            }
            Ok(ExitCode::SUCCESS)
        })
    }
}
