//! Marks of tool calls: that a call was started, and its result. Between the two the tool may have changed
//! something; after a crash these rows say which calls may have done so.

use rusqlite::{OptionalExtension, params};

use super::db::now_ms;
use super::{Db, MessageId, Result, SessionId, Unit, chunks, fault};

/// A call that was started.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct StartedCall {
    /// Its place among the reply's calls.
    pub call: usize,
    /// What it might change, in the caller's word.
    pub effect: String,
    /// Whether the call succeeded, and its result; `None` if it did not end.
    pub result: Option<(bool, String)>,
}

impl Db {
    /// The calls of a reply that were started, in call order.
    pub fn runs(&self, reply: MessageId) -> Result<Vec<StartedCall>> {
        fault::check(fault::StatementKind::Read)?;
        let mut query = self.conn.prepare_cached(
            "SELECT call, effect, ok, result FROM runs WHERE reply = ? ORDER BY call",
        )?;
        let read = query.query_map([reply.0], |row| {
            let (ok, text): (Option<bool>, Option<String>) = (row.get("ok")?, row.get("result")?);
            Ok(StartedCall {
                call: row.get("call")?,
                effect: row.get("effect")?,
                result: ok.zip(text),
            })
        })?;
        let runs: rusqlite::Result<_> = read.collect();
        runs.map_err(|error| match self.session_of(reply) {
            Ok(Some(session)) => chunks::of(
                &self.conn,
                session,
                "a mark of a call cannot be read",
                error,
            ),
            _ => error.into(),
        })
    }

    fn session_of(&self, message: MessageId) -> rusqlite::Result<Option<SessionId>> {
        self.conn
            .prepare_cached("SELECT session FROM messages WHERE id = ?")?
            .query_row([message.0], |row| row.get(0).map(SessionId))
            .optional()
    }
}

impl Unit<'_> {
    /// Marks a call of `reply` as started. A call that was started before keeps its mark.
    pub fn start_run(&mut self, reply: MessageId, call: usize, effect: &str) -> Result<()> {
        self.step(|unit| {
            unit.tx
                .prepare_cached(
                    "INSERT OR IGNORE INTO runs (reply, call, effect, started_ms)
                     VALUES (?, ?, ?, ?)",
                )?
                .execute(params![reply.0, call, effect, now_ms()])?;
            Ok(())
        })
    }

    /// Stores what a started call gave.
    pub fn end_run(&mut self, reply: MessageId, call: usize, ok: bool, result: &str) -> Result<()> {
        self.step(|unit| {
            unit.tx
                .prepare_cached("UPDATE runs SET ok = ?, result = ? WHERE reply = ? AND call = ?")?
                .execute(params![ok, result, reply.0, call])?;
            Ok(())
        })
    }

    /// Forgets the marks of a reply: its results are messages now.
    pub fn forget_runs(&mut self, reply: MessageId) -> Result<()> {
        self.step(|unit| {
            unit.tx
                .prepare_cached("DELETE FROM runs WHERE reply = ?")?
                .execute([reply.0])?;
            Ok(())
        })
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use crate::session::testing::disk;
    use crate::session::{Db, MessageState, StartedCall};

    #[test]
    fn a_started_call_is_known_to_the_next_process_and_its_result_too() {
        let home = tempfile::tempdir().unwrap();
        let (mut db, session) = disk(home.path());
        let body = json!({"role": "assistant", "content": ""});
        let mut unit = db.begin(session.id).unwrap();
        let reply = unit
            .add_message("assistant", &body, MessageState::Answered)
            .unwrap();
        unit.start_run(reply, 0, "writes").unwrap();
        unit.start_run(reply, 1, "runs").unwrap();
        unit.commit().unwrap();
        let mut unit = db.begin(session.id).unwrap();
        unit.end_run(reply, 1, false, "exit code 1").unwrap();
        unit.commit().unwrap();
        drop(db);

        let mut db = Db::open(&home.path().join("npast.db")).unwrap();
        let run = |call, effect: &str, result: Option<(bool, &str)>| StartedCall {
            call,
            effect: effect.into(),
            result: result.map(|(ok, text)| (ok, text.into())),
        };
        let want = [
            run(0, "writes", None),
            run(1, "runs", Some((false, "exit code 1"))),
        ];
        assert_eq!(db.runs(reply).unwrap(), want);
        let mut unit = db.begin(session.id).unwrap();
        unit.forget_runs(reply).unwrap();
        unit.commit().unwrap();
        assert_eq!(db.runs(reply).unwrap(), []);
    }
}
