//! Why a GGUF file could not be read or written.

use std::{
    ffi::CString,
    path::{Path, PathBuf},
};

/// Why a GGUF file could not be read or written.
#[derive(Debug, thiserror::Error)]
pub enum GgufError {
    /// The operating system refused.
    #[error("cannot access {}: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// The error of the operating system.
        source: std::io::Error,
    },
    /// The bytes are not a GGUF file that ggml reads.
    #[error("{} is not a usable GGUF file: {reason}", path.display())]
    Malformed {
        /// The file.
        path: PathBuf,
        /// The first thing found wrong.
        reason: String,
    },
    /// One file of a split model is absent or belongs to another model.
    #[error("{} does not fit its split model: {reason}", path.display())]
    Split {
        /// The file.
        path: PathBuf,
        /// The difference.
        reason: String,
    },
    /// A key, value or tensor that the format cannot hold.
    #[error("{what} cannot be stored in a GGUF file: {reason}")]
    Invalid {
        /// The key or tensor name.
        what: String,
        /// The rule it breaks.
        reason: String,
    },
}

impl GgufError {
    pub(super) fn io(path: &Path) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::Io { path, source }
    }

    pub(super) fn malformed(path: &Path, reason: impl Into<String>) -> Self {
        Self::Malformed {
            path: path.to_owned(),
            reason: reason.into(),
        }
    }

    pub(super) fn invalid(what: &str, reason: impl Into<String>) -> Self {
        Self::Invalid {
            what: what.to_owned(),
            reason: reason.into(),
        }
    }
}

/// `path` for C. A path with a NUL byte does not name a file.
pub(super) fn c_path(path: &Path) -> Result<CString, GgufError> {
    CString::new(path.as_os_str().as_encoded_bytes()).map_err(|error| GgufError::Io {
        path: path.to_owned(),
        source: error.into(),
    })
}
