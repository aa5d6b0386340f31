//! Whose history a client sends: the digests of conversations message by message, and the names by
//! which clients call a session. Each question is one look into an index.

use rusqlite::{OptionalExtension, params};

use super::db::{insert, missing, now_ms, one};
use super::{
    Db, MessageId, Result, Session, SessionId, SessionRecord, StoredMessage, Unit, fault, rows,
};
use crate::ledger::Digest;

/// Most sessions that one question gives.
const MOST: usize = 16;
/// Longest name that is kept, in bytes.
pub const MAX_HANDLE: usize = 512;

/// A place where a stored conversation says what a history says.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct TrailPlace {
    /// The session.
    pub session: SessionId,
    /// The message with which both are still the same.
    pub message: MessageId,
    /// Messages of the session behind it.
    pub behind: usize,
    /// Replies among those.
    pub replies: usize,
}

impl Db {
    /// Where conversations (not branches) have this digest, those of the sessions used last first.
    pub fn at_trail(&self, trail: Digest) -> Result<Vec<TrailPlace>> {
        let mut query = self.conn.prepare_cached(
            "SELECT m.session, m.id, count(b.id), coalesce(sum(b.role = 'assistant'), 0)
             FROM messages m JOIN sessions s ON s.id = m.session
                 LEFT JOIN messages b ON b.session = m.session AND b.seq > m.seq
                     AND b.branch IS NULL AND b.state IS NOT 'withdrawn'
             WHERE m.trail = ?1 AND m.trail IS NOT NULL AND m.branch IS NULL
                 AND m.state IS NOT 'withdrawn'
             GROUP BY m.id ORDER BY s.used_ms DESC, s.id DESC LIMIT ?2",
        )?;
        let places = query.query_map(params![trail.0, MOST], |row| {
            Ok(TrailPlace {
                session: SessionId(row.get(0)?),
                message: MessageId(row.get(1)?),
                behind: row.get(2)?,
                replies: row.get(3)?,
            })
        })?;
        Ok(places.collect::<rusqlite::Result<_>>()?)
    }

    /// The session that a client calls by this name; the newest, where there were several.
    pub fn by_handle(&self, name: &str) -> Result<Option<Session>> {
        let mut query = self.conn.prepare_cached(
            "SELECT session FROM handles WHERE name = ? ORDER BY at_ms DESC, session DESC LIMIT 1",
        )?;
        let id: Option<i64> = query.query_row([name], |row| row.get(0)).optional()?;
        id.map(|id| self.get(SessionId(id))).transpose()
    }

    /// Gives a session a name by which clients call it. A name that is too long is none.
    pub fn add_handle(&self, session: SessionId, name: &str) -> Result<()> {
        let tx = self.write()?;
        add(&tx, session, name)?;
        super::fault::check(super::fault::StatementKind::Commit)?;
        tx.commit()?;
        super::fault::made()
    }

    /// The bodies of a session's first and last user message.
    pub fn user_ends(&self, session: SessionId) -> Result<Vec<serde_json::Value>> {
        let place = self.place(session)?;
        let mut bodies = Vec::with_capacity(2);
        for order in ["ASC", "DESC"] {
            let mut query = self.conn.prepare_cached(&format!(
                "SELECT body FROM messages WHERE session = ? AND branch IS NULL AND role = 'user'
                     AND state IS NOT 'withdrawn' ORDER BY seq {order} LIMIT 1"
            ))?;
            let text: Option<String> = query.query_row([session.0], |row| row.get(0)).optional()?;
            bodies.extend(text.map(|text| rows::json(&text, &place)).transpose()?);
        }
        Ok(bodies)
    }

    /// The last messages of a session, at most so many, the last one first.
    pub fn last_messages(&self, session: SessionId, most: usize) -> Result<Vec<StoredMessage>> {
        let place = self.place(session)?;
        let mut query = self.conn.prepare_cached(&format!(
            "SELECT {} FROM messages WHERE session = ? AND branch IS NULL
                 AND state IS NOT 'withdrawn' ORDER BY seq DESC LIMIT ?",
            rows::MESSAGE
        ))?;
        let mut rows = query.query(params![session.0, most])?;
        let mut messages = Vec::new();
        while let Some(row) = rows.next()? {
            messages.push(StoredMessage::read(row, &place)?);
        }
        Ok(messages)
    }

