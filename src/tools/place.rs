//! Where a path of a call really leads, and opening exactly that place. A path is resolved once;
//! what was resolved is then opened name by name from the root without following any link, so that
//! no other process can exchange a link between the check and the use.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::MetadataExt;
use std::path::{Component, Path, PathBuf};

use rustix::fs::{FileType, Mode, OFlags};
use rustix::io::Errno;

use super::secret::{Linked, several_names};
use super::{AskedFile, CallContext, FileChange, ForeseenRefusal, Subject, shown};
use crate::durable::{self, Attributes, ReplacedFile, Replacement};

/// Longest path that is looked at, in bytes: Linux opens no longer one.
const MAX_PATH: usize = 4096;

/// A file's identity and age; it differs after any change.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Stamp {
    file: (u64, u64),
    size: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

impl Stamp {
    /// Of an open file.
    ///
    /// # Errors
    /// The error of the operating system.
    pub fn of(file: &File) -> io::Result<Stamp> {
        Ok(stamp(&file.metadata()?))
    }

    /// Of what is at a resolved place now; `None` where nothing is.
    ///
    /// # Errors
    /// The error of the operating system.
    pub fn at(real: &Path) -> io::Result<Option<Stamp>> {
        match fs::symlink_metadata(real) {
            Ok(meta) => Ok(Some(stamp(&meta))),
            Err(error) if is_missing(&error) => Ok(None),
            Err(error) => Err(error),
        }
    }
}

fn stamp(meta: &fs::Metadata) -> Stamp {
    Stamp {
        file: (meta.dev(), meta.ino()),
        size: meta.size(),
        modified: (meta.mtime(), meta.mtime_nsec()),
        changed: (meta.ctime(), meta.ctime_nsec()),
    }
}

/// Where `given` leads, seen from the project's folder: absolute, without links and dots. What does
/// not exist yet is taken as it is written.
///
/// # Errors
/// A sentence for the model.
pub(super) fn resolve(given: &str, project: &Path) -> Result<PathBuf, String> {
    well_formed(given)?;
    let base = project_folder(project)?;
    let mut real = base.clone();
    // From here on nothing exists.
    let mut missing = false;
    for component in Path::new(given).components() {
        match component {
            Component::Prefix(_) | Component::RootDir => real = PathBuf::from("/"),
            Component::CurDir => {}
            Component::ParentDir => {
                real.pop();
                missing = missing && fs::symlink_metadata(&real).is_err();
            }
            Component::Normal(name) => {
                real.push(name);
                if missing {
                    continue;
                }
                match fs::symlink_metadata(&real) {
                    Ok(meta) if meta.is_symlink() => {
                        real = real.canonicalize().map_err(|error| {
                            format!(
                                "{} is a link that leads nowhere: {error}.",
                                shown::name(&real, &base)
                            )
                        })?;
                    }
                    Ok(_) => {}
                    Err(error) if is_missing(&error) => missing = true,
                    Err(error) => {
                        return Err(format!(
                            "{} cannot be looked at: {error}.",
                            shown::name(&real, &base)
                        ));
                    }
                }
            }
        }
    }
    Ok(real)
}

/// Refuses what is no path, whatever files there are.
fn well_formed(given: &str) -> Result<(), String> {
    if given.is_empty() || given.contains('\0') || given.len() > MAX_PATH {
        return Err(format!(
            "{} is no path: it must have 1 to {MAX_PATH} bytes and no NUL.",
            short(given)
        ));
    }
    if given == "~" || given.starts_with("~/") {
        return Err("~ is not expanded here: write the home folder out.".to_owned());
    }
    Ok(())
}

/// Where `given` leads if no part of it is a link.
fn as_written(given: &str, base: &Path) -> PathBuf {
    let mut path = base.to_owned();
    for component in Path::new(given).components() {
        match component {
            Component::Prefix(_) | Component::RootDir => path = PathBuf::from("/"),
            Component::CurDir => {}
            Component::ParentDir => drop(path.pop()),
            Component::Normal(name) => path.push(name),
        }
    }
    path
}

