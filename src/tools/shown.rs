//! Bytes of files and programs as a model may see them: valid UTF-8 without control characters,
//! sizes and names in words.

use std::ops::Range;
use std::path::Path;

/// Longest escape sequence that is taken as one, in bytes; what never ends is not allowed to hide
/// the rest.
const MAX_SEQUENCE: usize = 4096;

/// Text of what a program or a file gave. Broken UTF-8 becomes U+FFFD; escape sequences and control
/// characters go, but for tab and line feed; a carriage return that rewrites its line leaves what
/// was written last, as on a terminal. What is clean stays as it is.
pub fn clean(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(bytes);
    if !text.chars().any(is_hidden) {
        return text.into_owned();
    }
    let text = without_escapes(&text);
    let mut out = String::with_capacity(text.len());
    for line in text.split_inclusive('\n') {
        let (line, end) = match line.strip_suffix('\n') {
            Some(line) => (line, "\n"),
            None => (line, ""),
        };
        let line = line.trim_end_matches('\r');
        let last = line.rsplit('\r').next().unwrap_or(line);
        out.extend(last.chars().filter(|c| !c.is_control() || *c == '\t'));
        out.push_str(end);
    }
    out
}

/// Whether a character is never shown.
pub(super) fn is_hidden(c: char) -> bool {
    c.is_control() && c != '\n' && c != '\t'
}

/// The parts of a text without CR that [`clean`] leaves.
pub(super) fn visible(text: &str) -> Vec<Range<usize>> {
    let mut out = Vec::new();
    for part in plain_parts(text) {
        let mut from = part.start;
        for (at, c) in text[part.clone()]
            .char_indices()
            .filter(|(_, c)| is_hidden(*c))
        {
            out.push(from..part.start + at);
            from = part.start + at + c.len_utf8();
        }
        out.push(from..part.end);
    }
    out.retain(|part| !part.is_empty());
    out
}

fn without_escapes(text: &str) -> String {
    plain_parts(text)
        .into_iter()
        .map(|part| &text[part])
        .collect()
}

/// What is left without escape sequences by ECMA-48: CSI with its parameters, the strings of OSC,
/// DCS, SOS, PM and APC, and everything else of two or three bytes.
fn plain_parts(text: &str) -> Vec<Range<usize>> {
    let mut out = Vec::new();
    let mut rest = text;
    while let Some(at) = rest.find(['\u{1b}', '\u{9b}', '\u{9d}', '\u{90}']) {
        let start = text.len() - rest.len();
        out.push(start..start + at);
        let mut chars = rest[at..].chars();
        let kind = match chars.next() {
            Some('\u{9b}') => Some('['),
            Some('\u{9d}' | '\u{90}') => Some(']'),
            _ => chars.next(),
        };
        let body = chars.as_str();
        rest = match kind {
            Some('[') => after_csi(body),
            Some(']' | 'P' | 'X' | '^' | '_') => after_string(body),
            // Two bytes, or an intermediate and a final one (`ESC ( B`).
            Some(' '..='/') => {
                let mut chars = body.chars();
                match chars.next() {
                    Some('0'..='~') => chars.as_str(),
                    _ => body,
                }
            }
            Some('0'..='~') => body,
            // No sequence: only the escape goes.
            _ => &rest[at + 1..],
        };
    }
    out.push(text.len() - rest.len()..text.len());
    out
}

fn after_csi(body: &str) -> &str {
    let inside = body
        .bytes()
        .take(MAX_SEQUENCE)
        .take_while(|b| (0x20..=0x3f).contains(b))
        .count();
    match body.as_bytes().get(inside) {
        Some(0x40..=0x7e) => &body[inside + 1..],
        _ => &body[inside..],
    }
}

/// A string ends with BEL or ST; one that does not end on its line was none.
fn after_string(body: &str) -> &str {
    let near = &body[..floor(body, MAX_SEQUENCE)];
    let near = near.split('\n').next().unwrap_or(near);
    let end = [("\u{7}", 1), ("\u{1b}\\", 2), ("\u{9c}", 2)]
        .iter()
        .filter_map(|(end, length)| Some(near.find(end)? + length))
        .min();
    &body[end.unwrap_or(0)..]
}

/// Bytes in words: `512 bytes`, `4.1 kB`, `12 MB` (decimal).
pub(super) fn size(bytes: u64) -> String {
    const UNITS: [&str; 5] = ["kB", "MB", "GB", "TB", "PB"];
    if bytes < 1000 {
        return count(bytes, "byte");
    }
    let mut value = bytes as f64 / 1000.0;
    let mut unit = 0;
    while value >= 999.5 && unit + 1 < UNITS.len() {
        value /= 1000.0;
        unit += 1;
    }
    match value < 9.95 {
        true => format!("{value:.1} {}", UNITS[unit]),
        false => format!("{value:.0} {}", UNITS[unit]),
    }
}

