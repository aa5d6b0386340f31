//! The lock file of a KV folder: shared while a process uses the folder, exclusive while one removes
//! what crashes left.

use std::fs::{File, TryLockError};
use std::path::{Path, PathBuf};

use crate::kv::error::Error;
use crate::kv::record::storage::private_file;

/// The lock of a folder, held until it is dropped.
pub(in crate::kv) struct FolderLock {
    file: File,
    path: PathBuf,
    alone: bool,
}

impl FolderLock {
    /// Locks the folder `root`: exclusively when no other process uses it, else shared. On a file
    /// system without locks no process counts as the only one.
    ///
    /// # Errors
    /// When the lock file cannot be made or locked.
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

    /// Whether no other process used the folder when the lock was taken.
    pub(in crate::kv) fn was_alone(&self) -> bool {
        self.alone
    }

    /// Lets other processes use the folder too.
    ///
    /// # Errors
    /// When the system refuses.
    pub(in crate::kv) fn share(&self) -> Result<(), Error> {
        self.file
            .unlock()
            .and_then(|()| self.file.lock_shared())
            .map_err(Error::folder(&self.path))
    }
}
