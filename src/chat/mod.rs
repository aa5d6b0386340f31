//! Messages to tokens and tokens to messages.

pub mod control;
pub mod message;
mod script;
pub mod stream;
pub mod tokenize;

pub use message::Message;
pub use script::{Script, ScriptError};
