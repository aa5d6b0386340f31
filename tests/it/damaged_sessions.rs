//! One session of a data folder is damaged: it is said where it is met, with a way out that works, and
//! the others go on as if nothing had happened.

use serde_json::{Value, json};

use crate::model::Class;
use crate::program::{Program, Ran, n};
use crate::witness::Stored;

fn fine() -> Value {
    json!({"content": "Fine."})
}

fn run(program: &Program, args: &[&str]) -> Ran {
    Ran::of(&program.command(args).output().expect("a run"))
}

/// Damage that needs no other tables than they are.
const DAMAGES: [&str; 6] = [
    "UPDATE messages SET state = 'odd' WHERE session = 1",
    "UPDATE messages SET body = '{' WHERE session = 1",
    "UPDATE messages SET span_end = 99999 WHERE session = 1",
    "UPDATE sessions SET vocab = x'00' WHERE id = 1",
    "UPDATE sessions SET head = 99999 WHERE id = 1",
    "UPDATE chunks SET tokens = substr(tokens, 1, 7) WHERE session = 1",
];

#[test]
fn a_ledger_with_a_token_that_the_vocabulary_lacks_is_refused_before_anything_is_decoded() {
    for token in [-1, i32::MAX] {
        let program = Program::new(Class::Dense);
        program.say("broken", "Hello.", Some(&fine()));
        let db = rusqlite::Connection::open(program.desk.home.join("npast.db")).expect("npast.db");
        let mut tokens: Vec<u8> = db
            .query_row("SELECT tokens FROM chunks", [], |row| row.get(0))
            .expect("a chunk");
        tokens[4..8].copy_from_slice(&i32::to_le_bytes(token));
        db.execute("UPDATE chunks SET tokens = ?", [tokens])
            .expect("damage");
        drop(db);
        let mut turn = program.turn("broken", "And now?", Some(&fine()));
        let ran = Ran::of(&turn.output().expect("a run"));
        let error = ran.events.last().expect("an event");
        let want =
            "session \"broken\" (id 1) is damaged: token 1 of its ledger is not in the vocabulary";
        assert_eq!(
            (ran.code, &error["message"]),
            (Some(1), &json!(want)),
            "{ran:?}"
        );
        assert_eq!(Stored::of(&program.desk, "broken").messages.len(), 2);
    }
}

#[test]
fn a_damaged_session_is_said_wherever_it_is_met_and_can_be_removed_with_its_kv() {
    for damage in DAMAGES {
        let program = Program::new(Class::Dense);
        program.say("broken", "Hello.", Some(&fine()));
        program.say("work", "Another first message.", Some(&fine()));
        program.say("broken", "It was used last.", Some(&fine()));
        rusqlite::Connection::open(program.desk.home.join("npast.db"))
            .and_then(|c| c.execute(damage, []))
            .expect("damage");

        // It is not opened, by name or as the last one, and the hint names what helps.
        let mut last = program.command(&["--json", "-c"]);
        last.args(&program.flags).arg("-m").arg(&program.desk.model);
        last.args(["--", "And now?"]);
        for mut turn in [program.turn("broken", "And now?", Some(&fine())), last] {
            let ran = Ran::of(&turn.output().expect("a run"));
            assert_eq!(ran.code, Some(1), "{damage}: {ran:?}");
            let error = ran.events.last().expect("an event");
            let message = error["message"].as_str().expect("a sentence");
            assert!(
                message.starts_with("session \"broken\" (id 1) is damaged: "),
                "{damage}: {message}"
            );
            let hint = error["hint"].as_str().expect("a hint");
            for help in ["npast sessions show NAME", "npast sessions rm NAME"] {
                assert!(hint.contains(help), "{damage}: {hint}");
            }
        }

        let listed = run(&program, &["sessions", "list", "--json"]);
        let names: Vec<(&str, bool)> = listed
            .events
            .iter()
            .map(|l| {
                (
                    l["name"].as_str().expect("a name"),
                    l["damaged"].is_string(),
                )
            })
            .collect();
        assert_eq!(names, [("work", false), ("broken", true)], "{damage}");
        let shown = run(&program, &["sessions", "show", "broken", "--json"]);
        assert_eq!(shown.code, Some(1), "{damage}: {shown:?}");
        let missing = shown.all("damaged").len();
        assert!(missing > 0, "{damage}");
        assert_eq!(shown.events.len() - missing, 4, "{damage}: all messages");

        // The other one is as it was.
        let before = Stored::of(&program.desk, "work").decoded().len();
        let ran = program.say("work", "Go on.", Some(&fine()));
        assert_eq!(n(ran.receipt(), "restored"), before, "{damage}");
        let gc = run(&program, &["kv", "gc", "--json"]);
        assert_eq!(gc.code, Some(0), "{gc:?}");
        let owners = |program: &Program| -> Vec<String> {
            let status = run(program, &["kv", "status", "--json"]);
            assert_eq!(status.code, Some(0), "{damage}: {status:?}");
            let mut owners: Vec<String> = status
                .all("session")
                .iter()
                .filter_map(|s| s["owner"].as_str().map(str::to_owned))
                .collect();
            owners.sort();
            owners.dedup();
            owners
        };
        assert_eq!(owners(&program), ["session-1", "session-2"], "{damage}");

        let removed = run(&program, &["sessions", "rm", "broken", "--yes"]);
        assert_eq!(
            (removed.code, removed.errors.as_str()),
            (Some(0), ""),
            "{damage}"
        );
        assert_eq!(owners(&program), ["session-2"], "{damage}");
        let listed = run(&program, &["sessions", "list", "--json"]);
        assert_eq!(listed.events.len(), 1, "{damage}");
        program.verify(damage);
        program.say("broken", "A new one of this name.", Some(&fine()));
    }
}
