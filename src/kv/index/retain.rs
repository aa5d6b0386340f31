//! Decides which of an owner's older snapshots stay on disk. `index::states` asks at each put of a
//! snapshot with the role `Turn`. (Older snapshots with the role `Step` never stay, and nothing is asked
//! about them.) The functions here compute only from their arguments.
//!
//! The rule compares distances: the distance of a snapshot is the number of tokens from it to the new
//! snapshot. The nearest older snapshot stays. After that, go from near to far; let A be the last snapshot
//! that stays, B the next one, and C the one after B. If no snapshot comes after B, then C is the frozen
//! head's snapshot, or position 0 if that snapshot is not stored. B is removed if C is at most twice as
//! far away as A.
//!
//! Example: the new snapshot is at position 1,000, no frozen head's snapshot is stored, and a turn has
//! ended every 100 tokens. The older snapshots have the distances 100, 200, … 900. 100 stays. 200 stays,
//! because the next one, 300, is more than 2 × 100. 300 is removed, because 400 is not more than 2 × 200.
//! 400 stays, because 500 is more than 2 × 200. 500, 600 and 700 are removed, because the next ones are
//! not more than 2 × 400. 800 stays, because 900 is more than 2 × 400. 900 is removed, because position 0,
//! at the distance 1,000, is not more than 2 × 800. Left are 100, 200, 400 and 800.
//!
//! Invariants that follow from the rule, as long as its factor is 2 (see [`retained`]):
//! - Going back to the end of a turn x tokens ago evaluates at most x tokens again. In the example, the
//!   turn at distance 300 is reached from the snapshot at distance 400, by evaluating 100 tokens.
//! - For every d, at most two snapshots have a distance from d to 2d, so the number of snapshots grows
//!   with the logarithm of the conversation's length.
//! - A decision stays right when the conversation grows: n new tokens add n to every distance, and C + n
//!   is at most 2 × (A + n) if C is at most 2 × A.

/// A snapshot of the owner other than the new one.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(in crate::kv) struct Older {
    /// Its position, in tokens.
    pub(in crate::kv) at: usize,
    /// The length of its record file in bytes.
    pub(in crate::kv) bytes: u64,
    /// True when the conversation of the new snapshot contains this one. False when the messages before
    /// this snapshot were taken back (undo, retry, edit).
    pub(in crate::kv) on_way: bool,
}

/// The conversation at its new snapshot.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(in crate::kv) struct Now {
    /// The position of the new snapshot, in tokens.
    pub(in crate::kv) at: usize,
    /// The length of the new snapshot's record file in bytes.
    pub(in crate::kv) bytes: u64,
    /// The position of the frozen head's snapshot, and the length of its file in bytes; 0 and 0 if there
    /// is none.
    pub(in crate::kv) head: (usize, u64),
    /// The bytes of stored KV up to the new snapshot. `None` if the model keeps no KV by position; then
    /// the bytes of snapshots are not limited here.
    pub(in crate::kv) kv_bytes: Option<u64>,
}

impl Now {
    /// Whether older snapshots of `bytes` bytes are at most a quarter of what the conversation has on
    /// disk: their bytes, times 3, are at most the bytes of everything else.
    fn has_room(&self, bytes: u64) -> bool {
        self.kv_bytes.is_none_or(|kv| {
            let rest = kv.saturating_add(self.bytes).saturating_add(self.head.1);
            bytes.saturating_mul(3) <= rest
        })
    }
}

/// The factor 2 in the rule is doubled until the remaining snapshots fit into the quarter. When the
/// factor reaches this value, no older snapshot stays.
const MOST_RATIO: usize = 1 << 32;

/// For each snapshot of `older`, in the order in which they were put, whether it stays.
///
/// Of the snapshots whose messages were taken back, the one that was put last stays while there is space,
/// so that these messages can be restored. If the kept snapshots take more than the quarter, that one is
/// removed first. Then the factor 2 in the rule becomes 4, 8, and so on, until the kept snapshots fit; at
/// last also the nearest one is removed.
pub(in crate::kv) fn retained(now: &Now, older: &[Older]) -> Vec<bool> {
    let mut way: Vec<usize> = (0..older.len())
        .filter(|i| older[*i].on_way && older[*i].at < now.at && older[*i].at > now.head.0)
        .collect();
    way.sort_by_key(|i| std::cmp::Reverse(older[*i].at));
    let aside = older.iter().rposition(|o| !o.on_way);
    let sum = |kept: &[usize]| kept.iter().map(|i| older[*i].bytes).sum::<u64>();

    let mut ratio = 2;
    let mut kept = thinned(now, older, &way, ratio);
    kept.extend(aside);
    if !now.has_room(sum(&kept)) && aside.is_some() {
        kept.pop();
    }
    while !now.has_room(sum(&kept)) {
        ratio *= 2;
        kept = match ratio {
            MOST_RATIO.. => Vec::new(),
            _ => thinned(now, older, &way, ratio),
        };
    }
    let mut stays = vec![false; older.len()];
    for i in kept {
        stays[i] = true;
    }
    stays
}

