//! How the tokens of a segment were evaluated, so that they can be evaluated the same way again: KV
//! rows are equal to the bit only under equal batches.

use super::error::Damage;

/// Tokens evaluated in one go: first in batches, then one by one, as a prompt and its reply are.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Run {
    /// First position; where an append or the part of it after a snapshot point began.
    pub start: usize,
    /// [start, prompt) in batches of `batch` tokens counted from `start`.
    pub prompt: usize,
    /// [prompt, end) one by one.
    pub end: usize,
    /// Tokens.
    pub batch: usize,
}

/// Bytes of one.
pub(super) const BYTES: usize = 32;
/// Of one segment. More are not worth it: then none are kept.
pub(super) const MOST: usize = 1024;

/// As they stand in a record.
pub(super) fn to_bytes(runs: &[Run]) -> Vec<u8> {
    if runs.len() > MOST {
        return Vec::new();
    }
    let words = |r: &Run| [r.start, r.prompt, r.end, r.batch];
    let words = runs.iter().flat_map(words);
    words.flat_map(|w| (w as u64).to_le_bytes()).collect()
}

/// The runs of a segment of [p0, p1): they follow each other without a gap from p0 or before it to
/// p1.
pub(super) fn from_bytes(bytes: &[u8], p0: usize, p1: usize) -> Result<Vec<Run>, Damage> {
    let damage = Damage::Field("runs");
    let (words, rest) = bytes.as_chunks::<8>();
    let words: Option<Vec<usize>> = words
        .iter()
        .map(|w| usize::try_from(u64::from_le_bytes(*w)).ok())
        .collect();
    let words = words.filter(|_| rest.is_empty()).ok_or(damage)?;
    let (quads, rest) = words.as_chunks::<4>();
    let run = |[start, prompt, end, batch]: &[usize; 4]| Run {
        start: *start,
        prompt: *prompt,
        end: *end,
        batch: *batch,
    };
    let runs: Vec<Run> = quads.iter().map(run).collect();
    let whole =
        |r: &Run| r.start <= r.prompt && r.prompt <= r.end && r.start < r.end && r.batch > 0;
    let joined = runs.windows(2).all(|r| r[0].end == r[1].start);
    let covers = match (runs.first(), runs.last()) {
        (Some(first), Some(last)) => first.start <= p0 && p0 < first.end && last.end == p1,
        _ => true,
    };
    match rest.is_empty() && joined && covers && runs.iter().all(whole) {
        true => Ok(runs),
        false => Err(damage),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn what_is_written_is_read_and_anything_else_is_no_panic(
            lens in proptest::collection::vec((0usize..50, 0usize..50), 1..20),
            noise in proptest::collection::vec(any::<u8>(), 0..200),
        ) {
            let mut at = 7;
            let mut runs = Vec::new();
            for (batched, single) in lens {
                let (start, prompt) = (at, at + batched);
                at = prompt + single + usize::from(batched + single == 0);
                runs.push(Run { start, prompt, end: at, batch: 16 });
            }
            let bytes = to_bytes(&runs);
            prop_assert_eq!(from_bytes(&bytes, 7, at), Ok(runs));
            prop_assert!(from_bytes(&bytes, 7, at + 1).is_err());
            prop_assert!(from_bytes(&bytes[..bytes.len() - 1], 7, at).is_err());
            let _ = from_bytes(&noise, 0, 5);
        }
    }
}
