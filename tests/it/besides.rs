//! Requests of clients that stand beside their conversations (titles, tags, pings): answered on scratch at
//! the cost of themselves, while the conversation stays in the slot, to the last bit (law 8). Nothing of
//! them is stored.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use npast::agent::{ClientHistory, Done, Event, Names, Receipt, TurnOptions};
use npast::chat::ReplyScript;
use npast::chat::pins::PinRules;
use npast::ledger::Finish;
use npast::service::{Beside, Events, OpenSession, Request, Service};
use npast::session::Db;
use npast::slot::{Base, CallKind, SlotError, SlotOptions};
use serde_json::json;

use crate::client::Client;
use crate::model::Class;
use crate::rig::{Rig, cost, tokens};
use crate::sharing::service;
use crate::talk::{Desk, greedy};

#[test]
fn a_prompt_beside_shares_what_sequence_0_begins_with_and_leaves_it_as_it_was_on_every_class() {
    for class in Class::ALL {
        let (prompt, said) = (tokens(1, 500), tokens(2, 4));
        let next = [&prompt[..], &said, &tokens(3, 30)].concat();
        let more = tokens(4, 40);
        let mut plain = Rig::new(class, None);
        plain.say(&prompt, &said);
        let (_, expected) = plain.say(&next, &more);

        let mut rig = Rig::new(class, None);
        rig.say(&prompt, &said);
        let held = rig.held();
        let beside = Base::Beside { room: 8 };
        let cuts = class == Class::Dense;
        // Nothing in common; a long way in common; all but the last tokens; all of it and more; itself.
        let cases = [
            (tokens(5, 70), 0),
            (
                [&held[..200], &tokens(5, 9)].concat(),
                if cuts { 200 } else { 0 },
            ),
            (
                [&held[..held.len() - 2], &tokens(5, 9)].concat(),
                if cuts { held.len() - 2 } else { 0 },
            ),
            ([&held[..], &tokens(5, 9)].concat(), held.len()),
            (held.clone(), if cuts { held.len() - 1 } else { 0 }),
        ];
        for (at, (asked, shared)) in cases.iter().enumerate() {
            let (side, rows) = rig.fork(beside, asked, &tokens(6, 6));
            assert!(side.error.is_none(), "{class:?} {at}: {:?}", side.error);
            // A window may have room before its end.
            let shared = match class {
                Class::Swa if held.len() - side.kept <= 2 => side.kept,
                _ => *shared,
            };
            assert_eq!(
                (side.kept, side.evaluated, side.appended),
                (shared, asked.len() - shared, asked.len() - shared),
                "{class:?} {at}"
            );
            // What it says is what these tokens say, however they came to be there.
            let (_, alone) = rig.fork(Base::Nothing, asked, &tokens(6, 6));
            assert!(
                crate::history::distance(&rows, &alone) < 0.05,
                "{class:?} {at}"
            );
            assert_eq!(rig.held(), held, "{class:?} {at}");
        }
        let cells = SlotOptions::cells(rig.handle().facts().limit);
        let full = Base::Beside {
            room: cells - held.len() - 9,
        };
        let (fits, _) = rig.try_fork(full, false, &tokens(5, 9), &tokens(6, 2));
        fits.expect("it just fits");
        let (refused, _) = rig.try_fork(full, false, &tokens(5, 10), &tokens(6, 2));
        assert!(
            matches!(refused, Err(SlotError::TooLong { .. })),
            "{class:?}: {refused:?}"
        );
        let (outcome, seen) = rig.say(&next, &more);
        assert_eq!(cost(&outcome), (503, 0, 31, 31, false), "{class:?}");
        assert!(seen == expected, "{class:?}");
    }
}

/// A conversation that a client leads over the service.
struct Led {
    desk: Desk,
    service: Service,
    session: OpenSession,
    client: Client,
}

/// What a request came to.
#[derive(Default)]
struct Seen {
    done: Option<Done>,
    text: String,
    receipts: Vec<Receipt>,
}

fn read(events: Events) -> Seen {
    let mut seen = Seen::default();
    for event in events {
        match event {
            Event::Text { text } => seen.text += &text,
            Event::Receipt(receipt) => seen.receipts.push(*receipt),
            Event::Done(done) => seen.done = Some(done),
            Event::Error { message, .. } => panic!("{message}"),
            _ => {}
        }
    }
    seen
}

fn script(lines: &[serde_json::Value]) -> ReplyScript {
    let lines: Vec<String> = lines.iter().map(ToString::to_string).collect();
    ReplyScript::read(lines.join("\n").as_bytes()).expect("a script")
}

impl Led {
    /// The first message of it is answered.
    fn new(desk: Desk, first: &str, replies: &ReplyScript) -> Led {
        let service = service(&desk);
        let mut client = Client {
            system: Some("You help with code, and say what you did.".into()),
            ..Client::default()
        };
        client.user(first);
        let new = desk.new_session();
        let history = client.history();
        let rules = PinRules::all();
        let session = service
            .open_of(
                &history,
                &["plain//s".into()],
                rules,
                new,
                Some(replies.clone()),
            )
            .expect("a session");
        let mut led = Led {
            desk,
            service,
            session,
            client,
        };
        led.say(None);
        led
    }

