//! The turn: a user's message becomes durable, then tokens, then a stored answer with its receipts.
//! This room joins the others: chat (messages and tokens), session (what is sacred), slot (what is
//! decoded). It knows no terminal and no HTTP; callers pass input in and get events out.
//!
//! - `engine`: model, slot and stores of a process; `conversation`: one session of it.
//! - `append`: input to durable tokens; `turn`: the call; `reply`: what comes back.
//! - `approve`: who may call what; `frame`: what a session froze at its start; `reason`: a miss in words; `memory`: what fits.

mod append;
pub mod approve;
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

pub use conversation::{Conversation, Info, kv_owner, preflight};
pub use engine::{Engine, Facts, Notice};
pub use error::{AgentError, ErrorKind};
pub use event::{Event, Stage};
pub use options::{Input, NewSession, Open, Options, Policy, TurnOptions};
pub use receipt::{Milliseconds, MissNote, Receipt, TurnSum};
pub use turn::TurnEnd;