/// The project's folder as it really is.
///
/// # Errors
/// A sentence for the model where it is gone.
pub(super) fn project_folder(project: &Path) -> Result<PathBuf, String> {
    project.canonicalize().map_err(|error| {
        format!(
            "The project's folder {} cannot be used: {error}.",
            project.display()
        )
    })
}

/// What approval of a call on the path in the argument `path` is about; the project itself where
/// there is none.
pub(super) fn subject(arguments: &serde_json::Value, project: &Path) -> Subject {
    let given = arguments.get("path").and_then(|path| path.as_str());
    let given = given.unwrap_or(".");
    Subject::Path(resolve(given, project).unwrap_or_else(|_| project.join(given)))
}

/// Refuses what no tool may touch, and what is another place than the one that was approved.
///
/// # Errors
/// A sentence for the model.
pub(super) fn allowed(real: &Path, room: &CallContext<'_>) -> Result<(), String> {
    if let Some(Subject::Path(granted)) = room.granted
        && granted != real
    {
        return Err(format!(
            "{} was approved, and the path leads to {} by now. Nothing was done.",
            granted.display(),
            real.display()
        ));
    }
    closed(real, room)?;
    match real.symlink_metadata() {
        Ok(meta) if several_names(&meta) && Linked::of(room.secret).holds(&meta) => {
            Err(linked(&real.display().to_string()))
        }
        _ => Ok(()),
    }
}

/// Refuses what no tool may touch by where it is.
fn closed(real: &Path, room: &CallContext<'_>) -> Result<(), String> {
    let project = project_folder(room.project)?;
    if room.secret.closes(real, &project) && !in_temp(real, room) {
        return Err(format!(
            "{} holds keys, other programs' secrets or npast's own state: no tool may touch it.",
            real.display()
        ));
    }
    Ok(())
}