    fn start(&self) -> Events {
        let request = Request::Follow {
            history: self.client.history(),
            rules: PinRules::all(),
            options: greedy(24),
        };
        self.session.ask(request).expect("a place")
    }

    fn say(&mut self, text: Option<&str>) -> Receipt {
        if let Some(text) = text {
            self.client.user(text);
        }
        let seen = read(self.start());
        let stored = self.session.look(|talk| talk.mirror()).expect("a look");
        let reply = stored.messages.last().expect("a reply").body.clone();
        self.client.wire.push(reply);
        assert_eq!(seen.receipts.len(), 1);
        seen.receipts[0].clone()
    }

    fn beside(
        &self,
        client: &Client,
        options: TurnOptions,
        replies: Option<&ReplyScript>,
    ) -> Result<Events, Box<Beside>> {
        self.beside_until(client, options, replies, &Arc::default())
    }

    fn beside_until(
        &self,
        client: &Client,
        options: TurnOptions,
        replies: Option<&ReplyScript>,
        stop: &Arc<AtomicBool>,
    ) -> Result<Events, Box<Beside>> {
        let asked = Beside {
            history: client.history(),
            most: options.max_tokens,
            options,
            new: self.desk.new_session(),
            script: replies.cloned(),
        };
        let own = ["plain//s".to_owned()];
        let names = Names {
            own: &own,
            others: &[],
        };
        self.service.beside(asked, names, stop).expect("npast.db")
    }

    /// Tokens of the conversation, and the bits of its next logits.
    fn now(&self) -> (Vec<npast::ledger::Token>, Option<Vec<u32>>) {
        let look = |talk: &mut npast::agent::Conversation| {
            let row = talk.next_logits().expect("an engine");
            let bits = row.map(|row| row.iter().map(|x| x.to_bits()).collect());
            (talk.mirror().ledger, bits)
        };
        self.session.look(look).expect("a look")
    }

    fn sessions(&self) -> usize {
        let db = Db::open(&self.desk.home.join("npast.db")).expect("npast.db");
        db.ids().expect("sessions").len()
    }
}

/// A title request about a conversation.
fn title(first: &str) -> Client {
    let mut client = Client {
        system: Some("You write titles.".into()),
        ..Client::default()
    };
    client.user(&format!("A title for:\nUSER: {first}\nASSISTANT: Yes."));
    client
}

const FIRST: &str = "Why does the parser hang on empty files?";

#[test]
fn a_title_costs_itself_and_the_conversation_goes_on_as_if_nobody_had_asked_on_every_class() {
    for class in Class::ALL {
        let lived = |asked: bool| {
            let replies = script(&[
                json!({"content": "It waits for a token."}),
                json!({"content": "I did."}),
                json!({"job": "side", "content": "A parser that hangs"}),
            ]);
            let mut led = Led::new(Desk::new(class, None), FIRST, &replies);
            let before = led.now();
            if asked {
                let prepared = led.beside(&title(FIRST), greedy(60), Some(&replies));
                let prepared = read(prepared.ok().expect("it stands beside"));
                assert_eq!(prepared.text, "A parser that hangs", "{class:?}");
                let sampled = led.beside(&title(FIRST), greedy(9), None);
                let sampled = read(sampled.ok().expect("it stands beside"));
                for (seen, sign) in [(prepared, "shared_name"), (sampled, "few_tokens")] {
                    let Some(Done::Beside { sign: named, .. }) = &seen.done else {
                        panic!("{:?}", seen.done);
                    };
                    assert_eq!(named, sign);
                    let [r] = &seen.receipts[..] else {
                        panic!("one receipt a call: {:?}", seen.receipts);
                    };
                    assert_eq!((r.kind, r.restored, r.saved_bytes), (CallKind::Fork, 0, 0));
                    assert_eq!((r.evaluated, &r.miss), (r.appended, &None), "{class:?}");
                    // The beginning of both prompts is the template's.
                    assert!(class != Class::Dense || r.kept > 0, "{r:?}");
                }
            }
            assert!(led.now() == before, "{class:?}");
            let held = led.session.info().context;
            let r = led.say(Some("Mend it."));
            assert_eq!(
                (
                    r.kept + r.evaluated - r.appended,
                    r.restored,
                    r.restored_bytes
                ),
                (r.kept, 0, 0),
                "{class:?}: {r:?}"
            );
            assert!(r.kept + 1 >= held, "{class:?}: {r:?}");
            assert_eq!(led.sessions(), 1, "{class:?}");
            (r.kept, r.evaluated, led.now())
        };
        assert!(lived(true) == lived(false), "{class:?}");
    }
}

