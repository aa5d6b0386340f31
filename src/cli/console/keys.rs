//! Bytes of a terminal to keys. Pure: any bytes, cut anywhere. Unknown sequences are skipped, bytes that are
//! not UTF-8 become one `�`, and a bracketed paste is one key.

/// Most bytes of a paste; what follows them is dropped, and a notice says so.
pub const MAX_PASTE: usize = 16 << 20;
/// An escape sequence that is longer is none.
const MAX_SEQUENCE: usize = 64;
const PASTE_BEGINS: &[u8] = b"\x1b[200~";
const PASTE_ENDS: &[u8] = b"\x1b[201~";

/// What was pressed.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Key {
    Char(char),
    /// A marked paste, with plain line ends.
    Paste(String),
    /// A paste was too long: so much of it is here.
    CutPaste(String),
    Enter,
    /// Ctrl-J, Alt-Enter, Shift-Enter where the terminal has another sequence for it.
    Newline,
    Tab,
    Backspace,
    Delete,
    Left,
    Right,
    WordLeft,
    WordRight,
    Up,
    Down,
    Home,
    End,
    KillLine,
    KillBack,
    KillWordBack,
    KillWord,
    Yank,
    /// Ctrl-C.
    Interrupt,
    /// Ctrl-D.
    EndOfInput,
    /// Ctrl-Z.
    Suspend,
    /// Ctrl-L.
    Clear,
}

/// The bytes that are no whole key yet.
#[derive(Default)]
pub struct KeyDecoder {
    pending: Vec<u8>,
    /// A paste that has begun, and whether it is cut.
    paste: Option<(Vec<u8>, bool)>,
}

impl KeyDecoder {
    /// Takes bytes; the keys that are whole now.
    pub fn feed(&mut self, bytes: &[u8]) -> Vec<Key> {
        let mut keys = Vec::new();
        self.pending.extend_from_slice(bytes);
        while let Some(key) = self.next() {
            keys.extend(key);
        }
        keys
    }

    /// Whether a sequence has begun whose rest should be here at once.
    pub fn waits(&self) -> bool {
        self.paste.is_none() && !self.pending.is_empty()
    }

    /// Nothing came behind what waits: it was no sequence.
    pub fn give_up(&mut self) {
        if self.waits() {
            self.pending.clear();
        }
    }

    /// Takes one key off; `Some(None)` where bytes were taken that are none, `None` where more must come.
    fn next(&mut self) -> Option<Option<Key>> {
        if self.paste.is_some() {
            return self.pasted().map(Some);
        }
        let bytes = &self.pending;
        let (taken, key) = match *bytes.first()? {
            0x1b if bytes.starts_with(PASTE_BEGINS) => {
                self.paste = Some(Default::default());
                (PASTE_BEGINS.len(), None)
            }
            0x1b => escape(bytes)?,
            byte @ (0..=0x1f | 0x7f) => (1, control(byte)),
            _ => character(bytes)?,
        };
        self.pending.drain(..taken);
        Some(key)
    }

    /// More of a paste; the key when its end is there.
    fn pasted(&mut self) -> Option<Key> {
        let (paste, cut) = self.paste.as_mut()?;
        let end = memchr::memmem::find(&self.pending, PASTE_ENDS);
        // The end mark may be cut in two.
        let sure = self.pending.len().saturating_sub(PASTE_ENDS.len() - 1);
        let upto = end.unwrap_or(sure);
        let room = MAX_PASTE - paste.len().min(MAX_PASTE);
        *cut |= upto > room;
        paste.extend(&self.pending[..upto.min(room)]);
        let taken = end.map_or(upto, |at| at + PASTE_ENDS.len());
        self.pending.drain(..taken);
        end?;
        let (paste, cut) = self.paste.take()?;
        let text = String::from_utf8_lossy(&paste);
        let text = text.replace("\r\n", "\n").replace('\r', "\n");
        Some(match cut {
            true => Key::CutPaste(text),
            false => Key::Paste(text),
        })
    }
}

/// What was typed while the terminal made lines of it by itself: there Enter is a line feed and Ctrl-D
/// a zero.
pub fn typed_before(keys: Vec<Key>, bytes: &[u8]) -> Vec<Key> {
    // A zero is no key of its own, so the keys are made again around it.
    if !bytes.contains(&0) {
        return keys.into_iter().map(of_a_line).collect();
    }
    let mut all = Vec::new();
    for (n, part) in bytes.split(|b| *b == 0).enumerate() {
        if n > 0 {
            all.push(Key::EndOfInput);
        }
        all.extend(KeyDecoder::default().feed(part).into_iter().map(of_a_line));
    }
    all
}

