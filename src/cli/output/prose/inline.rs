//! Emphasis, code, links inside of a line. The text comes piece by piece: it is held only while a mark
//! that was opened may still be closed, and what is complete is read by pulldown-cmark, each part once.

use pulldown_cmark::{Event, Options, Parser, Tag, TagEnd};
use unicode_segmentation::UnicodeSegmentation;
use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};

use crate::cli::output::style::{Hue, StyledText, TextStyle, add};
use crate::harmless;

/// Bytes that are held for the end of a mark. Then the text is shown as far as it came.
const HELD: usize = 400;
/// Marks inside of each other that are followed.
const DEEP: usize = 16;
/// Stands before each part that is read: a part in the middle of a line begins no list and no heading.
const BEFORE: &str = "a ";

/// The part of a line that is not shown yet.
#[derive(Default)]
pub struct InlineScan {
    held: String,
    /// A backslash stands before the next character.
    escaped: bool,
    /// Backticks that opened code.
    code: Option<usize>,
    /// The marks in a row that came last.
    run: Option<MarkRun>,
    /// Emphasis that was opened, by its character.
    open: Vec<char>,
    /// Brackets that were opened.
    brackets: usize,
    /// A bracket was closed just now: an address may follow.
    closed: bool,
    /// Parentheses of an address that were opened.
    address: usize,
}

/// Equal marks in a row.
#[derive(Clone, Copy)]
struct MarkRun {
    mark: char,
    length: usize,
    /// The character before them.
    before: char,
}

impl InlineScan {
    /// Takes a character of the line. What is complete now comes back, to be read by [`styled`].
    pub fn push(&mut self, c: char) -> Option<String> {
        self.take(c, true)
    }

    /// The same of a text in which nothing is a mark.
    pub fn push_plain(&mut self, c: char) -> Option<String> {
        self.take(c, false)
    }

    fn take(&mut self, c: char, marks: bool) -> Option<String> {
        let mut complete = None;
        if self.may_be_cut_before(c) {
            complete = self.rest();
        }
        if marks {
            self.follow(c);
        }
        self.held.push(c);
        if complete.is_some() {
            return complete;
        }
        let over = self.held.len() >= HELD;
        match over || (is_space(c) && !self.is_open()) {
            true => self.rest(),
            false => None,
        }
    }

    /// All that is held: the line is over.
    pub fn rest(&mut self) -> Option<String> {
        let held = std::mem::take(self);
        (!held.held.is_empty()).then_some(held.held)
    }

    /// Nothing is open, and a row may end here: text without spaces is shown while it comes.
    fn may_be_cut_before(&self, c: char) -> bool {
        let wide = |c: char| c.width() == Some(2);
        let Some(last) = self.held.chars().next_back() else {
            return false;
        };
        if self.is_open() || self.escaped || is_mark(c) || !(wide(last) || last == '\u{fe0f}') {
            return false;
        }
        // What joins the last character stays with it.
        let start = self.held.len().saturating_sub(64);
        let start = (start..).find(|at| self.held.is_char_boundary(*at));
        let mut end = self.held[start.unwrap_or(0)..].to_owned();
        let before = end.len();
        end.push(c);
        let last = end.grapheme_indices(true).next_back();
        last.is_some_and(|(at, _)| at == before)
    }

    fn is_open(&self) -> bool {
        self.code.is_some()
            || self.run.is_some()
            || !self.open.is_empty()
            || self.brackets > 0
            || self.address > 0
            || self.closed
    }

    /// Notes what `c` opens and closes.
    fn follow(&mut self, c: char) {
        if let Some(run) = &mut self.run {
            if run.mark == c && !self.escaped {
                run.length += 1;
                return;
            }
            let run = *run;
            self.run = None;
            self.end_run(run, c);
        }
        let closed = std::mem::take(&mut self.closed);
        if std::mem::take(&mut self.escaped) {
            return;
        }
        if self.code.is_none() && c == '\\' {
            self.escaped = true;
            return;
        }
        match c {
            '`' => self.begin_run(c),
            _ if self.code.is_some() => {}
            '(' if closed => self.address = 1,
            '(' if self.address > 0 => self.address += 1,
            ')' if self.address > 0 => self.address -= 1,
            _ if self.address > 0 => {}
            '*' | '_' | '~' => self.begin_run(c),
            '[' => self.brackets += 1,
            ']' if self.brackets > 0 => {
                self.brackets -= 1;
                self.closed = self.brackets == 0;
            }
            _ => {}
        }
    }

    fn begin_run(&mut self, mark: char) {
        self.run = Some(MarkRun {
            mark,
            length: 1,
            before: self.held.chars().next_back().unwrap_or(' '),
        });
    }

