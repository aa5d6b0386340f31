//! Random orders of what a user can do, each step checked against the laws: no decoded token ever
//! changes (1), no more is evaluated than is new unless the receipt says why (2), and the template
//! renders whatever was left (5).

use npast::agent::{Conversation, Engine, Event, Input, TurnOptions, WhichSession};
use npast::chat::{Message, ReplyScript};
use npast::ledger::{Finish, Token, common_prefix};
use npast::session::MessageState;
use proptest::prelude::*;
use serde_json::json;

use crate::endings;
use crate::model::{Class, THINKER};
use crate::talk::{Desk, Said, turn, turn_with};
use crate::witness::{Reader, Stored, delete_kv};

/// One thing a user does.
#[derive(Clone, Debug)]
enum Step {
    /// A message of so many words, and how the reply comes.
    Say(usize, Reply),
    /// A message, and Ctrl-C at the n-th event.
    Cancel(usize, usize),
    /// Results for as many calls as are given, the rest is missing.
    Results(usize),
    /// A message whose decoding never begins.
    Crash(usize),
    /// The empty input.
    Open,
    Continue,
    /// Turns taken back.
    Undo(usize),
    /// What was taken off last, put back.
    Redo,
    /// Another reply, or Ctrl-C at the n-th event.
    Retry(usize),
    /// Another process.
    Reopen,
    /// Another process that finds no KV.
    Delete,
}

#[derive(Clone, Copy, Debug)]
enum Reply {
    Whole,
    Thought,
    Short,
    Calls,
}

impl Reply {
    fn line(self) -> String {
        let call = json!({"name": "read", "arguments": {"z": "1", "path": "a"}});
        match self {
            Reply::Whole => json!({"reasoning": "hm", "content": "Fine, thank you.\n\n"}),
            Reply::Thought => json!({"text": "I wonder", "finish": "length"}),
            Reply::Short => json!({"text": "hm\n</think>\n\nOne, tw", "finish": "interrupted"}),
            Reply::Calls => json!({"content": "I look.", "tool_calls": [call.clone(), call]}),
        }
        .to_string()
    }
}

fn step() -> impl Strategy<Value = Step> {
    let reply = prop_oneof![
        Just(Reply::Whole),
        Just(Reply::Thought),
        Just(Reply::Short),
        Just(Reply::Calls),
    ];
    prop_oneof![
        4 => (1..60usize, reply).prop_map(|(n, reply)| Step::Say(n, reply)),
        2 => (1..400usize, 1..8usize).prop_map(|(n, at)| Step::Cancel(n, at)),
        2 => (0..3usize).prop_map(Step::Results),
        1 => (1..60usize).prop_map(Step::Crash),
        1 => Just(Step::Open),
        2 => Just(Step::Continue),
        2 => (1..3usize).prop_map(Step::Undo),
        2 => Just(Step::Redo),
        2 => (0..6usize).prop_map(Step::Retry),
        2 => Just(Step::Reopen),
        1 => Just(Step::Delete),
    ]
}

struct Story {
    desk: Desk,
    reader: Reader,
    running: Option<(Engine, Conversation)>,
    stored: Stored,
    /// KV was deleted since the last reply.
    lost: bool,
    /// A message was taken back since the last reply.
    withdrew: bool,
    /// The conversation went another way since the last reply.
    branched: bool,
    /// This step made it go another way.
    cut: bool,
    /// What was ever decoded, one way a call, and whether a message was ever withdrawn: its tokens
    /// are nowhere to be read.
    decoded: Vec<Vec<Token>>,
    withdrawn: bool,
    said: usize,
}

impl Story {
    fn new(class: Class) -> Story {
        let mut desk = endings::desk(class, THINKER);
        desk.limit = 16_384;
        let running = Some(open(&desk));
        Story {
            reader: Reader::of(&desk),
            stored: Stored::of(&desk, "work"),
            desk,
            running,
            lost: false,
            withdrew: false,
            branched: false,
            cut: false,
            decoded: Vec::new(),
            withdrawn: false,
            said: 0,
        }
    }

