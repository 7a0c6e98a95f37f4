use std::env;
use std::error::Error;
use std::fmt::Display;
use std::io;
use std::path::PathBuf;
use std::time::Duration;

use bytes::Bytes;
use clap::{Args, ValueHint};
use http_body_util::{BodyExt as _, Collected, Full, LengthLimitError, Limited};
use hyper::body::{Body, Incoming};
use hyper::client::conn::http1::handshake;
use hyper::header::{AUTHORIZATION, CONTENT_TYPE, HOST, HeaderName, HeaderValue};
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use serde::Deserialize;
use tokio::net::TcpStream;
use tokio::time::timeout;

use wasm_core::text::{Escaped, PathText as _, without_mark};
use wasm_core::units::{format_bytes, format_duration, parse_duration};
use wasm_gateway::ListenAddress;

use crate::command::remote::address::HostAddress;
use crate::connect::{Stream, accepted, connect};
use crate::input::files::read_file;
use crate::output::outcome::Stop;
use crate::output::report::Report;

/// Where the host is, if no flag says so.
const HOST_VARIABLE: &str = "AIRSSYS_WASM_HOST";
/// The token, if no flag names a file.
const TOKEN_VARIABLE: &str = "AIRSSYS_WASM_TOKEN";
/// A list is no larger: it is held whole.
pub(crate) const LIST_BYTES: u64 = 256 << 20;
const TOKEN_FILE_BYTES: u64 = 1 << 20;
/// More than `--timeout`, which the host is given: its answer, also that it took too long, is on
/// its way then.
const GRACE: Duration = Duration::from_secs(3);
/// Between two pieces of what the host goes on telling. It says something every 15 seconds,
/// whatever happens; twice that may be lost.
const SILENCE: Duration = Duration::from_secs(45);

/// On every answer about a message.
const CORRELATION_ID: HeaderName = HeaderName::from_static("correlation-id");

/// Which host is asked.
#[derive(Debug, Args)]
pub(crate) struct HostArgs {
    /// Where it listens, such as 127.0.0.1:7070, unix:PATH or https://NAME:PORT [default: what
    /// the variable AIRSSYS_WASM_HOST says]
    #[arg(long, value_name = "ADDRESS")]
    host: Option<HostAddress>,

    /// File with the token, alone or as the last word of its first line; without it, the
    /// variable AIRSSYS_WASM_TOKEN may hold the token itself
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    token_file: Option<PathBuf>,

    /// Longest wait for the host to answer
    #[arg(long, value_name = "DURATION", default_value = "10s", value_parser = parse_duration)]
    pub(crate) timeout: Duration,

    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,
}

impl HostArgs {
    pub(crate) async fn client(&self) -> Result<Client, Report> {
        Ok(Client {
            address: self.address()?,
            token: self.token().await?,
            timeout: self.timeout,
        })
    }

    /// As a header has it.
    pub(crate) fn timeout_header(&self) -> Result<HeaderValue, Report> {
        header_value(&format_duration(self.timeout), || "--timeout".to_owned())
    }

    fn address(&self) -> Result<HostAddress, Report> {
        if let Some(address) = &self.host {
            return Ok(address.clone());
        }
        let Some(text) = env::var_os(HOST_VARIABLE) else {
            let report = Report::error("it is not said which host is asked");
            return Err(report.with_help(format!(
                "--host ADDRESS or the variable {HOST_VARIABLE} names it, as `up --listen` has it"
            )));
        };
        text.to_string_lossy().parse().map_err(|error: String| {
            Report::error(error).with_note(format!("{HOST_VARIABLE} says so"))
        })
    }

