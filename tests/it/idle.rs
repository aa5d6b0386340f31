//! Idle time: a compression while the user reads, titles, what the slot and the store do by themselves. All
//! of it has receipts, none of it changes the conversation or holds up a message, and all of it can be off.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use npast::agent::{
    CompressOptions, CompressStage, Conversation, Done, Engine, Event, IdleJob, Idled, Input,
    Policy, Receipt, TurnOptions, WhichSession,
};
use npast::chat::ReplyScript;
use npast::config::{ConfigLayer, Places, Settings};
use npast::ledger::Finish;
use npast::service::{Events, OpenSession, Projects, Request, Service, SessionOpening};
use npast::session::{Db, ReceiptSums, Titled};
use npast::slot::CallKind;
use npast::tools::{CallContext, Effect, MemoryTool, Tool, ToolAnswer};
use serde_json::{Value, json};

use crate::agent::{Bench, calls, says, tool};
use crate::gallery;
use crate::model::{self, Class};
use crate::talk::{self, Desk, Said, turn};
use crate::witness::{Reader, Stored};

/// A small context: with 8,192 tokens the tiny models take long on four classes.
const LIMIT: usize = 2048;

fn desk(class: Class, limit: usize) -> Desk {
    let mut desk = Desk::new(class, None);
    desk.system = Some("You are brief.".to_owned());
    desk.limit = limit;
    desk
}

fn script(lines: &[Value]) -> ReplyScript {
    let lines: Vec<String> = lines.iter().map(ToString::to_string).collect();
    ReplyScript::read(lines.join("\n").as_bytes()).expect("a script")
}

/// What a chat's turns run with.
fn reads() -> TurnOptions {
    TurnOptions {
        compress: Some(CompressOptions::default()),
        idle: true,
        ..talk::greedy(400)
    }
}

/// Words that differ from one turn to the next.
fn words(seed: usize, count: usize) -> String {
    let word = |i: usize| format!("{} ", (i * i * 7 + seed * 131) % 997);
    let words: String = (0..count).map(word).collect();
    words.trim_end().to_owned()
}

fn open(engine: &Engine, desk: &Desk, open: WhichSession) -> Conversation {
    let new = desk.new_session();
    engine.conversation(open, new).expect("a session")
}

fn say(talk: &mut Conversation, words: &str, reply: &str) -> Said {
    let mut script = script(&[json!({ "content": reply })]);
    let input = Input::Text(words.to_owned());
    turn(talk, input, &reads(), Some(&mut script), &|_| false).expect("a turn")
}

/// Turns until a compression is due.
fn fill(talk: &mut Conversation, words_a_turn: usize) {
    for at in 0.. {
        say(
            talk,
            &format!("Fact {at} is {}", words(at, words_a_turn)),
            &format!("Noted {at}."),
        );
        if talk.idle_jobs(&reads()).contains(&IdleJob::Compress) {
            return;
        }
    }
}

/// What a piece of idle work came to.
struct Rested {
    done: Idled,
    receipts: Vec<Receipt>,
}

/// Does a piece of idle work; `stop` sees each event and says when something more urgent comes.
fn rest(
    talk: &mut Conversation,
    job: IdleJob,
    lines: &[Value],
    stop: &dyn Fn(&Event) -> bool,
) -> Rested {
    let cancel = Arc::new(AtomicBool::new(false));
    let (mut script, mut receipts) = (script(lines), Vec::new());
    let flag = cancel.clone();
    let done = talk.idle(
        job,
        &reads(),
        None,
        Some(&mut script),
        &cancel,
        &mut |event| {
            if stop(&event) {
                flag.store(true, Ordering::SeqCst);
            }
            if let Event::Receipt(receipt) = event {
                receipts.push(*receipt);
            }
        },
    );
    Rested {
        done: done.expect("no error"),
        receipts,
    }
}

fn stage(wanted: CompressStage) -> impl Fn(&Event) -> bool {
    move |event| matches!(event, Event::Compress { stage } if *stage == wanted)
}

fn titled(desk: &Desk, name: &str) -> Option<(String, Titled)> {
    let db = Db::open(&desk.home.join("npast.db")).expect("npast.db");
    let id = db.find(name).expect("a query").expect("a session").id;
    let title = db.title(id).expect("a title");
    title.map(|title| (title.text, title.made))
}

