use std::fs::{self, File, FileType, OpenOptions};
use std::io::{self, ErrorKind, Read as _};
use std::path::Path;

use wasm_core::text::PathText as _;
use wasm_core::units::format_bytes;

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

/// Reads a regular file that was [opened](open_regular_file), if it has so many bytes at the
/// most.
///
/// # Errors
/// [`ErrorKind::FileTooLarge`], with what it has and what it may have, and those of the
/// operating system.
pub fn read_bounded(file: File, max_bytes: u64) -> io::Result<Vec<u8>> {
    let mut content = Vec::new();
    let mut bytes = file.metadata()?.len();
    if bytes <= max_bytes {
        content.reserve_exact(bytes as usize);
        // It may have grown since.
        let mut file = file.take(max_bytes.saturating_add(1));
        bytes = file.read_to_end(&mut content)? as u64;
    }
    match bytes <= max_bytes {
        true => Ok(content),
        false => Err(io::Error::new(
            ErrorKind::FileTooLarge,
            format!(
                "it has {}, more than the {} that it may have",
                format_bytes(bytes),
                format_bytes(max_bytes)
            ),
        )),
    }
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

    #[test]
    fn a_file_is_read_whole_or_not_at_all() {
        let folder = tempdir().unwrap();
        let path = folder.path().join("file");
        fs::write(&path, "12345").unwrap();
        let read = |max_bytes| read_bounded(open_regular_file(&path).unwrap(), max_bytes);
        assert_eq!(read(5).unwrap(), b"12345");
        let error = read(4).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::FileTooLarge);
        let told = "it has 5B, more than the 4B that it may have";
        assert_eq!(error.to_string(), told);
    }
}
