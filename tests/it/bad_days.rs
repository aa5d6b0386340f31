//! Ordinary bad days, with the real program where one can be had: a disk that is full in the middle
//! of a turn, a folder that cannot be written or is gone, a clock that jumps, two processes at once,
//! a copied folder, an index that was deleted. Each is said once, nothing is lost, the turn goes on.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, SystemTime};

use npast::agent::{Input, WhichSession};
use npast::session::Db;
use serde_json::{Value, json};

use crate::kills::long;
use crate::model::Class;
use crate::program::{Program, Ran, honest, n};
use crate::talk::{self, Desk};
use crate::witness::{Reader, Stored};

fn fine() -> Value {
    json!({"content": "Fine."})
}

/// What a new process finds of a session that had come so far.
fn restores(program: &Program, session: &str, words: &str) -> Value {
    let before = Stored::of(&program.desk, session);
    let ran = program.say(session, words, Some(&fine()));
    let receipt = ran.receipt().clone();
    assert_eq!(receipt["miss"], Value::Null, "{receipt}");
    assert_eq!(n(&receipt, "restored"), before.decoded().len(), "{receipt}");
    assert_eq!(n(&receipt, "evaluated"), n(&receipt, "appended"));
    receipt
}

/// The same command under a limit on the size of files, in blocks of 512 bytes: what a full disk is
/// to a large file, without a disk of one's own.
fn limited(command: &Command, blocks: u32) -> Command {
    let mut shell = Command::new("sh");
    shell
        .arg("-c")
        .arg(format!("ulimit -f {blocks}; exec \"$@\""))
        .arg("sh")
        .arg(command.get_program())
        .args(command.get_args())
        .env_clear()
        .envs(command.get_envs().filter_map(|(k, v)| Some((k, v?))));
    if let Some(folder) = command.get_current_dir() {
        shell.current_dir(folder);
    }
    shell
}

fn records(home: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for model in fs::read_dir(home.join("kv/v1")).expect("a store").flatten() {
        for file in fs::read_dir(model.path()).expect("files").flatten() {
            found.push(file.path());
        }
    }
    found
}

#[test]
fn a_disk_that_is_full_in_the_middle_of_a_turn_is_said_once_and_the_turn_goes_on() {
    for class in [Class::Dense, Class::Hybrid] {
        let program = Program::new(class);
        program.say("work", "Hello.", Some(&fine()));
        // Two segments of the message are larger than the limit; npast.db and its journal are not.
        let words = long(3, 1700);
        let whole = program.turn("work", &words, Some(&fine()));
        let ran = Ran::of(&limited(&whole, 1024).output().expect("a run"));
        assert_eq!(ran.code, Some(0), "{class:?}: {ran:?}");
        honest("full", ran.receipt());
        assert_eq!(ran.receipt()["miss"], Value::Null);
        assert_eq!(ran.said("KV could not be saved"), 1, "{}", ran.errors);
        let stored = Stored::of(&program.desk, "work");
        assert_eq!(stored.messages.len(), 4);
        Reader::of(&program.desk).render(&stored);
        let torn = records(&program.desk.home);
        assert!(
            torn.iter()
                .all(|p| p.extension().is_none_or(|e| e != "tmp"))
        );
        program.verify("after a full disk");

        // There is space again: what was not saved is read again, said so, and saved.
        let ran = program.say("work", "And now?", Some(&fine()));
        let reason = ran.receipt()["miss"]["reason"].as_str().expect("a reason");
        assert!(reason.contains("before it was saved"), "{reason}");
        assert!(
            n(ran.receipt(), "restored") > 0,
            "{class:?}: {:?}",
            ran.receipt()
        );
        restores(&program, "work", "And then?");
    }
}

