use std::time::Duration;

use serde_json::json;

use super::*;
use crate::session::{MessageState, ReceiptSums, testing};

fn home() -> tempfile::TempDir {
    tempfile::tempdir().unwrap()
}

#[test]
fn a_session_is_read_back_as_it_was_made() {
    let home = home();
    let (db, parent) = testing::disk(home.path());
    let tools = json!([{"type": "function", "function": {"name": "z", "a": 1.5}}]);
    let head = [5, 6].map(Token);
    let made = db
        .create(&SessionRecord {
            system: Some("Be brief."),
            tools: Some(&tools),
            preface: None,
            head: &head,
            common: None,
            seed: u64::MAX,
            started_ms: -1,
            parent: Some(parent.id),
            ..testing::new("child")
        })
        .unwrap();
    let found = db.find("child").unwrap().unwrap();
    assert_eq!(found, made);
    assert_eq!(
        (
            found.system.as_deref(),
            &found.tools,
            found.head,
            found.seed
        ),
        (Some("Be brief."), &Some(tools), 2, u64::MAX)
    );
    assert_eq!((found.parent, found.started_ms), (Some(parent.id), -1));
    assert_eq!(found.vocab, testing::new("x").vocab);
    assert_eq!(found.usage, ReceiptSums::default());
    assert_eq!(db.ledger(found.id).unwrap(), head);
    assert_eq!(db.find("nobody").unwrap(), None);

    db.remove(parent.id).unwrap();
    assert_eq!(db.get(made.id).unwrap().parent, None);
    let orphan = SessionRecord {
        parent: Some(parent.id),
        ..testing::new("orphan")
    };
    assert!(matches!(db.create(&orphan), Err(DbError::NotFound(_))));
}

#[test]
fn a_name_is_checked_and_taken_once() {
    let home = home();
    let (db, session) = testing::disk(home.path());
    assert!(matches!(db.create(&testing::new("work")), Err(DbError::Exists(n)) if n == "work"));
    assert!(matches!(
        db.create(&testing::new("a/b")),
        Err(DbError::Name(_))
    ));
    db.create(&testing::new("play")).unwrap();
    assert!(matches!(
        db.rename(session.id, "play"),
        Err(DbError::Exists(_))
    ));
    assert!(matches!(db.rename(session.id, ".."), Err(DbError::Name(_))));
    db.rename(session.id, "done").unwrap();
    assert_eq!(db.id_of("done").unwrap(), Some(session.id));
    assert!(matches!(
        db.rename(SessionId(99), "x"),
        Err(DbError::NotFound(_))
    ));
    assert!(matches!(
        db.remove(SessionId(99)),
        Err(DbError::NotFound(_))
    ));
}

#[test]
fn a_free_name_gets_the_next_number() {
    let home = home();
    let (db, _) = testing::disk(home.path());
    assert_eq!(db.free_name("new").unwrap(), "new");
    assert_eq!(db.free_name("work").unwrap(), "work-2");
    db.create(&testing::new("work-2")).unwrap();
    assert_eq!(db.free_name("work").unwrap(), "work-3");
}

#[test]
fn a_removed_session_takes_its_rows_along_and_its_id_never_returns() {
    let home = home();
    let (mut db, session) = testing::disk(home.path());
    let mut unit = db.begin(session.id).unwrap();
    unit.add_message("user", &json!({}), MessageState::Open)
        .unwrap();
    unit.add_receipt("turn", None, &json!({}), &ReceiptSums::default())
        .unwrap();
    unit.commit().unwrap();
    db.remove(session.id).unwrap();
    for table in ["sessions", "messages", "chunks", "receipts"] {
        let left: i64 = db
            .conn
            .query_row(&format!("SELECT count(*) FROM {table}"), [], |r| r.get(0))
            .unwrap();
        assert_eq!(left, 0, "{table}");
    }
    assert!(matches!(db.ledger(session.id), Err(DbError::NotFound(_))));
    assert!(matches!(db.messages(session.id), Err(DbError::NotFound(_))));
    assert!(matches!(db.pending(session.id), Err(DbError::NotFound(_))));
    let next = db.create(&testing::new("work")).unwrap();
    assert!(next.id > session.id);
}

#[test]
fn the_last_session_of_a_folder_is_the_one_touched_last() {
    let home = home();
    let (mut db, first) = testing::disk(home.path());
    let second = db.create(&testing::new("second")).unwrap();
    let elsewhere = SessionRecord {
        folder: "/elsewhere",
        ..testing::new("third")
    };
    let third = db.create(&elsewhere).unwrap();
    for (id, at) in [(second.id, 10), (first.id, 20), (third.id, 30)] {
        let mut unit = db.begin(id).unwrap();
        unit.touch(at).unwrap();
        unit.commit().unwrap();
    }
    let last = |folder| db.last_in_folder(folder).unwrap().map(|s| s.name);
    assert_eq!(last("/home/me"), Some("work".into()));
    assert_eq!(last("/elsewhere"), Some("third".into()));
    assert_eq!(last("/nowhere"), None);
}

