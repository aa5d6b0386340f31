//! A message of a history in normal form.

use crate::chat::message::Message;

/// A message of a history in normal form.
#[derive(Clone, PartialEq, Debug)]
pub struct NormalMessage {
    /// The message; results name the tool that was called.
    pub message: Message,
    /// The first message that it was made of: its index in the history that was given.
    pub at: usize,
}
