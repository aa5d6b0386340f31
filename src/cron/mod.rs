//! When a job is due. An expression, what was decided before, and a clock's time go in; what is run and
//! what was missed comes out (`when`, `due`: pure). `claim` stores it in npast.db; `cli` runs the job.
//!
//! Times are wall clock times of this machine. Where clocks go forward, a time of day that does not exist
//! is due at the first one behind the gap; where they go back, a job with a fixed time of day is due once,
//! at the first of both, and one that repeats within the hour (`*/10 * * * *`) goes on through both.

mod claim;
mod due;
mod when;
mod zone;

pub use claim::{Looked, claim, claim_now};
pub use due::{Clock, LATE_MS, look};
pub use when::{When, WhenError};
pub use zone::time;
