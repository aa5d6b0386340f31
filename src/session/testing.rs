//! Helpers that the tests of this room share.

use std::cell::RefCell;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::Sender;
use std::sync::{Arc, Mutex};

use rusqlite::Connection;

use super::{Db, Session, SessionId, SessionRecord, Watcher};
use crate::ledger::{Digest, Token};

/// A plain session with an empty head.
pub(super) fn new<'a>(name: &'a str) -> SessionRecord<'a> {
    SessionRecord {
        name,
        folder: "/home/me",
        model: "tiny.gguf",
        class: "dense",
        vocab: Digest::of(b"vocab"),
        template: Digest::of(b"template"),
        fingerprint: Digest::of(b"fingerprint"),
        system: None,
        tools: None,
        preface: None,
        head: &[],
        common: None,
        started_ms: 1_700_000_000_000,
        seed: 1,
        policy: "exact",
        parent: None,
        runs_tools: false,
        thinking: true,
        shift: false,
    }
}

/// A database in memory with the session "work".
pub(super) fn memory() -> (Connection, SessionId) {
    let db = Db::with(Connection::open_in_memory().unwrap(), "memory").unwrap();
    let session = db.create(&new("work")).unwrap();
    (db.conn, session.id)
}

/// A database in a folder with the session "work", whose head has four tokens.
pub(super) fn disk(home: &Path) -> (Db, Session) {
    let db = Db::open(&home.join("npast.db")).unwrap();
    let head = [1, 2, 3, 4].map(Token);
    let session = db
        .create(&SessionRecord {
            preface: None,
            head: &head,
            common: None,
            ..new("work")
        })
        .unwrap();
    (db, session)
}

thread_local! {
    static EAR: RefCell<Option<Arc<Ear>>> = const { RefCell::new(None) };
}

/// Who watches the databases of this thread, in place of the process's watcher.
pub(super) fn watcher() -> Option<Arc<Ear>> {
    EAR.with_borrow(Clone::clone)
}

/// A watcher that records its notices.
#[derive(Default)]
pub(super) struct Ear {
    heard: Mutex<Vec<String>>,
    tell: Mutex<Option<Sender<String>>>,
    stops: AtomicBool,
    asked: AtomicBool,
}

impl Ear {
    /// A new one for this thread.
    pub fn here() -> Arc<Ear> {
        let ear = Arc::new(Ear::default());
        EAR.set(Some(ear.clone()));
        ear
    }

    /// All notices so far.
    pub fn notices(&self) -> Vec<String> {
        self.heard.lock().unwrap().clone()
    }

    /// Sends each notice, at once.
    pub fn tell(&self, to: Sender<String>) {
        *self.tell.lock().unwrap() = Some(to);
    }

    /// Asks to stop as soon as a notice comes.
    pub fn stop_when_told(&self) {
        self.stops.store(true, Ordering::SeqCst);
    }
}

impl Watcher for Ear {
    fn notice(&self, text: &str, _: Option<&str>) {
        self.heard.lock().unwrap().push(text.to_owned());
        if let Some(to) = &*self.tell.lock().unwrap() {
            to.send(text.to_owned()).unwrap();
        }
        if self.stops.load(Ordering::SeqCst) {
            self.asked.store(true, Ordering::SeqCst);
        }
    }

    fn stop_asked(&self) -> bool {
        self.asked.load(Ordering::SeqCst)
    }
}

/// Changes a database as no program may: without constraints, types or foreign keys. What it leaves
/// is what flipped bits leave.
pub(crate) fn harm(path: &Path, sql: &str) {
    let conn = Connection::open(path).unwrap();
    conn.execute_batch(
        "PRAGMA foreign_keys = OFF; PRAGMA ignore_check_constraints = ON;
         PRAGMA writable_schema = ON;",
    )
    .unwrap();
    let tables = "SELECT name, sql FROM sqlite_schema WHERE type = 'table' AND sql LIKE '%STRICT'";
    let rules: Vec<(String, String)> = conn
        .prepare(tables)
        .unwrap()
        .query_map([], |r| Ok((r.get(0)?, r.get(1)?)))
        .unwrap()
        .map(Result::unwrap)
        .collect();
    let write = |name: &str, sql: &str| {
        conn.execute(
            "UPDATE sqlite_schema SET sql = ? WHERE name = ?",
            [sql, name],
        )
        .unwrap();
    };
    for (name, sql) in &rules {
        let free = sql.replace("STRICT", "").replace("NOT NULL", "");
        write(name, &free);
    }
    conn.execute_batch("PRAGMA writable_schema = RESET")
        .unwrap();
    conn.execute_batch(sql)
        .unwrap_or_else(|e| panic!("{sql}: {e}"));
    conn.execute_batch("PRAGMA writable_schema = ON").unwrap();
    for (name, sql) in &rules {
        write(name, sql);
    }
    // Other connections read the schema again.
    let version: i64 = conn
        .pragma_query_value(None, "schema_version", |r| r.get(0))
        .unwrap();
    conn.pragma_update(None, "schema_version", version + 1)
        .unwrap();
}
