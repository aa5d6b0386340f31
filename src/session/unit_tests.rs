use serde_json::json;

use super::*;
use crate::session::{Db, testing};

fn home() -> tempfile::TempDir {
    tempfile::tempdir().unwrap()
}

fn tokens(from: i32, n: i32) -> Vec<Token> {
    (from..from + n).map(Token).collect()
}

/// What a power cut would leave: the files as they are now, opened by a process that knows
/// nothing of the connection still alive here.
fn crashed(folder: &std::path::Path) -> (tempfile::TempDir, Db) {
    let other = home();
    for name in ["npast.db", "npast.db-wal"] {
        let from = folder.join(name);
        if from.exists() {
            std::fs::copy(from, other.path().join(name)).unwrap();
        }
    }
    let db = Db::open(&other.path().join("npast.db")).unwrap();
    (other, db)
}

#[test]
fn a_committed_unit_is_there_whole_after_a_crash_without_close() {
    let home = home();
    let (mut db, session) = testing::disk(home.path());
    let mut unit = db.begin(session.id).unwrap();
    let user = unit
        .add_message(
            "user",
            &json!({"role": "user", "content": "hello"}),
            MessageState::Open,
        )
        .unwrap();
    unit.append_tokens(4, &tokens(10, 3)).unwrap();
    unit.set_span(user, Span { start: 4, end: 7 }).unwrap();
    unit.commit().unwrap();
    let mut unit = db.begin(session.id).unwrap();
    unit.set_state(user, MessageState::Answered).unwrap();
    let reply = unit
        .add_message("assistant", &json!({"content": ""}), MessageState::Answered)
        .unwrap();
    unit.append_tokens(7, &tokens(20, 2)).unwrap();
    unit.set_pending(1).unwrap();
    unit.set_span(reply, Span { start: 7, end: 9 }).unwrap();
    unit.set_body(reply, &json!({"content": "hi", "z": 1, "a": 2}))
        .unwrap();
    unit.set_finish(reply, Finish::StopString).unwrap();
    let usage = ReceiptSums {
        calls: 1,
        evaluated: 3,
        restored: 0,
        kept: 4,
        generated: 2,
    };
    for call in 1..=2 {
        let receipt = json!({ "call": call });
        unit.add_receipt("turn", Some(Finish::StopString), &receipt, &usage)
            .unwrap();
    }
    unit.touch(42).unwrap();
    unit.commit().unwrap();

    let (_folder, copy) = crashed(home.path());
    let messages = copy.messages(session.id).unwrap();
    let seen: Vec<_> = messages
        .iter()
        .map(|m| {
            (
                m.seq,
                m.role.as_str(),
                m.body.to_string(),
                m.state,
                m.finish,
                m.span,
            )
        })
        .collect();
    let span = |start, end| Some(Span { start, end });
    let user = r#"{"role":"user","content":"hello"}"#.to_string();
    let reply = r#"{"content":"hi","z":1,"a":2}"#.to_string();
    assert_eq!(
        seen,
        [
            (0, "user", user, MessageState::Answered, None, span(4, 7)),
            (
                1,
                "assistant",
                reply,
                MessageState::Answered,
                Some(Finish::StopString),
                span(7, 9)
            ),
        ]
    );
    let ledger = [1, 2, 3, 4, 10, 11, 12, 20, 21].map(Token);
    assert_eq!(copy.ledger(session.id).unwrap(), ledger);
    assert_eq!(copy.pending(session.id).unwrap(), 1);
    let calls = [json!({"call": 1}), json!({"call": 2})];
    assert_eq!(copy.receipts(session.id).unwrap(), calls);
    let stored = copy.get(session.id).unwrap();
    let twice = ReceiptSums {
        calls: 2,
        evaluated: 6,
        restored: 0,
        kept: 8,
        generated: 4,
    };
    assert_eq!((stored.usage, stored.used_ms), (twice, 42));
}

#[test]
fn a_crash_inside_a_unit_leaves_the_session_as_it_was() {
    let home = home();
    let (mut db, session) = testing::disk(home.path());
    let mut unit = db.begin(session.id).unwrap();
    // More than SQLite's page cache, so that uncommitted pages are in the log already.
    unit.append_tokens(4, &tokens(0, 2_000_000)).unwrap();
    unit.add_message("user", &json!({}), MessageState::Open)
        .unwrap();
    let log = home.path().join("npast.db-wal").metadata().unwrap().len();
    assert!(log > 1 << 20, "nothing was spilled: {log} bytes");
    let (_folder, copy) = crashed(home.path());
    assert_eq!(copy.ledger(session.id).unwrap(), tokens(1, 4));
    assert_eq!(copy.messages(session.id).unwrap(), []);
}

#[test]
fn a_dropped_unit_leaves_nothing() {
    let home = home();
    let (mut db, session) = testing::disk(home.path());
    let mut unit = db.begin(session.id).unwrap();
    unit.add_message("user", &json!({}), MessageState::Open)
        .unwrap();
    unit.append_tokens(4, &tokens(9, 9)).unwrap();
    unit.set_pending(1).unwrap();
    unit.add_receipt("turn", None, &json!({}), &ReceiptSums::default())
        .unwrap();
    unit.touch(1).unwrap();
    drop(unit);
    assert_eq!(db.get(session.id).unwrap(), session);
    assert_eq!(db.ledger(session.id).unwrap(), tokens(1, 4));
    assert_eq!(db.messages(session.id).unwrap(), []);
    assert_eq!(db.receipts(session.id).unwrap(), [] as [Value; 0]);
    assert_eq!(db.pending(session.id).unwrap(), 0);
}

