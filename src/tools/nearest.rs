//! What a file has instead of the text that should be replaced: the same lines with other white
//! space or with characters that only look the same, or the lines most like it; and what the first
//! difference is, where a reader could not see it.

use std::collections::HashMap;

use super::seen::Seen;

/// Lines that are looked at.
const MAX_LINES: usize = 20_000;

/// Bytes of a line that are compared.
const MAX_LINE: usize = 400;

/// Lines that are shown.
const MAX_SHOWN: usize = 30;

/// Least likeness (0 to 1, Sørensen-Dice of pairs of characters) that is worth showing.
const ALIKE: f64 = 0.5;

/// The sentence for `old` that is not in the file `name`.
pub(super) fn missing(name: &str, content: &[u8], old: &str) -> String {
    let content = Seen::shown(content);
    let old = Seen::shown(old.as_bytes());
    let old = old.text();
    let lines: Vec<&str> = content.text().lines().take(MAX_LINES).collect();
    // Blank lines at its ends place nothing.
    let wanted: Vec<&str> = old.trim_matches('\n').lines().collect();
    if let Some(at) = look_alike(&lines, &wanted) {
        let there = &lines[at..at + wanted.len()];
        return format!(
            "old is not in {name} as it was written: white space, or characters that look alike, \
             differ. The file has, from line {}:\n{}{}",
            at + 1,
            shown(there),
            difference(at, there, &wanted).unwrap_or_default()
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

/// A character for all that look like it.
fn plain(c: char) -> char {
    match c {
        '\u{2018}'..='\u{201b}'
        | '\u{2032}'
        | '\u{2b9}'
        | '\u{2bc}'
        | '`'
        | '\u{b4}'
        | '\u{ff07}' => '\'',
        '\u{201c}'..='\u{201f}' | '\u{2033}' | '\u{ab}' | '\u{bb}' | '\u{ff02}' => '"',
        '\u{2010}'..='\u{2015}' | '\u{2212}' | '\u{ad}' | '\u{fe58}' | '\u{fe63}' => '-',
        // Full width forms of ASCII.
        '\u{ff01}'..='\u{ff5e}' => char::from_u32(c as u32 - 0xfee0).unwrap_or(c),
        '\u{2026}' => '.',
        c if c.is_whitespace() => ' ',
        c => c,
    }
}

/// Characters that take no room and stand beside others.
fn is_invisible(c: char) -> bool {
    matches!(c, '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{2064}' | '\u{feff}' | '\u{fe0f}')
}

fn folded(text: &str) -> String {
    text.chars()
        .filter(|c| !is_invisible(*c))
        .map(plain)
        .collect()
}

/// Where the lines stand with other white space (indentation, ends, or widths) or with characters
/// that look alike.
fn look_alike(lines: &[&str], wanted: &[&str]) -> Option<usize> {
    let words = |line: &&str| -> Vec<String> {
        let line = folded(cut(line));
        line.split_whitespace().map(str::to_owned).collect()
    };
    if wanted.is_empty() || wanted.len() > lines.len() {
        return None;
    }
    let wanted: Vec<_> = wanted.iter().map(words).collect();
    if wanted.iter().all(Vec::is_empty) {
        return None;
    }
    let lines: Vec<_> = lines.iter().map(words).collect();
    let ends = wanted.len() - 1;
    let joined = |words: &[String]| words.join(" ");
    lines.windows(wanted.len()).position(|window| {
        // The first and the last line of old may be parts of lines.
        let first = match ends {
            0 => joined(&window[0]).contains(&joined(&wanted[0])),
            _ => joined(&window[0]).ends_with(&joined(&wanted[0])),
        };
        first
            && (1..ends).all(|at| window[at] == wanted[at])
            && (ends == 0 || joined(&window[ends]).starts_with(&joined(&wanted[ends])))
    })
}

/// The first place where lines differ from those that were wanted, in words; `at` is the number of
/// the first, less one.
fn difference(at: usize, there: &[&str], wanted: &[&str]) -> Option<String> {
    for (number, (line, old)) in there.iter().zip(wanted).enumerate() {
        let (line, old) = (cut(line), cut(old));
        if line == old {
            continue;
        }
        let (line, old): (Vec<char>, Vec<char>) = (line.chars().collect(), old.chars().collect());
        let last = number + 1 == wanted.len();
        // Part of a line may be wanted: it begins where most of it fits.
        let starts = if number == 0 {
            0..line.len().max(1)
        } else {
            0..1
        };
        let fits = |start: &usize| {
            let pairs = line[*start..].iter().zip(&old);
            pairs.take_while(|(a, b)| plain(**a) == plain(**b)).count()
        };
        let start = starts.max_by_key(|start| (fits(start), usize::MAX - start))?;
        let line = &line[start..];
        let same = line.iter().zip(&old).take_while(|(a, b)| a == b).count();
        let (has, wants) = (line.get(same), old.get(same));
        if wants.is_none() && (last || has.is_none()) {
            continue;
        }
        return Some(format!(
            "\n[the first difference is in line {}: the file has {} where old has {}]",
            at + number + 1,
            named(has),
            named(wants)
        ));
    }
    None
}

/// A character by what it looks like and by its number.
fn named(c: Option<&char>) -> String {
    let Some(c) = c else {
        return "the line's end".to_owned();
    };
    let name = match c {
        ' ' => "a space".to_owned(),
        '\t' => "a tab".to_owned(),
        '\u{a0}' => "a no-break space".to_owned(),
        c if c.is_whitespace() || is_invisible(*c) => "a character that is not seen".to_owned(),
        c => format!("{c}"),
    };
    format!("{name} (U+{:04X})", u32::from(*c))
}

/// Where the lines most like it begin: the longest line places it.
fn like(lines: &[&str], wanted: &[&str]) -> Option<usize> {
    let (offset, anchor) = wanted
        .iter()
        .enumerate()
        .max_by_key(|(at, line)| (line.trim().chars().count(), usize::MAX - at))?;
    let anchor = Pairs::of(cut(anchor.trim()));
    if anchor.count == 0 {
        return None;
    }
    let (at, likeness) = lines
        .iter()
        .enumerate()
        .map(|(at, line)| (at, anchor.likeness(cut(line.trim()))))
        .max_by(|a, b| a.1.total_cmp(&b.1).then(b.0.cmp(&a.0)))?;
    (likeness >= ALIKE).then(|| at.saturating_sub(offset))
}

/// The pairs of characters of a line, without white space; a single character is a pair with nothing.
struct Pairs {
    pairs: HashMap<(char, char), usize>,
    count: usize,
}

impl Pairs {
    fn of(line: &str) -> Pairs {
        let mut pairs = HashMap::new();
        let mut count = 0;
        for pair in pairs_of(line) {
            *pairs.entry(pair).or_insert(0) += 1;
            count += 1;
        }
        Pairs { pairs, count }
    }

    /// From 0, nothing in common, to 1.
    fn likeness(&self, line: &str) -> f64 {
        let mut seen: HashMap<(char, char), usize> = HashMap::new();
        let (mut common, mut count) = (0_usize, 0_usize);
        for pair in pairs_of(line) {
            count += 1;
            if let Some(most) = self.pairs.get(&pair) {
                let so_far = seen.entry(pair).or_insert(0);
                if *so_far < *most {
                    *so_far += 1;
                    common += 1;
                }
            }
        }
        match self.count + count {
            0 => 0.0,
            all => (2 * common) as f64 / all as f64,
        }
    }
}

fn pairs_of(line: &str) -> impl Iterator<Item = (char, char)> {
    let all: Vec<char> = folded(line).chars().filter(|c| *c != ' ').collect();
    let single = (all.len() == 1).then(|| (all[0], '\0'));
    let pairs: Vec<(char, char)> = all.windows(2).map(|two| (two[0], two[1])).collect();
    pairs.into_iter().chain(single)
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
