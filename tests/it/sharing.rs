//! Several clients and several sessions on one slot, through the service: each session has the tokens
//! it would have alone, each model call answers for itself (law 2), nobody starves, and a client that
//! reads slowly, reads nothing or goes away holds up nobody.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use npast::agent::{
    Done, Event, Info, Input, Passes, Rank, Receipt, TurnOptions, Want, WhichSession,
};
use npast::chat::ReplyScript;
use npast::ledger::{Finish, Token};
use npast::service::{Events, OpenSession, Request, Service, SessionOpening};
use npast::slot::{self, Base, Flow, Fork, ReplyOptions, TokenChoice};
use proptest::prelude::*;

use crate::model::Class;
use crate::talk::{Desk, greedy};

/// One request of a session's client.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Step {
    /// A message of so many words, and at most so many tokens of a reply.
    Say(usize, usize),
    /// A message whose reply is interrupted when its first text is seen.
    Cut(usize),
    /// Another reply to the last message.
    Retry,
    /// The last turn is taken back.
    Undo,
    /// Another session is made from this one, and says something.
    Fork,
    /// Nobody reads the events of this message.
    Unread(usize),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        5 => (1..60usize, 1..12usize).prop_map(|(words, most)| Step::Say(words, most)),
        2 => (1..20usize).prop_map(Step::Cut),
        1 => Just(Step::Retry),
        1 => Just(Step::Undo),
        1 => Just(Step::Fork),
        2 => (1..20usize).prop_map(Step::Unread),
    ]
}

/// What a client did, with what chance decided: enough to do it again alone.
#[derive(Clone, Debug)]
enum Did {
    Say(String, usize),
    Retry,
    Undo,
    Fork(String),
    /// A message was taken back before its reply began: one prepared reply is used up.
    Withdrawn,
}

pub fn service(desk: &Desk) -> Service {
    desk.service_with(true).expect("a service")
}

/// Prepared replies of a session. What is sampled may differ where a prefix that others stored shortens
/// a batch; whose tokens they are may not.
fn replies(name: &str) -> ReplyScript {
    let lines = (0..80).map(|n| {
        let words: String = (0..30).map(|i| format!(" {}", (i * n + 5) % 41)).collect();
        let text = format!("{name} answers {n}:{words}");
        serde_json::json!({ "text": text }).to_string() + "\n"
    });
    ReplyScript::read(lines.collect::<String>().as_bytes()).expect("a script")
}

fn open(service: &Service, desk: &Desk, name: &str) -> OpenSession {
    open_with(service, desk, name, &replies(name))
}

fn open_with(service: &Service, desk: &Desk, name: &str, script: &ReplyScript) -> OpenSession {
    desk.session(service, name, Some(script))
        .expect("a session")
}

/// What a request came to.
struct Seen {
    done: Option<Done>,
    receipts: Vec<Receipt>,
}

/// Reads a request's events to their end; `cut` interrupts it at its first text.
fn read(session: &OpenSession, events: Events, cut: bool) -> Seen {
    let mut seen = Seen {
        done: None,
        receipts: Vec::new(),
    };
    for event in events {
        match event {
            Event::Text { .. } | Event::Reasoning { .. } if cut => session.interrupt(),
            Event::Receipt(receipt) => seen.receipts.push(*receipt),
            Event::Done(done) => seen.done = Some(done),
            Event::Error { message, .. } => panic!("{message}"),
            _ => {}
        }
    }
    for receipt in &seen.receipts {
        assert!(
            receipt.evaluated <= receipt.appended || receipt.miss.is_some(),
            "a miss is named: {receipt:?}"
        );
        assert_eq!(
            receipt.context,
            receipt.prompt() + receipt.generated - receipt.pending,
            "{receipt:?}"
        );
    }
    seen
}

fn say(text: &str, most: usize) -> Request {
    Request::Say {
        input: Input::Text(text.to_owned()),
        options: greedy(most),
    }
}

