use serde_json::json;

use super::*;
use crate::session::{State, Usage, testing};

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
        .create(&NewSession {
            system: Some("Be brief."),
            tools: Some(&tools),
            head: &head,
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
    assert_eq!(found.usage, Usage::default());
    assert_eq!(db.ledger(found.id).unwrap(), head);
    assert_eq!(db.find("nobody").unwrap(), None);

    db.remove(parent.id).unwrap();
    assert_eq!(db.get(made.id).unwrap().parent, None);
    let orphan = NewSession {
        parent: Some(parent.id),
        ..testing::new("orphan")
    };
    assert!(matches!(db.create(&orphan), Err(Error::NotFound(_))));
}

#[test]
fn a_name_is_checked_and_taken_once() {
    let home = home();
    let (db, session) = testing::disk(home.path());
    assert!(matches!(db.create(&testing::new("work")), Err(Error::Exists(n)) if n == "work"));
    assert!(matches!(
        db.create(&testing::new("a/b")),
        Err(Error::Name(_))
    ));
    db.create(&testing::new("play")).unwrap();
    assert!(matches!(
        db.rename(session.id, "play"),
        Err(Error::Exists(_))
    ));
    assert!(matches!(db.rename(session.id, ".."), Err(Error::Name(_))));
    db.rename(session.id, "done").unwrap();
    assert_eq!(db.id_of("done").unwrap(), Some(session.id));
    assert!(matches!(
        db.rename(SessionId(99), "x"),
        Err(Error::NotFound(_))
    ));
    assert!(matches!(db.remove(SessionId(99)), Err(Error::NotFound(_))));
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
    unit.add_message("user", &json!({}), State::Open).unwrap();
    unit.add_receipt("turn", None, &json!({})).unwrap();
    unit.commit().unwrap();
    db.remove(session.id).unwrap();
    for table in ["sessions", "messages", "chunks", "receipts"] {
        let left: i64 = db
            .conn
            .query_row(&format!("SELECT count(*) FROM {table}"), [], |r| r.get(0))
            .unwrap();
        assert_eq!(left, 0, "{table}");
    }
    assert!(matches!(db.ledger(session.id), Err(Error::NotFound(_))));
    assert!(matches!(db.messages(session.id), Err(Error::NotFound(_))));
    assert!(matches!(db.pending(session.id), Err(Error::NotFound(_))));
    let next = db.create(&testing::new("work")).unwrap();
    assert!(next.id > session.id);
}

#[test]
fn the_last_session_of_a_folder_is_the_one_touched_last() {
    let home = home();
    let (mut db, first) = testing::disk(home.path());
    let second = db.create(&testing::new("second")).unwrap();
    let elsewhere = NewSession {
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
fn a_list_counts_and_leaves_out_what_is_damaged() {
    let home = home();
    let (mut db, session) = testing::disk(home.path());
    let mut unit = db.begin(session.id).unwrap();
    for (role, body, state) in [
        ("user", json!({"content": "never mind"}), State::Withdrawn),
        (
            "user",
            json!({"content": "fix\nthe parser"}),
            State::Answered,
        ),
        ("assistant", json!({"content": "yes"}), State::Answered),
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
    unit.add_message("user", &json!({}), State::Open).unwrap();
    unit.add_receipt("turn", None, &json!({})).unwrap();
    unit.commit().unwrap();
    for damage in [
        "UPDATE messages SET state = 'odd'",
        "UPDATE messages SET state = 'open', finish = 'odd'",
        "UPDATE messages SET finish = NULL, body = '{'",
        "UPDATE messages SET body = '{}', span_start = -1, span_end = 2",
    ] {
        db.conn.execute(damage, []).unwrap();
        let error = db.messages(session.id).unwrap_err();
        assert!(matches!(error, Error::Corrupt { .. }), "{damage}: {error}");
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
    assert!(matches!(other.begin(session.id), Err(Error::Locked)));
    assert!(matches!(
        other.create(&testing::new("x")),
        Err(Error::Locked)
    ));
    assert!(matches!(other.rename(session.id, "x"), Err(Error::Locked)));
    assert_eq!(other.ledger(session.id).unwrap().len(), 4);
    unit.commit().unwrap();
    assert_eq!(other.ledger(session.id).unwrap().len(), 5);
    other.begin(session.id).unwrap().commit().unwrap();
}

#[test]
fn a_connection_that_may_only_read_reads_and_refuses_to_write() {
    let home = home();
    let (db, session) = testing::disk(home.path());
    drop(db);
    let path = home.path().join("npast.db");
    let conn = Connection::open_with_flags(&path, OpenFlags::SQLITE_OPEN_READ_ONLY).unwrap();
    let mut db = Db::with(conn, "npast.db").unwrap();
    assert_eq!(db.ledger(session.id).unwrap().len(), 4);
    assert_eq!(db.list().unwrap().len(), 1);
    assert!(matches!(
        db.create(&testing::new("x")),
        Err(Error::ReadOnly)
    ));
    assert!(matches!(db.rename(session.id, "x"), Err(Error::ReadOnly)));
    // Where a reader can take SQLite's write lock, the first write is what fails.
    let refused = match db.begin(session.id) {
        Ok(mut unit) => unit.touch(1).unwrap_err(),
        Err(error) => error,
    };
    assert!(matches!(refused, Error::ReadOnly), "{refused}");
    assert!(refused.hint().is_some());
}

#[cfg(unix)]
#[test]
fn a_read_only_file_opens_for_reading() {
    use std::os::unix::fs::PermissionsExt;
    let home = home();
    let (db, session) = testing::disk(home.path());
    drop(db);
    let path = home.path().join("npast.db");
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o400)).unwrap();
    if std::fs::OpenOptions::new().write(true).open(&path).is_ok() {
        eprintln!("skipped: this user may write to read-only files");
        return;
    }
    let db = Db::open(&path).unwrap();
    assert_eq!(db.ledger(session.id).unwrap().len(), 4);
    assert!(matches!(db.rename(session.id, "x"), Err(Error::ReadOnly)));
}

#[test]
fn a_full_disk_is_told_and_costs_nothing_that_was_stored() {
    let home = home();
    let (mut db, session) = testing::disk(home.path());
    // A database that may not grow fails as a full disk does.
    let pages: i64 = db
        .conn
        .pragma_query_value(None, "page_count", |r| r.get(0))
        .unwrap();
    db.conn
        .pragma_update_and_check(None, "max_page_count", pages, |_| Ok(()))
        .unwrap();
    let mut unit = db.begin(session.id).unwrap();
    let error = unit.append_tokens(4, &[Token(0); 100_000]).unwrap_err();
    assert!(matches!(error, Error::Full), "{error}");
    assert!(matches!(unit.commit(), Err(Error::Refused { .. })));
    assert_eq!(db.ledger(session.id).unwrap().len(), 4);
    let mut unit = db.begin(session.id).unwrap();
    unit.touch(7).unwrap();
    unit.commit().unwrap();
}

#[test]
fn every_connection_is_set_for_durability() {
    let home = home();
    let (db, _) = testing::disk(home.path());
    let pragma = |name: &str| -> String {
        db.conn
            .query_row(
                &format!("SELECT CAST({name} AS TEXT) FROM pragma_{name}"),
                [],
                |r| r.get(0),
            )
            .unwrap()
    };
    let seen = ["journal_mode", "synchronous", "foreign_keys"].map(pragma);
    assert_eq!(seen, ["wal", "2", "1"]);
}

#[cfg(unix)]
#[test]
fn the_database_and_its_logs_are_private() {
    use std::os::unix::fs::PermissionsExt;
    let home = home();
    let folder = home.path().join("data/npast");
    let (_db, _) = testing::disk(&folder);
    let mode = |path: &Path| path.metadata().unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&folder), 0o700);
    for name in ["npast.db", "npast.db-wal", "npast.db-shm"] {
        assert_eq!(mode(&folder.join(name)), 0o600, "{name}");
    }
}

#[test]
fn a_new_database_can_be_opened_by_many_at_once() {
    let home = home();
    let path = home.path().join("npast.db");
    std::thread::scope(|scope| {
        let all: Vec<_> = (0..8)
            .map(|n| {
                let path = &path;
                scope.spawn(move || {
                    let db = Db::open(path)?;
                    db.create(&testing::new(&format!("s{n}"))).map(|s| s.id)
                })
            })
            .collect();
        for one in all {
            one.join().unwrap().unwrap();
        }
    });
    assert_eq!(Db::open(&path).unwrap().list().unwrap().len(), 8);
}

#[test]
fn a_database_that_cannot_be_made_is_told_with_its_place() {
    let home = home();
    let file = home.path().join("file");
    std::fs::write(&file, "x").unwrap();
    let error = Db::open(&file.join("npast.db")).err().unwrap();
    assert!(error.to_string().contains("file"), "{error}");
    let error = Db::open(home.path()).err().unwrap();
    assert!(error.to_string().contains("cannot open"), "{error}");
}

#[test]
fn a_database_can_be_moved_to_another_thread() {
    fn moves<T: Send>() {}
    moves::<Db>();
}
