//! A view of the file system in which everything outside is mounted read-only: that also keeps
//! modes, owners and times as they are, for which Landlock has no right, and the parts of `.git` that
//! git would run later. Not every system lets a user make one (AppArmor on some desktops, containers);
//! without it the rest of the sandbox is the same.

use std::fmt;
use std::fs;
use std::io;
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};

use nix::sched::{CloneFlags, unshare};
use rustix::mount::{
    MountFlags, MountPropagationFlags, mount_bind_recursive, mount_change, mount_remount,
};

use serde::{Deserialize, Serialize};

use super::SandboxRules;

/// What git runs, or takes commands from, in each of its folders.
const OF_GIT: &[&str] = &["hooks", "config", "config.worktree", "commondir"];
/// Parts of a git folder in which no other one is.
const BULK: &[&str] = &["objects", "refs", "logs", "hooks"];
/// Most repositories of submodules that are closed.
const MAX_CLOSED: usize = 1000;

/// What a program has of its own, so that it cannot name what others have.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug, Serialize, Deserialize)]
pub(super) struct OwnView {
    /// The view of the file system.
    pub mounts: bool,
    /// Process numbers.
    pub processes: bool,
    /// System V shared memory, queues and semaphores, and POSIX queues.
    pub ipc: bool,
}

impl fmt::Display for OwnView {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (has, name) in [
            (self.mounts, "mounts"),
            (self.processes, "processes"),
            (self.ipc, "IPC"),
        ] {
            if has {
                write!(f, ", own {name}")?;
            }
        }
        Ok(())
    }
}

/// Gives this process, which must have one thread, what can be had of its own. Of the process
/// numbers its children are the first to have them.
///
/// # Errors
/// When a view was begun and cannot be finished: half a view must not be used.
pub(super) fn own(rules: &SandboxRules) -> io::Result<OwnView> {
    if !mounts_of_its_own(rules)? {
        return Ok(OwnView::default());
    }
    Ok(OwnView {
        mounts: true,
        ipc: unshare(CloneFlags::CLONE_NEWIPC).is_ok(),
        processes: proc_is_whole()? && unshare(CloneFlags::CLONE_NEWPID).is_ok(),
    })
}

/// Whether the kernel lets a `/proc` be mounted: not where parts of the one that is there are
/// covered, as containers do it. Programs with numbers of their own need it.
fn proc_is_whole() -> io::Result<bool> {
    // The kernel keeps an empty folder here for this mount.
    let empty = Path::new("/proc/sys/fs/binfmt_misc");
    let proc = Path::new("/proc");
    let covers = |point: &Path| point.starts_with(proc) && point != proc && point != empty;
    Ok(!mounts()?.iter().any(|(point, _)| covers(point)))
}

/// A view of the file system; false where none can be had.
fn mounts_of_its_own(rules: &SandboxRules) -> io::Result<bool> {
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
    for folder in &rules.write {
        match mount_bind_recursive(folder, folder) {
            // A place that the user named and that does not exist.
            Err(rustix::io::Errno::NOENT) => {}
            bound => bound?,
        }
    }
    let mut shut: Vec<PathBuf> = Vec::new();
    for git in rules.write.iter().map(|folder| folder.join(".git")) {
        close(&git, &mut shut)?;
    }
    for (point, old) in mounts()? {
        let open = rules.write.iter().any(|folder| point.starts_with(folder));
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

/// Makes mounts of what git runs in a project's `.git`, and of the folders that it lies in, and
/// adds those to be made read-only to `shut`. A mount point cannot be moved away, so nobody puts
/// something else in its place.
fn close(git: &Path, shut: &mut Vec<PathBuf>) -> io::Result<()> {
    let is = |path: &Path| fs::symlink_metadata(path).ok().filter(|m| !m.is_symlink());
    match is(git) {
        None => return Ok(()),
        // This file says where the repository is.
        Some(meta) if !meta.is_dir() => {
            mount_bind_recursive(git, git)?;
            shut.push(git.to_owned());
            return Ok(());
        }
        Some(_) => {}
    }
    // Repositories of submodules lie below `modules`, also in folders there.
    let mut left = vec![(git.to_owned(), true)];
    let mut closed = 0;
    while let Some((folder, repository)) = left.pop() {
        let modules = folder.join("modules");
        if repository {
            mount_bind_recursive(&folder, &folder)?;
            for part in OF_GIT.iter().map(|name| folder.join(name)) {
                if is(&part).is_some() {
                    mount_bind_recursive(&part, &part)?;
                    shut.push(part);
                }
            }
            closed += 1;
            if closed >= MAX_CLOSED || is(&modules).is_none_or(|m| !m.is_dir()) {
                continue;
            }
            mount_bind_recursive(&modules, &modules)?;
        }
        let within = if repository { &modules } else { &folder };
        for entry in fs::read_dir(within).into_iter().flatten().flatten() {
            let name = entry.file_name();
            let bulk = BULK.iter().any(|bulk| name == *bulk);
            if !bulk && entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                let path = entry.path();
                let repository = is(&path.join("HEAD")).is_some();
                left.push((path, repository));
            }
        }
    }
    Ok(())
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