    /// What a row of marks did, now that `after` follows: the rules of CommonMark for flanking.
    fn end_run(&mut self, run: MarkRun, after: char) {
        if run.mark == '`' {
            match self.code {
                None => self.code = Some(run.length),
                Some(opened) if opened == run.length => self.code = None,
                Some(_) => {}
            }
            return;
        }
        let sign = |c: char| !c.is_alphanumeric() && !c.is_whitespace();
        let flanks = |inner: char, outer: char| {
            !inner.is_whitespace() && (!sign(inner) || outer.is_whitespace() || sign(outer))
        };
        let (left, right) = (flanks(after, run.before), flanks(run.before, after));
        let word = run.mark == '_';
        let opens = left && (!word || !right || sign(run.before));
        let closes = right && (!word || !left || sign(after));
        if closes && let Some(at) = self.open.iter().rposition(|mark| *mark == run.mark) {
            self.open.truncate(at);
        } else if opens && self.open.len() < DEEP {
            self.open.push(run.mark);
        }
    }
}

fn is_space(c: char) -> bool {
    matches!(c, ' ' | '\t')
}

fn is_mark(c: char) -> bool {
    matches!(
        c,
        '`' | '*' | '_' | '~' | '[' | ']' | '(' | ')' | '<' | '>' | '&' | '\\' | '!'
    )
}

/// A part of a line, read as Markdown: its pieces in `base` and the styles of its marks.
pub fn styled(part: &str, base: TextStyle) -> Vec<StyledText> {
    if !part.contains(['`', '*', '_', '~', '[', '<', '&', '\\']) {
        return vec![StyledText::new(part, base)];
    }
    let words = part.trim_end_matches(is_space);
    let mut pieces = Vec::new();
    let text = format!("{BEFORE}{words}");
    let mut reader = InlineReader {
        pieces: &mut pieces,
        base,
        skip: BEFORE.len(),
        around: Vec::new(),
        links: Vec::new(),
    };
    for event in Parser::new_ext(&text, Options::ENABLE_STRIKETHROUGH) {
        reader.event(&event);
    }
    add(&mut pieces, &part[words.len()..], base);
    pieces
}

/// Makes pieces of the parser's events.
struct InlineReader<'p> {
    pieces: &'p mut Vec<StyledText>,
    base: TextStyle,
    /// Bytes that are npast's own.
    skip: usize,
    /// Styles of the marks that are open.
    around: Vec<TextStyle>,
    /// Where the texts of open links begin, and their addresses.
    links: Vec<(usize, String)>,
}

impl InlineReader<'_> {
    fn event(&mut self, event: &Event<'_>) {
        match event {
            Event::Start(tag) => self.begin(tag),
            Event::End(end) => self.end(end),
            Event::Text(text) | Event::InlineHtml(text) | Event::Html(text) => {
                let text = self.own(text);
                self.put(&text, TextStyle::PLAIN);
            }
            Event::Code(text) => {
                let text = self.own(text);
                self.put(&text, TextStyle::PLAIN.with(Hue::Cyan));
            }
            Event::SoftBreak | Event::HardBreak => self.put(" ", TextStyle::PLAIN),
            // Not asked for.
            _ => {}
        }
    }

    fn begin(&mut self, tag: &Tag<'_>) {
        let mut style = TextStyle::PLAIN;
        match tag {
            Tag::Emphasis => style.italic = true,
            Tag::Strong => style.bold = true,
            Tag::Strikethrough => style.strike = true,
            Tag::Link {
                dest_url, title, ..
            }
            | Tag::Image {
                dest_url, title, ..
            } => {
                style.underline = true;
                let mut address = harmless::line(dest_url).into_owned();
                if !title.is_empty() {
                    address.push_str(&format!(" \"{}\"", harmless::line(title)));
                }
                let text: usize = self.pieces.iter().map(|piece| piece.text().len()).sum();
                self.links.push((text, address));
            }
            _ => return,
        }
        self.around.push(style);
    }

    fn end(&mut self, end: &TagEnd) {
        match end {
            TagEnd::Emphasis | TagEnd::Strong | TagEnd::Strikethrough => drop(self.around.pop()),
            TagEnd::Link | TagEnd::Image => {
                self.around.pop();
                let Some((from, address)) = self.links.pop() else {
                    return;
                };
                // An address that is its own text is shown once.
                let all: String = self.pieces.iter().map(StyledText::text).collect();
                let text = all.get(from..).unwrap_or_default();
                let own = address.trim_start_matches("mailto:");
                if !address.is_empty() && text != address && text != own {
                    let space = if text.is_empty() { "" } else { " " };
                    self.put(&format!("{space}({address})"), TextStyle::DIM);
                }
            }
            _ => {}
        }
    }

    /// The text without what npast put before it. What was written as a number (`&#27;`) is text by now.
    fn own(&mut self, text: &str) -> String {
        let skipped = self.skip.min(text.len());
        self.skip -= skipped;
        harmless::line(text.get(skipped..).unwrap_or(text)).into_owned()
    }

    fn put(&mut self, text: &str, style: TextStyle) {
        let around = self.around.iter().rev();
        let style = around.fold(style, |style, outer| style.within(*outer));
        add(self.pieces, text, style.within(self.base));
    }
}

