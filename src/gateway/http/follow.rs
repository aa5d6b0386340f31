//! Which session a request belongs to, and what of its history is new there. A session is found by its
//! name, by a key that the client keeps, by what npast gave out, or by the longest history that is the
//! same; else one is started.

use std::collections::HashMap;
use std::collections::VecDeque;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex, PoisonError};

use serde_json::json;

use super::state::{Gateway, session_in};
use super::work::Work;
use crate::agent::{Input, NewSession, Open, TurnOptions};
use crate::chat::Message;
use crate::chat::message::Role;
use crate::chat::wish::{Calls, Wish};
use crate::gateway::wire::{Ask, Format, Kind, Refusal};
use crate::service::{Opening, Request};
use crate::session::{self, Db, SessionId};

/// Keys that are remembered.
const KEYS: usize = 4096;
/// Sessions that are compared with a history, the last used first.
const COMPARED: usize = 32;

/// Keys that clients were seen with, and their sessions; bounded.
#[derive(Debug, Default)]
pub struct Found {
    keys: Mutex<(HashMap<String, i64>, VecDeque<String>)>,
}

impl Found {
    fn get(&self, key: &str) -> Option<i64> {
        let keys = self.keys.lock().unwrap_or_else(PoisonError::into_inner);
        keys.0.get(key).copied()
    }

    /// A key belongs to a session.
    pub fn learn(&self, key: String, session: i64) {
        let mut keys = self.keys.lock().unwrap_or_else(PoisonError::into_inner);
        if keys.0.insert(key.clone(), session).is_none() {
            keys.1.push_back(key);
        }
        while keys.1.len() > KEYS {
            if let Some(oldest) = keys.1.pop_front() {
                keys.0.remove(&oldest);
            }
        }
    }
}

/// A session and the messages that it does not have.
struct Match {
    name: String,
    new: Vec<Message>,
}

/// Finds the session of a request and asks for a reply there. Blocks.
///
/// # Errors
/// A refusal; nothing was changed then.
pub fn begin(gateway: &Gateway, mut ask: Ask) -> Result<Work, Refusal> {
    let options = options(gateway, &ask);
    let db = gateway.db()?;
    let found = find(gateway, &db, &mut ask)?;
    let (open, new) = match found {
        Some(found) => (Open::Named(found.name), found.new),
        None => {
            let new = std::mem::take(&mut ask.messages);
            let words = new.iter().find(|m| m.role == Role::User);
            let words = words.map(|m| m.text.clone()).unwrap_or_default();
            match &ask.keys.name {
                Some(name) => (Open::Named(name.clone()), new),
                None => (Open::FromWords(words), new),
            }
        }
    };
    drop(db);
    let input = input(new)?;
    let session = gateway.service().open(Opening {
        open,
        new: NewSession {
            folder: gateway.settings().folder.clone(),
            system: ask.system.take(),
            tools: ask.tools.take(),
            seed: ask.sampling.seed,
            setup: None,
        },
        agent: false,
        attended: false,
        script: gateway.settings().script.clone(),
    })?;
    let id = session.info().id;
    if let Some(key) = ask.keys.conversation.take() {
        gateway.found().learn(key, id);
    }
    let stop = Arc::new(AtomicBool::new(false));
    let events = session.ask_until(Request::Say { input, options }, &stop)?;
    Ok(Work::new(session, events, stop))
}

