//! A text that is being typed: its cursor, what was cut, and pastes that are folded. Pure.

use std::ops::Range;

use unicode_segmentation::UnicodeSegmentation;

/// A paste of more lines is folded.
const FOLD_LINES: usize = 6;
/// So is one of more bytes.
const FOLD_BYTES: usize = 2_000;

/// The text. The cursor stands between two characters as a person sees them, and never inside of a
/// fold.
#[derive(Clone, Default, Debug)]
pub struct Buffer {
    text: String,
    cursor: usize,
    /// Pastes that are shown as one word; ranges of bytes, in order.
    folds: Vec<Range<usize>>,
    cut: String,
}

impl Buffer {
    /// With this text, and the cursor behind it. A long one is folded.
    pub fn of(text: String) -> Buffer {
        let mut buffer = Buffer::default();
        buffer.paste(&text);
        buffer
    }

    pub fn text(&self) -> &str {
        &self.text
    }

    pub fn cursor(&self) -> usize {
        self.cursor
    }

    pub fn folds(&self) -> &[Range<usize>] {
        &self.folds
    }

    pub fn is_empty(&self) -> bool {
        self.text.is_empty()
    }

    /// Takes the text away; what was cut stays.
    pub fn take(&mut self) -> String {
        self.cursor = 0;
        self.folds.clear();
        std::mem::take(&mut self.text)
    }

    /// Puts a text before what is typed, on lines of its own.
    pub fn put_before(&mut self, text: &str) {
        if text.is_empty() {
            return;
        }
        let typed = std::mem::replace(self, Buffer::of(text.to_owned()));
        self.cut = typed.cut;
        if !typed.text.is_empty() {
            self.insert("\n");
            let by = self.text.len();
            self.text.push_str(&typed.text);
            self.cursor = by + typed.cursor;
            let moved = typed.folds.iter().map(|f| f.start + by..f.end + by);
            self.folds.extend(moved);
        }
    }

    pub fn insert(&mut self, text: &str) {
        self.replace(self.cursor..self.cursor, text);
    }

    /// Inserts what was pasted; much of it is folded.
    pub fn paste(&mut self, text: &str) {
        let start = self.cursor;
        self.insert(text);
        if text.lines().count() > FOLD_LINES || text.len() > FOLD_BYTES {
            let at = self.folds.partition_point(|fold| fold.start < start);
            self.folds.insert(at, start..start + text.len());
        }
    }

    /// Opens a fold beside the cursor, which comes to its beginning; whether there was one.
    pub fn unfold(&mut self) -> bool {
        let beside = |f: &Range<usize>| f.end == self.cursor || f.start == self.cursor;
        let Some(at) = self.folds.iter().rposition(beside) else {
            return false;
        };
        self.cursor = self.folds.remove(at).start;
        true
    }

    pub fn backspace(&mut self) {
        self.replace(self.before(self.cursor)..self.cursor, "");
    }

    pub fn delete(&mut self) {
        self.replace(self.cursor..self.after(self.cursor), "");
    }

    pub fn left(&mut self) {
        self.cursor = self.before(self.cursor);
    }

    pub fn right(&mut self) {
        self.cursor = self.after(self.cursor);
    }

    pub fn word_left(&mut self) {
        self.cursor = self.word_start();
    }

    pub fn word_right(&mut self) {
        self.cursor = self.word_end();
    }

    /// The beginning of this line.
    pub fn home(&mut self) {
        self.cursor = self.line_start(self.cursor);
    }

    pub fn end(&mut self) {
        self.cursor = self.line_end(self.cursor);
    }

    pub fn kill_line(&mut self) {
        let end = match self.line_end(self.cursor) {
            // At the end of a line the next one comes up.
            end if end == self.cursor => self.after(end),
            end => end,
        };
        self.cut_out(self.cursor..end);
    }

    pub fn kill_back(&mut self) {
        self.cut_out(self.line_start(self.cursor)..self.cursor);
    }

    pub fn kill_word_back(&mut self) {
        self.cut_out(self.word_start()..self.cursor);
    }

    pub fn kill_word(&mut self) {
        self.cut_out(self.cursor..self.word_end());
    }

    pub fn yank(&mut self) {
        let cut = std::mem::take(&mut self.cut);
        self.insert(&cut);
        self.cut = cut;
    }

