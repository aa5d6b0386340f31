//! The messages that were typed before, in a private file. One line of the file is one message; a
//! line feed in a message is written `\n`, a backslash `\\`.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::PathBuf;

use crate::durable::{self, Attributes, Links};

/// Lines kept for the arrow keys.
const LINES: usize = 1000;
/// Most bytes of the file that are read: its end counts.
const MOST: u64 = 4 << 20;
/// A file of that many is made shorter.
const LARGE: u64 = 2 << 20;
/// What files of earlier versions begin with.
const HEAD: &str = "#V2";

/// The file.
pub struct InputHistory {
    path: PathBuf,
}

impl InputHistory {
    /// The file, and the lines in it, the oldest first. Without one the chat goes on, and says so in
    /// the log.
    pub fn open(path: PathBuf) -> (InputHistory, Vec<String>) {
        let history = InputHistory { path };
        let lines = history.read().unwrap_or_else(|error| {
            tracing::warn!(%error, "no history file");
            Vec::new()
        });
        (history, lines)
    }

    /// Adds a line.
    pub fn remember(&self, line: &str) {
        let added = self.file().and_then(|mut file| {
            let line = line.replace('\\', "\\\\").replace('\n', "\\n");
            writeln!(file, "{line}")
        });
        if let Err(error) = added {
            tracing::warn!(%error, "the line was not added to the history file");
        }
    }

    fn read(&self) -> io::Result<Vec<String>> {
        let mut file = self.file()?;
        let size = file.metadata()?.len();
        file.seek(SeekFrom::Start(size.saturating_sub(MOST)))?;
        let mut bytes = Vec::new();
        file.take(MOST).read_to_end(&mut bytes)?;
        let text = String::from_utf8_lossy(&bytes);
        // Where the beginning is left out the first line is a part of one.
        let lines = text.lines().skip(usize::from(size > MOST));
        let lines: Vec<&str> = lines.filter(|line| *line != HEAD).collect();
        let last = &lines[lines.len().saturating_sub(LINES)..];
        if size > LARGE {
            let kept: String = last.iter().map(|line| format!("{line}\n")).collect();
            let (mode, links) = (Attributes::Private, Links::Refuse);
            durable::replace(&self.path, kept.as_bytes(), mode, links).map_err(io::Error::other)?;
        }
        Ok(last.iter().map(|line| unescaped(line)).collect())
    }

    /// Made by us, so that its mode never depends on a umask.
    fn file(&self) -> io::Result<File> {
        let mut open = File::options();
        open.read(true).append(true).create(true);
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut open, 0o600);
        let file = open.open(&self.path)?;
        #[cfg(unix)]
        file.set_permissions(std::os::unix::fs::PermissionsExt::from_mode(0o600))?;
        Ok(file)
    }
}

fn unescaped(line: &str) -> String {
    let mut text = String::with_capacity(line.len());
    let mut chars = line.chars();
    while let Some(c) = chars.next() {
        match (c, chars.clone().next()) {
            ('\\', Some('n')) => text.push('\n'),
            ('\\', Some('\\')) => text.push('\\'),
            _ => {
                text.push(c);
                continue;
            }
        }
        chars.next();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_read_back_by_the_next_process_whatever_is_in_them() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("history");
        std::fs::write(&path, "#V2\nof an \\\\ earlier\\nversion\n").unwrap();
        let (history, before) = InputHistory::open(path.clone());
        assert_eq!(before, ["of an \\ earlier\nversion"]);
        history.remember("one\\n");
        history.remember("two\nlines\\");
        let (_, lines) = InputHistory::open(path);
        assert_eq!(
            lines,
            ["of an \\ earlier\nversion", "one\\n", "two\nlines\\"]
        );
    }

    #[test]
    fn a_file_of_any_size_and_bytes_gives_its_last_lines() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("history");
        let mut bytes = vec![0xff; 5 << 20];
        bytes.extend(b"\nlast but one\nlast\n");
        std::fs::write(&path, bytes).unwrap();
        let (_, lines) = InputHistory::open(path.clone());
        assert_eq!(lines, ["last but one", "last"]);
        assert!(std::fs::metadata(&path).unwrap().len() < 100);
    }

    #[cfg(unix)]
    #[test]
    fn the_history_file_is_private() {
        use std::os::unix::fs::PermissionsExt;
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("history");
        std::fs::write(&path, "one\n").unwrap();
        let (history, _) = InputHistory::open(path.clone());
        history.remember("two");
        let mode = std::fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }
}
