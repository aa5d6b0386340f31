//! What a table of kv/index.db says of itself: the statements that make it, and the query that finds
//! rows which no writer writes. Each table has a file with its own; `schema` puts them together.

/// The result of a statement.
pub(in crate::kv) type SqlResult<T> = Result<T, rusqlite::Error>;

/// One table, with its indexes and triggers.
pub(in crate::kv) struct Table {
    /// Makes the table, its indexes and its triggers.
    pub(in crate::kv) create: &'static str,
    /// Finds each row with a value that no writer writes. SQLite stores a value of any type in any
    /// column, and a comparison of two types may be NULL: so conditions end in `IS NOT TRUE`.
    pub(in crate::kv) unsound: &'static str,
}
