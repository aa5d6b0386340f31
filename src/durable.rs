//! Atomic replacement of files: a crash, a full disk or a second process cannot leave half of one. The new
//! content is written to a temporary file in the same folder and renamed. Every reader, also one after a
//! crash, finds the old content or the new one, whole.
//!
//! The steps, in this order: create the temporary file (a random name, never over another file), set owner,
//! group, mode and extended attributes while it is empty, write, fsync of the file, rename, fsync of the
//! folder. A step that fails before the rename leaves the old file as it was and no temporary file.
//!
//! - `attributes`: what a new file takes over from the one it replaces
//! - [`private`]: folders 0700 and files 0600, whatever the umask
//! - `space`: how full a disk is, and the reserve for messages

mod attributes;
pub mod private;
mod space;

pub use space::Space;

use std::ffi::{OsStr, OsString};
use std::fs::{self, File};
use std::hash::{BuildHasher, Hasher, RandomState};
use std::io::{self, Seek, Write};
use std::os::fd::OwnedFd;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use rustix::fs::{AtFlags, FileType, Mode, OFlags};
use rustix::io::Errno;

/// Drafts that are tried before a folder counts as unusable.
const TRIES: usize = 16;

/// What the new file takes over from the one that it replaces.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Attributes {
    /// Mode 0600, whatever the umask and the old mode; owner and group as they were where the system
    /// allows that.
    Private,
    /// Owner, group, permission bits (set-group-id too) and extended attributes. Where one of them
    /// cannot be given to a new file, the old file is written in place instead. A file that is new
    /// gets 0666 less the umask.
    Kept,
}

/// What a symbolic link in the file's place means.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Links {
    /// The file that the link leads to is replaced; the link stays.
    Follow,
    /// Nothing is written.
    Refuse,
}

/// Why a file was not replaced as it should be.
#[derive(Debug, thiserror::Error)]
pub enum ReplaceError {
    /// The old file is as it was.
    #[error("{0}")]
    Unchanged(#[from] io::Error),
    /// The new content is in place; a power cut may still bring the old one back.
    #[error("it is written, but the disk may lose it at a power cut: {0}")]
    Unsynced(io::Error),
    /// The file was written in place, and that ended in the middle.
    #[error("it is half written ({source}); the whole new content is beside it in {draft}")]
    Torn {
        /// The name of the draft, which stays in the folder.
        draft: String,
        /// The error of the operating system.
        source: io::Error,
    },
}

/// The steps of replacing a file. Tests let each of them fail.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum ReplaceStep {
    Create,
    Attributes,
    Write,
    Sync,
    /// The rename, or the first byte where the file is written in place.
    Replace,
    /// The rest of writing in place.
    InPlace,
    SyncFolder,
}

/// Asked before each step; an error is what the step fails with.
type StepCheck<'a> = &'a dyn Fn(ReplaceStep) -> io::Result<()>;

/// A file that will be replaced or made.
pub struct ReplacedFile {
    folder: OwnedFd,
    name: OsString,
}

impl ReplacedFile {
    /// The file at `path`. Links in the folders above it are followed.
    ///
    /// # Errors
    /// A folder that is not there or cannot be opened, a link that leads nowhere, a path without a
    /// name at its end.
    pub fn at(path: &Path, links: Links) -> io::Result<ReplacedFile> {
        let real = match links {
            Links::Refuse => path.to_owned(),
            Links::Follow => match fs::canonicalize(path) {
                Err(error)
                    if error.kind() == io::ErrorKind::NotFound
                        && path.symlink_metadata().is_err() =>
                {
                    path.to_owned()
                }
                real => real?,
            },
        };
        let name = real.file_name().ok_or_else(|| {
            io::Error::new(io::ErrorKind::InvalidInput, "it is no name of a file")
        })?;
        let folder = real
            .parent()
            .filter(|folder| !folder.as_os_str().is_empty());
        let flags = folder_flags() | OFlags::CLOEXEC;
        let folder = rustix::fs::open(folder.unwrap_or(Path::new(".")), flags, Mode::empty())?;
        Ok(ReplacedFile::within(folder, name))
    }

    /// The file `name` in an open folder. A link in its place is refused.
    pub fn within(folder: OwnedFd, name: &OsStr) -> ReplacedFile {
        ReplacedFile {
            folder,
            name: name.to_owned(),
        }
    }