/// A client of one session: what it did, and whether it was ever withdrawn.
struct Client {
    session: OpenSession,
    name: String,
    did: Vec<Did>,
    said: usize,
    forks: usize,
}

impl Client {
    fn new(session: OpenSession, name: &str) -> Client {
        Client {
            session,
            name: name.to_owned(),
            did: Vec::new(),
            said: 0,
            forks: 0,
        }
    }

    fn words(&mut self, n: usize) -> String {
        self.said += 1;
        let words = (0..n).map(|i| format!("{} ", (i * 7 + self.said) % 53));
        format!("{} {}: {}", self.name, self.said, words.collect::<String>())
    }

    fn turn(&mut self, text: String, most: usize, cut: bool) {
        let events = self.session.ask(say(&text, most)).expect("a place");
        let seen = read(&self.session, events, cut);
        match seen.done {
            Some(Done::Turn(end)) if end.withdrawn.is_some() => self.did.push(Did::Withdrawn),
            Some(Done::Turn(_)) => {
                let generated = seen.receipts.iter().map(|r| r.generated).sum();
                self.did.push(Did::Say(text, generated));
            }
            other => panic!("a turn ends as one: {other:?}"),
        }
    }

    fn step(&mut self, step: Step, service: &Service, desk: &Desk) {
        let ask = |request| {
            let events = self.session.ask(request).expect("a place");
            read(&self.session, events, false)
        };
        match step {
            Step::Say(words, most) => {
                let text = self.words(words);
                self.turn(text, most, false);
            }
            Step::Cut(words) => {
                let text = self.words(words);
                self.turn(text, 200, true);
            }
            Step::Retry | Step::Undo | Step::Fork if self.said == 0 => {}
            Step::Retry => {
                let stored = desk.stored(&self.name);
                if stored
                    .messages
                    .last()
                    .is_some_and(|m| m.role == "assistant")
                {
                    let options = greedy(5);
                    ask(Request::Retry { options });
                    self.did.push(Did::Retry);
                }
            }
            Step::Undo => {
                let stored = desk.stored(&self.name);
                if stored.messages.iter().any(|m| m.role == "user") {
                    ask(Request::Undo { turns: 1 });
                    self.did.push(Did::Undo);
                }
            }
            Step::Fork => {
                self.forks += 1;
                let name = format!("{}-fork-{}", self.name, self.forks);
                let keep = None;
                ask(Request::Fork {
                    name: Some(name.clone()),
                    keep,
                });
                let mut fork = Client::new(open(service, desk, &name), &name);
                fork.turn(format!("I am {name}."), 5, false);
                fork.session.close().wait().expect("a close");
                self.did.push(Did::Fork(name));
            }
            Step::Unread(words) => {
                let text = self.words(words);
                drop(self.session.ask(say(&text, 6)).expect("a place"));
                // The next request waits for it, whether or not somebody reads.
                let events = self.session.ask(Request::Info).expect("a place");
                read(&self.session, events, false);
                self.did.push(Did::Say(text, 6));
            }
        }
    }
}

/// The same requests of one session, with nobody else on the slot.
fn alone(desk: &Desk, name: &str, did: &[Did]) {
    let service = service(desk);
    let mut script = replies(name);
    let session = open_with(&service, desk, name, &script);
    for one in did {
        let request = match one {
            Did::Say(text, most) => say(text, *most),
            Did::Retry => Request::Retry { options: greedy(5) },
            Did::Undo => Request::Undo { turns: 1 },
            Did::Withdrawn => {
                script.next_main().expect("a reply");
                continue;
            }
            Did::Fork(name) => Request::Fork {
                name: Some(name.clone()),
                keep: None,
            },
        };
        let events = session.ask(request).expect("a place");
        read(&session, events, false);
        if let Did::Fork(name) = one {
            let mut fork = Client::new(open(&service, desk, name), name);
            fork.turn(format!("I am {name}."), 5, false);
        }
    }
    session.close().wait().expect("a close");
}

fn ledger(desk: &Desk, name: &str) -> Vec<Token> {
    desk.stored(name).ledger
}