    /// As a header has it.
    async fn token(&self) -> Result<Option<HeaderValue>, Report> {
        let bearer = |token: &str, source: String| {
            let mut value = header_value(&format!("Bearer {token}"), || {
                format!("the token of {source}")
            })?;
            value.set_sensitive(true);
            Ok(Some(value))
        };
        let Some(file) = &self.token_file else {
            let Some(token) = env::var_os(TOKEN_VARIABLE) else {
                return Ok(None);
            };
            let source = format!("the variable {TOKEN_VARIABLE}");
            return bearer(&token.to_string_lossy(), source);
        };
        let shown = file.escaped();
        let too_large = || {
            let most = format_bytes(TOKEN_FILE_BYTES);
            Report::error(format!(
                "{shown} is larger than the {most} that a file of --token-file may have"
            ))
        };
        let text = without_mark(read_file(file, TOKEN_FILE_BYTES, too_large).await?);
        let text = String::from_utf8_lossy(&text);
        let mut lines = text.lines().map(str::trim);
        let line = lines.find(|line| !line.is_empty() && !line.starts_with('#'));
        let Some(token) = line.and_then(|line| line.split_whitespace().last()) else {
            return Err(Report::error(format!(
                "there is no token in {shown}, the file of --token-file"
            )));
        };
        bearer(token, format!("--token-file {shown}"))
    }
}

/// What was given, as the value of a header.
pub(crate) fn header_value(
    text: &str,
    name: impl FnOnce() -> String,
) -> Result<HeaderValue, Report> {
    let is_visible = text.bytes().all(|byte| (b' '..=b'~').contains(&byte));
    let value = HeaderValue::from_str(text).ok().filter(|_| is_visible);
    value.ok_or_else(|| {
        let name = name();
        Report::error(format!(
            "{name} cannot be sent: it may have visible characters of ASCII only"
        ))
    })
}

/// What an `up --listen` answers to a question, by which it is known.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Answer {
    Json,
    Events,
    /// A reply to a message, or that there is none.
    Reply,
    /// That a message was taken.
    Accepted,
}

impl Answer {
    fn is<T>(self, response: &Response<T>) -> bool {
        let status = response.status();
        let has = |name: HeaderName, begin: &str| {
            let value = response.headers().get(name);
            value.is_some_and(|it| it.as_bytes().starts_with(begin.as_bytes()))
        };
        match self {
            Self::Json => status == StatusCode::OK && has(CONTENT_TYPE, "application/json"),
            Self::Events => status == StatusCode::OK && has(CONTENT_TYPE, "text/event-stream"),
            Self::Reply => {
                matches!(status, StatusCode::OK | StatusCode::NO_CONTENT) && has(CORRELATION_ID, "")
            }
            Self::Accepted => status == StatusCode::ACCEPTED && has(CORRELATION_ID, ""),
        }
    }
}

/// What a host is asked.
pub(crate) struct Question<'a> {
    pub(crate) method: Method,
    pub(crate) path: &'a str,
    pub(crate) headers: Vec<(HeaderName, HeaderValue)>,
    pub(crate) body: Bytes,
    pub(crate) answer: Answer,
}

impl<'a> Question<'a> {
    pub(crate) fn get(path: &'a str, answer: Answer) -> Self {
        let (headers, body) = (Vec::new(), Bytes::new());
        Self {
            method: Method::GET,
            path,
            headers,
            body,
            answer,
        }
    }

    pub(crate) fn post(
        path: &'a str,
        headers: Vec<(HeaderName, HeaderValue)>,
        body: Bytes,
        answer: Answer,
    ) -> Self {
        Self {
            method: Method::POST,
            path,
            headers,
            body,
            answer,
        }
    }
}

/// Asks a host, with a connection for each question.
pub(crate) struct Client {
    address: HostAddress,
    token: Option<HeaderValue>,
    timeout: Duration,
}

/// Of a problem document, what is told.
#[derive(Deserialize)]
struct Problem {
    title: String,
    detail: String,
}

impl Client {
    /// The answer, if it is one to what was asked.
    pub(crate) async fn ask(&self, question: Question<'_>) -> Result<Response<Incoming>, Stop> {
        let expected = question.answer;
        let request = self.request(question)?;
        let connected = self.connect().await;
        let stream = connected.map_err(|error| self.unreached(&error))?;
        let begun = self.in_time("begun", answered(stream, request)).await?;
        let response = begun.map_err(|error| self.unanswered(&error))?;
        if expected.is(&response) {
            return Ok(response);
        }
        Err(Stop::Failed(self.told(response).await))
    }

