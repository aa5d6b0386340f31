//! The end of the terminal: rows below the output that are drawn again in place. Pure: rows in, bytes for
//! the terminal out. Only the part of a row that changed is written again.

use unicode_segmentation::UnicodeSegmentation;
use unicode_width::UnicodeWidthStr;

use super::style::PROMPT;

/// A row of the area: text without control characters, no wider than the terminal less one column.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct AreaRow {
    text: String,
    dim: bool,
    /// Bytes of its beginning that are a prompt.
    prompt: usize,
}

impl AreaRow {
    /// As it is; the caller has cut it.
    pub fn plain(text: String) -> AreaRow {
        AreaRow::behind("", text)
    }

    /// As it is; where it begins with `prompt`, that looks like one.
    pub fn behind(prompt: &str, text: String) -> AreaRow {
        let prompt = if text.starts_with(prompt) {
            prompt.len()
        } else {
            0
        };
        AreaRow {
            text,
            dim: false,
            prompt,
        }
    }

    /// A remark beside the text, cut at the width.
    pub fn dim(text: &str, width: usize) -> AreaRow {
        AreaRow {
            text: cut(text, width.saturating_sub(1)),
            dim: true,
            prompt: 0,
        }
    }

    /// What stands in it.
    #[cfg(test)]
    pub fn text(&self) -> &str {
        &self.text
    }

    /// It from byte `from` on, as the terminal gets it. A style is written as a whole.
    fn painted(&self, from: usize, color: bool) -> String {
        match (self.dim, self.prompt > 0) {
            (true, _) if color => format!("\u{1b}[2m{}\u{1b}[0m", self.text),
            (false, true) if color && from == 0 => {
                let (prompt, rest) = self.text.split_at(self.prompt);
                format!("{}{rest}", PROMPT.painted(prompt))
            }
            _ => self.text[from..].to_owned(),
        }
    }
}

/// What stands on the terminal, and where its cursor is.
#[derive(Default)]
pub struct Area {
    rows: Vec<AreaRow>,
    cursor: (usize, usize),
}

impl Area {
    /// Whether anything stands there.
    pub fn is_shown(&self) -> bool {
        !self.rows.is_empty()
    }

    /// Takes all of it away and goes back to the end of the output, which has `column` columns in its
    /// last line. Rows that a narrower window broke take more lines than they were drawn on.
    pub fn erase(&mut self, column: usize, width: usize) -> String {
        let rows = std::mem::take(&mut self.rows);
        if rows.is_empty() {
            return String::new();
        }
        let lines = |columns: usize| columns.saturating_sub(1) / width.max(1);
        let above: usize = rows[..self.cursor.0]
            .iter()
            .map(|row| 1 + lines(row.text.width()))
            .sum();
        let mut up = above + self.cursor.1 / width.max(1);
        let mut right = 0;
        if column > 0 && column < width {
            (up, right) = (up + 1, column);
        }
        self.cursor = (0, 0);
        let mut text = moved(up, 'A');
        text.push('\r');
        // The line that goes on is not erased.
        match right {
            0 => text.push_str("\u{1b}[J"),
            _ => text.push_str(&format!("{}\u{1b}[J", moved(right, 'C'))),
        }
        text
    }

    /// Draws `rows` below the output, with the cursor at a row and a column, else behind the last one.
    pub fn show(
        &mut self,
        rows: Vec<AreaRow>,
        cursor: Option<(usize, usize)>,
        column: usize,
        width: usize,
        color: bool,
    ) -> String {
        let Some(last) = rows.len().checked_sub(1) else {
            return self.erase(column, width);
        };
        let mut text = String::new();
        let mut at = self.cursor;
        if self.rows.is_empty() {
            at = (0, 0);
            if column > 0 {
                text.push_str("\r\n");
            }
        }
        let before = std::mem::take(&mut self.rows);
        for (n, row) in rows.iter().enumerate() {
            let old = before.get(n);
            if old == Some(row) {
                continue;
            }
            // Where the rows are alike, up to whole characters; a dim row and a prompt are written whole.
            let same = match old {
                Some(old) if !old.dim && !row.dim && old.prompt == row.prompt => {
                    alike(&old.text, &row.text)
                }
                _ => 0,
            };
            let same = if same < row.prompt { 0 } else { same };
            let column = row.text[..same].width();
            text.push_str(&going(at, (n, column), before.len().max(n)));
            text.push_str(&row.painted(same, color));
            if old.is_some() {
                text.push_str("\u{1b}[K");
            }
            at = (n, row.text.width());
        }
        if before.len() > rows.len() {
            let end = rows[last].text.width();
            text.push_str(&going(at, (last, end), before.len()));
            text.push_str("\u{1b}[J");
            at = (last, end);
        }
        let cursor = cursor.unwrap_or_else(|| (last, rows[last].text.width()));
        text.push_str(&going(at, cursor, rows.len()));
        self.rows = rows;
        self.cursor = cursor;
        text
    }
}