fn cases(n: u32) -> ProptestConfig {
    ProptestConfig {
        cases: n,
        failure_persistence: None,
        ..ProptestConfig::default()
    }
}

proptest! {
    #![proptest_config(cases(2))]

    #[test]
    fn sessions_that_share_a_slot_have_the_tokens_they_would_have_alone(
        orders in prop::collection::vec(prop::collection::vec(step(), 3..7), 4),
    ) {
        for class in Class::ALL {
            let desk = Desk::new(class, None);
            let service = service(&desk);
            let names = ["north", "east", "south", "west"];
            let clients: Vec<Client> = std::thread::scope(|scope| {
                let (service, desk) = (&service, &desk);
                let running: Vec<_> = names
                    .iter()
                    .zip(&orders)
                    .map(|(name, order)| {
                        scope.spawn(move || {
                            let session = open(service, desk, name);
                            // A second client that reads nothing, and one that goes away.
                            let _silent = session.watch();
                            drop(session.watch());
                            let mut client = Client::new(session, name);
                            for step in order {
                                client.step(*step, service, desk);
                            }
                            client
                        })
                    })
                    .collect();
                running.into_iter().map(|one| one.join().expect("a client")).collect()
            });
            let did: Vec<(String, Vec<Did>)> =
                clients.iter().map(|c| (c.name.clone(), c.did.clone())).collect();
            drop(clients);
            service.close().expect("a close");
            drop(service);
            for (name, did) in did {
                let other = Desk::new(class, None);
                alone(&other, &name, &did);
                let (shared, own) = (ledger(&desk, &name), ledger(&other, &name));
                prop_assert_eq!(shared, own, "{:?} {}: {:?}", class, name, did);
                for one in &did {
                    if let Did::Fork(name) = one {
                        prop_assert_eq!(ledger(&desk, name), ledger(&other, name));
                    }
                }
            }
        }
    }
}

#[test]
fn two_clients_of_one_session_take_turns_and_each_sees_what_the_other_does() {
    let desk = Desk::new(Class::Dense, None);
    let service = service(&desk);
    let one = open(&service, &desk, "work");
    let two = open(&service, &desk, "work");
    let seen_by_two = two.watch();
    let first = one.ask(say("First.", 4)).expect("a place");
    let mut second = two.ask(say("Second.", 4)).expect("a place");
    let Some(Event::Queued { place: 1 }) = second.next() else {
        panic!("one request comes first");
    };
    read(&one, first, false);
    read(&two, second, false);
    // Nobody but another process finds the session in use.
    assert_eq!(service.sessions().len(), 1);
    one.close().wait().expect("the other client has it still");
    drop(one);
    let info: Info = two.info();
    two.close().wait().expect("a close");
    assert_eq!(info.name, "work");
    let mut turns = 0;
    for event in seen_by_two {
        turns += usize::from(matches!(event, Event::Turn(_)));
    }
    assert_eq!(turns, 2);
    let said = desk.stored("work").canonical();
    let said: Vec<&str> = said.iter().map(|m| m.text.as_str()).collect();
    assert_eq!((said[0], said[2]), ("First.", "Second."));
}

#[test]
fn a_request_that_waits_for_another_session_is_told_so_and_can_be_interrupted() {
    let desk = Desk::new(Class::Dense, None);
    let service = service(&desk);
    let long: String = (0..600).map(|i| format!("{i}, ")).collect();
    let script = serde_json::json!({ "text": long }).to_string();
    let busy = SessionOpening {
        open: WhichSession::Named("busy".to_owned()),
        new: desk.new_session(),
        agent: false,
        attended: false,
        script: Some(ReplyScript::read(script.as_bytes()).expect("a script")),
    };
    let busy = service.open(busy).expect("a session");
    let other = open(&service, &desk, "other");
    let mut long = busy.ask(say("Count.", 4000)).expect("a place");
    while !matches!(long.next(), Some(Event::Text { .. })) {}
    let mut waits = other.ask(say("And me?", 4)).expect("a place");
    let Some(Event::Queued { place: 1 }) = waits.next() else {
        panic!("the other session's call comes first");
    };
    other.interrupt();
    let Some(Done::Turn(end)) = read(&other, waits, false).done else {
        panic!("it ends as a turn");
    };
    assert_eq!(end.withdrawn.as_deref(), Some("And me?"));
    busy.interrupt();
    let Some(Done::Turn(end)) = read(&busy, long, false).done else {
        panic!("it ends as a turn");
    };
    assert_eq!(end.finish, Finish::Interrupted);
    let again = other.ask(say("And me?", 4)).expect("a place");
    let seen = read(&other, again, false);
    // The beginning of the prompt is stored: the other session has it too.
    assert!(seen.receipts[0].evaluated <= seen.receipts[0].appended);
}

