//! What a line begins: a heading, a list item, code, a row of a table. Pure. A line comes character by
//! character, so the answer may be that more of it has to be there.

/// What a line begins must be known within so many bytes, else the line is text.
const LOOKED_AT: usize = 256;
/// Columns of indentation that are counted.
const INDENT: usize = 512;

/// What stands before the content of a line, and what the content is.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct LineStart {
    /// Marks of quotes.
    pub quotes: usize,
    /// Columns of white space behind them.
    pub indent: usize,
    /// The mark of a list item, as it was written.
    pub marker: Option<String>,
    /// What follows.
    pub kind: LineKind,
    /// Where it begins, in bytes of the line.
    pub content: usize,
}

/// What a line is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum LineKind {
    /// Nothing but white space.
    Blank,
    /// Text; the paragraph of the line before goes on, or another one begins.
    Text,
    /// A heading of a level from 1 to 6.
    Heading(usize),
    /// A line across.
    Rule,
    /// Code begins behind this mark. The whole line has to be there.
    Fence(FenceMark),
    /// It may be the row of a table. The rest of the line says so.
    Row,
}

/// The mark before and behind lines of code.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct FenceMark {
    /// A backtick or a tilde.
    pub mark: char,
    /// How often.
    pub length: usize,
}

/// Reads the beginning of a line. `whole` says whether the line ends there. `None` when more of it is
/// needed.
pub fn begin(line: &str, whole: bool) -> Option<LineStart> {
    let (quotes, indent, at) = margins(line, usize::MAX);
    let start = |marker: Option<String>, kind, content| {
        Some(LineStart {
            quotes,
            indent,
            marker,
            kind,
            content,
        })
    };
    let rest = &line[at..];
    // Behind the mark of a quote there may be a space that belongs to it.
    if rest.is_empty() {
        return match whole {
            true => start(None, LineKind::Blank, at),
            false if quotes > 0 && line.len() >= LOOKED_AT => start(None, LineKind::Text, at),
            false => None,
        };
    }
    let undecided = |kind| match whole || line.len() >= LOOKED_AT {
        true => start(None, kind, at),
        false => None,
    };
    match kind(rest, whole) {
        LineGuess::Kind(kind, skip) => start(None, kind, at + skip),
        LineGuess::More => undecided(LineKind::Text),
        LineGuess::Marker(length) => {
            let spaces = rest[length..].len() - rest[length..].trim_start_matches(is_space).len();
            let content = at + length + spaces.min(4);
            let marker = Some(rest[..length].to_owned());
            match kind(&line[content..], whole) {
                // A list in a list's first line, and a table there, are text.
                LineGuess::Kind(kind @ (LineKind::Heading(_) | LineKind::Fence(_)), skip) => {
                    start(marker, kind, content + skip)
                }
                LineGuess::More if !whole && line.len() < LOOKED_AT => None,
                _ => start(marker, LineKind::Text, content),
            }
        }
    }
}

/// What a text begins with.
enum LineGuess {
    /// That, behind so many bytes of marks.
    Kind(LineKind, usize),
    /// The mark of a list item of so many bytes.
    Marker(usize),
    /// More has to be there.
    More,
}

fn kind(text: &str, whole: bool) -> LineGuess {
    let Some(first) = text.chars().next() else {
        return match whole {
            true => LineGuess::Kind(LineKind::Text, 0),
            false => LineGuess::More,
        };
    };
    let text_kind = LineGuess::Kind(LineKind::Text, 0);
    let length = text.len() - text.trim_start_matches(first).len();
    let behind = text[length..].chars().next();
    match first {
        '`' | '~' => match behind {
            None if !whole => LineGuess::More,
            _ if length < 3 => text_kind,
            _ if first == '`' && text[length..].contains('`') => text_kind,
            _ if !whole => LineGuess::More,
            _ => LineGuess::Kind(
                LineKind::Fence(FenceMark {
                    mark: first,
                    length,
                }),
                0,
            ),
        },
        '#' => match behind {
            _ if length > 6 => text_kind,
            None if !whole => LineGuess::More,
            None => LineGuess::Kind(LineKind::Heading(length), length),
            Some(c) if is_space(c) => {
                let words = text[length..].trim_start_matches(is_space);
                match words.is_empty() && !whole {
                    true => LineGuess::More,
                    false => LineGuess::Kind(LineKind::Heading(length), text.len() - words.len()),
                }
            }
            Some(_) => text_kind,
        },
        '-' | '*' | '+' | '_' => {
            let marks = text.chars().filter(|c| *c == first).count();
            let rule = first != '+' && text.chars().all(|c| c == first || is_space(c));
            match rule {
                true if !whole => LineGuess::More,
                true if marks >= 3 => LineGuess::Kind(LineKind::Rule, 0),
                _ if first == '_' => text_kind,
                _ => bullet(text, 1, whole),
            }
        }
        '0'..='9' => {
            let digits = text.len() - text.trim_start_matches(|c: char| c.is_ascii_digit()).len();
            match text[digits..].chars().next() {
                _ if digits > 9 => text_kind,
                None if !whole => LineGuess::More,
                Some('.' | ')') => bullet(text, digits + 1, whole),
                _ => text_kind,
            }
        }
        '|' => LineGuess::Kind(LineKind::Row, 0),
        _ => text_kind,
    }
}

/// The mark of a list item has white space behind it.
fn bullet(text: &str, length: usize, whole: bool) -> LineGuess {
    match text[length..].chars().next() {
        None if !whole => LineGuess::More,
        Some(c) if !is_space(c) => LineGuess::Kind(LineKind::Text, 0),
        _ => LineGuess::Marker(length),
    }
}

