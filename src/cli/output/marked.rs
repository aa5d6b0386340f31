//! Text of others in rows behind a mark, a change of a file as such rows (what it adds is green, what it
//! removes red), and npast's own sentences in rows. Pure.

use unicode_width::UnicodeWidthStr;

use super::style::{StyledText, TextStyle};
use super::wrap;

/// Rows that somebody else wrote, each behind a mark, also where the terminal would break a line: none of
/// them looks like npast's own. They are made one line at a time.
pub fn marked<'t>(text: &'t str, width: usize) -> impl Iterator<Item = Vec<StyledText>> + 't {
    let width = width.saturating_sub(5).max(1);
    text.lines()
        .map(move |line| rows(line, TextStyle::PLAIN, width))
}

/// The same for the hunks of a diff.
pub fn diff<'t>(text: &'t str, width: usize) -> impl Iterator<Item = Vec<StyledText>> + 't {
    let width = width.saturating_sub(5).max(1);
    text.lines().map(move |line| {
        let style = match line.as_bytes().first() {
            Some(b'+') => TextStyle::ADDED,
            Some(b'-') => TextStyle::REMOVED,
            Some(b'@' | b'\\') => TextStyle::PLACE,
            _ => TextStyle::PLAIN,
        };
        rows(line, style, width)
    })
}

/// A sentence of npast's own in rows that end between two words; all but the first begin with spaces.
pub fn sentence(style: TextStyle, text: &str, width: usize) -> Vec<StyledText> {
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
        .map(|row| StyledText::new(row, style))
        .collect()
}

fn rows(line: &str, style: TextStyle, width: usize) -> Vec<StyledText> {
    let rows = wrap(line, width).into_iter();
    rows.map(|row| StyledText::new(format!("  | {row}"), style))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_row_of_a_diff_has_its_colour_and_its_mark_also_where_a_line_is_broken() {
        let text = "@@ -1 +1 @@\n-old\n+a new line that is long\n same\n";
        let all: Vec<StyledText> = diff(text, 20).flatten().collect();
        let want = [
            (TextStyle::PLACE, "  | @@ -1 +1 @@"),
            (TextStyle::REMOVED, "  | -old"),
            (TextStyle::ADDED, "  | +a new line tha"),
            (TextStyle::ADDED, "  | t is long"),
            (TextStyle::PLAIN, "  |  same"),
        ];
        let want = want.map(|(style, text)| StyledText::new(text, style));
        assert_eq!(all, want);
        let rows = sentence(TextStyle::DIM, "one two three 0123456789012345", 12);
        let texts: Vec<&str> = rows.iter().map(StyledText::text).collect();
        assert_eq!(texts, ["one two", "  three", "  012345678", "  9012345"]);
        // Whatever the width is, something stands in each row.
        assert_eq!(marked("ab", 3).flatten().count(), 2);
    }
}
