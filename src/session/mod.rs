//! npast.db: sessions, messages, exact ledgers, lineage, usage, receipts. Losing KV costs time;
//! losing a row here loses a message of the user. So every change is a [`Unit`] that is on disk, whole,
//! when `commit` returns, or not there at all.
//!
//! - `record`: what is stored, as values
//! - `rows`: rows to values
//! - `open`: opening the database
//! - `db`: sessions as wholes, and reading
//! - `unit`: the one way to change a conversation
//! - `branch`: what undo, retry and edit take off, and put back; `ways`: the tokens of it that were decoded;
//!   `fork`: a session made from another
//! - `lineage`: the session that continues another one; `trajectory`: a session that leaves or comes
//! - `chunks`: ledger tokens as rows
//! - `model_file`: the model that a session was used with last
//! - `title`: what a session is about, in one line
//! - `trail`: whose history a client sends
//! - `runs`: marks that a tool call started; `search`: words over all sessions
//! - `words`: the search index, rebuilt when it is damaged
//! - `kept_results`: long results that outlive their session
//! - `jobs`: prompts that are run at times
//! - `schema`: the migration ladder
//! - `name`: what a session may be called
//! - `salvage`: damaged sessions, and what of them can be read
//! - `lock`: one process per session, one per loaded model
//! - `watch`: who gets the notices about npast.db, and how long npast waits for a lock
//! - `room`: making space on a full disk
//! - `error`: what can go wrong, each with a hint
//! - `fault`: failures that tests order
//!
//! Which law each invariant serves:
//!
//! | invariant | law |
//! |---|---|
//! | tokens are appended at the stored length or refused ([`DbError::Gap`]); a cut is a call of its own | 1, append only |
//! | a ledger is read back whole and contiguous or refused ([`DbError::Damaged`]) | 4, nothing unproven |
//! | `commit` returns after fsync (WAL, `synchronous = FULL`); a dropped unit leaves nothing | 5, crash first |
//! | a message keeps its state (open, answered, withdrawn) and its finish across processes | 5, crash first |
//! | spans never reach past the ledger, at any commit | 5, crash first |
//! | what is taken off stays as a branch, in the same unit as the cut | 5, crash first |
//! | nothing here refers to a KV file | 6, KV is a cache |
//! | the ledger cannot be cut inside the head ([`DbError::Frozen`]), and no call rewrites it | 7, frozen head |
//! | every error is a sentence with a hint | 10, silence is a bug |

mod branch;
mod chunks;
mod db;
mod error;
pub mod fault;
mod fork;
mod jobs;
mod kept_results;
mod lineage;
mod lock;
mod model_file;
mod name;
mod open;
mod record;
mod room;
mod rows;
mod runs;
mod salvage;
mod schema;
mod search;
#[cfg(test)]
mod testing;
mod title;
mod trail;
mod trajectory;
mod unit;
mod watch;
mod ways;
mod words;

pub use branch::{Branch, BranchId, CutPoint, Why};
pub use db::{Db, now_ms};
pub use error::{DbError, Result};
pub use jobs::{ClaimId, Decision, Job, JobId, JobOutcome, JobRun, NewJob};
pub use lineage::{Carried, Continuation, Heir};
pub use lock::{Lock, LockError};
pub use model_file::ModelFile;
pub use name::{MAX_NAME, NameError, check_name, name_from_words};
pub use record::{
    MessageId, MessageState, ReceiptSums, Session, SessionId, SessionRecord, Span, StoredMessage,
    Summary,
};
pub use room::MakeRoom;
pub use runs::StartedCall;
pub use salvage::{Damaged, Salvage, SalvagedMessage, Survey};
pub use search::{Hit, local_day};
#[cfg(test)]
pub(crate) use testing::harm;
pub use title::{Title, Titled};
pub use trail::{MAX_HANDLE, TrailPlace};
pub use trajectory::{Import, NO_VOCABULARY, Recorded, Trajectory};
pub use unit::Unit;
pub use watch::{Watcher, watch};
pub use ways::StoredPath;
