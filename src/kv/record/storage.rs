//! The file operations that durability depends on, behind a trait. [`Disk`] is the file system; a test's
//! double can let operations fail, stop between any two of them, or forget what was not synced.

use std::fs::{self, DirBuilder, File, Permissions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::Path;

use crate::durable::{self, Space};

/// What KV files need of a file system.
pub trait Storage: Send + Sync {
    /// Makes a folder and its parents, for this user alone (0700). It may exist.
    fn make_folder(&self, path: &Path) -> io::Result<()>;
    /// Creates a file that must not exist, for this user alone (0600).
    fn create(&self, path: &Path) -> io::Result<Box<dyn OutputFile>>;
    /// Opens a file for reading from its start; also its length in bytes.
    fn open(&self, path: &Path) -> io::Result<(Box<dyn Read>, u64)>;
    /// Renames, replacing what is there.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;
    /// Makes creations, renames and removals in a folder durable.
    fn sync_folder(&self, path: &Path) -> io::Result<()>;
    /// Removes a file.
    fn remove(&self, path: &Path) -> io::Result<()>;
    /// The names in a folder, without those that are not UTF-8: npast did not write those.
    fn list(&self, path: &Path) -> io::Result<Vec<String>>;
    /// The room on the disk of a folder, if that is known.
    fn space(&self, path: &Path) -> Option<Space> {
        let _ = path;
        None
    }
}

/// A file being written.
pub trait OutputFile: Write {
    /// Makes what was written durable.
    fn sync(&mut self) -> io::Result<()>;
}

/// The real file system.
pub struct Disk;

impl Storage for Disk {
    fn make_folder(&self, path: &Path) -> io::Result<()> {
        DirBuilder::new().recursive(true).mode(0o700).create(path)?;
        // The folder may have been there with another mode, or the umask may have taken bits away.
        fs::set_permissions(path, Permissions::from_mode(0o700))
    }

    fn create(&self, path: &Path) -> io::Result<Box<dyn OutputFile>> {
        Ok(Box::new(durable::private::create(path)?))
    }

    fn open(&self, path: &Path) -> io::Result<(Box<dyn Read>, u64)> {
        let file = File::open(path)?;
        let meta = file.metadata()?;
        if !meta.is_file() {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "not a file"));
        }
        Ok((Box::new(file), meta.len()))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        fs::rename(from, to)
    }

    fn sync_folder(&self, path: &Path) -> io::Result<()> {
        durable::sync_folder(path)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        fs::remove_file(path)
    }

    fn list(&self, path: &Path) -> io::Result<Vec<String>> {
        let mut names = Vec::new();
        for entry in fs::read_dir(path)? {
            if let Ok(name) = entry?.file_name().into_string() {
                names.push(name);
            }
        }
        names.sort();
        Ok(names)
    }

    fn space(&self, path: &Path) -> Option<Space> {
        Space::of(path)
    }
}

impl OutputFile for File {
    fn sync(&mut self) -> io::Result<()> {
        self.sync_all()
    }
}

/// Opens a file for reading and writing, made empty if it is missing. Its mode is 0600 then, whatever
/// the umask is and whatever the mode was.
pub(in crate::kv) fn private_file(path: &Path) -> io::Result<File> {
    let file = durable::private::file(path)?;
    file.set_permissions(Permissions::from_mode(0o600))?;
    Ok(file)
}
