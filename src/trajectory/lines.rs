//! The lines of a file. A line is measured before it is kept, and its values are counted before they are
//! made: what a stranger wrote takes bounded memory.

use std::io::{self, BufRead};

/// Most bytes of a line: a session of a million tokens has less.
pub const MOST_LINE: usize = 32 << 20;

/// Most values in a line: tokens, messages, fields. Each takes some dozen bytes when it is read.
const MOST_VALUES: usize = 3_000_000;

/// Reads lines that are no longer than a bound.
pub(super) struct Lines<R> {
    from: R,
    at: usize,
    most: usize,
}

impl<R: BufRead> Lines<R> {
    /// All lines of `from`, each of at most `most` bytes.
    pub fn new(from: R, most: usize) -> Lines<R> {
        Lines { from, at: 0, most }
    }

    /// The next line that has something in it, with its number from 1; what is wrong with it in the place
    /// of its text. Nothing at the end.
    ///
    /// # Errors
    /// Where the file cannot be read.
    pub fn next(&mut self) -> io::Result<Option<(usize, Result<String, String>)>> {
        loop {
            let mut bytes = Vec::new();
            let mut length = 0;
            let mut ended = false;
            while !ended {
                let more = self.from.fill_buf()?;
                if more.is_empty() {
                    break;
                }
                let end = more.iter().position(|byte| *byte == b'\n');
                let part = &more[..end.unwrap_or(more.len())];
                // What is too much is counted and not kept.
                let room = self.most.saturating_sub(bytes.len());
                bytes.extend_from_slice(&part[..part.len().min(room)]);
                length += part.len();
                ended = end.is_some();
                let used = part.len() + usize::from(ended);
                self.from.consume(used);
            }
            if length == 0 && !ended {
                return Ok(None);
            }
            self.at += 1;
            if length > self.most {
                let what = format!(
                    "it has {length} bytes, and a line may have {} MiB",
                    self.most >> 20
                );
                return Ok(Some((self.at, Err(what))));
            }
            // A mark that some editors put before the first character.
            if self.at == 1 && bytes.starts_with(b"\xef\xbb\xbf") {
                bytes.drain(..3);
            }
            if bytes.iter().all(u8::is_ascii_whitespace) {
                continue;
            }
            if values(&bytes) > MOST_VALUES {
                let what = format!("it has more than {MOST_VALUES} values");
                return Ok(Some((self.at, Err(what))));
            }
            let text = String::from_utf8(bytes).map_err(|error| {
                let at = error.utf8_error().valid_up_to();
                format!("it is not UTF-8 (at byte {at})")
            });
            return Ok(Some((self.at, text)));
        }
    }
}

/// At least as many as JSON values are in these bytes, but for the first of each list and object: commas
/// and opening brackets outside of strings.
fn values(bytes: &[u8]) -> usize {
    let (mut count, mut inside, mut escaped) = (0, false, false);
    for byte in bytes {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if inside => escaped = true,
            b'"' => inside = !inside,
            b',' | b'[' | b'{' if !inside => count += 1,
            _ => {}
        }
    }
    count
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(text: &[u8], most: usize) -> Vec<(usize, Result<String, String>)> {
        let mut lines = Lines::new(io::BufReader::with_capacity(7, text), most);
        std::iter::from_fn(|| lines.next().expect("bytes in memory")).collect()
    }

    #[test]
    fn lines_are_numbered_as_an_editor_numbers_them_and_empty_ones_are_left_out() {
        let text = "\u{feff}{\"a\":1}\r\n\n  \n{\"b\":\"x\"}\nlast".as_bytes();
        let good = |at, text: &str| (at, Ok(text.to_owned()));
        assert_eq!(
            all(text, 100),
            [
                good(1, "{\"a\":1}\r"),
                good(4, "{\"b\":\"x\"}"),
                good(5, "last")
            ]
        );
        assert_eq!(all(b"", 100), []);
    }

    #[test]
    fn a_line_that_is_too_long_or_no_text_is_named_and_the_next_one_is_read() {
        let mut text = vec![b'x'; 2 << 20];
        text.extend(b"\n\xff\xfe\nok\n");
        let seen = all(&text, 1 << 20);
        let what = "it has 2097152 bytes, and a line may have 1 MiB".to_owned();
        assert_eq!(seen[0], (1, Err(what)));
        assert_eq!(seen[1], (2, Err("it is not UTF-8 (at byte 0)".to_owned())));
        assert_eq!(seen[2], (3, Ok("ok".to_owned())));
    }

    #[test]
    fn values_are_counted_outside_of_strings_before_they_are_made() {
        assert_eq!(values(br#"{"a,[":"\",{","b":[1,2,3]}"#), 5);
        let bomb = format!("[{}1]", "0,".repeat(MOST_VALUES));
        let what = format!("it has more than {MOST_VALUES} values");
        assert_eq!(all(bomb.as_bytes(), MOST_LINE), [(1, Err(what))]);
    }
}
