//! What a person may see of a call while it runs: the end of what its program has written. Whoever runs
//! the call puts it here, and whoever shows it looks when it wants to: neither waits for the other.

use std::sync::{Mutex, MutexGuard, PoisonError};

use super::shown::clean;

/// Most bytes of a program's output that are looked at for its last lines.
pub(super) const LIVE_BYTES: usize = 4 << 10;
/// Most lines that are kept.
const LINES: usize = 8;
/// Most bytes of a line that are kept: its end, for that is what came last.
const LINE: usize = 512;

/// The end of the output of one call, and how the program ended.
#[derive(Debug, Default)]
pub struct LiveOutput {
    state: Mutex<LiveState>,
}

#[derive(Debug, Default)]
struct LiveState {
    bytes: u64,
    tail: String,
    exit: Option<i32>,
}

impl LiveOutput {
    // The value is whole between two statements, whoever panicked.
    fn state(&self) -> MutexGuard<'_, LiveState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Bytes that the program has written, and its last lines: at most 8, without control characters.
    pub fn last(&self) -> (u64, String) {
        let state = self.state();
        (state.bytes, state.tail.clone())
    }

    /// The exit code of the program, where a program ran in the foreground and ended by itself.
    pub fn exit(&self) -> Option<i32> {
        self.state().exit
    }

    /// The program has written `bytes` by now, which end with `end`.
    pub(super) fn wrote(&self, bytes: u64, end: &[u8]) {
        let mut state = self.state();
        if state.bytes != bytes {
            (state.bytes, state.tail) = (bytes, tail(end, bytes > end.len() as u64));
        }
    }

    /// Bytes that were told last.
    pub(super) fn known(&self) -> u64 {
        self.state().bytes
    }

    /// The program ended.
    pub(super) fn ended(&self, exit: Option<i32>) {
        self.state().exit = exit;
    }
}

/// The last lines of an output; `cut` says that something came before `end`.
fn tail(end: &[u8], cut: bool) -> String {
    // The first line is only the end of one, and may begin inside of a character or an escape sequence.
    let whole = match memchr::memchr(b'\n', end) {
        Some(at) if cut && at + 1 < end.len() => &end[at + 1..],
        _ if cut => {
            let inside = end.iter().take(3).take_while(|b| *b & 0xc0 == 0x80);
            &end[inside.count()..]
        }
        _ => end,
    };
    let text = clean(whole);
    let lines: Vec<&str> = text.lines().collect();
    let first = lines.len().saturating_sub(LINES);
    let short = lines[first..].iter().map(|line| {
        let mut from = line.len().saturating_sub(LINE);
        while !line.is_char_boundary(from) {
            from += 1;
        }
        &line[from..]
    });
    short.collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_lines_are_kept_without_what_a_terminal_would_obey() {
        let live = LiveOutput::default();
        live.wrote(6, b"a\nb\x1b[2J");
        assert_eq!(live.last(), (6, "a\nb".to_owned()));
        let lines: Vec<String> = (0..20).map(|n| format!("line {n}")).collect();
        live.wrote(1000, lines.join("\n").as_bytes());
        let (bytes, tail) = live.last();
        assert_eq!((bytes, tail.lines().count()), (1000, 8));
        assert!(tail.starts_with("line 12\n") && tail.ends_with("line 19"));
    }

    /// A progress bar of ten megabytes without a line end is no reason to show all of it.
    #[test]
    fn a_line_without_an_end_is_its_last_bytes_and_no_half_character() {
        let live = LiveOutput::default();
        let line = "日".repeat(2000);
        live.wrote(10 << 20, &line.as_bytes()[1..LIVE_BYTES]);
        let (_, tail) = live.last();
        assert!(tail.len() <= LINE && tail.starts_with('日'), "{tail}");
        // What is written over by a carriage return is not shown.
        live.wrote(11 << 20, b"tail of one\n10 %\r20 %\r30 %");
        assert_eq!(live.last().1, "30 %");
    }
}
