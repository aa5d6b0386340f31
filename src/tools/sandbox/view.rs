//! A view of the file system in which everything outside is mounted read-only: that also keeps
//! modes, owners and times as they are, for which Landlock has no right, and the parts of `.git` that
//! git would run later. Not every system lets a user make one (AppArmor on some desktops, containers);
//! without it the rest of the wall holds as before.

use std::fs;
use std::io;
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};

use nix::sched::{CloneFlags, unshare};
use rustix::mount::{
    MountFlags, MountPropagationFlags, mount_bind_recursive, mount_change, mount_remount,
};

use super::Wall;

/// What git runs, or takes commands from.
const OF_GIT: &[&str] = &["hooks", "config"];

/// Gives this process, which must have one thread, a view of its own; false where it cannot be had.
///
/// # Errors
/// When it was begun and cannot be finished: half a view must not be used.
pub(super) fn own(wall: &Wall) -> io::Result<bool> {
    let (user, group) = (rustix::process::getuid(), rustix::process::getgid());
    let mut flags = CloneFlags::CLONE_NEWNS;
    if !user.is_root() {
        flags |= CloneFlags::CLONE_NEWUSER;
    }
    if unshare(flags).is_err() {
        return Ok(false);
    }
    if !user.is_root() {
        // Everybody stays who they are.
        fs::write("/proc/self/setgroups", "deny")?;
        fs::write("/proc/self/uid_map", format!("{0} {0} 1", user.as_raw()))?;
        fs::write("/proc/self/gid_map", format!("{0} {0} 1", group.as_raw()))?;
    }
    let private = MountPropagationFlags::PRIVATE | MountPropagationFlags::REC;
    if mount_change("/", private).is_err() {
        return Ok(false);
    }
    for folder in &wall.write {
        match mount_bind_recursive(folder, folder) {
            // One that the user named and that is not there.
            Err(rustix::io::Errno::NOENT) => {}
            bound => bound?,
        }
    }
    let mut shut: Vec<PathBuf> = Vec::new();
    for git in wall.write.iter().map(|folder| folder.join(".git")) {
        if !fs::symlink_metadata(&git).is_ok_and(|m| m.is_dir()) {
            continue;
        }
        // A mount point cannot be moved away, so nobody puts another folder in its place.
        mount_bind_recursive(&git, &git)?;
        for part in OF_GIT.iter().map(|name| git.join(name)) {
            if fs::symlink_metadata(&part).is_ok_and(|m| !m.is_symlink()) {
                mount_bind_recursive(&part, &part)?;
                shut.push(part);
            }
        }
    }
    for (point, old) in mounts()? {
        let open = wall.write.iter().any(|folder| point.starts_with(folder));
        if open && !shut.contains(&point) {
            continue;
        }
        let read_only = MountFlags::BIND | MountFlags::RDONLY | old;
        match mount_remount(&point, read_only, c"") {
            Ok(()) => {}
            // Mounts below hidden folders, or under others, cannot be named any more.
            Err(
                rustix::io::Errno::NOENT | rustix::io::Errno::INVAL | rustix::io::Errno::ACCESS,
            ) => {}
            Err(error) => {
                let reason = format!("{} cannot be made read-only: {error}", point.display());
                return Err(io::Error::new(error.kind(), reason));
            }
        }
    }
    Ok(true)
}

/// Mount points with the flags that must stay as they are, from proc_pid_mountinfo(5).
fn mounts() -> io::Result<Vec<(PathBuf, MountFlags)>> {
    let text = fs::read("/proc/self/mountinfo")?;
    let lines = text.split(|b| *b == b'\n');
    let mount = |line: &[u8]| {
        let fields: Vec<&[u8]> = line.split(|b| *b == b' ').collect();
        let (point, options) = (fields.get(4)?, fields.get(5)?);
        let flags = String::from_utf8_lossy(options);
        let flags = flags.split(',').map(|option| match option {
            "nosuid" => MountFlags::NOSUID,
            "nodev" => MountFlags::NODEV,
            "noexec" => MountFlags::NOEXEC,
            "noatime" => MountFlags::NOATIME,
            "nodiratime" => MountFlags::NODIRATIME,
            "relatime" => MountFlags::RELATIME,
            _ => MountFlags::empty(),
        });
        Some((
            PathBuf::from(plain(point)),
            flags.fold(MountFlags::empty(), |a, b| a | b),
        ))
    };
    Ok(lines
        .filter_map(mount)
        .filter(|(p, _)| p.starts_with(Path::new("/")))
        .collect())
}

/// A path as the kernel writes it: blanks and the like as three octal digits.
fn plain(field: &[u8]) -> std::ffi::OsString {
    let mut out = Vec::with_capacity(field.len());
    let mut at = 0;
    while at < field.len() {
        let digits = field.get(at + 1..at + 4);
        let octal =
            digits.filter(|d| field[at] == b'\\' && d.iter().all(|b| (b'0'..=b'7').contains(b)));
        match octal {
            Some(d) => {
                let value = d.iter().fold(0u32, |v, b| v * 8 + u32::from(b - b'0'));
                out.push(value as u8);
                at += 4;
            }
            None => {
                out.push(field[at]);
                at += 1;
            }
        }
    }
    std::ffi::OsString::from_vec(out)
}

#[cfg(test)]
mod tests {
    #[test]
    fn mount_points_are_read_as_the_kernel_writes_them() {
        assert_eq!(super::plain(br"/a\040b\134c\\x\0"), r"/a b\c\\x\0");
        assert!(
            super::mounts()
                .unwrap()
                .iter()
                .any(|(p, _)| p == std::path::Path::new("/"))
        );
    }
}