    /// Makes a session that goes on for another one under another head: it has all names of that one,
    /// and keeps what the client sent as tools. In one transaction: all of it is there or nothing.
    pub fn renew(
        &self,
        new: &SessionRecord<'_>,
        from: SessionId,
        given: Option<&serde_json::Value>,
    ) -> Result<Session> {
        let tx = self.write()?;
        let id = insert(&tx, new)?;
        take(&tx, from, id)?;
        if let Some(tools) = given {
            tx.execute(
                "UPDATE sessions SET given = ? WHERE id = ?",
                params![tools.to_string(), id.0],
            )?;
        }
        let session = one(&tx, "id = ?", id.0)?.ok_or_else(|| missing(id))?;
        fault::check(fault::StatementKind::Commit)?;
        tx.commit()?;
        fault::made()?;
        Ok(session)
    }

    /// What the client sent as tools when the session was made, where that was not what it froze.
    pub fn given(&self, session: SessionId) -> Result<Option<serde_json::Value>> {
        let mut query = self
            .conn
            .prepare_cached("SELECT given FROM sessions WHERE id = ?")?;
        let text: Option<String> = query
            .query_row([session.0], |row| row.get(0))
            .optional()?
            .flatten();
        let place = self.place(session)?;
        text.map(|text| rows::json(&text, &place)).transpose()
    }

    /// Keeps what the client sent as tools.
    pub fn set_given(&self, session: SessionId, tools: &serde_json::Value) -> Result<()> {
        let tx = self.write()?;
        tx.execute(
            "UPDATE sessions SET given = ? WHERE id = ?",
            params![tools.to_string(), session.0],
        )?;
        super::fault::check(super::fault::StatementKind::Commit)?;
        tx.commit()?;
        super::fault::made()
    }
}

fn add(conn: &rusqlite::Connection, session: SessionId, name: &str) -> Result<()> {
    if name.is_empty() || name.len() > MAX_HANDLE {
        return Ok(());
    }
    conn.prepare_cached(
        "INSERT INTO handles (name, session, at_ms) VALUES (?1, ?2, ?3)
         ON CONFLICT DO UPDATE SET at_ms = excluded.at_ms",
    )?
    .execute(params![name, session.0, now_ms()])?;
    Ok(())
}

/// Gives a session all names of another.
fn take(conn: &rusqlite::Connection, from: SessionId, to: SessionId) -> Result<()> {
    conn.prepare_cached(
        "INSERT INTO handles (name, session, at_ms)
         SELECT name, ?2, ?3 FROM handles WHERE session = ?1
         ON CONFLICT DO UPDATE SET at_ms = excluded.at_ms",
    )?
    .execute(params![from.0, to.0, now_ms()])?;
    Ok(())
}

