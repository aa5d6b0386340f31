//! The lock file of the KV folder. Each process that opens the folder tries to lock the file exclusively,
//! without waiting. If another process has a lock, this fails, and the process waits for a shared lock
//! instead. A process that got the exclusive lock is *alone*: it may remove temporary files that crashed
//! processes left, and move a damaged index away. [`FolderLock::share`] then replaces the exclusive lock
//! by a shared one, and the processes that wait can go on. (It unlocks the file for a moment: another
//! process may get the exclusive lock then, and `share` waits for that process.) Invariant: while a
//! process is alone and has not called `share`, no other process has a lock. (On a file system without
//! locks no process is ever alone.)

use std::fs::{File, TryLockError};
use std::path::{Path, PathBuf};

use crate::kv::error::Error;
use crate::kv::record::storage::private_file;

/// The lock of a KV folder. It is released when this value is dropped.
pub(in crate::kv) struct FolderLock {
    file: File,
    path: PathBuf,
    alone: bool,
}

impl FolderLock {
    /// Locks the KV folder `root`: exclusively if no other process uses it, otherwise shared. On a file
    /// system without locks the lock is never exclusive: [`FolderLock::was_alone`] is false.
    ///
    /// # Errors
    /// When the lock file cannot be created or locked.
    pub(in crate::kv) fn take(root: &Path) -> Result<FolderLock, Error> {
        let path = root.join("lock");
        let file = private_file(&path).map_err(Error::folder(&path))?;
        let alone = match file.try_lock() {
            Ok(()) => true,
            Err(TryLockError::WouldBlock) => {
                file.lock_shared().map_err(Error::folder(&path))?;
                false
            }
            Err(TryLockError::Error(error)) => {
                tracing::warn!(%error, "no lock on the kv folder");
                false
            }
        };
        Ok(FolderLock { file, path, alone })
    }

    /// Whether the lock was exclusive when it was taken: no other process used the folder.
    pub(in crate::kv) fn was_alone(&self) -> bool {
        self.alone
    }

    /// Makes the lock shared, so that other processes can use the folder too.
    ///
    /// # Errors
    /// When the operating system returns an error.
    pub(in crate::kv) fn share(&self) -> Result<(), Error> {
        self.file
            .unlock()
            .and_then(|()| self.file.lock_shared())
            .map_err(Error::folder(&self.path))
    }
}