    /// The whole of the answer, of at most `max_bytes`, for which there may be a flag.
    pub(crate) async fn answer(
        &self,
        question: Question<'_>,
        max_bytes: u64,
        flag: Option<&str>,
    ) -> Result<(StatusCode, Bytes), Stop> {
        let response = self.ask(question).await?;
        let status = response.status();
        Ok((status, self.whole(response, max_bytes, flag).await?))
    }

    /// The next piece of an answer that goes on; nothing after the last.
    pub(crate) async fn next<B>(&self, body: &mut B) -> Result<Option<Bytes>, Stop>
    where
        B: Body<Data = Bytes, Error: Error + 'static> + Unpin,
    {
        let address = &self.address;
        let failed = |told: String| Stop::Failed(Report::error(format!("{address} {told}")));
        let silent = |_| {
            let within = format_duration(SILENCE);
            failed(format!(
                "has said nothing for {within}, not even that nothing happens"
            ))
        };
        match timeout(SILENCE, body.frame()).await.map_err(silent)? {
            None => Ok(None),
            Some(Ok(frame)) => Ok(Some(frame.into_data().unwrap_or_default())),
            Some(Err(error)) => Err(failed(format!("breaks off: {}", with_cause(&error)))),
        }
    }

    /// That the host tells no more.
    pub(crate) fn ended(&self) -> Stop {
        let address = &self.address;
        Stop::Failed(Report::error(format!(
            "no more events come: {address} has ended what it tells, as it does when it ends"
        )))
    }

    fn request(&self, question: Question<'_>) -> Result<Request<Full<Bytes>>, Report> {
        let host = self.address.authority();
        let mut request = Request::builder()
            .method(question.method)
            .uri(question.path)
            .header(HOST, host);
        if let Some(token) = &self.token {
            request = request.header(AUTHORIZATION, token);
        }
        for (name, value) in question.headers {
            request = request.header(name, value);
        }
        request
            .body(Full::new(question.body))
            .map_err(|error| Report::error(format!("that cannot be asked: {error}")))
    }

    /// Waits somewhat longer than the host does, for `done` of its answer.
    async fn in_time<T>(&self, done: &str, work: impl Future<Output = T>) -> Result<T, Stop> {
        let most = self.timeout.saturating_add(GRACE);
        timeout(most, work).await.map_err(|_| {
            let (address, most) = (&self.address, format_duration(most));
            let (given, grace) = (format_duration(self.timeout), format_duration(GRACE));
            let report =
                Report::error(format!("{address} has not {done} its answer within {most}"));
            Stop::Failed(report.with_help(format!(
                "--timeout allows it {given}, and its answer {grace} more to arrive"
            )))
        })
    }

    async fn whole(
        &self,
        response: Response<Incoming>,
        max_bytes: u64,
        flag: Option<&str>,
    ) -> Result<Bytes, Stop> {
        let limit = usize::try_from(max_bytes).unwrap_or(usize::MAX);
        let body = Limited::new(response.into_body(), limit).collect();
        let body = self.in_time("ended", body).await?;
        body.map(Collected::to_bytes).map_err(|error| {
            let address = &self.address;
            if error.is::<LengthLimitError>() {
                let most = format_bytes(max_bytes);
                let report = Report::error(format!(
                    "{address} answers with more than the {most} that are taken of an answer"
                ));
                return Stop::Failed(match flag {
                    Some(flag) => report.with_help(format!("{flag} has more taken")),
                    None => report,
                });
            }
            let cause = with_cause(error.as_ref());
            Stop::Failed(Report::error(format!("{address} breaks off: {cause}")))
        })
    }

