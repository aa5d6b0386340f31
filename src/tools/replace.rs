//! New text in the place of old text, so that all that the two have in common stays byte for byte: the
//! ends of lines, bytes that are not UTF-8, and what is never shown.

use super::lines;
use super::seen::Seen;
use super::shown;

/// Most lines of old and new text that are compared each with each; longer ones only from both ends.
const MAX_COMPARED: usize = 400;

/// What becomes of a place.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Replaced {
    pub bytes: Vec<u8>,
    /// Something that is not shown was in the replaced text, and is gone.
    pub lost: bool,
}

/// The bytes for `new` in the place of `region`, which a model saw as `whole` says: with all that is
/// in it, or as tools show it. `end` is the line end for lines that no old one gives theirs.
///
/// # Errors
/// U+FFFD in `new` where it would be written instead of the bytes that it stood for.
pub(super) fn replaced(
    region: &[u8],
    new: &str,
    whole: bool,
    end: &[u8],
) -> Result<Replaced, String> {
    let seen = match whole {
        true => Seen::whole(region),
        false => Seen::shown(region),
    };
    let old = Old::new(region, &seen);
    let new = lines::plain(new);
    let new: Vec<&str> = new.split_inclusive('\n').collect();
    let mut out = Replaced {
        bytes: Vec::with_capacity(region.len() + 16),
        lost: false,
    };
    let (mut from, mut at) = (0, 0);
    for (o, n) in same_lines(&old.lines, &new)
        .into_iter()
        .chain([(old.lines.len(), new.len())])
    {
        old.block(from..o, &new[at..n], end, &mut out)?;
        if let (Some(line), Some(new)) = (old.bytes.get(o), new.get(n)) {
            let own = ending(line);
            let body = &line[..line.len() - own.map_or(0, <[u8]>::len)];
            out.bytes.extend_from_slice(body);
            // The last line of one of the texts may lack the end that it has in the other.
            if new.ends_with('\n') {
                out.bytes
                    .extend_from_slice(own.or_else(|| old.end_before(o)).unwrap_or(end));
            }
        }
        (from, at) = (o + 1, n + 1);
    }
    Ok(out)
}

/// The old text's lines, and the bytes of each; together the bytes are the region.
struct Old<'a> {
    lines: Vec<&'a str>,
    bytes: Vec<&'a [u8]>,
    seen: &'a Seen,
}

impl<'a> Old<'a> {
    fn new(region: &'a [u8], seen: &'a Seen) -> Old<'a> {
        let lines: Vec<&str> = seen.text().split_inclusive('\n').collect();
        let mut bytes = Vec::with_capacity(lines.len());
        let (mut text, mut file) = (0, 0);
        for (number, line) in lines.iter().enumerate() {
            text += line.len();
            let to = match number + 1 == lines.len() {
                true => region.len(),
                false => seen.file(&(text - line.len()..text)).end,
            };
            bytes.push(&region[file..to]);
            file = to;
        }
        Old { lines, bytes, seen }
    }

    /// The end of the last line before line `number` that has one.
    fn end_before(&self, number: usize) -> Option<&'a [u8]> {
        let before = self.bytes[..number].iter();
        before.rev().find_map(|line| ending(line))
    }

    /// Writes the lines that stand in the place of some old ones. The first takes the end of the first,
    /// and so on; further ones that of the last.
    fn block(
        &self,
        old: std::ops::Range<usize>,
        new: &[&str],
        end: &[u8],
        out: &mut Replaced,
    ) -> Result<(), String> {
        let mut last = self.end_before(old.start);
        for (at, line) in new.iter().enumerate() {
            let number = old.start + at;
            let body = line.strip_suffix('\n');
            let pair = old.contains(&number);
            if pair && let Some(own) = ending(self.bytes[number]) {
                last = Some(own);
            }
            match pair {
                true => self.line(number, body.unwrap_or(line), out)?,
                false => out.bytes.extend_from_slice(body.unwrap_or(line).as_bytes()),
            }
            if body.is_some() {
                out.bytes.extend_from_slice(last.unwrap_or(end));
            }
        }
        for number in old.skip(new.len()) {
            out.lost |= hides(self.bytes[number]);
        }
        Ok(())
    }

    /// Writes a line without its end: what the old one begins and ends with stays as its bytes are.
    fn line(&self, number: usize, new: &str, out: &mut Replaced) -> Result<(), String> {
        let bytes = self.bytes[number];
        let bytes = &bytes[..bytes.len() - ending(bytes).map_or(0, <[u8]>::len)];
        let old = self.lines[number];
        let old = old.strip_suffix('\n').unwrap_or(old);
        let head = common(old.chars(), new.chars());
        let tail = common(old[head..].chars().rev(), new[head..].chars().rev());
        // Where the line begins in the old text, and its bytes in the region.
        let text: usize = self.lines[..number].iter().map(|line| line.len()).sum();
        let start: usize = self.bytes[..number].iter().map(|line| line.len()).sum();
        // What is not shown and stands at one of the line's ends stays there.
        let (from, to) = match old.is_empty() {
            true => (bytes.len(), bytes.len()),
            false => {
                let all = self.seen.file(&(text..text + old.len()));
                (all.start - start, all.end - start)
            }
        };
        let to_head = match head {
            0 => from,
            _ => self.seen.file(&(text..text + head)).end - start,
        };
        let to_tail = match tail {
            // Nothing shown goes, and so nothing else does.
            _ if head + tail == old.len() => to_head,
            0 => to,
            _ => {
                let from = text + old.len() - tail;
                self.seen.file(&(from..from + tail)).start - start
            }
        };
        let gone = &bytes[to_head..to_tail];
        let middle = &new[head..new.len() - tail];
        if middle.contains('\u{fffd}') && std::str::from_utf8(gone).is_err() {
            return Err(
                "U+FFFD stands for bytes that are not UTF-8, and would be written instead of them: \
                 leave the part with it out of old and new, and change what is before and behind it \
                 by calls of their own."
                    .to_owned(),
            );
        }
        out.lost |= hides(gone);
        out.bytes.extend_from_slice(&bytes[..to_head]);
        out.bytes.extend_from_slice(middle.as_bytes());
        out.bytes.extend_from_slice(&bytes[to_tail..]);
        Ok(())
    }
}

