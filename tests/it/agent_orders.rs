//! Random orders of what can happen to a session with tools (messages, calls, Ctrl-C, steering,
//! a crash between a call and its result, other processes): after each the template renders the
//! history, every decoded token is where it was, and the accounting law holds.

use std::cell::Cell;

use npast::agent::{Event, Input};
use npast::ledger::Finish;
use npast::session::{Db, MessageState};
use npast::tools::{Effect, Tool, ToolAnswer};
use proptest::prelude::*;

use crate::agent::{At, Bench, Worked, calls, says, setup, tool};
use crate::model::Class;
use crate::talk::greedy;
use crate::witness::{Reader, Stored, delete_kv};

#[derive(Clone, Debug)]
enum Step {
    /// A message, so many replies with calls, an answer.
    Say(Vec<Calls>),
    /// The same, and Ctrl-C at the n-th event.
    Cancel(Vec<Calls>, usize),
    /// The same, and lines said at the n-th event.
    Steer(Vec<Calls>, usize),
    /// The process ends behind a reply with three calls, of which so many have begun and so many
    /// of those have ended.
    Crash(usize, usize),
    /// The empty message.
    Open,
    /// Another process.
    Reopen,
    /// Another process that finds no KV.
    Delete,
}

/// Which tools a reply calls.
type Calls = Vec<&'static str>;

fn replies() -> impl Strategy<Value = Vec<Calls>> {
    let name = prop_oneof![Just("read"), Just("write"), Just("fail")];
    let reply = proptest::collection::vec(name, 1..4);
    proptest::collection::vec(reply, 0..4)
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => replies().prop_map(Step::Say),
        3 => (replies(), 1..25usize).prop_map(|(r, at)| Step::Cancel(r, at)),
        2 => (replies(), 1..25usize).prop_map(|(r, at)| Step::Steer(r, at)),
        2 => (0..4usize, 0..4usize).prop_map(|(begun, ended)| Step::Crash(begun, ended)),
        1 => Just(Step::Open),
        2 => Just(Step::Reopen),
        1 => Just(Step::Delete),
    ]
}

fn tools() -> Vec<Box<dyn Tool>> {
    vec![
        tool("read", Effect::Reads, |a, _| {
            ToolAnswer::good(format!("read {}", a["x"]))
        }),
        tool("write", Effect::Writes, |_, _| {
            ToolAnswer::good("written <|im_end|>\n")
        }),
        tool("fail", Effect::Runs, |_, _| ToolAnswer::bad("")),
    ]
}

struct Story {
    bench: Bench,
    reader: Reader,
    at: Option<At>,
    stored: Stored,
    lost: bool,
    withdrew: bool,
    said: usize,
}

impl Story {
    fn new(class: Class) -> Story {
        let mut bench = Bench::thinker(class);
        let setup = setup(tools());
        bench.desk.system = Some(setup.system);
        bench.desk.tools = Some(setup.tools);
        let at = Some(bench.open(&tools));
        Story {
            reader: Reader::of(&bench.desk),
            stored: Stored::of(&bench.desk, "work"),
            bench,
            at,
            lost: false,
            withdrew: false,
            said: 0,
        }
    }

    fn words(&mut self) -> Input {
        self.said += 1;
        Input::Text(format!("Message {}.", self.said))
    }

    fn lines(&self, replies: &[Calls]) -> Vec<String> {
        let mut lines: Vec<String> = Vec::new();
        for (i, reply) in replies.iter().enumerate() {
            let x = format!("{} {i}", self.said);
            let reply: Vec<_> = reply.iter().map(|name| (*name, x.as_str())).collect();
            lines.push(calls(&reply));
        }
        lines.push(says("Fine.\n"));
        lines
    }

    fn work(
        &mut self,
        input: Input,
        replies: &[Calls],
        on: &dyn Fn(&Event) -> bool,
    ) -> Option<Worked> {
        let lines = self.lines(replies);
        let at = self.at.as_mut().expect("a process");
        at.work_until(input, &lines, on).ok()
    }

    fn reopen(&mut self, between: impl FnOnce(&Bench)) {
        self.at.take().expect("a process").close();
        between(&self.bench);
        self.at = Some(self.bench.open(&tools));
    }

