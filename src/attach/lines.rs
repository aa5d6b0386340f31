//! Bytes of a socket cut into lines, and lines read as frames. A line has a largest length, so that
//! nobody can make the other side take all memory.

use serde::Serialize;
use serde::de::DeserializeOwned;

/// Most bytes of a line: a prompt of 64 MiB in which every byte is written as an escape.
pub const MOST: usize = 400 << 20;

/// Why a line is of no use.
#[derive(Debug, thiserror::Error)]
pub enum LineError {
    /// No end within so many bytes.
    #[error("a line is longer than {0} bytes")]
    TooLong(usize),
    /// Not a frame.
    #[error("a line is no frame: {0}")]
    Unread(#[from] serde_json::Error),
}

/// Bytes that came, until they are whole lines.
pub struct Frames {
    bytes: Vec<u8>,
    /// So many of them have no line end.
    looked: usize,
    most: usize,
}

impl Default for Frames {
    fn default() -> Frames {
        Frames::of(MOST)
    }
}

impl Frames {
    /// Of at most so many bytes each.
    pub fn of(most: usize) -> Frames {
        Frames {
            bytes: Vec::new(),
            looked: 0,
            most,
        }
    }

    /// More came.
    pub fn push(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
    }

    /// The next whole line as a frame; nothing where more has to come first.
    ///
    /// # Errors
    /// A line that is too long, or no frame.
    pub fn next<T: DeserializeOwned>(&mut self) -> Result<Option<T>, LineError> {
        let end = self.bytes[self.looked..].iter().position(|b| *b == b'\n');
        let Some(end) = end else {
            self.looked = self.bytes.len();
            return match self.looked > self.most {
                true => Err(LineError::TooLong(self.most)),
                false => Ok(None),
            };
        };
        let end = self.looked + end;
        let frame = serde_json::from_slice(&self.bytes[..end]);
        self.bytes.drain(..=end);
        self.looked = 0;
        Ok(Some(frame?))
    }
}

/// A frame as a line.
///
/// # Errors
/// When a value cannot be written as JSON, which no user can cause.
pub fn line(frame: &impl Serialize) -> Result<Vec<u8>, LineError> {
    let mut line = serde_json::to_vec(frame)?;
    line.push(b'\n');
    Ok(line)
}