/// For [`super::Tool::foresee`]: the refusals of a call that its path brings with it, whatever files there
/// are. `rule` refuses by where a place is. Behind a link it is not asked: it would tell where the link
/// leads.
///
/// # Errors
/// The refusal.
pub(super) fn refused_unseen(
    arguments: &serde_json::Value,
    room: &CallContext<'_>,
    rule: fn(&Path, &CallContext<'_>) -> Result<(), String>,
) -> Result<(), ForeseenRefusal> {
    let given = arguments.get("path").and_then(|path| path.as_str());
    let given = given.unwrap_or(".");
    well_formed(given).map_err(ForeseenRefusal::of_arguments)?;
    let real = resolve(given, room.project)?;
    if real != as_written(given, &project_folder(room.project)?) {
        return Ok(());
    }
    rule(&real, room).map_err(ForeseenRefusal::of_arguments)
}

/// For [`super::Tool::foresee`] of a call that reads the path in its arguments, the project without one.
///
/// # Errors
/// No tool may touch it.
pub(super) fn readable(
    arguments: &serde_json::Value,
    room: &CallContext<'_>,
) -> Result<Option<FileChange>, ForeseenRefusal> {
    refused_unseen(arguments, room, closed)?;
    let given = arguments.get("path").and_then(|path| path.as_str());
    let real = resolve(given.unwrap_or("."), room.project)?;
    allowed(&real, room)?;
    Ok(None)
}

/// What to say of a file that is a hard link to a secret one.
pub(super) fn linked(name: &str) -> String {
    format!(
        "{name} is a hard link to a file with keys, other programs' secrets or npast's own state: no \
         tool may touch it."
    )
}

/// Refuses places that may be read and not written: all outside of the project and the session's
/// temporary folder, and git's own files, in which a hook would be a program.
///
/// # Errors
/// A sentence for the model.
pub(super) fn writable(real: &Path, room: &CallContext<'_>) -> Result<(), String> {
    allowed(real, room)?;
    unwritable(real, room)
}

/// Refuses what no tool may write by where it is.
///
/// # Errors
/// A sentence for the model.
pub(super) fn unwritable(real: &Path, room: &CallContext<'_>) -> Result<(), String> {
    closed(real, room)?;
    let project = project_folder(room.project)?;
    if room.secret.closes_to_writing(real, &project) && !in_temp(real, room) {
        return Err(format!(
            "{} is npast's own: it can be read and not changed.",
            real.display()
        ));
    }
    let below = |folder: &Path| real != folder && real.starts_with(folder);
    if !below(&project) && !in_temp(real, room) {
        return Err(format!(
            "{} is outside of the project {}: files can be written only in it and in {}.",
            real.display(),
            project.display(),
            room.temp.display()
        ));
    }
    let inner = real.strip_prefix(&project).unwrap_or(real);
    if inner.iter().any(|name| name.eq_ignore_ascii_case(".git")) {
        return Err(format!(
            "{} belongs to git: change it with git commands.",
            shown::name(real, &project)
        ));
    }
    Ok(())
}

fn in_temp(real: &Path, room: &CallContext<'_>) -> bool {
    let temp = room.temp.canonicalize();
    temp.is_ok_and(|temp| real.starts_with(temp))
}

/// Opens the regular file at a resolved place for reading.
///
/// # Errors
/// A sentence for the model that names the file as `name`.
pub(super) fn open(real: &Path, name: &str) -> Result<File, String> {
    let folder = real
        .parent()
        .ok_or_else(|| format!("{name} is a folder."))?;
    let said = |error: Errno| failed(error.into(), name);
    let folder = walk(folder, false).map_err(said)?;
    // A named pipe must not make us wait for its writer.
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY;
    let file = rustix::fs::openat(&folder, last(real), flags | OFlags::CLOEXEC, Mode::empty())
        .map_err(said)?;
    let stat = rustix::fs::fstat(&file).map_err(said)?;
    match FileType::from_raw_mode(stat.st_mode) {
        FileType::RegularFile => Ok(File::from(file)),
        FileType::Directory => Err(format!("{name} is a folder: list shows what is in it.")),
        FileType::Fifo => Err(format!("{name} is a named pipe, not a file.")),
        FileType::Socket => Err(format!("{name} is a socket, not a file.")),
        _ => Err(format!("{name} is a device, not a file.")),
    }
}

/// Whether a file is at a resolved place that [`replace`] would replace; false where nothing is.
///
/// # Errors
/// A sentence for the model: what is there cannot be replaced.
pub(super) fn replaceable(real: &Path, name: &str) -> Result<bool, String> {
    match fs::symlink_metadata(real) {
        Ok(meta) => {
            let kind = FileType::from_raw_mode(meta.mode());
            may_be_replaced(kind, meta.mode(), name).map(|()| true)
        }
        Err(error) if is_missing(&error) => Ok(false),
        Err(error) => Err(failed(error, name)),
    }
}

/// Refuses to replace what is no file, or is read-only.
fn may_be_replaced(kind: FileType, mode: u32, name: &str) -> Result<(), String> {
    match kind {
        FileType::RegularFile if mode & 0o222 == 0 => Err(format!(
            "{name} is read-only. Nothing was changed; chmod it first if that is right."
        )),
        FileType::RegularFile => Ok(()),
        FileType::Directory => Err(format!("{name} is a folder.")),
        _ => Err(format!("{name} is no regular file: it cannot be replaced.")),
    }
}

/// Replaces what is at a resolved place, or makes it, folders above it included: a reader sees the
/// old file or the new one. Owner, group, mode and extended attributes stay; hard links to the old
/// file keep the old content. `expected` is what must be there (`None`: whatever is),
/// and `asked` what somebody was asked about, if anybody was.
///
/// # Errors
/// A sentence for the model that names the file as `name` and says what it holds.
pub(super) fn replace(
    real: &Path,
    name: &str,
    bytes: &[u8],
    expected: Option<Stamp>,
    asked: Option<&AskedFile>,
) -> Result<(), String> {
    let folder = real
        .parent()
        .ok_or_else(|| format!("{name} is a folder."))?;
    let said = |error: io::Error| format!("{} Nothing was changed.", failed(error, name));
    let folder = walk(folder, true).map_err(|e| said(e.into()))?;
    let flags = rustix::fs::AtFlags::SYMLINK_NOFOLLOW;
    let old = match rustix::fs::statat(&folder, last(real), flags) {
        Ok(stat) => Some(stat),
        Err(Errno::NOENT) => None,
        Err(error) => return Err(said(error.into())),
    };
    if let Some(stat) = &old {
        let kind = FileType::from_raw_mode(stat.st_mode);
        may_be_replaced(kind, stat.st_mode, name)?;
    }
    let target = ReplacedFile::within(folder, last(real));
    let draft = Replacement::write(target, bytes, Attributes::Kept).map_err(said)?;
    // As late as can be: the new content is on disk, and all that is left is to put it there.
    if let Some(asked) = asked
        && !asked.is_still(real, || draft.replaced()).map_err(said)?
    {
        return Err(changed_since(name));
    }
    let changed = expected
        .is_some_and(|expected| Stamp::at(real).map_or(true, |stamp| stamp != Some(expected)));
    if changed {
        return Err(format!(
            "{name} was changed by another program meanwhile. This call changed nothing: read it again."
        ));
    }
    draft.commit().map_err(|error| match error {
        durable::ReplaceError::Unchanged(error) => said(error),
        error => format!("{name}: {error}."),
    })
}

/// What to say where a file is no longer what somebody was asked about.
pub(super) fn changed_since(name: &str) -> String {
    format!("{name} has changed since the question was asked: nothing was written; read it again.")
}

/// Opens the folder at a resolved place, name by name, following no link; with `make`, what is
/// missing is made.
pub(super) fn walk(folder: &Path, make: bool) -> Result<OwnedFd, Errno> {
    #[cfg(target_os = "linux")]
    let kind = OFlags::PATH;
    #[cfg(not(target_os = "linux"))]
    let kind = OFlags::RDONLY;
    let flags = kind | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let mut at = rustix::fs::open("/", flags, Mode::empty())?;
    for component in folder.components() {
        let name = match component {
            Component::Normal(name) => name,
            Component::RootDir => continue,
            _ => return Err(Errno::INVAL),
        };
        at = match rustix::fs::openat(&at, name, flags, Mode::empty()) {
            Err(Errno::NOENT) if make => {
                match rustix::fs::mkdirat(&at, name, Mode::from_raw_mode(0o777)) {
                    Ok(()) | Err(Errno::EXIST) => {}
                    Err(error) => return Err(error),
                }
                rustix::fs::openat(&at, name, flags, Mode::empty())?
            }
            opened => opened?,
        };
    }
    Ok(at)
}

fn last(real: &Path) -> &OsStr {
    real.file_name().unwrap_or(OsStr::new("/"))
}

pub(super) fn is_missing(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory
    )
}

/// The operating system's error about a file, as a sentence.
pub(super) fn failed(error: io::Error, name: &str) -> String {
    let code = Errno::from_io_error(&error);
    match error.kind() {
        io::ErrorKind::NotFound => format!("There is no file {name}."),
        io::ErrorKind::PermissionDenied => format!("{name}: permission denied."),
        io::ErrorKind::StorageFull => format!("{name}: the disk is full."),
        io::ErrorKind::QuotaExceeded => format!("{name}: the disk quota is used up."),
        io::ErrorKind::ReadOnlyFilesystem => format!("{name} is on a read-only file system."),
        io::ErrorKind::NotADirectory => format!("{name}: a part of this path is a file."),
        _ if code == Some(Errno::LOOP) => format!("{name} became a link meanwhile."),
        _ => format!("{name}: {error}."),
    }
}

fn short(text: &str) -> String {
    let cut: String = text.chars().take(80).collect();
    format!("{cut:?}")
}
