//! Messages to tokens and tokens to messages.

mod adapt;
mod attempt;
pub mod battery;
pub mod beside;
mod check;
pub mod control;
mod delta;
pub mod message;
pub mod names;
pub mod pieces;
pub mod pins;
pub mod plain;
pub mod reply;
pub mod same;
pub mod script;
pub mod stream;
pub mod template;
pub mod tokenize;
pub mod wish;

pub use message::Message;
pub use script::{Script, ScriptError};
