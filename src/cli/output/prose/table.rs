//! Tables: columns beside each other where they fit the terminal, with words that wrap in them; else a
//! line for each cell. Pure.

use unicode_segmentation::UnicodeSegmentation;
use unicode_width::UnicodeWidthStr;

use super::inline::{columns, styled};
use crate::cli::output::style::{StyledText, TextStyle, add};

/// Columns that a cell needs to be read.
const NARROW: usize = 6;
/// Columns between two cells.
const BETWEEN: usize = 3;

/// The marks that a table is drawn with.
#[derive(Clone, Copy)]
pub struct TableMarks {
    /// Between two columns.
    pub bar: &'static str,
    /// Below the names.
    pub line: &'static str,
    /// Where both meet.
    pub cross: &'static str,
}

/// The text of a cell.
type Cell = Vec<StyledText>;

/// A table as rows of the terminal.
#[derive(Debug, PartialEq)]
pub enum TableRows {
    /// Columns beside each other; no row is wider than the terminal.
    Columns(Vec<Cell>),
    /// A line for each cell; it may have to be wrapped.
    List(Vec<Cell>),
}

/// Draws a table whose lines are all there: names, alignments, and then the rows. `limit` is the number of
/// the terminal's columns.
pub fn drawn(lines: &[String], limit: usize, marks: TableMarks, base: TextStyle) -> TableRows {
    let [names, alignments, body @ ..] = lines else {
        return TableRows::List(Vec::new());
    };
    let cells = |line: &String, style| -> Vec<Cell> {
        let cells = split(line).into_iter();
        cells.map(|cell| styled(&cell, style)).collect()
    };
    let aligned: Vec<Alignment> = split(alignments).iter().map(|c| Alignment::of(c)).collect();
    let names = cells(names, TextStyle::BOLD.within(base));
    let body: Vec<Vec<Cell>> = body.iter().map(|line| cells(line, base)).collect();
    let all = || body.iter().chain([&names]);
    let count = all().map(Vec::len).max().unwrap_or(0);
    let natural: Vec<usize> = (0..count)
        .map(|at| {
            let widths = all()
                .filter_map(|row| row.get(at))
                .map(|cell| columns(cell));
            widths.max().unwrap_or(0).max(1)
        })
        .collect();
    let Some(widths) = fitted(&natural, limit) else {
        return TableRows::List(listed(&names, &body, base));
    };
    let layout = TableLayout {
        widths,
        aligned,
        bar: StyledText::new(format!(" {} ", marks.bar), TextStyle::DIM.within(base)),
        base,
    };
    let mut out = layout.row(&names);
    let lines: Vec<String> = layout
        .widths
        .iter()
        .map(|width| marks.line.repeat(*width))
        .collect();
    let cross = format!("{}{}{}", marks.line, marks.cross, marks.line);
    out.push(vec![StyledText::new(
        lines.join(&cross),
        TextStyle::DIM.within(base),
    )]);
    out.extend(body.iter().flat_map(|row| layout.row(row)));
    TableRows::Columns(out)
}

/// How the texts of a column stand.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Alignment {
    Left,
    Middle,
    Right,
}

impl Alignment {
    fn of(cell: &str) -> Alignment {
        match (cell.starts_with(':'), cell.ends_with(':')) {
            (true, true) => Alignment::Middle,
            (false, true) => Alignment::Right,
            _ => Alignment::Left,
        }
    }
}

/// Where the cells of a table stand.
struct TableLayout {
    widths: Vec<usize>,
    aligned: Vec<Alignment>,
    bar: StyledText,
    base: TextStyle,
}

impl TableLayout {
    /// A row of the table in rows of the terminal.
    fn row(&self, row: &[Cell]) -> Vec<Cell> {
        let cells: Vec<Vec<Cell>> = self
            .widths
            .iter()
            .enumerate()
            .map(|(at, width)| wrapped(row.get(at).map_or(&[], Vec::as_slice), *width))
            .collect();
        let height = cells.iter().map(Vec::len).max().unwrap_or(1);
        (0..height).map(|line| self.line(&cells, line)).collect()
    }

