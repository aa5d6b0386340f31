//! Going through the project's folders as git sees them: what .gitignore and .ignore name is left
//! out, hidden files are not, version control's own folders are. No link is followed.
//!
//! - `ignored`: what those files say.

mod ignored;

use std::path::Path;
use std::sync::Arc;

use globset::{GlobBuilder, GlobMatcher};
use ignore::{DirEntry, WalkBuilder};

use super::CallContext;
use ignored::Ignored;

/// Folders of version control.
const CONTROL: &[&str] = &[".git", ".hg", ".svn", ".jj"];

/// Longest glob, in bytes.
const MAX_GLOB: usize = 1000;

/// Which files are wanted.
pub(super) struct Glob {
    matcher: GlobMatcher,
    /// Compared with the name only, at any depth.
    name_only: bool,
    /// All but these.
    not: bool,
}

impl Glob {
    /// Reads a glob: one without a slash fits at any depth, others fit the path below the folder
    /// that is walked; `!` in front turns it round. What is ignored stays ignored.
    ///
    /// # Errors
    /// A sentence for the model.
    pub fn new(glob: &str) -> Result<Glob, String> {
        if glob.len() > MAX_GLOB {
            return Err(format!("A glob can have {MAX_GLOB} bytes."));
        }
        let (not, pattern) = match glob.strip_prefix('!') {
            Some(pattern) => (true, pattern),
            None => (false, glob),
        };
        let pattern = pattern.strip_prefix("./").unwrap_or(pattern);
        let name_only = !pattern.contains('/');
        let matcher = GlobBuilder::new(pattern.trim_start_matches('/'))
            .literal_separator(true)
            .build()
            .map_err(|error| format!("{glob:?} is no glob that can be used: {error}."))?
            .compile_matcher();
        Ok(Glob {
            matcher,
            name_only,
            not,
        })
    }

    /// Whether an entry of a walk from `root` is wanted.
    pub fn wants(&self, entry: &DirEntry, root: &Path) -> bool {
        let fits = match self.name_only {
            true => self.matcher.is_match(entry.file_name()),
            false => entry
                .path()
                .strip_prefix(root)
                .is_ok_and(|path| self.matcher.is_match(path)),
        };
        fits != self.not
    }
}

/// A walk through folders.
pub(super) struct FolderWalk {
    entries: ignore::Walk,
    ignored: Arc<Ignored>,
}

impl FolderWalk {
    /// What there is to say of files that name what is ignored.
    pub fn notes(&self) -> Vec<String> {
        self.ignored.notes()
    }
}

impl Iterator for FolderWalk {
    type Item = Result<DirEntry, ignore::Error>;

    fn next(&mut self) -> Option<Self::Item> {
        self.entries.next()
    }
}

/// Walks from a resolved place in order of names, at most `depth` folders down.
pub(super) fn walk(root: &Path, depth: Option<usize>, room: &CallContext<'_>) -> FolderWalk {
    let secret = room.secret.clone();
    let project = room.project.canonicalize();
    let project = project.unwrap_or_else(|_| room.project.to_owned());
    let ignored = Arc::new(Ignored::around(root, &project));
    let ignores = ignored.clone();
    let entries = WalkBuilder::new(root)
        .hidden(false)
        // The library would open whatever is in the place of such a file and read to its end.
        .ignore(false)
        .git_ignore(false)
        .git_exclude(false)
        // What one user's own git settings ignore must not change an answer.
        .git_global(false)
        .parents(false)
        .follow_links(false)
        .max_depth(depth)
        .sort_by_file_name(|a, b| a.cmp(b))
        .filter_entry(move |entry| {
            let control = entry
                .file_name()
                .to_str()
                .is_some_and(|name| CONTROL.contains(&name));
            let folder = entry.file_type().is_some_and(|kind| kind.is_dir());
            entry.depth() == 0
                || !(control
                    || secret.closes(entry.path(), &project)
                    || ignores.hides(entry.path(), folder))
        })
        .build();
    FolderWalk { entries, ignored }
}