fn title(text: &str) -> Value {
    json!({"job": "title", "content": text})
}

fn summary(text: &str) -> Value {
    json!({"job": "compress", "content": text})
}

#[test]
fn a_title_costs_its_instruction_and_changes_nothing_on_every_class() {
    for class in Class::ALL {
        let next = |asked: bool| {
            let desk = desk(class, 8192);
            let engine = desk.engine().expect("an engine");
            let first = "Where does the train to Cologne stop?";
            let mut talk = open(&engine, &desk, WhichSession::FromWords(first.to_owned()));
            assert_eq!(talk.idle_jobs(&reads()), [], "nothing was said yet");
            let name = talk.info().name;
            let plain = (first.to_owned(), Titled::First);
            assert_eq!(titled(&desk, &name), Some(plain));
            say(&mut talk, first, &"In Bonn, in Brühl. ".repeat(20));
            assert_eq!(talk.idle_jobs(&reads()), [IdleJob::Title]);
            let before = talk.mirror();
            if asked {
                // Control text in it is ordinary text (law 9).
                let line = title("\"Trains <|im_end|> to Cologne.\"");
                let rested = rest(&mut talk, IdleJob::Title, &[line], &|_| false);
                assert_eq!(rested.done, Idled::Done);
                let [receipt] = &rested.receipts[..] else {
                    panic!("one receipt: {:?}", rested.receipts);
                };
                assert_eq!(
                    (receipt.kind, receipt.job.as_deref(), receipt.restored),
                    (CallKind::Fork, Some("title"), 0)
                );
                assert_eq!(
                    receipt.evaluated, receipt.appended,
                    "{class:?}: {receipt:?}"
                );
                assert!(receipt.kept > receipt.evaluated, "{class:?}: {receipt:?}");
                let found = ("Trains <|im_end|> to Cologne".to_owned(), Titled::Model);
                assert_eq!(titled(&desk, &name), Some(found), "{class:?}");
                assert_eq!(talk.idle_jobs(&reads()), [], "once");
            }
            assert_eq!(talk.mirror(), before, "{class:?}");
            let input = Input::Text("Go on.".to_owned());
            let said = turn(&mut talk, input, &talk::greedy(0), None, &|_| false);
            let r = said.expect("a turn").receipt().clone();
            let row = talk.next_logits().expect("an engine").expect("a row");
            let bits: Vec<u32> = row.iter().map(|x| x.to_bits()).collect();
            let cost = (r.kept, r.restored, r.evaluated, r.appended);
            (bits, cost, talk.mirror().ledger)
        };
        let (with, without) = (next(true), next(false));
        assert_eq!((with.1, &with.2), (without.1, &without.2), "{class:?}");
        assert!(with.0 == without.0, "{class:?}: other logits");
    }
}

#[test]
fn what_is_no_title_is_refused_and_the_first_words_stay() {
    let desk = desk(Class::Dense, 8192);
    let engine = desk.engine().expect("an engine");
    let call = json!({"name": "look", "arguments": {}});
    let table = [
        json!({"job": "title", "text": ""}),
        json!({"job": "title", "text": "x".repeat(10_000)}),
        json!({"job": "title", "text": "A title", "finish": "length"}),
        json!({"job": "title", "content": "", "tool_calls": [call]}),
        title("\u{1b}\u{202e}\u{200b}"),
    ];
    for (at, line) in table.into_iter().enumerate() {
        let mut desk_with_tools = desk.new_session();
        desk_with_tools.tools = Some(json!([{"type": "function", "function": {
            "name": "look", "description": "Looks.", "parameters": {"type": "object"}}}]));
        let first = format!("Question {at}");
        let opened = engine.conversation(WhichSession::FromWords(first.clone()), desk_with_tools);
        let mut talk = opened.expect("a session");
        say(&mut talk, &first, "An answer.");
        let before = talk.mirror();
        let rested = rest(
            &mut talk,
            IdleJob::Title,
            std::slice::from_ref(&line),
            &|_| false,
        );
        assert_eq!(rested.done, Idled::Done, "{line}");
        let kept = Some((first, Titled::Kept));
        assert_eq!(titled(&desk, &talk.info().name), kept, "{line}");
        assert_eq!(talk.mirror(), before, "{line}");
        assert_eq!(talk.idle_jobs(&reads()), [], "not tried again: {line}");
    }
    // A name that the user gave says what it is about.
    let mut talk = open(&engine, &desk, WhichSession::Named("mine".to_owned()));
    say(&mut talk, "A question", "An answer.");
    assert_eq!(talk.idle_jobs(&reads()), []);
    assert_eq!(titled(&desk, "mine"), None);
}

