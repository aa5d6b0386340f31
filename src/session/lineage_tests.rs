use serde_json::json;

use super::*;
use crate::session::testing::{disk, new};

fn message(role: &str, text: &str, span: (usize, usize)) -> Carried {
    Carried {
        of: None,
        role: role.to_owned(),
        body: json!({"role": role, "content": text}),
        state: MessageState::Answered,
        finish: (role == "assistant").then_some(Finish::Stop),
        span: Some(Span {
            start: span.0,
            end: span.1,
        }),
    }
}

/// Makes the successor of a session.
fn continued(db: &Db, parent: &Session, name: &str, made: Continuation) -> Result<Session> {
    let head = db.ledger(parent.id)?[..parent.head].to_vec();
    let row = SessionRecord {
        preface: None,
        head: &head,
        common: None,
        parent: Some(parent.id),
        ..new(name)
    };
    let messages = [
        message("user", "a summary", (4, 6)),
        message("assistant", "yes", (6, 7)),
    ];
    let heir = Heir {
        made,
        tokens: &[7, 8, 9].map(Token),
        messages: &messages,
        pending: 1,
        decoded: 4,
        runs: &[],
    };
    db.succeed(&row, &heir)
}

fn names(sessions: &[Session]) -> Vec<&str> {
    sessions.iter().map(|s| s.name.as_str()).collect()
}

#[test]
fn a_successor_is_whole_and_is_found_from_any_ancestor() {
    let home = tempfile::tempdir().unwrap();
    let (db, work) = disk(home.path());
    let two = continued(&db, &work, "work-2", Continuation::Compressed).unwrap();
    let three = continued(&db, &two, "work-3", Continuation::Compressed).unwrap();
    drop(db);

    let db = Db::open(&home.path().join("npast.db")).unwrap();
    assert_eq!(db.survey().unwrap().damaged, []);
    assert_eq!(db.ledger(two.id).unwrap(), [1, 2, 3, 4, 7, 8, 9].map(Token));
    assert_eq!(
        (two.made, two.carried, two.parent),
        (Some(Continuation::Compressed), 2, Some(work.id))
    );
    assert_eq!(
        (db.pending(two.id).unwrap(), db.decoded(two.id).unwrap()),
        (1, Some(4))
    );
    let texts: Vec<_> = db
        .messages(two.id)
        .unwrap()
        .into_iter()
        .map(|m| m.body["content"].clone())
        .collect();
    assert_eq!(texts, ["a summary", "yes"]);
    for id in [work.id, two.id, three.id] {
        let from = db.get(id).unwrap();
        assert_eq!(db.newest(from, &|_| true).unwrap().id, three.id);
        assert_eq!(
            names(&db.lineage(id).unwrap()),
            ["work", "work-2", "work-3"]
        );
    }
    // Of a chain over several vocabularies the last that fits.
    let from = db.get(work.id).unwrap();
    assert_eq!(
        db.newest(from.clone(), &|s| s.id != three.id).unwrap().id,
        two.id
    );
    assert_eq!(db.newest(from, &|_| false).unwrap().id, three.id);
}

#[test]
fn a_chain_closes_over_a_session_that_is_removed() {
    let home = tempfile::tempdir().unwrap();
    let (db, work) = disk(home.path());
    let two = continued(&db, &work, "work-2", Continuation::Compressed).unwrap();
    let three = continued(&db, &two, "work-3", Continuation::Compressed).unwrap();
    db.remove(two.id).unwrap();
    assert_eq!(names(&db.lineage(work.id).unwrap()), ["work", "work-3"]);
    assert_eq!(db.get(three.id).unwrap().parent, None);
    db.remove(three.id).unwrap();
    assert_eq!(names(&db.lineage(work.id).unwrap()), ["work"]);
    assert_eq!(db.get(work.id).unwrap().successor, None);
}

#[test]
fn a_circle_that_damage_made_ends() {
    let home = tempfile::tempdir().unwrap();
    let (db, work) = disk(home.path());
    let two = continued(&db, &work, "work-2", Continuation::Compressed).unwrap();
    drop(db);
    let path = home.path().join("npast.db");
    crate::session::harm(
        &path,
        "UPDATE sessions SET successor = 1, parent = 2 WHERE id = 2",
    );
    let db = Db::open(&path).unwrap();
    assert_eq!(names(&db.lineage(work.id).unwrap()), ["work", "work-2"]);
    assert_eq!(names(&db.lineage(two.id).unwrap()), ["work-2", "work"]);
}

