//! Addresses of servers, with who logs in there.

use async_nats::{ConnectOptions, ServerAddr};
use percent_encoding::percent_decode_str;

/// Servers with commas between their addresses.
pub(crate) fn parse(url: &str) -> std::io::Result<Vec<ServerAddr>> {
    url.split(',').map(|it| it.trim().parse()).collect()
}

/// Logs in as the user that the first address names which names one, or with the token that
/// stands in place of user and password.
pub(crate) fn log_in(options: ConnectOptions, addresses: &[ServerAddr]) -> ConnectOptions {
    let named = addresses
        .iter()
        .find_map(|it| Some((it.username()?, it.password())));
    let decoded = |text: &str| percent_decode_str(text).decode_utf8_lossy().into_owned();
    match named {
        Some((user, Some(password))) => options.user_and_password(decoded(user), decoded(password)),
        Some((token, None)) => options.token(decoded(token)),
        None => options,
    }
}

/// The same addresses as they may be shown, without users and passwords.
pub(crate) fn shown(url: &str) -> String {
    let shown = url.split(',').map(|address| {
        let (scheme, rest) = match address.split_once("://") {
            Some((scheme, rest)) => (format!("{scheme}://"), rest),
            None => (String::new(), address),
        };
        match rest.rsplit_once('@') {
            Some((_, host)) => format!("{scheme}***@{host}"),
            None => format!("{scheme}{rest}"),
        }
    });
    shown.collect::<Vec<_>>().join(",")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn passwords_are_not_shown() {
        for (url, expected) in [
            ("nats://127.0.0.1:4222", "nats://127.0.0.1:4222"),
            (
                "nats://ada:p%40ss@a:1,tls://b:2",
                "nats://***@a:1,tls://b:2",
            ),
            ("nats://ada:p@ss@a:1", "nats://***@a:1"),
            ("t0ken@a:1", "***@a:1"),
            ("a:1", "a:1"),
        ] {
            assert_eq!(shown(url), expected);
        }
    }
}
