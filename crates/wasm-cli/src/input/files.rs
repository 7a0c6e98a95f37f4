//! Files that manifests and flags name, where anything may lie that somebody else made.

use std::fs::{self, File};
use std::io::{self, ErrorKind, Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::thread;

use tokio::sync::oneshot;
use tokio::task::spawn_blocking;

use wasm_core::WasmError;
use wasm_core::text::{PathText as _, without_mark};
use wasm_core::units::format_bytes;
use wasm_host::open_regular_file;

use crate::output::report::{Report, size};

/// Of a file that people write.
const MAX_TEXT_BYTES: u64 = 16 << 20;

/// Reads a regular file of at most `max_bytes`.
///
/// # Errors
/// As the operating system says it; [`ErrorKind::FileTooLarge`].
pub(crate) fn read_up_to(file: &Path, max_bytes: u64) -> io::Result<Vec<u8>> {
    read_now(file, max_bytes).map_err(|error| match error {
        Unread::Failed(error) => error,
        Unread::TooLarge(_) => {
            let told = format!("it has more than {}", size(max_bytes));
            io::Error::new(ErrorKind::FileTooLarge, told)
        }
    })
}

/// Reads a text that people write, without its byte order mark.
///
/// # Errors
/// As the operating system says it; that it is large, or not UTF-8.
pub(crate) fn read_text(file: &Path) -> io::Result<String> {
    let bytes = read_up_to(file, MAX_TEXT_BYTES)?;
    String::from_utf8(without_mark(bytes)).map_err(|_| io::Error::other("it is not UTF-8 text"))
}

/// Writes a file in the place of the one that is there: never through a link, and never a part
/// of it.
///
/// # Errors
/// As the operating system says it; that something else than a file is there.
pub(crate) fn replace(file: &Path, bytes: &[u8]) -> io::Result<()> {
    let draft = Draft::of(file)?;
    File::create_new(draft.path())?.write_all(bytes)?;
    draft.finish()
}

/// What a file is written to before it takes the place of the one that is there, as
/// [`replace`] has it: for whoever writes it by other means.
pub(crate) struct Draft {
    new: PathBuf,
    file: PathBuf,
    begun: Begun,
}

impl Draft {
    /// # Errors
    /// As the operating system says it; that something else than a file is there.
    pub(crate) fn of(file: &Path) -> io::Result<Self> {
        let there = fs::symlink_metadata(file);
        if there.is_ok_and(|metadata| !metadata.is_file()) {
            return Err(io::Error::other("it is not a regular file"));
        }
        let name = file.file_name().unwrap_or_default();
        let new = file.with_file_name(format!(".{}.new", name.to_string_lossy()));
        // One of a program that was ended in the middle of this.
        match fs::remove_file(&new) {
            Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        Ok(Self {
            begun: Begun(Some(new.clone())),
            file: file.to_owned(),
            new,
        })
    }

    /// Where it is to be written.
    pub(crate) fn path(&self) -> &Path {
        &self.new
    }

    /// # Errors
    /// As the operating system says it.
    pub(crate) fn finish(self) -> io::Result<()> {
        fs::rename(&self.new, &self.file)?;
        self.begun.finish();
        Ok(())
    }
}

/// A file or folder that is being made: removed again, with all that is in it, unless it is
/// [finished](Self::finish).
pub(crate) struct Begun(Option<PathBuf>);

impl Begun {
    /// Makes a folder that is not there, and those above it where they are missing, too.
    ///
    /// # Errors
    /// As the operating system says it, as that something is there.
    pub(crate) fn folder(folder: &Path) -> io::Result<Self> {
        let is_missing = |path: &&Path| !path.as_os_str().is_empty() && !path.is_dir();
        let above = folder.ancestors().skip(1).take_while(is_missing);
        let above: Vec<_> = above.collect();
        let mut begun = Self(None);
        for path in above.into_iter().rev().chain([folder]) {
            match fs::create_dir(path) {
                Ok(()) => _ = begun.0.get_or_insert_with(|| path.to_owned()),
                // Somebody else has made it meanwhile.
                Err(_) if path != folder && path.is_dir() => {}
                Err(error) => return Err(error),
            }
        }
        Ok(begun)
    }

    pub(crate) fn finish(mut self) {
        self.0 = None;
    }
}

impl Drop for Begun {
    fn drop(&mut self) {
        let Some(path) = &self.0 else {
            return;
        };
        let is_folder = fs::symlink_metadata(path).is_ok_and(|metadata| metadata.is_dir());
        // Whoever made it is told already what is wrong.
        let _ = match is_folder {
            true => fs::remove_dir_all(path),
            false => fs::remove_file(path),
        };
    }
}

/// Why a file was not read.
pub(crate) enum Unread {
    Failed(io::Error),
    /// It has so many bytes, or more.
    TooLarge(u64),
}

impl Unread {
    pub(crate) fn is_missing(&self) -> bool {
        matches!(self, Self::Failed(error) if error.kind() == ErrorKind::NotFound)
    }
}

impl From<io::Error> for Unread {
    fn from(error: io::Error) -> Self {
        Self::Failed(error)
    }
}

/// Reads a manifest or what one names, which is a regular file.
pub(crate) async fn read_regular(file: &Path, max_bytes: u64) -> Result<Vec<u8>, Unread> {
    let file = file.to_owned();
    let read = spawn_blocking(move || read_now(&file, max_bytes));
    read.await.map_err(io::Error::other)?
}

fn read_now(file: &Path, max_bytes: u64) -> Result<Vec<u8>, Unread> {
    let file = open_regular_file(file)?;
    let bytes = file.metadata()?.len();
    if bytes > max_bytes {
        return Err(Unread::TooLarge(bytes));
    }
    let mut content = Vec::with_capacity(bytes as usize);
    // It may have grown since.
    let mut file = file.take(max_bytes.saturating_add(1));
    match file.read_to_end(&mut content)? as u64 {
        bytes if bytes > max_bytes => Err(Unread::TooLarge(bytes)),
        _ => Ok(content),
    }
}

/// A manifest or component, with its size if that is what is wrong.
pub(crate) fn not_loaded(file: &Path, max_bytes: u64, error: Unread) -> Report {
    let error = match error {
        Unread::Failed(error) => WasmError::unreadable(file, error),
        Unread::TooLarge(bytes) => WasmError::LoadFailed {
            path: file.to_owned(),
            reason: format!(
                "it has {}, more than the {} that are accepted",
                format_bytes(bytes),
                format_bytes(max_bytes)
            ),
            source: None,
        },
    };
    Report::error(error.to_string())
}

/// Reads a file that was named on the command line, as it is; a pipe will do. One with more
/// than `max_bytes` is what `too_large` says.
/// That may take as long as somebody does to write into it, so it is read on a thread of
/// its own, which is left alone when nobody waits for it any more.
pub(crate) async fn read_file(
    file: &Path,
    max_bytes: u64,
    too_large: impl FnOnce() -> Report,
) -> Result<Vec<u8>, Report> {
    let (sender, content) = oneshot::channel();
    let path = file.to_owned();
    let reader = thread::Builder::new().name("file".to_owned());
    let started = reader.spawn(move || {
        // Whoever asked may have gone.
        let _ = sender.send(read_given(&path, max_bytes));
    });
    started.map_err(|error| unreadable(file, &error))?;
    let gone = |_| unreadable(file, &io::Error::other("the thread that read it is gone"));
    match content.await.map_err(gone)? {
        Ok(Some(content)) => Ok(content),
        Ok(None) => Err(too_large()),
        Err(error) => Err(unreadable(file, &error)),
    }
}

/// Nothing if it has more.
fn read_given(file: &Path, max_bytes: u64) -> io::Result<Option<Vec<u8>>> {
    let mut content = Vec::new();
    let opened = File::open(file)?;
    let read = opened
        .take(max_bytes.saturating_add(1))
        .read_to_end(&mut content)?;
    Ok((read as u64 <= max_bytes).then_some(content))
}

pub(crate) fn unreadable(file: &Path, error: &io::Error) -> Report {
    Report::error(format!("{} cannot be read: {error}", file.escaped()))
}

#[cfg(all(test, unix))]
mod tests {
    use std::os::unix::fs::symlink;
    use std::path::PathBuf;

    use tempfile::tempdir;

    use super::*;

    #[test]
    fn a_file_takes_the_place_of_a_file_and_of_nothing_else() {
        let folder = tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        fs::write(at("other"), "other").unwrap();
        symlink("other", at("link")).unwrap();
        symlink("other", at(".file.new")).unwrap();
        replace(&at("file"), b"1").unwrap();
        replace(&at("file"), b"22").unwrap();
        assert_eq!(read_text(&at("file")).unwrap(), "22");
        for taken in ["link", "."] {
            let error = replace(&at(taken), b"3").unwrap_err();
            assert_eq!(error.to_string(), "it is not a regular file", "{taken}");
        }
        assert_eq!(read_text(&at("other")).unwrap(), "other");
        assert!(!at(".file.new").exists());
    }

    #[test]
    fn what_is_not_finished_is_not_there() {
        let folder = tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        fs::write(at("file"), "1").unwrap();
        for name in ["file", "new"] {
            let draft = Draft::of(&at(name)).unwrap();
            fs::write(draft.path(), "half").unwrap();
        }
        symlink("nowhere", at("link")).unwrap();
        for taken in ["file", "link", "file/below", "link/below"] {
            assert!(Begun::folder(&at(taken)).is_err(), "{taken}");
        }
        for name in ["one", "a/b/../c"] {
            let begun = Begun::folder(&at(name)).unwrap();
            fs::write(at(name).join("file"), "half").unwrap();
            drop(begun);
        }
        let entries = fs::read_dir(folder.path()).unwrap();
        let mut left: Vec<_> = entries.map(|entry| entry.unwrap().file_name()).collect();
        left.sort();
        assert_eq!(left, ["file", "link"]);
        assert_eq!(read_text(&at("file")).unwrap(), "1");
        Begun::folder(&at("a/b")).unwrap().finish();
        Begun::folder(&at("a/c")).unwrap();
        assert!(at("a/b").is_dir() && !at("a/c").exists());
    }

    #[test]
    fn what_has_no_end_is_not_read() {
        let folder = tempdir().unwrap();
        let file = folder.path().join("file");
        fs::write(&file, "123\u{e9}").unwrap();
        assert_eq!(read_up_to(&file, 5).unwrap().len(), 5);
        let error = read_up_to(&file, 4).unwrap_err();
        assert_eq!(error.to_string(), "it has more than 4B");
        fs::write(&file, "\u{feff}{}").unwrap();
        assert_eq!(read_text(&file).unwrap(), "{}");
        fs::write(&file, b"\xff").unwrap();
        let told = [
            (file, "it is not UTF-8 text"),
            (
                PathBuf::from("/dev/zero"),
                "it is not a regular file but a device",
            ),
        ];
        for (path, told) in told {
            assert_eq!(read_text(&path).unwrap_err().to_string(), told);
        }
    }
}
