use std::fs::{self, File, OpenOptions};
use std::io;
use std::path::Path;

/// Opens a regular file, links followed. Nothing else is waited for, whatever is put in its
/// place meanwhile.
///
/// # Errors
/// As the operating system says it; that it is not a regular file, such as a pipe or a
/// device.
pub(crate) fn open_regular(path: &Path, options: &mut OpenOptions) -> io::Result<File> {
    match fs::metadata(path) {
        // Opening a device may do something, so the kind is looked at first.
        Ok(metadata) => check(&metadata)?,
        // It may be one that the options make.
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(error),
    }
    open(path, options)
}

fn open(path: &Path, options: &mut OpenOptions) -> io::Result<File> {
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
        false => Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            "it is not a regular file",
        )),
    }
}

#[cfg(all(test, unix))]
mod tests {
    use std::process::Command;
    use std::sync::mpsc::channel;
    use std::thread;
    use std::time::Duration;

    use super::*;

    /// Its place was taken after its kind was looked at.
    #[test]
    fn a_pipe_is_not_waited_for() {
        let folder = tempfile::tempdir().unwrap();
        let pipe = folder.path().join("pipe");
        let made = Command::new("mkfifo").arg(&pipe).status().unwrap();
        assert!(made.success());
        let (sender, opened) = channel();
        thread::spawn(move || {
            let read = open(&pipe, File::options().read(true));
            let looked_at = open_regular(&pipe, File::options().write(true));
            let _ = sender.send([read, looked_at]);
        });
        let opened = opened.recv_timeout(Duration::from_secs(60)).unwrap();
        for opened in opened {
            let error = opened.unwrap_err().to_string();
            assert_eq!(error, "it is not a regular file");
        }
    }
}
