//! What git would run later: settings that name programs, hooks, and files that lead git to other
//! repositories. A command may make repositories, and may not leave such things in them. The supervisor
//! looks through the folders that a command can write, before the command and after it, and renames what
//! is new so that git does not use it. What exists already is mounted read-only; see `view`.

mod aside;
mod settings;

use std::collections::{BTreeMap, BTreeSet, HashSet, VecDeque};
use std::ffi::OsStr;
use std::fs;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use self::aside::{Fact, read};

/// Most folders that are looked through, and most time for it: commands shall not wait for it.
const MAX_FOLDERS: usize = 100_000;
const MAX_TIME: Duration = Duration::from_millis(700);
/// Most files that git takes programs from which are looked at.
const MAX_SOURCES: usize = 10_000;
/// Longest name that is given, in characters.
const MAX_NAME: usize = 200;
/// Most of them that are named.
const MAX_NAMED: usize = 8;

/// Files of a git folder that hold settings.
const SETTINGS: &[&str] = &["config", "config.worktree"];
/// The file of a git folder that names the folder with its settings and hooks.
const COMMON: &str = "commondir";
/// Parts of a git folder with many folders and no settings.
const BULK: &[&str] = &["objects", "refs", "logs", "lfs"];
/// Settings of Mercurial, and what leads it to others.
const OF_HG: &[&str] = &["hgrc", "hgrc-not-shared", "sharedpath"];

/// What a file is to git.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum GitFileKind {
    Settings,
    Hook,
    Common,
    /// A `.git` that is a file or a link, and leads elsewhere.
    Pointer,
    /// The steps of an unfinished rebase.
    Todo,
    Hg,
}

/// All that git would take programs from below some folders.
#[derive(Default)]
struct Sources {
    files: BTreeMap<PathBuf, GitFileKind>,
    /// Folders that git would take for its own.
    repositories: BTreeSet<PathBuf>,
    /// Folders that cannot be looked into: without the right to, or too deep for a path.
    closed: BTreeSet<PathBuf>,
    /// Whether all was looked through.
    whole: bool,
}

/// The state before a command.
pub(super) struct RepositoriesBefore {
    folders: Vec<PathBuf>,
    skipped: Vec<PathBuf>,
    files: BTreeMap<PathBuf, (GitFileKind, Fact)>,
    closed: BTreeSet<PathBuf>,
    whole: bool,
    /// Of the file system that is looked at: no clock of ours is compared with it.
    start: Option<(i64, i64)>,
}

/// Looks through `folders`, as they are before a command; what is in `skipped` cannot be written.
pub(super) fn look(folders: &[PathBuf], skipped: &[PathBuf]) -> RepositoriesBefore {
    let folders: Vec<PathBuf> = folders
        .iter()
        .filter_map(|folder| folder.canonicalize().ok())
        .collect();
    let sources = Sources::below(&folders, skipped);
    let files = sources.files.into_iter();
    let files = files.map(|(path, kind)| {
        let fact = read(&path);
        (path, (kind, fact))
    });
    RepositoriesBefore {
        files: files.collect(),
        folders,
        skipped: skipped.to_vec(),
        closed: sources.closed,
        whole: sources.whole,
        start: now(),
    }
}

impl RepositoriesBefore {
    /// After the command: what git would run and what was not there before. With `put` it is set
    /// aside; but what the command could not write, because it was `viewed` read-only, was changed by
    /// somebody else, and stays.
    pub fn planted(&self, put: bool, viewed: bool) -> Vec<String> {
        let mut after = Sources::below(&self.folders, &self.skipped);
        // What was there is looked at also where the rest is too much.
        for (path, (kind, _)) in &self.files {
            if fs::symlink_metadata(path).is_ok() {
                after.files.entry(path.clone()).or_insert(*kind);
            }
        }
        let mut told = Vec::new();
        for (path, kind) in &after.files {
            let old = self.files.get(path).map(|(_, fact)| fact);
            let new = read(path);
            if old == Some(&new) || (old.is_none() && !self.whole && !self.since(path)) {
                continue;
            }
            let Some(why) = self.why(path, *kind, old, &new, &after.repositories) else {
                continue;
            };
            let name = self.name(path);
            told.push(match kind {
                GitFileKind::Todo => {
                    format!("{name} is left as it is, and \"git rebase --continue\" runs {why}")
                }
                _ if !put => format!("{name} ({why}) is new"),
                _ if viewed && old.is_some() && self.shut(path) => {
                    format!("{name} ({why}) was changed from outside meanwhile, and stays")
                }
                _ => match aside::put(path, old) {
                    Ok(now) => format!("{name} ({why}) is now {now}"),
                    Err(error) => format!("{name} ({why}) could not be renamed: {error}"),
                },
            });
        }
        for folder in after.closed.difference(&self.closed) {
            let name = self.name(folder);
            told.push(format!(
                "{name} cannot be looked into, and may hold a repository"
            ));
        }
        let more = told.len().saturating_sub(MAX_NAMED);
        told.truncate(MAX_NAMED);
        if more > 0 {
            told.push(format!("{more} more"));
        }
        if self.whole && !after.whole {
            told.push("there are more folders now than are looked through for repositories".into());
        }
        told
    }