/// Columns of some pieces beside each other.
pub fn columns(pieces: &[StyledText]) -> usize {
    pieces.iter().map(|piece| piece.text().width()).sum()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The parts of a line, in order.
    fn parts(line: &str) -> Vec<String> {
        let mut scan = InlineScan::default();
        let mut parts: Vec<String> = line.chars().filter_map(|c| scan.push(c)).collect();
        parts.extend(scan.rest());
        parts
    }

    fn read(line: &str) -> Vec<(String, TextStyle)> {
        let parts = parts(line);
        let pieces = parts.iter().flat_map(|part| styled(part, TextStyle::PLAIN));
        let mut all = Vec::new();
        for piece in pieces {
            add(&mut all, piece.text(), piece.style());
        }
        all.iter()
            .map(|piece| (piece.text().to_owned(), piece.style()))
            .collect()
    }

    #[test]
    fn plain_words_are_complete_at_their_space_and_marks_at_their_end() {
        assert_eq!(parts("one two"), ["one ", "two"]);
        assert_eq!(parts("a **b c** d"), ["a ", "**b c** ", "d"]);
        assert_eq!(parts("a `b * c` d"), ["a ", "`b * c` ", "d"]);
        assert_eq!(parts("[a b](c d) e"), ["[a b](c d) ", "e"]);
        assert_eq!(parts("2 * 3 * 4"), ["2 ", "* ", "3 ", "* ", "4"]);
        assert_eq!(parts("snake_case_name is"), ["snake_case_name ", "is"]);
        assert_eq!(parts("a [1, 2] b"), ["a ", "[1, 2] ", "b"]);
        assert_eq!(parts("日本語"), ["日", "本", "語"]);
        assert_eq!(parts("**日本**語文"), ["**日本**語", "文"]);
    }

    #[test]
    fn a_mark_that_is_never_closed_holds_back_little() {
        let line = format!("*{}", "word ".repeat(300));
        let parts = parts(&line);
        assert!(parts[0].len() <= HELD, "{}", parts[0].len());
        assert!(parts[1..].iter().all(|part| part.len() <= 5), "{parts:?}");
        assert_eq!(parts.concat(), line);
    }

    #[test]
    fn marks_become_styles_and_addresses_are_shown() {
        let bold = TextStyle::BOLD;
        let italic = TextStyle {
            italic: true,
            ..TextStyle::PLAIN
        };
        let under = TextStyle {
            underline: true,
            ..TextStyle::PLAIN
        };
        let code = TextStyle::PLAIN.with(Hue::Cyan);
        let plain = TextStyle::PLAIN;
        type Piece<'a> = (&'a str, TextStyle);
        let table: [(&str, &[Piece]); 9] = [
            ("a **b** c", &[("a ", plain), ("b", bold), (" c", plain)]),
            ("*a* _b_", &[("a", italic), (" ", plain), ("b", italic)]),
            (
                "use `a * b`.",
                &[("use ", plain), ("a * b", code), (".", plain)],
            ),
            (
                "[text](http://a.b) c",
                &[
                    ("text", under),
                    (" (http://a.b)", TextStyle::DIM),
                    (" c", plain),
                ],
            ),
            ("<http://a.b>", &[("http://a.b", under)]),
            ("- # 1. > x*", &[("- # 1. > x*", plain)]),
            ("Vec<T> && x", &[("Vec<T> && x", plain)]),
            (r"\*a\*", &[("*a*", plain)]),
            ("5 &lt; 6", &[("5 < 6", plain)]),
        ];
        for (line, want) in table {
            let want: Vec<_> = want.iter().map(|(t, s)| ((*t).to_owned(), *s)).collect();
            assert_eq!(read(line), want, "{line:?}");
        }
    }

    #[test]
    fn a_control_character_that_was_written_as_a_number_is_not_obeyed() {
        let shown: String = read("a &#27;[2J &#x9b;0m [b](<c&#27;d> \"&#7;\")")
            .iter()
            .map(|piece| piece.0.clone())
            .collect();
        assert_eq!(shown, "a ␛[2J \u{fffd}0m b (c␛d \"␇\")");
    }

    proptest! {
        /// The parts are the line, whatever marks are in it, and none is long.
        #[test]
        fn the_parts_are_the_line(line in "([a-c *_`~\\[\\]()<>&\\\\!日👍\u{301}]|\\*\\*|https://a\\.b){0,80}") {
            let parts = parts(&line);
            prop_assert_eq!(parts.concat(), line);
            prop_assert!(parts.iter().all(|part| part.len() <= HELD + 4));
        }
    }
}
