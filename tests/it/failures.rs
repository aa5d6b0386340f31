//! The truth after a failed write: npast.db fails at every statement of every operation, once or from
//! there on. Afterwards memory and disk say the same, what a user said is there once or handed back,
//! what was shown is stored, and the next message works.

use npast::agent::{
    AgentError, Conversation, Engine, Event, Input, Options, TurnOptions, WhichSession,
};
use npast::chat::ReplyScript;
use npast::session::fault::{Count, Fault, Reach, Trouble};
use npast::session::{Db, MessageState};
use serde_json::json;

use crate::agent::{At, TOOLLESS, Worked, calls, says};
use crate::house::{House, while_failing};
use crate::model::{CHATML, Class};
use crate::talk::{Desk, greedy};

/// Something that is done in a session, and what comes before it.
struct Path {
    name: &'static str,
    prepare: fn(&mut At),
    act: fn(&mut At) -> (Worked, Result<(), AgentError>),
}

fn text(words: &str) -> Input {
    Input::Text(words.to_owned())
}

/// More than the tokens that are stored at once.
fn long() -> String {
    says(&"word ".repeat(24))
}

fn steps() -> Vec<String> {
    let first = calls(&[("read", "a"), ("read", "b"), ("write", "c")]);
    vec![first, calls(&[("fail", "d")]), long()]
}

fn said(at: &mut At) {
    at.say("One.", &[says("First.")]);
}

fn say(at: &mut At, words: &str, lines: &[String]) -> (Worked, Result<(), AgentError>) {
    let (worked, end) = at.attempt(text(words), lines, &|_| false);
    (worked, end.map(drop))
}

fn paths() -> Vec<Path> {
    let path = |name, prepare, act| Path { name, prepare, act };
    vec![
        path("first message", |_| (), |at| say(at, "Do it.", &[long()])),
        path("message", said, |at| say(at, "Do it.", &[long()])),
        path("steps", said, |at| say(at, "Do it.", &steps())),
        path("steer", said, |at| {
            let steering = at.steering();
            let (worked, end) = at.attempt(text("Do it."), &steps(), &|event| {
                if matches!(event, Event::ToolCall { name, .. } if name == "read") {
                    steering.left();
                    steering.steer("Not there.");
                }
                false
            });
            (worked, end.map(drop))
        }),
        path("retry", said, |at| {
            let (worked, end) = at.tried(&[calls(&[("write", "a")]), long()], &|_| false);
            (worked, end.map(drop))
        }),
        path("retry for nothing", said, |at| {
            let nothing = r#"{"text":"","finish":"interrupted"}"#.to_owned();
            let (worked, end) = at.tried(&[nothing], &|_| false);
            (worked, end.map(drop))
        }),
        path("edit", said, |at| match at.talk.edit() {
            Ok(_) => say(at, "Do it.", &[says("Other.")]),
            Err(error) => (Worked::default(), Err(error)),
        }),
        path("undo", said, |at| {
            (Worked::default(), at.talk.undo(1).map(drop))
        }),
        path(
            "redo",
            |at| {
                said(at);
                at.talk.undo(1).expect("a turn");
            },
            |at| (Worked::default(), at.talk.redo(None).map(drop)),
        ),
        path("fork", said, |at| {
            (Worked::default(), at.talk.fork(None, None).map(drop))
        }),
        path(
            "continue",
            |at| {
                let cut = json!({"text": "hm\n</think>\n\nOne, tw", "finish": "length"});
                at.say("One.", &[cut.to_string()]);
            },
            |at| {
                let more = json!({"text": "o and more"}).to_string();
                let (worked, end) = at.attempt(Input::Continue, &[more], &|_| false);
                (worked, end.map(drop))
            },
        ),
        path("withdraw", said, |at| {
            let words = "word ".repeat(100);
            let press = |event: &Event| matches!(event, Event::Prefill { .. });
            let (worked, end) = at.attempt(text(&words), &[says("Late.")], &press);
            (worked, end.map(drop))
        }),
        path(
            "open message",
            |at| {
                said(at);
                assert!(
                    at.work(text("Do it."), &[]).is_err(),
                    "no reply is prepared"
                );
            },
            |at| {
                let (worked, end) = at.attempt(Input::Open, &steps(), &|_| false);
                (worked, end.map(drop))
            },
        ),
    ]
}

