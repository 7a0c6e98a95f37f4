use std::fs::{self, File, OpenOptions};
use std::io;
use std::path::Path;

/// Opens a manifest, or a file that one names, for reading: a regular file, links followed.
/// Nothing else is waited for, whatever is put in its place meanwhile.
///
/// # Errors
/// As the operating system says it; that it is not a regular file, such as a pipe or a
/// device.
pub fn open_regular_file(path: &Path) -> io::Result<File> {
    // Opening a device may do something, so the kind is looked at first.
    check(&fs::metadata(path)?)?;
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
    match metadata.is_file() {
        true => Ok(()),
        false => Err(io::Error::other("it is not a regular file")),
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
            assert_eq!(error, "it is not a regular file");
        }
    }
}
