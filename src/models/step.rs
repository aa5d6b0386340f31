//! The steps of a pull, as its caller sees them.

/// What a pull does at the moment.
#[derive(Debug)]
pub enum PullStep<'a> {
    /// Another process fetches this file.
    Waiting(&'a str),
    /// A file begins, or goes on.
    Begin {
        /// Its name.
        name: &'a str,
        /// Bytes that are there already.
        have: u64,
        /// Bytes of all of it, if that is known.
        whole: Option<u64>,
    },
    /// So many bytes of it are there.
    Have(u64),
    /// So many bytes of it were read again for its sum.
    Proving(u64),
    /// A try failed, for this reason; the next one follows in a moment.
    Again(&'a str),
}

/// Hears each step; `false` ends the pull, and what came stays.
pub type PullWatch<'a> = dyn FnMut(PullStep<'_>) -> bool + 'a;