    fn words(&mut self, n: usize) -> String {
        self.said += 1;
        let words = (0..n).map(|i| format!("{} ", (i * 7 + self.said) % 53));
        format!("Message {}: {}", self.said, words.collect::<String>())
    }

    fn reopen(&mut self) {
        let (engine, talk) = self.running.take().expect("a process");
        talk.close().expect("a close");
        drop(engine);
    }

    fn run(&mut self, input: Input, line: &str, cancel_at: usize) -> Option<Said> {
        let seen = std::cell::Cell::new(0);
        let press = |_: &Event| {
            seen.set(seen.get() + 1);
            seen.get() == cancel_at
        };
        let mut script = ReplyScript::read(line.as_bytes()).expect("a script");
        let (_, talk) = self.running.as_mut().expect("a process");
        let options = TurnOptions::default();
        turn(talk, input, &options, Some(&mut script), &press).ok()
    }

    fn goes_another_way(&mut self) {
        (self.branched, self.cut) = (true, true);
    }

    fn apply(&mut self, step: &Step) -> Option<Said> {
        let whole = Reply::Whole.line();
        match step {
            Step::Say(n, reply) => {
                let words = self.words(*n);
                let said = self.run(Input::Text(words), &reply.line(), 0);
                Some(said.expect("a message can always be said"))
            }
            Step::Cancel(n, at) => {
                let words = self.words(*n);
                let long = json!({"text": "hm ".repeat(300)}).to_string();
                let said = self.run(Input::Text(words.clone()), &long, *at);
                let said = said.expect("a message can always be said");
                if let Some(back) = said.end.as_ref().and_then(|e| e.withdrawn.as_ref()) {
                    assert!(back.ends_with(&words));
                    (self.withdrew, self.withdrawn) = (true, true);
                }
                Some(said)
            }
            Step::Results(n) => {
                let called = self.stored.messages.iter().any(|_| {
                    let last = self.stored.messages.last();
                    last.is_some_and(|m| m.finish == Some(Finish::ToolCalls))
                });
                let results = |_| Message::tool_result("", "read", "of a file");
                let mut all: Vec<_> = (0..*n).map(results).collect();
                if all.is_empty() {
                    all.push(Message::user(self.words(3)));
                }
                let said = self.run(Input::Messages(all), &whole, 0);
                assert!(said.is_some() || !called, "results follow calls");
                said
            }
            Step::Crash(n) => {
                let words = self.words(*n);
                assert!(self.run(Input::Text(words), "", 0).is_none());
                None
            }
            Step::Open => {
                let open = self
                    .stored
                    .messages
                    .last()
                    .is_some_and(|m| m.state == MessageState::Open);
                let said = self.run(Input::Open, &whole, 0);
                assert_eq!(
                    said.is_some(),
                    open,
                    "an open message is answered, nothing else is"
                );
                said
            }
            Step::Continue => {
                let cut = self.stored.messages.last().is_some_and(|m| {
                    matches!(m.finish, Some(Finish::Length | Finish::Interrupted))
                });
                let more = json!({"text": " and more", "finish": "length"}).to_string();
                let said = self.run(Input::Continue, &more, 0);
                assert_eq!(said.is_some(), cut, "only a cut reply goes on");
                said
            }
            Step::Undo(n) => {
                let (_, talk) = self.running.as_mut().expect("a process");
                let users = self.stored.messages.iter().filter(|m| m.role == "user");
                match talk.undo(*n) {
                    Ok(taken) => assert!(taken.turns <= users.count()),
                    Err(error) => assert_eq!(error.exit(), 2, "{error}"),
                }
                self.goes_another_way();
                None
            }
            Step::Redo => {
                let (_, talk) = self.running.as_mut().expect("a process");
                if let Err(error) = talk.redo(None) {
                    assert_eq!(error.exit(), 2, "{error}");
                }
                self.goes_another_way();
                None
            }
            Step::Retry(at) => {
                let replied = self.stored.messages.last();
                let replied = replied.is_some_and(|m| m.role == "assistant");
                let seen = std::cell::Cell::new(0);
                let press = |_: &Event| {
                    seen.set(seen.get() + 1);
                    seen.get() == *at
                };
                let mut script = ReplyScript::read(whole.as_bytes()).expect("a script");
                let (_, talk) = self.running.as_mut().expect("a process");
                let said = turn_with(talk, &press, &mut |talk, cancel, on| {
                    talk.retry(&TurnOptions::default(), None, Some(&mut script), cancel, on)
                });
                assert_eq!(said.is_ok(), replied, "only a reply is sampled again");
                self.goes_another_way();
                said.ok()
            }
            Step::Reopen => {
                self.reopen();
                self.running = Some(open(&self.desk));
                None
            }
            Step::Delete => {
                self.reopen();
                delete_kv(&self.desk.home);
                self.lost = true;
                self.running = Some(open(&self.desk));
                None
            }
        }
    }