fn of_a_line(key: Key) -> Key {
    match key {
        Key::Newline => Key::Enter,
        key => key,
    }
}

fn control(byte: u8) -> Option<Key> {
    Some(match byte {
        b'\r' => Key::Enter,
        b'\n' => Key::Newline,
        b'\t' => Key::Tab,
        0x7f | 0x08 => Key::Backspace,
        0x01 => Key::Home,
        0x02 => Key::Left,
        0x03 => Key::Interrupt,
        0x04 => Key::EndOfInput,
        0x05 => Key::End,
        0x06 => Key::Right,
        0x0b => Key::KillLine,
        0x0c => Key::Clear,
        0x0e => Key::Down,
        0x10 => Key::Up,
        0x15 => Key::KillBack,
        0x17 => Key::KillWordBack,
        0x19 => Key::Yank,
        0x1a => Key::Suspend,
        _ => return None,
    })
}

/// A character, or the bytes that are none: how many bytes, and the key.
fn character(bytes: &[u8]) -> Option<(usize, Option<Key>)> {
    let start = &bytes[..bytes.len().min(4)];
    let text = match std::str::from_utf8(start) {
        Ok(text) => text,
        Err(error) if error.valid_up_to() > 0 => {
            std::str::from_utf8(&start[..error.valid_up_to()]).unwrap_or_default()
        }
        Err(error) => {
            // Not there yet, or never.
            let bad = error.error_len()?;
            return Some((bad, Some(Key::Char('\u{fffd}'))));
        }
    };
    let c = text.chars().next()?;
    // One-byte forms of escape sequences are characters here, and harmless ones.
    let key = (!c.is_control()).then_some(Key::Char(c));
    Some((c.len_utf8(), key))
}

/// A sequence that begins with Escape.
fn escape(bytes: &[u8]) -> Option<(usize, Option<Key>)> {
    let alt = match *bytes.get(1)? {
        b'[' => return sequence(bytes),
        b'O' => {
            let last = *bytes.get(2)?;
            return Some((3, moving(last)));
        }
        // Escape, and then a key that counts.
        0x1b => return Some((1, None)),
        b'\r' | b'\n' => Some(Key::Newline),
        b'b' => Some(Key::WordLeft),
        b'f' => Some(Key::WordRight),
        b'd' => Some(Key::KillWord),
        0x7f | 0x08 => Some(Key::KillWordBack),
        0x03 => Some(Key::Interrupt),
        byte if byte.is_ascii() => None,
        // A character behind it is its own key.
        _ => return Some((1, None)),
    };
    Some((2, alt))
}

/// `ESC [ … letter`.
fn sequence(bytes: &[u8]) -> Option<(usize, Option<Key>)> {
    let rest = &bytes[2..];
    let end = rest.iter().position(|b| !(0x20..=0x3f).contains(b));
    let Some(end) = end.filter(|end| *end <= MAX_SEQUENCE) else {
        return (rest.len() > MAX_SEQUENCE).then_some((bytes.len(), None));
    };
    let last = rest[end];
    if !(0x40..=0x7e).contains(&last) {
        // Broken off by another key, which counts.
        return Some((2 + end, None));
    }
    let text = std::str::from_utf8(&rest[..end]).unwrap_or_default();
    let numbers: Vec<u32> = text.split(';').map(|n| n.parse().unwrap_or(0)).collect();
    let number = |at: usize| numbers.get(at).copied().unwrap_or(0);
    let with_word = matches!(number(1), 3 | 5 | 7);
    let key = match (last, number(0)) {
        (b'~', 1 | 7) => Some(Key::Home),
        (b'~', 4 | 8) => Some(Key::End),
        (b'~', 3) => Some(Key::Delete),
        // Enter with Shift or Alt, in the sequences of two families of terminals.
        (b'~', 27) if number(2) == 13 => Some(Key::Newline),
        (b'u', 13) => Some(match number(1) {
            0 | 1 => Key::Enter,
            _ => Key::Newline,
        }),
        (b'C', _) if with_word => Some(Key::WordRight),
        (b'D', _) if with_word => Some(Key::WordLeft),
        (last, _) => moving(last),
    };
    Some((2 + end + 1, key))
}

