//! A model's chat template.
//!
//! - `pieces`: which bytes of a rendering the template wrote.
//! - `adapt`, `names`: messages and tools in a form that the template can write.
//! - `forms`, `thinking`: the values that go into a rendering and come out of one.
//! - `renderer`, `delta`: the template engine, and openings, deltas and whole renderings.
//! - `check`, `battery`: the examination of a template.
//! - `chat_template`: the examined template, which other parts use.

pub(in crate::chat) mod adapt;
pub mod battery;
mod chat_template;
pub(in crate::chat) mod check;
mod delta;
mod forms;
pub mod names;
pub mod pieces;
mod renderer;
mod thinking;

pub use adapt::BEHIND_PREFACE;
pub use chat_template::ChatTemplate;
pub use forms::{
    After, ChatError, Delta, Marks, Opening, RenderedReply, ReplyFormat, TemplateFrame,
};
pub use thinking::Thinking;
