//! What a program wrote: its beginning and its end in memory, all of it in a file up to a bound.

use super::super::live::{LIVE_BYTES, LiveOutput};
use super::super::results::{Kept, Results};
use super::super::shown::{clean, size};
use super::super::{ResultLimits, ends};

/// Bytes that are held whole; more goes to a file.
const WHOLE: usize = 256 << 10;
/// Bytes of the end that are held then.
const TAIL: usize = 64 << 10;
/// Most bytes that are kept: a program that writes more is ended.
const MOST: u64 = 64 << 20;

/// Output being collected.
pub(super) struct CollectedOutput {
    /// The first [`WHOLE`] bytes.
    head: Vec<u8>,
    /// The last bytes, at least [`TAIL`] of them, once there are more than `head` holds.
    tail: Vec<u8>,
    total: u64,
    /// Where the whole is, once there is more.
    file: Option<Kept>,
    results: Results,
    stem: String,
    /// Why the file is not whole.
    failed: Option<String>,
    /// Bytes that a poll has shown.
    shown: u64,
}

impl CollectedOutput {
    /// All of it goes to a file in `results` whose name begins with `stem`, once that is needed.
    pub fn new(results: Results, stem: String) -> CollectedOutput {
        CollectedOutput {
            head: Vec::new(),
            tail: Vec::new(),
            total: 0,
            file: None,
            results,
            stem,
            failed: None,
            shown: 0,
        }
    }

    /// Whether more than may be kept was written.
    pub fn flooded(&self) -> bool {
        self.total > MOST
    }

    /// Shows whoever looks what came last, if that is something new.
    pub fn show(&self, live: &LiveOutput) {
        if live.known() != self.total {
            let last = match self.tail.is_empty() {
                true => &self.head,
                false => &self.tail,
            };
            live.wrote(self.total, &last[last.len().saturating_sub(LIVE_BYTES)..]);
        }
    }

    /// Takes what a program wrote.
    pub fn push(&mut self, bytes: &[u8]) {
        self.total += bytes.len() as u64;
        let room = WHOLE - self.head.len();
        let (first, rest) = bytes.split_at(room.min(bytes.len()));
        self.head.extend(first);
        if rest.is_empty() {
            return;
        }
        if self.file.is_none() && self.failed.is_none() {
            match self.results.create(&self.stem) {
                Ok(file) => {
                    self.file = Some(file);
                    let head = std::mem::take(&mut self.head);
                    self.keep(&head);
                    self.head = head;
                }
                Err(error) => self.failed = Some(error.to_string()),
            }
        }
        if self.total <= MOST {
            self.keep(rest);
        }
        self.tail.extend(rest);
        if self.tail.len() > 2 * TAIL {
            self.tail.drain(..self.tail.len() - TAIL);
        }
    }

    /// Appends to the file, while it is whole.
    fn keep(&mut self, bytes: &[u8]) {
        if let Some(file) = &mut self.file
            && let Err(error) = file.write(bytes)
        {
            self.failed = Some(error.to_string());
            if let Some(file) = self.file.take() {
                file.remove();
            }
        }
    }

    /// Where all of it is, in words.
    fn place(&self) -> String {
        match (&self.file, &self.failed) {
            (Some(file), _) => format!("all of it is in {}", file.path().display()),
            (None, Some(error)) => format!("the rest could not be kept: {error}"),
            (None, None) => "the rest was not kept".to_owned(),
        }
    }

    /// All of it as a model may see it, cut to `limits`; and whether it ends in a question.
    pub fn text(&self, limits: ResultLimits) -> (String, bool) {
        let last = if self.tail.is_empty() {
            &self.head
        } else {
            &self.tail
        };
        let asks = asks(last);
        if self.total as usize <= self.head.len() {
            // The registry cuts it, and keeps the whole.
            return (clean(&self.head), asks);
        }
        let head = clean(&self.head);
        let tail = clean(&self.tail);
        // A third of the room for each: the note and the ending need some of the rest.
        let part = ResultLimits {
            bytes: (limits.bytes / 3).max(512),
            lines: (limits.lines / 3).max(8),
        };
        let head = ends(&head, part).map_or(head.clone(), |e| e.head.to_owned());
        let tail = ends(&tail, part).map_or(tail.clone(), |e| e.tail.to_owned());
        let note = self.place();
        let all = size(self.total);
        let line = if head.ends_with('\n') { "" } else { "\n" };
        (
            format!("{head}{line}[… {all} in all; {note} …]\n{tail}"),
            asks,
        )
    }

    /// What came since the last time.
    pub fn news(&mut self, limits: ResultLimits) -> (String, bool) {
        let before = std::mem::replace(&mut self.shown, self.total);
        if before == 0 {
            return self.text(limits);
        }
        let fresh = self.total - before;
        let asks = asks(if self.tail.is_empty() {
            &self.head
        } else {
            &self.tail
        });
        if self.tail.is_empty() {
            return (clean(&self.head[before as usize..]), asks);
        }
        let start = self
            .tail
            .len()
            .saturating_sub(usize::try_from(fresh).unwrap_or(usize::MAX));
        let text = clean(&self.tail[start..]);
        match fresh > self.tail.len() as u64 {
            true => (
                format!(
                    "[… {} since the last poll; {} …]\n{text}",
                    size(fresh),
                    self.place()
                ),
                asks,
            ),
            false => (text, asks),
        }
    }
}

/// Whether the last line is one that waits for an answer.
fn asks(bytes: &[u8]) -> bool {
    let text = String::from_utf8_lossy(&bytes[bytes.len().saturating_sub(400)..]).to_lowercase();
    let last = text
        .trim_end_matches(['\n', '\r'])
        .rsplit('\n')
        .next()
        .unwrap_or_default();
    let words = [
        "password",
        "passphrase",
        "[y/n]",
        "(y/n)",
        "(yes/no",
        "not a tty",
        "no tty",
        "eof when reading",
    ];
    words.iter().any(|w| last.contains(w)) || last.trim_end().ends_with('?')
}
