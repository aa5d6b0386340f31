//! The file of the index: who may read it, and its journals.

use std::fs::{self, Permissions};
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use rusqlite::Connection;

use crate::durable;

/// Makes the file of an index that is not there yet, for this user alone, and takes others' rights on
/// one that is there. SQLite gives its journals the same mode. An existing index is not opened here:
/// when this process closes a second descriptor of a file, it loses all its locks on the file.
pub(in crate::kv) fn own(path: &Path) -> io::Result<()> {
    match durable::private::create(path) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            fs::set_permissions(path, Permissions::from_mode(0o600))
        }
        made => made.map(drop),
    }
}

/// Removes the journals of an index that is gone.
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

/// True when SQLite opened the index read-only although its file can be written: the header is damaged.
pub(in crate::kv) fn is_read_only_by_its_header(db: &Connection, path: &Path) -> bool {
    let read_only = db.is_readonly(rusqlite::MAIN_DB).unwrap_or(false);
    read_only && rustix::fs::access(path, rustix::fs::Access::WRITE_OK).is_ok()
}
