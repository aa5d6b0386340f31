//! The engine thread and its handle. One OS thread owns the context and all that changes it; others
//! hold a cloneable handle.

mod call;
mod error;
mod memory;

pub use call::{
    Call, Cause, Choice, Event, Flow, Fork, Kind, Miss, Outcome, Reply, Target, Times, Watch,
};
pub use error::SlotError;
pub use memory::{Bytes, Class, Memory};