fn moving(last: u8) -> Option<Key> {
    Some(match last {
        b'A' => Key::Up,
        b'B' => Key::Down,
        b'C' => Key::Right,
        b'D' => Key::Left,
        b'H' => Key::Home,
        b'F' => Key::End,
        b'M' => Key::Enter,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn keys(bytes: &[u8]) -> Vec<Key> {
        KeyDecoder::default().feed(bytes)
    }

    #[test]
    fn keys_are_read_as_terminals_write_them() {
        let table: [(&[u8], &[Key]); 14] = [
            (b"a\xc3\xa9", &[Key::Char('a'), Key::Char('é')]),
            (b"\r\n\t", &[Key::Enter, Key::Newline, Key::Tab]),
            (
                b"\x1b\r\x1b[13;2u\x1b[27;2;13~",
                &[Key::Newline, Key::Newline, Key::Newline],
            ),
            (
                b"\x1b[A\x1bOB\x1b[1;5C\x1b[D",
                &[Key::Up, Key::Down, Key::WordRight, Key::Left],
            ),
            (
                b"\x1b[3~\x1b[H\x1b[4~\x7f",
                &[Key::Delete, Key::Home, Key::End, Key::Backspace],
            ),
            (
                b"\x03\x04\x1a",
                &[Key::Interrupt, Key::EndOfInput, Key::Suspend],
            ),
            (
                b"a\xffb",
                &[Key::Char('a'), Key::Char('\u{fffd}'), Key::Char('b')],
            ),
            (b"\xe4\xb8x", &[Key::Char('\u{fffd}'), Key::Char('x')]),
            (
                b"\x1b[200~one\r\ntwo\rthree\x1b[201~",
                &[Key::Paste("one\ntwo\nthree".into())],
            ),
            (
                b"\x1b[200~\x1b[2J\x03\x1b[201~\r",
                &[Key::Paste("\x1b[2J\x03".into()), Key::Enter],
            ),
            // A sequence that nobody knows, one that a key breaks off, and one of another terminal.
            (b"\x1b[99;1zx", &[Key::Char('x')]),
            (b"\x1b[1\x03", &[Key::Interrupt]),
            (b"\x1b[O\x1b[Ix", &[Key::Char('x')]),
            (b"\x1b\x1b[A", &[Key::Up]),
        ];
        for (bytes, want) in table {
            assert_eq!(keys(bytes), want, "{:?}", String::from_utf8_lossy(bytes));
        }
    }

    #[test]
    fn lines_and_an_end_that_were_typed_before_anybody_read_are_what_they_were() {
        let bytes = b"hello\nyou\n\0";
        let typed: Vec<Key> = typed_before(keys(bytes), bytes);
        let enters = typed.iter().filter(|key| **key == Key::Enter).count();
        assert_eq!((enters, typed.last()), (2, Some(&Key::EndOfInput)));
    }

    #[test]
    fn a_lone_escape_waits_and_is_given_up() {
        let mut keys = KeyDecoder::default();
        assert_eq!(keys.feed(b"\x1b"), []);
        assert!(keys.waits());
        keys.give_up();
        assert_eq!(keys.feed(b"[A"), [Key::Char('['), Key::Char('A')]);
    }

    proptest! {
        /// However the bytes come, the keys are the same; and every byte is read.
        #[test]
        fn bytes_may_be_cut_anywhere(bytes in proptest::collection::vec(
            prop_oneof![any::<u8>(), Just(0x1b), Just(b'['), Just(b'~'), Just(b'2'), Just(b'0')], 0..60),
            pastes in proptest::collection::vec(0usize..60, 0..3), cut in 1usize..7) {
            let mut bytes = bytes;
            for at in pastes {
                let at = at.min(bytes.len());
                bytes.splice(at..at, PASTE_BEGINS.iter().copied());
                bytes.extend(PASTE_ENDS);
            }
            let whole = keys(&bytes);
            let mut one_by_one = KeyDecoder::default();
            let parts: Vec<Key> = bytes.chunks(cut).flat_map(|part| one_by_one.feed(part)).collect();
            prop_assert_eq!(whole, parts);
            // Afterwards it reads on.
            one_by_one.feed(PASTE_ENDS);
            one_by_one.give_up();
            let after = one_by_one.feed(b"\x03");
            prop_assert!(after.contains(&Key::Interrupt), "{after:?}");
        }
    }
}