#[test]
fn a_kv_folder_that_cannot_be_written_is_said_once_and_sessions_work() {
    let program = Program::new(Class::Dense);
    fs::create_dir_all(&program.desk.home).expect("a folder");
    // Something else of that name: what a read-only folder is to everybody, root included.
    fs::write(program.desk.home.join("kv"), "mine").expect("a file");
    for words in ["Hello.", "Again."] {
        let ran = program.say("work", words, Some(&fine()));
        assert_eq!(ran.said("KV is not saved in this run"), 1, "{}", ran.errors);
        assert_eq!(n(ran.receipt(), "restored"), 0);
    }
    assert_eq!(Stored::of(&program.desk, "work").messages.len(), 4);
    let kept = fs::read_to_string(program.desk.home.join("kv"));
    assert_eq!(kept.expect("a file"), "mine");
    fs::remove_file(program.desk.home.join("kv")).expect("a removal");
    program.say("work", "Third.", Some(&fine()));
    restores(&program, "work", "Fourth.");
}

#[test]
fn a_kv_folder_that_vanishes_between_turns_costs_nothing_in_this_process_on_every_class() {
    for class in Class::ALL {
        let desk = Desk::new(class, None);
        let engine = desk.engine().expect("an engine");
        let open = || WhichSession::Named("work".to_owned());
        let mut talk = engine
            .conversation(open(), desk.new_session())
            .expect("a session");
        let mut notices = Vec::new();
        for turn in 0..4 {
            if turn == 1 {
                // At once, whatever the writer is at.
                let aside = desk.home.join("gone");
                fs::rename(desk.home.join("kv"), &aside).expect("the folder is there");
                fs::remove_dir_all(aside).expect("a removal");
            }
            let input = Input::Text(format!("Message {turn}."));
            let said = talk::turn(&mut talk, input, &talk::greedy(20), None, &|_| false);
            let said = said.expect("a turn");
            let receipt = said.receipt();
            assert_eq!(receipt.evaluated, receipt.appended, "{class:?} {receipt:?}");
            assert_eq!(receipt.miss, None, "{class:?}");
            notices.extend(said.notices);
        }
        let before = desk.stored("work");
        talk.close().expect("an end");
        notices.extend(engine.notices().into_iter().map(|(text, _)| text));
        drop(engine);
        let about: Vec<&String> = notices.iter().filter(|n| n.contains("KV")).collect();
        assert_eq!(about.len(), 1, "{class:?}: {notices:?}");

        // Another process reads again what is gone, if it was not stored anew, says so, and stores it.
        let again = |words: &str| {
            let input = Input::Text(words.to_owned());
            desk.turn("work", input, &talk::greedy(20), None)
                .expect("a turn")
        };
        let said = again("And now?");
        if let Some(miss) = &said.receipt().miss {
            assert!(
                miss.reason.contains("deleted"),
                "{class:?}: {}",
                miss.reason
            );
        }
        assert!(desk.stored("work").ledger.starts_with(&before.ledger));
        assert_eq!(again("And then?").receipt().miss, None, "{class:?}");
    }
}

#[test]
fn a_clock_that_jumps_changes_nothing_that_is_kept() {
    for (name, at) in [("1970", 1), ("2100", 4_102_444_800)] {
        let program = Program::new(Class::Hybrid);
        program.say("work", "Hello.", Some(&fine()));
        program.say("other", "Hello.", Some(&fine()));
        // As a process under that clock would have left it.
        let then = SystemTime::UNIX_EPOCH + Duration::from_secs(at);
        for path in records(&program.desk.home) {
            let file = fs::File::options().append(true).open(&path).expect(name);
            file.set_modified(then).expect(name);
        }
        let mut db = Db::open(&program.desk.home.join("npast.db")).expect("npast.db");
        for session in ["work", "other"] {
            let id = db.find(session).expect("a query").expect("a session").id;
            let mut unit = db.begin(id).expect("a unit");
            unit.touch(at as i64 * 1000).expect("a time");
            unit.commit().expect("a commit");
        }
        drop(db);
        restores(&program, "work", "What day is it?");
        let gone = Ran::of(
            &program
                .command(&["kv", "gc", "--json"])
                .output()
                .expect("a run"),
        );
        assert_eq!(gone.code, Some(0), "{name}: {gone:?}");
        restores(&program, "work", "And now?");
        restores(&program, "other", "And you?");
        program.verify(name);
    }
}

