//! The turn: a user's message becomes durable, then tokens, then a stored answer with its receipts.
//! This room joins the others: chat (messages and tokens), session (npast.db), slot (what is decoded).
//! It knows no terminal and no HTTP: callers pass requests in and get events out.
//!
//! - `values`: what callers pass in and get back: options, events, receipts, errors.
//! - `engine`: model, slot and stores of one process.
//! - `notes`, `prompt`: the memory files, and the system prompt.
//! - `frozen`: what a session fixes at its start.
//! - `conversation`, `opening`, `input`: an open conversation, and what is added to it.
//! - `model_call`, `side`, `tool_calls`, `compression`, `turn`: what a turn does.
//! - `branches`: undo, redo, edit, retry, fork.
//! - `history`: conversations that a client sends whole.

mod branches;
mod compression;
mod conversation;
mod engine;
mod frozen;
mod history;
mod input;
mod model_call;
mod notes;
mod opening;
mod prompt;
mod side;
mod tool_calls;
mod turn;
mod values;

pub use branches::undo::{Taken, behind, fork, redo, undo};
pub use compression::prune::Pruned;
pub use compression::run::{CompressOptions, CompressStage, Compressed};
pub use conversation::handle::{Conversation, Info, kv_owner, preflight};
pub use engine::fit::{demand, words as fit_words};
pub use engine::handle::{Engine, Facts, Notice};
pub use engine::pass::{Pass, Passes, Rank, Want};
pub use engine::probe;
pub use frozen::cost::{Cost, cost, vocabulary};
pub use frozen::maker::{Made, Maker};
pub use history::beside::{Names, Side};
pub use history::follow::Followed;
pub use history::goes_on::Behind;
pub use history::matching::History;
pub use history::whose::{Whose, call_handle, key_handle, whose};
pub use model_call::answer::{Stopped, TurnEnd};
pub use notes::edit::Notes;
pub use opening::operation::Mirror;
pub use prompt::build::{Part, Prompt, Surroundings};
pub use tool_calls::rounds::Budget;
pub use tool_calls::steering::Steering;
pub use tool_calls::temp;
pub use tool_calls::toolset::{Gate, Toolset};
pub use values::error::{AgentError, ErrorKind};
pub use values::event::{Done, Event, OpenQuestion, Stage};
pub use values::options::{Input, Leeway, NewSession, Open, Options, Policy, Setup, TurnOptions};
pub use values::receipt::{Milliseconds, MissNote, Receipt, TurnSum};
pub use values::refused::Refused;