    /// The line above, at the same place in it; false in the first line.
    pub fn up(&mut self) -> bool {
        let start = self.line_start(self.cursor);
        if start == 0 {
            return false;
        }
        let above = self.line_start(start - 1);
        self.cursor = self.along(above, self.graphemes(start..self.cursor));
        true
    }

    /// The line below; false in the last line.
    pub fn down(&mut self) -> bool {
        let end = self.line_end(self.cursor);
        if end == self.text.len() {
            return false;
        }
        let start = self.line_start(self.cursor);
        self.cursor = self.along(end + 1, self.graphemes(start..self.cursor));
        true
    }

    /// Puts `with` in the place of a part; the cursor comes behind it. Folds that are touched are gone
    /// with what was in the part, or open.
    fn replace(&mut self, part: Range<usize>, with: &str) {
        self.text.replace_range(part.clone(), with);
        let end = part.start + with.len();
        self.folds
            .retain(|f| f.end <= part.start || f.start >= part.end);
        for fold in &mut self.folds {
            if fold.start >= part.end {
                *fold = fold.start - part.end + end..fold.end - part.end + end;
            }
        }
        self.cursor = end;
    }

    fn cut_out(&mut self, part: Range<usize>) {
        if !part.is_empty() {
            self.cut = self.text[part.clone()].to_owned();
            self.replace(part, "");
        }
    }

    fn graphemes(&self, part: Range<usize>) -> usize {
        self.text[part].graphemes(true).count()
    }

    /// So many characters along a line that begins at `start`.
    fn along(&self, start: usize, characters: usize) -> usize {
        let line = &self.text[start..self.line_end(start)];
        let indices = line.grapheme_indices(true).nth(characters);
        let at = indices.map_or(start + line.len(), |(at, _)| start + at);
        self.outside(at)
    }

    /// A fold that holds this place has it before itself.
    fn outside(&self, at: usize) -> usize {
        self.inside(at).map_or(at, |fold| fold.start)
    }

    /// The fold that holds this place.
    fn inside(&self, at: usize) -> Option<&Range<usize>> {
        let holds = |fold: &&Range<usize>| fold.start < at && at < fold.end;
        self.folds.iter().find(holds)
    }

    fn before(&self, at: usize) -> usize {
        if let Some(fold) = self.folds.iter().find(|f| f.end == at) {
            return fold.start;
        }
        let last = self.text[..at].graphemes(true).next_back();
        let to = at - last.map_or(0, str::len);
        // A mark behind a fold joins its last character.
        self.inside(to).map_or(to, |fold| fold.end)
    }

    fn after(&self, at: usize) -> usize {
        if let Some(fold) = self.folds.iter().find(|f| f.start == at) {
            return fold.end;
        }
        let next = self.text[at..].graphemes(true).next();
        let to = at + next.map_or(0, str::len);
        self.inside(to).map_or(to, |fold| fold.start)
    }

    /// The beginning of the line that a place is in. A fold is one word of it, whatever is in it.
    fn line_start(&self, mut at: usize) -> usize {
        while let Some(end) = self.text[..at].rfind('\n') {
            match self.folds.iter().find(|fold| fold.contains(&end)) {
                Some(fold) => at = fold.start,
                None => return end + 1,
            }
        }
        0
    }

    fn line_end(&self, mut at: usize) -> usize {
        while let Some(end) = self.text[at..].find('\n').map(|n| at + n) {
            match self.folds.iter().find(|fold| fold.contains(&end)) {
                Some(fold) => at = fold.end,
                None => return end,
            }
        }
        self.text.len()
    }

    fn word_start(&self) -> usize {
        let mut at = self.cursor;
        let mut in_word = false;
        while at > 0 {
            let to = self.before(at);
            let word = is_word(&self.text[to..at]);
            if in_word && !word {
                break;
            }
            in_word |= word;
            at = to;
        }
        at
    }

    fn word_end(&self) -> usize {
        let mut at = self.cursor;
        let mut in_word = false;
        while at < self.text.len() {
            let to = self.after(at);
            let word = is_word(&self.text[at..to]);
            if in_word && !word {
                break;
            }
            in_word |= word;
            at = to;
        }
        at
    }
}

