//! Replies: what a model writes becomes events while it comes, and a message at its end.

mod attempt;
mod begun;
mod found;
mod reader;
mod repeats;
pub mod script;
pub mod stream;

pub use begun::BegunCall;
pub use reader::{ReplyEvent, ReplyReader};
pub use repeats::RepeatWatch;
pub use script::{ReplyScript, ScriptError};