/// A long piece of work on scratch that samples some tokens; what it sampled, and how often it was
/// stopped for something more urgent.
fn side_work(passes: &dyn Passes, begun: &AtomicBool) -> (Vec<Token>, usize) {
    let mut stopped = 0;
    loop {
        let cancel = Arc::new(AtomicBool::new(false));
        let want = Want {
            owner: "side",
            rank: Rank::Side,
            cancel: &cancel,
        };
        let pass = passes.take(&want, &mut |_| {}).expect("a pass");
        let (events, mut inbox) = tokio::sync::mpsc::unbounded_channel();
        let answer = pass.slot().fork(Fork {
            base: Base::Nothing,
            keep: false,
            store: false,
            tokens: (0..4000).map(|i| Token(100 + i * 7 % 150)).collect(),
            reply: ReplyOptions {
                choice: TokenChoice::Sample {
                    sampling: greedy(0).sampling,
                    grammar: None,
                    recent: Vec::new(),
                },
                max_tokens: 8,
                watch: Box::new(|_| Flow::Continue),
                observe: None,
                odds: None,
            },
            cancel,
            events,
        });
        while let Some(event) = inbox.blocking_recv() {
            begun.store(
                matches!(event, slot::SlotEvent::Prefill { .. }),
                Ordering::SeqCst,
            );
        }
        let outcome = answer.expect("a live engine").wait().expect("an outcome");
        match pass.preempted() {
            true => {
                assert!(
                    outcome.evaluated < 4000,
                    "it was stopped between decode calls"
                );
                stopped += 1;
            }
            false => return (outcome.tokens, stopped),
        }
    }
}

#[test]
fn a_message_during_side_work_is_answered_at_once_and_the_side_work_is_done_later_as_if_alone() {
    for class in Class::ALL {
        let desk = Desk::new(class, None);
        let service = service(&desk);
        let session = open(&service, &desk, "work");
        let passes = service.passes();
        let (alone, stopped) = side_work(&*passes, &AtomicBool::new(false));
        assert_eq!((alone.len(), stopped), (8, 0));
        let begun = AtomicBool::new(false);
        let (tokens, stopped) = std::thread::scope(|scope| {
            let side = scope.spawn(|| side_work(&*passes, &begun));
            while !begun.load(Ordering::SeqCst) {
                std::thread::yield_now();
            }
            let events = session.ask(say("And me?", 4)).expect("a place");
            let seen = read(&session, events, false);
            assert!(
                !side.is_finished(),
                "{class:?}: the message did not wait for it"
            );
            assert_eq!(seen.receipts[0].evaluated, seen.receipts[0].appended);
            side.join().expect("side work")
        });
        assert_eq!((&tokens, stopped), (&alone, 1), "{class:?}");
        // Law 8: the conversation goes on as if nothing had been beside it.
        let events = session.ask(say("Go on.", 4)).expect("a place");
        let seen = read(&session, events, false);
        assert_eq!(seen.receipts[0].evaluated, seen.receipts[0].appended);
    }
}

