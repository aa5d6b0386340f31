//! Rows to values. Columns are read here and nowhere else, so that a damaged row becomes an error
//! that names its session, and never a panic.

use rusqlite::Row;
use serde_json::Value;

use super::{Error, Message, MessageId, Result, Session, SessionId, Span, State, Usage};
use crate::ledger::{Digest, Finish};

pub(super) const SESSION: &str = "id, name, folder, model, class, vocab, template, fingerprint, \
    system, tools, head, started_ms, seed, policy, parent, runs_tools, created_ms, used_ms, \
    calls, evaluated, restored, kept, generated, tries, forked";

impl Session {
    /// From a row of [`SESSION`] columns.
    pub(super) fn read(row: &Row<'_>) -> Result<Session> {
        let id = SessionId(row.get("id")?);
        let name: String = row.get("name")?;
        let place = place(id, &name);
        let tools: Option<String> = row.get("tools")?;
        Ok(Session {
            id,
            folder: row.get("folder")?,
            model: row.get("model")?,
            class: row.get("class")?,
            vocab: digest(row, "vocab", &place)?,
            template: digest(row, "template", &place)?,
            fingerprint: digest(row, "fingerprint", &place)?,
            system: row.get("system")?,
            tools: tools.map(|text| json(&text, &place)).transpose()?,
            head: row.get("head")?,
            started_ms: row.get("started_ms")?,
            seed: row.get::<_, i64>("seed")?.cast_unsigned(),
            policy: row.get("policy")?,
            parent: row.get::<_, Option<i64>>("parent")?.map(SessionId),
            runs_tools: row.get("runs_tools")?,
            created_ms: row.get("created_ms")?,
            used_ms: row.get("used_ms")?,
            usage: Usage {
                calls: row.get("calls")?,
                evaluated: row.get("evaluated")?,
                restored: row.get("restored")?,
                kept: row.get("kept")?,
                generated: row.get("generated")?,
            },
            tries: row.get("tries")?,
            forked: row.get("forked")?,
            name,
        })
    }
}

pub(super) const MESSAGE: &str =
    "id, seq, role, state, finish, span_start, span_end, created_ms, body";

impl Message {
    /// From a row of [`MESSAGE`] columns; `place` names the session.
    pub(super) fn read(row: &Row<'_>, place: &str) -> Result<Message> {
        let seq: usize = row.get("seq")?;
        let bad = |what: &str| corrupt(place, format!("message {seq} has an unknown {what}"));
        let state: String = row.get("state")?;
        let finish: Option<String> = row.get("finish")?;
        let span: (Option<usize>, Option<usize>) = (row.get("span_start")?, row.get("span_end")?);
        Ok(Message {
            id: MessageId(row.get("id")?),
            seq,
            role: row.get("role")?,
            body: json(&row.get::<_, String>("body")?, place)?,
            state: State::parse(&state).ok_or_else(|| bad("state"))?,
            finish: match finish {
                Some(word) => Some(Finish::parse(&word).ok_or_else(|| bad("finish"))?),
                None => None,
            },
            span: span.0.zip(span.1).map(|(start, end)| Span { start, end }),
            created_ms: row.get("created_ms")?,
        })
    }
}

/// How an error names a session.
pub(super) fn place(id: SessionId, name: &str) -> String {
    format!("session \"{name}\" (id {})", id.0)
}

pub(super) fn corrupt(place: &str, what: impl Into<String>) -> Error {
    Error::Corrupt {
        place: place.into(),
        what: what.into(),
    }
}

/// Parses stored JSON. The parser bounds its depth; the text is in memory already.
pub(super) fn json(text: &str, place: &str) -> Result<Value> {
    serde_json::from_str(text)
        .map_err(|error| corrupt(place, format!("stored JSON cannot be read: {error}")))
}

fn digest(row: &Row<'_>, column: &str, place: &str) -> Result<Digest> {
    let bytes: Vec<u8> = row.get(column)?;
    let bytes = <[u8; 32]>::try_from(bytes.as_slice())
        .map_err(|_| corrupt(place, format!("{column} is not a 32-byte hash")))?;
    Ok(Digest(bytes))
}
