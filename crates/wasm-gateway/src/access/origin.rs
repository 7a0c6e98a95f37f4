//! Whether a request comes from where it may come from: a page of another site that is open
//! in a browser on this machine must not get in.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv6Addr};

use axum::http::header::{CONTENT_LENGTH, HOST, ORIGIN, TRANSFER_ENCODING};
use axum::http::uri::Authority;
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, Uri};

use crate::problem::Problem;

/// Refuses what no honest client sends, before anything else is looked at.
pub(crate) fn check(
    method: &Method,
    uri: &Uri,
    headers: &HeaderMap,
    names: &BTreeSet<String>,
    is_component: bool,
) -> Result<(), Problem> {
    let host = check_request(uri, headers)?;
    if !is_component {
        check_path(uri.path())?;
    }
    check_host(&host, names)?;
    check_origin(headers, &host)?;
    check_site(method, uri.path(), headers)
}

/// What no honest client sends anybody; else the host that it names.
pub(crate) fn check_request(uri: &Uri, headers: &HeaderMap) -> Result<Authority, Problem> {
    check_framing(headers)?;
    check_steps(uri.path())?;
    host_of(uri, headers)
}

/// A body whose end is told in two ways may have another one for a proxy in between; so may one
/// in a coding that is not undone, and its receiver would take what is coded for what was sent.
fn check_framing(headers: &HeaderMap) -> Result<(), Problem> {
    let lengths = headers.get_all(CONTENT_LENGTH).iter().count();
    let codings = headers.get_all(TRANSFER_ENCODING).iter().count();
    if lengths + codings > 1 {
        return Err(Problem::bad_request(
            "the length of the body is told more than once (Content-Length, Transfer-Encoding)",
        ));
    }
    let coding = headers.get(TRANSFER_ENCODING);
    match coding.is_none_or(|it| it.as_bytes().eq_ignore_ascii_case(b"chunked")) {
        true => Ok(()),
        false => Err(Problem::new(
            StatusCode::NOT_IMPLEMENTED,
            "not-implemented",
            "This is done nowhere here",
            "the one Transfer-Encoding that is understood is `chunked`, and nothing beside it",
        )),
    }
}

/// No path here has a character that needs to be encoded: what is encoded is meant to be read
/// in another way by somebody in between.
fn check_path(path: &str) -> Result<(), Problem> {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"/._-".contains(&byte);
    match path.bytes().all(is_plain) {
        true => Ok(()),
        false => Err(Problem::bad_request(
            "a path here has letters, digits and . _ - / only, and nothing encoded",
        )),
    }
}

/// Somebody in between may take such a path for another one, however it is encoded.
fn check_steps(path: &str) -> Result<(), Problem> {
    let is_step = |segment: &str| {
        let segment = segment.to_ascii_lowercase().replace("%2e", ".");
        matches!(segment.as_str(), "." | "..")
    };
    match path.split('/').any(is_step) {
        true => Err(Problem::bad_request(
            "a path has no `.` or `..` as a segment",
        )),
        false => Ok(()),
    }
}

/// The one host that a request names.
fn host_of(uri: &Uri, headers: &HeaderMap) -> Result<Authority, Problem> {
    let mut hosts = headers.get_all(HOST).iter();
    let (Some(host), None) = (hosts.next(), hosts.next()) else {
        return Err(Problem::bad_request("one `Host` is needed"));
    };
    let host =
        authority(host).ok_or_else(|| Problem::bad_request("`Host` is no name of a host"))?;
    // With a whole URL in the first line, that is what counts for others.
    if let Some(target) = uri.authority()
        && !target.as_str().eq_ignore_ascii_case(host.as_str())
    {
        return Err(Problem::bad_request(
            "the URL and `Host` name different hosts",
        ));
    }
    Ok(host)
}

/// A name that is not known here leads here by a trick, such as a name server that answers
/// with the address of this machine. Addresses and `localhost` cannot be made to.
fn check_host(host: &Authority, names: &BTreeSet<String>) -> Result<(), Problem> {
    let name = host.host().to_ascii_lowercase();
    if is_address(&name) || name == "localhost" || names.contains(&name) {
        return Ok(());
    }
    Err(Problem::forbidden(
        "this gateway does not know the name in `Host`; it is reached by address, as localhost, \
         and by names that it was told (--name)",
    ))
}

fn authority(value: &HeaderValue) -> Option<Authority> {
    let authority: Authority = value.to_str().ok()?.parse().ok()?;
    let has_port = authority.port_u16().is_some();
    let is_plain = has_port || authority.as_str() == authority.host();
    (is_plain && !authority.as_str().contains('@')).then_some(authority)
}

fn is_address(name: &str) -> bool {
    match name
        .strip_prefix('[')
        .and_then(|name| name.strip_suffix(']'))
    {
        Some(name) => name.parse::<Ipv6Addr>().is_ok(),
        None => name.parse::<IpAddr>().is_ok(),
    }
}

/// A browser says which site's page sent a request that could do harm.
fn check_origin(headers: &HeaderMap, host: &Authority) -> Result<(), Problem> {
    let mut origins = headers.get_all(ORIGIN).iter();
    let is_own = |origin: &HeaderValue| {
        let origin = origin.to_str().unwrap_or_default();
        let origin = origin
            .strip_prefix("http://")
            .or_else(|| origin.strip_prefix("https://"));
        origin.is_some_and(|origin| origin.eq_ignore_ascii_case(host.as_str()))
    };
    match origins.all(is_own) {
        true => Ok(()),
        false => Err(cross_site()),
    }
}

/// So does it with those that do not say from where they come. Following a link from
/// somewhere else to the page is fine: it has no content of its own.
fn check_site(method: &Method, path: &str, headers: &HeaderMap) -> Result<(), Problem> {
    let Some(site) = headers.get("sec-fetch-site") else {
        return Ok(());
    };
    let is_own = matches!(site.as_bytes(), b"same-origin" | b"none");
    let is_link = *method == Method::GET && path == "/";
    match is_own || is_link {
        true => Ok(()),
        false => Err(cross_site()),
    }
}

fn cross_site() -> Problem {
    Problem::forbidden("a page of another site sent this request")
}