#[test]
fn a_model_that_thinks_gives_a_title_without_thinking_and_a_compressed_session_keeps_it() {
    let mut desk = Desk::new(Class::Dense, Some(model::THINKER));
    desk.limit = LIMIT;
    let engine = desk.engine().expect("an engine");
    let mut talk = open(&engine, &desk, WhichSession::FromWords("Facts".to_owned()));
    let line = json!({"reasoning": "hm", "content": "Noted."});
    let input = Input::Text(format!("Facts: {}", words(0, 60)));
    let said = turn(
        &mut talk,
        input,
        &reads(),
        Some(&mut script(&[line])),
        &|_| false,
    );
    assert_eq!(said.expect("a turn").reasoning.trim(), "hm");
    let rested = rest(&mut talk, IdleJob::Title, &[title("Numbers")], &|_| false);
    assert_eq!(rested.done, Idled::Done);
    let found = Some(("Numbers".to_owned(), Titled::Model));
    assert_eq!(titled(&desk, "facts"), found);
    fill(&mut talk, 15);
    let rested = rest(
        &mut talk,
        IdleJob::Compress,
        &[summary("Goal: facts.")],
        &|_| false,
    );
    assert_eq!((rested.done, &*talk.info().name), (Idled::Done, "facts-2"));
    assert_eq!(titled(&desk, "facts-2"), found);
    assert_eq!(talk.idle_jobs(&reads()), []);
}

#[test]
fn a_compression_that_something_more_urgent_stops_leaves_the_old_conversation_or_the_new_one() {
    for class in Class::ALL {
        let desk = desk(class, LIMIT);
        let engine = desk.engine().expect("an engine");
        let mut talk = open(&engine, &desk, WhichSession::Named("work".to_owned()));
        fill(&mut talk, 15);
        let before = talk.mirror();
        // While the summary is written: nothing has happened, and the message is answered here.
        let line = summary(&format!("Goal: facts. {}", words(3, 30)));
        let stopped = rest(
            &mut talk,
            IdleJob::Compress,
            std::slice::from_ref(&line),
            &stage(CompressStage::Writing),
        );
        assert_eq!(stopped.done, Idled::Stopped, "{class:?}");
        assert_eq!(talk.mirror(), before, "{class:?}");
        let said = say(&mut talk, "Meanwhile.", "Yes.");
        let r = said.receipt();
        assert_eq!(
            (r.evaluated, &r.miss, r.restored),
            (r.appended, &None, 0),
            "{class:?}"
        );
        assert_eq!((&*talk.info().name, &said.notices[..]), ("work", &[][..]));

        // When the new one is stored: it is the conversation, and is still to be read.
        let stored = stage(CompressStage::Stored);
        let second = rest(&mut talk, IdleJob::Compress, &[line], &stored);
        let name = talk.info().name;
        assert_eq!(
            (second.done, &*name),
            (Idled::Stopped, "work-2"),
            "{class:?}"
        );
        let [fork] = &second.receipts[..] else {
            panic!("{class:?}: {:?}", second.receipts);
        };
        let of = (fork.kind, fork.job.as_deref());
        assert_eq!(of, (CallKind::Fork, Some("compress")), "{class:?}");
        assert_eq!((fork.evaluated, fork.finish), (fork.appended, Finish::Stop));
        // Then it is read, and the next message finds it done.
        assert_eq!(talk.idle_jobs(&reads()), [IdleJob::Read], "{class:?}");
        let rested = rest(&mut talk, IdleJob::Read, &[], &|_| false);
        assert_eq!(rested.done, Idled::Done);
        let [read] = &rested.receipts[..] else {
            panic!("{class:?}: {:?}", rested.receipts);
        };
        assert_eq!(
            (read.kind, read.job.as_deref()),
            (CallKind::Idle, Some("read"))
        );
        assert!(read.evaluated <= read.appended, "{class:?}: {read:?}");
        assert_eq!(
            (&read.miss, read.finish),
            (&None, Finish::Stop),
            "{class:?}"
        );
        assert_eq!(talk.idle_jobs(&reads()), []);
        let said = say(&mut talk, "And now?", "Now.");
        let r = said.receipt();
        assert_eq!(
            (r.evaluated, &r.miss, r.restored),
            (r.appended, &None, 0),
            "{class:?}"
        );
        assert_eq!(r.kept, read.context, "{class:?}");
        talk.close().expect("a close");
    }
}

