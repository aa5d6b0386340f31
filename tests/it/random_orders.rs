//! Any order of appends, cancels, rewinds, forks and restarts leaves the slot with exactly the
//! tokens that a plain list says, honest receipts, and the logits of a full evaluation of that list.

use std::cell::Cell;

use npast::ledger::{Token, common_prefix};
use npast::slot::{Cause, Outcome};
use proptest::prelude::*;
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};

use crate::history::{History, distance};
use crate::model::{Class, SWA_WINDOW};
use crate::rig::{Rig, Rows, Settings, Stop, UBATCH, tokens};

#[derive(Clone, Debug)]
enum Op {
    /// A message of so many tokens and a reply.
    Append(usize, usize),
    /// A message, cancelled in its prefill after so many tokens, or a little later.
    CancelPrompt(usize, usize),
    /// A message, cancelled in its reply.
    CancelReply(usize, usize),
    /// The last message again, as a user does after a cancel.
    Resend,
    /// The first so many thousandths of what is held, and nothing sampled.
    Rewind(usize),
    /// The same, and another message after them.
    Edit(usize, usize),
    /// What is held, sampled again from its last token.
    Again(usize),
    /// Side work after the conversation or on its own.
    Fork(bool, usize, usize),
    /// Everything reaches the disk.
    Save,
    /// Another process, which restores what was held.
    Restart,
    /// Another process, which restores while a message is appended.
    RestartAppend(usize, usize),
    /// The other conversation has the slot from now on.
    Switch,
}

fn op(sessions: usize) -> BoxedStrategy<Op> {
    let n = 1usize..180;
    let reply = 1usize..12;
    prop_oneof![
        4 => (n.clone(), reply.clone()).prop_map(|(n, r)| Op::Append(n, r)),
        2 => (33usize..400, 0usize..300).prop_map(|(n, at)| Op::CancelPrompt(n, at)),
        2 => (n.clone(), 0usize..9).prop_map(|(n, at)| Op::CancelReply(n, at)),
        2 => Just(Op::Resend),
        2 => (0usize..=1000).prop_map(Op::Rewind),
        2 => (900usize..=1000).prop_map(Op::Rewind),
        2 => (0usize..=1000, n.clone()).prop_map(|(at, n)| Op::Edit(at, n)),
        2 => reply.clone().prop_map(Op::Again),
        2 => (any::<bool>(), n.clone(), reply.clone()).prop_map(|(a, n, r)| Op::Fork(a, n, r)),
        1 => Just(Op::Save),
        2 => Just(Op::Restart),
        2 => (n, reply).prop_map(|(n, r)| Op::RestartAppend(n, r)),
        // With one conversation this is a restore of what is held: it changes nothing.
        (if sessions > 1 { 6 } else { 1 }) => Just(Op::Switch),
    ]
    .boxed()
}

/// A conversation as its user knows it.
#[derive(Clone)]
struct Session {
    owner: &'static str,
    history: History,
    /// The sampled token that was not decoded.
    pending: Option<Token>,
    last: Vec<Token>,
    /// What it held before.
    past: Vec<History>,
}

struct Drive {
    rig: Option<Rig>,
    sessions: Vec<Session>,
    here: usize,
    seed: u64,
}

impl Drive {
    fn new_tokens(&mut self, n: usize) -> Vec<Token> {
        self.seed += 1;
        tokens(self.seed, n)
    }

    fn rig(&mut self) -> &mut Rig {
        self.rig.as_mut().expect("a rig")
    }

    /// The ledger: what is held, and the pending token.
    fn ledger(&self) -> Vec<Token> {
        let session = &self.sessions[self.here];
        let mut ledger = session.history.list.clone();
        ledger.extend(session.pending);
        ledger
    }

