//! The file operations for record files, as the trait [`Storage`]. [`Disk`] implements it with the real
//! file system. Tests of this module have another implementation, which can make an operation fail, stop
//! between any two operations, or lose everything that was not flushed. Invariant: what a method calls
//! durable survives a power cut. (The index, the lock files and `weights.json` are always real files and
//! do not use this trait.)

use std::fs::{self, DirBuilder, File, Permissions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::Path;

use crate::durable::{self, Space};

/// The file operations that writing and reading record files need.
pub trait Storage: Send + Sync {
    /// Creates a folder and its parents, with mode 0700. It may exist already.
    fn make_folder(&self, path: &Path) -> io::Result<()>;
    /// Creates a file with mode 0600. It is an error if the file exists.
    fn create(&self, path: &Path) -> io::Result<Box<dyn OutputFile>>;
    /// Opens a file to read it from its start; also returns its length in bytes.
    fn open(&self, path: &Path) -> io::Result<(Box<dyn Read>, u64)>;
    /// Renames a file, and replaces a file that has the name `to`.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;
    /// Makes the creations, renames and removals in a folder durable (fsync of the folder).
    fn sync_folder(&self, path: &Path) -> io::Result<()>;
    /// Removes a file.
    fn remove(&self, path: &Path) -> io::Result<()>;
    /// The names of the files in a folder. Names that are not UTF-8 are left out, because npast did not
    /// write them.
    fn list(&self, path: &Path) -> io::Result<Vec<String>>;
    /// The free and total space of the disk of a folder; `None` if it is not known.
    fn space(&self, path: &Path) -> Option<Space> {
        let _ = path;
        None
    }
}

/// A file that is being written.
pub trait OutputFile: Write {
    /// Makes the written bytes durable (fsync of the file).
    fn sync(&mut self) -> io::Result<()>;
}

/// The real file system.
pub struct Disk;

impl Storage for Disk {
    fn make_folder(&self, path: &Path) -> io::Result<()> {
        DirBuilder::new().recursive(true).mode(0o700).create(path)?;
        // The folder may have existed with another mode, or the umask may have removed bits.
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

/// Opens a file for reading and writing; an empty one is created if it does not exist. Afterwards its
/// mode is 0600, whatever its mode and the umask were.
pub(in crate::kv) fn private_file(path: &Path) -> io::Result<File> {
    let file = durable::private::file(path)?;
    file.set_permissions(Permissions::from_mode(0o600))?;
    Ok(file)
}
