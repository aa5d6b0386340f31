//! Words in rows. A word is placed when its end is known; a row ends at a space where the next word does
//! not fit. A word that is longer than a row goes on, and the terminal breaks it: so an address can still
//! be copied in one piece.

use unicode_segmentation::UnicodeSegmentation;
use unicode_width::UnicodeWidthStr;

use crate::cli::output::area::advance;
use crate::cli::output::style::{StyledText, TextStyle, add};

/// Bytes of a word that are held until its end is known; a longer one is shown in parts.
const WORD: usize = 1024;
/// Columns of spaces in a row that are kept.
const GAP: usize = 256;

/// The rows of a text, as far as its words have come.
#[derive(Default)]
pub struct WordWrap {
    out: Vec<StyledText>,
    /// Columns of the terminal.
    width: usize,
    /// Columns of the last row that are written.
    column: usize,
    /// What the rows begin with that go on with a line.
    hang: Vec<StyledText>,
    hang_width: usize,
    /// Spaces before the word.
    gap: String,
    gap_style: TextStyle,
    word: Vec<StyledText>,
    word_width: usize,
    word_bytes: usize,
    /// A part of the word is shown: the rest stands behind it.
    split: bool,
    /// Something else was written below the row, so the line goes on in a new one.
    interrupted: bool,
}

impl WordWrap {
    /// The terminal's cursor is in this column of so many.
    pub fn resume(&mut self, column: usize, width: usize) {
        self.width = width.max(1);
        if column == 0 && self.column > 0 {
            self.interrupted = true;
        }
        self.column = column;
    }

    /// Columns that a row may have: the last one stays free, since terminals differ in what they do
    /// behind it.
    pub fn limit(&self) -> usize {
        self.width.saturating_sub(1).max(1)
    }

    /// Begins a line with `first`; rows that go on with it begin with `hang`.
    pub fn begin(&mut self, first: &[StyledText], hang: Vec<StyledText>) {
        self.interrupted = false;
        self.hang_width = hang.iter().map(|piece| piece.text().width()).sum();
        self.hang = hang;
        for piece in first {
            self.write(piece.text(), piece.style());
        }
    }

    /// More of the line. No line feeds; a tab is a space.
    pub fn text(&mut self, text: &str, style: TextStyle) {
        let mut before: Option<&str> = None;
        for grapheme in text.graphemes(true) {
            if matches!(grapheme, " " | "\t") {
                self.place();
                self.split = false;
                if self.gap.len() < GAP {
                    self.gap.push(' ');
                }
                self.gap_style = style;
                before = None;
                continue;
            }
            let parted = match before {
                Some(before) => parts(before, grapheme),
                None => self.last().is_some_and(|last| parts(last, grapheme)),
            };
            if parted {
                self.place();
                self.split = false;
            }
            add(&mut self.word, grapheme, style);
            self.word_width += grapheme.width();
            self.word_bytes += grapheme.len();
            before = Some(grapheme);
            if self.word_bytes >= WORD {
                self.place();
                self.split = true;
            }
        }
    }

    /// Text that stands as it is, behind what came before; the terminal breaks it.
    pub fn verbatim(&mut self, text: &str, style: TextStyle) {
        self.place();
        self.resume_row();
        self.write_gap();
        self.write(text, style);
    }

    /// The line is over.
    pub fn end_line(&mut self) {
        self.place();
        self.gap.clear();
        self.split = false;
        self.interrupted = false;
        add(&mut self.out, "\n", TextStyle::PLAIN);
        self.column = 0;
    }

    /// Shows the word that was held, and goes on behind it.
    pub fn place(&mut self) {
        if self.word.is_empty() {
            return;
        }
        let fits = self.column + self.gap.len() + self.word_width <= self.limit();
        let resumed = self.resume_row();
        if !resumed && !self.split && !fits && self.column > self.hang_width {
            add(&mut self.out, "\n", TextStyle::PLAIN);
            self.column = 0;
            self.write_hang();
        } else if !resumed {
            self.write_gap();
        }
        self.gap.clear();
        for piece in std::mem::take(&mut self.word) {
            self.write(piece.text(), piece.style());
        }
        (self.word_width, self.word_bytes) = (0, 0);
    }

