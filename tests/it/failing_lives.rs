//! An agent's whole life on a database and a disk that fail at moments that nobody chose: messages, steps,
//! lines said meanwhile, Ctrl-C, retries, edits, undo, redo, forks, processes that end well or die.
//! After each failure memory and disk say the same, and the next message works.

use std::cell::Cell;

use npast::agent::{Event, Input};
use npast::session::MessageState;
use npast::session::fault::{Fault, Reach, Trouble};
use proptest::prelude::*;
use serde_json::json;

use crate::agent::{At, Worked, calls, says};
use crate::house::{House, while_failing};
use crate::model::Class;

#[derive(Clone, Debug)]
enum Step {
    /// A message and so many replies with calls.
    Say(Vec<Calls>),
    /// The same, and Ctrl-C at the n-th event.
    Cancel(Vec<Calls>, usize),
    /// The same, and a line said at the n-th event.
    Steer(Vec<Calls>, usize),
    /// A reply that is cut, and goes on.
    Cut,
    Continue,
    Retry(Vec<Calls>),
    Edit,
    Undo(usize),
    Redo,
    /// Goes on in a session made from this one.
    Fork,
    /// The empty message.
    Open,
    /// Another process; the one before ended well.
    Reopen,
    /// Another process; the one before just died.
    Die,
}

type Calls = Vec<&'static str>;

fn replies() -> impl Strategy<Value = Vec<Calls>> {
    let name = prop_oneof![Just("read"), Just("write"), Just("fail")];
    proptest::collection::vec(proptest::collection::vec(name, 1..4), 0..3)
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => replies().prop_map(Step::Say),
        2 => (replies(), 1..25usize).prop_map(|(r, n)| Step::Cancel(r, n)),
        2 => (replies(), 1..25usize).prop_map(|(r, n)| Step::Steer(r, n)),
        1 => Just(Step::Cut),
        1 => Just(Step::Continue),
        3 => replies().prop_map(Step::Retry),
        2 => Just(Step::Edit),
        2 => (1..3usize).prop_map(Step::Undo),
        2 => Just(Step::Redo),
        1 => Just(Step::Fork),
        1 => Just(Step::Open),
        1 => Just(Step::Reopen),
        1 => Just(Step::Die),
    ]
}

/// A failure in two of three steps.
fn fault() -> impl Strategy<Value = Option<Fault>> {
    let reach = prop_oneof![
        Just(Reach::One),
        Just(Reach::Writes),
        Just(Reach::All),
        Just(Reach::Reported),
        Just(Reach::Pages),
    ];
    let why = prop_oneof![
        Just(Trouble::Full),
        Just(Trouble::Locked),
        Just(Trouble::Broken)
    ];
    let fault = (reach, 0..45usize, why).prop_map(|(reach, after, why)| Fault {
        reach,
        // Of commits there are fewer.
        after: match reach {
            Reach::Reported | Reach::Pages => after / 6,
            _ => after,
        },
        why,
    });
    proptest::option::weighted(0.66, fault)
}

/// A step, what fails of the database in it, and whether the disk takes no KV.
fn trial() -> impl Strategy<Value = (Step, Option<Fault>, bool)> {
    (step(), fault(), proptest::bool::weighted(0.3))
}

struct Life<'a> {
    house: &'a House,
    name: String,
    at: Option<At>,
    said: usize,
}

