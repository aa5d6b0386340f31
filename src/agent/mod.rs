//! The turn: a user's message becomes durable, then tokens, then a stored answer with its receipts.
//! This room joins the others: chat (messages and tokens), session (what is sacred), slot (what is
//! decoded). It knows no terminal and no HTTP; callers pass input in and get events out.
//!
//! - `engine`: model, slot and stores of a process; `probe`: whether a new model loads at all; `conversation`: one session of it.
//! - `append`: input to durable tokens; `turn`: the call; `reply`: what comes back; `odds`: how likely it was; `record`: stored,
//!   then shown; `fresh`: read again after a failure.
//! - `compress`: a conversation near the context's end goes on with a summary of its middle.
//! - `branch`: undo, redo, edit, retry, fork; `remove`: all of it goes.
//! - `whose`: which session a client's history belongs to; `history`: what of it is stored; `follow`: the
//!   rest is appended and answered; `foreign`: replies in it that no session sampled.
//! - `steps`: a turn with tools; `calls`: the calls of one reply; `rounds`: budgets and loops;
//!   `toolset`: what a call needs; `temp`: its temporary folder; `steering`: what the user says
//!   meanwhile.
//! - `prompt`: the system prompt, built once; `cost`: its tokens; `notes`: the memory;
//!   `host`: what tools need of us.
//! - `tokens`: tokens without a session; `complete`: a text or tokens without a conversation; `completed`: the last
//!   of these.
//! - `frame`: what a session froze at its start; `offered`: its tools; `reason`: a miss in words; `fit`: what a
//!   model is loaded with where nobody says; `memory`: what a context surely needs.

mod append;
mod aside;
mod branch;
mod calls;
mod complete;
mod completed;
mod compress;
mod conversation;
mod cost;
mod decoded;
mod engine;
mod error;
mod event;
mod fingerprint;
mod fit;
mod follow;
mod foreign;
mod frame;
mod fresh;
mod history;
mod host;
mod kept;
mod memory;
mod notes;
mod odds;
mod offered;
mod options;
mod pass;
pub mod probe;
mod prompt;
mod reason;
mod receipt;
mod record;
mod remove;
mod reply;
mod rounds;
mod steering;
mod steps;
pub mod temp;
mod tokens;
mod toolset;
mod turn;
mod whose;

pub use branch::{Taken, behind, fork, redo, undo};
pub use complete::RawPrompt;
pub use compress::{CompressOptions, CompressStage, Compressed, Pruned, Refused};
pub use conversation::{Conversation, Info, kv_owner, preflight};
pub use cost::{Cost, cost, vocabulary};
pub use engine::{Engine, Facts, Notice};
pub use error::{AgentError, ErrorKind};
pub use event::{Done, Event, OpenQuestion, Stage};
pub use fit::{demand, words as fit_words};
pub use follow::Followed;
pub use fresh::Mirror;
pub use history::History;
pub use notes::Notes;
pub use odds::{Likely, Weighed};
pub use offered::{Made, Maker};
pub use options::{Input, Leeway, NewSession, Open, Options, Policy, Setup, TurnOptions};
pub use pass::{Pass, Passes, Rank, Want};
pub use prompt::{Part, Prompt, Surroundings};
pub use receipt::{Milliseconds, MissNote, Receipt, TurnSum};
pub use remove::remove;
pub use rounds::Budget;
pub use steering::Steering;
pub use toolset::{Gate, Toolset};
pub use turn::{Stopped, TurnEnd};
pub use whose::{Whose, call_handle, key_handle, whose};
