//! Messages to tokens and tokens to messages.

pub mod control;
pub mod message;
pub mod stream;
pub mod tokenize;

pub use message::Message;