#[test]
fn a_successor_that_would_not_be_whole_is_not_made() {
    let home = tempfile::tempdir().unwrap();
    let (db, work) = disk(home.path());
    let head = [1, 2, 3, 4].map(Token);
    let row = SessionRecord {
        preface: None,
        head: &head,
        common: None,
        parent: Some(work.id),
        ..new("work-2")
    };
    let messages = [message("user", "a summary", (4, 9))];
    let heir = Heir {
        made: Continuation::Compressed,
        tokens: &[Token(7)],
        messages: &messages,
        pending: 0,
        decoded: 0,
        runs: &[],
    };
    let refused = db.succeed(&row, &heir).unwrap_err();
    assert!(matches!(refused, DbError::Refused { .. }), "{refused}");
    let heir = Heir {
        messages: &[],
        decoded: 6,
        ..heir
    };
    db.succeed(&row, &heir).unwrap_err();
    let nobody = SessionRecord {
        parent: None,
        ..row
    };
    let heir = Heir { decoded: 0, ..heir };
    assert!(matches!(
        db.succeed(&nobody, &heir),
        Err(DbError::NotFound(_))
    ));
    assert!(matches!(
        db.succeed(
            &SessionRecord {
                name: "work",
                ..row
            },
            &heir
        ),
        Err(DbError::Exists(_))
    ));
    assert_eq!(db.ids().unwrap(), [work.id]);
    assert_eq!(db.get(work.id).unwrap().successor, None);
}

#[test]
fn long_results_of_a_removed_session_are_kept_as_long_as_a_child_may_name_them() {
    let home = tempfile::tempdir().unwrap();
    let (db, work) = disk(home.path());
    let two = continued(&db, &work, "work-2", Continuation::Compressed).unwrap();
    let three = continued(&db, &two, "work-3", Continuation::Compressed).unwrap();
    let aside = continued(&db, &three, "aside", Continuation::Rendered).unwrap();
    let all = [work.id, two.id, three.id, aside.id];
    let folders = |ids: &[SessionId]| -> Vec<SessionId> {
        ids.iter().map(|id| db.results_of(*id).unwrap()).collect()
    };
    assert_eq!(folders(&all), [work.id, work.id, work.id, aside.id]);
    // The first one goes: its folder is that of the others still.
    assert_eq!(db.remove(work.id).unwrap(), []);
    assert_eq!(db.keepers(work.id).unwrap(), [two.id]);
    assert_eq!(folders(&all[1..]), [work.id, work.id, aside.id]);
    // One in the middle: what it kept goes on to the next.
    assert_eq!(db.remove(two.id).unwrap(), []);
    assert_eq!(db.keepers(work.id).unwrap(), [three.id]);
    assert_eq!(folders(&all[2..]), [work.id, aside.id]);
    assert_eq!(db.remove(three.id).unwrap(), []);
    assert_eq!(folders(&all[3..]), [aside.id]);
    // With the last one all of it is free.
    let mut free = db.remove(aside.id).unwrap();
    free.sort();
    assert_eq!(free, all);
    assert_eq!(db.keepers(work.id).unwrap(), []);
}

#[test]
fn a_message_is_read_from_its_session_and_from_those_that_came_from_it() {
    let home = tempfile::tempdir().unwrap();
    let (db, work) = disk(home.path());
    let two = continued(&db, &work, "work-2", Continuation::Compressed).unwrap();
    let three = continued(&db, &two, "work-3", Continuation::Rendered).unwrap();
    let first = db.messages(two.id).unwrap()[0].clone();
    let found = |id| db.earlier_message(id, first.id).unwrap();
    assert_eq!(found(two.id), Some(first.body.clone()));
    assert_eq!(found(three.id), Some(first.body.clone()));
    assert_eq!(found(work.id), None);
    assert_eq!(db.earlier_message(two.id, MessageId(9999)).unwrap(), None);
    // Damage: parents that are a circle, and a body that is no JSON.
    let last = db.messages(three.id).unwrap()[0].id;
    let circle = "UPDATE sessions SET parent = ? WHERE id = ?";
    db.conn.execute(circle, [two.id.0, work.id.0]).unwrap();
    assert_eq!(db.earlier_message(two.id, last).unwrap(), None);
    let broken = "UPDATE messages SET body = '{' WHERE id = ?";
    db.conn.execute(broken, [first.id.0]).unwrap();
    assert_eq!(found(two.id), None);
}
