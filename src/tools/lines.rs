//! What a line is, for all tools: it ends with LF, with CR LF, or with CR alone. So no text hides
//! behind a CR, and a line has the same number in each answer.

use std::io::{self, Read};

/// The first line end in `bytes`: where it begins and how many bytes it has. The LF behind a CR that
/// stands last is not in `bytes` yet.
pub(super) fn end(bytes: &[u8]) -> Option<(usize, usize)> {
    let at = memchr::memchr2(b'\r', b'\n', bytes)?;
    let long = bytes[at] == b'\r' && bytes.get(at + 1) == Some(&b'\n');
    Some((at, if long { 2 } else { 1 }))
}

/// A text with LF at the end of each line.
pub(super) fn plain(text: &str) -> String {
    match text.contains('\r') {
        true => text.replace("\r\n", "\n").replace('\r', "\n"),
        false => text.to_owned(),
    }
}

/// A reader that gives LF for each line end. UTF-16, by its first bytes, comes as it is.
pub(super) struct Fed<R> {
    inner: R,
    /// The last byte was a CR, for which LF was given.
    after_cr: bool,
    begun: bool,
    as_it_is: bool,
}

impl<R: Read> Fed<R> {
    pub fn new(inner: R) -> Fed<R> {
        Fed {
            inner,
            after_cr: false,
            begun: false,
            as_it_is: false,
        }
    }
}

impl<R: Read> Read for Fed<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            let length = self.inner.read(buffer)?;
            let bytes = &mut buffer[..length];
            if !self.begun && length > 0 {
                self.begun = true;
                self.as_it_is = matches!(bytes, [0xff, 0xfe, ..] | [0xfe, 0xff, ..]);
            }
            let ends = self.after_cr || memchr::memchr(b'\r', bytes).is_some();
            if self.as_it_is || length == 0 || !ends {
                return Ok(length);
            }
            let mut kept = 0;
            for at in 0..length {
                let byte = bytes[at];
                if byte == b'\n' && self.after_cr {
                    self.after_cr = false;
                    continue;
                }
                self.after_cr = byte == b'\r';
                bytes[kept] = if self.after_cr { b'\n' } else { byte };
                kept += 1;
            }
            // Nothing but the LF of a CR LF was there: that is not the end.
            if kept > 0 {
                return Ok(kept);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Gives `step` bytes at a time.
    struct Slow<'a>(&'a [u8], usize);

    impl Read for Slow<'_> {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            let length = self.1.min(self.0.len()).min(buffer.len());
            buffer[..length].copy_from_slice(&self.0[..length]);
            self.0 = &self.0[length..];
            Ok(length)
        }
    }

    proptest! {
        #[test]
        fn any_line_end_is_read_as_lf_however_the_bytes_come(
            text in "[ab\r\n]{0,30}", step in 1_usize..5,
        ) {
            let mut out = String::new();
            Fed::new(Slow(text.as_bytes(), step)).read_to_string(&mut out).unwrap();
            prop_assert_eq!(&out, &plain(&text));
            let mut rest = text.as_bytes();
            let mut lines = 0;
            while let Some((at, length)) = end(rest) {
                rest = &rest[at + length..];
                lines += 1;
            }
            prop_assert_eq!(lines, out.matches('\n').count());
        }
    }
}
