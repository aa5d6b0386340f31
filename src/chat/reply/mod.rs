//! Replies: what a model writes becomes events while it comes, and a message at its end.

mod attempt;
mod found;
mod reader;
mod repeats;
pub mod script;
pub mod stream;

pub use reader::{ReplyEvent, ReplyReader};
pub use repeats::RepeatWatch;
pub use script::{ReplyScript, ScriptError};
