//! Failures of npast.db that a test orders, to see what an operation leaves behind when one of its
//! statements fails. Nothing in the program orders one; without an order a statement costs one look
//! at a thread's own cell.

use std::cell::Cell;

use rusqlite::{Connection, ffi};

use super::{DbError, Result};

/// A failure to come on this thread.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Fault {
    /// Which statements fail.
    pub reach: Reach,
    /// How many work before: statements, or commits where [`Reach`] names commits. A read, a
    /// change, and the begin and the commit of a transaction are one statement each.
    pub after: usize,
    /// What is wrong.
    pub why: Trouble,
}

/// Which statements a [`Fault`] makes fail.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Reach {
    /// None; they are only counted.
    Nothing,
    /// One statement.
    One,
    /// That statement, and every write from there on. Reads work.
    Writes,
    /// That statement and all that follow.
    All,
    /// One commit: it is made, and an error is reported all the same.
    Reported,
    /// After so many commits the file cannot grow: SQLite itself finds that there is no space, at
    /// whatever statement needs some. [`Fault::why`] does not matter.
    Pages,
}

/// What is wrong with the database.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Trouble {
    /// The disk is full.
    Full,
    /// Another program has the lock.
    Locked,
    /// The disk fails.
    Broken,
}

/// What was counted since a fault was ordered.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Count {
    /// Statements.
    pub statements: usize,
    /// Commits.
    pub commits: usize,
}

/// What a statement does.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum StatementKind {
    Read,
    Write,
    Commit,
}

thread_local! {
    static ORDERED: Cell<Option<(Fault, Count)>> = const { Cell::new(None) };
    /// The size of files was limited on this thread before; each new connection checks it.
    static LIMITED: Cell<bool> = const { Cell::new(false) };
}

/// Orders a failure, for the statements that this thread runs from here on.
pub fn order(fault: Fault) {
    ORDERED.set(Some((fault, Count::default())));
}

/// Takes the order back: the database works again. Gives what was counted.
pub fn heal() -> Count {
    ORDERED.take().map_or(Count::default(), |(_, count)| count)
}

/// Asked before each statement.
pub(super) fn check(kind: StatementKind) -> Result<()> {
    let Some((fault, mut count)) = ORDERED.get() else {
        return Ok(());
    };
    let reached = count.statements >= fault.after;
    let first = count.statements == fault.after;
    count.statements += 1;
    count.commits += usize::from(kind == StatementKind::Commit);
    ORDERED.set(Some((fault, count)));
    let fails = match fault.reach {
        Reach::Nothing | Reach::Reported | Reach::Pages => false,
        Reach::One => first,
        Reach::Writes => first || (reached && kind != StatementKind::Read),
        Reach::All => reached,
    };
    match fails {
        true => Err(fault.error()),
        false => Ok(()),
    }
}

/// Asked after a commit was made.
pub(super) fn made() -> Result<()> {
    match ORDERED.get() {
        Some((fault, count))
            if fault.reach == Reach::Reported && count.commits == fault.after + 1 =>
        {
            Err(fault.error())
        }
        _ => Ok(()),
    }
}

/// Asked at the begin of a transaction: limits the file to its present size, or lifts that limit.
pub(super) fn limit(conn: &Connection) -> Result<()> {
    let full = ORDERED
        .get()
        .is_some_and(|(fault, count)| fault.reach == Reach::Pages && count.commits >= fault.after);
    if !full && !LIMITED.get() {
        return Ok(());
    }
    LIMITED.set(true);
    // Below the present size means the present size; the other number is SQLite's own limit.
    let pages = if full { 1 } else { 4_294_967_294_i64 };
    Ok(conn.pragma_update_and_check(None, "max_page_count", pages, |_| Ok(()))?)
}