#[test]
fn a_message_comes_before_a_title_that_is_read_and_the_title_goes_on_by_itself_on_every_class() {
    for class in Class::ALL {
        let mut desk = Desk::new(class, None);
        desk.limit = 16_384;
        let replies = script(&[json!({"content": "Yes."}), json!({"content": "I did."})]);
        let mut led = Led::new(desk, FIRST, &replies);
        let mut long = title(FIRST);
        long.user(&"And much of what was said then. ".repeat(80));
        let alone = read(led.beside(&long, greedy(12), None).ok().expect("beside"));
        assert_eq!(alone.receipts.len(), 1);
        let whole = alone.receipts[0].evaluated;

        let mut events = led.beside(&long, greedy(12), None).ok().expect("beside");
        let begun = |event: &Event| matches!(event, Event::Prefill { done, total } if done < total);
        let mut seen = Seen::default();
        while !begun(&events.next().expect("an event")) {}
        let r = led.say(Some("Mend it."));
        assert_eq!((r.restored, r.evaluated), (0, r.appended), "{class:?}");
        let rest = read(events);
        seen.text += &rest.text;
        let Some(Done::Beside { end, .. }) = rest.done else {
            panic!("{class:?}: {:?}", rest.done);
        };
        assert_eq!(end.finish, alone.receipts[0].finish, "{class:?}");
        assert_eq!(seen.text, alone.text, "{class:?}");
        let [cut, last] = &rest.receipts[..] else {
            panic!("{class:?}: {:?}", rest.receipts);
        };
        assert_eq!(cut.finish, Finish::Interrupted, "{class:?}");
        assert!(cut.evaluated < whole, "{class:?}: {cut:?}");
        // What was read before is named as read again.
        assert_eq!(last.kept + last.evaluated, whole + alone.receipts[0].kept);
        assert_eq!(
            last.evaluated - last.appended,
            cut.context.saturating_sub(last.kept),
            "{class:?}: {last:?}"
        );
        assert!(last.miss.is_some(), "{class:?}: {last:?}");
    }
}

#[test]
fn what_has_no_room_beside_the_conversation_is_a_session_and_the_conversation_comes_back() {
    let mut desk = Desk::new(Class::Dense, None);
    desk.limit = 4096;
    let replies = script(&[
        json!({"content": "Yes."}),
        json!({"content": "A long title"}),
        json!({"content": "I did."}),
        json!({"content": "A long title"}),
        json!({"content": "I did."}),
    ]);
    let long = format!("{FIRST}\n{}", "Much of a file. ".repeat(345));
    let mut led = Led::new(desk, &long, &replies);
    let held = led.session.info().context;
    assert!(held > 3800, "{held}");
    // Too few cells are free; and a prompt that is worth a session, however many are.
    for (n, (times, most)) in [(84, 600), (130, 60)].into_iter().enumerate() {
        let mut wide = title(FIRST);
        wide.user(&"And much of what was said then. ".repeat(times));
        let events = led.beside(&wide, greedy(most), Some(&replies));
        let seen = read(events.ok().expect("it stands beside"));
        let Some(Done::Followed { .. }) = seen.done else {
            panic!("{n}: {:?}", seen.done);
        };
        assert_eq!(
            (seen.text.as_str(), led.sessions()),
            ("A long title", n + 2)
        );
        let r = led.say(Some("Mend it."));
        assert_eq!((r.evaluated, &r.miss), (r.appended, &None), "{n}: {r:?}");
        assert!(r.restored > 2000, "{n}: {r:?}");
    }
}

#[test]
fn what_belongs_to_a_conversation_is_no_request_beside_it() {
    let replies = script(&[json!({"content": "Yes."}), json!({"content": "No."})]);
    let led = Led::new(Desk::new(Class::Dense, None), FIRST, &replies);
    let back = |client: &Client, most| led.beside(client, greedy(most), None).is_err();
    // Its first message once more, in however few tokens, and its next one.
    let mut again = led.client.clone();
    again.wire.truncate(1);
    assert!(back(&again, 5));
    let mut next = led.client.clone();
    next.user("Go on.");
    assert!(back(&next, 5));
    // One that comes while nothing is open.
    let desk = Desk::new(Class::Dense, None);
    let idle = service(&desk);
    let asked = Beside {
        history: title(FIRST).history(),
        options: greedy(5),
        most: Some(5),
        new: desk.new_session(),
        script: None,
    };
    let beside = idle.beside(asked, Names::default(), &Arc::default());
    assert!(beside.expect("npast.db").is_err());
    // What is no conversation is refused where all are.
    let mut empty = title(FIRST);
    empty.user(" ");
    assert!(back(&empty, 5));
    let nothing = ClientHistory::default();
    assert!(
        led.service
            .engine()
            .stands_beside(&nothing, Names::default(), Some(1), &[1])
            .expect("npast.db")
            .is_none()
    );
}

#[test]
fn a_client_that_goes_away_ends_its_request_beside() {
    let led = Led::new(
        Desk::new(Class::Dense, None),
        FIRST,
        &script(&[json!({"content": "Yes."})]),
    );
    let stop = Arc::new(AtomicBool::new(false));
    let events = led.beside_until(&title(FIRST), greedy(6000), None, &stop);
    let mut events = events.ok().expect("beside");
    let said = |event: &Event| matches!(event, Event::Text { .. });
    while !said(&events.next().expect("an event")) {}
    stop.store(true, Ordering::SeqCst);
    drop(events);
    // It would not end by itself before the test does.
    led.service.close().expect("an end");
}
