//! Files of the folder of a component, in which anything may lie that somebody else made.

use std::fs::{self, File};
use std::io::{self, ErrorKind, Read as _, Write as _};
use std::path::Path;

use wasm_host::open_regular_file;

use crate::report::size;

/// Of a file that people write.
const MAX_TEXT_BYTES: u64 = 16 << 20;

/// Reads a regular file of at most `max_bytes`.
///
/// # Errors
/// As the operating system says it; [`ErrorKind::FileTooLarge`].
pub(crate) fn read_up_to(file: &Path, max_bytes: u64) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let opened = open_regular_file(file)?;
    let mut opened = opened.take(max_bytes.saturating_add(1));
    if opened.read_to_end(&mut bytes)? as u64 > max_bytes {
        let told = format!("it has more than {}", size(max_bytes));
        return Err(io::Error::new(ErrorKind::FileTooLarge, told));
    }
    Ok(bytes)
}

/// Reads a text that people write.
///
/// # Errors
/// As the operating system says it; that it is large, or not UTF-8.
pub(crate) fn read_text(file: &Path) -> io::Result<String> {
    let bytes = read_up_to(file, MAX_TEXT_BYTES)?;
    String::from_utf8(bytes).map_err(|_| io::Error::other("it is not UTF-8 text"))
}

/// Writes a file in the place of the one that is there: never through a link, and never a part
/// of it.
///
/// # Errors
/// As the operating system says it; that something else than a file is there.
pub(crate) fn replace(file: &Path, bytes: &[u8]) -> io::Result<()> {
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
    File::create_new(&new)?.write_all(bytes)?;
    fs::rename(&new, file)
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
    fn what_has_no_end_is_not_read() {
        let folder = tempdir().unwrap();
        let file = folder.path().join("file");
        fs::write(&file, "123\u{e9}").unwrap();
        assert_eq!(read_up_to(&file, 5).unwrap().len(), 5);
        let error = read_up_to(&file, 4).unwrap_err();
        assert_eq!(error.to_string(), "it has more than 4B");
        fs::write(&file, b"\xff").unwrap();
        let told = [
            (file, "it is not UTF-8 text"),
            (PathBuf::from("/dev/zero"), "it is not a regular file"),
        ];
        for (path, told) in told {
            assert_eq!(read_text(&path).unwrap_err().to_string(), told);
        }
    }
}