#[test]
fn idle_work_stops_within_one_decode_call() {
    for class in [Class::Dense, Class::Hybrid] {
        let desk = desk(class, 8192);
        let engine = desk.engine().expect("an engine");
        let mut talk = open(&engine, &desk, WhichSession::Named("work".to_owned()));
        fill(&mut talk, 100);
        let before = talk.mirror();
        let slot = engine.slot();
        let cancel = Arc::new(AtomicBool::new(false));
        let line = summary(&words(5, 200));
        let (done, more) = std::thread::scope(|scope| {
            let from = slot.decodes();
            let (talk, cancel) = (&mut talk, &cancel);
            let work = scope.spawn(move || {
                let mut script = script(&[line]);
                let job = IdleJob::Compress;
                talk.idle(job, &reads(), None, Some(&mut script), cancel, &mut |_| {})
            });
            while slot.decodes() < from + 5 && !work.is_finished() {
                std::thread::yield_now();
            }
            cancel.store(true, Ordering::SeqCst);
            let at = slot.decodes();
            let done = work.join().expect("idle work").expect("no error");
            (done, slot.decodes() - at)
        });
        assert_eq!((done, talk.mirror()), (Idled::Stopped, before), "{class:?}");
        assert!(
            more <= 1,
            "{class:?}: {more} decode calls after the flag was set"
        );
    }
}

fn service(desk: &Desk, idle: bool) -> Service {
    let places = Places {
        home: desk.home.clone(),
        config: desk.home.join("config.toml"),
        config_named: false,
    };
    let settings = Settings::new(ConfigLayer::default()).expect("settings");
    let projects = Arc::new(Projects::new(places, settings));
    Service::new(desk.engine().expect("an engine"), projects, idle)
}

fn enter(service: &Service, desk: &Desk, open: WhichSession, lines: &[Value]) -> OpenSession {
    let opening = SessionOpening {
        open,
        new: desk.new_session(),
        agent: false,
        attended: false,
        script: Some(script(lines)),
    };
    service.open(opening).expect("a session")
}

fn ask(session: &OpenSession, text: &str) -> Vec<Receipt> {
    let request = Request::Say {
        input: Input::Text(text.to_owned()),
        options: reads(),
    };
    let (mut receipts, mut done) = (Vec::new(), None);
    for event in session.ask(request).expect("a place") {
        match event {
            Event::Receipt(receipt) => receipts.push(*receipt),
            Event::Done(end) => done = Some(end),
            Event::Error { message, .. } => panic!("{message}"),
            _ => {}
        }
    }
    assert!(matches!(done, Some(Done::Turn(_))), "{done:?}");
    receipts
}

fn until(events: &mut Events, found: impl Fn(&Event) -> bool) -> Vec<Event> {
    let mut seen = Vec::new();
    for event in events {
        let last = found(&event);
        seen.push(event);
        if last {
            return seen;
        }
    }
    panic!("the session ended: {seen:?}");
}

/// Facts and their answers, until a compression is due after the last of them.
fn facts(limit: usize) -> (Vec<String>, Vec<Value>) {
    let said: Vec<String> = (0..limit / 20)
        .map(|at| format!("Fact {at} is {}", words(at, 15)))
        .collect();
    let replies = (0..limit).map(|at| json!({"content": format!("Noted {at}.")}));
    (said, replies.collect())
}

