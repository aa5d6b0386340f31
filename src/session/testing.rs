//! What this room's tests share.

use std::path::Path;

use rusqlite::Connection;

use super::{Db, NewSession, Session, SessionId};
use crate::ledger::{Digest, Token};

/// A plain session with an empty head.
pub(super) fn new<'a>(name: &'a str) -> NewSession<'a> {
    NewSession {
        name,
        folder: "/home/me",
        model: "tiny.gguf",
        class: "dense",
        vocab: Digest::of(b"vocab"),
        template: Digest::of(b"template"),
        fingerprint: Digest::of(b"fingerprint"),
        system: None,
        tools: None,
        head: &[],
        started_ms: 1_700_000_000_000,
        seed: 1,
        policy: "exact",
        parent: None,
        runs_tools: false,
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
        .create(&NewSession {
            head: &head,
            ..new("work")
        })
        .unwrap();
    (db, session)
}