#[test]
fn requests_and_events_are_the_same_values_after_a_way_through_json() {
    let requests = [
        say("hi", 3),
        Request::Say {
            input: Input::Open,
            options: TurnOptions::default(),
        },
        Request::Retry { options: greedy(1) },
        Request::Edit,
        Request::Undo { turns: 2 },
        Request::Redo { branch: Some(3) },
        Request::Fork {
            name: None,
            keep: Some(1),
        },
        Request::Info,
        Request::Steer {
            text: "not there".into(),
        },
        Request::Interrupt,
        Request::Answer {
            question: 7,
            grant: npast::approve::Grant::No,
            reason: Some("use mkdir".into()),
        },
    ];
    for request in requests {
        let text = serde_json::to_string(&request).expect("JSON");
        let back: Request = serde_json::from_str(&text).expect("a request");
        assert_eq!(back, request, "{text}");
    }
    // A whole recorded stream, as `--json`, SSE and an attached client get it.
    let desk = Desk::new(Class::Hybrid, None);
    let service = service(&desk);
    let session = open(&service, &desk, "work");
    let watched = session.watch();
    for request in [
        say("One.", 5),
        Request::Retry { options: greedy(3) },
        Request::Info,
    ] {
        let events = session.ask(request).expect("a place");
        read(&session, events, false);
    }
    let mut stream = vec![session.event()];
    session.close().wait().expect("a close");
    for event in watched {
        stream.push(event);
    }
    assert!(stream.len() > 8, "{stream:?}");
    for event in stream {
        let text = serde_json::to_string(&event).expect("JSON");
        let back: Event = serde_json::from_str(&text).expect("an event");
        assert_eq!(back, event, "{text}");
    }
}

#[test]
fn a_session_that_was_compressed_is_one_session_by_its_old_name_and_its_new_one() {
    let mut desk = Desk::new(Class::Dense, None);
    desk.limit = 2048;
    let service = service(&desk);
    let line = r#"{"job":"compress","content":"Goal: to count. Done: the first ten. Next step: the others."}"#;
    let opening = SessionOpening {
        open: WhichSession::Named("work".to_owned()),
        new: desk.new_session(),
        agent: false,
        attended: false,
        script: None,
    };
    let session = service.open(opening).expect("a session");
    for n in 0..8 {
        let text = format!("Message {n}: {}", "one and two and ".repeat(12));
        let events = session.ask(say(&text, 12)).expect("a place");
        read(&session, events, false);
    }
    session.close().wait().expect("a close");
    drop(session);
    let opening = SessionOpening {
        open: WhichSession::Named("work".to_owned()),
        new: desk.new_session(),
        agent: false,
        attended: false,
        script: Some(ReplyScript::read(line.as_bytes()).expect("a script")),
    };
    let session = service.open(opening).expect("a session");
    let request = Request::Compress {
        topic: None,
        options: greedy(200),
    };
    let events = session.ask(request).expect("a place");
    let Some(Done::Compressed(made)) = read(&session, events, false).done else {
        panic!("it is compressed");
    };
    assert_eq!(session.info().name, made.session);
    for name in ["work", &made.session] {
        assert_eq!(open(&service, &desk, name).info().id, session.info().id);
    }
    assert_eq!(service.sessions().len(), 1);
}

#[test]
fn a_session_whose_thread_panicked_ends_for_its_clients_and_can_be_opened_again() {
    let desk = Desk::new(Class::Dense, None);
    let service = service(&desk);
    let session = open(&service, &desk, "work");
    let events = session.ask(say("First.", 4)).expect("a place");
    read(&session, events, false);
    let watched = session.watch();
    let seen = session.look::<()>(|_| panic!("a fault that a test makes"));
    assert_eq!(seen.expect_err("no answer").kind(), "engine");
    assert_eq!(watched.count(), 0, "a client that watches hears the end");
    drop(session);
    let again = open(&service, &desk, "work");
    let events = again.ask(say("Second.", 4)).expect("a place");
    let seen = read(&again, events, false);
    assert_eq!(seen.receipts[0].evaluated, seen.receipts[0].appended);
    drop(again);
    service.close().expect("nothing hangs");
}
