use serde_json::json;

use super::*;
use crate::session::testing::{Ear, disk, new};
use crate::session::{CutPoint, Db, DbError, MessageState, Session, SessionId};

/// What becomes of an index: nothing (the tests themselves), blobs, rows, tables, pages.
const DAMAGES: [&str; 19] = [
    "UPDATE words_data SET block = x'ff'",
    "UPDATE words_data SET block = zeroblob(length(block))",
    "UPDATE words_data SET block = randomblob(length(block)) WHERE id > 10",
    "UPDATE words_data SET block = NULL",
    "UPDATE words_data SET block = x'ff' WHERE id = 1",
    "UPDATE words_data SET block = x'ffffffffffffffffff' WHERE id = 10",
    "DELETE FROM words_data",
    "DELETE FROM words_data WHERE id = 10",
    "DELETE FROM words_docsize",
    "UPDATE words_docsize SET sz = x'ff'",
    "DELETE FROM words_config",
    "UPDATE words_config SET v = 99",
    "DROP TABLE words_data",
    "DROP TABLE words_docsize; DROP TABLE words_idx",
    "DROP TABLE words_config",
    "DROP VIEW said",
    "DROP TRIGGER unindexed_added; DROP TRIGGER unindexed_removed",
    "DROP TABLE unindexed; DROP TRIGGER unindexed_added; DROP TRIGGER unindexed_changing;
     DROP TRIGGER unindexed_removed",
    "DELETE FROM words_idx",
];

fn say(db: &mut Db, session: &Session, text: &str) {
    let mut unit = db.begin(session.id).unwrap();
    let body = json!({"role": "user", "content": text});
    unit.add_message("user", &body, MessageState::Answered)
        .unwrap();
    unit.commit().unwrap();
}

fn found(db: &Db, word: &str) -> Vec<String> {
    let hits = db.search(word, None, 10).unwrap();
    hits.into_iter().map(|h| h.name).collect()
}

fn grown(home: &std::path::Path) -> (Db, Session) {
    let (mut db, work) = disk(home);
    for i in 0..30 {
        say(&mut db, &work, &format!("The parser drops line {i}."));
    }
    let other = db.create(&new("other")).unwrap();
    say(&mut db, &other, "A lexer, and a parser.");
    assert_eq!(found(&db, "lexer"), ["other"]);
    (db, work)
}

/// The index as FTS5 and the messages themselves see it.
fn sound(db: &Db, what: &str) {
    let check = "INSERT INTO words (words, rank) VALUES ('integrity-check', 1)";
    db.conn
        .execute_batch(check)
        .unwrap_or_else(|e| panic!("{what}: {e}"));
    assert!(complete(&db.conn).unwrap(), "{what}");
}

type Use = fn(&mut Db, &Session);

/// What meets the damage first, and what is found afterwards by the words `lexer` and `parser`.
const USES: [(&str, Use, usize, usize); 6] = [
    (
        "a message",
        |db, work| say(db, work, "Another lexer."),
        2,
        10,
    ),
    (
        "a reply that grows",
        |db, work| {
            let last = db.messages(work.id).unwrap().pop().unwrap();
            let mut unit = db.begin(work.id).unwrap();
            let body = json!({"role": "user", "content": "A lexer."});
            unit.set_body(last.id, &body).unwrap();
            unit.commit().unwrap();
        },
        2,
        10,
    ),
    ("a search", |db, _| drop(found(db, "lexer")), 1, 10),
    (
        "a removal",
        |db, work| drop(db.remove(work.id).unwrap()),
        1,
        1,
    ),
    (
        "a fork",
        |db, work| {
            let seen = db.messages(work.id).unwrap();
            let cut = CutPoint {
                after: seen.last().map(|m| m.id),
                at: 4,
                pending: 0,
            };
            db.fork(work.id, "fork", cut, &seen).unwrap();
        },
        1,
        10,
    ),
    ("nothing but its opening", |_, _| {}, 1, 10),
];

#[test]
fn a_damaged_index_is_made_again_when_it_is_met_and_no_message_fails_for_it() {
    let (mut told, mut silent) = (0, Vec::new());
    for damage in DAMAGES {
        for (what, act, lexers, parsers) in USES {
            // With the connection that is open, and with another.
            for reopened in [false, true] {
                let what = format!("{what} after {damage}, reopened {reopened}");
                let home = tempfile::tempdir().unwrap();
                let ear = Ear::here();
                let (mut db, work) = grown(home.path());
                let path = home.path().join("npast.db");
                let other = Connection::open(&path).unwrap();
                other
                    .execute_batch(damage)
                    .unwrap_or_else(|e| panic!("{what}: {e}"));
                drop(other);
                if reopened {
                    db = Db::open(&path).unwrap_or_else(|e| panic!("{what}: {e}"));
                }
                act(&mut db, &work);
                let found_now = (found(&db, "lexer").len(), found(&db, "parser").len());
                assert_eq!(found_now, (lexers, parsers), "{what}");
                match ear.notices().len() {
                    // Some damage does no harm.
                    0 => silent.push(what.clone()),
                    _ => {
                        told += 1;
                        sound(&db, &what);
                    }
                }
                // Whatever is said from here on is found.
                for name in ["other", "third"] {
                    let session = match db.find(name).unwrap() {
                        Some(session) => session,
                        None => db.create(&new(name)).unwrap(),
                    };
                    say(&mut db, &session, "A needle.");
                }
                assert_eq!(found(&db, "needle").len(), 2, "{what}");
                assert!(ear.notices().len() <= 1, "{what}: {:?}", ear.notices());
                if what.starts_with("a message") {
                    assert_eq!(db.messages(work.id).unwrap().len(), 31, "{what}");
                }
            }
        }
    }
    println!("silent: {silent:#?}");
    assert!(told > silent.len(), "{silent:#?}");
}