    fn line(&self, cells: &[Vec<Cell>], line: usize) -> Cell {
        let mut pieces = Vec::new();
        for (at, width) in self.widths.iter().enumerate() {
            if at > 0 {
                add(&mut pieces, self.bar.text(), self.bar.style());
            }
            let cell = cells[at].get(line).map_or(&[][..], Vec::as_slice);
            let space = width.saturating_sub(columns(cell));
            let before = match self.aligned.get(at) {
                Some(Alignment::Right) => space,
                Some(Alignment::Middle) => space / 2,
                _ => 0,
            };
            add(&mut pieces, &" ".repeat(before), self.base);
            for piece in cell {
                add(&mut pieces, piece.text(), piece.style());
            }
            if at + 1 < self.widths.len() {
                add(&mut pieces, &" ".repeat(space - before), self.base);
            }
        }
        pieces
    }
}

/// The cells of a row. A bar behind a backslash is text.
fn split(line: &str) -> Vec<String> {
    let line = line.trim();
    let line = line.strip_prefix('|').unwrap_or(line);
    let mut cells = Vec::new();
    let mut cell = String::new();
    let mut escaped = false;
    for c in line.chars() {
        match c {
            '|' if escaped => {
                cell.pop();
                cell.push(c);
            }
            '|' => cells.push(std::mem::take(&mut cell)),
            c => cell.push(c),
        }
        escaped = c == '\\' && !escaped;
    }
    if !cell.trim().is_empty() || cells.is_empty() {
        cells.push(cell);
    }
    cells.iter().map(|cell| cell.trim().to_owned()).collect()
}

/// The widths of columns that fit: as wide as their texts, or the widest ones made narrower. `None` where
/// that would leave too little.
fn fitted(natural: &[usize], limit: usize) -> Option<Vec<usize>> {
    let between = BETWEEN * natural.len().saturating_sub(1);
    let room = limit.checked_sub(between)?;
    let sum = |most: usize| natural.iter().map(|n| *n.min(&most)).sum::<usize>();
    if sum(usize::MAX) <= room {
        return Some(natural.to_vec());
    }
    if sum(NARROW) > room {
        return None;
    }
    // The largest width for all columns with which they fit.
    let (mut fits, mut over) = (NARROW, room + 1);
    while over - fits > 1 {
        let most = fits.midpoint(over);
        match sum(most) <= room {
            true => fits = most,
            false => over = most,
        }
    }
    Some(natural.iter().map(|n| *n.min(&fits)).collect())
}

/// A line for each cell, behind the name of its column; an empty line between rows.
fn listed(names: &[Cell], body: &[Vec<Cell>], base: TextStyle) -> Vec<Cell> {
    if body.is_empty() {
        return names.to_vec();
    }
    let mut out = Vec::new();
    for (number, row) in body.iter().enumerate() {
        if number > 0 {
            out.push(Vec::new());
        }
        // The first row has all names, also those of columns without a cell.
        let count = if number == 0 {
            row.len().max(names.len())
        } else {
            row.len()
        };
        for at in 0..count {
            let mut line = names.get(at).cloned().unwrap_or_default();
            let cell = row.get(at).map_or(&[][..], Vec::as_slice);
            let between = match (line.is_empty(), cell.is_empty()) {
                (true, _) => "",
                (false, true) => ":",
                (false, false) => ": ",
            };
            add(&mut line, between, base);
            for piece in cell {
                add(&mut line, piece.text(), piece.style());
            }
            out.push(line);
        }
    }
    out
}