#[test]
fn two_processes_in_one_folder_do_not_disturb_each_other_nor_does_a_collection() {
    let program = Program::new(Class::Dense);
    for session in ["one", "three"] {
        program.say(session, "Hello.", Some(&fine()));
    }
    let reply = json!({"text": (0..80).map(|i| format!("{i}, ")).collect::<String>()});
    let talks = ["one", "three"].map(|session| {
        let mut command = program.turn(session, &long(session.len(), 500), Some(&reply));
        command.spawn().expect("a run")
    });
    // It removes what nobody holds yet; while others write it must not.
    let mut held = 0;
    for _ in 0..3 {
        let gc = Ran::of(
            &program
                .command(&["kv", "gc", "--json"])
                .output()
                .expect("a run"),
        );
        match gc.code {
            Some(0) => {}
            _ => {
                let message = gc.events[0]["message"].as_str().expect("a sentence");
                assert!(message.contains("another npast"), "{gc:?}");
                held += 1;
            }
        }
        program.verify("while two processes write");
    }
    for talk in talks {
        let ran = Ran::of(&talk.wait_with_output().expect("an end"));
        assert_eq!(ran.code, Some(0), "{ran:?}");
        honest("beside another", ran.receipt());
        assert_eq!(ran.receipt()["miss"], Value::Null);
        assert_eq!(ran.said("KV could not"), 0, "{}", ran.errors);
    }
    println!("{held} of 3 collections were put off");
    for session in ["one", "three"] {
        restores(&program, session, "And now?");
    }
}

#[test]
fn a_kv_folder_copied_to_another_place_serves_there() {
    let program = Program::new(Class::Hybrid);
    let mut other = Program::new(Class::Hybrid);
    program.say("work", &long(1, 300), Some(&fine()));
    let held = Stored::of(&program.desk, "work").decoded().len();
    fs::create_dir_all(&other.desk.home).expect("a folder");
    copy(&program.desk.home.join("kv"), &other.desk.home.join("kv"));

    // Another conversation there, of the same id, that begins alike.
    let ran = other.say("mine", &long(1, 300), Some(&fine()));
    assert_eq!(ran.receipt()["miss"], Value::Null);
    assert!(n(ran.receipt(), "restored") > 0, "{:?}", ran.receipt());
    assert_eq!(ran.said("KV"), 0, "{}", ran.errors);
    restores(&other, "mine", "Go on.");
    other.verify("the copy");

    // All of it: the session goes on where it was.
    other.desk = Desk::with_model(&program.desk.model);
    copy(&program.desk.home, &other.desk.home);
    let receipt = restores(&other, "work", "Go on.");
    assert_eq!(n(&receipt, "restored"), held);
    restores(&program, "work", "Go on here too.");
}

#[test]
fn an_index_that_was_deleted_or_is_no_index_is_made_again_and_said_once() {
    for class in Class::ALL {
        let program = Program::new(class);
        program.say("work", &long(2, 200), Some(&fine()));
        for (harm, said) in [("deleted", "was missing"), ("damaged", "was damaged")] {
            let index = program.desk.home.join("kv/index.db");
            match harm {
                "deleted" => fs::remove_file(&index).expect("a removal"),
                _ => fs::write(&index, "no index at all").expect("a write"),
            }
            let held = Stored::of(&program.desk, "work").decoded().len();
            let ran = program.say("work", harm, Some(&fine()));
            assert_eq!(ran.said(said), 1, "{class:?}: {}", ran.errors);
            assert_eq!(ran.said("index"), 1, "{class:?}: {}", ran.errors);
            assert_eq!(n(ran.receipt(), "restored"), held, "{class:?}, {harm}");
            assert_eq!(ran.receipt()["miss"], Value::Null, "{class:?}, {harm}");
            let ran = program.say("work", "Again.", Some(&fine()));
            assert_eq!(ran.said("index"), 0, "{class:?}: {}", ran.errors);
        }
    }
}

fn copy(from: &Path, to: &Path) {
    let done = Command::new("cp").arg("-aT").arg(from).arg(to).status();
    assert!(done.expect("cp").success());
}