impl Fault {
    fn error(self) -> DbError {
        let code = match self.why {
            Trouble::Full => ffi::SQLITE_FULL,
            Trouble::Locked => ffi::SQLITE_BUSY,
            Trouble::Broken => ffi::SQLITE_IOERR,
        };
        rusqlite::Error::SqliteFailure(ffi::Error::new(code), None).into()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::ledger::{Finish, Token};
    use crate::session::{CutPoint, Db, MessageState, SessionId, Span, Why, testing};

    /// All that a database says of its sessions.
    fn all(db: &Db) -> String {
        let mut text = String::new();
        for summary in db.list().unwrap() {
            let id = summary.session.id;
            text.push_str(&format!(
                "{summary:?} {:?} {:?} {:?} {:?} {:?}\n",
                db.messages(id).unwrap(),
                db.ledger(id).unwrap(),
                db.pending(id).unwrap(),
                db.branches(id).unwrap(),
                db.receipts(id).unwrap(),
            ));
        }
        text
    }

    /// A conversation of two messages.
    fn made(home: &std::path::Path) -> (Db, SessionId) {
        let (mut db, session) = testing::disk(home);
        let mut unit = db.begin(session.id).unwrap();
        unit.append_tokens(4, &[5, 6, 7, 8].map(Token)).unwrap();
        let body = json!({"role": "user", "content": "hello"});
        let user = unit
            .add_message("user", &body, MessageState::Answered)
            .unwrap();
        unit.set_span(user, Span { start: 4, end: 6 }).unwrap();
        let body = json!({"role": "assistant", "content": "well"});
        let reply = unit
            .add_message("assistant", &body, MessageState::Answered)
            .unwrap();
        unit.set_span(reply, Span { start: 6, end: 8 }).unwrap();
        unit.set_finish(reply, Finish::Stop).unwrap();
        unit.commit().unwrap();
        (db, session.id)
    }

    type Change = fn(&mut Db, SessionId) -> Result<()>;

    /// Every way to change a database. Words are longer than a page, so that the file has to grow.
    fn changes() -> Vec<(&'static str, Change)> {
        vec![
            ("rename", |db, id| db.rename(id, "play")),
            ("rm", |db, id| db.remove(id).map(drop)),
            ("create", |db, _| {
                let head = vec![Token(1); 5000];
                let new = crate::session::SessionRecord {
                    preface: None,
                    head: &head,
                    common: None,
                    ..testing::new("more")
                };
                db.create(&new).map(drop)
            }),
            ("fork", |db, id| {
                let seen = db.messages(id)?;
                let cut = CutPoint {
                    after: seen.last().map(|m| m.id),
                    at: 8,
                    pending: 1,
                };
                db.fork(id, "aside", cut, &seen).map(drop)
            }),
            ("a successor", |db, id| {
                let head = [1, 2, 3, 4].map(Token);
                let new = crate::session::SessionRecord {
                    preface: None,
                    head: &head,
                    common: None,
                    parent: Some(id),
                    ..testing::new("more")
                };
                let message = crate::session::Carried {
                    of: db.messages(id)?.first().map(|m| m.id),
                    role: "user".into(),
                    body: json!({"role": "user", "content": "word ".repeat(3000)}),
                    state: MessageState::Answered,
                    finish: None,
                    span: Some(Span { start: 4, end: 5 }),
                };
                let heir = crate::session::Heir {
                    made: crate::session::Continuation::Compressed,
                    tokens: &[Token(9)],
                    messages: &[message],
                    pending: 0,
                    decoded: 4,
                    runs: &[(0, 0, "reads", "done")],
                };
                db.succeed(&new, &heir).map(drop)
            }),
            ("a message", |db, id| {
                let mut unit = db.begin(id)?;
                let body = json!({"role": "user", "content": "word ".repeat(3000)});
                let message = unit.add_message("user", &body, MessageState::Open)?;
                unit.append_tokens(8, &vec![Token(9); 5000])?;
                unit.set_span(
                    message,
                    Span {
                        start: 8,
                        end: 5008,
                    },
                )?;
                unit.set_pending(1)?;
                unit.touch(5)?;
                unit.commit()
            }),
            ("undo and redo", |db, id| {
                let mut unit = db.begin(id)?;
                let cut = CutPoint {
                    after: None,
                    at: 4,
                    pending: 0,
                };
                let branch = unit.abandon(cut, Why::Undo)?;
                unit.reattach(branch)?;
                unit.add_try()?;
                unit.commit()
            }),
        ]
    }

    #[test]
    fn a_change_that_fails_at_any_statement_leaves_the_database_as_it_was_and_works_afterwards() {
        for (name, change) in changes() {
            for reach in [Reach::One, Reach::Writes, Reach::All] {
                let mut failed = 0;
                for after in 0.. {
                    let home = tempfile::tempdir().unwrap();
                    let (mut db, id) = self::made(home.path());
                    let before = all(&db);
                    let why = Trouble::Full;
                    order(Fault { reach, after, why });
                    let done = change(&mut db, id);
                    let count = heal();
                    if count.statements <= after {
                        done.unwrap();
                        break;
                    }
                    failed += 1;
                    assert!(matches!(done, Err(DbError::Full)), "{name}: {done:?}");
                    assert_eq!(all(&db), before, "{name}, {reach:?}, {after}");
                    change(&mut db, id).unwrap();
                    assert_ne!(all(&db), before, "{name}");
                }
                assert!(failed > 0, "{name}: nothing failed");
            }
        }
    }

    #[test]
    fn a_disk_that_is_really_full_leaves_the_database_as_it_was() {
        let mut failed = 0;
        for (name, change) in changes() {
            let home = tempfile::tempdir().unwrap();
            let (mut db, id) = self::made(home.path());
            let before = all(&db);
            order(Fault {
                reach: Reach::Pages,
                after: 0,
                why: Trouble::Full,
            });
            let done = change(&mut db, id);
            heal();
            if let Err(error) = done {
                assert!(matches!(error, DbError::Full), "{name}: {error:?}");
                assert_eq!(all(&db), before, "{name}");
                failed += 1;
                change(&mut db, id).unwrap();
            }
        }
        assert!(failed >= 2, "{failed} changes found the disk full");
    }

    #[test]
    fn a_commit_may_be_made_and_its_error_reported_all_the_same() {
        let home = tempfile::tempdir().unwrap();
        let (mut db, id) = self::made(home.path());
        order(Fault {
            reach: Reach::Reported,
            after: 0,
            why: Trouble::Broken,
        });
        let mut unit = db.begin(id).unwrap();
        unit.append_tokens(8, &[Token(9)]).unwrap();
        let error = unit.commit().unwrap_err();
        assert_eq!(heal().commits, 1);
        assert!(matches!(error, DbError::Other(_)), "{error:?}");
        assert_eq!(db.ledger(id).unwrap().len(), 9);
    }
}
