//! What no tool and no program may touch, whatever was approved: keys, other programs' secrets, what
//! people typed, npast's own state. One list for all ways in: file tools and the files of a prompt use
//! [`Secrets::closes`], the sandbox hides [`Secrets::hidden`] from programs.
//!
//! - `list`: the places, by kind.

mod list;

use std::collections::{BTreeMap, HashSet};
use std::ffi::{OsStr, OsString};
use std::fs::{self, Metadata};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// Most files and folders in secret places that are looked at.
const MAX_LOOKED: usize = 1_000_000;

/// Most home folders of other people whose secrets are listed.
const MAX_HOMES: usize = 100;

/// Most names of a home folder that are looked at for histories.
const MAX_NAMES: usize = 10_000;

/// Whose secrets.
#[derive(Clone, Copy)]
pub struct SecretOwner<'a> {
    /// The user's home folder; none is known to some services.
    pub home: Option<&'a Path>,
    /// npast's data folder.
    pub data: &'a Path,
    /// The project: what variables name in it is the project's own.
    pub project: Option<&'a Path>,
    /// Reads an environment variable: some move what is secret to another place.
    pub variable: &'a dyn Fn(&str) -> Option<OsString>,
}

impl SecretOwner<'_> {
    /// Whether a variable can name this place as one that is secret: not a whole home folder, nor
    /// what lies in the project.
    fn may_name(&self, place: &Path) -> bool {
        let wide = self.home.is_some_and(|home| home.starts_with(place));
        let of_project = self.project.is_some_and(|project| {
            (place.starts_with(project) && self.home.is_none_or(|home| !home.starts_with(project)))
                || project.starts_with(place)
        });
        place.is_absolute() && place.parent().is_some() && !wide && !of_project
    }
}

/// Why a place is closed.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
enum SecretKind {
    /// Many programs keep something here: closed but for the part in which the project lies.
    Shared,
    /// Keys, tokens, what people typed: closed but for a project that lies in it, since then the user
    /// started npast there.
    Key,
    /// npast's own state: closed wherever the project lies and whatever the user opened.
    Own,
}

/// The places that are closed. Each is listed as it was named and, where it is a link or lies behind
/// one, as what it really is.
#[derive(Clone, Debug, Default)]
pub struct Secrets {
    places: BTreeMap<PathBuf, SecretKind>,
    /// Home folders: names of histories in them are closed too.
    homes: Vec<PathBuf>,
    /// What may be read although it lies in npast's own state.
    read: Vec<PathBuf>,
    /// What the user opened.
    opened: Vec<PathBuf>,
}

impl Secrets {
    /// All that is secret on this system. In the data folder only skills may be read.
    pub fn of(owner: SecretOwner<'_>) -> Secrets {
        let mut all = Secrets::default();
        for name in list::IN_SYSTEM {
            all.add(Path::new(name), SecretKind::Key);
        }
        let moved = |name: &str| Some(PathBuf::from((owner.variable)(name)?));
        for place in list::SHARED {
            all.add(Path::new(place), SecretKind::Shared);
        }
        if let Some(place) = moved("TMPDIR").filter(|place| owner.may_name(place)) {
            all.add(&place, SecretKind::Shared);
        }
        if let Some(home) = owner.home {
            all.homes.extend(both(home));
            for name in list::AT_HOME.iter().copied().flatten() {
                all.add(&home.join(name), SecretKind::Key);
                for (variable, usual) in list::MOVED {
                    if let (Ok(inner), Some(folder)) =
                        (Path::new(name).strip_prefix(usual), moved(variable))
                        && folder.is_absolute()
                        && !inner.as_os_str().is_empty()
                    {
                        all.add(&folder.join(inner), SecretKind::Key);
                    }
                }
            }
        }
        for variable in list::NAMED_BY {
            let value = (owner.variable)(variable).unwrap_or_default();
            for part in value.as_bytes().split(|b| *b == b':') {
                let place = Path::new(OsStr::from_bytes(part));
                if owner.may_name(place) {
                    all.add(place, SecretKind::Key);
                }
            }
        }
        for home in other_homes(owner.home) {
            for name in list::AT_HOME.iter().copied().flatten() {
                let place = home.join(name);
                if place.symlink_metadata().is_ok() {
                    all.add(&place, SecretKind::Key);
                }
            }
            all.homes.push(home);
        }
        all.own(owner.data)
    }

