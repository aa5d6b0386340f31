//! What sequence 0 holds: its exact tokens, their digests, the snapshots of it that are in RAM, and
//! how far it is on disk. The memory itself is llama.cpp's; this is the record of what it holds.

use super::memory::Bytes;
use crate::kv::TokenRun;
use crate::ledger::{Digest, Mark, RunningDigest, Token};

/// A state that cannot be cut, as it was after `at` tokens.
#[derive(Clone)]
pub(super) struct Snapshot {
    pub at: usize,
    pub bytes: Bytes,
    /// Logits of token `at - 1`, where someone may sample there.
    pub row: Option<Vec<f32>>,
}

/// Where digests are kept, so that one in between costs O(distance). About 2 KiB each.
const MARKS: usize = 4096;

/// So many snapshots may count as stored before the store is queried about them.
const STORED: usize = 64;

/// What sequence 0 holds.
pub(super) struct Resident {
    tokens: Vec<Token>,
    end: RunningDigest,
    marks: Vec<RunningDigest>,
    snapshots: Vec<Snapshot>,
    snapshot_budget: usize,
    /// Logits of the last token, if they are held.
    pub row: Option<Vec<f32>>,
    /// Ends of the segments that were handed to the store, ascending; none is past the tokens.
    saved: Vec<usize>,
    /// The first rows of so many positions are the store's, as far as was looked: restored, taken
    /// from there, or handed over. At least [`Resident::saved`].
    given: usize,
    /// The state that cannot be cut is the store's at this length.
    pub given_state: Option<usize>,
    /// At this length the state is not what the stored segments before it lead to when they are
    /// evaluated again: rows were taken from the store that this slot had evaluated otherwise.
    apart: Option<usize>,
    /// Snapshots on the way that were put on disk or found there, ascending. Some may be gone again.
    stored: Vec<(usize, Digest)>,
    /// Length of `stored` at which it is looked through.
    check_at: usize,
    /// How the tokens that are not saved yet were evaluated, as far as it was in this process.
    runs: Vec<TokenRun>,
    /// The next token begins a run.
    run_begins: bool,
    /// A cut went back over ends of segments: the one that is the last now may be inside of a merged
    /// segment.
    pub went_back: bool,
    /// Whose conversation it is.
    pub owner: String,
    /// The memory was given up after a failed decode; the next miss says so.
    pub lost: bool,
    moved: Option<MovedRows>,
}

/// Rows that were moved here from other positions: they were evaluated after other tokens than those that
/// stand before them now, so they and all that follows them are approximate.
#[derive(Clone, Copy)]
struct MovedRows {
    /// The first of them.
    from: usize,
    /// So many first positions stood where they stand all the time. Cells after them are in no order.
    in_place: usize,
}

impl Resident {
    /// An empty slot; `snapshot_budget` bounds the bytes of snapshots in RAM.
    pub fn new(fingerprint: Digest, snapshot_budget: usize) -> Resident {
        let end = RunningDigest::new(fingerprint);
        Resident {
            tokens: Vec::new(),
            marks: vec![end.clone()],
            end,
            snapshots: Vec::new(),
            snapshot_budget,
            row: None,
            saved: Vec::new(),
            given: 0,
            given_state: None,
            apart: None,
            stored: Vec::new(),
            check_at: STORED,
            runs: Vec::new(),
            run_begins: true,
            went_back: false,
            owner: String::new(),
            lost: false,
            moved: None,
        }
    }

    pub fn len(&self) -> usize {
        self.tokens.len()
    }

    pub fn tokens(&self) -> &[Token] {
        &self.tokens
    }

    /// Tokens that were just decoded.
    pub fn push(&mut self, tokens: &[Token]) {
        self.tokens.extend_from_slice(tokens);
        self.end.extend(tokens);
        self.row = None;
    }

    /// These tokens follow, whose rows were moved here; the first `in_place` positions did not change.
    pub fn push_moved(&mut self, tokens: &[Token], in_place: usize) {
        let from = self.len();
        // What is exact is asked for by its digest after each call.
        self.mark();
        self.push(tokens);
        self.run_begins = true;
        self.moved = Some(MovedRows { from, in_place });
    }

    /// So many first tokens have the rows that their evaluation gives; what follows them is approximate.
    pub fn exact(&self) -> usize {
        self.moved.map_or(self.len(), |moved| moved.from)
    }

    /// Whether there is more than [`Resident::exact`].
    pub fn is_approximate(&self) -> bool {
        self.moved.is_some()
    }

    /// So many first tokens stand where they were evaluated. What is evaluated after a cut behind them may
    /// take cells before theirs.
    pub fn in_place(&self) -> usize {
        self.moved.map_or(self.len(), |moved| moved.in_place)
    }

    /// The next tokens begin a new run of batches.
    pub fn begin_run(&mut self) {
        self.run_begins = true;
    }

