//! The system prompt of a session with tools.
//!
//! In the order in which these files import each other:
//! - `line`: text from outside on one line.
//! - `project`: AGENTS.md and its like, from the project's folders.
//! - `skills`: one line for each skill.
//! - `preface`: the frame of what stands before the first message.
//! - `build`: the whole prompt, part by part.

pub(in crate::agent) mod build;
pub(in crate::agent) mod line;
pub(in crate::agent) mod preface;
pub(in crate::agent) mod project;
pub(in crate::agent) mod skills;
