//! The turn: a user's message becomes durable, then tokens, then a stored answer with its receipts.
//! This room joins the others: chat (messages and tokens), session (what is sacred), slot (what is
//! decoded). It knows no terminal and no HTTP; callers pass input in and get events out.

mod engine;
mod event;
mod options;
mod receipt;

pub use engine::{AgentError, Conversation, Engine, Facts, Info, TurnEnd};
pub use event::{Event, Stage};
pub use options::{Input, NewSession, Open, Options, Policy, TurnOptions};
pub use receipt::{Milliseconds, MissNote, Receipt, TurnSum};