/// From a row and column of the area to another; rows from `drawn` on are not on the terminal yet.
fn going(from: (usize, usize), to: (usize, usize), drawn: usize) -> String {
    let mut text = String::new();
    if to.0 < from.0 {
        text.push_str(&moved(from.0 - to.0, 'A'));
    }
    let (mut row, mut column) = (from.0.min(to.0), from.1);
    while row < to.0 {
        row += 1;
        match row < drawn {
            true => text.push_str(&moved(1, 'B')),
            false => {
                text.push_str("\r\n");
                column = 0;
            }
        }
    }
    if column != to.1 {
        text.push('\r');
        text.push_str(&moved(to.1, 'C'));
    }
    text
}

fn moved(by: usize, way: char) -> String {
    match by {
        0 => String::new(),
        by => format!("\u{1b}[{by}{way}"),
    }
}

/// Bytes of whole graphemes that both begin with.
fn alike(one: &str, other: &str) -> usize {
    let pairs = one.graphemes(true).zip(other.graphemes(true));
    let same = pairs.take_while(|(a, b)| a == b).map(|(a, _)| a.len());
    let same: usize = same.sum();
    // A mark may join what stood at the end.
    match other[same..].graphemes(true).next() {
        Some(next) if next.width() == 0 => 0,
        _ => same,
    }
}

/// The beginning of a text that fits.
pub fn cut(text: &str, width: usize) -> String {
    if text.width() <= width {
        return text.to_owned();
    }
    let mut kept = String::new();
    let mut columns = 0;
    for grapheme in text.graphemes(true) {
        columns += grapheme.width();
        if columns + 1 > width {
            break;
        }
        kept.push_str(grapheme);
    }
    kept.push('…');
    kept
}

/// A line in rows of at most `width` columns; at least one.
pub fn wrap(line: &str, width: usize) -> Vec<String> {
    let mut rows = vec![String::new()];
    let mut column = 0;
    for grapheme in line.graphemes(true) {
        if column > 0 && column + grapheme.width() > width {
            rows.push(String::new());
            column = 0;
        }
        column += grapheme.width();
        if let Some(row) = rows.last_mut() {
            row.push_str(grapheme);
        }
    }
    rows
}

/// The column behind `text`, which begins at `column`. A line of all columns has `width`: its terminal
/// goes to the next line with the next character.
pub fn advance(mut column: usize, text: &str, width: usize) -> usize {
    let width = width.max(1);
    // What stands before the last line end does not count.
    let last = text.rsplit_once('\n');
    if last.is_some() {
        column = 0;
    }
    for grapheme in last.map_or(text, |(_, rest)| rest).graphemes(true) {
        match grapheme {
            "\t" => column = ((column / 8 + 1) * 8).min(width - 1),
            _ => {
                let wide = grapheme.width();
                match column + wide > width {
                    true => column = wide.min(width),
                    false => column += wide,
                }
            }
        }
    }
    column
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows(lines: &[&str]) -> Vec<AreaRow> {
        let plain = |line: &&str| AreaRow::plain((*line).to_owned());
        lines.iter().map(plain).collect()
    }

    #[test]
    fn rows_that_a_narrower_window_broke_are_all_taken_away() {
        let mut area = Area::default();
        let wide = "x".repeat(39);
        area.show(rows(&[&wide, "  more"]), Some((1, 6)), 0, 40, false);
        // The first one takes two lines now.
        assert_eq!(area.erase(0, 25), "\u{1b}[2A\r\u{1b}[J");
        assert_eq!(area.erase(0, 25), "", "once");
    }

    #[test]
    fn a_line_that_is_not_finished_goes_on_where_it_ended() {
        let mut area = Area::default();
        let shown = area.show(rows(&["> a"]), None, 5, 80, false);
        assert_eq!(shown, "\r\n> a");
        assert_eq!(area.erase(5, 80), "\u{1b}[1A\r\u{1b}[5C\u{1b}[J");
        // A line that is full leaves the cursor at its end, and the area begins below it.
        let shown = area.show(rows(&["> a"]), None, 80, 80, false);
        assert_eq!(shown, "\r\n> a");
        assert_eq!(area.erase(80, 80), "\r\u{1b}[J");
    }

    #[test]
    fn texts_are_cut_wrapped_and_counted_in_columns() {
        assert_eq!(cut("日本語", 6), "日本語");
        assert_eq!(cut("日本語x", 6), "日本…");
        assert_eq!(wrap("ab日本c", 4), ["ab日", "本c"]);
        assert_eq!(wrap("", 4), [""]);
        let table = [
            (0, "abc", 3),
            (3, "\n", 0),
            (3, "x\nyz", 2),
            (8, "ab", 10),
            (10, "a", 1),
            (9, "日", 2),
            (0, "a\tb", 9),
            (0, "👩‍👩‍👧", 2),
        ];
        for (from, text, want) in table {
            assert_eq!(advance(from, text, 10), want, "{from} {text:?}");
        }
    }
}
