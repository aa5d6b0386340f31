//! Completions for Tab: commands at the beginning of a line, sessions behind `/open`, files of the
//! current folder behind `@`.

use std::path::{Path, PathBuf};

use super::COMMANDS;
use crate::cli::console::Complete;
use crate::session::Db;

/// Entries of a folder that are looked at.
const MOST: usize = 10_000;
/// Most names that are given.
const SHOWN: usize = 100;

/// In the current folder, with the sessions of this database.
pub fn here(db: PathBuf) -> Complete {
    Box::new(move |before| {
        let line = before.rsplit('\n').next().unwrap_or_default();
        if let Some(start) = line.strip_prefix("/open ") {
            return (start.len(), beginning(sessions(&db), start));
        }
        if line == before && line.starts_with('/') && !line.contains(' ') {
            let all = COMMANDS.iter().map(|c| (*c).to_owned()).collect();
            return (line.len(), beginning(all, line));
        }
        let word = line.rsplit(char::is_whitespace).next().unwrap_or_default();
        match word.strip_prefix('@') {
            Some(path) => (path.len(), files(Path::new("."), path)),
            None => (0, Vec::new()),
        }
    })
}

fn beginning(all: Vec<String>, start: &str) -> Vec<String> {
    let mut fits: Vec<String> = all
        .into_iter()
        .filter(|one| one.starts_with(start))
        .collect();
    fits.sort();
    fits.truncate(SHOWN);
    fits
}

/// The names of sessions; none where they cannot be read.
fn sessions(db: &Path) -> Vec<String> {
    if !db.is_file() {
        return Vec::new();
    }
    let all = Db::open(db).and_then(|db| db.list()).unwrap_or_default();
    all.into_iter().map(|one| one.session.name).collect()
}

/// Paths below `folder` that begin like this; folders end with a slash. What begins with a dot is
/// named only where a dot was typed.
fn files(folder: &Path, start: &str) -> Vec<String> {
    let (above, name) = match start.rsplit_once('/') {
        Some((above, name)) => (format!("{above}/"), name),
        None => (String::new(), start),
    };
    let entries = std::fs::read_dir(folder.join(&above)).into_iter().flatten();
    let paths = entries.take(MOST).flatten().filter_map(|entry| {
        let file = entry.file_name().into_string().ok()?;
        if !file.starts_with(name) || (file.starts_with('.') && !name.starts_with('.')) {
            return None;
        }
        let slash = if entry.path().is_dir() { "/" } else { "" };
        Some(format!("{above}{file}{slash}"))
    });
    beginning(paths.collect(), start)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tab_knows_commands_and_files() {
        let dir = tempfile::tempdir().unwrap();
        for file in ["src/main.rs", "src/map.rs", ".hidden", "sum"] {
            let path = dir.path().join(file);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, "").unwrap();
        }
        assert_eq!(files(dir.path(), "s"), ["src/", "sum"]);
        assert_eq!(files(dir.path(), "src/ma"), ["src/main.rs", "src/map.rs"]);
        assert_eq!(files(dir.path(), ".h"), [".hidden"]);
        assert_eq!(files(dir.path(), "no/x"), [] as [&str; 0]);
        let complete = here(dir.path().join("npast.db"));
        assert_eq!(
            complete("/re"),
            (3, vec!["/receipt".into(), "/redo".into(), "/retry".into()])
        );
        assert_eq!(complete("a /re"), (0, vec![]));
        assert_eq!(complete("/open w"), (1, vec![]));
    }
}
