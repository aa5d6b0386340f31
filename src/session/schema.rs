//! The migration ladder. `user_version` counts the steps a database has taken; each step is one
//! SQL text, applied in one transaction. A database with more steps than this program knows is not opened.

use rusqlite::{Connection, Transaction, TransactionBehavior};

use super::{DbError, Result};

/// `application_id` of an npast.db: "npas".
const APPLICATION: i64 = 0x6e70_6173;

/// Step n leads from format n to n + 1.
pub(super) const STEPS: &[&str] = &[
    include_str!("steps/1.sql"),
    include_str!("steps/2.sql"),
    include_str!("steps/3.sql"),
    include_str!("steps/4.sql"),
    include_str!("steps/5.sql"),
    include_str!("steps/6.sql"),
    include_str!("steps/7.sql"),
    include_str!("steps/8.sql"),
    include_str!("steps/9.sql"),
    include_str!("steps/10.sql"),
    include_str!("steps/11.sql"),
];

/// Refuses a database that is not ours or is newer than this program. Writes nothing.
pub(super) fn check(conn: &Connection, path: &str, steps: &[&str]) -> Result<()> {
    // One snapshot: half of another process's first step would look like tables of another program.
    let tx = Transaction::new_unchecked(conn, TransactionBehavior::Deferred)?;
    check_within(&tx, path, steps)
}

fn check_within(conn: &Connection, path: &str, steps: &[&str]) -> Result<()> {
    let version = pragma(conn, "user_version")?;
    let application = pragma(conn, "application_id")?;
    let empty = version == 0
        && application == 0
        && conn.query_row("SELECT count(*) FROM sqlite_schema", [], |r| {
            r.get::<_, i64>(0)
        })? == 0;
    if application != APPLICATION && !empty {
        return Err(DbError::Corrupt {
            place: path.into(),
            what: "it is an SQLite database, but not one of npast's".into(),
        });
    }
    if version > steps.len() as i64 {
        return Err(DbError::Newer {
            path: path.into(),
            found: version,
            known: steps.len() as i64,
        });
    }
    if version < 0 {
        return Err(DbError::Corrupt {
            place: path.into(),
            what: format!("its format number is {version}"),
        });
    }
    Ok(())
}

/// Takes the steps that are missing. A step that fails leaves the database at the one before.
/// Foreign keys are off meanwhile, so that a step may rebuild a table without its rows' children
/// being removed, and are checked before the step is committed.
pub(super) fn climb(conn: &Connection, path: &str, steps: &[&str]) -> Result<()> {
    check(conn, path, steps)?;
    conn.pragma_update(None, "foreign_keys", false)?;
    while pragma(conn, "user_version")? < steps.len() as i64 {
        let tx = Transaction::new_unchecked(conn, TransactionBehavior::Immediate)?;
        // Read again under the write lock: another process may have climbed meanwhile.
        check_within(&tx, path, steps)?;
        let version = pragma(&tx, "user_version")?;
        if let Some(step) = usize::try_from(version).ok().and_then(|v| steps.get(v)) {
            // Foreign-key errors that damage left belong to one session, and are no reason to refuse all sessions.
            let before = orphans(&tx)?;
            tx.execute_batch(step)?;
            if orphans(&tx)? > before {
                return Err(DbError::Corrupt {
                    place: path.into(),
                    what: format!(
                        "rows without a session were found going to format {}",
                        version + 1
                    ),
                });
            }
            tx.pragma_update(None, "application_id", APPLICATION)?;
            tx.pragma_update(None, "user_version", version + 1)?;
            tx.commit()?;
        }
    }
    Ok(())
}

/// How many rows refer to a row that does not exist.
fn orphans(conn: &Connection) -> Result<usize> {
    let mut check = conn.prepare("PRAGMA foreign_key_check")?;
    let mut rows = check.query([])?;
    let mut count = 0;
    while rows.next()?.is_some() {
        count += 1;
    }
    Ok(count)
}

