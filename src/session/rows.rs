//! Rows to values. Columns are read here and nowhere else, so that a damaged row becomes an error
//! that names its session, and never a panic.

use rusqlite::Row;
use rusqlite::types::FromSql;
use serde_json::Value;

use super::{
    Continuation, DbError, MessageId, MessageState, ReceiptSums, Result, Session, SessionId, Span,
    StoredMessage,
};
use crate::ledger::{Digest, Finish};

pub(super) const SESSION: &str = "id, name, folder, model, class, vocab, template, fingerprint, \
    system, tools, preface, head, common, started_ms, seed, policy, parent, runs_tools, thinking, created_ms, used_ms, \
    calls, evaluated, restored, kept, generated, tries, forked, \
    successor, made, carried, shift";

/// The words of a session's history policy.
const POLICIES: [&str; 2] = ["exact", "template"];
/// The roles that a message can have.
const ROLES: [&str; 4] = ["system", "user", "assistant", "tool"];

impl Session {
    /// From a row of [`SESSION`] columns.
    pub(super) fn read(row: &Row<'_>) -> Result<Session> {
        let id = SessionId(row.get("id")?);
        let name: Option<String> = row.get("name").ok();
        let place = place(id, name.as_deref());
        let name = name.ok_or_else(|| damaged(&place, "its name cannot be read"))?;
        let tools: Option<String> = column(row, "tools", &place)?;
        let tools = tools.map(|text| json(&text, &place)).transpose()?;
        if tools.as_ref().is_some_and(|tools| !tools.is_array()) {
            return Err(damaged(&place, "its tools are no list"));
        }
        let policy: String = column(row, "policy", &place)?;
        if !POLICIES.contains(&policy.as_str()) {
            return Err(damaged(&place, "its history policy is none that exists"));
        }
        Ok(Session {
            id,
            folder: column(row, "folder", &place)?,
            model: column(row, "model", &place)?,
            class: column(row, "class", &place)?,
            vocab: digest(row, "vocab", &place)?,
            template: digest(row, "template", &place)?,
            fingerprint: digest(row, "fingerprint", &place)?,
            system: column(row, "system", &place)?,
            tools,
            preface: column(row, "preface", &place)?,
            head: column(row, "head", &place)?,
            common: column(row, "common", &place)?,
            started_ms: column(row, "started_ms", &place)?,
            seed: column::<i64>(row, "seed", &place)?.cast_unsigned(),
            policy,
            parent: column::<Option<i64>>(row, "parent", &place)?.map(SessionId),
            runs_tools: column(row, "runs_tools", &place)?,
            thinking: column(row, "thinking", &place)?,
            shift: column(row, "shift", &place)?,
            created_ms: column(row, "created_ms", &place)?,
            used_ms: column(row, "used_ms", &place)?,
            usage: ReceiptSums {
                calls: column(row, "calls", &place)?,
                evaluated: column(row, "evaluated", &place)?,
                restored: column(row, "restored", &place)?,
                kept: column(row, "kept", &place)?,
                generated: column(row, "generated", &place)?,
            },
            tries: column(row, "tries", &place)?,
            forked: column(row, "forked", &place)?,
            successor: column::<Option<i64>>(row, "successor", &place)?.map(SessionId),
            made: match column::<Option<String>>(row, "made", &place)? {
                None => None,
                Some(word) => Some(Continuation::parse(&word).ok_or_else(|| {
                    damaged(&place, "how it continues its parent cannot be read")
                })?),
            },
            carried: column(row, "carried", &place)?,
            name,
        })
    }
}

pub(super) const MESSAGE: &str =
    "id, seq, role, state, finish, span_start, span_end, created_ms, body, trail";

impl StoredMessage {
    /// From a row of [`MESSAGE`] columns; `place` names the session.
    pub(super) fn read(row: &Row<'_>, place: &str) -> Result<StoredMessage> {
        let id = MessageId(row.get("id")?);
        let seq: usize = column(row, "seq", place).map_err(|_| {
            damaged(
                place,
                format!("the place of message row {} cannot be read", id.0),
            )
        })?;
        let bad = |what: &str| damaged(place, format!("message {seq} has {what}"));
        macro_rules! field {
            ($name:literal) => {
                column(row, $name, place)
                    .map_err(|_| bad(concat!("a column ", $name, " that cannot be read")))?
            };
        }
        let role: String = field!("role");
        if !ROLES.contains(&role.as_str()) {
            return Err(bad("an unknown role"));
        }
        let (state, finish): (String, Option<String>) = (field!("state"), field!("finish"));
        let body: String = field!("body");
        let span = match (field!("span_start"), field!("span_end")) {
            (None, None) => None,
            (Some(start), Some(end)) if start <= end => Some(Span { start, end }),
            _ => return Err(bad("a span that is none")),
        };
        Ok(StoredMessage {
            id,
            seq,
            role,
            body: serde_json::from_str(&body)
                .map_err(|error| bad(&format!("a text that cannot be read: {error}")))?,
            state: MessageState::parse(&state).ok_or_else(|| bad("an unknown state"))?,
            finish: match finish {
                Some(word) => Some(Finish::parse(&word).ok_or_else(|| bad("an unknown finish"))?),
                None => None,
            },
            span,
            created_ms: field!("created_ms"),
            trail: trail(row),
        })
    }
}

/// The digest of a conversation; one that cannot be read is not known, and can be made again.
fn trail(row: &Row<'_>) -> Option<Digest> {
    let bytes: Option<Vec<u8>> = row.get("trail").ok()?;
    Some(Digest(<[u8; 32]>::try_from(bytes?.as_slice()).ok()?))
}

/// How an error names a session; one whose name cannot be read is called by its id.
pub(super) fn place(id: SessionId, name: Option<&str>) -> String {
    match name {
        Some(name) => format!("session \"{name}\" (id {})", id.0),
        None => format!("session {}", handle(id)),
    }
}

/// What a session can be called on the command line where its name cannot be read.
pub(super) fn handle(id: SessionId) -> String {
    format!("id:{}", id.0)
}

pub(super) fn damaged(place: &str, what: impl Into<String>) -> DbError {
    DbError::Damaged {
        place: place.into(),
        what: what.into(),
    }
}

/// One column; what is not of its type is damage of the session at `place`.
pub(super) fn column<T: FromSql>(row: &Row<'_>, name: &str, place: &str) -> Result<T> {
    row.get(name).map_err(|error| match DbError::from(error) {
        DbError::Damaged { .. } => damaged(place, format!("its {name} cannot be read")),
        error => error,
    })
}

/// Parses stored JSON. The parser bounds its depth; the text is in memory already.
pub(super) fn json(text: &str, place: &str) -> Result<Value> {
    serde_json::from_str(text)
        .map_err(|error| damaged(place, format!("stored JSON cannot be read: {error}")))
}

fn digest(row: &Row<'_>, name: &str, place: &str) -> Result<Digest> {
    let bytes: Vec<u8> = column(row, name, place)?;
    let bytes = <[u8; 32]>::try_from(bytes.as_slice())
        .map_err(|_| damaged(place, format!("{name} is not a 32-byte hash")))?;
    Ok(Digest(bytes))
}