/// Failures of each kind that are tried on an operation, spread over all its statements. With
/// `NPAST_FAULTS` in the environment each statement fails once, which takes half an hour.
const MOST: usize = 8;

fn faults(count: Count) -> Vec<Fault> {
    let every = std::env::var_os("NPAST_FAULTS").is_some();
    let mut all = Vec::new();
    let mut add = |reach, why, of: usize, from: usize| {
        let step = match every {
            true => 1,
            false => of.div_ceil(MOST).max(1),
        };
        let at = (from % step..of).step_by(step);
        all.extend(at.map(|after| Fault { reach, after, why }));
    };
    add(Reach::One, Trouble::Locked, count.statements, 0);
    add(Reach::Writes, Trouble::Full, count.statements, 1);
    add(Reach::All, Trouble::Broken, count.statements, 2);
    add(Reach::Reported, Trouble::Broken, count.commits, 0);
    add(Reach::Pages, Trouble::Full, count.commits, 1);
    all
}

const COUNTED: Fault = Fault {
    reach: Reach::Nothing,
    after: 0,
    why: Trouble::Full,
};

fn tried(house: &House, path: &Path) {
    let mut at = house
        .enter(&format!("{} counted", path.name))
        .expect("a session");
    (path.prepare)(&mut at);
    let (done, count) = while_failing(COUNTED, || (path.act)(&mut at));
    done.1.expect(path.name);
    drop(at);
    let (mut failed, all) = (0, faults(count));
    for (n, fault) in all.iter().enumerate() {
        let what = format!("{}, {fault:?}", path.name);
        let name = format!("{} {n}", path.name);
        let mut at = house.enter(&name).expect(&what);
        (path.prepare)(&mut at);
        let before = house.stored(&name);
        let ((worked, done), _) = while_failing(*fault, || (path.act)(&mut at));
        failed += usize::from(done.is_err());
        // What cannot be read at the failure is read by the next operation.
        house.truth(&what, &mut at, &name, fault.reach != Reach::All);
        house.shown_is_stored(&what, &name, &worked.story);
        house.accounted(&what, &worked);
        assert!(house.said(&name, "Do it.") <= 1, "{what}: said once");
        if path.name == "steer" && worked.story.iter().any(|line| line.starts_with("call")) {
            let left = usize::from(at.steering().left().is_some());
            assert_eq!(house.said(&name, "Not there.") + left, 1, "{what}");
        }
        if !matches!(
            path.name,
            "undo" | "redo" | "edit" | "retry" | "retry for nothing"
        ) {
            // What was answered before stays where it was.
            let fixed = before.ledger.len().saturating_sub(1);
            let replied = before.messages.iter().any(|m| m.role == "assistant");
            let now = house.stored(&name);
            assert!(
                !replied
                    || path.name == "open message"
                    || now.ledger.starts_with(&before.ledger[..fixed]),
                "{what}"
            );
        }
        house.goes_on(&what, &mut at, &name);
    }
    println!(
        "{}: {count:?}, {} failures, {failed} errors",
        path.name,
        all.len()
    );
    assert!(2 * failed > all.len(), "{}: {failed}", path.name);
}

#[test]
fn after_a_failure_at_any_statement_memory_and_disk_say_the_same_and_the_next_message_works() {
    let house = House::new(Class::Dense);
    for path in paths() {
        tried(&house, &path);
    }
}

