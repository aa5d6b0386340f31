//! Finds the session that a client's history belongs to: by a key that the client gave it, else by the
//! longest match, else by the ids of calls that npast gave out. A fork has the call ids of its parent, so
//! they come last. Each step is a look into an index of npast.db.

use crate::agent::branches::fork::fork_after;
use crate::agent::conversation::handle::Conversation;
use crate::agent::conversation::names::{call_handle, key_handle};
use crate::agent::engine::handle::Engine;
use crate::agent::values::error::AgentError;
use crate::agent::values::options::{NewSession, WhichSession};
use crate::agent::values::outcome::Info;
use crate::chat::Message;
use crate::chat::message::{Role, ToolCall};
use crate::chat::pins::{self, PinRules, PinVerdict, Pinned};
use crate::session::{Db, MessageId, Session, SessionId, name_from_words};

use super::sent::{ClientHistory, Sent};

/// The session that a history belongs to.
#[derive(Clone, PartialEq, Debug)]
pub enum Whose {
    /// This one: what differs in it is cut off.
    Session(Session),
    /// A new one that begins as this one does, up to and with a message: that one went on otherwise.
    Fork(Session, MessageId),
    /// Nobody's.
    New,
}

/// Replies whose call ids are looked up, the last ones.
const REPLIES: usize = 8;
/// The last messages of a session in which its last calls are looked for.
const LOOKED_AT: usize = 256;

/// Finds the session that a history belongs to. `keys` are names that the client gives it, the surest
/// first. Costs O(bytes of the history) and one look into an index for each message at most.
///
/// # Errors
/// When the history is no conversation; npast.db's.
pub fn whose(
    db: &Db,
    history: &ClientHistory,
    keys: &[String],
    rules: PinRules,
) -> Result<Whose, AgentError> {
    find(db, &history.sent()?, keys, rules)
}

fn find(db: &Db, sent: &Sent, keys: &[String], rules: PinRules) -> Result<Whose, AgentError> {
    for key in keys {
        if let Some(session) = db.by_handle(&key_handle(key))? {
            return Ok(Whose::Session(session));
        }
    }
    let found = longest(db, sent, rules)?;
    if matches!(found, Whose::Session(_)) {
        return Ok(found);
    }
    Ok(match by_calls(db, sent, rules)? {
        Some(session) => Whose::Session(session),
        None => found,
    })
}

/// The session whose last calls a history has, whatever it made of other messages (clients cut old
/// results short).
fn by_calls(db: &Db, sent: &Sent, rules: PinRules) -> Result<Option<Session>, AgentError> {
    let called = sent.said.iter().rev().map(|s| &s.message.calls);
    let called = called.filter(|calls| !calls.is_empty()).take(REPLIES);
    let ids: Vec<&str> = called
        .flatten()
        .map(|call| call.id.as_str())
        .filter(|id| !id.is_empty())
        .collect();
    for id in &ids {
        let Some(session) = db.by_handle(&call_handle(id))? else {
            continue;
        };
        let behind = db.last_messages(session.id, LOOKED_AT)?;
        let last = behind.into_iter().find_map(|m| {
            let calls = Message::from_json(&m.body).ok()?.calls;
            (!calls.is_empty()).then_some(calls)
        });
        let has = |call: &ToolCall| ids.contains(&call.id.as_str());
        if last.is_some_and(|calls| calls.iter().all(has)) && may_be(db, &session, sent, rules)? {
            return Ok(Some(session));
        }
    }
    Ok(None)
}

/// The session of the longest match. One that went on in another way is left as it is, but for its last
/// turn, which may be taken back.
pub(super) fn longest(db: &Db, sent: &Sent, rules: PinRules) -> Result<Whose, AgentError> {
    let trails = sent.trails();
    for (at, trail) in trails.iter().enumerate().rev() {
        let upto = &sent.said[..=at];
        let last = upto.iter().rposition(|s| s.message.role == Role::Assistant);
        let mut fork = None;
        for place in db.at_trail(*trail)? {
            let session = db.get(place.session)?;
            if !may_be(db, &session, sent, rules)? {
                continue;
            }
            let taken_back = place.replies <= 1 && last.is_some();
            if place.behind == 0 || taken_back {
                return Ok(Whose::Session(session));
            }
            fork.get_or_insert((session, place.message));
        }
        if let (Some((session, message)), Some(last)) = (fork, last) {
            // Only what a reply ends can be taken over.
            if last == at {
                return Ok(Whose::Fork(session, message));
            }
        }
    }
    Ok(Whose::New)
}

