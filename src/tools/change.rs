//! What a call would change in a file, and how a person sees that before it happens: a unified diff.

use std::borrow::Cow;
use std::fmt::Write;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use similar::{ChangeTag, TextDiff};

use super::asked_file::AskedFile;
use super::place::Stamp;
use crate::harmless;

/// Lines around a change that are shown with it.
const AROUND: usize = 3;
/// How long the smallest difference is looked for; then one that is larger will do.
const SEARCH_TIME: Duration = Duration::from_millis(500);
/// Most bytes of a diff.
const MAX_DIFF: usize = 4 << 20;

/// The content of a file before and after a call.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct FileChange {
    name: String,
    old: OldFile,
    new: Vec<u8>,
}

/// A file before a call.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum OldFile {
    /// It is not there.
    Absent,
    /// It holds this.
    Content(Vec<u8>),
    /// It is there, and its content was not read.
    Unread(Unread, Stamp),
}

/// Why the content of a file was not read.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Unread {
    /// It cannot be read.
    Unreadable,
    /// It is larger than what is compared.
    TooLarge,
}

impl Unread {
    /// What a person has to know of a diff without the old content.
    pub fn words(self) -> &'static str {
        match self {
            Unread::Unreadable => "the old content cannot be read and is not shown",
            Unread::TooLarge => "the old content is too large to compare and is not shown",
        }
    }
}

/// A change of a file, for people.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct FileDiff {
    /// The file, from the project's folder.
    pub file: String,
    /// The file is not there yet.
    pub made: bool,
    /// Why the diff is not one of the old content and the new, and has all lines of the new one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unread: Option<Unread>,
    /// Lines that are added.
    pub added: usize,
    /// Lines that are removed.
    pub removed: usize,
    /// The hunks of a unified diff, without its head. Control characters and invisible ones are written
    /// out (`\u{1b}`), bytes that are not UTF-8 too (`\x{e9}`), a tab is four spaces; it is for people, not
    /// for `patch`.
    pub diff: String,
}

impl FileChange {
    /// The file `name` would hold `new`.
    pub(super) fn new(name: String, old: OldFile, new: Vec<u8>) -> FileChange {
        FileChange { name, old, new }
    }

    /// The file as it is before the change: what a question about the change is about.
    pub fn asked(&self) -> AskedFile {
        match &self.old {
            OldFile::Absent => AskedFile::absent(),
            OldFile::Content(content) => AskedFile::holding(content),
            OldFile::Unread(_, stamp) => AskedFile::unread(*stamp),
        }
    }

    /// What is known of the old content.
    fn old(&self) -> &[u8] {
        match &self.old {
            OldFile::Content(content) => content,
            OldFile::Absent | OldFile::Unread(..) => &[],
        }
    }

    /// Bytes of both contents.
    pub fn bytes(&self) -> usize {
        self.new.len() + self.old().len()
    }

