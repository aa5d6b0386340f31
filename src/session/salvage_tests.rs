use std::path::Path;

use super::*;
use crate::session::testing::{disk, harm, new};
use crate::session::{CutPoint, ReceiptSums, Span, Why};

/// "work" (id 1) with two turns, one of them taken back, a running call, a receipt; "other" (id 2)
/// with a turn; "child" (id 3), a fork of "work".
fn grown(home: &Path) -> Db {
    let (mut db, work) = disk(home);
    let other = db.create(&new("other")).unwrap();
    for (id, turns) in [(work.id, 2), (other.id, 1)] {
        for turn in 0..turns {
            let mut unit = db.begin(id).unwrap();
            for role in ["user", "assistant"] {
                let body = json!({"role": role, "content": format!("turn {turn} of {role}")});
                let message = unit
                    .add_message(role, &body, MessageState::Answered)
                    .unwrap();
                let start = unit.ledger_len();
                unit.append_tokens(start, &[Token(7), Token(8)]).unwrap();
                let end = start + 2;
                unit.set_span(message, Span { start, end }).unwrap();
                if role == "assistant" {
                    unit.start_run(message, 0, "reads").unwrap();
                }
            }
            unit.add_receipt(
                "turn",
                None,
                &json!({"turn": turn}),
                &ReceiptSums::default(),
            )
            .unwrap();
            unit.commit().unwrap();
        }
    }
    let messages = db.messages(work.id).unwrap();
    let cut = CutPoint {
        after: Some(messages[1].id),
        at: 8,
        pending: 0,
    };
    db.fork(work.id, "child", cut, &messages).unwrap();
    let mut unit = db.begin(work.id).unwrap();
    unit.abandon(cut, Why::Undo).unwrap();
    unit.commit().unwrap();
    db
}

/// What no column of a type may be.
const WRONG: [&str; 7] = [
    "NULL",
    "-1",
    "9223372036854775807",
    "x'00ff00'",
    "'odd word'",
    "1.5",
    "zeroblob(3000000)",
];

/// Every column of every table but the ids that rows are found by.
const COLUMNS: [(&str, &[&str]); 5] = [
    (
        "sessions",
        &[
            "name",
            "folder",
            "model",
            "class",
            "vocab",
            "template",
            "fingerprint",
            "system",
            "tools",
            "head",
            "started_ms",
            "seed",
            "policy",
            "parent",
            "pending",
            "created_ms",
            "used_ms",
            "calls",
            "evaluated",
            "restored",
            "kept",
            "generated",
            "tries",
            "forked",
            "runs_tools",
            "thinking",
            "shift",
        ],
    ),
    (
        "messages",
        &[
            "seq",
            "role",
            "state",
            "finish",
            "span_start",
            "span_end",
            "created_ms",
            "body",
            "branch",
        ],
    ),
    ("chunks", &["start", "tokens"]),
    ("receipts", &["kind", "finish", "created_ms", "json"]),
    (
        "branches",
        &[
            "parent",
            "after",
            "at",
            "prefix",
            "pending",
            "why",
            "created_ms",
            "tokens",
        ],
    ),
];

/// Damage that is no column of a wrong type.
const OTHERS: [&str; 16] = [
    "DELETE FROM chunks WHERE session = 1",
    "UPDATE chunks SET tokens = x'' WHERE session = 1",
    "UPDATE chunks SET start = start + 1 WHERE session = 1",
    "UPDATE chunks SET tokens = substr(tokens, 1, 4) WHERE session = 1",
    "UPDATE messages SET span_end = 99 WHERE session = 1 AND branch IS NULL",
    "UPDATE messages SET span_start = 7, span_end = 6 WHERE session = 1",
    "UPDATE messages SET span_start = NULL WHERE session = 1",
    "UPDATE messages SET branch = 99 WHERE session = 1",
    "DELETE FROM branches WHERE session = 1",
    "UPDATE branches SET parent = id WHERE session = 1",
    "UPDATE sessions SET parent = 1 WHERE id = 1",
    "UPDATE sessions SET parent = 3 WHERE id = 1",
    "UPDATE sessions SET parent = 99 WHERE id = 1",
    "DELETE FROM sessions WHERE id = 1",
    "DELETE FROM messages WHERE session = 1",
    "UPDATE runs SET call = 'odd', effect = NULL
     WHERE reply IN (SELECT id FROM messages WHERE session = 1)",
];

