//! Another program has npast.db locked, for as long as it likes: npast waits, says so once while it
//! waits, and nothing is lost, least of all what a finished command gave.

use std::io::{BufRead, BufReader, Read};
use std::process::{Child, Command};

use npast::session::{Db, SessionId, Unit};
use serde_json::{Value, json};

use crate::model::Class;
use crate::program::{Program, Ran, events};
use crate::witness::Stored;

const WAITS: &str = "another program has npast.db locked";

fn fine() -> Value {
    json!({"content": "Fine."})
}

fn database(program: &Program) -> (Db, SessionId) {
    let db = Db::open(&program.desk.home.join("npast.db")).expect("npast.db");
    let id = db.find("work").expect("a query").expect("a session").id;
    (db, id)
}

/// A run whose standard error is read while it runs.
struct Running {
    child: Child,
    errors: BufReader<std::process::ChildStderr>,
    said: String,
}

impl Running {
    fn of(command: &mut Command) -> Running {
        let mut child = command.spawn().expect("a run");
        let errors = BufReader::new(child.stderr.take().expect("a pipe"));
        Running {
            child,
            errors,
            said: String::new(),
        }
    }

    /// Reads until something is said; the run must not end before.
    fn hears(&mut self, words: &str) {
        while !self.said.contains(words) {
            let read = self.errors.read_line(&mut self.said).expect("a line");
            assert!(read > 0, "it ended without {words:?}: {}", self.said);
        }
    }

    fn ends(mut self) -> Ran {
        self.errors.read_to_string(&mut self.said).expect("text");
        let output = self.child.wait_with_output().expect("an end");
        Ran {
            events: events(&String::from_utf8_lossy(&output.stdout)),
            errors: self.said,
            code: output.status.code(),
        }
    }

    fn press_ctrl_c(&self) {
        let pid = rustix::process::Pid::from_child(&self.child);
        rustix::process::kill_process(pid, rustix::process::Signal::INT).expect("a signal");
    }
}

fn locked<'a>(db: &'a mut Db, id: SessionId) -> Unit<'a> {
    db.begin(id).expect("the lock")
}

#[test]
fn a_turn_waits_for_another_programs_lock_says_so_once_and_loses_nothing() {
    let program = Program::new(Class::Dense);
    program.say("work", "Hello.", Some(&fine()));
    let (mut db, id) = database(&program);
    let unit = locked(&mut db, id);
    let mut run = Running::of(&mut program.turn("work", "And now?", Some(&fine())));
    run.hears(WAITS);
    unit.commit().expect("an end of the lock");
    let ran = run.ends();
    assert_eq!((ran.code, ran.said(WAITS)), (Some(0), 1), "{ran:?}");
    assert_eq!(Stored::of(&program.desk, "work").messages.len(), 4);
}

#[test]
fn ctrl_c_ends_the_wait_for_a_lock_and_nothing_is_changed() {
    let program = Program::new(Class::Dense);
    program.say("work", "Hello.", Some(&fine()));
    let before = Stored::of(&program.desk, "work");
    let (mut db, id) = database(&program);
    let unit = locked(&mut db, id);
    let mut run = Running::of(&mut program.turn("work", "And now?", Some(&fine())));
    run.hears(WAITS);
    run.press_ctrl_c();
    let ran = run.ends();
    let last = ran.events.last().expect("an event");
    assert_eq!(
        (ran.code, &last["kind"], ran.said(WAITS)),
        (Some(130), &json!("interrupted"), 1),
        "{ran:?}"
    );
    drop(unit);
    let after = Stored::of(&program.desk, "work");
    assert_eq!(after.outline(), before.outline());
    assert_eq!(after.ledger, before.ledger);
    program.say("work", "And now?", Some(&fine()));
}

/// The story: a command had run, its result could not be stored for eight seconds, and the model was
/// told that its effect is not known.
#[cfg(target_os = "linux")]
#[test]
fn the_result_of_a_finished_command_is_stored_after_a_lock_of_any_length() {
    let program = Program::new(Class::Dense);
    // The command ends when the lock is taken: it sees a file.
    let command = "echo begun > begun; until test -e go; do :; done; echo the result";
    let call = json!({"content": "", "tool_calls":
        [{"name": "terminal", "arguments": {"command": command, "timeout": 600}}]});
    let script = program.folder.path().join("calls.jsonl");
    std::fs::write(&script, format!("{call}\n{}\n", fine())).expect("a script");
    let project = tempfile::tempdir().expect("a folder");
    let mut turn = program.command(&["--json", "--agent", "--session", "work"]);
    turn.args(&program.flags)
        .arg("-m")
        .arg(&program.desk.model)
        .args(["--approve", "auto", "--sandbox", "off", "--script"])
        .arg(&script)
        .current_dir(project.path())
        .args(["--", "Run it."]);
    let mut run = Running::of(&mut turn);
    while !project.path().join("begun").exists() {
        let ended = run.child.try_wait().expect("a process");
        assert_eq!(ended, None, "{:?}", run.ends());
        std::thread::yield_now();
    }
    let (mut db, id) = database(&program);
    let unit = locked(&mut db, id);
    std::fs::write(project.path().join("go"), "").expect("a file");
    run.hears(WAITS);
    unit.commit().expect("an end of the lock");
    let ran = run.ends();
    assert_eq!(ran.code, Some(0), "{ran:?}");
    let results = ran.all("tool_result");
    assert_eq!(results.len(), 1, "{ran:?}");
    let text = results[0]["text"].as_str().expect("a text");
    assert!(text.starts_with("the result\n"), "{text}");
    let stored = Stored::of(&program.desk, "work");
    let outline = stored.outline();
    let kinds: Vec<&str> = outline.iter().map(|m| m.0).collect();
    assert_eq!(kinds, ["user", "assistant", "tool", "assistant"]);
    assert!(outline[2].2.starts_with("the result\n"), "{outline:?}");
}
