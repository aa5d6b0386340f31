//! What .gitignore and .ignore files say, and the `info/exclude` of the repository. Whoever made the
//! project made these files: they are opened as a tool opens files, so a link, a pipe or a device in
//! the place of one is none, and they are bounded.

use std::collections::HashMap;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use ignore::Match;
use ignore::gitignore::{Gitignore, GitignoreBuilder};

use super::super::{place, shown};

/// Largest file that is used, in bytes.
const MAX_FILE: u64 = 256 << 10;

/// Most lines of a file, and the longest one in bytes.
const MAX_LINES: usize = 4000;
const MAX_LINE: usize = 1000;

/// Most folders above the start of a walk that are looked into.
const MAX_ABOVE: usize = 64;

/// Most unused ignore files that a result names.
const MAX_NOTES: usize = 5;

/// The files, by what counts more.
const NAMES: [&str; 2] = [".ignore", ".gitignore"];

/// The rules of a tree of folders, read as they are met.
pub(super) struct Ignored {
    /// The uppermost folder whose rules count.
    top: PathBuf,
    exclude: Arc<Gitignore>,
    files: Mutex<HashMap<PathBuf, Arc<Gitignore>>>,
    notes: Mutex<Vec<String>>,
}

impl Ignored {
    /// The rules for a walk from `root`: those of the repository around it, else of the project, else
    /// its own.
    pub fn around(root: &Path, project: &Path) -> Ignored {
        let repository = root
            .ancestors()
            .take(MAX_ABOVE)
            .find(|folder| folder.join(".git").symlink_metadata().is_ok());
        let top = match repository {
            Some(top) => top,
            None if root.starts_with(project) => project,
            None => root,
        };
        let mut ignored = Ignored {
            top: top.to_owned(),
            exclude: Arc::new(Gitignore::empty()),
            files: Mutex::default(),
            notes: Mutex::default(),
        };
        ignored.exclude = ignored.read(top, &top.join(".git/info/exclude"));
        ignored
    }

    /// Whether what is at a path is ignored; the folders above it are not.
    pub fn hides(&self, path: &Path, folder: bool) -> bool {
        for name in NAMES {
            let mut at = path.parent();
            while let Some(above) = at {
                match self.rules(above, name).matched(path, folder) {
                    Match::Ignore(_) => return true,
                    Match::Whitelist(_) => return false,
                    Match::None => {}
                }
                at = above.parent().filter(|_| above != self.top);
            }
        }
        self.exclude.matched(path, folder).is_ignore()
    }

    /// What there is to say.
    pub fn notes(&self) -> Vec<String> {
        let notes = self.notes.lock();
        notes.unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn rules(&self, folder: &Path, name: &str) -> Arc<Gitignore> {
        let path = folder.join(name);
        let files = || self.files.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(rules) = files().get(&path) {
            return rules.clone();
        }
        let rules = self.read(folder, &path);
        files().insert(path, rules.clone());
        rules
    }

    fn read(&self, folder: &Path, path: &Path) -> Arc<Gitignore> {
        let empty = || Arc::new(Gitignore::empty());
        if path.symlink_metadata().is_err() {
            return empty();
        }
        match rules(folder, path) {
            Ok(rules) => Arc::new(rules),
            Err(why) => {
                let mut notes = self.notes.lock().unwrap_or_else(PoisonError::into_inner);
                if notes.len() < MAX_NOTES {
                    let name = shown::name(path, &self.top);
                    notes.push(format!("{name} is not used: {why}"));
                }
                empty()
            }
        }
    }
}

fn rules(folder: &Path, path: &Path) -> Result<Gitignore, String> {
    let half = |sentence: String| sentence.trim_end_matches('.').to_owned();
    let file = place::open(path, "it").map_err(half)?;
    let mut bytes = Vec::new();
    let read = file.take(MAX_FILE + 1).read_to_end(&mut bytes);
    read.map_err(|error| half(place::failed(error, "it")))?;
    let text = String::from_utf8_lossy(&bytes);
    if bytes.len() as u64 > MAX_FILE || text.lines().nth(MAX_LINES).is_some() {
        let most = shown::size(MAX_FILE);
        return Err(format!("it has more than {most} or {MAX_LINES} lines"));
    }
    let mut builder = GitignoreBuilder::new(folder);
    for line in text.trim_start_matches('\u{feff}').lines() {
        // A line that is no glob is none for git either.
        if line.len() <= MAX_LINE {
            let _ = builder.add_line(None, line);
        }
    }
    builder.build().map_err(|error| error.to_string())
}