impl Life<'_> {
    fn words(&mut self) -> Input {
        self.said += 1;
        Input::Text(format!("Message {}.", self.said))
    }

    fn lines(&self, replies: &[Calls]) -> Vec<String> {
        let mut lines: Vec<String> = Vec::new();
        for reply in replies {
            let reply: Vec<_> = reply.iter().map(|name| (*name, "a")).collect();
            lines.push(calls(&reply));
        }
        lines.push(says(&"Fine. ".repeat(30)));
        lines
    }

    fn at(&mut self) -> &mut At {
        self.at.as_mut().expect("a process")
    }

    /// Whether the step ended in an error, and what it showed.
    fn apply(&mut self, step: &Step) -> (bool, Worked) {
        let seen = Cell::new(0);
        let nth = |n: usize| {
            seen.set(seen.get() + 1);
            seen.get() == n
        };
        let ended = |(worked, end): (Worked, Result<_, _>)| (end.is_err(), worked);
        let quiet = |failed| (failed, Worked::default());
        match step {
            Step::Say(replies) => {
                let (words, lines) = (self.words(), self.lines(replies));
                ended(self.at().attempt(words, &lines, &|_| false))
            }
            Step::Cancel(replies, n) => {
                let (words, lines) = (self.words(), self.lines(replies));
                ended(self.at().attempt(words, &lines, &|_: &Event| nth(*n)))
            }
            Step::Steer(replies, n) => {
                let (words, lines) = (self.words(), self.lines(replies));
                let steering = self.at().steering();
                let done = self.at().attempt(words, &lines, &|_| {
                    if nth(*n) {
                        steering.steer("Not there.");
                    }
                    false
                });
                while steering.left().is_some() {}
                ended(done)
            }
            Step::Cut => {
                let words = self.words();
                let cut = json!({"text": "hm\n</think>\n\nOne, tw", "finish": "length"});
                ended(self.at().attempt(words, &[cut.to_string()], &|_| false))
            }
            Step::Continue => {
                let more = json!({"text": "o and more"}).to_string();
                ended(self.at().attempt(Input::Continue, &[more], &|_| false))
            }
            Step::Retry(replies) => {
                let lines = self.lines(replies);
                ended(self.at().tried(&lines, &|_| false))
            }
            Step::Edit => {
                if self.at().talk.edit().is_err() {
                    return quiet(true);
                }
                let (words, lines) = (self.words(), self.lines(&[]));
                ended(self.at().attempt(words, &lines, &|_| false))
            }
            Step::Undo(n) => quiet(self.at().talk.undo(*n).is_err()),
            Step::Redo => quiet(self.at().talk.redo(None).is_err()),
            Step::Fork => match self.at().talk.fork(None, None) {
                Ok(child) => {
                    self.enter(&child.name);
                    quiet(false)
                }
                Err(_) => quiet(true),
            },
            Step::Open => {
                let lines = self.lines(&[]);
                ended(self.at().attempt(Input::Open, &lines, &|_| false))
            }
            Step::Reopen => {
                let failed = self.at.take().expect("a process").talk.close().is_err();
                let name = self.name.clone();
                self.enter(&name);
                quiet(failed)
            }
            Step::Die => {
                self.at = None;
                let name = self.name.clone();
                self.enter(&name);
                quiet(false)
            }
        }
    }

    /// Opens a session, if need be when the database works again.
    fn enter(&mut self, name: &str) {
        let opened = self.house.enter(name);
        self.at = Some(opened.unwrap_or_else(|_| {
            npast::session::fault::heal();
            self.house.enter(name).expect("a session")
        }));
        self.name = name.to_owned();
    }
}

fn tell(house: &House, steps: &[(Step, Option<Fault>, bool)]) {
    // Sessions of one house are told apart by their number.
    let free = (0..).find(|n| !house.has(&format!("life-{n}")));
    let name = format!("life-{}", free.expect("a number"));
    let mut life = Life {
        house,
        at: Some(house.enter(&name).expect("a session")),
        name,
        said: 0,
    };
    for (n, (step, fault, closed)) in steps.iter().enumerate() {
        let what = format!("step {n}, {step:?}, {fault:?}, KV closed: {closed}");
        // The disk takes no KV in this step.
        let _closed = closed.then(|| house.close_kv());
        let ((failed, worked), read) = match fault {
            Some(fault) => {
                let done = while_failing(*fault, || life.apply(step)).0;
                (done, fault.reach != Reach::All)
            }
            None => (life.apply(step), true),
        };
        let name = life.name.clone();
        let at = life.at.as_mut().expect("a process");
        house.truth(&what, at, &name, read);
        house.accounted(&what, &worked);
        house.shown_is_stored(&what, &name, &worked.story);
        if failed && fault.is_some() {
            house.goes_on(&what, at, &name);
        }
        let open = house.stored(&name).messages.pop();
        assert!(
            open.is_none_or(|m| m.state != MessageState::Withdrawn),
            "{what}: what is withdrawn is not shown"
        );
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1, max_shrink_iters: 0, ..ProptestConfig::default() })]

    #[test]
    fn a_life_on_a_failing_database_stays_true_on_dense(
        lives in proptest::collection::vec(proptest::collection::vec(trial(), 1..9), 8)
    ) {
        let house = House::new(Class::Dense);
        lives.iter().for_each(|steps| tell(&house, steps));
    }

    #[test]
    fn a_life_on_a_failing_database_stays_true_on_hybrid(
        lives in proptest::collection::vec(proptest::collection::vec(trial(), 1..9), 8)
    ) {
        let house = House::new(Class::Hybrid);
        lives.iter().for_each(|steps| tell(&house, steps));
    }
}