    /// The change as a unified diff: at most 4 MiB of it, and then how many lines are missing.
    pub fn diff(&self) -> FileDiff {
        let (old, new) = (self.old(), self.new.as_slice());
        // Where both have the line ends of Windows, these are no part of the change.
        let (old, new) = match has_windows_ends(old) && has_windows_ends(new) {
            true => (Cow::from(unix_ends(old)), Cow::from(unix_ends(new))),
            false => (Cow::from(old), Cow::from(new)),
        };
        // Bytes and not text: where something is not UTF-8, it is compared as it is.
        let compared = TextDiff::configure()
            .timeout(SEARCH_TIME)
            .diff_lines(&*old, &*new);
        let mut shown = FileDiff {
            file: self.name.clone(),
            made: self.old == OldFile::Absent,
            unread: match self.old {
                OldFile::Unread(why, _) => Some(why),
                OldFile::Absent | OldFile::Content(_) => None,
            },
            added: 0,
            removed: 0,
            diff: String::new(),
        };
        let mut missing = 0;
        for group in compared.grouped_ops(AROUND) {
            let (Some(first), Some(last)) = (group.first(), group.last()) else {
                continue;
            };
            let olds = first.old_range().start..last.old_range().end;
            let news = first.new_range().start..last.new_range().end;
            if shown.diff.len() < MAX_DIFF {
                let _ = writeln!(shown.diff, "@@ -{} +{} @@", lines(olds), lines(news));
            }
            for op in &group {
                for change in compared.iter_changes(op) {
                    let sign = match change.tag() {
                        ChangeTag::Equal => ' ',
                        ChangeTag::Delete => '-',
                        ChangeTag::Insert => '+',
                    };
                    shown.added += usize::from(sign == '+');
                    shown.removed += usize::from(sign == '-');
                    if shown.diff.len() >= MAX_DIFF {
                        missing += 1;
                        continue;
                    }
                    shown.line(sign, change.value());
                    if change.missing_newline() {
                        shown.diff.push_str("\\ No newline at end of file\n");
                    }
                }
            }
        }
        if missing > 0 {
            let _ = writeln!(
                shown.diff,
                "… {missing} more lines of the diff are not shown"
            );
        }
        shown
    }
}

impl FileDiff {
    /// Adds a line, as much of it as there is room for.
    fn line(&mut self, sign: char, line: &[u8]) {
        let line = line.strip_suffix(b"\n").unwrap_or(line);
        let mut end = line.len().min(MAX_DIFF - self.diff.len().min(MAX_DIFF));
        // A character has at most three bytes behind its first one.
        for _ in 0..3 {
            let inside = line.get(end).is_some_and(|byte| byte & 0xc0 == 0x80);
            end = end.saturating_sub(usize::from(inside));
        }
        self.diff.push(sign);
        self.diff.push_str(&harmless::exact_bytes(&line[..end]));
        match end < line.len() {
            true => self.diff.push_str("…\n"),
            false => self.diff.push('\n'),
        }
    }
}

/// Whether all lines of a text end with CR LF, as far as they have an end.
fn has_windows_ends(text: &[u8]) -> bool {
    let feeds = memchr::memchr_iter(b'\n', text).count();
    let returns = memchr::memchr_iter(b'\r', text).count();
    let both = memchr::memmem::find_iter(text, "\r\n").count();
    feeds == both && returns == both
}

/// The same text with LF at the end of its lines; each CR in it is a part of a CR LF.
fn unix_ends(text: &[u8]) -> Vec<u8> {
    let bytes = text.iter().filter(|byte| **byte != b'\r');
    bytes.copied().collect()
}

