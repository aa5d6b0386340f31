//! Law 5 and those who read: what is sampled is stored whether or not anybody reads it, and nothing
//! is shown before it is stored. The real program, whose output nobody reads, whose terminal is
//! stopped, whose reader goes away.

use std::io::{BufRead, BufReader, PipeReader, Write};
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use npast::agent::{Event, Input, WhichSession};
use npast::chat::ReplyScript;
use npast::ledger::Finish;
use npast::session::Db;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::json;

use crate::model::Class;
use crate::program::Program;
use crate::screen::Screen;
use crate::talk::{Desk, turn};
use crate::witness::{Reader, Stored};

/// Longer than anything takes; a test that waits so long fails.
const PATIENCE: Duration = Duration::from_secs(120);

/// A reply of almost 3,000 tokens, and twice as many bytes of events as an [`unread`] pipe takes.
fn long() -> String {
    (0..600).map(|i| format!("{i}, ")).collect()
}

/// Waits until the session's last message is a reply of at least so many tokens, or one that has
/// ended; gives what is stored then.
fn until(program: &Program, tokens: usize, ended: bool) -> Stored {
    let begun = Instant::now();
    let patient = || assert!(begun.elapsed() < PATIENCE, "the reply is not stored");
    let path = program.desk.home.join("npast.db");
    while !path.exists() {
        patient();
        std::thread::yield_now();
    }
    let db = Db::open(&path).expect("npast.db");
    loop {
        patient();
        let session = db.find("work").expect("a query");
        let messages = session.map(|s| db.messages(s.id).expect("messages"));
        let last = messages.and_then(|mut all| all.pop());
        if let Some(last) = last.filter(|m| m.role == "assistant") {
            let has = last.span.map_or(0, |s| s.end - s.start);
            let text = last.body["content"].as_str().unwrap_or_default();
            if has >= tokens && !(ended && text.is_empty()) {
                return Stored::of(&program.desk, "work");
            }
        }
        std::thread::yield_now();
    }
}

/// A turn whose output is a pipe that nobody reads. It is all but full before: of its 64 KiB one
/// page is left.
fn unread(program: &Program, text: &str) -> (Child, PipeReader) {
    let (reader, mut writer) = std::io::pipe().expect("a pipe");
    writer.write_all(&[b'\n'; 15 * 4096]).expect("room in it");
    let mut command = program.turn("work", "Count.", Some(&json!({ "text": text })));
    let command = command.stdout(writer).stderr(Stdio::null());
    (command.spawn().expect("a run"), reader)
}

fn interrupt(child: &Child) {
    let pid = Pid::from_child(child);
    kill_process(pid, Signal::INT).expect("a signal");
}

#[test]
fn nothing_is_shown_before_it_is_stored() {
    let desk = Desk::new(Class::Dense, None);
    // A client of the service hears of it later, when it may be stored meanwhile.
    let engine = desk.engine().expect("an engine");
    let talk = engine.conversation(WhichSession::Named("work".to_owned()), desk.new_session());
    let mut talk = talk.expect("a session");
    let reader = Reader::of(&desk);
    let db = Db::open(&desk.home.join("npast.db")).expect("npast.db");
    let id = db.find("work").expect("a query").expect("the session").id;
    let text: String = (0..150).map(|i| format!("{i}, ")).collect();
    let mut script =
        ReplyScript::read(json!({ "text": text }).to_string().as_bytes()).expect("a script");
    let shown = std::cell::RefCell::new(String::new());
    let input = Input::Text("Count.".to_owned());
    turn(
        &mut talk,
        input,
        &Default::default(),
        Some(&mut script),
        &|event| {
            if let Event::Text { text: more } = event {
                shown.borrow_mut().push_str(more);
                let messages = db.messages(id).expect("messages");
                let span = messages.last().filter(|m| m.role == "assistant");
                let span = span.and_then(|m| m.span).expect("a stored reply");
                let ledger = db.ledger(id).expect("a ledger");
                let stored = reader.text(&ledger[span.start..span.end]);
                let shown = shown.borrow();
                assert!(
                    stored.starts_with(&*shown),
                    "{shown:?} is shown, {stored:?} is stored"
                );
            }
            false
        },
    )
    .expect("a turn");
    assert_eq!(shown.into_inner(), text);
}

#[test]
fn a_reply_that_nobody_reads_is_stored_to_its_end_and_a_kill_then_loses_nothing() {
    for class in [Class::Dense, Class::Hybrid] {
        let program = Program::new(class);
        let text = long();
        let (mut child, _reader) = unread(&program, &text);
        let stored = until(&program, 1, true);
        assert!(
            child.try_wait().expect("a child").is_none(),
            "it waits for its reader"
        );
        child.kill().expect("SIGKILL");
        child.wait().expect("an end");
        let (reply, finish) = stored.reply();
        assert_eq!(
            (reply.text.trim(), finish),
            (text.trim(), Some(Finish::Stop))
        );
        let ran = program.say("work", "And now?", Some(&json!({"text": "Fine."})));
        assert!(ran.all("error").is_empty());
        Reader::of(&program.desk).render(&Stored::of(&program.desk, "work"));
    }
}

