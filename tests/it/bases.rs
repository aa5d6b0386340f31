//! The beginning of the next session (system prompt and tools) is evaluated in idle time when it is another
//! one than before: the next session restores it and reads its first message alone, and the conversation
//! that was in the slot meanwhile does not notice.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use npast::agent::{AgentSetup, Done, Event, Idled, Input, Receipt, TurnOptions, WhichSession};
use npast::chat::ReplyScript;
use npast::config::{ConfigLayer, Places, Settings};
use npast::service::{OpenSession, Projects, Request, Service, SessionOpening};
use npast::slot::CallKind;
use npast::tools::{CallContext, Effect, Tool, ToolAnswer};
use serde_json::{Value, json};

use crate::agent::{At, Bench, says, setup, tool};
use crate::model::Class;
use crate::rig::bits;
use crate::talk;

fn tools() -> Vec<Box<dyn Tool>> {
    let look = |_: &Value, _: &CallContext<'_>| ToolAnswer::good("Nothing.".to_owned());
    vec![tool("look", Effect::Reads, look)]
}

/// What the next session would start with: a part of it is what the open one has.
fn next() -> AgentSetup {
    let rules: String = (0..60)
        .map(|i| format!(" Rule {i} is {}.", i * 7 % 31))
        .collect();
    AgentSetup {
        system: format!("You are brief.{rules}"),
        ..setup(tools())
    }
}

/// Has the next session's beginning made; what that came to.
fn prepared(at: &mut At) -> (Idled, Vec<Receipt>) {
    let mut receipts = Vec::new();
    let done = at
        .talk
        .prepare_next(&next(), &Arc::default(), &mut |event| {
            if let Event::Receipt(receipt) = event {
                receipts.push(*receipt);
            }
        });
    (done.expect("no error"), receipts)
}

/// The first turn of a session that starts like this.
fn first(bench: &Bench, engine: &npast::agent::Engine, name: &str) -> (Receipt, usize) {
    let new = bench.new_session(next());
    let open = WhichSession::Named(name.to_owned());
    let mut talk = engine.conversation(open, new).expect("a session");
    let mut script = ReplyScript::read(says("Yes.").as_bytes()).expect("a script");
    let input = Input::Text(format!("I am {name}."));
    let said = talk::turn(
        &mut talk,
        input,
        &talk::greedy(50),
        Some(&mut script),
        &|_| false,
    );
    let receipt = said.expect("a turn").receipt().clone();
    talk.close().expect("a close");
    let head = bench.desk.stored(name).session.head;
    (receipt, head)
}

#[test]
fn the_next_session_reads_its_first_message_alone_on_every_class() {
    for class in Class::ALL {
        let life = |ahead: bool| {
            let bench = Bench::thinker(class);
            let mut at = bench.open(&tools);
            at.say("One?", &[says("Yes, one.")]).honest();
            if ahead {
                let (done, receipts) = prepared(&mut at);
                let [r] = &receipts[..] else {
                    panic!("{class:?}: {receipts:?}");
                };
                assert_eq!(
                    (done, r.kind, r.job.as_deref(), r.restored, r.generated),
                    (Idled::Done, CallKind::Fork, Some("base"), 0, 0),
                    "{class:?}"
                );
                assert_eq!(
                    (r.evaluated, &r.miss),
                    (r.appended, &None),
                    "{class:?}: {r:?}"
                );
                let (done, receipts) = prepared(&mut at);
                assert_eq!(
                    (done, receipts.len()),
                    (Idled::Done, 0),
                    "{class:?}: it is stored"
                );
            }
            // What stands in the slot goes on as if nothing had been done.
            let input = Input::Text("Two?".to_owned());
            let said = talk::turn(&mut at.talk, input, &talk::greedy(0), None, &|_| false);
            let r = said.expect("a turn").receipt().clone();
            assert_eq!(
                (r.evaluated, r.restored, &r.miss),
                (r.appended, 0, &None),
                "{class:?}"
            );
            let row = at.talk.next_logits().expect("a slot").expect("a row");
            (bench, at, bits(&row))
        };
        let (bench, at, with) = life(true);
        let (other, plain, without) = life(false);
        assert!(with == without, "{class:?}: other logits");
        at.close();
        plain.close();
        for (bench, ahead) in [(&bench, true), (&other, false)] {
            for process in 0..2 {
                let engine = bench.desk.engine().expect("an engine");
                let (r, head) = first(bench, &engine, &format!("next{process}"));
                let what = format!("{class:?}, {ahead}, process {process}: {r:?}");
                let found = r.kept + r.restored;
                match (ahead, process) {
                    (true, 0) => assert_eq!(found, head, "{what}"),
                    (false, 0) => assert!(found < head, "{what}"),
                    // What both first messages begin with may be stored too.
                    _ => assert!(found >= head, "{what}"),
                }
                assert_eq!(r.evaluated, r.prompt() - found, "{what}");
                assert_eq!(r.miss, None, "{what}");
            }
        }
    }
}