/// The snapshots of `way` (the nearest first) that stay under the rule with the factor `ratio`.
fn thinned(now: &Now, older: &[Older], way: &[usize], ratio: usize) -> Vec<usize> {
    let back = |i: usize| now.at - older[i].at;
    let end = now.at.saturating_sub(now.head.0);
    let mut kept: Vec<usize> = Vec::new();
    for (n, i) in way.iter().enumerate() {
        let behind = way.get(n + 1).map_or(end, |next| back(*next));
        let stays = kept
            .last()
            .is_none_or(|before| behind > back(*before).saturating_mul(ratio));
        if stays {
            kept.push(*i);
        }
    }
    kept
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const EQUAL: u64 = 1000;

    fn now(at: usize, kv_bytes: Option<u64>) -> Now {
        Now {
            at,
            bytes: EQUAL,
            head: (10, EQUAL),
            kv_bytes,
        }
    }

    /// A conversation whose turns end at the positions `ends`: the positions of the snapshots that are
    /// kept after each turn.
    fn live(ends: &[usize], kv_per_token: Option<u64>) -> Vec<Vec<usize>> {
        let mut kept: Vec<usize> = Vec::new();
        let mut seen = Vec::new();
        for at in ends {
            let older: Vec<Older> = kept
                .iter()
                .map(|at| Older {
                    at: *at,
                    bytes: EQUAL,
                    on_way: true,
                })
                .collect();
            let now = now(*at, kv_per_token.map(|n| n * *at as u64));
            let mut stays = retained(&now, &older).into_iter();
            kept.retain(|_| stays.next() == Some(true));
            seen.push(kept.clone());
            kept.push(*at);
        }
        seen
    }

    #[test]
    fn turns_of_equal_length_leave_one_snapshot_at_each_doubling() {
        let ends: Vec<usize> = (1..=32).map(|turn| 10 + 100 * turn).collect();
        let back = |kept: &[usize]| -> Vec<usize> {
            kept.iter().rev().map(|at| (3210 - at) / 100).collect()
        };
        let seen = live(&ends, None);
        assert_eq!(back(&seen[31]), [1, 2, 4, 8, 16]);
        assert_eq!(seen[0], [0; 0]);
        assert_eq!(seen[2], [110, 210]);
    }

    #[test]
    fn without_room_the_other_way_goes_first_then_the_farther_ones_then_the_nearest() {
        let older: Vec<Older> = [(100, true), (300, false), (600, true), (900, true)]
            .map(|(at, on_way)| Older {
                at,
                bytes: EQUAL,
                on_way,
            })
            .to_vec();
        let stays = |kv| retained(&now(1000, kv), &older);
        assert_eq!(stays(None), [true, true, true, true]);
        assert_eq!(stays(Some(10 * EQUAL)), [true, true, true, true]);
        assert_eq!(stays(Some(10 * EQUAL - 1)), [true, false, true, true]);
        assert_eq!(stays(Some(7 * EQUAL - 1)), [false, false, true, true]);
        assert_eq!(stays(Some(4 * EQUAL - 1)), [false, false, false, true]);
        assert_eq!(stays(Some(EQUAL)), [false, false, false, true]);
        assert_eq!(stays(Some(EQUAL - 1)), [false; 4]);
    }

    proptest! {
        /// For turns of any lengths.
        #[test]
        fn going_back_costs_at_most_the_way_and_the_number_is_bounded_by_doublings(
            turns in proptest::collection::vec(1usize..3000, 1..120)
        ) {
            let mut at = 10;
            let ends: Vec<usize> = turns.iter().map(|n| { at += n; at }).collect();
            for (n, kept) in live(&ends, None).into_iter().enumerate() {
                let head = ends[n];
                for goal in &ends[..n] {
                    // The way back begins at the last kept snapshot up to the goal; the frozen head is at
                    // 10.
                    let from = kept.iter().filter(|k| *k <= goal).max().copied().unwrap_or(10);
                    prop_assert!(goal - from <= head - goal, "{head}: to {goal} from {from} {kept:?}");
                }
                let doublings = usize::BITS - (head - 10).leading_zeros();
                prop_assert!(kept.len() <= 2 * doublings as usize, "{head}: {kept:?}");
                if n > 0 {
                    prop_assert_eq!(kept.last(), Some(&ends[n - 1]), "the turn before stays");
                }
            }
        }

        /// For any older snapshots: the kept ones take at most a quarter, at most one of them belongs to
        /// messages that were taken back, and the same decision about the kept ones keeps all of them.
        #[test]
        fn what_stays_has_room_and_stays_when_asked_again(
            older in proptest::collection::vec((0usize..5000, 1u64..5000, any::<bool>()), 0..40),
            at in 1usize..6000,
            kv in proptest::option::of(0u64..200_000),
        ) {
            let older: Vec<Older> = older
                .into_iter()
                .map(|(at, bytes, on_way)| Older { at, bytes, on_way })
                .collect();
            let now = now(at.max(11), kv);
            let stays = retained(&now, &older);
            let kept: Vec<Older> = older
                .iter()
                .zip(&stays)
                .filter_map(|(o, stays)| stays.then_some(*o))
                .collect();
            let bytes: u64 = kept.iter().map(|o| o.bytes).sum();
            if let Some(kv) = kv {
                prop_assert!(bytes * 4 <= kv + now.bytes + now.head.1 + bytes);
            }
            prop_assert!(kept.iter().filter(|o| !o.on_way).count() <= 1);
            prop_assert!(retained(&now, &kept).iter().all(|stays| *stays));
        }
    }
}