#[test]
fn a_kill_in_a_reply_that_nobody_reads_keeps_what_was_stored_far_behind_what_was_read() {
    let program = Program::new(Class::Dense);
    let (mut child, _reader) = unread(&program, &long());
    // What the pipe takes is less than half of that.
    let stored = until(&program, 2500, false);
    child.kill().expect("SIGKILL");
    child.wait().expect("an end");
    let after = Stored::of(&program.desk, "work");
    assert!(after.ledger.starts_with(&stored.ledger));
    let ran = program.say("work", "And now?", Some(&json!({"text": "Fine."})));
    assert!(ran.all("error").is_empty());
    let now = Stored::of(&program.desk, "work");
    assert!(now.ledger.starts_with(after.decoded()));
    Reader::of(&program.desk).render(&now);
}

#[test]
fn ctrl_c_stops_a_reply_that_nobody_reads_and_a_second_one_ends_the_program() {
    let program = Program::new(Class::Dense);
    let text = long();
    let (mut child, _reader) = unread(&program, &text);
    until(&program, 2000, false);
    interrupt(&child);
    let stored = until(&program, 1, true);
    let (reply, finish) = stored.reply();
    // It may have been sampled to its end before the key was seen.
    assert!(
        text.starts_with(reply.text.trim_end()),
        "{}",
        reply.text.len()
    );
    assert!(matches!(finish, Some(Finish::Interrupted | Finish::Stop)));
    assert!(
        child.try_wait().expect("a child").is_none(),
        "it waits for its reader"
    );
    interrupt(&child);
    assert_eq!(child.wait().expect("an end").code(), Some(130));
}

#[test]
fn one_ctrl_c_ends_a_program_that_only_waits_for_its_reader() {
    let program = Program::new(Class::Dense);
    let (mut child, _reader) = unread(&program, &long());
    until(&program, 1, true);
    // The session is let go when all of it is on disk.
    let id = {
        let db = Db::open(&program.desk.home.join("npast.db")).expect("npast.db");
        db.find("work").expect("a query").expect("the session").id
    };
    while npast::session::Lock::session(&program.desk.home, id).is_err() {
        std::thread::yield_now();
    }
    interrupt(&child);
    let begun = Instant::now();
    let code = loop {
        if let Some(status) = child.try_wait().expect("a child") {
            break status.code();
        }
        // The key may come in the moment before it counts as the last one.
        if begun.elapsed() > Duration::from_secs(5) {
            interrupt(&child);
        }
        assert!(begun.elapsed() < PATIENCE);
        std::thread::yield_now();
    };
    assert_eq!(code, Some(130));
}

#[test]
fn a_reader_that_goes_away_ends_the_run_well_and_what_it_read_is_stored() {
    let program = Program::new(Class::Dense);
    let (mut child, reader) = unread(&program, &long());
    let mut lines = BufReader::new(reader).lines();
    let mut shown = String::new();
    for line in lines.by_ref().map(|line| line.expect("UTF-8")) {
        if line.is_empty() {
            continue;
        }
        let event: serde_json::Value = serde_json::from_str(&line).expect("an event");
        if event["type"] == "text" {
            shown.push_str(event["text"].as_str().expect("a text"));
        }
        if shown.len() > 500 {
            break;
        }
    }
    drop(lines);
    assert_eq!(child.wait().expect("an end").code(), Some(0));
    let (reply, _) = Stored::of(&program.desk, "work").reply();
    assert!(!shown.is_empty() && reply.text.starts_with(shown.trim_end()));
}

#[test]
fn a_stopped_terminal_stops_what_is_seen_and_nothing_else() {
    let program = Program::new(Class::Dense);
    let text = format!("Now: {}that is all.", long());
    let script = program.folder.path().join("script.jsonl");
    std::fs::write(&script, json!({ "text": text }).to_string()).expect("a script");
    let mut command = program.command(&["--session", "work", "--no-tools"]);
    command
        .args(&program.flags)
        .arg("-m")
        .arg(&program.desk.model)
        .arg("--script")
        .arg(script);
    let mut screen = Screen::start(command);
    screen.until("> ");
    screen.keys("Count.\r");
    screen.until("Now: ");
    // Ctrl-S; Ctrl-Q.
    screen.keys("\u{13}");
    let stored = until(&program, 1, true);
    let (reply, finish) = stored.reply();
    assert_eq!(
        (reply.text.trim(), finish),
        (text.trim(), Some(Finish::Stop))
    );
    screen.keys("\u{11}");
    screen.until("that is all.");
    screen.until(" written");
    screen.keys("/quit\r");
    assert_eq!(screen.end().0, Some(0));
}
