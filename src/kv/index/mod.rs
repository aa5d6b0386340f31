//! kv/index.db: which segments and snapshots are stored, and which owner wants which of them kept. A
//! cache of the files, rebuilt from them when it is missing, damaged or of another version.
//!
//! In the order in which these files import each other:
//! - `table`, `transaction`: what every table uses.
//! - One file a table, each a type with its statements: `models`, `edges`, `nodes`, `pins`, `turns`,
//!   `retain` (which older snapshots stay) and `states`, `samples`, `totals`; `owners` and `joints`
//!   have the statements over several tables.
//! - `schema`: all tables, the version, the check of every row.
//! - `file`, `connection`: the index's file, and a connection to it.
//! - `graph`: the rows of one model in memory, for housekeeping; `ledger`: a graph along the tokens of
//!   a conversation.
//! - `rebuild`: makes index and files agree; `location`: opens the index of a folder, or rebuilds it.

pub(in crate::kv) mod connection;
pub(in crate::kv) mod edges;
mod file;
pub(in crate::kv) mod graph;
pub(in crate::kv) mod joints;
pub(in crate::kv) mod location;
pub(in crate::kv) mod models;
pub(in crate::kv) mod nodes;
pub(in crate::kv) mod owners;
pub(in crate::kv) mod pins;
pub(in crate::kv) mod points;
pub(in crate::kv) mod rebuild;
mod retain;
pub(in crate::kv) mod samples;
pub(in crate::kv) mod schema;
pub(in crate::kv) mod states;
pub(in crate::kv) mod table;
pub(in crate::kv) mod totals;
mod transaction;
pub(in crate::kv) mod turns;
