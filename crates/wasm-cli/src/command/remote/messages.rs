use std::ffi::OsString;
use std::process::ExitCode;

use bytes::Bytes;
use clap::Args;
use hyper::header::{CONTENT_TYPE, HeaderName};
use hyper::{Method, StatusCode};
use serde_json::json;

use wasm_core::ComponentId;

use crate::command::remote::client::HostArgs;
use crate::command::remote::components::REQUEST_TIMEOUT;
use crate::output;
use crate::output::outcome::{Stop, block_on};
use crate::output::reply::shown;
use crate::output::report::aside;

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
    fn headers(&self) -> Vec<(HeaderName, String)> {
        let message_type = self.message_type.clone();
        message_type
            .map(|it| (CONTENT_TYPE, it))
            .into_iter()
            .collect()
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

    /// Longest wait for the reply
    #[arg(long, value_name = "DURATION", default_value = "10s")]
    timeout: String,

    #[command(flatten)]
    host: HostArgs,
}

impl Request {
    pub(crate) fn execute(self) -> Result<ExitCode, Stop> {
        block_on(async {
            let client = self.host.client().await?;
            let path = format!("/components/{}", self.message.id);
            let mut headers = self.message.headers();
            headers.push((REQUEST_TIMEOUT, self.timeout.clone()));
            let answer = client.answer(Method::POST, &path, &headers, self.message.payload());
            let (status, body) = answer.await?;
            let reply = (status != StatusCode::NO_CONTENT).then(|| shown(&body));
            match (self.host.json, reply) {
                (true, reply) => output::print(format!("{}\n", json!({ "reply": reply }))).await?,
                (false, Some(reply)) => output::print(format!("{reply}\n")).await?,
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
            let headers = self.message.headers();
            let answer = client.answer(Method::POST, &path, &headers, self.message.payload());
            answer.await?;
            if self.host.json {
                output::print(format!("{}\n", json!({ "done": "accepted" }))).await?;
            }
            Ok(ExitCode::SUCCESS)
        })
    }
}