#[test]
fn making_the_next_beginning_stops_within_one_decode_call_and_stores_nothing_then() {
    for class in [Class::Dense, Class::Hybrid] {
        let bench = Bench::thinker(class);
        let engine = bench.desk.engine().expect("an engine");
        let mut at = bench.enter(&engine, "work", &tools).expect("a session");
        at.say("One?", &[says("Yes, one.")]);
        let before = at.talk.mirror();
        let slot = engine.slot();
        let cancel = Arc::new(AtomicBool::new(false));
        let (done, more) = std::thread::scope(|scope| {
            let from = slot.decodes();
            let (talk, cancel) = (&mut at.talk, &cancel);
            let work = scope.spawn(move || talk.prepare_next(&next(), cancel, &mut |_| {}));
            while slot.decodes() < from + 3 && !work.is_finished() {
                std::thread::yield_now();
            }
            cancel.store(true, Ordering::SeqCst);
            let at = slot.decodes();
            let done = work.join().expect("idle work").expect("no error");
            (done, slot.decodes() - at)
        });
        assert_eq!(
            (done, at.talk.mirror()),
            (Idled::Stopped, before),
            "{class:?}"
        );
        assert!(
            more <= 1,
            "{class:?}: {more} decode calls after the flag was set"
        );
        // It is made when there is time again.
        let (done, receipts) = prepared(&mut at);
        assert_eq!((done, receipts.len()), (Idled::Done, 1), "{class:?}");
        at.close();
    }
}

fn service(bench: &Bench, idle: bool) -> Service {
    let places = Places {
        home: bench.desk.home.clone(),
        config: bench.desk.home.join("config.toml"),
        config_named: false,
    };
    // The prompt and the tools of all of them are long.
    let others = npast::tools::built_in();
    let others = others.iter().map(|tool| tool.spec().name.clone());
    let others = others.filter(|name| name != "memory");
    let layer = ConfigLayer {
        approve: Some("auto".to_owned()),
        without_tools: Some(others.chain(["terminal".to_owned()]).collect()),
        ..ConfigLayer::default()
    };
    let settings = Settings::new(layer).expect("settings");
    let projects = Arc::new(Projects::new(places, settings));
    Service::new(bench.desk.engine().expect("an engine"), projects, idle)
}

fn enter(service: &Service, bench: &Bench, name: &str, lines: &[String]) -> OpenSession {
    let mut new = bench.new_session(setup(tools()));
    (new.setup, new.system, new.tools) = (None, None, None);
    let opening = SessionOpening {
        open: WhichSession::Named(name.to_owned()),
        new,
        agent: true,
        attended: false,
        script: Some(ReplyScript::read(lines.join("\n").as_bytes()).expect("a script")),
    };
    service.open(opening).expect("a session")
}

fn ask(session: &OpenSession, text: &str) -> Vec<Receipt> {
    let request = Request::Say {
        input: Input::Text(text.to_owned()),
        options: TurnOptions {
            idle: true,
            ..talk::greedy(200)
        },
    };
    let (mut receipts, mut done) = (Vec::new(), false);
    for event in session.ask(request).expect("a place") {
        match event {
            Event::Receipt(receipt) => receipts.push(*receipt),
            Event::Done(end) => done = matches!(end, Done::Turn(_)),
            Event::Error { message, .. } => panic!("{message}"),
            _ => {}
        }
    }
    assert!(done);
    let begun = Instant::now();
    while !session.is_at_rest() {
        assert!(begun.elapsed() < Duration::from_secs(300), "it never rests");
        std::thread::yield_now();
    }
    receipts
}

#[test]
fn what_the_model_remembers_is_in_the_next_beginning_which_is_made_in_idle_time_alone() {
    for idle in [true, false] {
        let mut bench = Bench::thinker(Class::Dense);
        bench.desk.limit = 8192;
        let service = service(&bench, idle);
        // It stands behind the memory. What is missing of a few tokens only is not looked for on disk.
        let words = "Use make for all that is built. ".repeat(40);
        std::fs::write(bench.folder().join("AGENTS.md"), words).expect("a file");
        let edit = json!({"file": "memory", "text": "The tests are run by scripts/test."});
        let call = json!({"name": "memory", "arguments": {"edits": [edit]}});
        let lines = [
            says("Yes."),
            json!({"reasoning": "hm", "content": "", "tool_calls": [call]}).to_string(),
            says("I keep it."),
            says("Yes."),
        ];
        let session = enter(&service, &bench, "work", &lines);
        let made = || service.idle_sums().get("base").map_or(0, |sum| sum.jobs);
        ask(&session, "Hello?");
        assert_eq!(made(), 0, "its own beginning is stored already");
        ask(&session, "Remember how the tests are run.");
        assert_eq!(made(), u64::from(idle));
        ask(&session, "And now?");
        assert_eq!(made(), u64::from(idle), "once");

        let session = enter(&service, &bench, "next", &[says("Yes.")]);
        let receipts = ask(&session, "Hello?");
        let stored = bench.desk.stored("next");
        let prompt = stored.session.preface.as_deref().unwrap_or_default();
        assert!(prompt.contains("run by scripts/test"), "{prompt}");
        let (r, head) = (&receipts[0], stored.session.head);
        assert_eq!(r.kept + r.restored == head, idle, "{head}: {r:?}");
        assert_eq!(r.evaluated == r.prompt() - head, idle, "{head}: {r:?}");
        drop(session);
        service.close().expect("a close");
    }
}