impl Unit<'_> {
    /// Says what the conversation is up to and with a message. A new body of the message forgets it.
    pub fn set_trail(&mut self, message: MessageId, trail: Digest) -> Result<()> {
        self.step(|unit| unit.update(message, "trail = ?", params![trail.0]))
    }

    /// Gives the session a name by which clients call it, as [`Db::add_handle`] does.
    pub fn add_handle(&mut self, name: &str) -> Result<()> {
        self.step(|unit| add(&unit.tx, unit.session, name))
    }

    /// Gives this session all names of another, which goes on as this one.
    pub fn take_handles(&mut self, from: SessionId) -> Result<()> {
        self.step(|unit| take(&unit.tx, from, unit.session))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::session::{CutPoint, MessageState, Why, testing};

    #[test]
    fn a_history_is_found_by_its_digest_where_it_stands_and_not_where_it_was_left() {
        let home = tempfile::tempdir().unwrap();
        let (mut db, session) = testing::disk(home.path());
        let (one, two) = (Digest::of(b"one"), Digest::of(b"two"));
        let mut unit = db.begin(session.id).unwrap();
        let first = unit
            .add_message("user", &json!({}), MessageState::Open)
            .unwrap();
        let second = unit
            .add_message("user", &json!({}), MessageState::Open)
            .unwrap();
        unit.set_trail(first, one).unwrap();
        unit.set_trail(second, two).unwrap();
        unit.commit().unwrap();
        let place = |message, behind| TrailPlace {
            session: session.id,
            message,
            behind,
            replies: 0,
        };
        assert_eq!(db.at_trail(one).unwrap(), [place(first, 1)]);
        assert_eq!(db.at_trail(two).unwrap(), [place(second, 0)]);
        // A copy has it too, and is newer.
        let seen = db.messages(session.id).unwrap();
        let len = db.ledger(session.id).unwrap().len();
        let whole = CutPoint {
            after: Some(second),
            at: len,
            pending: 0,
        };
        let fork = db.fork(session.id, "aside", whole, &seen).unwrap();
        let found = db.at_trail(two).unwrap();
        let ids: Vec<_> = found.iter().map(|place| place.session).collect();
        assert_eq!(ids, [fork.id, session.id]);
        db.remove(fork.id).unwrap();
        let mut unit = db.begin(session.id).unwrap();
        let cut = CutPoint {
            after: Some(first),
            ..whole
        };
        unit.abandon(cut, Why::History).unwrap();
        // Other words of a message are another conversation.
        unit.set_body(first, &json!({"content": "x"})).unwrap();
        unit.commit().unwrap();
        assert_eq!(db.at_trail(two).unwrap(), []);
        assert_eq!(db.at_trail(one).unwrap(), []);
    }

    #[test]
    fn the_ends_of_a_session_are_read_without_what_is_between_them() {
        let home = tempfile::tempdir().unwrap();
        let (mut db, session) = testing::disk(home.path());
        assert!(db.user_ends(session.id).unwrap().is_empty());
        assert_eq!(db.last_messages(session.id, 2).unwrap(), []);
        let mut unit = db.begin(session.id).unwrap();
        for (n, role) in ["system", "user", "assistant", "user", "assistant"]
            .into_iter()
            .enumerate()
        {
            unit.add_message(role, &json!({ "n": n }), MessageState::Answered)
                .unwrap();
        }
        unit.commit().unwrap();
        let ends = db.user_ends(session.id).unwrap();
        assert_eq!(ends, [json!({"n": 1}), json!({"n": 3})]);
        let all = db.messages(session.id).unwrap();
        let last = db.last_messages(session.id, 2).unwrap();
        assert_eq!(last, [all[4].clone(), all[3].clone()]);
        assert_eq!(db.last_messages(session.id, 9).unwrap().len(), 5);
    }

    #[test]
    fn a_name_means_the_session_that_got_it_last() {
        let home = tempfile::tempdir().unwrap();
        let (mut db, work) = testing::disk(home.path());
        let next = db.create(&testing::new("next")).unwrap();
        db.add_handle(work.id, "key:a").unwrap();
        db.add_handle(work.id, &"x".repeat(MAX_HANDLE + 1)).unwrap();
        let mut unit = db.begin(work.id).unwrap();
        unit.add_handle("call:1").unwrap();
        unit.commit().unwrap();
        let called = |db: &Db, name: &str| db.by_handle(name).unwrap().map(|s| s.id);
        assert_eq!(called(&db, "key:a"), Some(work.id));
        assert_eq!(called(&db, "key:b"), None);
        let mut unit = db.begin(next.id).unwrap();
        unit.take_handles(work.id).unwrap();
        unit.commit().unwrap();
        assert_eq!(called(&db, "key:a"), Some(next.id));
        db.remove(next.id).unwrap();
        assert_eq!(called(&db, "call:1"), Some(work.id));
        assert_eq!(db.given(work.id).unwrap(), None);
        db.set_given(work.id, &json!([{"a": 1}])).unwrap();
        assert_eq!(db.given(work.id).unwrap(), Some(json!([{"a": 1}])));
        // One that goes on for another has its names from the start.
        let new = testing::new("work-2");
        let heir = db.renew(&new, work.id, Some(&json!([{"b": 1}]))).unwrap();
        assert_eq!(called(&db, "key:a"), Some(heir.id));
        assert_eq!(db.given(heir.id).unwrap(), Some(json!([{"b": 1}])));
        assert!(db.renew(&new, work.id, None).is_err(), "its name is taken");
    }
}