#[test]
fn a_unit_in_which_a_call_failed_cannot_be_committed() {
    let home = home();
    let (mut db, session) = testing::disk(home.path());
    let mut unit = db.begin(session.id).unwrap();
    unit.append_tokens(4, &tokens(9, 1)).unwrap();
    assert!(matches!(
        unit.append_tokens(4, &tokens(9, 1)),
        Err(DbError::Gap {
            stored: 5,
            at: 4,
            ..
        })
    ));
    assert!(matches!(unit.commit(), Err(DbError::Refused { .. })));
    assert_eq!(db.ledger(session.id).unwrap().len(), 4);
}

#[test]
fn a_withdrawn_message_is_gone_from_the_conversation_and_its_tokens_from_the_ledger() {
    let home = home();
    let (mut db, session) = testing::disk(home.path());
    let mut unit = db.begin(session.id).unwrap();
    let first = unit
        .add_message("user", &json!({"n": 1}), MessageState::Answered)
        .unwrap();
    let second = unit
        .add_message("user", &json!({"n": 2}), MessageState::Open)
        .unwrap();
    unit.append_tokens(4, &tokens(10, 6)).unwrap();
    unit.set_span(first, Span { start: 4, end: 8 }).unwrap();
    unit.set_span(second, Span { start: 8, end: 10 }).unwrap();
    unit.set_pending(1).unwrap();
    unit.commit().unwrap();

    let mut unit = db.begin(session.id).unwrap();
    unit.set_state(second, MessageState::Withdrawn).unwrap();
    unit.cut_tokens(7).unwrap();
    assert_eq!(unit.ledger_len(), 7);
    let third = unit
        .add_message("user", &json!({"n": 3}), MessageState::Open)
        .unwrap();
    unit.commit().unwrap();

    let seen: Vec<_> = db
        .messages(session.id)
        .unwrap()
        .iter()
        .map(|m| (m.id, m.seq, m.span))
        .collect();
    assert_eq!(
        seen,
        [
            (first, 0, Some(Span { start: 4, end: 7 })),
            (third, 2, None)
        ]
    );
    assert_eq!(db.ledger(session.id).unwrap().len(), 7);
    assert_eq!(db.pending(session.id).unwrap(), 0);
}

#[test]
fn the_frozen_head_cannot_be_cut() {
    let home = home();
    let (mut db, session) = testing::disk(home.path());
    let mut unit = db.begin(session.id).unwrap();
    unit.append_tokens(4, &tokens(9, 2)).unwrap();
    unit.cut_tokens(4).unwrap();
    assert!(matches!(
        unit.cut_tokens(3),
        Err(DbError::Frozen {
            head: 4,
            len: 3,
            ..
        })
    ));
    drop(unit);
    let mut unit = db.begin(session.id).unwrap();
    assert!(matches!(
        unit.cut_tokens(5),
        Err(DbError::Gap {
            stored: 4,
            at: 5,
            ..
        })
    ));
}

#[test]
fn a_unit_that_would_leave_something_outside_the_ledger_is_refused() {
    let home = home();
    let (mut db, session) = testing::disk(home.path());
    let mut unit = db.begin(session.id).unwrap();
    let message = unit
        .add_message("user", &json!({}), MessageState::Open)
        .unwrap();
    unit.set_span(message, Span { start: 4, end: 5 }).unwrap();
    assert_eq!(
        unit.commit().unwrap_err().to_string(),
        "the change to session 1 was not stored: a span ends at token 5 of 4"
    );
    let mut unit = db.begin(session.id).unwrap();
    let message = unit
        .add_message("user", &json!({}), MessageState::Open)
        .unwrap();
    let backwards = Span { start: 3, end: 2 };
    assert!(matches!(
        unit.set_span(message, backwards),
        Err(DbError::Refused { .. })
    ));
    assert!(matches!(unit.set_pending(2), Err(DbError::Refused { .. })));
    drop(unit);
    let bare = db.create(&testing::new("bare")).unwrap();
    let mut unit = db.begin(bare.id).unwrap();
    unit.set_pending(1).unwrap();
    assert!(matches!(unit.commit(), Err(DbError::Refused { .. })));
}

#[test]
fn a_unit_changes_messages_of_its_own_session_only() {
    let home = home();
    let (mut db, session) = testing::disk(home.path());
    let other = db.create(&testing::new("other")).unwrap();
    let mut unit = db.begin(other.id).unwrap();
    let message = unit
        .add_message("user", &json!({}), MessageState::Open)
        .unwrap();
    unit.commit().unwrap();
    let mut unit = db.begin(session.id).unwrap();
    assert!(matches!(
        unit.set_state(message, MessageState::Withdrawn),
        Err(DbError::NotFound(_))
    ));
}

#[test]
fn json_as_deep_as_can_be_read_back_is_stored_and_deeper_is_refused() {
    let home = home();
    let (mut db, session) = testing::disk(home.path());
    let nested = |depth: usize| (0..depth).fold(json!(1), |inner, _| json!([inner]));
    let mut unit = db.begin(session.id).unwrap();
    unit.add_message("tool", &nested(DEPTH), MessageState::Open)
        .unwrap();
    unit.commit().unwrap();
    assert_eq!(db.messages(session.id).unwrap()[0].body, nested(DEPTH));
    let mut unit = db.begin(session.id).unwrap();
    assert!(matches!(
        unit.add_message("tool", &nested(DEPTH + 1), MessageState::Open),
        Err(DbError::Refused { .. })
    ));
}

#[test]
fn a_unit_on_a_session_that_was_removed_is_refused() {
    let home = home();
    let (mut db, session) = testing::disk(home.path());
    db.remove(session.id).unwrap();
    assert!(matches!(db.begin(session.id), Err(DbError::NotFound(_))));
}
