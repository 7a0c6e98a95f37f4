use std::env;
use std::path::PathBuf;

use bytes::Bytes;
use clap::{Args, ValueHint};
use http_body_util::{BodyExt as _, Collected, Full, Limited};
use hyper::body::Incoming;
use hyper::client::conn::http1::handshake;
use hyper::header::{AUTHORIZATION, HOST, HeaderName};
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use serde::Deserialize;
use tokio::net::TcpStream;

use wasm_core::text::Escaped;
use wasm_gateway::ListenAddress;

use crate::command::remote::address::HostAddress;
use crate::connect::{Stream, connect};
use crate::input::files::read_file;
use crate::output::outcome::Stop;
use crate::output::report::Report;

/// Where the host is, if no flag says so.
const HOST_VARIABLE: &str = "AIRSSYS_WASM_HOST";
/// The token, if no flag names a file.
const TOKEN_VARIABLE: &str = "AIRSSYS_WASM_TOKEN";
/// An answer is no larger: it is held whole.
const ANSWER_BYTES: usize = 256 << 20;
const TOKEN_FILE_BYTES: u64 = 1 << 20;

/// Which host is asked.
#[derive(Debug, Args)]
pub(crate) struct HostArgs {
    /// Where it listens, such as 127.0.0.1:7070, unix:PATH or https://NAME:PORT [default: the
    /// variable AIRSSYS_WASM_HOST]
    #[arg(long, value_name = "ADDRESS")]
    host: Option<HostAddress>,

    /// File with the token, alone or as the last word of its first line [default: the variable
    /// AIRSSYS_WASM_TOKEN]
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    token_file: Option<PathBuf>,

    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,
}

impl HostArgs {
    pub(crate) async fn client(&self) -> Result<Client, Report> {
        Ok(Client {
            address: self.address()?,
            token: self.token().await?,
        })
    }

    fn address(&self) -> Result<HostAddress, Report> {
        if let Some(address) = &self.host {
            return Ok(address.clone());
        }
        let Ok(text) = env::var(HOST_VARIABLE) else {
            let report = Report::error("it is not said which host is asked");
            return Err(report.with_help(format!(
                "--host ADDRESS or the variable {HOST_VARIABLE} names it, as `up --listen` has it"
            )));
        };
        text.parse().map_err(|error: String| {
            Report::error(error).with_note(format!("{HOST_VARIABLE} says so"))
        })
    }

    async fn token(&self) -> Result<Option<String>, Report> {
        let Some(file) = &self.token_file else {
            return Ok(env::var(TOKEN_VARIABLE).ok());
        };
        let text = read_file(file, TOKEN_FILE_BYTES).await?;
        let text = String::from_utf8_lossy(&text);
        let mut lines = text.lines().map(str::trim);
        let line = lines.find(|line| !line.is_empty() && !line.starts_with('#'));
        let token = line.and_then(|line| line.split_whitespace().last());
        let none = || Report::error("there is no token in the file of --token-file");
        token.map(|token| Some(token.to_owned())).ok_or_else(none)
    }
}

/// Asks a host, with a connection for each question.
pub(crate) struct Client {
    address: HostAddress,
    token: Option<String>,
}

/// Of a problem document, what is told.
#[derive(Deserialize)]
struct Problem {
    title: String,
    detail: String,
}

impl Client {
    /// The answer, if it is one to what was asked.
    pub(crate) async fn ask(
        &self,
        method: Method,
        path: &str,
        headers: &[(HeaderName, String)],
        body: Bytes,
    ) -> Result<Response<Incoming>, Stop> {
        let request = self.request(method, path, headers, body)?;
        let response = match self.send(request).await {
            Ok(response) => response,
            Err(error) => return Err(self.unreached(&error).into()),
        };
        match response.status().is_success() {
            true => Ok(response),
            false => Err(Stop::Failed(told(response).await)),
        }
    }

    /// The whole of the answer.
    pub(crate) async fn answer(
        &self,
        method: Method,
        path: &str,
        headers: &[(HeaderName, String)],
        body: Bytes,
    ) -> Result<(StatusCode, Bytes), Stop> {
        let response = self.ask(method, path, headers, body).await?;
        let status = response.status();
        let bytes = whole(response).await.ok_or_else(|| {
            let address = &self.address;
            Stop::Failed(Report::error(format!("{address} has not ended its answer")))
        })?;
        Ok((status, bytes))
    }

    fn request(
        &self,
        method: Method,
        path: &str,
        headers: &[(HeaderName, String)],
        body: Bytes,
    ) -> Result<Request<Full<Bytes>>, Report> {
        let host = self.address.authority();
        let mut request = Request::builder()
            .method(method)
            .uri(path)
            .header(HOST, host);
        if let Some(token) = &self.token {
            request = request.header(AUTHORIZATION, format!("Bearer {token}"));
        }
        for (name, value) in headers {
            request = request.header(name, value);
        }
        request
            .body(Full::new(body))
            .map_err(|error| Report::error(format!("that cannot be asked: {error}")))
    }

    async fn send(
        &self,
        request: Request<Full<Bytes>>,
    ) -> Result<Response<Incoming>, Box<dyn std::error::Error + Send + Sync>> {
        let stream = TokioIo::new(self.connect().await?);
        let (mut sender, connection) = handshake(stream).await?;
        // Ends with the answer; what goes wrong with it goes wrong with that.
        tokio::spawn(connection);
        Ok(sender.send_request(request).await?)
    }

    async fn connect(&self) -> std::io::Result<Box<dyn Stream>> {
        match &self.address {
            HostAddress::Plain(ListenAddress::Tcp(address)) => {
                Ok(Box::new(TcpStream::connect(address).await?))
            }
            #[cfg(unix)]
            HostAddress::Plain(ListenAddress::Unix(path)) => {
                Ok(Box::new(tokio::net::UnixStream::connect(path).await?))
            }
            #[cfg(not(unix))]
            HostAddress::Plain(ListenAddress::Unix(_)) => {
                Err(std::io::ErrorKind::Unsupported.into())
            }
            HostAddress::Tls(host, port) => connect(host, *port, true).await,
        }
    }

    fn unreached(&self, error: &dyn std::fmt::Display) -> Report {
        let address = &self.address;
        Report::error(format!("{address} is not reached: {error}"))
            .with_help("an `airssys-wasm up … --listen` is to run there")
    }
}

async fn whole(response: Response<Incoming>) -> Option<Bytes> {
    let body = Limited::new(response.into_body(), ANSWER_BYTES).collect();
    body.await.ok().map(Collected::to_bytes)
}

/// What the host says is wrong.
async fn told(response: Response<Incoming>) -> Report {
    let status = response.status();
    let body = whole(response).await.unwrap_or_default();
    match serde_json::from_slice(&body) {
        Ok(Problem { title, detail }) => Report::error(Escaped::new(&detail).to_string())
            .with_note(Escaped::new(&title).to_string()),
        Err(_) => Report::error(format!("the answer is {status}")),
    }
}