    /// Whether a file that is there is read-only in the view: see `view`.
    fn shut(&self, path: &Path) -> bool {
        self.folders.iter().any(|folder| {
            let git = folder.join(".git");
            path.starts_with(&git) && !path.starts_with(git.join("worktrees"))
        })
    }

    /// Whether a file was changed since the command began.
    fn since(&self, path: &Path) -> bool {
        let changed = fs::symlink_metadata(path).map(|m| (m.ctime(), m.ctime_nsec()));
        changed.is_ok_and(|changed| self.start.is_none_or(|start| changed >= start))
    }

    /// Why a file that is new or changed must not stay; `None` where git runs nothing because of it.
    fn why(
        &self,
        path: &Path,
        kind: GitFileKind,
        old: Option<&Fact>,
        new: &Fact,
        repositories: &BTreeSet<PathBuf>,
    ) -> Option<String> {
        match kind {
            GitFileKind::Settings => {
                let Fact::File { bytes, .. } = new else {
                    return Some("it is no plain file".into());
                };
                let old = match old {
                    Some(Fact::File { bytes, .. }) => bytes.as_slice(),
                    _ => b"",
                };
                let inside = |place: &Path| self.folders.iter().any(|f| place.starts_with(f));
                settings::programs(path, bytes, old, inside)
            }
            GitFileKind::Hook => Some("a hook".into()),
            GitFileKind::Common => {
                // A working tree beside the first takes them from the folder that it lies in.
                let folder = path.parent()?;
                let main = folder.parent().filter(|f| f.ends_with("worktrees"));
                let main = main
                    .and_then(Path::parent)
                    .filter(|f| repositories.contains(*f));
                let leads = leads(folder, new, b"");
                let own = leads.is_some_and(|leads| Some(leads.as_path()) == main);
                (!own).then(|| "it leads git to the settings of another repository".into())
            }
            GitFileKind::Pointer => {
                let leads = leads(path.parent()?, new, b"gitdir:");
                let known = leads.is_some_and(|place| repositories.contains(&place));
                (!known).then(|| "it leads git to another place".into())
            }
            GitFileKind::Todo => {
                let Fact::File { bytes, .. } = new else {
                    return Some("what it leads to".into());
                };
                let text = String::from_utf8_lossy(bytes);
                let step = |line: &&str| line.starts_with("exec ") || line.starts_with("x ");
                text.lines().find(step).map(|line| format!("\"{line}\""))
            }
            GitFileKind::Hg => Some("settings of hg".into()),
        }
    }

    fn name(&self, path: &Path) -> String {
        let inner = self.folders.iter().find_map(|f| path.strip_prefix(f).ok());
        let name = inner.unwrap_or(path).to_string_lossy();
        name.chars().take(MAX_NAME).collect()
    }
}

/// Seconds and nanoseconds of the system's clock as files get it.
fn now() -> Option<(i64, i64)> {
    let clock = rustix::time::clock_gettime(rustix::time::ClockId::RealtimeCoarse);
    Some((clock.tv_sec, clock.tv_nsec))
}

