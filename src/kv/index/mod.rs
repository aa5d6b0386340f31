//! The index: the SQLite database `index.db` in the KV folder. It lists which segments and snapshots are
//! stored, and which owner holds which digests. When it is missing, damaged or of another version, it is
//! rebuilt from the record files. These files do not have everything, so a rebuild loses:
//! - the pins; the rebuild makes unclaimed pins (see `pins`) until the owners pin again;
//! - the samples and the results of comparisons (see `samples`);
//! - for a node that was put several times or belongs to several owners: every role and owner except those
//!   of the first put, which are in the file;
//! - the order in which snapshots were put, and the count of the bytes that merging has written.
//!
//! A source file uses only files above it in this list:
//! - `table`, `transaction`: what the tables share: the description of a table, and the start of a
//!   transaction.
//! - `models`, `edges`, `nodes`, `pins`, `turns`, `states`, `samples`, `totals`: one source file per table
//!   (`samples` and `totals` have two tables), as a type with the SQL statements of that table. `states`
//!   uses `retain`, the rule that decides which older snapshots are kept. `owners` and `joints` have
//!   statements over several tables.
//! - `schema`: all tables, their version, and the check of every row.
//! - `file`, `connection`: the database file, and a connection to it.
//! - `graph`: the rows of one model as a graph in memory, for eviction, status and removing an owner;
//!   `points`: the positions of one conversation at which something in such a graph ends.
//! - `rebuild`: makes rows and record files agree; `location`: opens the index of a KV folder, or rebuilds
//!   it.

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
