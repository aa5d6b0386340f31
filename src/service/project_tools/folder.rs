//! A folder of this process for temporary files. It goes with the process; what one that was killed
//! left behind goes with the next.

use std::fs::{self, File, Permissions};
use std::io::{self, ErrorKind};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

/// What the folders of processes are called, before the process's number.
const PREFIX: &str = "process-";

/// A folder that this process alone has.
pub struct ClaimedFolder {
    path: PathBuf,
    /// Locked as long as the process lives.
    _held: File,
}

impl ClaimedFolder {
    /// Makes one in the data folder `home`, where no other user can read it.
    ///
    /// # Errors
    /// When it cannot be made; the folder is named.
    pub fn new(home: &Path) -> io::Result<ClaimedFolder> {
        let all = home.join("temp");
        let named = |error: io::Error| {
            let reason = format!("the folder {} cannot be made: {error}", all.display());
            io::Error::new(error.kind(), reason)
        };
        make(&all).map_err(named)
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for ClaimedFolder {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_dir_all(&self.path) {
            tracing::warn!(%error, "a temporary folder is left to the next process");
        }
    }
}

fn make(all: &Path) -> io::Result<ClaimedFolder> {
    fs::create_dir_all(all)?;
    fs::set_permissions(all, Permissions::from_mode(0o700))?;
    sweep(all)?;
    let mut number = 0;
    loop {
        let path = all.join(format!("{PREFIX}{}-{number}", std::process::id()));
        number += 1;
        match fs::create_dir(&path) {
            Err(error) if error.kind() == ErrorKind::AlreadyExists => continue,
            made => made?,
        }
        // A folder that is not locked yet looks left behind to a process that removes old ones at this moment.
        let Ok(held) = File::open(&path) else {
            continue;
        };
        if held.try_lock().is_ok() && path.is_dir() {
            fs::set_permissions(&path, Permissions::from_mode(0o700))?;
            return Ok(ClaimedFolder { path, _held: held });
        }
    }
}

/// Removes the folders of processes that are gone.
fn sweep(all: &Path) -> io::Result<()> {
    for entry in fs::read_dir(all)? {
        let entry = entry?;
        if !entry.file_name().to_string_lossy().starts_with(PREFIX) {
            continue;
        }
        if let Ok(folder) = File::open(entry.path())
            && folder.try_lock().is_ok()
            && let Err(error) = fs::remove_dir_all(entry.path())
        {
            tracing::warn!(%error, "a temporary folder of an earlier process stays");
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(home: &Path) -> Vec<String> {
        let all = fs::read_dir(home.join("temp")).unwrap();
        let mut names: Vec<String> = all
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }

    #[test]
    fn a_folder_goes_with_its_process_and_a_dead_ones_with_the_next() {
        let home = tempfile::tempdir().unwrap();
        let left = home.path().join("temp/process-1-0/deep");
        fs::create_dir_all(&left).unwrap();
        fs::write(left.join("file"), "x").unwrap();
        fs::create_dir(home.path().join("temp/session-7")).unwrap();
        let (one, two) = (
            ClaimedFolder::new(home.path()).unwrap(),
            ClaimedFolder::new(home.path()),
        );
        let two = two.unwrap();
        let own = |n: u32| format!("process-{}-{n}", std::process::id());
        assert_eq!(names(home.path()), [own(0), own(1), "session-7".to_owned()]);
        let mode = fs::metadata(one.path()).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o700);
        drop(one);
        assert!(two.path().is_dir());
        drop(two);
        assert_eq!(names(home.path()), ["session-7"]);
    }

    #[test]
    fn a_data_folder_that_is_a_file_is_named() {
        let home = tempfile::tempdir().unwrap();
        fs::write(home.path().join("temp"), "x").unwrap();
        let error = ClaimedFolder::new(home.path()).err().unwrap().to_string();
        let want = format!("the folder {}/temp cannot be made: ", home.path().display());
        assert!(error.starts_with(&want), "{error}");
    }
}
