//! Numbers, tables and text as a terminal should get them.

use std::borrow::Cow;

/// `1,234,567`.
pub fn count(n: usize) -> String {
    let digits = n.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// Bytes with a binary unit: `512 B`, `1.5 KiB`.
pub fn bytes(n: u64) -> String {
    let mut value = n as f64;
    let mut unit = "B";
    for next in ["KiB", "MiB", "GiB", "TiB"] {
        if value < 1024.0 {
            break;
        }
        value /= 1024.0;
        unit = next;
    }
    match unit {
        "B" => format!("{n} B"),
        _ => format!("{value:.1} {unit}"),
    }
}

/// How long ago, in the largest unit that fits: `now`, `5 min`, `3 h`, `12 d`.
pub fn ago(now_ms: i64, then_ms: i64) -> String {
    let seconds = now_ms.saturating_sub(then_ms).max(0) / 1000;
    match seconds {
        0..60 => "now".into(),
        60..3600 => format!("{} min", seconds / 60),
        3600..86_400 => format!("{} h", seconds / 3600),
        _ => format!("{} d", seconds / 86_400),
    }
}

/// Text without what a terminal would obey: control characters but newline and tab, and marks
/// that reorder a line. What a model or a file says must not move the cursor.
pub fn printable(text: &str) -> Cow<'_, str> {
    let obeyed = |c: char| {
        (c.is_control() && c != '\n' && c != '\t')
            || matches!(c as u32, 0x202a..=0x202e | 0x2066..=0x2069)
    };
    match text.contains(obeyed) {
        true => Cow::Owned(text.replace(obeyed, "")),
        false => Cow::Borrowed(text),
    }
}

/// Columns two spaces apart; those in `right` are aligned to the right. No trailing spaces.
pub fn table(head: &[&str], rows: &[Vec<String>], right: &[usize]) -> String {
    let width = |column: usize| {
        let cells = rows.iter().filter_map(|row| row.get(column));
        let widest = cells.map(|cell| cell.chars().count()).max().unwrap_or(0);
        widest.max(head[column].chars().count())
    };
    let widths: Vec<usize> = (0..head.len()).map(width).collect();
    let head: Vec<String> = head.iter().map(|&cell| cell.to_owned()).collect();
    let mut text = String::new();
    for row in std::iter::once(&head).chain(rows) {
        let mut line = String::new();
        for (column, cell) in row.iter().enumerate() {
            let space = widths.get(column).copied().unwrap_or(0);
            match right.contains(&column) {
                true => line.push_str(&format!("{cell:>space$}  ")),
                false => line.push_str(&format!("{cell:<space$}  ")),
            }
        }
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_grouped_by_thousands() {
        let table = [
            (0, "0"),
            (999, "999"),
            (1000, "1,000"),
            (1_234_567, "1,234,567"),
        ];
        for (n, want) in table {
            assert_eq!(count(n), want);
        }
    }

    #[test]
    fn bytes_and_ages_have_one_unit() {
        let sizes = [
            (0, "0 B"),
            (1023, "1023 B"),
            (1536, "1.5 KiB"),
            (5 << 30, "5.0 GiB"),
        ];
        for (n, want) in sizes {
            assert_eq!(bytes(n), want);
        }
        let ages = [
            (59, "now"),
            (61, "1 min"),
            (7200, "2 h"),
            (200_000, "2 d"),
            (-5, "now"),
        ];
        for (seconds, want) in ages {
            assert_eq!(ago(seconds * 1000, 0), want);
        }
    }

    #[test]
    fn text_cannot_steer_the_terminal() {
        assert_eq!(printable("a\tb\nc é"), "a\tb\nc é");
        assert_eq!(printable("a\u{1b}[2Jb\u{7}\r\u{9b}c\u{202e}"), "a[2Jbc");
    }

    #[test]
    fn tables_are_aligned_and_end_without_spaces() {
        let rows = [
            vec!["work".to_owned(), "12".to_owned(), "x".to_owned()],
            vec!["é".to_owned(), "1,000".to_owned(), String::new()],
        ];
        assert_eq!(
            table(&["name", "n", "m"], &rows, &[1]),
            "name      n  m\nwork     12  x\né     1,000\n"
        );
    }
}
