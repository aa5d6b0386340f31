//! A long result is cut once, before it becomes tokens, and never changes afterwards: the ledger holds what
//! the model read. The beginning and the end stay; the whole goes to a file that the model can read.

use std::io;
use std::path::PathBuf;

use super::CallContext;
use super::result_limits::ResultLimits;
use super::shown::{clean, count, floor, size};

/// Least bytes and lines that limits can be set to: a cut result must still say where it goes on.
const LEAST: ResultLimits = ResultLimits {
    bytes: 512,
    lines: 8,
};

/// Largest file that a result is kept in, in bytes.
const MAX_KEPT: usize = 64 << 20;

/// A text's two ends.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct HeadAndTail<'a> {
    /// From its start.
    pub head: &'a str,
    /// Up to its end.
    pub tail: &'a str,
    /// Bytes between them.
    pub bytes: usize,
    /// Line feeds between them.
    pub lines: usize,
}

/// Head and tail of a text that is larger than `limits`, together within them; `None` where the
/// whole fits. Cut between lines where there are some, else between characters.
pub fn ends(text: &str, limits: ResultLimits) -> Option<HeadAndTail<'_>> {
    let limits = ResultLimits {
        bytes: limits.bytes.max(LEAST.bytes),
        lines: limits.lines.max(LEAST.lines),
    };
    if text.len() <= limits.bytes && text.lines().take(limits.lines + 1).count() <= limits.lines {
        return None;
    }
    // The line that says what is missing counts too.
    let bytes = limits.bytes - 256;
    let lines = limits.lines - 3;
    let head = head(text, bytes * 2 / 3, lines * 2 / 3);
    let rest = &text[head.len()..];
    let tail = tail(rest, bytes / 3, lines / 3);
    let between = &rest[..rest.len() - tail.len()];
    Some(HeadAndTail {
        head,
        tail,
        bytes: between.len(),
        lines: between.bytes().filter(|b| *b == b'\n').count(),
    })
}

fn head(text: &str, bytes: usize, lines: usize) -> &str {
    let most = &text[..floor(text, bytes)];
    let by_lines = most
        .match_indices('\n')
        .nth(lines - 1)
        .map(|(at, _)| at + 1);
    let end = by_lines.unwrap_or_else(|| match most.rfind('\n') {
        // Whole lines, unless that would give most of the room away.
        Some(at) if at + 1 >= most.len() / 2 => at + 1,
        _ => most.len(),
    });
    &most[..end]
}

fn tail(text: &str, bytes: usize, lines: usize) -> &str {
    let mut start = text.len().saturating_sub(bytes);
    while !text.is_char_boundary(start) {
        start += 1;
    }
    let most = &text[start..];
    let body = most.strip_suffix('\n').unwrap_or(most);
    let by_lines = body
        .rmatch_indices('\n')
        .nth(lines - 1)
        .map(|(at, _)| at + 1);
    let start = by_lines.unwrap_or_else(|| match body.find('\n') {
        Some(at) if at < most.len() / 2 => at + 1,
        _ => 0,
    });
    &most[start..]
}

/// Cleans a result and cuts it to the room's limits. The whole of what was cut is kept in the
/// session's temporary folder; if it cannot be, the result says so.
pub(super) fn shrink(text: &str, room: &CallContext<'_>) -> String {
    let text = clean(text.as_bytes());
    let Some(ends) = ends(&text, room.limits) else {
        return text;
    };
    let amount = match ends.lines {
        0 => size(ends.bytes as u64),
        lines => format!(
            "{} ({})",
            count(lines as u64, "line"),
            size(ends.bytes as u64)
        ),
    };
    let note = match keep(&text, room) {
        Ok((path, true)) => format!("all of it is in {}, read_file reads on", path.display()),
        Ok((path, false)) => format!(
            "its first {} are in {}, read_file reads on",
            size(MAX_KEPT as u64),
            path.display()
        ),
        Err(error) => format!("they could not be kept: {error}"),
    };
    let line = if ends.head.ends_with('\n') { "" } else { "\n" };
    format!(
        "{}{line}[… {amount} left out; {note} …]\n{}",
        ends.head, ends.tail
    )
}