fn pragma(conn: &Connection, name: &str) -> Result<i64> {
    Ok(conn.pragma_query_value(None, name, |row| row.get(0))?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ledger::{Finish, Token};
    use crate::session::{Continuation, Db, MessageState, Span};

    /// A database of format 1 with one conversation, as `.dump` wrote it.
    const FORMAT_1: &str = include_str!("steps/1.dump.sql");

    #[test]
    fn a_database_of_format_1_still_opens_with_all_it_holds() {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("npast.db");
        let conn = Connection::open(&path).unwrap();
        conn.execute_batch(FORMAT_1).unwrap();
        drop(conn);

        let mut db = Db::open(&path).unwrap();
        let session = db.find("work").unwrap().unwrap();
        assert_eq!(
            (session.head, session.seed, session.usage.evaluated),
            (2, u64::MAX, 23)
        );
        assert_eq!(
            db.ledger(session.id).unwrap(),
            [1, 2, 3, 4, 5, 6].map(Token).to_vec()
        );
        let messages = db.messages(session.id).unwrap();
        let seen: Vec<_> = messages
            .iter()
            .map(|m| (m.state, m.finish, m.span))
            .collect();
        let span = |start, end| Some(Span { start, end });
        assert_eq!(
            seen,
            [
                (MessageState::Answered, None, span(2, 4)),
                (MessageState::Answered, Some(Finish::Stop), span(4, 6)),
                (MessageState::Open, None, None),
            ]
        );
        assert_eq!(db.pending(session.id).unwrap(), 1);
        assert_eq!(db.receipts(session.id).unwrap()[0]["evaluated"], 23);
        let mut unit = db.begin(session.id).unwrap();
        unit.append_tokens(6, &[Token(7)]).unwrap();
        unit.commit().unwrap();
    }

    /// The same conversation in format 2, with a reply that was taken off, and a fork.
    const FORMAT_2: &str = include_str!("steps/2.dump.sql");

    #[test]
    fn a_database_of_format_2_still_opens_with_its_branches_and_forks() {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("npast.db");
        let conn = Connection::open(&path).unwrap();
        conn.execute_batch(FORMAT_2).unwrap();
        drop(conn);

        let mut db = Db::open(&path).unwrap();
        let session = db.find("work").unwrap().unwrap();
        assert_eq!((session.tries, session.forked), (1, None));
        let fork = db.find("aside").unwrap().unwrap();
        assert_eq!((fork.parent, fork.forked), (Some(session.id), Some(4)));
        let tokens = [1, 2, 3, 4, 5, 6].map(Token);
        assert_eq!(db.ledger(fork.id).unwrap(), tokens[..4]);
        assert_eq!(db.messages(fork.id).unwrap().len(), 1);
        let branches = db.branches(session.id).unwrap();
        assert_eq!((branches[0].at, branches[0].tokens), (4, 2));
        let mut unit = db.begin(session.id).unwrap();
        unit.reattach(branches[0].id).unwrap();
        unit.commit().unwrap();
        assert_eq!(db.ledger(session.id).unwrap(), tokens);
        assert_eq!(db.messages(session.id).unwrap().len(), 3);
    }

    /// Format 3: marks of calls, and an index that the triggers of that format kept.
    const FORMAT_3: &str = include_str!("steps/3.dump.sql");

    #[test]
    fn a_database_of_format_3_still_opens_with_its_calls_and_its_search() {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("npast.db");
        let conn = Connection::open(&path).unwrap();
        conn.execute_batch(FORMAT_3).unwrap();
        drop(conn);

        let ear = crate::session::testing::Ear::here();
        let mut db = Db::open(&path).unwrap();
        assert_eq!(db.survey().unwrap().damaged, []);
        let (work, aside) = (db.find("work").unwrap(), db.find("aside").unwrap());
        let (work, aside) = (work.unwrap(), aside.unwrap());
        assert_eq!((work.thinking, aside.thinking), (None, None));
        assert_eq!(
            (work.policy.as_str(), aside.policy.as_str()),
            ("exact", "template")
        );
        let messages = db.messages(work.id).unwrap();
        assert_eq!(
            (messages.len(), messages[1].finish),
            (2, Some(Finish::ToolCalls))
        );
        let runs = db.runs(messages[1].id).unwrap();
        assert_eq!(runs[0].result, Some((true, "done".into())));
        assert_eq!((runs.len(), &runs[1].result), (2, &None));

        // What was indexed is found, and what is stored now.
        let found = |db: &Db, words: &str| -> Vec<String> {
            let hits = db.search(words, None, 5).unwrap();
            hits.into_iter().map(|hit| hit.name).collect()
        };
        assert_eq!(
            (found(&db, "parser"), found(&db, "lexer")),
            (vec!["work".into()], vec!["aside".into()])
        );
        let mut unit = db.begin(aside.id).unwrap();
        unit.freeze_thinking(false).unwrap();
        unit.freeze_thinking(true).unwrap();
        let body = serde_json::json!({"role": "user", "content": "a needle"});
        unit.add_message("user", &body, MessageState::Open).unwrap();
        unit.commit().unwrap();
        assert_eq!(db.get(aside.id).unwrap().thinking, Some(false));
        assert_eq!(found(&db, "needle"), ["aside"]);
        db.remove(work.id).unwrap();
        assert_eq!(found(&db, "parser"), [""; 0]);
        assert_eq!(ear.notices(), [""; 0]);
    }

    /// Format 4: children under another vocabulary, which that format found by comparing clocks.
    const FORMAT_4: &str = include_str!("steps/4.dump.sql");

    #[test]
    fn a_database_of_format_4_still_opens_and_its_sessions_name_what_continues_them() {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("npast.db");
        let conn = Connection::open(&path).unwrap();
        conn.execute_batch(FORMAT_4).unwrap();
        drop(conn);

        let mut db = Db::open(&path).unwrap();
        assert_eq!(db.survey().unwrap().damaged, []);
        let lineage = |name: &str| {
            let session = db.find(name).unwrap().unwrap();
            (session.made, session.successor.map(|s| s.0))
        };
        let rendered = Some(Continuation::Rendered);
        let want = [
            ("work", None, Some(3)),
            ("aside", None, None),
            ("work-2", rendered, None),
            ("aside-2", rendered, None),
            ("work-3", rendered, None),
        ];
        for (name, made, successor) in want {
            assert_eq!(lineage(name), (made, successor), "{name}");
        }
        let work = db.find("work").unwrap().unwrap();
        // What an agent knew of its folder stood in the system text then, and stays there.
        assert_eq!((&work.preface, work.common), (&None, None));
        let chain = db.lineage(work.id).unwrap();
        let names: Vec<_> = chain.iter().map(|s| s.name.as_str()).collect();
        assert_eq!(names, ["work", "work-2"]);
        assert_eq!(db.ledger(chain[1].id).unwrap(), [1, 2].map(Token));
        // A session that is used goes on by itself.
        let mut unit = db.begin(work.id).unwrap();
        unit.touch(5).unwrap();
        unit.commit().unwrap();
        assert_eq!(db.get(work.id).unwrap().successor, None);
    }

    /// One session's damage must not keep all the others from a newer npast.
    #[test]
    fn rows_without_a_session_do_not_keep_a_database_from_a_later_format() {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("npast.db");
        let conn = Connection::open(&path).unwrap();
        conn.execute_batch(FORMAT_3).unwrap();
        conn.execute_batch("PRAGMA foreign_keys = OFF; DELETE FROM sessions WHERE name = 'work'")
            .unwrap();
        drop(conn);
        let db = Db::open(&path).unwrap();
        assert_eq!(db.find("aside").unwrap().unwrap().forked, Some(4));
        let damaged = db.survey().unwrap().damaged;
        assert_eq!(damaged[0].name, "id:1");
        db.remove(damaged[0].id).unwrap();
        assert_eq!(db.survey().unwrap().damaged, []);
    }

    #[test]
    fn a_longer_ladder_keeps_what_an_old_database_holds() {
        let conn = Connection::open_in_memory().unwrap();
        conn.execute_batch(FORMAT_1).unwrap();
        conn.pragma_update(None, "foreign_keys", true).unwrap();
        let ladder = [
            STEPS[0],
            "ALTER TABLE sessions ADD COLUMN note TEXT NOT NULL DEFAULT 'none'",
            // The way to change a table that ALTER cannot change.
            "CREATE TABLE new AS SELECT * FROM sessions; DROP TABLE sessions;
             CREATE TABLE sessions (id INTEGER PRIMARY KEY, name TEXT, note TEXT);
             INSERT INTO sessions SELECT id, name, note FROM new; DROP TABLE new",
        ];
        climb(&conn, "old", &ladder).unwrap();
        let row: (String, String) = conn
            .query_row("SELECT name, note FROM sessions", [], |r| {
                Ok((r.get(0)?, r.get(1)?))
            })
            .unwrap();
        assert_eq!(row, ("work".into(), "none".into()));
        assert_eq!(pragma(&conn, "user_version").unwrap(), 3);
        let messages: i64 = conn
            .query_row("SELECT count(*) FROM messages", [], |r| r.get(0))
            .unwrap();
        assert_eq!(messages, 4);
        let ladder = [&ladder[..], &["DELETE FROM sessions"]].concat();
        let error = climb(&conn, "old", &ladder).unwrap_err().to_string();
        assert_eq!(
            error,
            "old is damaged: rows without a session were found going to format 4"
        );
    }

    #[test]
    fn a_failing_step_leaves_the_database_at_the_step_before() {
        let conn = Connection::open_in_memory().unwrap();
        let ladder = [
            "CREATE TABLE a (x)",
            "CREATE TABLE b (x); CREATE TABLE a (x)",
        ];
        climb(&conn, "db", &ladder).unwrap_err();
        assert_eq!(pragma(&conn, "user_version").unwrap(), 1);
        let tables: i64 = conn
            .query_row("SELECT count(*) FROM sqlite_schema", [], |r| r.get(0))
            .unwrap();
        assert_eq!(tables, 1);
        climb(&conn, "db", &["CREATE TABLE a (x)", "CREATE TABLE b (x)"]).unwrap();
    }

    #[test]
    fn a_newer_database_is_refused_and_not_touched() {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("npast.db");
        drop(Db::open(&path).unwrap());
        let conn = Connection::open(&path).unwrap();
        conn.pragma_update(None, "user_version", 99).unwrap();
        drop(conn);
        let before = std::fs::read(&path).unwrap();
        let error = Db::open(&path).err().unwrap();
        assert_eq!(
            error.to_string(),
            format!(
                "{} has format 99, and this npast knows formats up to {}",
                path.display(),
                STEPS.len()
            )
        );
        assert!(error.hint().is_some());
        assert_eq!(std::fs::read(&path).unwrap(), before);
    }

    #[test]
    fn somebody_elses_database_and_no_database_at_all_are_refused() {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("npast.db");
        let conn = Connection::open(&path).unwrap();
        conn.execute_batch("CREATE TABLE theirs (x); PRAGMA user_version = 1")
            .unwrap();
        drop(conn);
        assert!(matches!(Db::open(&path), Err(DbError::Corrupt { .. })));
        std::fs::write(
            &path,
            "not a database, but long enough to be looked at".repeat(100),
        )
        .unwrap();
        assert!(matches!(Db::open(&path), Err(DbError::Corrupt { .. })));
    }
}