type Act = fn(&mut Db, SessionId) -> Result<()>;

/// Overwrites the beginning of a table's first page in the file.
fn harm_page(db: Db, path: &std::path::Path, table: &str) {
    let root = "SELECT rootpage FROM sqlite_schema WHERE name = ?";
    let page: u64 = db.conn.query_row(root, [table], |r| r.get(0)).unwrap();
    let size = db.conn.pragma_query_value(None, "page_size", |r| r.get(0));
    let size: u64 = size.unwrap();
    // The last connection to close empties the write-ahead log into the file.
    drop(db);
    let mut bytes = std::fs::read(path).unwrap();
    let at = usize::try_from((page - 1) * size).unwrap();
    bytes[at..at + 64].fill(0x5a);
    std::fs::write(path, bytes).unwrap();
}

#[test]
fn damaged_pages_of_the_index_cost_no_message() {
    for table in &TABLES[1..] {
        let home = tempfile::tempdir().unwrap();
        let ear = Ear::here();
        let (db, work) = grown(home.path());
        let path = home.path().join("npast.db");
        harm_page(db, &path, table);
        let mut db = Db::open(&path).unwrap();
        say(&mut db, &work, "A needle.");
        assert_eq!(found(&db, "needle"), ["work"], "{table}");
        assert_eq!(found(&db, "parser").len(), 10, "{table}");
        sound(&db, table);
        assert_eq!(ear.notices().len(), 1, "{table}: {:?}", ear.notices());
        assert_eq!(db.messages(work.id).unwrap().len(), 31, "{table}");
    }
}

#[test]
fn the_index_that_is_made_again_is_the_one_of_the_steps() {
    let home = tempfile::tempdir().unwrap();
    let (db, _) = grown(home.path());
    let schema = |db: &Db| -> Vec<(String, Option<String>)> {
        let mut all = db
            .conn
            .prepare("SELECT name, sql FROM sqlite_schema ORDER BY name")
            .unwrap();
        let rows = all.query_map([], |r| Ok((r.get(0)?, r.get(1)?))).unwrap();
        rows.map(|row| row.unwrap()).collect()
    };
    let before = schema(&db);
    let tx = db.write().unwrap();
    replace(&tx).unwrap();
    tx.commit().unwrap();
    assert_eq!(schema(&db), before);
    sound(&db, "made again");
    // Nothing of the old one is left in the file.
    let unused: String = db
        .conn
        .query_row("PRAGMA integrity_check", [], |r| r.get(0))
        .unwrap();
    assert_eq!(unused, "ok");
}

#[test]
fn a_removed_session_leaves_no_words_after_the_index_was_made_again() {
    let home = tempfile::tempdir().unwrap();
    let (mut db, work) = grown(home.path());
    db.conn.execute_batch("DELETE FROM words_data").unwrap();
    say(&mut db, &work, "Rumpelstilzchen.");
    db.remove(work.id).unwrap();
    let left: i64 = db
        .conn
        .query_row(
            "SELECT (SELECT count(*) FROM words('rumpelstilzchen')) + (SELECT count(*) FROM unindexed)",
            [],
            |r| r.get(0),
        )
        .unwrap();
    assert_eq!(left, 0);
}

/// Pages of the messages themselves: nothing can make them again.
#[test]
fn damaged_pages_of_messages_are_an_error_with_a_way_out_and_nothing_is_changed() {
    let home = tempfile::tempdir().unwrap();
    let ear = Ear::here();
    let (db, work) = grown(home.path());
    let path = home.path().join("npast.db");
    harm_page(db, &path, "messages");
    let before = std::fs::read(&path).unwrap();
    let mut db = Db::open(&path).unwrap();
    let table: [(&str, Act); 5] = [
        ("list", |db, _| db.list().map(drop)),
        ("survey", |db, _| db.survey().map(drop)),
        ("messages", |db, id| db.messages(id).map(drop)),
        ("search", |db, _| db.search("parser", None, 5).map(drop)),
        ("a message", |db, id| {
            let mut unit = db.begin(id)?;
            let body = json!({"role": "user", "content": "x"});
            unit.add_message("user", &body, MessageState::Open)
                .map(drop)
        }),
    ];
    for (what, act) in table {
        let error = act(&mut db, work.id).unwrap_err();
        assert!(
            matches!(error, DbError::Corrupt { .. }),
            "{what}: {error:?}"
        );
        let hint = error.hint().unwrap();
        assert!(hint.contains("copy the data folder"), "{what}: {hint}");
    }
    // What lies elsewhere can be read.
    assert_eq!(db.get(work.id).unwrap().name, "work");
    assert!(db.receipts(work.id).unwrap().is_empty());
    assert_eq!(ear.notices(), [""; 0]);
    drop(db);
    assert!(std::fs::read(&path).unwrap() == before);
}