    /// npast's data folder is closed too, but for its skills, which may be read.
    pub fn own(mut self, data: &Path) -> Secrets {
        self.add(data, SecretKind::Own);
        for data in both(data) {
            let skills = data.join("skills");
            // Where a link in this place leads is open or closed as any other place.
            let link = skills
                .symlink_metadata()
                .is_ok_and(|meta| meta.is_symlink());
            if !link && !self.read.contains(&skills) {
                self.read.push(skills);
            }
        }
        self
    }

    /// One more place that is closed.
    pub fn close(&mut self, place: &Path) {
        self.add(place, SecretKind::Own);
    }

    /// What the user opened: only npast's own state is closed in it, and what of the list lies
    /// deeper.
    pub fn open(&mut self, folders: &[PathBuf]) {
        self.opened
            .extend(folders.iter().flat_map(|folder| both(folder)));
    }

    fn add(&mut self, place: &Path, kind: SecretKind) {
        for place in both(place) {
            let known = self.places.entry(place).or_insert(kind);
            *known = kind.max(*known);
        }
    }

    /// Whether what is at a real path is closed, seen from a project.
    pub fn closes(&self, real: &Path, project: &Path) -> bool {
        let read = || self.read.iter().any(|read| real.starts_with(read));
        self.closes_to_writing(real, project) && !read()
    }

    /// The same for changing it: what may only be read is closed too.
    pub fn closes_to_writing(&self, real: &Path, project: &Path) -> bool {
        real.ancestors().any(|place| {
            let kind = match self.places.get(place) {
                Some(kind) => *kind,
                None if self.is_history(place) => SecretKind::Key,
                None => return false,
            };
            let holds = |folder: &Path| folder.starts_with(place) && real.starts_with(folder);
            let opened = self.opened.iter().any(|folder| holds(folder));
            match kind {
                SecretKind::Own => true,
                SecretKind::Key => !opened && !holds(project),
                SecretKind::Shared => {
                    let corner = corner(place, project);
                    !opened && corner.is_none_or(|corner| !real.starts_with(corner))
                }
            }
        })
    }

    fn is_history(&self, path: &Path) -> bool {
        is_history(path)
            && path
                .parent()
                .is_some_and(|at| self.homes.iter().any(|home| home == at))
    }

    /// Whether a folder is npast's own state, or lies in it.
    pub fn owns(&self, folder: &Path) -> bool {
        let own = |place: &Path| self.places.get(place) == Some(&SecretKind::Own);
        both(folder)
            .iter()
            .any(|folder| folder.ancestors().any(own))
    }

    /// What the sandbox hides from programs: all of it, but for `/proc`, of which a program needs its
    /// own part.
    pub fn hidden(&self) -> Vec<PathBuf> {
        let mut all: Vec<PathBuf> = self
            .places
            .keys()
            .filter(|place| *place != Path::new("/proc"))
            .cloned()
            .collect();
        for home in &self.homes {
            let entries = fs::read_dir(home).into_iter().flatten().flatten();
            let paths = entries.take(MAX_NAMES).map(|entry| entry.path());
            all.extend(paths.filter(|path| is_history(path)));
        }
        all.sort();
        all.dedup();
        all
    }

    /// What programs may read although it lies in a hidden place.
    pub fn readable(&self) -> &[PathBuf] {
        &self.read
    }
}