    /// One call, held against the model and against the law of receipts.
    fn call(&mut self, target: &[Token], reply: Option<&[Token]>, stop: Stop) -> (Outcome, Rows) {
        let owner = self.sessions[self.here].owner;
        let before = self.rig().held();
        let (outcome, rows) = self.rig().ask(owner, target, reply, stop);
        let outcome = outcome.expect("a call");
        assert!(outcome.error.is_none(), "{outcome:?}");
        let start = outcome.kept + outcome.restored;
        let reached = start + outcome.evaluated;
        // Tokens that were evaluated once before keep the bytes they have in the store: no fresh
        // evaluation has these boundaries.
        let pasts = self.sessions.iter().flat_map(|s| &s.past);
        let known = pasts.map(|h| common_prefix(&h.list, &target[..reached.min(target.len())]));
        let again = known.max().is_some_and(|known| known > start);
        let session = &mut self.sessions[self.here];
        session.last = target.to_vec();
        assert!(reached <= target.len());
        assert!(outcome.kept <= common_prefix(&before, target));
        let on_grid = outcome.evaluated % UBATCH == 0;
        assert!(reached == target.len() || on_grid, "{outcome:?}");
        match &outcome.miss {
            None => assert!(outcome.evaluated <= outcome.appended, "{outcome:?}"),
            Some(miss) => {
                assert!(outcome.evaluated > outcome.appended, "{outcome:?}");
                // Nothing was damaged, so no restore may fail.
                let failed = matches!(miss.cause, Cause::Refused(_) | Cause::Lost);
                assert!(!failed, "{outcome:?}");
                assert!((start..reached).contains(&miss.at), "{outcome:?}");
                if let Cause::Differs { had, got } | Cause::NoState { had, got, .. } = miss.cause {
                    assert_eq!((had, got), (before[miss.at], target[miss.at]));
                }
            }
        }
        if start > common_prefix(&session.history.list, target) {
            // From the disk comes what this conversation held once, before it was rewound.
            let past = session.past.iter().rev();
            let mut known = past.filter(|h| h.list.starts_with(&target[..start]));
            session.history = known.next().expect("it was evaluated once").clone();
            session.history.forget_boundaries();
        }
        session.history.follow(target, &outcome, UBATCH);
        if again {
            session.history.forget_boundaries();
        }
        session.past.push(session.history.clone());
        session.pending = outcome
            .tokens
            .last()
            .copied()
            .filter(|_| outcome.pending == 1);
        let (list, context) = (session.history.list.clone(), outcome.context());
        assert_eq!(self.rig().held(), list);
        assert_eq!(context, list.len());
        assert!(outcome.mark.len() == list.len());
        (outcome, rows)
    }

    fn append(&mut self, n: usize, reply: usize, stop: Stop) {
        let target = [self.ledger(), self.new_tokens(n)].concat();
        let reply = self.new_tokens(reply);
        self.call(&target, Some(&reply), stop);
    }

    fn restart(&mut self) {
        let rig = self.rig.take().expect("a rig");
        self.rig = Some(rig.restart());
        assert!(self.rig().held().is_empty());
    }

    fn prefix(&self, thousandths: usize) -> Vec<Token> {
        let history = &self.sessions[self.here].history;
        let len = history.list.len() * thousandths / 1000;
        // Most cuts are where a batch ended, so that the end can be compared bit for bit.
        let len = match thousandths % 4 {
            1 => len,
            _ => history.boundary(len, UBATCH),
        };
        history.list[..len].to_vec()
    }

    fn step(&mut self, op: &Op) {
        let empty = self.sessions[self.here].history.list.is_empty();
        match *op {
            Op::Append(n, reply) => self.append(n, reply, Stop::Never),
            Op::CancelPrompt(n, at) => self.append(n, 5, Stop::Prompt(at)),
            Op::CancelReply(n, at) => self.append(n, 12, Stop::Row(at)),
            Op::Resend => {
                let last = self.sessions[self.here].last.clone();
                let reply = self.new_tokens(3);
                if !last.is_empty() {
                    self.call(&last, Some(&reply), Stop::Never);
                }
            }
            Op::Rewind(at) => {
                let target = self.prefix(at);
                self.call(&target, None, Stop::Never);
            }
            Op::Edit(at, n) => {
                let target = [self.prefix(at), self.new_tokens(n)].concat();
                self.call(&target, Some(&[Token(7), Token(8)]), Stop::Never);
            }
            Op::Again(reply) if !empty => {
                let target = self.prefix(1000);
                let reply = self.new_tokens(reply);
                self.call(&target, Some(&reply), Stop::Never);
            }
            Op::Again(_) => {}
            Op::Fork(after, n, reply) => {
                let (prompt, reply) = (self.new_tokens(n), self.new_tokens(reply));
                let before = (self.rig().held(), self.rig().handle().row().expect("a row"));
                let base = self.rig().base(after);
                let (outcome, _) = self.rig().fork(base, &prompt, &reply);
                assert!(outcome.error.is_none(), "{outcome:?}");
                assert_eq!((outcome.evaluated, outcome.tokens), (n, reply));
                let after = (self.rig().held(), self.rig().handle().row().expect("a row"));
                assert!(before == after);
            }
            Op::Save => self.rig().store().flush().expect("a flush"),
            Op::Restart => {
                self.restart();
                let target = self.prefix(1000);
                let (outcome, _) = self.call(&target, None, Stop::Never);
                let all = (0, target.len(), 0);
                assert_eq!((outcome.kept, outcome.restored, outcome.evaluated), all);
            }
            Op::RestartAppend(n, reply) => {
                self.restart();
                let held = self.prefix(1000).len();
                let target = [self.ledger(), self.new_tokens(n)].concat();
                let reply = self.new_tokens(reply);
                let (outcome, _) = self.call(&target, Some(&reply), Stop::Never);
                assert_eq!((outcome.kept, outcome.restored), (0, held));
                assert_eq!(outcome.evaluated, outcome.appended);
            }
            Op::Switch => {
                self.here = (self.here + 1) % self.sessions.len();
                let target = self.ledger();
                let held = self.prefix(1000).len();
                let (outcome, _) = self.call(&target, None, Stop::Never);
                // What it held when it was left is in the slot or on disk.
                assert_eq!(outcome.kept + outcome.restored, held, "{outcome:?}");
            }
        }
    }