    fn check(&mut self, said: Option<Said>) {
        let now = Stored::of(&self.desk, "work");
        // What an open message or a pending token added may be taken back; the rest never changes.
        let replied = self.stored.messages.iter().rfind(|m| m.role == "assistant");
        let cut = std::mem::take(&mut self.cut);
        let fixed = match replied.and_then(|m| m.span) {
            Some(span) if !cut => span.end - 1,
            _ => 0,
        };
        assert!(now.ledger.starts_with(&self.stored.ledger[..fixed]));
        assert!(cut || now.messages.len() + 3 >= self.stored.messages.len());
        if !now.messages.is_empty() {
            self.reader.render(&now);
        }
        let (_, talk) = self.running.as_ref().expect("a process");
        assert_eq!(talk.info().context, now.ledger.len());
        if let Some(said) = &said {
            for r in &said.receipts {
                assert_eq!(r.context, r.prompt() + r.generated - r.pending);
                assert_eq!(r.miss.is_some(), r.evaluated > r.appended, "{r:?}");
                if let Some(prompt) = now.ledger.get(..r.prompt()) {
                    let ways = self.decoded.iter();
                    let before = ways.map(|way| common_prefix(way, prompt)).max();
                    let new = prompt.len() - before.unwrap_or(0);
                    let same = r.appended == new || (self.withdrawn && r.appended < new);
                    assert!(same, "{new} tokens are new: {r:?}");
                }
                let reached = r.context.min(now.ledger.len());
                self.decoded.push(now.ledger[..reached].to_vec());
                let at = r.miss.as_ref().map(|m| m.at);
                // A memory that cannot be cut reads the marks of a message taken back again.
                let known =
                    self.lost || self.branched || at.is_none_or(|at| self.withdrew && at >= fixed);
                assert!(known, "a miss that nobody caused: {r:?}");
                if r.generated > 0 {
                    assert_eq!(r.context + r.pending, now.ledger.len());
                    (self.lost, self.withdrew) = (false, false);
                    // Where KV of the branch that is left was, another one's may be wanted later.
                    self.branched &= cut;
                }
            }
        }
        self.stored = now;
    }
}

fn open(desk: &Desk) -> (Engine, Conversation) {
    let engine = desk.engine().expect("an engine");
    let talk = engine.conversation(WhichSession::Named("work".to_owned()), desk.new_session());
    (engine, talk.expect("a session"))
}

fn tell(class: Class, steps: &[Step]) {
    let mut story = Story::new(class);
    for step in steps {
        let said = story.apply(step);
        story.check(said);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 10, max_shrink_iters: 40, ..ProptestConfig::default() })]

    #[test]
    fn any_order_of_turns_keeps_the_laws_on_dense(steps in proptest::collection::vec(step(), 1..16)) {
        tell(Class::Dense, &steps);
    }

    #[test]
    fn any_order_of_turns_keeps_the_laws_on_hybrid(steps in proptest::collection::vec(step(), 1..16)) {
        tell(Class::Hybrid, &steps);
    }
}