/// Whether a name of a home folder is that of a history, whatever program writes it.
fn is_history(path: &Path) -> bool {
    let name = path.file_name().unwrap_or_default().as_bytes();
    let name = name.to_ascii_lowercase();
    let ends = |end: &[u8]| name.ends_with(end);
    // A history that is being replaced has a further ending.
    name.starts_with(b".")
        && (ends(b"history")
            || ends(b"_hist")
            || ends(b"hst")
            || name == b".histfile"
            || memchr::memmem::find(&name, b"_history").is_some()
            || memchr::memmem::find(&name, b"-history").is_some())
}

/// A place as it is named and as what it really is.
fn both(place: &Path) -> Vec<PathBuf> {
    let mut all = vec![place.to_owned()];
    all.extend(place.canonicalize().ok().filter(|real| real != place));
    all
}

/// The part of a shared folder in which the project lies: what is directly in the folder and holds
/// the project, or the folder, where that is the project.
fn corner(shared: &Path, project: &Path) -> Option<PathBuf> {
    let inner = project.strip_prefix(shared).ok()?;
    Some(match inner.components().next() {
        Some(first) => shared.join(first),
        None => shared.to_owned(),
    })
}

/// The home folders of other people, as far as they are where home folders usually are.
fn other_homes(own: Option<&Path>) -> Vec<PathBuf> {
    let below = |folder: &str| {
        let entries = fs::read_dir(folder).into_iter().flatten().flatten();
        entries.take(MAX_HOMES).map(|entry| entry.path())
    };
    let mut all: Vec<PathBuf> = below("/home").chain(below("/Users")).collect();
    all.push("/root".into());
    let own: Vec<PathBuf> = own.map(both).unwrap_or_default();
    all.retain(|home| !own.contains(home));
    all
}

/// The files in secret places that have another name (a hard link) somewhere: by that name too they
/// are no tool's business.
pub(super) struct Linked {
    /// Device and inode. `None` where there is too much to look at, so that nothing is known.
    files: Option<HashSet<(u64, u64)>>,
}

impl Linked {
    /// Looks at all that lies in secret places. It costs a look at each file: only for a file that
    /// has several names.
    pub fn of(secrets: &Secrets) -> Linked {
        let mut files = HashSet::new();
        // In shared folders most is nobody's secret, and the project may lie there.
        let keys = secrets
            .places
            .iter()
            .filter(|(_, kind)| **kind != SecretKind::Shared);
        let mut left: Vec<PathBuf> = keys.map(|(place, _)| place.clone()).collect();
        for home in &secrets.homes {
            let entries = fs::read_dir(home).into_iter().flatten().flatten();
            left.extend(
                entries
                    .take(MAX_NAMES)
                    .map(|entry| entry.path())
                    .filter(|p| is_history(p)),
            );
        }
        let mut looked = 0;
        while let Some(path) = left.pop() {
            looked += 1;
            if looked > MAX_LOOKED {
                return Linked { files: None };
            }
            let Ok(meta) = path.symlink_metadata() else {
                continue;
            };
            if meta.is_dir()
                && !["/proc", "/dev"]
                    .iter()
                    .any(|whole| path == Path::new(whole))
            {
                let entries = fs::read_dir(&path).into_iter().flatten().flatten();
                left.extend(entries.map(|entry| entry.path()));
            } else if several_names(&meta) {
                files.insert((meta.dev(), meta.ino()));
            }
        }
        Linked { files: Some(files) }
    }

    /// Whether a file is, or may be, one of them.
    pub fn holds(&self, meta: &Metadata) -> bool {
        let files = self.files.as_ref();
        several_names(meta) && files.is_none_or(|all| all.contains(&(meta.dev(), meta.ino())))
    }
}

/// Whether it is a file with more than one name.
pub(super) fn several_names(meta: &Metadata) -> bool {
    meta.is_file() && meta.nlink() > 1
}

#[cfg(test)]
#[path = "secret_tests.rs"]
mod tests;