/// A range of lines as a unified diff writes it, counted from 1.
fn lines(range: std::ops::Range<usize>) -> String {
    match range.len() {
        0 => format!("{},0", range.start),
        1 => format!("{}", range.start + 1),
        n => format!("{},{n}", range.start + 1),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;

    fn diff(old: Option<&str>, new: &str) -> FileDiff {
        let old = old.map_or(OldFile::Absent, |text| {
            OldFile::Content(text.as_bytes().to_vec())
        });
        FileChange::new("a.txt".into(), old, new.as_bytes().to_vec()).diff()
    }

    #[test]
    fn a_change_is_a_unified_diff_with_three_lines_around() {
        let old: String = (1..=9).map(|n| format!("line {n}\n")).collect();
        let new = old.replace("line 5\n", "line five\nand more\n");
        let shown = diff(Some(&old), &new);
        assert_eq!(
            shown.diff,
            "@@ -2,7 +2,8 @@\n line 2\n line 3\n line 4\n-line 5\n+line five\n+and more\n line 6\n \
             line 7\n line 8\n"
        );
        assert_eq!((shown.added, shown.removed, shown.made), (2, 1, false));
        let made = diff(None, "one\ntwo");
        assert_eq!(
            made.diff,
            "@@ -0,0 +1,2 @@\n+one\n+two\n\\ No newline at end of file\n"
        );
        assert_eq!((made.added, made.removed, made.made), (2, 0, true));
        assert_eq!(diff(Some("same\n"), "same\n").diff, "");
    }

    #[test]
    fn line_ends_count_only_where_they_change() {
        let shown = diff(Some("one\r\ntwo\r\n"), "one\r\n2\r\n");
        assert_eq!(shown.diff, "@@ -1,2 +1,2 @@\n one\n-two\n+2\n");
        let shown = diff(Some("one\r\n"), "one\n");
        assert_eq!(shown.diff, "@@ -1 +1 @@\n-one\\u{d}\n+one\n");
    }

    /// A byte that is not UTF-8 is seen, and that another one took its place.
    #[test]
    fn what_is_not_utf8_is_written_out_byte_by_byte() {
        let change = |old: &[u8], new: &[u8]| {
            let old = OldFile::Content(old.to_vec());
            FileChange::new("a.txt".into(), old, new.to_vec()).diff()
        };
        let shown = change(b"caf\xe9\r\nsame \xff\r\n", b"caf\xe8\r\nsame \xff\r\n");
        assert_eq!(
            shown.diff,
            "@@ -1,2 +1,2 @@\n-caf\\x{e9}\n+caf\\x{e8}\n same \\x{ff}\n"
        );
        let shown = change(b"caf\xe9\n", "caf\u{fffd}\n".as_bytes());
        assert_eq!((shown.added, shown.removed), (1, 1), "{}", shown.diff);
        assert_eq!(shown.diff, "@@ -1 +1 @@\n-caf\\x{e9}\n+caf\u{fffd}\n");
        // The byte, and the text that it is shown as.
        let shown = change(b"\xe9\n", b"\\x{e9}\n");
        assert_eq!((shown.added, shown.removed), (1, 1));
    }

    #[test]
    fn a_diff_without_the_old_content_says_so() {
        let stamp = Stamp::at(std::path::Path::new("/")).unwrap().unwrap();
        for (why, word) in [
            (Unread::Unreadable, "unreadable"),
            (Unread::TooLarge, "too_large"),
        ] {
            let old = OldFile::Unread(why, stamp);
            let shown = FileChange::new("a".into(), old, b"new\n".to_vec()).diff();
            assert_eq!((shown.unread, shown.made), (Some(why), false));
            assert_eq!(serde_json::json!(shown)["unread"], word);
        }
        let known = serde_json::json!(diff(Some("old\n"), "new\n"));
        assert_eq!(known.get("unread"), None);
    }

    #[test]
    fn nothing_in_a_diff_is_obeyed_by_a_terminal_or_looks_like_another_line() {
        let shown = diff(None, "\u{1b}[2J\tx\u{202e}\rRun it?\u{200b}\u{2028}y\n");
        assert_eq!(
            shown.diff,
            "@@ -0,0 +1,2 @@\n+\\u{1b}[2J    x\\u{202e}\\u{d}\n+Run it?\\u{200b}\\u{2028}y\n"
        );
    }

    #[test]
    fn a_large_change_takes_a_bounded_time_and_says_what_is_missing() {
        // No two lines are alike, which is what takes longest.
        let old: String = (0..150_000)
            .map(|n| format!("old line number {n} of them\n"))
            .collect();
        let new: String = (0..150_000)
            .map(|n| format!("new line number {n} of them\n"))
            .collect();
        let begun = Instant::now();
        let shown = diff(Some(&old), &new);
        assert!(
            begun.elapsed() < Duration::from_secs(20),
            "{:?}",
            begun.elapsed()
        );
        assert_eq!((shown.added, shown.removed), (150_000, 150_000));
        assert!(shown.diff.len() < MAX_DIFF + 200);
        let last = shown.diff.lines().last().unwrap_or_default();
        assert!(
            last.ends_with(" more lines of the diff are not shown"),
            "{last}"
        );
        // One line of five megabytes.
        let shown = diff(Some("short\n"), &"x".repeat(5 << 20));
        assert!(shown.diff.len() < MAX_DIFF + 200);
    }
}
