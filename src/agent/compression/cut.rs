//! What of a conversation stays when it is compressed. Pure: from who speaks and how many tokens each
//! message has to what is kept in place, what is summarized and what is kept word for word.
//!
//! The rules: the frozen head stays; the first exchange stays until the first compression; of the rest
//! the last turns stay as far as a budget of tokens goes, and at least the last user message. A cut is
//! never between a call and its result: what follows it begins with a user message, or with a reply that
//! the last user message is put before.

/// Whose message it is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(in crate::agent) enum Who {
    /// The user.
    User,
    /// The model, with so many calls.
    Reply {
        /// Calls in it.
        calls: usize,
    },
    /// The result of a call.
    Result,
}

impl Who {
    fn is_reply(self) -> bool {
        matches!(self, Who::Reply { .. })
    }
}

/// One message.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(in crate::agent) struct CutMessage {
    /// Whose message it is.
    pub who: Who,
    /// Tokens of it and of what the template writes around it.
    pub tokens: usize,
}

/// What a cut goes by.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(in crate::agent) struct CutWish {
    /// Messages at the beginning that are an earlier summary: it is replaced.
    pub summary: usize,
    /// Most tokens of a first exchange that is kept; 0 keeps none.
    pub first: usize,
    /// Most tokens of the last turns.
    pub tail: usize,
    /// A user message that has no reply yet follows: the caller keeps it.
    pub user_follows: bool,
    /// Results of the last reply's calls follow.
    pub results_follow: bool,
}

/// A cut: of `n` messages `..first` stay where they are, `first..tail` are summarized, and after the
/// summary come `user`, if there is one, and `tail..`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(in crate::agent) struct Division {
    /// The first exchange.
    pub first: usize,
    /// The last user message, where it would be among what is summarized.
    pub user: Option<usize>,
    /// Where the last turns begin; `n` where nothing of them is kept.
    pub tail: usize,
}

impl Division {
    /// Tokens that are kept of these messages.
    pub fn tokens(&self, items: &[CutMessage]) -> usize {
        let sum = |items: &[CutMessage]| items.iter().map(|i| i.tokens).sum::<usize>();
        sum(&items[..self.first])
            + self.user.map_or(0, |u| items[u].tokens)
            + sum(&items[self.tail..])
    }
}

/// Cuts messages of which the last is a reply. `None` where nothing would be summarized.
pub(in crate::agent) fn cut(items: &[CutMessage], wish: &CutWish) -> Option<Division> {
    let n = items.len();
    let first = match wish.summary {
        0 => first_exchange(items, wish.first),
        _ => 0,
    };
    // What stands before it is never kept word for word.
    let from = first.max(wish.summary);
    let turn = (from..n).rev().find(|i| begins_turn(items, *i));
    // The user message that the last replies answer.
    let asked = (from..n).rev().find(|i| items[*i].who == Who::User);
    let begins = |i: &usize| {
        begins_turn(items, *i) || (items[*i].who.is_reply() && turn.is_none_or(|t| *i > t))
    };
    let of = |tail: usize| Division {
        first,
        // One that stands behind the cut is kept there.
        user: asked.filter(|u| *u < tail && !(tail == n && wish.user_follows)),
        tail,
    };
    let fits = |cut: &Division| {
        let first: usize = items[..cut.first].iter().map(|i| i.tokens).sum();
        cut.tokens(items) - first <= wish.tail
    };
    let kept = (from..n).filter(begins).map(of).find(fits);
    let kept = kept.unwrap_or_else(|| {
        of(match wish.results_follow {
            // Their call stays with them, whatever it takes.
            true => n.saturating_sub(1),
            false => n,
        })
    });
    (kept.tail > from).then_some(kept)
}

/// Where the first exchange ends: behind the first reply that has no calls. 0 where it is longer than
/// `most` tokens, or is all there is.
fn first_exchange(items: &[CutMessage], most: usize) -> usize {
    let end = items.iter().position(|i| i.who == Who::Reply { calls: 0 });
    let end = end.map_or(0, |at| at + 1);
    let tokens: usize = items[..end].iter().map(|i| i.tokens).sum();
    let spoken = items.first().is_some_and(|i| i.who == Who::User);
    match spoken && tokens <= most && end < items.len() {
        true => end,
        false => 0,
    }
}