    /// The logits of one more append, against full evaluations of the same list. True when they
    /// were compared bit for bit.
    fn end(mut self) -> bool {
        let probe = tokens(999_983, 40);
        let reply = tokens(999_979, 8);
        let session = self.sessions[self.here].clone();
        let class = self.rig().class;
        let target = [self.ledger(), probe].concat();
        let (_, seen) = self.call(&target, Some(&reply), Stop::Never);
        assert_eq!(seen.len(), reply.len());
        if session.history.is_even() {
            let mut fresh = Rig::with(class, None, settings(UBATCH));
            session.history.replay(&mut fresh);
            let (_, rows) = fresh.say(&target, &reply);
            assert!(rows == seen, "{}", distance(&rows, &seen));
            return true;
        }
        let full = [512, 128, 1].map(|ubatch| {
            let mut fresh = Rig::with(class, None, settings(ubatch));
            fresh.say(&target, &reply).1
        });
        let apart = [(0, 1), (0, 2), (1, 2)].map(|(a, b)| distance(&full[a], &full[b]));
        let bound = 4.0 * apart.into_iter().fold(0.0, f32::max);
        let far = distance(&full[2], &seen);
        assert!(far <= bound, "{far} where {bound} is allowed");
        false
    }
}

fn settings(ubatch: usize) -> Settings {
    Settings {
        ubatch,
        ..Settings::default()
    }
}

/// Cases per class; NPAST_CASES raises it.
fn cases() -> u32 {
    let set = std::env::var("NPAST_CASES").ok();
    set.and_then(|n| n.parse().ok()).unwrap_or(12)
}

fn any_order(class: Class, sessions: usize) {
    let config = Config {
        cases: cases(),
        failure_persistence: None,
        max_shrink_iters: 40,
        ..Config::default()
    };
    let seed = [class as u8 + 16 * sessions as u8; 32];
    let rng = TestRng::from_seed(RngAlgorithm::ChaCha, &seed);
    let mut runner = TestRunner::new_with_rng(config, rng);
    let orders = (
        2 * SWA_WINDOW as usize + UBATCH + 300..500,
        0usize..450,
        proptest::collection::vec(op(sessions), 3..10),
    );
    let exact = Cell::new(0);
    let ran = runner.run(&orders, |(first, common, ops)| {
        let home = tempfile::tempdir().expect("a folder");
        let session = |owner| Session {
            owner,
            history: History::default(),
            pending: None,
            last: Vec::new(),
            past: Vec::new(),
        };
        let mut drive = Drive {
            rig: Some(Rig::with(class, Some(home.path()), settings(UBATCH))),
            sessions: ["one", "two"][..sessions]
                .iter()
                .map(|o| session(o))
                .collect(),
            here: 0,
            seed: 100,
        };
        drive.append(first, 3, Stop::Never);
        if sessions == 2 {
            // The second conversation begins like the first one.
            let shared = drive.sessions[0].history.list.clone();
            drive.here = 1;
            drive.sessions[1].history = drive.sessions[0].history.clone();
            drive.sessions[1].history.forget_boundaries();
            let start = &shared[..common.min(shared.len())];
            let target = [start, &tokens(55, 90)].concat();
            drive.call(&target, Some(&tokens(56, 4)), Stop::Never);
        }
        for op in &ops {
            drive.step(op);
        }
        exact.set(exact.get() + u32::from(drive.end()));
        Ok(())
    });
    if let Err(error) = ran {
        panic!("{class:?}: {error}");
    }
    assert!(
        sessions == 2 || exact.get() > 0,
        "no order was compared bit for bit"
    );
    println!("{class:?}: {} of {} bit for bit", exact.get(), cases());
}

#[test]
fn any_order_on_dense_is_the_list_and_its_full_evaluation() {
    any_order(Class::Dense, 1);
}

#[test]
fn any_order_on_swa_is_the_list_and_its_full_evaluation() {
    any_order(Class::Swa, 1);
}

#[test]
fn any_order_on_hybrid_is_the_list_and_its_full_evaluation() {
    any_order(Class::Hybrid, 1);
}

#[test]
fn any_order_on_recurrent_is_the_list_and_its_full_evaluation() {
    any_order(Class::Recurrent, 1);
}

#[test]
fn any_order_of_two_conversations_on_one_slot_is_each_ones_list_on_every_class() {
    for class in Class::ALL {
        any_order(class, 2);
    }
}
