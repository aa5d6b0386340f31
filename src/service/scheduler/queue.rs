//! Whose model call comes next: pure, so that fairness can be proven without a slot.

use crate::agent::Rank;

/// A waiting call that was passed over so often goes before the resident conversation's calls.
pub const MOST_PASSED: u32 = 4;

/// A call in the queue.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Ticket(u64);

struct Waiting {
    ticket: Ticket,
    owner: String,
    rank: Rank,
    /// How many calls of its rank went before it although they came later.
    passed: u32,
}

/// Calls that wait for the slot, in the order in which they came.
#[derive(Default)]
pub struct CallQueue {
    waiting: Vec<Waiting>,
    last: u64,
}

impl CallQueue {
    /// Adds a call of a conversation.
    pub fn join(&mut self, owner: &str, rank: Rank) -> Ticket {
        self.last += 1;
        let ticket = Ticket(self.last);
        self.waiting.push(Waiting {
            ticket,
            owner: owner.to_owned(),
            rank,
            passed: 0,
        });
        ticket
    }

    /// Takes a call out that waits no longer.
    pub fn leave(&mut self, ticket: Ticket) {
        self.waiting.retain(|one| one.ticket != ticket);
    }

    /// Whether a call waits.
    pub fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// How many wait.
    pub fn len(&self) -> usize {
        self.waiting.len()
    }

    /// The greatest rank that waits.
    pub fn urgency(&self) -> Option<Rank> {
        self.waiting.iter().map(|one| one.rank).max()
    }

    /// The call that comes next, where the slot holds the conversation `resident`: the greatest
    /// rank, of it the resident conversation's calls, for they need no switch, and of them the one
    /// that came first. A call that was passed over [`MOST_PASSED`] times comes before the resident
    /// conversation's.
    pub fn next(&self, resident: Option<&str>) -> Option<Ticket> {
        self.order(resident).first().copied()
    }

    /// How many calls come before this one now.
    pub fn place(&self, ticket: Ticket, resident: Option<&str>) -> usize {
        let order = self.order(resident);
        order.iter().position(|one| *one == ticket).unwrap_or(0)
    }

    /// Takes the next call out; those that came before it and have its rank were passed over.
    pub fn take(&mut self, resident: Option<&str>) -> Option<Ticket> {
        let next = self.next(resident)?;
        let at = self.waiting.iter().position(|one| one.ticket == next)?;
        let rank = self.waiting[at].rank;
        for one in &mut self.waiting[..at] {
            if one.rank == rank {
                one.passed += 1;
            }
        }
        self.waiting.remove(at);
        Some(next)
    }

    fn order(&self, resident: Option<&str>) -> Vec<Ticket> {
        let mut order: Vec<&Waiting> = self.waiting.iter().collect();
        order.sort_by_key(|one| {
            let due = one.passed >= MOST_PASSED;
            let here = resident == Some(one.owner.as_str());
            // Stable: those that are equal stay in the order in which they came.
            (std::cmp::Reverse(one.rank), !due, !due && !here)
        });
        order.into_iter().map(|one| one.ticket).collect()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_resident_conversation_comes_first_until_another_was_passed_over_four_times() {
        let mut queue = CallQueue::default();
        let other = queue.join("other", Rank::Interactive);
        let mut taken = Vec::new();
        for _ in 0..6 {
            let own = queue.join("here", Rank::Interactive);
            assert!(queue.place(own, Some("here")) <= 1);
            taken.push(queue.take(Some("here")) == Some(other));
        }
        assert_eq!(taken, [false, false, false, false, true, false]);
    }

    #[test]
    fn a_person_comes_before_side_work_and_that_before_idle_work() {
        let mut queue = CallQueue::default();
        let idle = queue.join("here", Rank::Idle);
        let side = queue.join("here", Rank::Side);
        let gone = queue.join("else", Rank::Interactive);
        let person = queue.join("else", Rank::Interactive);
        queue.leave(gone);
        assert_eq!(queue.urgency(), Some(Rank::Interactive));
        let order = std::iter::from_fn(|| queue.take(Some("here")));
        assert_eq!(order.collect::<Vec<_>>(), [person, side, idle]);
        assert!(queue.is_empty());
    }

    proptest! {
        /// However calls come and go, at most `MOST_PASSED` later calls of its rank go before one.
        #[test]
        fn nobody_of_the_greatest_rank_starves(steps in prop::collection::vec((0usize..4, any::<bool>()), 1..200)) {
            let mut queue = CallQueue::default();
            let mut resident: Option<String> = None;
            let mut waiting: Vec<(Ticket, String, usize)> = Vec::new();
            for (owner, take) in steps {
                let owner = format!("{owner}");
                if take {
                    let Some(next) = queue.take(resident.as_deref()) else { continue };
                    let at = waiting.iter().position(|(ticket, ..)| *ticket == next).unwrap();
                    let (_, taken, _) = waiting.remove(at);
                    resident = Some(taken);
                    for (_, _, later) in &mut waiting[..at] {
                        *later += 1;
                    }
                    for (.., later) in &waiting {
                        prop_assert!(*later <= MOST_PASSED as usize);
                    }
                } else {
                    waiting.push((queue.join(&owner, Rank::Interactive), owner, 0));
                }
            }
        }
    }
}