    /// Tokens that were just decoded as one batch, where `most` is the size of a full one.
    pub fn decoded(&mut self, tokens: &[Token], most: usize) {
        let (at, len) = (self.len(), tokens.len());
        self.push(tokens);
        let begins = std::mem::take(&mut self.run_begins);
        if let Some(run) = self.runs.last_mut().filter(|r| !begins && r.end == at) {
            let full = run.prompt == at && (run.prompt - run.start).is_multiple_of(most);
            if full && (len > 1 || most == 1) {
                (run.prompt, run.end) = (at + len, at + len);
                return;
            } else if len == 1 {
                run.end += 1;
                return;
            }
        }
        let batched = if len > 1 { len } else { 0 };
        // A token that cannot be evaluated again in the same batches has a batch of 0.
        let again = self.apart.is_none_or(|apart| apart != at);
        self.runs.push(TokenRun {
            start: at,
            prompt: at + batched,
            end: at + len,
            batch: if again { most } else { 0 },
        });
    }

    /// How [p0, p1) was evaluated; nothing where not all of it is known, or rows of it are from the
    /// store.
    pub fn runs(&self, p0: usize, p1: usize) -> Vec<TokenRun> {
        if p0 < self.given {
            return Vec::new();
        }
        let within = |r: &&TokenRun| r.end > p0 && r.start < p1;
        let mut runs: Vec<TokenRun> = self.runs.iter().filter(within).copied().collect();
        if let Some(last) = runs.last_mut() {
            clip(last, p1);
        }
        let joined = runs.windows(2).all(|r| r[0].end == r[1].start);
        let covers = runs.first().is_some_and(|r| r.start <= p0)
            && runs.last().is_some_and(|r| r.end == p1)
            && runs.iter().all(|r| r.batch > 0);
        match joined && covers {
            true => runs,
            false => Vec::new(),
        }
    }

    /// Forgets tokens from `len` on, with the snapshots and segments that hold them.
    pub fn cut(&mut self, len: usize) {
        if len >= self.len() {
            return;
        }
        self.end = self.running(len);
        self.tokens.truncate(len);
        self.marks.retain(|m| m.len() <= len);
        self.snapshots.retain(|s| s.at <= len);
        let ends = self.saved.len();
        self.saved.retain(|end| *end <= len);
        self.went_back |= self.saved.len() < ends;
        self.given = self.given.min(len);
        self.given_state = self.given_state.filter(|at| *at <= len);
        self.apart = self.apart.filter(|at| *at <= len);
        self.moved = self.moved.filter(|moved| moved.from < len);
        self.stored.retain(|(at, _)| *at <= len);
        self.runs.retain(|r| r.start < len);
        if let Some(last) = self.runs.last_mut() {
            clip(last, len);
        }
        self.run_begins = true;
        self.row = None;
    }

    /// Remembers the digest of this point.
    pub fn mark(&mut self) -> Mark {
        if self.marks.last().is_none_or(|m| m.len() < self.len()) {
            if self.marks.len() == MARKS {
                // Every second one; the first stays, so every point can still be reached.
                let mut keep = false;
                self.marks.retain(|_| {
                    keep = !keep;
                    keep
                });
            }
            self.marks.push(self.end.clone());
        }
        Mark::new(self.len(), self.end.digest())
    }

    /// Whether it begins with the tokens of a mark. Costs O(tokens since the last remembered digest
    /// before it).
    pub fn begins_with(&self, mark: Mark) -> bool {
        mark.len() <= self.len() && self.digest(mark.len()) == mark.digest()
    }

    /// The running digest of the first `len` tokens.
    pub fn running(&self, len: usize) -> RunningDigest {
        if len == self.len() {
            return self.end.clone();
        }
        let before = self.marks.iter().rposition(|m| m.len() <= len).unwrap_or(0);
        let mut running = self.marks[before].clone();
        running.extend(&self.tokens[running.len()..len]);
        running
    }

    pub fn digest(&self, len: usize) -> Digest {
        self.running(len).digest()
    }

    /// Keeps a snapshot, dropping the oldest ones past the budget.
    pub fn keep(&mut self, snapshot: Snapshot) {
        self.snapshots.retain(|s| s.at != snapshot.at);
        let at = self.snapshots.partition_point(|s| s.at < snapshot.at);
        self.snapshots.insert(at, snapshot);
        let bytes = |s: &Snapshot| s.bytes.len() + s.row.as_ref().map_or(0, |r| r.len() * 4);
        let mut total: usize = self.snapshots.iter().map(bytes).sum();
        while total > self.snapshot_budget && self.snapshots.len() > 1 {
            total -= bytes(&self.snapshots.remove(0));
        }
    }

    pub fn snapshot(&self, at: usize) -> Option<&Snapshot> {
        self.snapshots.iter().find(|s| s.at == at)
    }

