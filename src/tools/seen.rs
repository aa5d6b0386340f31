//! A file's text as tools show it, and where each part of it stands in the file: line ends are LF,
//! bytes that are not UTF-8 are U+FFFD, control characters and escape sequences are not there. So a
//! model can name a place in a file by the text that it was shown.

use std::ops::Range;

use super::{lines, shown};

/// Part of a text and the bytes that it stands for: byte for byte, or as a whole.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct SeenStretch {
    text: usize,
    text_len: usize,
    file: usize,
    file_len: usize,
}

/// A text and where it comes from.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(super) struct Seen {
    text: String,
    /// In order; together they are the text.
    runs: Vec<SeenStretch>,
}

impl Seen {
    /// Only line ends and bytes that are not UTF-8 are shown otherwise than they are.
    pub fn whole(bytes: &[u8]) -> Seen {
        let mut seen = Seen::default();
        let mut at = 0;
        for chunk in bytes.utf8_chunks() {
            let mut rest = chunk.valid();
            while let Some((end, length)) = lines::end(rest.as_bytes()) {
                seen.push(&rest[..end], at, end);
                seen.push("\n", at + end, length);
                at += end + length;
                rest = &rest[end + length..];
            }
            seen.push(rest, at, rest.len());
            at += rest.len();
            if !chunk.invalid().is_empty() {
                seen.push("\u{fffd}", at, chunk.invalid().len());
                at += chunk.invalid().len();
            }
        }
        seen
    }

    /// As `read_file` shows it.
    pub fn shown(bytes: &[u8]) -> Seen {
        let whole = Seen::whole(bytes);
        if !whole.text.chars().any(shown::is_hidden) {
            return whole;
        }
        let mut seen = Seen::default();
        let mut runs = whole.runs.iter().peekable();
        for part in shown::visible(&whole.text) {
            while let Some(run) = runs.peek() {
                let from = part.start.max(run.text);
                let to = part.end.min(run.text + run.text_len);
                if from < to {
                    let text = &whole.text[from..to];
                    match run.file_len == run.text_len {
                        true => seen.push(text, run.file + (from - run.text), to - from),
                        false => seen.push(text, run.file, run.file_len),
                    }
                }
                if run.text + run.text_len > part.end {
                    break;
                }
                runs.next();
            }
        }
        seen
    }

    fn push(&mut self, text: &str, file: usize, file_len: usize) {
        if text.is_empty() {
            return;
        }
        let at = self.text.len();
        self.text.push_str(text);
        let same = text.len() == file_len;
        match self.runs.last_mut() {
            // What follows byte for byte in both is one run.
            Some(last)
                if same && last.text_len == last.file_len && last.file + last.file_len == file =>
            {
                last.text_len += file_len;
                last.file_len += file_len;
            }
            _ => self.runs.push(SeenStretch {
                text: at,
                text_len: text.len(),
                file,
                file_len,
            }),
        }
    }

    /// The text.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The bytes of the file for a part of the text, which begins and ends between characters and is
    /// not empty. What is not shown at its two ends does not belong to it.
    pub fn file(&self, part: &Range<usize>) -> Range<usize> {
        let run = |at: usize| {
            let after = self.runs.partition_point(|run| run.text <= at);
            &self.runs[after.saturating_sub(1)]
        };
        let (first, last) = (run(part.start), run(part.end - 1));
        let start = first.file + (part.start - first.text).min(first.file_len);
        let end = match last.text_len == last.file_len {
            true => last.file + (part.end - last.text),
            false => last.file + last.file_len,
        };
        start..end
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_is_not_shown_lies_between_what_is() {
        let bytes = b"a\x0cb\r\n\x1b[31mcaf\xe9\x1b[0m\rend";
        let seen = Seen::shown(bytes);
        assert_eq!(seen.text(), "ab\ncaf\u{fffd}\nend");
        assert_eq!(seen.file(&(0..2)), 0..3);
        assert_eq!(seen.file(&(2..3)), 3..5);
        assert_eq!(seen.file(&(3..9)), 10..14);
        assert_eq!(
            Seen::whole(bytes).text(),
            "a\x0cb\n\x1b[31mcaf\u{fffd}\x1b[0m\nend"
        );
    }

    proptest! {
        /// The text is that of `clean`, and each character stands for bytes of its own, in order.
        #[test]
        fn the_text_is_what_is_shown_and_its_places_follow_each_other(
            parts in prop::collection::vec(prop::sample::select(vec![
                &b"a"[..], b"\r", b"\n", b"\r\n", b"\x0c", b"\x1b[1m", b"\xff", b"\xe2\x82", b"\xe2\x82\xac",
                b"\x1b]0;", b"\x07", b"\xc2\x9b",
            ]), 0..20),
        ) {
            let bytes = parts.concat();
            let whole = Seen::whole(&bytes);
            let seen = Seen::shown(&bytes);
            prop_assert_eq!(seen.text(), shown::clean(whole.text().as_bytes()));
            let mut last = 0;
            for (at, c) in seen.text().char_indices() {
                let place = seen.file(&(at..at + c.len_utf8()));
                prop_assert!(place.start >= last && place.end > place.start);
                prop_assert!(place.end <= bytes.len());
                let text = Seen::shown(&bytes[place.clone()]);
                let broken = c == char::REPLACEMENT_CHARACTER;
                prop_assert!(broken || text.text() == c.to_string());
                last = place.end;
            }
        }
    }
}
