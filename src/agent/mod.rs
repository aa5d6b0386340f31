//! The turn: a user's message becomes durable, then tokens, then a stored answer with its receipts.
//! This room joins the others: chat (messages and tokens), session (what is sacred), slot (what is
//! decoded). It knows no terminal and no HTTP; callers pass input in and get events out.
//!
//! - `engine`: model, slot and stores of a process; `conversation`: one session of it.
//! - `append`: input to durable tokens; `turn`: the call; `reply`: what comes back.
//! - `branch`: undo, redo, edit, retry, fork.
//! - `frame`: what a session froze at its start; `reason`: a miss in words; `memory`: what fits.

mod append;
mod branch;
mod conversation;
mod engine;
mod error;
mod event;
mod fingerprint;
mod frame;
mod memory;
mod options;
mod reason;
mod receipt;
mod reply;
mod turn;

pub use branch::{Taken, fork, redo, undo};
pub use conversation::{Conversation, Info, kv_owner, preflight};
pub use engine::{Engine, Facts, Notice};
pub use error::{AgentError, ErrorKind};
pub use event::{Event, Stage};
pub use options::{Input, NewSession, Open, Options, Policy, TurnOptions};
pub use receipt::{Milliseconds, MissNote, Receipt, TurnSum};
pub use turn::TurnEnd;