/// How the turn runs.
fn options(gateway: &Gateway, ask: &Ask) -> TurnOptions {
    let mut options = gateway.settings().turn.clone();
    let sampling = &mut options.sampling;
    let asked = &ask.sampling;
    sampling.temperature = asked.temperature.unwrap_or(sampling.temperature);
    sampling.top_k = asked.top_k.unwrap_or(sampling.top_k);
    sampling.top_p = asked.top_p.unwrap_or(sampling.top_p);
    sampling.min_p = asked.min_p.unwrap_or(sampling.min_p);
    sampling.repeat_penalty = asked.repeat_penalty.unwrap_or(sampling.repeat_penalty);
    options.max_tokens = match (options.max_tokens, ask.max_tokens) {
        (Some(own), Some(asked)) => Some(own.min(asked)),
        (own, asked) => asked.or(own),
    };
    options.stop.extend(ask.stop.iter().cloned());
    options.wish = Wish {
        calls: match ask.tools {
            Some(_) => ask.choice.clone(),
            None => Calls::Auto,
        },
        single: ask.parallel == Some(false) && ask.tools.is_some(),
        schema: match &ask.format {
            Format::Text => None,
            Format::Object => Some(json!({ "type": "object" })),
            Format::Schema(schema) => Some(schema.clone()),
        },
    };
    options
}

fn find(gateway: &Gateway, db: &Db, ask: &mut Ask) -> Result<Option<Match>, Refusal> {
    if let Some(id) = &ask.keys.previous {
        let id = id.strip_prefix("resp_").and_then(session_in);
        let row = id.and_then(|id| db.get(SessionId(id)).ok());
        let row = row.ok_or_else(|| Refusal {
            param: Some("previous_response_id".into()),
            ..Refusal::new(Kind::NotFound, "no response of this id is stored here")
        })?;
        return Ok(Some(Match {
            name: row.name,
            new: std::mem::take(&mut ask.messages),
        }));
    }
    if let Some(name) = &ask.keys.name {
        let row = db.find(name).map_err(failed)?;
        let Some(row) = row else {
            return Ok(None);
        };
        return match rest(db, &row, ask)? {
            Some(new) => Ok(Some(Match {
                name: row.name,
                new,
            })),
            None => Err(Refusal::new(
                Kind::Conflict,
                format!("the session {name} has another history than the request"),
            )),
        };
    }
    let key = ask.keys.conversation.as_deref();
    let known = key.and_then(|key| gateway.found().get(key));
    let known = known.and_then(|id| db.get(SessionId(id)).ok());
    let listed = db.list().map_err(failed)?;
    let listed = listed.into_iter().map(|summary| summary.session);
    let mut best: Option<Match> = None;
    for row in known.into_iter().chain(listed.take(COMPARED)) {
        let same = !row.runs_tools && row.system == ask.system && row.tools == ask.tools;
        if !same {
            continue;
        }
        let Some(new) = rest(db, &row, ask)? else {
            continue;
        };
        if best.as_ref().is_none_or(|best| new.len() < best.new.len()) {
            best = Some(Match {
                name: row.name,
                new,
            });
        }
    }
    Ok(best)
}

/// What the history of a request has behind all messages of a session.
fn rest(db: &Db, row: &session::Session, ask: &Ask) -> Result<Option<Vec<Message>>, Refusal> {
    let stored = db.messages(row.id).map_err(failed)?;
    if stored.is_empty() || stored.len() >= ask.messages.len() {
        return Ok(None);
    }
    for (stored, asked) in stored.iter().zip(&ask.messages) {
        let stored = Message::from_json(&stored.body);
        if !stored.is_ok_and(|stored| stored.same(asked)) {
            return Ok(None);
        }
    }
    let new = &ask.messages[stored.len()..];
    let answers = new.iter().all(|m| m.role != Role::Assistant);
    Ok(answers.then(|| new.to_vec()))
}

fn input(new: Vec<Message>) -> Result<Input, Refusal> {
    match new.as_slice() {
        [one] if one.role == Role::User => Ok(Input::Text(one.text.clone())),
        _ if new
            .iter()
            .any(|m| matches!(m.role, Role::Assistant | Role::System)) =>
        {
            Err(Refusal::field(
                "messages",
                "a history that was made elsewhere cannot be gone on with yet",
            ))
        }
        _ => Ok(Input::Messages(new)),
    }
}

fn failed(error: session::Error) -> Refusal {
    crate::agent::AgentError::from(error).into()
}
