//! The file that a question was about. An answer is for what the question showed: the call may replace
//! the file only if that is still what is there.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use super::place::Stamp;

/// A file as it was when somebody was asked about a change of it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct AskedFile(AskedState);

#[derive(Clone, PartialEq, Eq, Debug)]
enum AskedState {
    Absent,
    Content {
        size: u64,
        hash: blake3::Hash,
    },
    /// Its content was not read.
    Unread(Stamp),
}

impl AskedFile {
    /// It was not there.
    pub(super) fn absent() -> AskedFile {
        AskedFile(AskedState::Absent)
    }

    /// It held this.
    pub(super) fn holding(content: &[u8]) -> AskedFile {
        AskedFile(AskedState::Content {
            size: content.len() as u64,
            hash: blake3::hash(content),
        })
    }

    /// It was there, and its content was not read.
    pub(super) fn unread(stamp: Stamp) -> AskedFile {
        AskedFile(AskedState::Unread(stamp))
    }

    /// Whether it held this.
    pub(super) fn held(&self, content: &[u8]) -> bool {
        *self == AskedFile::holding(content)
    }

    /// Whether the file at a resolved place is what it was; `open` opens what is there, if anything is.
    ///
    /// # Errors
    /// The error of the operating system.
    pub(super) fn is_still(
        &self,
        real: &Path,
        open: impl Fn() -> io::Result<Option<File>>,
    ) -> io::Result<bool> {
        let (size, hash) = match &self.0 {
            AskedState::Absent => return Ok(open()?.is_none()),
            AskedState::Unread(stamp) => return Ok(Stamp::at(real)? == Some(*stamp)),
            AskedState::Content { size, hash } => (*size, hash),
        };
        let Some(file) = open()? else {
            return Ok(false);
        };
        let stamp = Stamp::of(&file)?;
        // One byte more tells of a file that has grown.
        let mut hasher = blake3::Hasher::new();
        let read = io::copy(&mut file.take(size + 1), &mut hasher)?;
        if read != size || hasher.finalize() != *hash {
            return Ok(false);
        }
        // Reading takes a while, and the file may be changed or exchanged meanwhile.
        match open()? {
            Some(file) => Ok(Stamp::of(&file)? == stamp),
            None => Ok(false),
        }
    }
}

#[cfg(test)]
#[path = "asked_file_tests.rs"]
mod tests;
