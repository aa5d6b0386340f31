//! A server's own words as one short line of a sentence.

use crate::tools::shown;

/// Longest part of a server's own words in a sentence of ours, in bytes.
const MAX_WORDS: usize = 300;

/// A server's words in one line, cut.
pub(super) fn one_line(text: &str) -> String {
    let line = shown::clean(text.as_bytes());
    let line = line.split_whitespace().collect::<Vec<_>>().join(" ");
    match line.len() > MAX_WORDS {
        true => format!("{}…", &line[..shown::floor(&line, MAX_WORDS)]),
        false => line,
    }
}