/// npast.db fails for good at any statement around the one that stores the line, so that nobody can read
/// what became of it.
#[test]
fn a_line_that_was_stored_is_not_handed_back_too_whatever_fails_after_it() {
    let house = House::new(Class::Dense);
    let path = paths()
        .into_iter()
        .find(|p| p.name == "steer")
        .expect("a path");
    let act = |name: &str, fault| {
        let mut at = house.enter(name).expect("a session");
        (path.prepare)(&mut at);
        let ((worked, _), count) = while_failing(fault, || (path.act)(&mut at));
        let called = worked.story.iter().any(|line| line.starts_with("call"));
        (called, at.steering().left().is_some(), count.statements)
    };
    let (_, _, statements) = act("counted", COUNTED);
    for after in statements / 3..statements * 2 / 3 {
        let (reach, why) = (Reach::All, Trouble::Broken);
        let name = format!("steered {after}");
        let (called, left, _) = act(&name, Fault { reach, after, why });
        let said = house.said(&name, "Not there.");
        assert!(
            !called || said + usize::from(left) == 1,
            "{after}: {said} {left}"
        );
    }
}

/// The state of these cannot be cut at a reply that is not stored.
#[test]
fn after_a_failure_a_memory_that_cannot_be_cut_goes_on_too() {
    let house = House::new(Class::Hybrid);
    for path in paths() {
        if matches!(path.name, "message" | "retry") {
            tried(&house, &path);
        }
    }
}

/// Calls that a crash left without results are closed when the session is opened.
#[test]
fn a_failure_while_interrupted_calls_are_closed_leaves_them_for_the_next_opening() {
    let house = House::new(Class::Dense);
    let three = calls(&[("read", "a"), ("write", "b"), ("fail", "c")]);
    let crash = |name: &str| {
        let mut at = house.enter(name).expect("a session");
        let mut script = ReplyScript::read(three.as_bytes()).expect("a script");
        let talk = &mut at.talk;
        crate::talk::turn(talk, text("Go."), &greedy(400), Some(&mut script), &|_| {
            false
        })
        .expect("a turn");
        drop(at);
        let mut db = Db::open(&house.bench.desk.home.join("npast.db")).expect("npast.db");
        let id = db.find(name).expect("a query").expect("the session").id;
        let reply = db.messages(id).expect("messages").pop().expect("a reply");
        let mut unit = db.begin(id).expect("a unit");
        unit.start_run(reply.id, 0, "reads").expect("a mark");
        unit.end_run(reply.id, 0, true, "stored").expect("a result");
        unit.start_run(reply.id, 1, "writes").expect("a mark");
        unit.commit().expect("a commit");
    };
    crash("counted");
    let (at, count) = while_failing(COUNTED, || house.enter("counted"));
    drop(at.expect("a session"));
    let mut failed = 0;
    for (n, fault) in faults(count).into_iter().enumerate() {
        let (what, name) = (format!("{fault:?}"), format!("case {n}"));
        crash(&name);
        let (opened, _) = while_failing(fault, || house.enter(&name));
        let mut at = match opened {
            Ok(at) => at,
            Err(_) => {
                failed += 1;
                house.enter(&name).expect(&what)
            }
        };
        house.truth(&what, &mut at, &name, true);
        let disk = house.stored(&name);
        let outline = disk.outline();
        assert_eq!(outline.len(), 5, "{what}: {outline:?}");
        assert_eq!(outline[2], ("tool", MessageState::Open, "stored"), "{what}");
        assert!(outline[3].2.contains("unknown effect"), "{what}");
        assert!(outline[4].2.contains("not run"), "{what}");
        house.goes_on(&what, &mut at, &name);
    }
    assert!(failed > 10, "{failed}");
}