#[test]
fn the_next_message_finds_a_compression_done_that_ran_while_the_user_read() {
    for class in Class::ALL {
        let desk = desk(class, LIMIT);
        let service = service(&desk, true);
        let (said, mut lines) = facts(LIMIT);
        lines.push(summary("Goal: facts."));
        // One that a message stops has used its line up.
        lines.extend((0..LIMIT).map(|_| title("Facts")));
        let session = enter(
            &service,
            &desk,
            WhichSession::FromWords("Facts".into()),
            &lines,
        );
        let mut watched = session.watch();
        let mut texts = said.iter();
        let name = session.info().name;
        while session.info().context < LIMIT * 85 / 100 && session.info().name == name {
            let text = texts.next().expect("a fact");
            let receipts = ask(&session, text);
            assert!(
                receipts.iter().all(|r| r.kind == CallKind::Turn),
                "{receipts:?}"
            );
        }
        // The reader has the answer; the rest happens now.
        until(&mut watched, stage(CompressStage::Read));
        until(&mut watched, |event| matches!(event, Event::Session { .. }));
        assert_eq!(session.info().name, format!("{name}-2"), "{class:?}");
        let receipts = ask(&session, "And now?");
        let [r] = &receipts[..] else {
            panic!("{class:?}: {receipts:?}");
        };
        assert_eq!(
            (r.evaluated, &r.miss, r.restored),
            (r.appended, &None, 0),
            "{class:?}"
        );
        let sums = service.idle_sums();
        assert_eq!(sums["compress"].jobs, 1, "{class:?}: {sums:?}");
        assert!(
            sums["compress"].generated > 0 && sums["read"].evaluated > 0,
            "{sums:?}"
        );
        while titled(&desk, &session.info().name).is_some_and(|t| t.1 == Titled::First) {
            std::thread::yield_now();
        }
        let found = Some(("Facts".to_owned(), Titled::Model));
        assert_eq!(titled(&desk, &format!("{name}-2")), found, "{class:?}");
        drop(session);
        service.close().expect("a close");
    }
}

#[test]
fn messages_at_any_moment_of_idle_work_are_answered_and_the_work_is_done_in_the_end() {
    let desk = desk(Class::Hybrid, LIMIT);
    let service = service(&desk, true);
    let (said, mut lines) = facts(LIMIT);
    lines.extend((0..200).map(|_| summary(&format!("Goal: facts. {}", words(8, 30)))));
    lines.extend((0..200).map(|_| title("Facts")));
    let session = enter(
        &service,
        &desk,
        WhichSession::FromWords("Facts".into()),
        &lines,
    );
    // Another conversation takes the slot in between.
    let other = enter(&service, &desk, WhichSession::Named("other".into()), &lines);
    for (at, text) in said.iter().enumerate().take(70) {
        for r in ask(&session, text) {
            assert_eq!(r.miss.is_some(), r.evaluated > r.appended, "{r:?}");
        }
        if at % 3 == 1 {
            ask(&other, "And you?");
        }
        if at % 5 == 2 {
            std::thread::yield_now();
        }
    }
    while titled(&desk, &session.info().name).is_some_and(|t| t.1 == Titled::First) {
        std::thread::yield_now();
    }
    drop((session, other));
    service.close().expect("nothing hangs");
    let db = Db::open(&desk.home.join("npast.db")).expect("npast.db");
    assert_eq!(db.survey().expect("a survey").damaged, []);
    let reader = Reader::of(&desk);
    for summary in db.list().expect("a list") {
        let stored = Stored::of(&desk, &summary.session.name);
        let (history, ledger) = (reader.render(&stored), reader.text(&stored.ledger));
        assert!(
            history.starts_with(&ledger),
            "{ledger}\n\nis not\n\n{history}"
        );
    }
}