    async fn connect(&self) -> io::Result<Box<dyn Stream>> {
        match &self.address {
            HostAddress::Plain(ListenAddress::Tcp(address)) => {
                Ok(Box::new(accepted(TcpStream::connect(address)).await?))
            }
            #[cfg(unix)]
            HostAddress::Plain(ListenAddress::Unix(path)) => {
                let connecting = tokio::net::UnixStream::connect(path);
                Ok(Box::new(accepted(connecting).await?))
            }
            #[cfg(not(unix))]
            HostAddress::Plain(ListenAddress::Unix(_)) => Err(io::ErrorKind::Unsupported.into()),
            HostAddress::Tls(host, port) => connect(host, *port, true).await,
        }
    }

    fn unreached(&self, error: &dyn Display) -> Report {
        let address = &self.address;
        Report::error(format!("{address} is not reached: {error}")).with_help(LISTENS)
    }

    /// For a connection that was accepted.
    fn unanswered(&self, error: &hyper::Error) -> Report {
        let (address, cause) = (&self.address, with_cause(error));
        let failed = match error.is_parse() {
            true => "does not answer in HTTP",
            false => "has not answered",
        };
        let report = Report::error(format!("{address} {failed}: {cause}"));
        match address {
            // Servers that expect TLS answer so, or close the connection.
            HostAddress::Plain(ListenAddress::Tcp(address))
                if error.is_parse() || error.is_incomplete_message() =>
            {
                report.with_help(format!("--host https://{address} asks over TLS"))
            }
            _ => report.with_help(LISTENS),
        }
    }

    /// What the host says is wrong, or that it is another one.
    async fn told(&self, response: Response<Incoming>) -> Report {
        let status = response.status();
        let of_type = response.headers().get(CONTENT_TYPE).map(|it| {
            let text = String::from_utf8_lossy(it.as_bytes());
            format!(" with {}", Escaped::new(&text))
        });
        if !status.is_success() {
            let body = self.whole(response, LIST_BYTES, None).await;
            if let Ok(Problem { title, detail }) = serde_json::from_slice(&body.unwrap_or_default())
            {
                return Report::error(Escaped::new(&detail).to_string())
                    .with_note(Escaped::new(&title).to_string());
            }
        }
        let (address, of_type) = (&self.address, of_type.unwrap_or_default());
        Report::error(format!(
            "{address} answers {status}{of_type}, as no `up --listen` does"
        ))
        .with_help(LISTENS)
    }
}

const LISTENS: &str = "an `airssys-wasm up … --listen` is to run there";

async fn answered(
    stream: Box<dyn Stream>,
    request: Request<Full<Bytes>>,
) -> Result<Response<Incoming>, hyper::Error> {
    let (mut sender, connection) = handshake(TokioIo::new(stream)).await?;
    // Ends with the answer; what goes wrong with it goes wrong with that.
    tokio::spawn(connection);
    sender.send_request(request).await
}

/// With what lies below it, which errors of HTTP do not say themselves.
fn with_cause(error: &(dyn Error + 'static)) -> String {
    match error.source() {
        Some(source) => format!("{error}: {source}"),
        None => error.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;
    use std::pin::Pin;
    use std::task::{Context, Poll};

    use hyper::body::Frame;

    use super::*;

    /// Says nothing.
    struct Silent;

    impl Body for Silent {
        type Data = Bytes;
        type Error = Infallible;

        fn poll_frame(
            self: Pin<&mut Self>,
            _: &mut Context<'_>,
        ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
            Poll::Pending
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_host_that_falls_silent_is_given_up() {
        let client = Client {
            address: "127.0.0.1:7070".parse().unwrap(),
            token: None,
            timeout: Duration::MAX,
        };
        let Err(Stop::Failed(report)) = client.next(&mut Silent).await else {
            panic!("it is waited for");
        };
        assert!(report.to_string().contains("nothing for 45s"), "{report}");
        let mut body = Full::new(Bytes::from_static(b": nothing\n\n"));
        assert!(client.next(&mut body).await.unwrap().is_some());
        assert!(client.next(&mut body).await.unwrap().is_none());
    }
}
