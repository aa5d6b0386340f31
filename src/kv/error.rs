//! The error type of the KV store, and the texts of its errors for the user. Every operation of `Store`
//! and `Folder` that can fail returns it. After any of these errors the conversation in npast.db is
//! complete and undamaged; at most, tokens are evaluated again.

use std::io;
use std::path::{Path, PathBuf};

/// Why an operation on the store failed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A folder or file in the KV folder cannot be created, locked, read or written.
    #[error("the KV folder {} cannot be used: {source}", path.display())]
    Folder {
        /// The path of that folder or file.
        path: PathBuf,
        /// The error of the operating system.
        source: io::Error,
    },
    /// SQLite failed. If the index was damaged, the operation has already tried to rebuild the index
    /// before it returns this error.
    #[error("the KV index failed: {0}")]
    Index(#[from] rusqlite::Error),
    /// A record file could not be read. It may be readable later, so it is not moved to quarantine.
    #[error("KV file {name} cannot be read: {source}")]
    Read {
        /// The name of the record file.
        name: String,
        /// The error of the operating system.
        source: io::Error,
    },
    /// A record file is missing, or a check of its proof failed.
    #[error("KV file {name} is refused: {damage}")]
    Refused {
        /// The name of the record file.
        name: String,
        /// The first check that failed.
        damage: Damage,
    },
    /// The thread that reads segments ahead panicked. No file is known to be damaged.
    #[error("stored KV was not read: the reading thread panicked: {0}")]
    Panicked(String),
    /// Another process uses the KV folder. It may have written records that no owner reaches yet, so they
    /// must not be removed.
    #[error("another npast is using the KV folder")]
    Busy,
    /// The writer thread has ended after a panic, or this store saves no KV (`Store::off`).
    #[error("the KV writer has stopped; nothing more is saved until a restart")]
    Stopped,
}

impl Error {
    /// True when the record file is missing or damaged, so that the caller must take it out of use
    /// (`Store::quarantine_edge`). False for all other errors, also when there was not enough memory to
    /// read the file.
    pub fn is_damage(&self) -> bool {
        match self {
            Error::Refused { damage, .. } => !matches!(damage, Damage::Memory(_)),
            _ => false,
        }
    }

    pub(in crate::kv) fn folder(path: &Path) -> impl FnOnce(io::Error) -> Error + '_ {
        move |source| Error::Folder {
            path: path.to_path_buf(),
            source,
        }
    }
}

/// Why a record file is refused: the first check that failed.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum Damage {
    /// The index lists the file, but the file does not exist.
    #[error("it is gone")]
    Gone,
    /// The file is shorter than a header, or it ended before the length that its header gives.
    #[error("it is cut short")]
    Short,
    /// The file does not begin with the magic bytes of a record.
    #[error("it is not an npast KV file")]
    Magic,
    /// The file has a format version that this build cannot read.
    #[error("it has format version {0}, this build reads 1")]
    Version(u32),
    /// A checksum does not match.
    #[error("the checksum of its {0} does not match")]
    Checksum(&'static str),
    /// A header field has a value that npast never writes.
    #[error("its {0} has no valid value")]
    Field(&'static str),
    /// A count is above the limit up to which a reader allocates memory.
    #[error("its {what} would be {said}, the limit is {limit}")]
    Limit {
        /// What is counted.
        what: &'static str,
        /// The count in the file.
        said: u64,
        /// The limit.
        limit: u64,
    },
    /// The lengths of the sections do not add up to the length of the file.
    #[error("it should be {said} bytes long and is {is}")]
    Length {
        /// The length that the header gives, in bytes.
        said: u64,
        /// The length of the file, in bytes.
        is: u64,
    },
    /// The record is another segment or snapshot than its file name, its row in the index, or the target
    /// says.
    #[error("its {0} is not the one asked for")]
    Other(&'static str),
    /// There is not enough free memory to read that many bytes of the file.
    #[error("there is no memory for {0} bytes of it")]
    Memory(u64),
}