fn is_word(text: &str) -> bool {
    text.chars()
        .next()
        .is_some_and(|c| c.is_alphanumeric() || c == '_')
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The text with the cursor as `|` and folds in brackets.
    fn seen(buffer: &Buffer) -> String {
        let mut text = String::new();
        for (at, c) in buffer
            .text
            .char_indices()
            .chain([(buffer.text.len(), '\0')])
        {
            for fold in buffer.folds() {
                if fold.end == at {
                    text.push(']');
                }
            }
            if at == buffer.cursor {
                text.push('|');
            }
            for fold in buffer.folds() {
                if fold.start == at {
                    text.push('[');
                }
            }
            if c != '\0' {
                text.push(c);
            }
        }
        text
    }

    #[test]
    fn the_cursor_goes_over_characters_words_and_lines_as_a_person_sees_them() {
        let mut buffer = Buffer::of("ab 👩‍👩‍👧e\u{301}\nlonger line\nx".into());
        assert!(buffer.up());
        assert_eq!(seen(&buffer), "ab 👩‍👩‍👧e\u{301}\nl|onger line\nx");
        buffer.end();
        assert!(buffer.up());
        assert_eq!(seen(&buffer), "ab 👩‍👩‍👧e\u{301}|\nlonger line\nx");
        buffer.backspace();
        buffer.left();
        assert_eq!(seen(&buffer), "ab |👩‍👩‍👧\nlonger line\nx");
        assert!(!buffer.up());
        buffer.word_left();
        buffer.delete();
        assert_eq!(seen(&buffer), "|b 👩‍👩‍👧\nlonger line\nx");
        buffer.kill_line();
        buffer.kill_line();
        assert_eq!(seen(&buffer), "|longer line\nx");
        buffer.word_right();
        buffer.kill_word_back();
        buffer.end();
        buffer.yank();
        assert_eq!(seen(&buffer), " linelonger|\nx");
        buffer.kill_back();
        assert_eq!(seen(&buffer), "|\nx");
    }

    #[test]
    fn a_long_paste_is_one_thing_until_it_is_opened() {
        let paste = "line\n".repeat(9);
        let mut buffer = Buffer::of("say ".into());
        buffer.paste(&paste);
        buffer.insert("!");
        buffer.home();
        buffer.insert("a ");
        assert_eq!(seen(&buffer), format!("a |say [{paste}]!"));
        buffer.end();
        buffer.left();
        buffer.left();
        assert_eq!(seen(&buffer), format!("a say |[{paste}]!"));
        let mut gone = buffer.clone();
        gone.delete();
        assert_eq!(seen(&gone), "a say |!");
        assert!(buffer.unfold() && !buffer.unfold());
        assert!(buffer.down());
        buffer.insert("x");
        let want = format!("a say line\nlinex\n{}!", "line\n".repeat(7));
        assert_eq!(buffer.take(), want);
    }

    #[test]
    fn what_comes_back_stands_before_what_is_typed() {
        let mut buffer = Buffer::of("typed".into());
        buffer.left();
        buffer.put_before("first\nsecond");
        assert_eq!(seen(&buffer), "first\nsecond\ntype|d");
        let mut empty = Buffer::default();
        empty.put_before("first");
        assert_eq!(seen(&empty), "first|");
    }

    proptest! {
        /// Whatever is pressed, the cursor stands between characters and outside of folds.
        #[test]
        fn nothing_breaks_a_text(acts in proptest::collection::vec((0u8..18, "[a \n日👍\u{301}\u{1b}]{0,9}"), 0..40)) {
            let mut buffer = Buffer::default();
            for (act, text) in acts {
                match act {
                    0 => buffer.insert(&text),
                    1 => buffer.paste(&text.repeat(8)),
                    2 => buffer.backspace(),
                    3 => buffer.delete(),
                    4 => buffer.left(),
                    5 => buffer.right(),
                    6 => buffer.word_left(),
                    7 => buffer.word_right(),
                    8 => buffer.home(),
                    9 => buffer.end(),
                    10 => buffer.kill_line(),
                    11 => buffer.kill_back(),
                    12 => buffer.kill_word_back(),
                    13 => buffer.kill_word(),
                    14 => buffer.yank(),
                    15 => drop(buffer.up()),
                    16 => drop(buffer.down()),
                    _ => drop(buffer.unfold()),
                }
                prop_assert!(buffer.text.is_char_boundary(buffer.cursor));
                let mut end = 0;
                for fold in buffer.folds() {
                    prop_assert!(end <= fold.start && fold.start < fold.end && fold.end <= buffer.text.len());
                    prop_assert!(buffer.cursor <= fold.start || buffer.cursor >= fold.end);
                    prop_assert!(buffer.text.is_char_boundary(fold.start) && buffer.text.is_char_boundary(fold.end));
                    end = fold.end;
                }
            }
        }
    }
}
