//! [`IndexTable`]: the description of one table of the index. The source file of each table has a constant of
//! this type, and `schema` puts all of them together.

/// The result of an SQL statement.
pub(in crate::kv) type SqlResult<T> = Result<T, rusqlite::Error>;

/// One table, with its indexes and triggers.
pub(in crate::kv) struct IndexTable {
    /// The statements that create the table, its indexes and its triggers.
    pub(in crate::kv) create: &'static str,
    /// A query that finds damaged rows: rows with a value that npast never writes. SQLite stores values
    /// of any type in any column, and a comparison of two types may give NULL: so the conditions end in
    /// `IS NOT TRUE`.
    pub(in crate::kv) unsound: &'static str,
}