    /// Opens the file as it is now; `None` where there is none.
    fn old(&self, flags: OFlags) -> io::Result<Option<File>> {
        let stat = match rustix::fs::statat(&self.folder, &self.name, AtFlags::SYMLINK_NOFOLLOW) {
            Err(Errno::NOENT) => return Ok(None),
            stat => stat?,
        };
        match FileType::from_raw_mode(stat.st_mode) {
            FileType::RegularFile => {}
            FileType::Symlink => return Err(Errno::LOOP.into()),
            _ => return Err(not_regular()),
        }
        // A named pipe that comes between must not make us wait.
        let flags = flags | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
        let file = rustix::fs::openat(&self.folder, &self.name, flags, Mode::empty())?;
        match FileType::from_raw_mode(rustix::fs::fstat(&file)?.st_mode) {
            FileType::RegularFile => Ok(Some(File::from(file))),
            _ => Err(not_regular()),
        }
    }
}

/// A file's new content, on disk beside it. Dropping it removes it; the file stays as it was.
pub struct Replacement {
    target: ReplacedFile,
    /// `None` once it is in its place.
    name: Option<OsString>,
    file: File,
    /// The old file, where the new one could not get its attributes.
    in_place: Option<File>,
}

impl Replacement {
    /// Writes `bytes` to a draft and waits until they are on disk.
    ///
    /// # Errors
    /// The error of the operating system; no temporary file is left. [`io::ErrorKind::InvalidInput`] where something else
    /// than a regular file is in the place.
    pub fn write(
        target: ReplacedFile,
        bytes: &[u8],
        attributes: Attributes,
    ) -> io::Result<Replacement> {
        Replacement::write_by(target, bytes, attributes, &|_| Ok(()))
    }

    fn write_by(
        target: ReplacedFile,
        bytes: &[u8],
        attributes: Attributes,
        before: StepCheck<'_>,
    ) -> io::Result<Replacement> {
        // A file that may not be read has attributes that cannot be read either.
        let old = match target.old(OFlags::RDONLY) {
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => None,
            old => Some(old?),
        };
        before(ReplaceStep::Create)?;
        let mode = match (&old, attributes) {
            (Some(None), Attributes::Kept) => 0o666,
            _ => 0o600,
        };
        let (file, name) = create(&target.folder, Mode::from_raw_mode(mode))?;
        let mut draft = Replacement {
            target,
            name: Some(name),
            file,
            in_place: None,
        };
        before(ReplaceStep::Attributes)?;
        let kept = match (&old, attributes) {
            (old, Attributes::Private) => {
                if let Some(Some(old)) = old {
                    // Best effort: a private file that root replaces stays its user's.
                    let _ = attributes::owner(old, &draft.file)?;
                }
                rustix::fs::fchmod(&draft.file, Mode::from_raw_mode(0o600))?;
                true
            }
            (Some(None), Attributes::Kept) => true,
            (Some(Some(old)), Attributes::Kept) => attributes::keep(old, &draft.file)?,
            (None, Attributes::Kept) => false,
        };
        before(ReplaceStep::Write)?;
        draft.file.write_all(bytes)?;
        // The system takes set-group-id from a file that is written to.
        let kept = kept
            && match (&old, attributes) {
                (Some(Some(old)), Attributes::Kept) => attributes::mode(old, &draft.file)?,
                _ => true,
            };
        if !kept {
            draft.in_place = draft.target.old(OFlags::WRONLY)?;
        }
        before(ReplaceStep::Sync)?;
        draft.file.sync_all()?;
        Ok(draft)
    }

    /// Opens what [`Replacement::commit`] will replace, as it is now; `None` where nothing is there.
    ///
    /// # Errors
    /// The error of the operating system; another file has come into the place of the one that would be
    /// written.
    pub fn replaced(&self) -> io::Result<Option<File>> {
        let now = self.target.old(OFlags::RDONLY)?;
        if let Some(held) = &self.in_place {
            let identity = |file: &File| file.metadata().map(|meta| (meta.dev(), meta.ino()));
            let held = identity(held)?;
            if now.as_ref().map(identity).transpose()? != Some(held) {
                return Err(io::Error::other("another file has come into its place"));
            }
        }
        Ok(now)
    }

    /// Puts the draft into the file's place and makes that durable.
    ///
    /// # Errors
    /// [`ReplaceError`] says what the file holds then.
    pub fn commit(self) -> Result<(), ReplaceError> {
        self.commit_by(&|_| Ok(()))
    }

