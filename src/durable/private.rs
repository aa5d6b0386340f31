//! Folders 0700 and files 0600, whatever the umask: only the user may read conversations.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::path::Path;

#[cfg(unix)]
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};

use super::sync_folder;

/// Makes `folder` and what is missing above it, and makes their names durable. A folder that
/// exists keeps its mode.
///
/// # Errors
/// The error of the operating system.
pub fn folder(folder: &Path) -> io::Result<()> {
    if folder.as_os_str().is_empty() || folder.is_dir() {
        return Ok(());
    }
    // One at a time: with a strict umask the upper one must be opened up before the next is made.
    if let Some(above) = folder.parent() {
        self::folder(above)?;
    }
    let mut builder = fs::DirBuilder::new();
    #[cfg(unix)]
    builder.mode(0o700);
    match builder.create(folder) {
        // Another process was faster.
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists && folder.is_dir() => {
            return Ok(());
        }
        made => made?,
    }
    #[cfg(unix)]
    fs::set_permissions(folder, fs::Permissions::from_mode(0o700))?;
    match folder.parent() {
        Some(above) => sync_folder(above),
        None => Ok(()),
    }
}

/// Opens `path` for reading and writing, made empty if it is missing. A file that exists keeps
/// its mode and its bytes.
///
/// # Errors
/// The error of the operating system.
pub fn file(path: &Path) -> io::Result<File> {
    match create(path) {
        Ok(file) => {
            if let Some(folder) = path.parent() {
                sync_folder(folder)?;
            }
            Ok(file)
        }
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            OpenOptions::new().read(true).write(true).open(path)
        }
        Err(error) => Err(error),
    }
}

/// Makes a new file, open for reading and writing. Its name is not durable yet.
///
/// # Errors
/// The error of the operating system; [`io::ErrorKind::AlreadyExists`] where something is in the place, a link
/// too.
pub fn create(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.read(true).write(true).create_new(true);
    #[cfg(unix)]
    options.mode(0o600);
    let file = options.open(path)?;
    // The umask may have taken bits that the owner needs.
    #[cfg(unix)]
    file.set_permissions(fs::Permissions::from_mode(0o600))?;
    Ok(file)
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).unwrap().permissions().mode() & 0o777
    }

    #[test]
    fn what_is_made_is_private_and_what_exists_keeps_its_mode() {
        let home = tempfile::tempdir().unwrap();
        let deep = home.path().join("a/b");
        folder(&deep).unwrap();
        assert_eq!((mode(&home.path().join("a")), mode(&deep)), (0o700, 0o700));
        let path = deep.join("f");
        file(&path).unwrap();
        assert_eq!(mode(&path), 0o600);

        fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
        fs::set_permissions(&deep, fs::Permissions::from_mode(0o750)).unwrap();
        folder(&deep).unwrap();
        file(&path).unwrap();
        assert_eq!((mode(&deep), mode(&path)), (0o750, 0o640));
    }

    /// Runs itself as a second process, since a umask is the whole process's.
    #[test]
    fn the_umask_takes_nothing_and_gives_nothing() {
        const PLACE: &str = "NPAST_TEST_UMASK_PLACE";
        const MASK: &str = "NPAST_TEST_UMASK";
        if let Some(place) = std::env::var_os(PLACE) {
            let mask = std::env::var(MASK).unwrap().parse().unwrap();
            rustix::process::umask(rustix::fs::Mode::from_raw_mode(mask));
            folder(&Path::new(&place).join("a/b")).unwrap();
            file(&Path::new(&place).join("a/b/f")).unwrap();
            return;
        }
        let name = "durable::private::tests::the_umask_takes_nothing_and_gives_nothing";
        for mask in [0, 0o777] {
            let home = tempfile::tempdir().unwrap();
            let ran = std::process::Command::new(std::env::current_exe().unwrap())
                .args(["--exact", name])
                .env(PLACE, home.path())
                .env(MASK, u32::to_string(&mask))
                .output()
                .unwrap();
            assert!(
                ran.status.success(),
                "{}",
                String::from_utf8_lossy(&ran.stdout)
            );
            let seen = ["a", "a/b", "a/b/f"].map(|path| mode(&home.path().join(path)));
            assert_eq!(seen, [0o700, 0o700, 0o600], "umask {mask:o}");
        }
    }
}
