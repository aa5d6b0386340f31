//! The text that is being typed as rows that fit the terminal, and the cursor in them. Pure.

use unicode_segmentation::UnicodeSegmentation;
use unicode_width::UnicodeWidthStr;

use super::buffer::Buffer;
use super::state::{ConsoleState, InputMode};
use crate::cli::output::AreaRow;
use crate::harmless;

/// Most rows of what waits that are listed.
const QUEUED: usize = 5;

/// Rows and the place of the cursor; none where nothing is to be shown.
pub fn view(
    state: &ConsoleState,
    columns: usize,
    lines: usize,
) -> Option<(Vec<AreaRow>, (usize, usize))> {
    let mode = state.mode();
    if mode == InputMode::Busy && state.buffer().is_empty() && state.queue().is_empty() {
        return None;
    }
    let mut rows = Vec::new();
    let waiting = state.queue();
    for line in waiting.iter().take(QUEUED) {
        rows.push(AreaRow::dim(
            &format!("queued: {}", harmless::line(line)),
            columns,
        ));
    }
    if waiting.len() > QUEUED {
        rows.push(AreaRow::dim(
            &format!("… {} more", waiting.len() - QUEUED),
            columns,
        ));
    }
    let prompt = match &mode {
        InputMode::Ask(words) => words,
        _ => "> ",
    };
    let (typed, (row, column)) = wrapped(state.buffer(), prompt, columns.saturating_sub(1).max(4));
    // A text that is longer than the terminal is high is shown around its cursor.
    let most = lines.saturating_sub(rows.len() + 2).max(1);
    let first = row.saturating_sub(most - 1);
    let last = typed.len().min(first + most);
    let cut = |at: usize| (at == first && first > 0) || (at + 1 == last && last < typed.len());
    let above = rows.len();
    for (at, text) in typed.iter().enumerate().take(last).skip(first) {
        // Only rows of the second kind begin with spaces of the prompt's width.
        let text = match cut(at) && text.starts_with("  ") {
            true => format!("⋮ {}", &text[2..]),
            false => text.clone(),
        };
        rows.push(match at {
            0 => AreaRow::behind(prompt, text),
            _ => AreaRow::plain(text),
        });
    }
    Some((rows, (above + row - first, column)))
}

/// The text behind its prompt in rows of at most `width` columns; where the cursor is.
fn wrapped(buffer: &Buffer, prompt: &str, width: usize) -> (Vec<String>, (usize, usize)) {
    let mut rows = WrappedRows {
        rows: vec![String::new()],
        column: 0,
        width,
    };
    rows.push(prompt);
    let (text, cursor) = (buffer.text(), buffer.cursor());
    let mut place = None;
    let mut at = 0;
    let mut folds = buffer.folds().iter().peekable();
    while at < text.len() {
        if at == cursor {
            place = Some(rows.place());
        }
        if let Some(fold) = folds.next_if(|fold| fold.start == at) {
            let lines = text[fold.clone()].lines().count();
            rows.push(&match lines {
                1 => format!("[pasted {} characters]", text[fold.clone()].chars().count()),
                _ => format!("[pasted {lines} lines]"),
            });
            at = fold.end;
            continue;
        }
        let end = folds.peek().map_or(text.len(), |fold| fold.start);
        let end = match at < cursor && cursor < end {
            true => cursor,
            false => end,
        };
        rows.push(&text[at..end]);
        at = end;
    }
    let place = place.unwrap_or_else(|| rows.place());
    (rows.rows, place)
}

struct WrappedRows {
    rows: Vec<String>,
    column: usize,
    width: usize,
}

impl WrappedRows {
    fn push(&mut self, text: &str) {
        for grapheme in text.graphemes(true) {
            match grapheme {
                "\n" | "\r\n" => self.next(),
                "\t" => self.put("    "),
                grapheme => self.put(&harmless::line(grapheme)),
            }
        }
    }

    fn put(&mut self, text: &str) {
        if self.column + text.width() > self.width {
            self.next();
        }
        self.column += text.width();
        if let Some(row) = self.rows.last_mut() {
            row.push_str(text);
        }
    }

    fn next(&mut self) {
        self.rows.push("  ".to_owned());
        self.column = 2;
    }

