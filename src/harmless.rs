//! Untrusted text, made safe for a terminal. Models, files, servers and names are not npast's own:
//! what they say must not move the cursor, set the clipboard, turn the direction of writing or look
//! like another line. Nothing is dropped: a reader sees that something was there.

use std::borrow::Cow;

/// `text` without what a terminal would obey: control characters but line feed and tab are shown
/// as their pictures (`␛`), those without a picture and marks that turn the direction of writing as
/// `�`. The line end CR LF becomes LF, also where a stream is cut between the two.
pub fn text(text: &str) -> Cow<'_, str> {
    if !text.contains(obeyed) {
        return Cow::Borrowed(text);
    }
    let mut out = String::with_capacity(text.len() + 16);
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            '\r' if matches!(chars.peek(), None | Some('\n')) => {}
            c if obeyed(c) => out.push(picture(c)),
            c => out.push(c),
        }
    }
    Cow::Owned(out)
}

/// The same on one line: a name, a reason.
pub fn line(given: &str) -> Cow<'_, str> {
    match given.contains(['\n', '\t', '\r']) {
        true => Cow::Owned(text(given).replace(['\n', '\t'], " ")),
        false => text(given),
    }
}

/// What somebody decides about: line feeds stay, a tab is four spaces, and every character that is
/// obeyed, that is not seen, or that looks like the ordinary space is written out (`\u{200b}`).
pub fn exact(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '\n' => out.push(c),
            '\t' => out.push_str("    "),
            c if obeyed(c) || unseen(c) => out.extend(c.escape_unicode()),
            c => out.push(c),
        }
    }
    out
}

/// The same for bytes: those that are not UTF-8 are written out one by one (`\x{e9}`).
pub fn exact_bytes(bytes: &[u8]) -> String {
    let mut out = String::with_capacity(bytes.len());
    for chunk in bytes.utf8_chunks() {
        out.push_str(&exact(chunk.valid()));
        for byte in chunk.invalid() {
            out.push_str(&format!("\\x{{{byte:02x}}}"));
        }
    }
    out
}

/// JSON that a terminal may get: the same values, with what JSON lets stand written as `\u009b`.
pub fn json(text: &str) -> Cow<'_, str> {
    // A line feed behind a value is npast's own; JSON writes those inside of strings out.
    if !text.contains(obeyed) {
        return Cow::Borrowed(text);
    }
    let mut out = String::with_capacity(text.len() + 16);
    for c in text.chars() {
        match obeyed(c) {
            true => out.push_str(&format!("\\u{:04x}", c as u32)),
            false => out.push(c),
        }
    }
    Cow::Owned(out)
}

/// Control characters of all three kinds, and marks that turn or isolate the direction of writing.
fn obeyed(c: char) -> bool {
    (c.is_control() && c != '\n' && c != '\t')
        || matches!(c, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}'
            | '\u{2066}'..='\u{2069}')
}

fn picture(c: char) -> char {
    match c {
        '\0'..='\u{1f}' => char::from_u32(0x2400 + c as u32).unwrap_or('\u{fffd}'),
        '\u{7f}' => '\u{2421}',
        _ => '\u{fffd}',
    }
}

/// Characters of Unicode's default-ignorable and bidirectional kinds, line separators, private use
/// and tags, and spaces that look like the ordinary one or like nothing.
fn unseen(c: char) -> bool {
    matches!(c,
        '\u{a0}' | '\u{ad}' | '\u{34f}' | '\u{61c}' | '\u{115f}' | '\u{1160}' | '\u{1680}'
        | '\u{17b4}' | '\u{17b5}' | '\u{180b}'..='\u{180f}' | '\u{2000}'..='\u{200f}'
        | '\u{2028}'..='\u{202f}' | '\u{205f}'..='\u{206f}' | '\u{2800}' | '\u{3000}' | '\u{3164}'
        | '\u{e000}'..='\u{f8ff}' | '\u{fe00}'..='\u{fe0f}' | '\u{feff}' | '\u{ffa0}'
        | '\u{fff0}'..='\u{fffb}' | '\u{1d173}'..='\u{1d17a}' | '\u{e0000}'..='\u{10ffff}')
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// A title, a clipboard, a cleared screen, one-byte forms of the same, and a turned line.
    const ATTACK: &str = "\u{1b}]52;c;UFdORUQ=\u{7}\u{1b}]0;PWN\u{9c}\u{9b}2J\u{7f}a\rb\u{202e}c";

    #[test]
    fn what_a_terminal_obeys_is_seen_and_not_obeyed() {
        assert_eq!(text("a\tb\r\nc é 👩‍👩‍👧"), "a\tb\nc é 👩‍👩‍👧");
        assert_eq!(
            text(ATTACK),
            "␛]52;c;UFdORUQ=␇␛]0;PWN\u{fffd}\u{fffd}2J␡a␍b\u{fffd}c"
        );
        assert_eq!(line("two\nlines\tof\r\nit\u{1b}"), "two lines of it␛");
        assert_eq!(
            exact("make\u{1b}[2K\r\u{202e}x\u{200b}\u{a0}y"),
            "make\\u{1b}[2K\\u{d}\\u{202e}x\\u{200b}\\u{a0}y"
        );
        assert_eq!(
            exact_bytes(b"caf\xe9 \xc3\xa9\x1b\xf0\x9f"),
            "caf\\x{e9} \u{e9}\\u{1b}\\x{f0}\\x{9f}"
        );
        // The two halves of a line end may come in two pieces of a stream.
        assert_eq!([text("a\r"), text("\nb")].concat(), "a\nb");
    }

    proptest! {
        #[test]
        fn no_text_leaves_anything_to_obey(given in "(\\PC|\\pC|[\\x00-\\x20\\x7f-\\x9f\u{200e}-\u{202f}]){0,60}") {
            for shown in [text(&given).into_owned(), line(&given).into_owned(), exact(&given)] {
                prop_assert!(!shown.contains(obeyed), "{given:?} is shown as {shown:?}");
            }
            prop_assert!(!line(&given).contains(['\n', '\t']));
            prop_assert!(!exact(&given).contains(unseen));
        }

        #[test]
        fn json_is_the_same_value_and_leaves_nothing_to_obey(given in "(\\PC|\\pC){0,60}") {
            let written = serde_json::Value::from(given.as_str()).to_string();
            let shown = json(&written);
            prop_assert!(!shown.contains(obeyed) && !shown.contains('\n'), "{shown:?}");
            let read: String = serde_json::from_str(&shown).unwrap();
            prop_assert_eq!(read, given);
        }
    }
}