/// Whether a session's head can stay under a history.
fn may_be(db: &Db, session: &Session, sent: &Sent, rules: PinRules) -> Result<bool, AgentError> {
    if session.runs_tools {
        return Ok(false);
    }
    let given = db.given(session.id)?;
    let pinned = Pinned {
        system: session.system.as_deref(),
        tools: given.as_ref().or(session.tools.as_ref()),
        first: None,
    };
    let verdict = pins::compare(pinned, sent.pinned(), rules);
    Ok(matches!(verdict, PinVerdict::Kept(_)))
}

impl Engine {
    /// Which session a history belongs to, and what it is started with where there is none; a fork is
    /// made. Of `new` the folder and the seed are used.
    ///
    /// # Errors
    /// When the history is no conversation, or npast.db fails.
    pub fn session_of(
        &self,
        history: &ClientHistory,
        keys: &[String],
        rules: PinRules,
        new: NewSession,
    ) -> Result<(WhichSession, NewSession), AgentError> {
        let sent = history.sent()?;
        let db = self.shared().database()?;
        self.opening(&db, &sent, keys, rules, new)
    }

    /// A history belongs to this session, which was just opened: from now on `keys` are names of it.
    ///
    /// # Errors
    /// npast.db's.
    pub fn belongs(
        &self,
        info: &Info,
        history: &ClientHistory,
        keys: &[String],
    ) -> Result<(), AgentError> {
        let db = self.shared().database()?;
        let id = SessionId(info.id);
        if !info.resumed
            && let Some(tools) = &history.sent()?.tools
        {
            db.set_given(id, tools)?;
        }
        for key in keys {
            let name = key_handle(key);
            // A name that it has costs no write.
            if db.by_handle(&name)?.is_none_or(|known| known.id != id) {
                db.add_handle(id, &name)?;
            }
        }
        Ok(())
    }

    fn opening(
        &self,
        db: &Db,
        sent: &Sent,
        keys: &[String],
        rules: PinRules,
        new: NewSession,
    ) -> Result<(WhichSession, NewSession), AgentError> {
        Ok(match find(db, sent, keys, rules)? {
            Whose::Session(session) => (WhichSession::Named(session.name), bare(&new)),
            Whose::Fork(session, message) => match fork_after(db, &session, message)? {
                Some(child) => (WhichSession::Named(child.name), bare(&new)),
                None => (started(sent), with_head(new, sent)),
            },
            Whose::New => (started(sent), with_head(new, sent)),
        })
    }

    /// Opens the conversation that a history belongs to, or starts one. `keys` are names that the client
    /// gives it: from now on they are names of this session. Of `new` the folder and the seed are used.
    ///
    /// # Errors
    /// When the history is no conversation, another process has the session, or npast.db fails.
    pub fn conversation_of(
        &self,
        history: &ClientHistory,
        keys: &[String],
        rules: PinRules,
        new: NewSession,
    ) -> Result<Conversation, AgentError> {
        let (open, new) = self.session_of(history, keys, rules, new)?;
        let talk = self.conversation(open, new)?;
        self.belongs(&talk.info(), history, keys)?;
        Ok(talk)
    }
}

fn started(sent: &Sent) -> WhichSession {
    let first = sent.pinned().first.unwrap_or_default();
    WhichSession::FromWords(name_from_words(first))
}

/// A session that is there has its head.
fn bare(new: &NewSession) -> NewSession {
    NewSession {
        system: None,
        tools: None,
        setup: None,
        ..new.clone()
    }
}

fn with_head(new: NewSession, sent: &Sent) -> NewSession {
    NewSession {
        system: sent.system.clone(),
        tools: sent.tools.clone(),
        setup: None,
        ..new
    }
}