    /// Where the next character comes, if it is a narrow one.
    fn place(&self) -> (usize, usize) {
        (self.rows.len() - 1, self.column)
    }
}

/// A message that was sent, as it stays on the terminal behind its prompt: a long one is shown with its
/// length.
pub fn said(line: &str) -> String {
    const SHOWN: usize = 8;
    let lines: Vec<&str> = line.lines().collect();
    let shown = match lines.len() > SHOWN {
        true => SHOWN / 2,
        false => lines.len(),
    };
    let mut text = lines[..shown].join("\n  ");
    if lines.len() > shown {
        text.push_str(&format!("\n  … {} more lines", lines.len() - shown));
    }
    text
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::cli::console::keys::KeyDecoder;

    fn state(keys: &str) -> ConsoleState {
        let mut state = ConsoleState::default();
        state.prompt("");
        for key in KeyDecoder::default().feed(keys.as_bytes()) {
            state.key(key);
        }
        state
    }

    fn shown(keys: &str, columns: usize, lines: usize) -> (Vec<String>, (usize, usize)) {
        let (rows, cursor) = view(&state(keys), columns, lines).unwrap();
        (
            rows.iter().map(|row| row.text().to_owned()).collect(),
            cursor,
        )
    }

    #[test]
    fn a_message_is_wrapped_folded_and_harmless() {
        assert_eq!(shown("", 80, 24), (vec!["> ".into()], (0, 2)));
        assert_eq!(
            shown("日本日本日本\u{1b}[D", 12, 24),
            (vec!["> 日本日本".into(), "  日本".into()], (1, 4))
        );
        let paste = format!("say \u{1b}[200~{}\u{1b}[201~!", "x\r".repeat(220));
        assert_eq!(shown(&paste, 80, 24).0, ["> say [pasted 220 lines]!"]);
        let hostile = "\u{1b}[200~\u{1b}[2J\u{9b}0m\tx\u{1b}[201~";
        assert_eq!(shown(hostile, 80, 24).0, ["> ␛[2J\u{fffd}0m    x"]);
    }

    #[test]
    fn a_long_message_is_shown_around_its_cursor_and_what_waits_above_it() {
        let opened = format!("\u{1b}[200~{}\u{1b}[201~\t", "x\r".repeat(220));
        let (rows, cursor) = shown(&opened, 80, 10);
        assert_eq!((rows.len(), cursor), (8, (0, 2)));
        assert_eq!((&*rows[0], &*rows[7]), ("> x", "⋮ x"));
        let down = format!("{opened}{}", "\u{1b}[B".repeat(100));
        let (rows, cursor) = shown(&down, 80, 10);
        assert_eq!((rows.len(), cursor), (8, (7, 2)));
        assert_eq!((&*rows[0], &*rows[7]), ("⋮ x", "⋮ x"));
        let mut busy = ConsoleState::default();
        assert!(view(&busy, 80, 24).is_none());
        for key in KeyDecoder::default().feed(b"first\rsec") {
            busy.key(key);
        }
        let (rows, cursor) = view(&busy, 80, 24).unwrap();
        let rows: Vec<&str> = rows.iter().map(AreaRow::text).collect();
        assert_eq!((rows, cursor), (vec!["queued: first", "> sec"], (1, 5)));
    }

    #[test]
    fn what_was_said_stays_with_its_length() {
        assert_eq!(said("one\ntwo"), "one\n  two");
        let long = "x\n".repeat(220);
        assert_eq!(said(&long), "x\n  x\n  x\n  x\n  … 216 more lines");
    }

    proptest! {
        /// Whatever is typed, rows fit the terminal and the cursor stands in them.
        #[test]
        fn rows_fit(keys in "([a-c \\n日👍\u{301}\t]|\u{1b}\\[[ABCD]|\u{1b}\\[200~(x\\r){9}\u{1b}\\[201~){0,60}",
                    columns in 6usize..40, lines in 3usize..30) {
            let (rows, cursor) = view(&state(&keys), columns, lines).unwrap();
            prop_assert!(rows.len() < lines);
            prop_assert!(cursor.0 < rows.len() && cursor.1 < columns, "{cursor:?}");
            for row in &rows {
                prop_assert!(row.text().width() < columns, "{row:?} in {columns}");
            }
        }
    }
}
