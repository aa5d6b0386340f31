//! Rows with a style each, and a change of a file as such rows: what was added is green, what was removed
//! red. Pure.

use unicode_width::UnicodeWidthStr;

use super::wrap;

/// How npast's own words look on a terminal.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Style {
    Plain,
    Dim,
    /// A line that a change adds.
    Added,
    /// A line that it removes.
    Removed,
    /// Where in the file it is.
    Place,
}

impl Style {
    /// The escape sequence that begins it.
    pub(super) fn begins(self) -> &'static str {
        match self {
            Style::Plain => "",
            Style::Dim => "\u{1b}[2m",
            Style::Added => "\u{1b}[32m",
            Style::Removed => "\u{1b}[31m",
            Style::Place => "\u{1b}[36m",
        }
    }
}

/// A row of npast's own, or of a text that stands behind a mark.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct StyledRow {
    /// How it looks.
    pub style: Style,
    /// What stands in it.
    pub text: String,
}

impl StyledRow {
    /// A row of this style.
    pub fn new(style: Style, text: impl Into<String>) -> StyledRow {
        StyledRow {
            style,
            text: text.into(),
        }
    }
}

/// Rows that somebody else wrote, each behind a mark, also where the terminal would break a line: none of
/// them looks like npast's own. They are made one line at a time.
pub fn marked<'t>(text: &'t str, width: usize) -> impl Iterator<Item = Vec<StyledRow>> + 't {
    let width = width.saturating_sub(5).max(1);
    text.lines()
        .map(move |line| rows(line, Style::Plain, width))
}

/// The same for the hunks of a diff.
pub fn diff<'t>(text: &'t str, width: usize) -> impl Iterator<Item = Vec<StyledRow>> + 't {
    let width = width.saturating_sub(5).max(1);
    text.lines().map(move |line| {
        let style = match line.as_bytes().first() {
            Some(b'+') => Style::Added,
            Some(b'-') => Style::Removed,
            Some(b'@' | b'\\') => Style::Place,
            _ => Style::Plain,
        };
        rows(line, style, width)
    })
}

/// A sentence of npast's own in rows that end between two words; all but the first begin with spaces.
pub fn sentence(style: Style, text: &str, width: usize) -> Vec<StyledRow> {
    let width = width.saturating_sub(1).max(8);
    let mut rows = vec![String::new()];
    for word in text.split(' ') {
        // A word that is longer than a row is broken.
        for (n, part) in wrap(word, width.saturating_sub(2)).into_iter().enumerate() {
            let Some(row) = rows.last_mut() else { continue };
            let space = usize::from(!row.trim().is_empty() && n == 0);
            if row.width() + space + part.width() > width || n > 0 {
                rows.push(format!("  {part}"));
                continue;
            }
            row.push_str(&" ".repeat(space));
            row.push_str(&part);
        }
    }
    rows.into_iter()
        .map(|row| StyledRow::new(style, row))
        .collect()
}

fn rows(line: &str, style: Style, width: usize) -> Vec<StyledRow> {
    let rows = wrap(line, width).into_iter();
    rows.map(|row| StyledRow::new(style, format!("  | {row}")))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_row_of_a_diff_has_its_colour_and_its_mark_also_where_a_line_is_broken() {
        let text = "@@ -1 +1 @@\n-old\n+a new line that is long\n same\n";
        let all: Vec<StyledRow> = diff(text, 20).flatten().collect();
        let want = [
            (Style::Place, "  | @@ -1 +1 @@"),
            (Style::Removed, "  | -old"),
            (Style::Added, "  | +a new line tha"),
            (Style::Added, "  | t is long"),
            (Style::Plain, "  |  same"),
        ];
        let want = want.map(|(style, text)| StyledRow::new(style, text));
        assert_eq!(all, want);
        let rows = sentence(Style::Dim, "one two three 0123456789012345", 12);
        let texts: Vec<&str> = rows.iter().map(|row| row.text.as_str()).collect();
        assert_eq!(texts, ["one two", "  three", "  012345678", "  9012345"]);
        // Whatever the width is, something stands in each row.
        assert_eq!(marked("ab", 3).flatten().count(), 2);
    }
}
