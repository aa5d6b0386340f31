//! The engine thread and its handle. One OS thread owns the context and all that changes it; others
//! hold a cloneable handle and ask for calls: "hold these tokens, then sample". The slot finds out
//! what it has of them (resident, in RAM, on disk), restores what it can, evaluates the rest, and
//! says in numbers what that took.
//!
//! - `handle`: the thread and its commands; `engine`: what the thread owns; `main_call`: one call from
//!   begin to end.
//! - `prepare`: what is had of a target; `restore`, `ready`, `apply`: what is read, proven and put
//!   back; `evaluate`: what is decoded; `reply`: what is sampled; `prompt`: where a reply begins,
//!   held for another one.
//! - `fork`: side work; `save`: what goes to disk; `version`: what is on disk already and comes from
//!   there; `window`: what an SWA window's layout costs.
//! - `fit`: how large a context can be, counted before anything is loaded, and what a model is loaded
//!   with where nobody says.
//! - `memory`: the recipes over llama.cpp's context; `resident`: the truth about sequence 0.

mod again;
mod apply;
mod broken;
mod call;
mod engine;
mod error;
mod evaluate;
pub mod fit;
mod fork;
mod handle;
mod main_call;
mod memory;
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
mod side;
mod version;
mod window;

pub use again::Compared;
pub use call::{
    Base, Call, Cause, Choice, Event, Flow, Fork, Kind, Miss, Observe, Outcome, Reply, Target,
    Times, Watch,
};
pub use error::SlotError;
pub use fit::{Need, Share};
pub use handle::{Answer, Slot, SlotFacts, SlotHandle};
pub use memory::{Bytes, Class, Memory};
pub use options::{SlotOptions, segment_tokens};
pub use window::WindowCost;

use crate::ledger::Finish;
