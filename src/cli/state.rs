//! What the data folder holds: sizes, permissions, free space. For `doctor` and `kv status`.

use std::path::Path;

/// Entries that are counted before we stop: a folder that is not ours may be endless.
const MAX_ENTRIES: usize = 1_000_000;
const MAX_DEPTH: usize = 16;

/// Files below a folder.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Size {
    /// Regular files.
    pub files: u64,
    /// Their lengths.
    pub bytes: u64,
}

/// Counts what is below `path` (or the file itself); links are not followed.
pub fn size(path: &Path) -> Size {
    let mut size = Size::default();
    let mut left = MAX_ENTRIES;
    add(path, &mut size, &mut left, 0);
    size
}

fn add(path: &Path, size: &mut Size, left: &mut usize, depth: usize) {
    let Ok(meta) = path.symlink_metadata() else {
        return;
    };
    if meta.is_file() {
        size.files += 1;
        size.bytes += meta.len();
    }
    if !meta.is_dir() || depth == MAX_DEPTH {
        return;
    }
    for entry in std::fs::read_dir(path).into_iter().flatten().flatten() {
        let Some(fewer) = left.checked_sub(1) else {
            return;
        };
        *left = fewer;
        add(&entry.path(), size, left, depth + 1);
    }
}

/// Bytes that this user can still write on the disk of `path`, or of the nearest folder above it
/// that exists.
pub fn free(path: &Path) -> Option<u64> {
    let there = path.ancestors().find(|p| p.exists())?;
    let stat = rustix::fs::statvfs(there).ok()?;
    Some(stat.f_bavail.saturating_mul(stat.f_frsize))
}

/// Permission bits, where the system has them.
pub fn mode(path: &Path) -> Option<u32> {
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        Some(path.metadata().ok()?.permissions().mode() & 0o777)
    }
    #[cfg(not(unix))]
    {
        let _ = path;
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_below_a_folder_are_counted_and_links_are_not_followed() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(dir.path().join("a/b")).unwrap();
        std::fs::write(dir.path().join("x"), "123").unwrap();
        std::fs::write(dir.path().join("a/b/y"), "4567").unwrap();
        #[cfg(unix)]
        std::os::unix::fs::symlink(dir.path(), dir.path().join("a/loop")).unwrap();
        assert_eq!(size(dir.path()), Size { files: 2, bytes: 7 });
        assert_eq!(size(&dir.path().join("gone")), Size::default());
    }

    #[test]
    fn a_folder_that_is_not_there_yet_has_the_free_space_of_its_place() {
        let dir = tempfile::tempdir().unwrap();
        assert!(free(&dir.path().join("not/yet")).is_some_and(|n| n > 0));
    }
}