fn all_damage() -> Vec<String> {
    let mut all: Vec<String> = OTHERS.iter().map(|sql| (*sql).to_owned()).collect();
    for (table, columns) in COLUMNS {
        let which = if table == "sessions" { "id" } else { "session" };
        for column in columns {
            for value in WRONG {
                all.push(format!(
                    "UPDATE OR IGNORE {table} SET {column} = {value} WHERE {which} = 1"
                ));
            }
        }
    }
    all
}

/// What opening a session reads.
fn opens(db: &Db, id: SessionId) -> Result<()> {
    db.get(id)?;
    db.ledger(id)?;
    db.pending(id)?;
    for message in db.messages(id)? {
        db.runs(message.id)?;
    }
    Ok(())
}

fn fine(error: DbError, what: &str) -> String {
    match error {
        DbError::Damaged { place, what: found } => {
            assert!(place.starts_with("session "), "{what}: {place}");
            found
        }
        DbError::NotFound(found) => found,
        other => panic!("{what}: {other:?}"),
    }
}

#[test]
fn whatever_is_damaged_in_a_session_it_can_be_listed_read_and_removed_and_others_are_as_before() {
    let template = tempfile::tempdir().unwrap();
    let before = grown(template.path());
    let other = before.id_of("other").unwrap().unwrap();
    let (messages, ledger) = (
        before.messages(other).unwrap(),
        before.ledger(other).unwrap(),
    );
    drop(before);
    let work = SessionId(1);
    let mut seen = 0;
    for damage in all_damage() {
        let what = damage.as_str();
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("npast.db");
        std::fs::copy(template.path().join("npast.db"), &path).unwrap();
        harm(&path, what);
        let mut db = Db::open(&path).unwrap_or_else(|e| panic!("{what}: {e}"));
        let survey = db.survey().unwrap_or_else(|e| panic!("{what}: {e:?}"));
        let damaged: Vec<&Damaged> = survey.damaged.iter().filter(|d| d.id == work).collect();
        let listed = survey.whole.iter().filter(|s| s.session.id == work).count();
        assert_eq!(damaged.len() + listed, 1, "{what}: it is listed once");
        // What opening refuses is listed as damaged, and the other way round nothing panics.
        let opened = opens(&db, work);
        match (opened, damaged.first()) {
            (Err(error), Some(_)) => drop(fine(error, what)),
            (Err(error), None) => panic!("{what}: {error}"),
            (Ok(()), _) => {}
        }
        let salvage = db.salvage(work).unwrap_or_else(|e| panic!("{what}: {e:?}"));
        assert_eq!(
            salvage.missing.is_empty(),
            damaged.is_empty(),
            "{what}: {salvage:?}"
        );
        if let Some(damaged) = damaged.first() {
            seen += 1;
            assert_eq!(db.known_as(&damaged.name).unwrap(), Some(work), "{what}");
            assert_eq!(salvage.name, damaged.name, "{what}");
        }
        assert!(
            what.contains("FROM messages") || salvage.messages.len() == 4,
            "{what}: {:?}",
            salvage.messages
        );

        // Its changes are refused as damaged, or made.
        for act in [
            |db: &mut Db, id| {
                db.begin(id)
                    .and_then(|mut u| u.touch(1).and_then(|()| u.commit()))
            },
            |db: &mut Db, id| {
                let branch = db.branches(id)?.first().map(|b| b.id);
                let mut unit = db.begin(id)?;
                branch.map_or(Ok(()), |branch| unit.reattach(branch))?;
                unit.commit()
            },
        ] {
            match act(&mut db, work) {
                Ok(())
                | Err(DbError::Branch(_) | DbError::Refused { .. } | DbError::Gap { .. }) => {}
                Err(error) => drop(fine(error, what)),
            }
        }
        db.search("turn", None, 10)
            .unwrap_or_else(|e| panic!("{what}: {e}"));

        // The others are as they were, and can be used.
        assert_eq!(db.messages(other).unwrap(), messages, "{what}");
        assert_eq!(db.ledger(other).unwrap(), ledger, "{what}");
        assert!(survey.whole.iter().any(|s| s.session.id == other), "{what}");
        let child = db.id_of("child").unwrap().unwrap();
        db.check(child).unwrap_or_else(|e| panic!("{what}: {e}"));

        db.remove(work).unwrap_or_else(|e| panic!("{what}: {e:?}"));
        let after = db.survey().unwrap();
        assert_eq!((after.whole.len(), after.damaged.len()), (2, 0), "{what}");
        assert!(
            matches!(db.remove(work), Err(DbError::NotFound(_))),
            "{what}"
        );
        db.check(other).unwrap();
        drop(db);
        Db::open(&path).unwrap();
    }
    println!("{seen} of {} left damage that is seen", all_damage().len());
    assert!(seen > 150, "{seen}");
}
