use std::fs::{self, File, FileType, OpenOptions};
use std::io::{self, ErrorKind};
use std::path::Path;

use wasm_core::text::PathText as _;

/// Opens a manifest, or a file that one names, for reading: a regular file, links followed.
/// Nothing else is waited for, whatever is put in its place meanwhile.
///
/// # Errors
/// As the operating system says it; what it is instead of a regular file, such as a pipe or a
/// device; that it is a link to nothing.
pub fn open_regular_file(path: &Path) -> io::Result<File> {
    // Opening a device may do something, so the kind is looked at first.
    let metadata = fs::metadata(path).map_err(|error| match fs::read_link(path) {
        Ok(target) if error.kind() == ErrorKind::NotFound => {
            let told = format!("it is a link to {}, where nothing is", target.escaped());
            io::Error::new(ErrorKind::NotFound, told)
        }
        _ => error,
    })?;
    check(&metadata)?;
    open(path)
}

fn open(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.read(true);
    #[cfg(unix)]
    {
        use std::os::unix::fs::OpenOptionsExt;

        // A pipe is opened at once, and found out.
        let not_waiting = rustix::fs::OFlags::NONBLOCK.bits();
        options.custom_flags(not_waiting.cast_signed());
    }
    let file = options.open(path)?;
    check(&file.metadata()?)?;
    Ok(file)
}

fn check(metadata: &fs::Metadata) -> io::Result<()> {
    if metadata.is_file() {
        return Ok(());
    }
    let kind = kind(metadata.file_type());
    let told = format!("it is not a regular file but {kind}");
    Err(io::Error::other(told))
}

fn kind(kind: FileType) -> &'static str {
    #[cfg(unix)]
    {
        use std::os::unix::fs::FileTypeExt as _;

        if kind.is_fifo() {
            return "a pipe (FIFO)";
        }
        if kind.is_socket() {
            return "a socket";
        }
    }
    match kind.is_dir() {
        true => "a folder",
        false => "a device",
    }
}

#[cfg(all(test, unix))]
mod tests {
    use std::process::Command;
    use std::sync::mpsc::channel;
    use std::thread;
    use std::time::Duration;

    use tempfile::tempdir;

    use super::*;

    /// Its place was taken after its kind was looked at.
    #[test]
    fn a_pipe_is_not_waited_for() {
        let folder = tempdir().unwrap();
        let pipe = folder.path().join("pipe");
        let made = Command::new("mkfifo").arg(&pipe).status().unwrap();
        assert!(made.success());
        let (sender, opened) = channel();
        thread::spawn(move || {
            let _ = sender.send([open(&pipe), open_regular_file(&pipe)]);
        });
        let opened = opened.recv_timeout(Duration::from_secs(60)).unwrap();
        for opened in opened {
            let error = opened.unwrap_err().to_string();
            assert_eq!(error, "it is not a regular file but a pipe (FIFO)");
        }
    }
}
