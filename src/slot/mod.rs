//! The engine thread and its handle. One OS thread owns the context and all that changes it; others
//! hold a handle that can be cloned and send calls: "hold these tokens, then sample". The slot finds out
//! what it has of the tokens (resident, in RAM, on disk), restores what it can, evaluates the rest, and
//! reports the cost in numbers.
//!
//! - `handle`: the thread and its commands; `engine`: what the thread owns; `main_call`: one call from
//!   begin to end.
//! - `prepare`: how much of a target is there; `restore`, `ready`, `apply`: what is read, proven and put
//!   back; `evaluate`: what is decoded; `reply`: what is sampled; `odds`: how likely it was;
//!   `prompt`: where a reply begins,
//!   held for another one.
//! - `shift`: the end of a conversation moves to other positions instead of being evaluated again.
//! - `fork`: side work; `base`: the beginning of later sessions, stored from there; `idle`: what is done
//!   when nobody uses the slot; `save`: what goes to disk; `version`: what is on disk already and comes from
//!   there; `window`: what an SWA window's layout costs.
//! - `fit`: how large a context can be, counted before anything is loaded, and with which settings a model
//!   is loaded where the user names none.
//! - `memory`: the recipes over llama.cpp's context; `resident`: the record of what sequence 0 holds.

mod again;
mod apply;
mod base;
mod broken;
mod call;
mod engine;
mod error;
mod evaluate;
pub mod fit;
mod fork;
mod handle;
mod idle;
mod main_call;
mod memory;
mod odds;
mod options;
mod picked;
mod prepare;
mod prompt;
mod ready;
mod reply;
mod resident;
mod restore;
mod rows;
mod sample;
mod save;
mod saved;
mod shift;
mod side;
mod version;
mod window;

pub use again::Compared;
pub use base::is_stored;
pub use call::{
    Base, CallKind, Cause, Flow, Fork, Miss, Observe, Outcome, ReplyOptions, SlotCall, SlotEvent,
    Target, Times, TokenChoice, TokenWatch,
};
pub use error::SlotError;
pub use fit::{MemoryNeed, Share};
pub use handle::{PendingOutcome, Slot, SlotFacts, SlotHandle};
pub use idle::IdleWork;
pub use memory::{Bytes, MemoryClass, SlotMemory};
pub use odds::Odds;
pub use options::{SlotOptions, segment_tokens};
pub use window::WindowCost;

use crate::ledger::Finish;