/// The text of a cell in rows of its width. A word that is wider is broken.
fn wrapped(cell: &[StyledText], width: usize) -> Vec<Cell> {
    let mut rows = CellRows {
        rows: vec![Vec::new()],
        column: 0,
        width,
    };
    let mut word = Vec::new();
    let mut gap = 0;
    for piece in cell {
        for grapheme in piece.text().graphemes(true) {
            if grapheme != " " {
                add(&mut word, grapheme, piece.style());
                continue;
            }
            if !word.is_empty() {
                rows.put(gap, &std::mem::take(&mut word));
                gap = 0;
            }
            gap += 1;
        }
    }
    rows.put(gap, &word);
    rows.rows
}

struct CellRows {
    rows: Vec<Cell>,
    column: usize,
    width: usize,
}

impl CellRows {
    /// Puts a word behind so many spaces.
    fn put(&mut self, gap: usize, word: &[StyledText]) {
        let wide = columns(word);
        if wide == 0 && word.is_empty() {
            return;
        }
        if self.column > 0 && self.column + gap + wide > self.width {
            self.next();
        } else if self.column > 0 {
            self.write(&" ".repeat(gap), TextStyle::PLAIN);
        }
        for piece in word {
            for grapheme in piece.text().graphemes(true) {
                if self.column > 0 && self.column + grapheme.width() > self.width {
                    self.next();
                }
                self.write(grapheme, piece.style());
            }
        }
    }

    fn next(&mut self) {
        self.rows.push(Vec::new());
        self.column = 0;
    }

    fn write(&mut self, text: &str, style: TextStyle) {
        if let Some(row) = self.rows.last_mut() {
            add(row, text, style);
        }
        self.column += text.width();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MARKS: TableMarks = TableMarks {
        bar: "│",
        line: "─",
        cross: "┼",
    };

    fn shown(lines: &[&str], limit: usize) -> Vec<String> {
        let lines: Vec<String> = lines.iter().map(|line| (*line).to_owned()).collect();
        let rows = match drawn(&lines, limit, MARKS, TextStyle::PLAIN) {
            TableRows::Columns(rows) | TableRows::List(rows) => rows,
        };
        let text = |row: &Cell| row.iter().map(StyledText::text).collect::<String>();
        rows.iter().map(text).collect()
    }

    #[test]
    fn columns_stand_below_each_other() {
        let lines = [
            "| Name | Size |",
            "|:-----|-----:|",
            "| 日本 | 1 |",
            "| a`b` | 1000 |",
        ];
        assert_eq!(
            shown(&lines, 40),
            ["Name │ Size", "─────┼─────", "日本 │    1", "ab   │ 1000"]
        );
    }

    #[test]
    fn cells_wrap_where_a_table_is_too_wide_and_become_lines_where_that_is_too_little() {
        let lines = [
            "| Name | What |",
            "|---|---|",
            "| one | the first of all words |",
        ];
        assert_eq!(
            shown(&lines, 20),
            [
                "Name │ What",
                "─────┼──────────────",
                "one  │ the first of",
                "     │ all words"
            ]
        );
        assert_eq!(
            shown(&lines, 9),
            ["Name: one", "What: the first of all words"]
        );
    }

    #[test]
    fn a_row_may_have_less_and_more_cells_than_names() {
        let lines = [
            "| A | B |",
            "|---|---|",
            "| 1 |",
            "| 1 | 2 | 3 |",
            r"| x \| y |",
        ];
        assert_eq!(
            shown(&lines, 40),
            [
                "A     │ B │ ",
                "──────┼───┼──",
                "1     │   │ ",
                "1     │ 2 │ 3",
                "x | y │   │ "
            ]
        );
    }

    #[test]
    fn a_thousand_columns_are_listed() {
        let row = |text: &str| format!("|{}", format!(" {text} |").repeat(1000));
        let lines = [&*row("n"), &*row("-"), &*row("v")];
        let shown = shown(&lines, 80);
        assert_eq!((shown.len(), &*shown[999]), (1000, "n: v"));
    }
}
