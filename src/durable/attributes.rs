//! What a new file takes over from the one it replaces, through open descriptors, so that no name is
//! looked up twice.

use std::fs::File;
use std::io;

use rustix::fs::{Gid, Mode, Uid, XattrFlags, fchmod, fchown, fremovexattr, fsetxattr, fstat};
use rustix::fs::{fgetxattr, flistxattr};
use rustix::io::Errno;

/// Most bytes of a list of names, and of one value: the limit of Linux.
const MAX_BYTES: usize = 64 << 10;

/// Attributes that only the system sets: they vouch for the content they were set on, or say where it
/// came from, and it takes them away or makes them new when a file is written.
const OF_SYSTEM: &[&[u8]] = &[
    b"security.capability",
    b"security.evm",
    b"security.ima",
    b"com.apple.provenance",
];

/// Gives `new` the owner, group, permission bits and extended attributes of `old`. False where the
/// system does not allow one of them.
///
/// # Errors
/// The error of the operating system for a file that cannot be read.
pub(super) fn keep(old: &File, new: &File) -> io::Result<bool> {
    // Last the mode: a change of the owner takes bits away, and a list of rights sets some.
    Ok(owner(old, new)? && extended(old, new)? && mode(old, new)?)
}

/// Owner and group.
pub(super) fn owner(old: &File, new: &File) -> io::Result<bool> {
    let (was, is) = (fstat(old)?, fstat(new)?);
    let owner = (was.st_uid != is.st_uid).then(|| Uid::from_raw(was.st_uid));
    let group = (was.st_gid != is.st_gid).then(|| Gid::from_raw(was.st_gid));
    if owner.is_none() && group.is_none() {
        return Ok(true);
    }
    Ok(fchown(new, owner, group).is_ok())
}

/// Permission bits, with set-user-id, set-group-id and the sticky bit.
pub(super) fn mode(old: &File, new: &File) -> io::Result<bool> {
    let bits = |file: &File| fstat(file).map(|stat| stat.st_mode & 0o7777);
    let was = bits(old)?;
    if bits(new)? == was {
        return Ok(true);
    }
    // A bit that the user may not set is left out without an error.
    Ok(fchmod(new, Mode::from_raw_mode(was)).is_ok() && bits(new)? == was)
}

/// Extended attributes; lists of access rights are among them.
fn extended(old: &File, new: &File) -> io::Result<bool> {
    let (Some(wanted), Some(there)) = (names(old)?, names(new)?) else {
        return Ok(false);
    };
    for name in &wanted {
        let Some(value) = value(old, name)? else {
            return Ok(false);
        };
        if self::value(new, name)?.as_ref() != Some(&value)
            && fsetxattr(new, name.as_slice(), &value, XattrFlags::empty()).is_err()
        {
            return Ok(false);
        }
    }
    // A folder gives new files rights that the old file may not have had.
    let inherited = there.iter().filter(|name| !wanted.contains(name));
    for name in inherited.filter(|name| !name.starts_with(b"security.")) {
        if fremovexattr(new, name.as_slice()).is_err() {
            return Ok(false);
        }
    }
    Ok(true)
}

/// The names of attributes; `None` where there are too many.
fn names(file: &File) -> io::Result<Option<Vec<Vec<u8>>>> {
    let mut bytes = vec![0; MAX_BYTES];
    let length = match flistxattr(file, bytes.as_mut_slice()) {
        Ok(length) => length,
        Err(Errno::NOTSUP) => 0,
        Err(Errno::RANGE | Errno::TOOBIG) => return Ok(None),
        Err(error) => return Err(error.into()),
    };
    let all = bytes[..length].split(|byte| *byte == 0);
    let names = all.filter(|name| !name.is_empty() && !OF_SYSTEM.contains(name));
    Ok(Some(names.map(<[u8]>::to_vec).collect()))
}

/// An attribute's value; `None` where it has none that can be read.
fn value(file: &File, name: &[u8]) -> io::Result<Option<Vec<u8>>> {
    let mut bytes = vec![0; MAX_BYTES];
    match fgetxattr(file, name, bytes.as_mut_slice()) {
        Ok(length) => {
            bytes.truncate(length);
            Ok(Some(bytes))
        }
        Err(_) => Ok(None),
    }
}
