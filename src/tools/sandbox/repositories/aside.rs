//! Quarantine of a file that git would use: the file gets another name in its folder, which git does not
//! look for, and the file that was there before comes back. Each folder is opened name by name without
//! following a link: the supervisor has the user's rights, and another command may turn folders into links
//! meanwhile.

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, FileType, Mode, OFlags, RenameFlags};
use rustix::io::Errno;

use crate::tools::place;

/// Most bytes of a file that are held, to be written again.
const MAX_HELD: u64 = 256 << 10;
/// The end of the new name.
const ASIDE: &str = "set-aside";
/// Most files of one name that are renamed in a folder.
const MAX_ASIDE: u32 = 1000;

/// What is at a place.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Fact {
    File {
        bytes: Vec<u8>,
        mode: u32,
    },
    Link(PathBuf),
    /// Something else, or too large to be held: its number, its size and the time of its last
    /// change.
    Other(u64, i64, (i64, i64)),
}

/// What is at a place now.
pub(super) fn read(path: &Path) -> Fact {
    fact(path).unwrap_or(Fact::Other(0, 0, (0, 0)))
}

fn fact(path: &Path) -> io::Result<Fact> {
    let (folder, name) = parts(path)?;
    let stat = rustix::fs::statat(&folder, name, AtFlags::SYMLINK_NOFOLLOW)?;
    let other = Fact::Other(
        stat.st_ino,
        stat.st_size,
        (stat.st_ctime, stat.st_ctime_nsec as i64),
    );
    match FileType::from_raw_mode(stat.st_mode) {
        FileType::Symlink => {
            let to = rustix::fs::readlinkat(&folder, name, Vec::new())?;
            let to = std::ffi::OsString::from_vec(to.into_bytes());
            return Ok(Fact::Link(to.into()));
        }
        FileType::RegularFile => {}
        _ => return Ok(other),
    }
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let file = File::from(rustix::fs::openat(&folder, name, flags, Mode::empty())?);
    let mut bytes = Vec::new();
    file.take(MAX_HELD + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > MAX_HELD {
        return Ok(other);
    }
    let mode = stat.st_mode & 0o777;
    Ok(Fact::File { bytes, mode })
}

/// Sets a file aside; its name from then on. `old` comes back to its place.
///
/// # Errors
/// The error of the operating system.
pub(super) fn put(path: &Path, old: Option<&Fact>) -> io::Result<String> {
    let (folder, name) = parts(path)?;
    let mut now = None;
    for number in 1..MAX_ASIDE {
        let mut other = name.to_owned();
        other.push(format!(".{ASIDE}"));
        if number > 1 {
            other.push(format!("-{number}"));
        }
        match rustix::fs::renameat_with(&folder, name, &folder, &other, RenameFlags::NOREPLACE) {
            Ok(()) => {
                now = Some(other);
                break;
            }
            Err(Errno::EXIST) => {}
            Err(error) => return Err(error.into()),
        }
    }
    let now = now.ok_or_else(|| io::Error::other("too many files have this name already"))?;
    match old {
        Some(Fact::File { bytes, mode }) => {
            let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
            let mode = Mode::from_raw_mode(*mode);
            let file = rustix::fs::openat(&folder, name, flags, mode)?;
            let mut file = File::from(file);
            file.write_all(bytes)?;
            rustix::fs::fchmod(&file, mode)?;
        }
        Some(Fact::Link(to)) => rustix::fs::symlinkat(to, &folder, name)?,
        _ => {}
    }
    Ok(now.to_string_lossy().into_owned())
}

fn parts(path: &Path) -> io::Result<(OwnedFd, &std::ffi::OsStr)> {
    let nowhere = || io::Error::from(io::ErrorKind::NotFound);
    let folder = path.parent().ok_or_else(nowhere)?;
    let name = path.file_name().ok_or_else(nowhere)?;
    Ok((place::walk(folder, false)?, name))
}
