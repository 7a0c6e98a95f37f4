//! Whether somebody reads what the program prints.

use std::future::pending;

/// Once nobody reads standard output any more, as after `| head -1`; never where that cannot be
/// known, as of a file.
#[cfg(unix)]
pub(crate) async fn deserted() {
    use std::io::stdout;
    use std::os::fd::AsFd as _;

    use tokio::io::Interest;
    use tokio::net::unix::pipe::Sender;

    // Nothing is written to it here, so that it may block, and be no pipe.
    let stdout = stdout().as_fd().try_clone_to_owned();
    match stdout.and_then(Sender::from_owned_fd_unchecked) {
        Ok(stdout) => drop(stdout.ready(Interest::ERROR).await),
        Err(_) => pending().await,
    }
}

#[cfg(not(unix))]
pub(crate) async fn deserted() {
    pending().await
}
