//! The errors of kv/, as sentences. After each of them the conversation is whole: only time is lost.

use std::io;
use std::path::{Path, PathBuf};

/// Why an operation on the store failed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The folder cannot be made, locked or written.
    #[error("the KV folder {} cannot be used: {source}", path.display())]
    Folder {
        /// The folder or file in question.
        path: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
    /// SQLite failed. A damaged index was rebuilt before, if that was possible.
    #[error("the KV index failed: {0}")]
    Index(#[from] rusqlite::Error),
    /// A file could not be read. It may be readable later, so it does not go to quarantine.
    #[error("KV file {name} cannot be read: {source}")]
    Read {
        /// The file's name.
        name: String,
        /// The system's reason.
        source: io::Error,
    },
    /// A file is gone, or something in it is not what it must be.
    #[error("KV file {name} is refused: {damage}")]
    Refused {
        /// The file's name.
        name: String,
        /// The first thing found wrong.
        damage: Damage,
    },
    /// The thread that reads segments ahead panicked. No file is known to be damaged.
    #[error("stored KV was not read: the reading thread panicked: {0}")]
    Panicked(String),
    /// Another process uses the folder, and may be writing what no owner holds yet.
    #[error("another npast is using the KV folder")]
    Busy,
    /// The writer thread has died: this process saves no more KV.
    #[error("the KV writer has stopped; nothing more is saved until a restart")]
    Stopped,
}

impl Error {
    /// True when the file is damaged and must go to quarantine; false when a new attempt may succeed.
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

/// The first thing found wrong with a file.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum Damage {
    /// The index knows it, the folder does not have it.
    #[error("it is gone")]
    Gone,
    /// Fewer bytes than a header, or than the header promises while reading.
    #[error("it is cut short")]
    Short,
    /// It does not begin as a record does.
    #[error("it is not an npast KV file")]
    Magic,
    /// A format this build does not know.
    #[error("it has format version {0}, this build reads 1")]
    Version(u32),
    /// A checksum does not match.
    #[error("the checksum of its {0} does not match")]
    Checksum(&'static str),
    /// A field has a value that no writer writes.
    #[error("its {0} has no valid value")]
    Field(&'static str),
    /// A count is above the most that a reader allocates.
    #[error("its {what} would be {said}, the limit is {limit}")]
    Limit {
        /// The counted thing.
        what: &'static str,
        /// The count in the file.
        said: u64,
        /// The bound.
        limit: u64,
    },
    /// The sections do not add up to the file.
    #[error("it should be {said} bytes long and is {is}")]
    Length {
        /// Bytes by its header.
        said: u64,
        /// Bytes it has.
        is: u64,
    },
    /// It holds another edge or node than the one that its name or its row says.
    #[error("its {0} is not the one asked for")]
    Other(&'static str),
    /// There is not enough memory for it now.
    #[error("there is no memory for {0} bytes of it")]
    Memory(u64),
}
