//! Search over all sessions: FTS5 on the texts of messages; `words` keeps the index up to date.
//! What a caller searches for is words, never FTS5's query language.

use rusqlite::params;

use super::{Db, Result, SessionId, words};

/// Most words of a query that count.
const WORDS: usize = 24;
/// Longest word of a query, in characters.
const LETTERS: usize = 64;

/// A message that was found.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Hit {
    /// Its session.
    pub session: SessionId,
    /// The session's name.
    pub name: String,
    /// The role of the message.
    pub role: String,
    /// The day it was stored, in this machine's time zone: `2026-11-23`.
    pub day: String,
    /// Some words around what was found, at most 24.
    pub snippet: String,
}

impl Db {
    /// The messages that hold all of the words, best first (BM25), or some of them where none holds
    /// all. Withdrawn messages and the session `except` are left out. Without a word in `query`
    /// nothing is found.
    pub fn search(&self, query: &str, except: Option<SessionId>, limit: usize) -> Result<Vec<Hit>> {
        let words = quoted(query);
        if words.is_empty() {
            return Ok(Vec::new());
        }
        let all = self.matching(&words.join(" AND "), except, limit)?;
        match all.is_empty() && words.len() > 1 {
            true => self.matching(&words.join(" OR "), except, limit),
            false => Ok(all),
        }
    }

    fn matching(&self, query: &str, except: Option<SessionId>, limit: usize) -> Result<Vec<Hit>> {
        words::searched(&self.conn, || self.hits(query, except, limit))
    }

    fn hits(
        &self,
        query: &str,
        except: Option<SessionId>,
        limit: usize,
    ) -> rusqlite::Result<Vec<Hit>> {
        let mut find = self.conn.prepare_cached(
            "SELECT s.id AS session, s.name AS name, m.role AS role, 
                    strftime('%Y-%m-%d', m.created_ms / 1000, 'unixepoch', 'localtime') AS day,
                    snippet(words, 0, '', '', '…', 24) AS snippet
             FROM words JOIN messages m ON m.id = words.rowid JOIN sessions s ON s.id = m.session
             WHERE words MATCH ?1 AND m.state <> 'withdrawn' AND s.id <> ?2
             ORDER BY words.rank, m.id DESC LIMIT ?3",
        )?;
        let except = except.map_or(-1, |id| id.0);
        let mut rows = find.query(params![query, except, limit])?;
        let mut hits = Vec::new();
        while let Some(row) = rows.next()? {
            let read = |row: &rusqlite::Row<'_>| -> rusqlite::Result<Hit> {
                Ok(Hit {
                    session: SessionId(row.get("session")?),
                    name: row.get("name")?,
                    role: row.get("role")?,
                    day: row.get("day")?,
                    snippet: row.get("snippet")?,
                })
            };
            // A damaged row of one session does not end the search of the others.
            hits.extend(read(row));
        }
        Ok(hits)
    }
}

/// A day in this machine's time zone, such as `2026-11-23`; `ms` are Unix milliseconds.
pub fn local_day(ms: i64) -> Result<String> {
    let conn = rusqlite::Connection::open_in_memory()?;
    let day = "SELECT strftime('%Y-%m-%d', ?1 / 1000, 'unixepoch', 'localtime')";
    Ok(conn.query_row(day, [ms], |row| row.get(0))?)
}

/// The words of a query, each as an FTS5 string: nothing in it is an operator.
fn quoted(query: &str) -> Vec<String> {
    query
        .split_whitespace()
        .filter(|word| word.chars().any(char::is_alphanumeric))
        .map(|word| {
            let word: String = word.chars().filter(|c| *c != '\0').take(LETTERS).collect();
            format!("\"{}\"", word.replace('"', "\"\""))
        })
        .take(WORDS)
        .collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;
    use crate::session::testing::{disk, new};
    use crate::session::{MessageId, MessageState, Session};

    fn say(db: &mut Db, session: &Session, role: &str, text: &str) -> MessageId {
        let mut unit = db.begin(session.id).unwrap();
        let body = json!({"role": role, "content": text});
        let id = unit
            .add_message(role, &body, MessageState::Answered)
            .unwrap();
        unit.commit().unwrap();
        id
    }

    fn found(db: &Db, query: &str, except: Option<SessionId>) -> Vec<(String, String)> {
        let hits = db.search(query, except, 10).unwrap();
        hits.into_iter().map(|h| (h.name, h.snippet)).collect()
    }

    #[test]
    fn words_are_found_in_other_sessions_and_follow_every_change_of_a_message() {
        let home = tempfile::tempdir().unwrap();
        let (mut db, work) = disk(home.path());
        let other = db.create(&new("other")).unwrap();
        let first = say(
            &mut db,
            &work,
            "user",
            "The parser drops the last Übung of a file.",
        );
        say(&mut db, &other, "assistant", "The parser is fine.");
        let hit = |name: &str, text: &str| (name.to_owned(), text.to_owned());
        let parser = hit("work", "The parser drops the last Übung of a file.");
        let fine = hit("other", "The parser is fine.");
        assert_eq!(
            found(&db, "ubung parser", None),
            [parser],
            "all of the words"
        );
        assert_eq!(
            found(&db, "parser", Some(work.id)),
            std::slice::from_ref(&fine)
        );
        assert_eq!(
            found(&db, "parser nowhere", Some(work.id)),
            [fine],
            "some of them"
        );

        let mut unit = db.begin(work.id).unwrap();
        unit.set_body(first, &json!({"role": "user", "content": "The lexer."}))
            .unwrap();
        unit.commit().unwrap();
        assert_eq!(found(&db, "ubung", None), []);
        assert_eq!(found(&db, "lexer", None), [hit("work", "The lexer.")]);
        let mut unit = db.begin(work.id).unwrap();
        unit.set_state(first, MessageState::Withdrawn).unwrap();
        unit.commit().unwrap();
        assert_eq!(found(&db, "lexer", None), [], "taken back");
        db.remove(other.id).unwrap();
        assert_eq!(found(&db, "parser", None), []);
        let left: i64 = db
            .conn
            .query_row("SELECT count(*) FROM words('parser')", [], |r| r.get(0))
            .unwrap();
        assert_eq!(left, 0, "a removed session leaves no words in the index");
    }

    #[test]
    fn a_long_message_gives_a_short_piece_around_what_was_found() {
        let home = tempfile::tempdir().unwrap();
        let (mut db, work) = disk(home.path());
        let text = format!("{} needle {}", "hay ".repeat(5000), "hay ".repeat(5000));
        say(&mut db, &work, "tool", &text);
        let hits = db.search("needle", None, 10).unwrap();
        assert!(hits[0].snippet.contains("needle"));
        assert!(hits[0].snippet.split_whitespace().count() <= 26);
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]
        #[test]
        fn no_text_is_a_query_language(text in "(\\PC|[\"'()*:^+\\-]|AND|OR|NOT|NEAR|\0| ){0,60}") {
            let home = tempfile::tempdir().unwrap();
            let (db, _) = disk(home.path());
            prop_assert!(db.search(&text, None, 5).is_ok());
        }
    }
}