#[test]
fn what_the_slot_and_the_store_do_by_themselves_has_receipts_and_without_idle_time_nothing_is_done()
{
    for idle in [true, false] {
        let desk = desk(Class::Hybrid, 8192);
        let service = service(&desk, idle);
        let replies: Vec<Value> = (0..30)
            .map(|n| json!({"content": format!("{n}")}))
            .collect();
        // One that a message stops has used its line up.
        let titles = vec![title("Numbers"); 30];
        let lines = [replies, titles].concat();
        let session = enter(
            &service,
            &desk,
            WhichSession::FromWords("Numbers".into()),
            &lines,
        );
        let name = session.info().name;
        for at in 0..24 {
            ask(&session, &format!("Number {at}?"));
        }
        let jobs = ["title", "sample", "merge"];
        while idle
            && jobs
                .iter()
                .any(|job| !service.idle_sums().contains_key(*job))
        {
            std::thread::yield_now();
        }
        let sums = service.idle_sums();
        drop(session);
        service.close().expect("a close");
        let id = desk.stored(&name).session.id;
        drop(service);
        let db = Db::open(&desk.home.join("npast.db")).expect("npast.db");
        let receipts = db.receipts(id).expect("receipts");
        let sum = |of: &str| receipts.iter().filter_map(|r| r[of].as_u64()).sum::<u64>();
        let called = receipts.iter().filter(|r| r["call"] != 0).count() as u64;
        let all = ReceiptSums {
            calls: called,
            evaluated: sum("evaluated"),
            restored: sum("restored"),
            kept: sum("kept"),
            generated: sum("generated"),
        };
        assert_eq!(desk.stored(&name).session.usage, all);
        let of = |job: &str| receipts.iter().filter(|r| r["job"] == job).count() as u64;
        let words = titled(&desk, &name).expect("a title");
        if !idle {
            assert!(sums.is_empty(), "{sums:?}");
            assert_eq!(words, ("Numbers".to_owned(), Titled::First));
            assert!(receipts.iter().all(|r| r["kind"] == "turn"), "{receipts:?}");
            continue;
        }
        assert_eq!(words.1, Titled::Model);
        for job in jobs {
            assert!(of(job) >= 1, "{job}: {receipts:?}");
            let one = receipts.iter().find(|r| r["job"] == job).expect("one");
            let kind = if job == "title" { "fork" } else { "idle" };
            assert_eq!(one["kind"], kind, "{one}");
        }
        let merged = receipts.iter().find(|r| r["job"] == "merge").expect("one");
        assert!(merged["saved_bytes"].as_u64() > Some(0), "{merged}");
        let sample = receipts.iter().find(|r| r["job"] == "sample").expect("one");
        assert_eq!(
            (&sample["call"], &sample["finish"]),
            (&json!(0), &json!("stop"))
        );
        assert!(sample["evaluated"].as_u64() > Some(0), "{sample}");
    }
}

/// Waits until the session's thread waits for a request and finds nothing else to do.
fn at_rest(session: &OpenSession) {
    let begun = Instant::now();
    while !session.is_at_rest() {
        assert!(begun.elapsed() < Duration::from_secs(300), "it never rests");
        std::thread::yield_now();
    }
}

/// A session in which a kind of idle work is due.
fn with_due(job: IdleJob, idle: bool) -> (Desk, Service, OpenSession) {
    let desk = match job {
        IdleJob::Rewrite => {
            let mut desk = Desk::with_model(&gallery::own()[1].model(Class::Dense));
            desk.policy = Policy::Template;
            desk
        }
        _ => desk(Class::Dense, LIMIT),
    };
    let service = service(&desk, idle);
    let which = match job {
        IdleJob::Title => WhichSession::FromWords("Facts".into()),
        _ => WhichSession::Named("facts".into()),
    };
    let thought = json!({"reasoning": "hm", "content": "Yes."});
    let plain = json!({"content": "Yes."});
    let reply = if job == IdleJob::Rewrite {
        thought
    } else {
        plain
    };
    let lines = [reply, title("Facts"), summary("Goal: facts.")];
    let session = enter(&service, &desk, which, &lines);
    // A turn as a chat's, which leaves what can wait.
    ask(&session, "Hello?");
    if matches!(job, IdleJob::Compress | IdleJob::Read) {
        session
            .look(move |talk| {
                fill(talk, 15);
                if job == IdleJob::Read {
                    let stored = stage(CompressStage::Stored);
                    rest(talk, IdleJob::Compress, &[summary("Goal: facts.")], &stored);
                }
            })
            .expect("a look");
    }
    (desk, service, session)
}

#[test]
fn no_idle_work_of_a_session_is_done_without_idle_time_and_each_kind_is_done_with_it() {
    let jobs = [
        (IdleJob::Compress, "compress"),
        (IdleJob::Read, "read"),
        (IdleJob::Title, "title"),
        (IdleJob::Rewrite, "rewrite"),
    ];
    for (job, name) in jobs {
        for idle in [true, false] {
            let (_desk, service, session) = with_due(job, idle);
            at_rest(&session);
            let left = session.look(|talk| talk.idle_jobs(&reads()));
            let left = left.expect("a look").contains(&job);
            let done = service.idle_sums().contains_key(name);
            assert_eq!((left, done), (!idle, idle), "{job:?}, idle {idle}");
            drop(session);
            service.close().expect("a close");
        }
    }
}