    pub fn snapshots(&self) -> impl DoubleEndedIterator<Item = &Snapshot> {
        self.snapshots.iter()
    }

    /// Where the next segment begins.
    pub fn saved(&self) -> usize {
        self.saved.last().copied().unwrap_or(0)
    }

    /// Takes back the marks of segments after the last one for whose end `stored` holds.
    pub fn unsave(&mut self, stored: impl Fn(Digest) -> bool) {
        while let Some(end) = self.saved.last() {
            if stored(self.digest(*end)) {
                break;
            }
            self.saved.pop();
        }
    }

    /// The store has other bytes for what was handed over up to this digest, or another state there:
    /// takes back the marks from there on.
    pub fn not_given(&mut self, digest: Digest) {
        let is = |end: &usize| self.digest(*end) == digest;
        let place = self.saved.iter().rposition(is);
        let state = self.given_state.filter(|at| !is(at));
        if let Some(place) = place {
            self.saved.truncate(place);
            self.given = self.saved();
        }
        self.given_state = state;
    }

    /// So many first positions have the store's rows.
    pub fn given(&self) -> usize {
        self.given
    }

    /// The rows of [p0, upto) are the store's from now on, and are other bytes than those that were
    /// here, which everything after them was evaluated with. `states`: a state at the end goes with
    /// them that the store's rows do not lead to.
    pub fn took(&mut self, p0: usize, upto: usize, states: bool) {
        self.given = self.given.max(upto);
        // A run that began on rows that are gone cannot be had again.
        for run in self.runs.iter_mut().filter(|run| run.start > p0) {
            run.batch = 0;
        }
        if states {
            self.apart = Some(self.len());
        }
    }

    /// So many first positions have their rows from the store.
    pub fn is_given(&mut self, upto: usize) {
        self.given = self.given.max(upto);
    }

    /// Snapshots on the way to here that are on disk, as far as is known.
    pub fn stored(&self) -> &[(usize, Digest)] {
        &self.stored
    }

    /// A snapshot of these tokens is on disk.
    pub fn stored_at(&mut self, at: usize, digest: Digest) {
        if let Err(place) = self.stored.binary_search_by_key(&at, |s| s.0) {
            self.stored.insert(place, (at, digest));
        }
    }

    /// Whether so many snapshots count as stored that it is time to query the store.
    pub fn has_many_stored(&self) -> bool {
        self.stored.len() >= self.check_at
    }

    /// Forgets those that are not there any more; costs as many as there are, seldom.
    pub fn check_stored(&mut self, there: impl Fn(Digest) -> bool) {
        self.stored.retain(|(_, digest)| there(*digest));
        self.check_at = (2 * self.stored.len()).max(STORED);
    }

    pub fn saved_to(&mut self, end: usize) {
        if end > self.saved() {
            self.saved.push(end);
        }
        self.given = self.given.max(end);
        // The last one goes on into the next segment.
        let keep = self.runs.iter().rposition(|r| r.start < end).unwrap_or(0);
        self.runs.drain(..keep);
    }
}

/// Ends a run at `end`. A batch that is cut in its middle is no batch that can be had again.
fn clip(run: &mut TokenRun, end: usize) {
    if run.end <= end {
        return;
    }
    if end < run.prompt && !(end - run.start).is_multiple_of(run.batch.max(1)) {
        run.batch = 0;
    }
    run.prompt = run.prompt.min(end);
    run.end = end;
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::sync::Arc;

    proptest! {
        #[test]
        fn digests_and_bounds_follow_any_order_of_pushes_cuts_and_marks(
            steps in proptest::collection::vec((0usize..4, 0usize..60), 1..40)
        ) {
            let model = Digest::of(b"m");
            let mut held = Resident::new(model, 64);
            let mut plain: Vec<Token> = Vec::new();
            for (i, (what, n)) in steps.into_iter().enumerate() {
                match what {
                    0 => {
                        let new: Vec<Token> = (0..n).map(|k| Token((i * 100 + k) as i32)).collect();
                        held.push(&new);
                        plain.extend(new);
                    }
                    1 => { held.cut(n); plain.truncate(n); }
                    2 => {
                        held.mark();
                        let at = held.len();
                        held.keep(Snapshot { at, bytes: Arc::new(vec![0; 16]), row: None });
                    }
                    _ => { let at = n.min(held.len()); held.saved_to(at); }
                }
                prop_assert_eq!(held.tokens(), &plain[..]);
                for p in [0, plain.len() / 2, plain.len()] {
                    let mut fresh = RunningDigest::new(model);
                    fresh.extend(&plain[..p]);
                    prop_assert_eq!(held.digest(p), fresh.digest());
                }
                prop_assert!(held.saved() <= held.len());
                prop_assert!(held.snapshots().all(|s| s.at <= held.len()));
                prop_assert!(held.snapshots().count() <= 4);
            }
        }
    }
}
