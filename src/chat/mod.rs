//! Messages to tokens and tokens to messages.
//!
//! The parts, in the order in which they import each other; nothing imports upwards:
//! 1. `message`: the canonical message, tool calls as plain text, what one reply must be.
//! 2. `tokens`: rendered text to tokens, so that content cannot speak as the template.
//! 3. `template`: the chat template: substitutes, renderings, deltas, and the battery that examines it.
//! 4. `reply`: what a model writes, read while it comes; prepared replies.
//! 5. `matching`: whether a client's history is the stored one, and whether its head may stay.

mod matching;
pub mod message;
pub mod reply;
pub mod template;
mod tokens;

pub use matching::{beside, pins, same};
pub use message::{Message, plain, wish};
pub use reply::{ReplyScript, ScriptError, script, stream};
pub use template::{battery, names, pieces};
pub use tokens::{control, tokenize};