#[test]
fn slot_and_store_do_nothing_by_themselves_without_idle_time() {
    for idle in [true, false] {
        let service = service(&desk(Class::Dense, LIMIT), idle);
        assert_eq!(service.has_idle_time(), idle);
    }
}

/// The memory file of the desk's data folder.
fn remembered(bench: &Bench) -> String {
    std::fs::read_to_string(bench.desk.home.join("MEMORY.md")).unwrap_or_default()
}

#[test]
fn before_a_summary_the_model_stores_what_is_worth_it_and_the_conversation_does_not_change() {
    for class in Class::ALL {
        let mut rows = Vec::new();
        for wanted in [true, false] {
            let mut bench = Bench::thinker(class);
            bench.desk.limit = LIMIT;
            let tools = || -> Vec<Box<dyn Tool>> { vec![Box::new(MemoryTool::default())] };
            let mut at = bench.open(&tools);
            let options = TurnOptions {
                compress: Some(CompressOptions {
                    flush_memory: wanted,
                    ..CompressOptions::default()
                }),
                ..reads()
            };
            for n in 0.. {
                at.say(&format!("Fact {n} is {}", words(n, 40)), &[says("Noted.")]);
                if at.talk.idle_jobs(&options).contains(&IdleJob::Compress) {
                    break;
                }
            }
            let before = at.talk.mirror();
            let edit = json!({"file": "memory", "text": "tests: scripts/test"});
            let call = json!({"name": "memory", "arguments": {"edits": [edit]}});
            let lines = [
                json!({"job": "flush", "content": "", "tool_calls": [call]}).to_string(),
                // One that was refused, so that nothing else has changed.
                json!({"job": "compress", "text": ""}).to_string(),
            ];
            let (worked, end) = at.tell(&lines, &|_| false, &mut |at, script, cancel, on| {
                let tools = Some(&mut at.tools);
                let done = at
                    .talk
                    .idle(IdleJob::Compress, &options, tools, script, cancel, on)?;
                assert_eq!(done, Idled::Done);
                Ok(npast::agent::TurnEnd {
                    finish: Finish::Stop,
                    withdrawn: None,
                    stopped: None,
                })
            });
            end.expect("no error");
            let what = format!("{class:?} {wanted}: {:?}", worked.receipts);
            let jobs: Vec<_> = worked
                .receipts
                .iter()
                .map(|r| (r.kind, r.job.as_deref()))
                .collect();
            let (flush, write) = (
                (CallKind::Fork, Some("flush")),
                (CallKind::Fork, Some("compress")),
            );
            match wanted {
                true => assert_eq!(jobs, [flush, write], "{what}"),
                false => assert_eq!(jobs, [write], "{what}"),
            }
            worked.honest();
            assert_eq!(
                remembered(&bench).contains("scripts/test"),
                wanted,
                "{what}"
            );
            assert_eq!(at.talk.mirror(), before, "{what}");
            let worked = at.say("And now?", &[says("Now.")]);
            let said = worked
                .notices
                .iter()
                .filter(|n| n.contains("what is remembered"));
            assert_eq!(said.count(), usize::from(wanted), "{:?}", worked.notices);
            worked.honest();
            let input = Input::Text("And then?".to_owned());
            let said = turn(&mut at.talk, input, &talk::greedy(0), None, &|_| false);
            said.expect("a turn");
            let row = at.talk.next_logits().expect("a slot").expect("a row");
            rows.push(row.iter().map(|x| x.to_bits()).collect::<Vec<_>>());
            at.close();
        }
        assert!(rows[0] == rows[1], "{class:?}: other logits");
    }
}

