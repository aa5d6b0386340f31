//! The database file of the index: its mode, and its journal files (`-wal`, `-shm`). Used when the index
//! is opened or rebuilt. Invariant: only this user can read the file.

use std::fs::{self, Permissions};
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use rusqlite::Connection;

use crate::durable;

/// Creates the database file with mode 0600 if it does not exist, and sets this mode if it does. SQLite
/// gives its journal files the same mode. An existing file is not opened here: on POSIX systems a process
/// that closes one file descriptor of a file loses all its locks on that file, also those that SQLite
/// holds.
pub(in crate::kv) fn own(path: &Path) -> io::Result<()> {
    match durable::private::create(path) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            fs::set_permissions(path, Permissions::from_mode(0o600))
        }
        made => made.map(drop),
    }
}

/// Removes the journal files of an index whose database file does not exist any more.
pub(in crate::kv) fn remove_journals(path: &Path) -> io::Result<()> {
    for ending in ["-wal", "-shm"] {
        let mut name = path.as_os_str().to_os_string();
        name.push(ending);
        match fs::remove_file(&name) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
    }
    Ok(())
}

/// True when SQLite opened the index read-only although the file can be written: then the header of the
/// database is damaged.
pub(in crate::kv) fn is_read_only_by_its_header(db: &Connection, path: &Path) -> bool {
    let read_only = db.is_readonly(rusqlite::MAIN_DB).unwrap_or(false);
    read_only && rustix::fs::access(path, rustix::fs::Access::WRITE_OK).is_ok()
}