    fn apply(&mut self, step: &Step) -> Option<Worked> {
        let seen = Cell::new(0);
        let nth = |n: usize| {
            seen.set(seen.get() + 1);
            seen.get() == n
        };
        match step {
            Step::Say(replies) => {
                let words = self.words();
                let worked = self.work(words, replies, &|_| false);
                Some(worked.expect("a message can always be said"))
            }
            Step::Cancel(replies, n) => {
                let words = self.words();
                let worked = self.work(words, replies, &|_| nth(*n));
                let worked = worked.expect("a message can always be said");
                self.withdrew |= worked.end.as_ref().is_some_and(|e| e.withdrawn.is_some());
                Some(worked)
            }
            Step::Steer(replies, n) => {
                let words = self.words();
                let steering = self.at.as_ref().expect("a process").steering();
                let worked = self.work(words, replies, &|_| {
                    if nth(*n) {
                        steering.steer("Not there.");
                        steering.queue("Later.");
                    }
                    false
                });
                let steered = worked
                    .as_ref()
                    .is_some_and(|w| w.story.contains(&"said Not there.".to_owned()));
                // What the turn had no place for is not there for the next one.
                let left = steering.left();
                assert!(!(steered && left.is_some()), "said once");
                while steering.next().is_some() {}
                Some(worked.expect("a message can always be said"))
            }
            Step::Crash(begun, ended) => {
                let words = self.words();
                let three = calls(&[("read", "a"), ("write", "b"), ("fail", "c")]);
                let mut script =
                    npast::chat::ReplyScript::read(three.as_bytes()).expect("a script");
                let talk = &mut self.at.as_mut().expect("a process").talk;
                crate::talk::turn(talk, words, &greedy(400), Some(&mut script), &|_| false)
                    .expect("a turn");
                (self.lost, self.withdrew) = (false, false);
                self.reopen(|bench| mark(bench, (*begun).min(3), *ended));
                None
            }
            Step::Open => {
                let open = self
                    .stored
                    .messages
                    .last()
                    .is_some_and(|m| m.state == MessageState::Open);
                let worked = self.work(Input::Open, &[], &|_| false);
                assert_eq!(
                    worked.is_some(),
                    open,
                    "an open message is answered, nothing else is"
                );
                worked
            }
            Step::Reopen => {
                self.reopen(|_| ());
                None
            }
            Step::Delete => {
                self.reopen(|bench| delete_kv(&bench.desk.home));
                self.lost = true;
                None
            }
        }
    }

    fn check(&mut self, worked: Option<Worked>) {
        let now = Stored::of(&self.bench.desk, "work");
        let replied = self.stored.messages.iter().rfind(|m| m.role == "assistant");
        let fixed = replied.and_then(|m| m.span).map_or(0, |span| span.end - 1);
        assert!(now.ledger.starts_with(&self.stored.ledger[..fixed]));
        if !now.messages.is_empty() {
            self.reader.render(&now);
        }
        // No call is left without a result once nothing runs.
        let last = now.messages.last();
        assert!(last.is_none_or(|m| m.finish != Some(Finish::ToolCalls)));
        let talk = &self.at.as_ref().expect("a process").talk;
        assert_eq!(talk.info().context, now.ledger.len());
        if let Some(worked) = &worked {
            assert_eq!(worked.sums.len(), 1);
            assert_eq!(worked.sums[0].calls as usize, worked.receipts.len().max(1));
            for r in &worked.receipts {
                assert_eq!(r.context, r.prompt() + r.generated - r.pending);
                assert_eq!(r.miss.is_some(), r.evaluated > r.appended, "{r:?}");
                let at = r.miss.as_ref().map(|m| m.at);
                let known = self.lost || at.is_none_or(|at| self.withdrew && at >= fixed);
                assert!(known, "a miss that nobody caused: {r:?}");
                match r.generated {
                    // Of results that nobody answered the place was read where the reply would begin.
                    0 => self.withdrew = true,
                    _ => (self.lost, self.withdrew) = (false, false),
                }
            }
        }
        self.stored = now;
    }
}

/// What a process that died left in npast.db.
fn mark(bench: &Bench, begun: usize, ended: usize) {
    let stored = bench.desk.stored("work");
    let reply = stored.messages.last().expect("a reply").id;
    let mut db = Db::open(&bench.desk.home.join("npast.db")).expect("npast.db");
    let mut unit = db.begin(stored.session.id).expect("a unit");
    for at in 0..begun {
        unit.start_run(reply, at, ["reads", "writes", "runs"][at])
            .expect("a mark");
        if at < ended {
            unit.end_run(reply, at, true, "stored").expect("a result");
        }
    }
    unit.commit().expect("a commit");
}

fn tell(class: Class, steps: &[Step]) {
    let mut story = Story::new(class);
    for step in steps {
        let worked = story.apply(step);
        story.check(worked);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 5, max_shrink_iters: 40, ..ProptestConfig::default() })]

    #[test]
    fn any_order_of_work_keeps_the_laws_on_dense(steps in proptest::collection::vec(step(), 1..9)) {
        tell(Class::Dense, &steps);
    }

    #[test]
    fn any_order_of_work_keeps_the_laws_on_hybrid(steps in proptest::collection::vec(step(), 1..9)) {
        tell(Class::Hybrid, &steps);
    }

    #[test]
    fn any_order_of_work_keeps_the_laws_on_swa(steps in proptest::collection::vec(step(), 1..9)) {
        tell(Class::Swa, &steps);
    }

    #[test]
    fn any_order_of_work_keeps_the_laws_on_recurrent(steps in proptest::collection::vec(step(), 1..9)) {
        tell(Class::Recurrent, &steps);
    }
}