#[test]
fn a_list_counts_and_a_survey_names_what_is_damaged() {
    let home = home();
    let (mut db, session) = testing::disk(home.path());
    let mut unit = db.begin(session.id).unwrap();
    for (role, body, state) in [
        (
            "user",
            json!({"content": "never mind"}),
            MessageState::Withdrawn,
        ),
        (
            "user",
            json!({"content": "fix\nthe parser"}),
            MessageState::Answered,
        ),
        (
            "assistant",
            json!({"content": "yes"}),
            MessageState::Answered,
        ),
    ] {
        unit.add_message(role, &body, state).unwrap();
    }
    unit.append_tokens(4, &[Token(1); 5000]).unwrap();
    unit.touch(i64::MAX).unwrap();
    unit.commit().unwrap();
    db.create(&testing::new("bare")).unwrap();
    let broken = db.create(&testing::new("broken")).unwrap();
    db.conn
        .execute(
            "UPDATE sessions SET vocab = x'00' WHERE id = ?",
            [broken.id.0],
        )
        .unwrap();

    let seen: Vec<_> = db
        .list()
        .unwrap()
        .into_iter()
        .map(|s| (s.session.name, s.messages, s.tokens, s.first_words))
        .collect();
    assert_eq!(
        seen,
        [
            ("work".into(), 2, 5004, "fix the parser".into()),
            ("bare".to_string(), 0, 0, String::new()),
        ]
    );
    let survey = db.survey().unwrap();
    let damaged: Vec<_> = survey
        .damaged
        .iter()
        .map(|d| (d.id, d.name.as_str(), d.what.as_str()))
        .collect();
    assert_eq!(
        damaged,
        [(broken.id, "broken", "vocab is not a 32-byte hash")]
    );
    assert_eq!(survey.whole.len(), 2);
    assert_eq!(
        db.find("broken").unwrap_err().to_string(),
        "session \"broken\" (id 3) is damaged: vocab is not a 32-byte hash"
    );
    let id = db.id_of("broken").unwrap().unwrap();
    db.remove(id).unwrap();
}

#[test]
fn damage_in_a_message_or_a_receipt_is_an_error_that_names_the_session() {
    let home = home();
    let (mut db, session) = testing::disk(home.path());
    let mut unit = db.begin(session.id).unwrap();
    unit.add_message("user", &json!({}), MessageState::Open)
        .unwrap();
    unit.add_receipt("turn", None, &json!({}), &ReceiptSums::default())
        .unwrap();
    unit.commit().unwrap();
    for damage in [
        "UPDATE messages SET state = 'odd'",
        "UPDATE messages SET state = 'open', finish = 'odd'",
        "UPDATE messages SET finish = NULL, body = '{'",
        "UPDATE messages SET body = '{}', span_start = -1, span_end = 2",
    ] {
        db.conn.execute(damage, []).unwrap();
        let error = db.messages(session.id).unwrap_err();
        assert!(
            matches!(error, DbError::Damaged { .. }),
            "{damage}: {error}"
        );
    }
    db.conn
        .execute("UPDATE receipts SET json = ''", [])
        .unwrap();
    let error = db.receipts(session.id).unwrap_err().to_string();
    assert!(
        error.starts_with("session \"work\" (id 1) is damaged"),
        "{error}"
    );
    db.conn.execute("DELETE FROM chunks", []).unwrap();
    let error = db.ledger(session.id).unwrap_err().to_string();
    assert!(
        error.ends_with("its head has 4 tokens, its ledger 0"),
        "{error}"
    );
}

#[test]
fn a_second_writer_is_told_that_the_database_is_busy_and_a_reader_is_not() {
    let home = home();
    let (mut db, session) = testing::disk(home.path());
    let mut other = Db::open(&home.path().join("npast.db")).unwrap();
    other.set_patience(Duration::from_millis(5)).unwrap();
    let mut unit = db.begin(session.id).unwrap();
    unit.append_tokens(4, &[Token(9)]).unwrap();
    assert!(matches!(other.begin(session.id), Err(DbError::Locked)));
    assert!(matches!(
        other.create(&testing::new("x")),
        Err(DbError::Locked)
    ));
    assert!(matches!(
        other.rename(session.id, "x"),
        Err(DbError::Locked)
    ));
    assert_eq!(other.ledger(session.id).unwrap().len(), 4);
    unit.commit().unwrap();
    assert_eq!(other.ledger(session.id).unwrap().len(), 5);
    other.begin(session.id).unwrap().commit().unwrap();
}