/// Writes what was cut to a new file that only its owner can read; true when all of it fits.
fn keep(text: &str, room: &CallContext<'_>) -> io::Result<(PathBuf, bool)> {
    // The id may come from a client.
    let good = |c: &char| c.is_ascii_alphanumeric() || *c == '_' || *c == '-';
    let id: String = room.call.chars().filter(good).take(64).collect();
    let end = floor(text, MAX_KEPT);
    let mut kept = room.results.create(&format!("result-{id}"))?;
    if let Err(error) = kept.write(&text.as_bytes()[..end]) {
        // Half a file would be read as the whole.
        kept.remove();
        return Err(error);
    }
    Ok((kept.path().to_owned(), end == text.len()))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::MetadataExt;

    use proptest::prelude::*;

    use super::super::testing::{Place, names};
    use super::*;

    fn shrunk(place: &Place, text: &str) -> String {
        let base = place.base().to_string_lossy().into_owned();
        place
            .room(None, |room| shrink(text, room))
            .replace(&base, "BASE")
    }

    #[test]
    fn what_fits_is_only_cleaned() {
        let place = Place::new();
        assert_eq!(shrunk(&place, "a\u{1b}[31mb\u{0}\n"), "ab\n");
        assert_eq!(shrunk(&place, &"x\n".repeat(400)), "x\n".repeat(400));
        assert_eq!(names(&place.temp()), Vec::<String>::new());
    }

    /// 5 MB of lines: both ends, how much is missing, and a file with every byte that read_file
    /// reads on.
    #[test]
    fn a_result_of_5_mb_keeps_its_ends_and_the_whole_can_be_read() {
        let place = Place::new();
        let text: String = (1..=500_000).map(|i| format!("l{i:07}\n")).collect();
        let cut = shrunk(&place, &text);
        assert!(cut.len() <= 16 << 10 && cut.lines().count() <= 400);
        let note = "[… 499,604 lines (4.5 MB) left out; all of it is in BASE/temp/result-c1.txt, \
                    read_file reads on …]";
        let lines: Vec<&str> = cut.lines().collect();
        assert_eq!(
            (lines[0], lines[263], lines[264]),
            ("l0000001", "l0000264", note)
        );
        assert_eq!(lines.last(), Some(&"l0500000"));
        let kept = place.temp().join("result-c1.txt");
        assert_eq!(std::fs::read_to_string(&kept).unwrap(), text);
        assert_eq!(kept.metadata().unwrap().mode() & 0o777, 0o600);
        let on = place.call(
            "read_file",
            serde_json::json!({"path": kept.to_str().unwrap(), "from": 265, "lines": 1}),
        );
        assert!(on.ok && on.text.contains("\nl0000265\n"), "{on:?}");
        // A second result of the same call has its own file.
        shrunk(&place, &text);
        assert_eq!(names(&place.temp()), ["result-c1-2.txt", "result-c1.txt"]);
    }

    #[test]
    fn a_line_of_5_mb_and_a_file_of_nul_are_bounded() {
        let place = Place::new();
        let cut = shrunk(&place, &"ä".repeat(2_500_000));
        assert!(cut.len() <= 16 << 10, "{}", cut.len());
        assert!(cut.contains("\n[… 5.0 MB left out; all of it is in "));
        assert_eq!(shrunk(&place, &"\0".repeat(5_000_000)), "");
    }

    #[test]
    fn a_whole_that_cannot_be_kept_is_said() {
        let place = Place::new();
        std::fs::remove_dir(place.temp()).unwrap();
        let cut = place.room(None, |room| shrink(&"x".repeat(50_000), room));
        assert!(
            cut.contains("left out; they could not be kept: No such file or directory"),
            "{cut}"
        );
    }

    /// The id comes from a client or a model.
    #[test]
    fn a_hostile_call_id_names_no_other_place() {
        let place = Place::new();
        place.room(None, |room| {
            let hostile = CallContext {
                call: "../../home/evil\0/x",
                ..*room
            };
            shrink(&"x".repeat(50_000), &hostile);
        });
        assert_eq!(names(&place.temp()), ["result-homeevilx.txt"]);
        assert_eq!(names(&place.base().join("home")), Vec::<String>::new());
    }

    proptest! {
        /// Head and tail are ends of the text, within the limits, and what is named as missing is
        /// what is missing.
        #[test]
        fn the_ends_of_any_text_add_up(
            lines in prop::collection::vec("[aäß😀 ]{0,40}", 0..200),
            bytes in 0usize..3000,
            most in 0usize..60,
        ) {
            let text = lines.join("\n");
            let limits = ResultLimits { bytes, lines: most };
            let (bytes, most) = (bytes.max(512), most.max(8));
            match ends(&text, limits) {
                None => {
                    prop_assert!(text.len() <= bytes && text.lines().count() <= most);
                }
                Some(ends) => {
                    prop_assert!(text.len() > bytes || text.lines().count() > most);
                    prop_assert!(text.starts_with(ends.head) && text.ends_with(ends.tail));
                    prop_assert_eq!(ends.head.len() + ends.bytes + ends.tail.len(), text.len());
                    let between = &text[ends.head.len()..text.len() - ends.tail.len()];
                    prop_assert_eq!(between.matches('\n').count(), ends.lines);
                    prop_assert!(ends.head.len() + ends.tail.len() + 256 <= bytes);
                    prop_assert!(ends.head.lines().count() + ends.tail.lines().count() < most);
                }
            }
        }
    }
}
