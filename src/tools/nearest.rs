//! What a file has instead of the text that should be replaced: the same lines with other white
//! space, or the lines most like it.

/// Lines that are looked at.
const MAX_LINES: usize = 20_000;

/// Bytes of a line that are compared.
const MAX_LINE: usize = 400;

/// Lines that are shown.
const MAX_SHOWN: usize = 30;

/// Least likeness (0 to 1, Sørensen-Dice of letter pairs) that is worth showing.
const ALIKE: f64 = 0.5;

/// The sentence for `old` that is not in the file `name`.
pub(super) fn missing(name: &str, content: &[u8], old: &str) -> String {
    let content = String::from_utf8_lossy(content);
    let lines: Vec<&str> = content.lines().take(MAX_LINES).collect();
    // Blank lines at its ends place nothing.
    let wanted: Vec<&str> = old.trim_matches('\n').lines().collect();
    if let Some(at) = spaced(&lines, &wanted) {
        return format!(
            "old is not in {name} as it was written: white space differs. The file has, from line \
             {}:\n{}",
            at + 1,
            shown(&lines[at..at + wanted.len()])
        );
    }
    match like(&lines, &wanted) {
        Some(at) => {
            let end = (at + wanted.len().max(1)).min(lines.len());
            format!(
                "old is not in {name}. Most like it, from line {}:\n{}",
                at + 1,
                shown(&lines[at..end])
            )
        }
        None => format!("old is not in {name}, nor anything like it: read the file first."),
    }
}

/// Where the lines stand with other white space: indentation, ends, or widths.
fn spaced(lines: &[&str], wanted: &[&str]) -> Option<usize> {
    let plain = |line: &&str| -> Vec<String> {
        let words = cut(line).split_whitespace();
        words.map(str::to_owned).collect()
    };
    if wanted.is_empty() || wanted.len() > lines.len() {
        return None;
    }
    let wanted: Vec<_> = wanted.iter().map(plain).collect();
    if wanted.iter().all(Vec::is_empty) {
        return None;
    }
    let lines: Vec<_> = lines.iter().map(plain).collect();
    let ends = wanted.len() - 1;
    lines.windows(wanted.len()).position(|window| {
        // The first and the last line of old may be parts of lines.
        let whole = |at: usize| window[at] == wanted[at];
        let first = if ends == 0 {
            whole(0)
        } else {
            window[0].ends_with(&wanted[0])
        };
        first && (1..ends).all(whole) && (ends == 0 || window[ends].starts_with(&wanted[ends]))
    })
}

/// Where the lines most like it begin: the longest line places it.
fn like(lines: &[&str], wanted: &[&str]) -> Option<usize> {
    let (offset, anchor) = wanted
        .iter()
        .enumerate()
        .max_by_key(|(at, line)| (line.trim().len(), usize::MAX - at))?;
    let anchor = cut(anchor.trim());
    if anchor.is_empty() {
        return None;
    }
    let (at, likeness) = lines
        .iter()
        .enumerate()
        .map(|(at, line)| (at, strsim::sorensen_dice(anchor, cut(line.trim()))))
        .max_by(|a, b| a.1.total_cmp(&b.1).then(b.0.cmp(&a.0)))?;
    (likeness >= ALIKE).then(|| at.saturating_sub(offset))
}

fn shown(lines: &[&str]) -> String {
    let mut out: Vec<&str> = lines.iter().take(MAX_SHOWN).map(|line| cut(line)).collect();
    if lines.len() > MAX_SHOWN {
        out.push("…");
    }
    out.join("\n")
}

fn cut(line: &str) -> &str {
    &line[..super::shown::floor(line, MAX_LINE)]
}
