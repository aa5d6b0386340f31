//! Numbers and tables for a terminal.

use unicode_width::UnicodeWidthStr;

use crate::harmless;

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

/// Columns two spaces apart; those in `right` are aligned to the right. No trailing spaces. A cell is
/// one line, whatever is in it.
pub fn table(head: &[&str], rows: &[Vec<String>], right: &[usize]) -> String {
    let head = head.iter().map(|&cell| cell.to_owned()).collect();
    let rows: Vec<Vec<String>> = std::iter::once(&head)
        .chain(rows)
        .map(|row| row.iter().map(|c| harmless::line(c).into_owned()).collect())
        .collect();
    let width = |column: usize| {
        let cells = rows.iter().filter_map(|row| row.get(column));
        cells.map(|cell| cell.width()).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..head.len()).map(width).collect();
    let mut text = String::new();
    for row in &rows {
        let mut line = String::new();
        for (column, cell) in row.iter().enumerate() {
            let space = widths.get(column).copied().unwrap_or(0);
            let space = " ".repeat(space.saturating_sub(cell.width()));
            match right.contains(&column) {
                true => line.push_str(&format!("{space}{cell}  ")),
                false => line.push_str(&format!("{cell}{space}  ")),
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
    fn tables_are_aligned_and_end_without_spaces() {
        let rows = [
            vec!["work".to_owned(), "12".to_owned(), "x".to_owned()],
            vec!["é".to_owned(), "1,000".to_owned(), String::new()],
            vec![
                "日本".to_owned(),
                "3".to_owned(),
                "two\nlines\u{1b}".to_owned(),
            ],
        ];
        assert_eq!(
            table(&["name", "n", "m"], &rows, &[1]),
            "name      n  m\nwork     12  x\né     1,000\n日本      3  two lines␛\n"
        );
    }
}