/// A number with its noun: `1 line`, `12,345 lines`.
pub(super) fn count(n: u64, noun: &str) -> String {
    let digits = n.to_string();
    let mut out = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    format!("{out} {noun}{}", if n == 1 { "" } else { "s" })
}

/// The last place up to `at` where `text` can be cut.
pub(super) fn floor(text: &str, at: usize) -> usize {
    let mut at = at.min(text.len());
    while !text.is_char_boundary(at) {
        at -= 1;
    }
    at
}
/// A path in one line, whatever is in its name; relative to `base` where it lies there.
pub(super) fn name(path: &Path, base: &Path) -> String {
    let path = path.strip_prefix(base).unwrap_or(path);
    if path.as_os_str().is_empty() {
        return ".".to_owned();
    }
    let mut out = String::new();
    for c in path.to_string_lossy().chars() {
        if c.is_control() {
            out.extend(c.escape_debug());
        } else {
            out.push(c);
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn escapes_controls_and_overwritten_lines_go_and_text_stays() {
        let table: [(&[u8], &str); 14] = [
            (b"plain\ttext\n\xc3\xa4\n", "plain\ttext\nä\n"),
            (b"\x1b[1;31mred\x1b[0m \x1b[2K\x1b[?25lx", "red x"),
            (
                b"\x1b]0;title\x07a\x1b]8;;http://x\x1b\\link\x1b]8;;\x1b\\",
                "alink",
            ),
            (b"\x1bPq#0;2;0\x1b\\sixel", "sixel"),
            (b"\x1b(Bcharset\x1b7save\x1bMup", "charsetsaveup"),
            ("\u{9b}31mc1\u{9d}0;t\u{9c}x".as_bytes(), "c1x"),
            (b"crlf\r\nnext\r\r\n", "crlf\nnext\n"),
            (b"  0%\r 50%\r100%\ndone", "100%\ndone"),
            (b"progress\r", "progress"),
            (b"be\x07ll \x08\x08\x00nul\x7f", "bell nul"),
            (b"\xff\xfe broken \xc3", "\u{fffd}\u{fffd} broken \u{fffd}"),
            // What never ends hides nothing.
            (b"\x1b]0;never\nends\n", "0;never\nends\n"),
            (b"\x1b[12", ""),
            (b"end \x1b", "end "),
        ];
        for (bytes, text) in table {
            assert_eq!(clean(bytes), text, "{:?}", String::from_utf8_lossy(bytes));
        }
        let long = format!("\u{1b}[{}m rest", "1;".repeat(100_000));
        assert!(clean(long.as_bytes()).ends_with("m rest"));
    }

    #[test]
    fn numbers_are_said_in_words() {
        let sizes = [
            0,
            1,
            999,
            1000,
            9_949,
            9_951,
            999_499,
            999_999,
            4_100_000,
            u64::MAX,
        ];
        assert_eq!(
            sizes.map(size),
            [
                "0 bytes",
                "1 byte",
                "999 bytes",
                "1.0 kB",
                "9.9 kB",
                "10 kB",
                "999 kB",
                "1.0 MB",
                "4.1 MB",
                "18447 PB"
            ]
        );
        assert_eq!(
            [1, 12, 1_234, 1_234_567].map(|n| count(n, "line")),
            ["1 line", "12 lines", "1,234 lines", "1,234,567 lines"]
        );
    }

    proptest! {
        /// Whatever a program writes: text without control characters, and clean text is left alone.
        #[test]
        fn any_bytes_become_clean_text_once(
            parts in prop::collection::vec(
                prop_oneof![
                    prop::collection::vec(any::<u8>(), 0..8),
                    prop::sample::select(vec![
                        b"\x1b[".to_vec(), b"\x1b]".to_vec(), b"\x07".to_vec(), b"\r".to_vec(),
                        b"\n".to_vec(), b"\x1b\\".to_vec(), b"31m".to_vec(), vec![0xc2, 0x9b],
                    ]),
                ],
                0..20,
            ),
        ) {
            let text = clean(&parts.concat());
            prop_assert!(text.chars().all(|c| !c.is_control() || c == '\n' || c == '\t'));
            prop_assert_eq!(clean(text.as_bytes()), text);
        }
    }
}
