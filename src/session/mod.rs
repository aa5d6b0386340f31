//! npast.db: sessions, messages, exact ledgers, lineage, usage, receipts. Losing KV costs time;
//! losing a row here loses what a user said. So every change is a [`Unit`] that is on disk, whole,
//! when `commit` returns, or not there at all.
//!
//! - `record`: what is stored, as values
//! - `rows`: rows to values
//! - `open`: opening the database
//! - `db`: sessions as wholes, and reading
//! - `unit`: the one way to change a conversation
//! - `branch`: what undo, retry and edit take off, and put back; `ways`: what of it was decoded;
//!   `fork`: a session made from another
//! - `lineage`: the session that continues another one
//! - `chunks`: ledger tokens as rows
//! - `title`: what a session is about, in one line
//! - `trail`: whose history a client sends
//! - `runs`: marks of tool calls; `search`: words over all sessions
//! - `words`: the search index, made again when it is damaged
//! - `schema`: the migration ladder
//! - `name`: what a session may be called
//! - `salvage`: damaged sessions, and what of them can be read
//! - `lock`: one process per session, one per loaded model
//! - `watch`: who hears of npast.db, and how long a lock is waited for
//! - `room`: what gives way on a full disk
//! - `error`: what can go wrong, each with a hint
//! - `fault`: failures that tests order
//!
//! Which law each invariant serves:
//!
//! | invariant | law |
//! |---|---|
//! | tokens are appended at the stored length or refused ([`Error::Gap`]); a cut is a call of its own | 1, append only |
//! | a ledger is read back whole and contiguous or refused ([`Error::Damaged`]) | 4, nothing unproven |
//! | `commit` returns after fsync (WAL, `synchronous = FULL`); a dropped unit leaves nothing | 5, crash first |
//! | a message keeps its state (open, answered, withdrawn) and its finish across processes | 5, crash first |
//! | spans never reach past the ledger, at any commit | 5, crash first |
//! | what is taken off stays as a branch, in the same unit as the cut | 5, crash first |
//! | nothing here refers to a KV file | 6, KV is a cache |
//! | the ledger cannot be cut inside the head ([`Error::Frozen`]), and no call rewrites it | 7, frozen head |
//! | every error is a sentence with a hint | 10, silence is a bug |

mod branch;
mod chunks;
mod db;
mod error;
pub mod fault;
mod fork;
mod lineage;
mod lock;
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
mod unit;
mod watch;
mod ways;
mod words;

pub use branch::{Branch, BranchId, Cut, Why};
pub use db::{Db, now_ms};
pub use error::Error;
pub use lineage::{Carried, Heir, Made};
pub use lock::{Lock, LockError};
pub use name::{MAX_NAME, NameError, check_name, name_from_words};
pub use record::{Message, MessageId, NewSession, Session, SessionId, Span, State, Summary, Usage};
pub use room::Room;
pub use runs::Run;
pub use salvage::{Damaged, Found, Salvage, Survey};
pub use search::{Hit, local_day};
#[cfg(test)]
pub(crate) use testing::harm;
pub use title::{Title, Titled};
pub use trail::{MAX_HANDLE, Place};
pub use unit::Unit;
pub use watch::{Watcher, watch};
pub use ways::Way;

/// What this room's calls return.
pub type Result<T> = std::result::Result<T, Error>;
