//! Runs: in which batches the tokens of a segment were evaluated. `npast kv verify --deep` evaluates
//! stored tokens again and compares the bytes; KV rows are bit-identical only if the tokens are evaluated
//! in the same batches (a batch is the tokens of one `llama_decode` call). A segment stores its runs
//! beside its KV for this. Invariant: the runs of a stored segment follow each other without a gap and
//! end at its p1.

use crate::kv::error::Damage;

/// Tokens that were evaluated directly one after another: first the tokens of a prompt in batches, then
/// the sampled tokens of its reply one by one.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct TokenRun {
    /// The first position. A run begins where new tokens were appended to the conversation, and after
    /// each position at which a snapshot was taken inside such an append.
    pub start: usize,
    /// The tokens of [start, prompt) were evaluated in batches of `batch` tokens, counted from `start`.
    pub prompt: usize,
    /// The tokens of [prompt, end) were evaluated one by one.
    pub end: usize,
    /// The number of tokens in one batch.
    pub batch: usize,
}

/// The bytes of one run in a record.
pub(in crate::kv) const BYTES: usize = 32;
/// The maximum number of runs that a segment stores. A segment that has more runs is stored without any.
pub(in crate::kv) const MOST: usize = 1024;

/// The bytes of runs in a record; no bytes if there are more than [`MOST`] runs.
pub(in crate::kv) fn to_bytes(runs: &[TokenRun]) -> Vec<u8> {
    if runs.len() > MOST {
        return Vec::new();
    }
    let words = |r: &TokenRun| [r.start, r.prompt, r.end, r.batch];
    let words = runs.iter().flat_map(words);
    words.flat_map(|w| (w as u64).to_le_bytes()).collect()
}

/// Parses the runs of a segment of [p0, p1). They must follow each other without a gap; the first one
/// begins at p0 or before it, and the last one ends at p1.
pub(in crate::kv) fn from_bytes(
    bytes: &[u8],
    p0: usize,
    p1: usize,
) -> Result<Vec<TokenRun>, Damage> {
    let damage = Damage::Field("runs");
    let (words, rest) = bytes.as_chunks::<8>();
    let words: Option<Vec<usize>> = words
        .iter()
        .map(|w| usize::try_from(u64::from_le_bytes(*w)).ok())
        .collect();
    let words = words.filter(|_| rest.is_empty()).ok_or(damage)?;
    let (quads, rest) = words.as_chunks::<4>();
    let run = |[start, prompt, end, batch]: &[usize; 4]| TokenRun {
        start: *start,
        prompt: *prompt,
        end: *end,
        batch: *batch,
    };
    let runs: Vec<TokenRun> = quads.iter().map(run).collect();
    let whole =
        |r: &TokenRun| r.start <= r.prompt && r.prompt <= r.end && r.start < r.end && r.batch > 0;
    let joined = runs.windows(2).all(|r| r[0].end == r[1].start);
    let covers = match (runs.first(), runs.last()) {
        (Some(first), Some(last)) => first.start <= p0 && p0 < first.end && last.end == p1,
        _ => true,
    };
    if rest.is_empty() && joined && covers && runs.iter().all(whole) {
        Ok(runs)
    } else {
        Err(damage)
    }
}

/// The runs of two neighbouring segments, as the runs of one segment. A run that goes over the joint is
/// in both lists, and `later` has all of it. `None` if one of the segments has no runs, or if the lists
/// do not fit together.
pub(in crate::kv) fn join(earlier: &[TokenRun], later: &[TokenRun]) -> Option<Vec<TokenRun>> {
    let begin = later.first()?.start;
    let before = earlier.iter().take_while(|r| r.end <= begin).count();
    let (before, over) = earlier.split_at(before);
    let follows = match over.first() {
        Some(run) => run.start == begin,
        None => before.last().is_some_and(|r| r.end == begin),
    };
    follows.then(|| [before, later].concat())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        /// For any positions at which the segment is cut: the joined runs of the parts are the runs of
        /// the whole segment.
        #[test]
        fn runs_of_neighbours_are_joined_to_those_of_the_whole_and_others_to_none(
            lens in proptest::collection::vec((0usize..9, 0usize..9), 1..12),
            cuts in proptest::collection::vec(any::<proptest::sample::Index>(), 1..6),
            lost in any::<proptest::sample::Index>(),
        ) {
            let mut at = 7;
            let mut whole = Vec::new();
            for (batched, single) in lens {
                let (start, prompt) = (at, at + batched);
                at = prompt + single + usize::from(batched + single == 0);
                whole.push(TokenRun { start, prompt, end: at, batch: 16 });
            }
            let mut cuts: Vec<usize> = cuts.iter().map(|c| 8 + c.index(at - 7)).collect();
            cuts.extend([7, at]);
            cuts.sort_unstable();
            cuts.dedup();
            // The runs that a part [p0, p1) stores: those that have a position in it; the last one is cut
            // at p1.
            let part = |p0: usize, p1: usize| -> Vec<TokenRun> {
                let within = whole.iter().filter(|r| r.start < p1 && r.end > p0);
                within.map(|r| TokenRun { prompt: r.prompt.min(p1), end: r.end.min(p1), ..*r }).collect()
            };
            let mut parts: Vec<Vec<TokenRun>> = cuts.windows(2).map(|w| part(w[0], w[1])).collect();
            let all = |parts: &[Vec<TokenRun>]| {
                let mut rest = parts.iter();
                let first = rest.next().cloned();
                rest.fold(first, |joined, part| join(&joined?, part))
            };
            let joined = all(&parts).unwrap();
            prop_assert_eq!(from_bytes(&to_bytes(&joined), 7, at), Ok(joined.clone()));
            prop_assert_eq!(joined, whole);
            if parts.len() > 1 {
                let lost = lost.index(parts.len());
                let kept = std::mem::take(&mut parts[lost]);
                prop_assert_eq!(all(&parts), None);
                // A run that begins after the joint does not continue the runs before it.
                let mut other = kept;
                other[0].start = cuts[lost] + 1;
                if lost > 0 {
                    parts[lost] = other;
                    prop_assert_eq!(all(&parts), None);
                }
            }
        }

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
                runs.push(TokenRun { start, prompt, end: at, batch: 16 });
            }
            let bytes = to_bytes(&runs);
            prop_assert_eq!(from_bytes(&bytes, 7, at), Ok(runs));
            prop_assert!(from_bytes(&bytes, 7, at + 1).is_err());
            prop_assert!(from_bytes(&bytes[..bytes.len() - 1], 7, at).is_err());
            let _ = from_bytes(&noise, 0, 5);
        }
    }
}
