//! Reading a line, and the lines that were typed before, in a private file.

use std::path::{Path, PathBuf};

use rustyline::error::ReadlineError;
use rustyline::history::{FileHistory, History as _};
use rustyline::{Config, Editor};

use crate::cli::error::Failure;

/// Lines kept for the arrow keys.
const LINES: usize = 1000;

/// The lines typed before.
pub struct History {
    path: PathBuf,
    config: Config,
    lines: FileHistory,
}

impl History {
    /// Reads the file, made if it is missing. Without one the chat goes on, and says so in the log.
    ///
    /// # Errors
    /// When a terminal cannot be set up at all.
    pub fn open(path: PathBuf) -> Result<History, Failure> {
        let config = Config::builder().max_history_size(LINES).map_err(failed)?;
        let config = config.build();
        let mut lines = FileHistory::with_config(&config);
        // Made by us, so that its mode never depends on a umask.
        if let Err(error) = private(&path) {
            tracing::warn!(%error, "no history file");
        } else if let Err(error) = lines.load(&path) {
            tracing::debug!(%error, "the history file was not read");
        }
        Ok(History {
            path,
            config,
            lines,
        })
    }

    /// Reads a line that begins with `left`.
    ///
    /// An editor lives for one line only: as long as it lives it holds the handler of SIGINT,
    /// which belongs to the turn.
    pub fn line(&mut self, left: &str) -> Result<String, ReadlineError> {
        let lines = std::mem::take(&mut self.lines);
        let mut editor: Editor<(), FileHistory> = Editor::with_history(self.config.clone(), lines)?;
        let line = editor.readline_with_initial("> ", (left, ""));
        self.lines = std::mem::take(editor.history_mut());
        line
    }

    /// Adds a line, in memory and in the file.
    pub fn remember(&mut self, line: &str) {
        let kept = self
            .lines
            .add(line)
            .and_then(|_| self.lines.append(&self.path));
        if let Err(error) = kept {
            tracing::warn!(%error, "the line was not added to the history file");
        }
    }
}

fn failed(error: ReadlineError) -> Failure {
    Failure::failed("io", format!("the terminal cannot be used: {error}"))
        .hint("give the message as PROMPT, or pipe it in")
}

fn private(path: &Path) -> std::io::Result<()> {
    let mut open = std::fs::OpenOptions::new();
    open.append(true).create(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut open, 0o600);
    let _file = open.open(path)?;
    #[cfg(unix)]
    _file.set_permissions(std::os::unix::fs::PermissionsExt::from_mode(0o600))?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_read_back_by_the_next_process() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("history");
        let mut first = History::open(path.clone()).unwrap();
        first.remember("one");
        first.remember("two");
        let second = History::open(path).unwrap();
        let lines: Vec<_> = second.lines.iter().map(String::as_str).collect();
        assert_eq!(lines, ["one", "two"]);
    }

    #[cfg(unix)]
    #[test]
    fn the_history_file_is_private() {
        use std::os::unix::fs::PermissionsExt;
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("history");
        private(&path).unwrap();
        private(&path).unwrap();
        let mode = std::fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }
}