/// Where a file of one line, or a link, leads.
fn leads(folder: &Path, fact: &Fact, before: &[u8]) -> Option<PathBuf> {
    let place = match fact {
        Fact::Link(to) => to.clone(),
        Fact::File { bytes, .. } => {
            let line = bytes.strip_prefix(before)?.trim_ascii();
            PathBuf::from(OsStr::from_bytes(line))
        }
        Fact::Other(..) => return None,
    };
    folder.join(place).canonicalize().ok()
}

impl Sources {
    /// From the top down, so that what is found first is what a person uses first.
    fn below(folders: &[PathBuf], skipped: &[PathBuf]) -> Sources {
        let until = Instant::now() + MAX_TIME;
        let inside = |path: &&PathBuf| folders.iter().any(|folder| path.starts_with(folder));
        let skipped: HashSet<&Path> = skipped
            .iter()
            .filter(inside)
            .map(PathBuf::as_path)
            .collect();
        let mut found = Sources::default();
        let mut left: VecDeque<PathBuf> = folders.iter().cloned().collect();
        let mut looked = 0;
        while let Some(folder) = left.pop_front() {
            if looked >= MAX_FOLDERS || found.files.len() >= MAX_SOURCES || Instant::now() > until {
                return found;
            }
            looked += 1;
            found.folder(&folder, &skipped, &mut left);
        }
        found.whole = true;
        found
    }

    fn folder(&mut self, folder: &Path, skipped: &HashSet<&Path>, left: &mut VecDeque<PathBuf>) {
        let entries = match fs::read_dir(folder) {
            Ok(entries) => entries,
            Err(error) => {
                if error.kind() != io::ErrorKind::NotFound {
                    self.closed.insert(folder.to_owned());
                }
                return;
            }
        };
        // Names are looked at before anything else: most folders are no repository.
        let mut folders = Vec::new();
        let mut names = GitNames::default();
        for entry in entries.flatten() {
            let name = entry.file_name();
            let is_folder = entry.file_type().is_ok_and(|kind| kind.is_dir());
            names.see(&name);
            if name == ".git" && !is_folder {
                self.files.insert(entry.path(), GitFileKind::Pointer);
            }
            if is_folder {
                folders.push(name);
            }
        }
        let own = folder.file_name().unwrap_or_default();
        let repository = own == ".git" || names.repository();
        if repository {
            self.repository(folder);
        }
        if own == ".hg" {
            for name in OF_HG {
                self.add(folder.join(name), GitFileKind::Hg);
            }
        }
        for name in folders {
            let bulk = repository && (name == "hooks" || BULK.iter().any(|b| name == *b));
            let path = folder.join(name);
            if !bulk && !skipped.contains(path.as_path()) {
                left.push_back(path);
            }
        }
    }

    fn repository(&mut self, folder: &Path) {
        self.repositories.insert(folder.to_owned());
        for name in SETTINGS {
            self.add(folder.join(name), GitFileKind::Settings);
        }
        self.add(folder.join(COMMON), GitFileKind::Common);
        self.add(
            folder.join("rebase-merge/git-rebase-todo"),
            GitFileKind::Todo,
        );
        let hooks = folder.join("hooks");
        if fs::symlink_metadata(&hooks).is_ok_and(|m| !m.is_dir()) {
            self.files.insert(hooks, GitFileKind::Hook);
            return;
        }
        for entry in fs::read_dir(&hooks).into_iter().flatten().flatten() {
            // Examples that come with git, which it does not run.
            if !entry.file_name().as_bytes().ends_with(b".sample") && self.files.len() < MAX_SOURCES
            {
                self.files.insert(entry.path(), GitFileKind::Hook);
            }
        }
    }

    fn add(&mut self, path: PathBuf, kind: GitFileKind) {
        if fs::symlink_metadata(&path).is_ok() {
            self.files.insert(path, kind);
        }
    }
}

/// By which names git takes a folder for its own.
#[derive(Default)]
struct GitNames {
    head: bool,
    objects: bool,
    refs: bool,
    common: bool,
}

impl GitNames {
    fn see(&mut self, name: &OsStr) {
        match name.as_bytes() {
            b"HEAD" => self.head = true,
            b"objects" => self.objects = true,
            b"refs" => self.refs = true,
            b"commondir" => self.common = true,
            _ => {}
        }
    }

    fn repository(&self) -> bool {
        self.head && (self.common || (self.objects && self.refs))
    }
}