/// What a template rewrites with each message is read before the message comes.
#[test]
fn the_template_policy_has_read_what_it_rewrites_before_the_next_message_on_every_class() {
    let sample = &gallery::own()[1];
    let thought =
        json!({"reasoning": "I think about it. ".repeat(8), "content": "Yes. ".repeat(30)});
    for class in Class::ALL {
        let lives = |ahead: bool| {
            let mut desk = Desk::with_model(&sample.model(class));
            desk.policy = Policy::Template;
            desk.system = Some("You are brief.".to_owned());
            let engine = desk.engine().expect("an engine");
            let mut talk = open(&engine, &desk, WhichSession::Named("work".to_owned()));
            let mut costs = Vec::new();
            for words in ["One?", "Two?", "Three?"] {
                let mut script = script(std::slice::from_ref(&thought));
                let input = Input::Text(words.to_owned());
                let said = turn(&mut talk, input, &reads(), Some(&mut script), &|_| false);
                let r = said.expect("a turn").receipt().clone();
                costs.push((r.evaluated, r.prompt(), r.miss.is_some()));
                assert_eq!(talk.idle_jobs(&reads()), [IdleJob::Rewrite], "{class:?}");
                if !ahead {
                    continue;
                }
                let before = talk.mirror();
                let rested = rest(&mut talk, IdleJob::Rewrite, &[], &|_| false);
                assert_eq!(rested.done, Idled::Done);
                let [r] = &rested.receipts[..] else {
                    panic!("{class:?}: {:?}", rested.receipts);
                };
                assert_eq!(
                    (r.kind, r.job.as_deref()),
                    (CallKind::Idle, Some("rewrite"))
                );
                assert_eq!(
                    r.evaluated > r.appended,
                    r.miss.is_some(),
                    "{class:?}: {r:?}"
                );
                assert_eq!(
                    talk.mirror(),
                    before,
                    "{class:?}: the ledger waits for the message"
                );
                assert_eq!(talk.idle_jobs(&reads()), [], "{class:?}: once");
            }
            let end = talk.mirror().ledger;
            talk.close().expect("a close");
            (costs, end)
        };
        let ((ahead, ledger), (plain, same)) = (lives(true), lives(false));
        assert_eq!(ledger, same, "{class:?}");
        println!(
            "{:<10} read ahead {ahead:?}, else {plain:?}",
            class.as_str()
        );
        for (ahead, plain) in ahead[1..].iter().zip(&plain[1..]) {
            // The message and what stands around it.
            assert!(
                ahead.0 < 40 && 2 * ahead.0 < plain.0,
                "{class:?}: {ahead:?} {plain:?}"
            );
            assert_eq!(
                (ahead.1, ahead.2, plain.2),
                (plain.1, true, true),
                "{class:?}"
            );
        }
    }
}

#[test]
fn a_retry_that_fills_the_context_is_compressed_in_its_middle() {
    for class in [Class::Dense, Class::Recurrent] {
        let mut bench = Bench::thinker(class);
        bench.desk.limit = 3072;
        let tools = || -> Vec<Box<dyn Tool>> {
            let long = |arguments: &Value, _: &CallContext<'_>| {
                let x = arguments["x"].as_str().unwrap_or_default();
                ToolAnswer::good(words(x.parse().unwrap_or(0), 90))
            };
            vec![tool("look", Effect::Reads, long)]
        };
        let mut at = bench.open(&tools);
        at.say("Look at all of it.", &[says("No.")]);
        let options = TurnOptions {
            compress: Some(CompressOptions::default()),
            ..talk::greedy(400)
        };
        let mut lines: Vec<String> = (0..14)
            .map(|i| calls(&[("look", &i.to_string())]))
            .collect();
        lines.push(says("All was seen."));
        let goal = |i| json!({"job": "compress", "content": format!("Goal: look. Round {i}.")});
        lines.extend((0..6).map(|i| goal(i).to_string()));
        let (worked, end) = at.tell(&lines, &|_| false, &mut |at, script, cancel, on| {
            at.talk
                .retry(&options, Some(&mut at.tools), script, cancel, on)
        });
        let what = format!("{class:?}: {:?}", worked.notices);
        assert_eq!(end.expect("a turn").finish, Finish::Stop, "{what}");
        let last = worked.story.last().map(String::as_str);
        assert_eq!(last, Some("text All was seen."), "{what}");
        let made = worked
            .notices
            .iter()
            .filter(|n| n.contains("it goes on as"));
        assert!(made.count() >= 2, "{what}");
        let newest = Stored::of(&bench.desk, &at.talk.info().name);
        let said = newest.outline();
        let said = said.iter().filter(|m| m.2.contains("Look at all of it."));
        assert_eq!(said.count(), 1, "{what}");
        // The reply that was replaced is a branch of the first session.
        let branches = talk::branches(&bench.desk, "work");
        assert_eq!(branches.len(), 1, "{what}");
        at.close();
    }
}