    /// What is to be written by now.
    pub fn take(&mut self) -> Vec<StyledText> {
        std::mem::take(&mut self.out)
    }

    /// The line goes on below what was written meanwhile.
    fn resume_row(&mut self) -> bool {
        let was = std::mem::take(&mut self.interrupted);
        if was {
            self.write_hang();
            self.gap.clear();
        }
        was
    }

    fn write_hang(&mut self) {
        for piece in std::mem::take(&mut self.hang) {
            self.write(piece.text(), piece.style());
            self.hang.push(piece);
        }
    }

    fn write_gap(&mut self) {
        let gap = std::mem::take(&mut self.gap);
        self.write(&gap, self.gap_style);
    }

    fn write(&mut self, text: &str, style: TextStyle) {
        add(&mut self.out, text, style);
        self.column = advance(self.column, text, self.width);
    }

    /// The last character of the word.
    fn last(&self) -> Option<&str> {
        self.word.last()?.text().graphemes(true).next_back()
    }
}

/// Whether a row may end between two characters: beside a wide one, where no closing mark follows and no
/// opening one stands before.
fn parts(before: &str, behind: &str) -> bool {
    const CLOSING: &str = "、。，．：；？！）」』】〉》〕］｝…ー々,.:;?!)]}'\"";
    const OPENING: &str = "（「『【〈《〔［｛([{'\"";
    (before.width() > 1 || behind.width() > 1)
        && !CLOSING.contains(behind)
        && !OPENING.contains(before)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(width: usize, hang: &str, text: &str) -> String {
        let mut wrap = WordWrap::default();
        wrap.resume(0, width);
        let hang = vec![StyledText::new(hang, TextStyle::PLAIN)];
        wrap.begin(&hang.clone(), hang);
        wrap.text(text, TextStyle::PLAIN);
        wrap.end_line();
        let out = wrap.take();
        out.iter().map(StyledText::text).collect()
    }

    #[test]
    fn a_row_ends_at_a_space_and_the_next_one_begins_below_the_text() {
        assert_eq!(shown(10, "", "one two three"), "one two\nthree\n");
        assert_eq!(shown(10, "  ", "one two three"), "  one two\n  three\n");
        // What stands apart stays apart in a row, and is no space at the beginning of one.
        assert_eq!(shown(12, "", "a    b    cdefgh"), "a    b\ncdefgh\n");
    }

    #[test]
    fn an_address_is_not_broken_and_words_go_on_behind_it() {
        let address = "https://example.org/a/long/path";
        let text = shown(14, "", &format!("see {address} here"));
        assert_eq!(text, format!("see\n{address} here\n"));
    }

    #[test]
    fn wide_characters_part_but_not_before_a_closing_mark() {
        assert_eq!(shown(8, "", "日本語日本語"), "日本語\n日本語\n");
        assert_eq!(shown(8, "", "日本語。日"), "日本\n語。日\n");
        assert_eq!(shown(8, "", "ab日本語"), "ab日本\n語\n");
    }

    #[test]
    fn a_word_without_end_is_shown_in_parts() {
        let long = "x".repeat(5000);
        assert_eq!(shown(40, "", &long), format!("{long}\n"));
        let mut wrap = WordWrap::default();
        wrap.resume(0, 40);
        wrap.text(&long, TextStyle::PLAIN);
        assert!(wrap.word_bytes < WORD, "what is held is bounded");
    }

    #[test]
    fn what_was_written_between_two_words_leaves_the_line_whole() {
        let mut wrap = WordWrap::default();
        wrap.resume(0, 40);
        let mark = vec![StyledText::new("- ", TextStyle::PLAIN)];
        let hang = vec![StyledText::new("  ", TextStyle::PLAIN)];
        wrap.begin(&mark, hang);
        wrap.text("one two ", TextStyle::PLAIN);
        // A notice came, and the cursor is at the beginning of a row.
        wrap.resume(0, 40);
        wrap.text("three ", TextStyle::PLAIN);
        let out = wrap.take();
        let text: String = out.iter().map(StyledText::text).collect();
        assert_eq!(text, "- one two  three");
    }
}