    fn commit_by(mut self, before: StepCheck<'_>) -> Result<(), ReplaceError> {
        let Some(name) = self.name.clone() else {
            return Ok(());
        };
        before(ReplaceStep::Replace)?;
        let Some(old) = self.in_place.take() else {
            let folder = &self.target.folder;
            rustix::fs::renameat(folder, &name, folder, &self.target.name)
                .map_err(io::Error::from)?;
            self.name = None;
            return before(ReplaceStep::SyncFolder)
                .and_then(|()| sync(folder))
                .map_err(ReplaceError::Unsynced);
        };
        let length = self.file.metadata()?.len();
        self.file.rewind()?;
        reserve(&old, length)?;
        copy(&self.file, &old, length, before).map_err(|source| {
            // All that there is of the new content.
            self.name = None;
            ReplaceError::Torn {
                draft: name.to_string_lossy().into_owned(),
                source,
            }
        })
    }
}

impl Drop for Replacement {
    fn drop(&mut self) {
        if let Some(name) = &self.name
            && let Err(error) = rustix::fs::unlinkat(&self.target.folder, name, AtFlags::empty())
        {
            tracing::warn!(%error, "a draft of a file could not be removed");
        }
    }
}

/// Replaces the file at `path`, or makes it.
///
/// # Errors
/// [`ReplaceError`] says what the file holds then.
pub fn replace(
    path: &Path,
    bytes: &[u8],
    attributes: Attributes,
    links: Links,
) -> Result<(), ReplaceError> {
    Replacement::write(ReplacedFile::at(path, links)?, bytes, attributes)?.commit()
}

/// Makes creations, renames and removals in a folder durable.
///
/// # Errors
/// The error of the operating system.
pub fn sync_folder(folder: &Path) -> io::Result<()> {
    let folder = match folder.as_os_str().is_empty() {
        true => Path::new("."),
        false => folder,
    };
    File::open(folder)?.sync_all()
}

/// The same for an open folder, which may be open only to be passed through.
fn sync(folder: &OwnedFd) -> io::Result<()> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let synced = rustix::fs::openat(folder, ".", flags, Mode::empty())
        .map_err(io::Error::from)
        .and_then(|folder| File::from(folder).sync_all());
    match synced {
        // Files can be made in a folder whose names may not be read; some network file systems
        // know no fsync of folders.
        Err(error)
            if matches!(
                error.kind(),
                io::ErrorKind::PermissionDenied
                    | io::ErrorKind::InvalidInput
                    | io::ErrorKind::Unsupported
            ) =>
        {
            Ok(())
        }
        synced => synced,
    }
}

/// A folder that is only passed through need not be readable, where the system can do that.
fn folder_flags() -> OFlags {
    #[cfg(target_os = "linux")]
    let kind = OFlags::PATH;
    #[cfg(not(target_os = "linux"))]
    let kind = OFlags::RDONLY;
    kind | OFlags::DIRECTORY
}

/// A new file in `folder`, and its name.
fn create(folder: &OwnedFd, mode: Mode) -> io::Result<(File, OsString)> {
    let flags = OFlags::RDWR | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    for _ in 0..TRIES {
        // Keys of a new RandomState are random: nobody can put a file of that name there before.
        let number = RandomState::new().build_hasher().finish();
        let name = format!(".npast-{}-{number:016x}.tmp", std::process::id());
        match rustix::fs::openat(folder, &name, flags, mode) {
            Ok(file) => return Ok((File::from(file), name.into())),
            Err(Errno::EXIST) => continue,
            Err(error) => return Err(error.into()),
        }
    }
    Err(io::Error::other("no temporary file can be made beside it"))
}

/// Makes sure that a file can have `length` bytes, before the first of them is overwritten.
fn reserve(file: &File, length: u64) -> io::Result<()> {
    #[cfg(target_os = "linux")]
    if length > 0 {
        use rustix::fs::{FallocateFlags, fallocate};
        match fallocate(file, FallocateFlags::KEEP_SIZE, 0, length) {
            // Not every file system has this.
            Ok(()) | Err(Errno::OPNOTSUPP | Errno::NOSYS) => {}
            Err(error) => return Err(error.into()),
        }
    }
    let _ = (file, length);
    Ok(())
}

/// Writes a draft over the old file.
fn copy(mut draft: &File, mut old: &File, length: u64, before: StepCheck<'_>) -> io::Result<()> {
    before(ReplaceStep::InPlace)?;
    if io::copy(&mut draft, &mut old)? != length {
        return Err(io::Error::other("the draft was changed meanwhile"));
    }
    old.set_len(length)?;
    old.sync_all()
}

fn not_regular() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, "it is no regular file")
}

#[cfg(test)]
mod tests;