/// Marks of quotes at the beginning of a line, at most `most`; the columns of white space behind them, and
/// where what follows begins.
pub fn margins(line: &str, most: usize) -> (usize, usize, usize) {
    let (mut quotes, mut indent, mut at) = (0usize, 0usize, 0);
    for (place, c) in line.char_indices() {
        match c {
            '>' if quotes < most && (indent < 4 || quotes == 0) => {
                quotes += 1;
                indent = 0;
            }
            ' ' => indent += 1,
            '\t' => indent = (indent / 4 + 1) * 4,
            _ => break,
        }
        at = place + c.len_utf8();
    }
    // The first space behind the mark belongs to it.
    if quotes > 0 {
        indent = indent.saturating_sub(1);
    }
    (quotes, indent.min(INDENT), at)
}

/// Whether a line of a table says how its columns are aligned, and stands below their names.
pub fn is_delimiter_row(line: &str) -> bool {
    line.contains('-')
        && line
            .chars()
            .all(|c| matches!(c, '|' | '-' | ':' | ' ' | '\t'))
}

/// Whether a line ends the code behind `open`.
pub fn closes(line: &str, open: FenceMark) -> bool {
    let line = line.trim_matches(is_space);
    line.len() >= open.length && line.chars().all(|c| c == open.mark)
}

fn is_space(c: char) -> bool {
    matches!(c, ' ' | '\t')
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Quotes, indentation, marker, kind, content of a whole line.
    fn read(line: &str) -> (usize, usize, Option<String>, LineKind, &str) {
        let start = begin(line, true).unwrap();
        let content = &line[start.content..];
        (
            start.quotes,
            start.indent,
            start.marker,
            start.kind,
            content,
        )
    }

    #[test]
    fn a_line_is_what_its_first_characters_say() {
        let fence = |mark, length| LineKind::Fence(FenceMark { mark, length });
        let marker = |text: &str| Some(text.to_owned());
        let table = [
            ("", (0, 0, None, LineKind::Blank, "")),
            ("  \t", (0, 4, None, LineKind::Blank, "")),
            ("words", (0, 0, None, LineKind::Text, "words")),
            ("# One", (0, 0, None, LineKind::Heading(1), "One")),
            ("###  Two", (0, 0, None, LineKind::Heading(3), "Two")),
            ("#hash", (0, 0, None, LineKind::Text, "#hash")),
            ("####### x", (0, 0, None, LineKind::Text, "####### x")),
            ("- item", (0, 0, marker("-"), LineKind::Text, "item")),
            ("  * item", (0, 2, marker("*"), LineKind::Text, "item")),
            ("12. item", (0, 0, marker("12."), LineKind::Text, "item")),
            ("1) - x", (0, 0, marker("1)"), LineKind::Text, "- x")),
            ("- ## x", (0, 0, marker("-"), LineKind::Heading(2), "x")),
            ("- ```sh", (0, 0, marker("-"), fence('`', 3), "```sh")),
            ("2024 was", (0, 0, None, LineKind::Text, "2024 was")),
            ("-5 degrees", (0, 0, None, LineKind::Text, "-5 degrees")),
            ("**bold**", (0, 0, None, LineKind::Text, "**bold**")),
            ("---", (0, 0, None, LineKind::Rule, "---")),
            ("* * *", (0, 0, None, LineKind::Rule, "* * *")),
            ("-", (0, 0, marker("-"), LineKind::Text, "")),
            ("```rust", (0, 0, None, fence('`', 3), "```rust")),
            ("~~~~", (0, 0, None, fence('~', 4), "~~~~")),
            ("```a` b", (0, 0, None, LineKind::Text, "```a` b")),
            ("`code` x", (0, 0, None, LineKind::Text, "`code` x")),
            ("> quote", (1, 0, None, LineKind::Text, "quote")),
            ("> > - x", (2, 0, marker("-"), LineKind::Text, "x")),
            (">", (1, 0, None, LineKind::Blank, "")),
            ("| a | b |", (0, 0, None, LineKind::Row, "| a | b |")),
        ];
        for (line, want) in table {
            assert_eq!(read(line), want, "{line:?}");
        }
    }

    #[test]
    fn most_lines_are_known_by_their_first_characters() {
        let table = [
            ("w", true),
            ("- i", true),
            ("-", false),
            ("**", false),
            ("**b", true),
            ("1", false),
            ("1. x", true),
            ("## ", false),
            ("## x", true),
            ("```ru", false),
            ("|", true),
            ("  ", false),
        ];
        for (line, known) in table {
            assert_eq!(begin(line, false).is_some(), known, "{line:?}");
        }
        let long = "-".repeat(LOOKED_AT);
        assert_eq!(begin(&long, false).unwrap().kind, LineKind::Text);
    }

    #[test]
    fn code_ends_at_a_mark_that_is_as_long() {
        let open = FenceMark {
            mark: '`',
            length: 3,
        };
        assert!(closes("```", open) && closes("  ````  ", open));
        assert!(!closes("``", open) && !closes("~~~", open) && !closes("```x", open));
        assert!(is_delimiter_row("|---|:-:|") && !is_delimiter_row("| a |"));
    }

    proptest! {
        /// What is decided early stays so when the rest of the line comes.
        #[test]
        fn the_whole_line_does_not_change_the_answer(line in "[-*+_#>`~|1. \\ta]{0,12}[ab]{0,3}") {
            let whole = begin(&line, true).unwrap();
            for end in 0..line.len() {
                if let Some(early) = begin(&line[..end], false) {
                    prop_assert_eq!(&early, &whole, "{:?}", &line[..end]);
                    break;
                }
            }
        }
    }
}