/// A session of another chat template goes on in a new one that takes its messages over.
#[test]
fn a_failure_while_a_session_goes_on_under_another_template_loses_none_of_its_messages() {
    let desk = Desk::new(Class::Dense, Some(CHATML));
    let open = |engine: &Engine, n: usize| {
        let open = WhichSession::Named(format!("case-{n}"));
        engine.conversation(open, desk.new_session())
    };
    let fine = |talk: &mut Conversation, words: &str| {
        let mut script = ReplyScript::read(&br#"{"text":"Fine."}"#[..]).expect("a script");
        let options = TurnOptions::default();
        crate::talk::turn(talk, text(words), &options, Some(&mut script), &|_| false)
            .expect("a turn")
    };
    const CASES: usize = 60;
    let engine = desk.engine().expect("an engine");
    for n in 0..=CASES {
        fine(&mut open(&engine, n).expect("a session"), "One.");
    }
    drop(engine);

    let options = Options {
        chat_template: Some(TOOLLESS.to_owned()),
        ..desk.options()
    };
    let engine = Engine::open(&options, &mut |_| true).expect("an engine");
    let (counted, count) = while_failing(COUNTED, || open(&engine, CASES));
    drop(counted.expect("a session"));
    let mut failed = 0;
    let faults = faults(count);
    assert!(faults.len() <= CASES, "{count:?}");
    for (n, fault) in faults.into_iter().enumerate() {
        let what = format!("{fault:?}");
        let (opened, _) = while_failing(fault, || open(&engine, n));
        failed += usize::from(opened.is_err());
        let mut talk = opened.unwrap_or_else(|_| open(&engine, n).expect(&what));
        let held = talk.mirror();
        let roles: Vec<&str> = held.messages.iter().map(|m| m.role.as_str()).collect();
        assert_eq!(roles, ["user", "assistant"], "{what}");
        assert_ne!(held.name, format!("case-{n}"), "{what}");
        fine(&mut talk, "Next.");
        // It is the only one that goes on from there.
        let db = Db::open(&desk.home.join("npast.db")).expect("npast.db");
        let parent = db.find(&format!("case-{n}")).expect("a query").expect("it");
        let all = db.list().expect("a list").into_iter();
        let children = all.filter(|s| s.session.parent == Some(parent.id));
        assert_eq!(children.count(), 1, "{what}");
    }
    assert!(failed > 5, "{failed}");
}

/// What a user sees when the disk fills in the middle of a reply.
#[test]
fn a_reply_that_could_not_be_stored_is_said_once_in_words() {
    let house = House::new(Class::Dense);
    let lost = |after| {
        let name = format!("after {after}");
        let mut at = house.enter(&name).expect("a session");
        said(&mut at);
        let fault = Fault {
            reach: Reach::Writes,
            after,
            why: Trouble::Full,
        };
        let ((worked, done), _) = while_failing(fault, || say(&mut at, "Do it.", &[long()]));
        let error = done.expect_err("the disk is full");
        assert_eq!(
            error.to_string(),
            "the session database cannot grow: the disk is full"
        );
        (worked, house.stored(&name))
    };
    // How far a reply came when the disk filled up is told by what is stored.
    let mut told = Vec::new();
    for after in 0..60 {
        let (worked, disk) = lost(after);
        let about: Vec<&String> = worked
            .notices
            .iter()
            .filter(|n| n.contains("the reply"))
            .collect();
        let (last, _) = disk.last();
        let has = (last.role == "assistant" && disk.messages.len() == 4)
            .then(|| last.span.expect("a span"))
            .map_or(0, |span| span.end - span.start);
        let generated = worked.receipts.last().map_or(0, |r| r.generated);
        match (generated, has) {
            // The message itself was not stored, or it was withdrawn.
            (0, _) => assert!(about.is_empty(), "{about:?}"),
            (n, 0) => assert_eq!(
                about,
                [&format!(
                    "the reply could not be stored: the conversation goes on without its {n} tokens"
                )]
            ),
            (n, has) if has < n => assert_eq!(
                about,
                [&format!(
                    "the end of the reply could not be stored: the conversation goes on without its \
                     last {} tokens, which are not shown",
                    n - has
                )]
            ),
            _ => assert_eq!(about, ["the reply is stored, and its receipt could not be"]),
        }
        told.extend(about.into_iter().map(|n| n[..20].to_owned()));
        if generated > 0 && has == generated {
            break;
        }
    }
    told.dedup();
    assert_eq!(told.len(), 3, "{told:?}");
}