/// Whether a turn begins here: at the first of the user messages between two replies.
fn begins_turn(items: &[CutMessage], i: usize) -> bool {
    items[i].who == Who::User && (i == 0 || items[i - 1].who != Who::User)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn item(letter: char, tokens: usize) -> CutMessage {
        let who = match letter {
            'u' => Who::User,
            'r' => Who::Result,
            'a' => Who::Reply { calls: 0 },
            calls => Who::Reply {
                calls: calls.to_digit(10).unwrap() as usize,
            },
        };
        CutMessage { who, tokens }
    }

    /// Messages of ten tokens: `u` a user, `a` a reply, `1` and `2` replies with calls, `r` a result.
    fn items(letters: &str) -> Vec<CutMessage> {
        letters.chars().map(|letter| item(letter, 10)).collect()
    }

    const WISH: CutWish = CutWish {
        summary: 0,
        first: 20,
        tail: 40,
        user_follows: false,
        results_follow: false,
    };

    /// First exchange, user message and tail of a cut, as places.
    fn places(letters: &str, wish: CutWish) -> Option<(usize, Option<usize>, usize)> {
        cut(&items(letters), &wish).map(|cut| (cut.first, cut.user, cut.tail))
    }

    #[test]
    fn the_first_exchange_and_the_last_turns_stay() {
        let table = [
            // Two turns fit into 40 tokens.
            ("uauauaua", Some((2, None, 4))),
            // Nothing is left between them.
            ("uauaua", None),
            ("ua", None),
            ("", None),
            // A turn of several steps is cut before a reply, and the user's message is kept.
            ("uauau1r1r1ra", Some((2, Some(4), 9))),
            ("uauau1r2rra", Some((2, Some(4), 10))),
            // A message that was said beside results begins what is kept.
            ("uauau1rua", Some((2, None, 7))),
            ("uau1rau1rua", Some((2, None, 9))),
        ];
        for (letters, want) in table {
            assert_eq!(places(letters, WISH), want, "{letters}");
        }
    }

    #[test]
    fn an_earlier_summary_is_replaced_and_takes_the_first_exchange_with_it() {
        let wish = CutWish { summary: 2, ..WISH };
        assert_eq!(places("uauauaua", wish), Some((0, None, 4)));
        // Nothing but the summary and what is kept anyway.
        assert_eq!(places("uauaua", wish), None);
    }

    #[test]
    fn calls_whose_results_are_to_come_stay_however_long_they_are() {
        let wish = CutWish {
            tail: 5,
            results_follow: true,
            ..WISH
        };
        assert_eq!(places("uauau1r2", wish), Some((2, Some(4), 7)));
        let wish = CutWish {
            results_follow: false,
            ..wish
        };
        assert_eq!(places("uauau1ra", wish), Some((2, Some(4), 8)));
        let wish = CutWish {
            user_follows: true,
            ..wish
        };
        assert_eq!(places("uauau1ra", wish), Some((2, None, 8)));
    }

    /// A conversation: turns of user messages, replies with calls, their results, what the user said
    /// beside them, and perhaps calls at the end that have no results yet.
    fn conversations() -> impl Strategy<Value = (Vec<CutMessage>, bool)> {
        let step = (1usize..4, any::<bool>(), 1usize..50);
        let turn = (1usize..3, proptest::collection::vec(step, 0..4), 1usize..50);
        (proptest::collection::vec(turn, 1..8), any::<bool>()).prop_map(|(turns, open)| {
            let mut items = Vec::new();
            for (users, steps, tokens) in turns {
                items.extend((0..users).map(|_| CutMessage {
                    who: Who::User,
                    tokens,
                }));
                for (calls, steered, tokens) in steps {
                    items.push(CutMessage {
                        who: Who::Reply { calls },
                        tokens,
                    });
                    items.extend((0..calls).map(|_| CutMessage {
                        who: Who::Result,
                        tokens,
                    }));
                    if steered {
                        items.push(CutMessage {
                            who: Who::User,
                            tokens,
                        });
                    }
                }
                items.push(CutMessage {
                    who: Who::Reply { calls: 0 },
                    tokens,
                });
            }
            if open {
                items.push(CutMessage {
                    who: Who::User,
                    tokens: 3,
                });
                items.push(CutMessage {
                    who: Who::Reply { calls: 2 },
                    tokens: 3,
                });
            }
            (items, open)
        })
    }

    /// What must hold of every cut; the first thing that does not.
    fn lawful(items: &[CutMessage], open: bool, wish: &CutWish) -> Result<(), String> {
        let Some(cut) = cut(items, wish) else {
            return Ok(());
        };
        let must = |holds: bool, what: &str| match holds {
            true => Ok(()),
            false => Err(format!("{what}: {cut:?} of {items:?} by {wish:?}")),
        };
        let n = items.len();
        must(cut.first <= cut.tail && cut.tail <= n, "places in order")?;
        must(
            cut.tail > cut.first.max(wish.summary),
            "something is summarized",
        )?;
        must(
            wish.summary == 0 || cut.first == 0,
            "a summary is not nested",
        )?;
        // What comes after the summary, as one row of messages.
        let mut after: Vec<CutMessage> = cut.user.map(|u| items[u]).into_iter().collect();
        after.extend(&items[cut.tail..]);
        for row in [&items[..cut.first], &after[..]] {
            let mut owed = 0;
            for (at, item) in row.iter().enumerate() {
                match item.who {
                    Who::Result => {
                        must(owed > 0, "a result has its call")?;
                        owed -= 1;
                    }
                    Who::User => must(owed == 0, "a call has its result")?,
                    Who::Reply { calls } => {
                        must(owed == 0, "a call has its result")?;
                        must(
                            at > 0 && !row[at - 1].who.is_reply(),
                            "a reply answers something",
                        )?;
                        owed = calls;
                    }
                }
            }
            let last = row.last() == items.last() && open && !row.is_empty();
            must(owed == 0 || last, "the last calls have their results")?;
        }
        // The last user message is there, or follows.
        let last = items.iter().rposition(|i| i.who == Who::User);
        let last = last.ok_or("no user")?;
        let kept = last < cut.first || cut.user == Some(last) || last >= cut.tail;
        must(
            kept || (cut.tail == n && wish.user_follows),
            "the last user message stays",
        )?;
        // No more than asked for, unless nothing less is whole.
        let tokens: usize = after.iter().map(|i| i.tokens).sum();
        must(
            tokens <= wish.tail || cut.tail == n || (open && cut.tail == n - 1),
            "the tail fits",
        )?;
        // More would not have fitted.
        let from = cut.first.max(wish.summary);
        let more = (from..cut.tail).rev().find(|i| begins_turn(items, *i));
        let more: Option<usize> = more.map(|more| items[more..].iter().map(|i| i.tokens).sum());
        must(more.is_none_or(|sum| sum > wish.tail), "no turn more fits")
    }

    /// Every order of at most `most` messages that a conversation can have: who may follow is what `next`
    /// says. A turn that was interrupted ends behind a user message, behind a reply, or behind results.
    fn orders(row: &mut Vec<Who>, owed: usize, most: usize, seen: &mut dyn FnMut(&[Who], bool)) {
        if let Some(Who::Reply { calls }) = row.last() {
            seen(row, *calls > 0);
        }
        if row.len() == most {
            return;
        }
        let replies = [0, 1, 2].map(|calls| Who::Reply { calls });
        let next: Vec<Who> = match row.last() {
            _ if owed > 0 => vec![Who::Result],
            None | Some(Who::Reply { .. }) => vec![Who::User],
            Some(Who::User | Who::Result) => [&[Who::User], &replies[..]].concat(),
        };
        for who in next {
            let owed = match who {
                Who::Reply { calls } => calls,
                Who::Result => owed - 1,
                Who::User => 0,
            };
            row.push(who);
            orders(row, owed, most, seen);
            row.pop();
        }
    }

    #[test]
    fn every_order_of_up_to_eleven_messages_is_cut_by_the_rules() {
        let (mut count, mut cuts) = (0, 0);
        orders(&mut Vec::new(), 0, 11, &mut |row, open| {
            count += 1;
            let items: Vec<CutMessage> = row
                .iter()
                .map(|who| CutMessage {
                    who: *who,
                    tokens: 10,
                })
                .collect();
            let begins = [Who::User, Who::Reply { calls: 0 }];
            let summaries: &[usize] = match row.starts_with(&begins) && row.len() > 2 {
                true => &[0, 2],
                false => &[0],
            };
            for summary in summaries {
                for (first, tail) in [(0, 0), (0, 25), (20, 10), (20, 45), (60, 30), (1000, 1000)] {
                    for user_follows in [false, true] {
                        let wish = CutWish {
                            summary: *summary,
                            first,
                            tail,
                            user_follows: user_follows && !open,
                            results_follow: open,
                        };
                        cuts += usize::from(cut(&items, &wish).is_some());
                        lawful(&items, open, &wish).unwrap();
                    }
                }
            }
        });
        assert!(count > 3000 && cuts > count, "{count} orders, {cuts} cuts");
    }

    proptest! {
        #[test]
        fn no_cut_parts_a_call_from_its_result_or_loses_the_last_user_message(
            (items, open) in conversations(),
            first in 0usize..120,
            tail in 0usize..400,
            summarized in any::<bool>(),
            user_follows in any::<bool>(),
        ) {
            let summary = match summarized && items.len() > 2 && items[0].who == Who::User
                && items[1].who == (Who::Reply { calls: 0 }) {
                true => 2,
                false => 0,
            };
            let wish = CutWish {
                summary, first, tail, user_follows: user_follows && !open, results_follow: open,
            };
            lawful(&items, open, &wish).map_err(TestCaseError::fail)?;
        }
    }
}