/// Whether bytes hold something that is not shown.
fn hides(bytes: &[u8]) -> bool {
    Seen::whole(bytes).text().chars().any(shown::is_hidden)
}

/// The line end that a line of a file has.
fn ending(line: &[u8]) -> Option<&[u8]> {
    ["\r\n", "\n", "\r"]
        .iter()
        .find(|end| line.ends_with(end.as_bytes()))
        .map(|end| &line[line.len() - end.len()..])
}

/// Bytes of the characters that both begin with.
fn common(a: impl Iterator<Item = char>, b: impl Iterator<Item = char>) -> usize {
    a.zip(b)
        .take_while(|(a, b)| a == b)
        .map(|(a, _)| a.len_utf8())
        .sum()
}

/// Pairs of lines that are the same, in order: a longest row of them. Whether a line has an end does
/// not count.
fn same_lines(old: &[&str], new: &[&str]) -> Vec<(usize, usize)> {
    fn body<'a>(line: &'a &str) -> &'a str {
        line.strip_suffix('\n').unwrap_or(line)
    }
    let same = |(a, b): &(&&str, &&str)| body(a) == body(b);
    let head = old.iter().zip(new).take_while(same).count();
    let tail = old[head..]
        .iter()
        .rev()
        .zip(new[head..].iter().rev())
        .take_while(same)
        .count();
    let (inner_old, inner_new) = (&old[head..old.len() - tail], &new[head..new.len() - tail]);
    let mut pairs: Vec<(usize, usize)> = (0..head).map(|at| (at, at)).collect();
    let (rows, columns) = (inner_old.len(), inner_new.len());
    if rows <= MAX_COMPARED && columns <= MAX_COMPARED {
        // longest[i][j]: of what follows line i of the old and line j of the new ones.
        let mut longest = vec![vec![0_u32; columns + 1]; rows + 1];
        for i in (0..rows).rev() {
            for j in (0..columns).rev() {
                longest[i][j] = match same(&(&inner_old[i], &inner_new[j])) {
                    true => longest[i + 1][j + 1] + 1,
                    false => longest[i + 1][j].max(longest[i][j + 1]),
                };
            }
        }
        let (mut i, mut j) = (0, 0);
        while i < rows && j < columns {
            if same(&(&inner_old[i], &inner_new[j])) {
                pairs.push((head + i, head + j));
                (i, j) = (i + 1, j + 1);
            } else if longest[i + 1][j] >= longest[i][j + 1] {
                i += 1;
            } else {
                j += 1;
            }
        }
    }
    pairs.extend((0..tail).map(|at| (old.len() - tail + at, new.len() - tail + at)));
    pairs
}
