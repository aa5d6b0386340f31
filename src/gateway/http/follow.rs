//! Which session a request belongs to: the one that it names, the one of the response that it goes on
//! from, else the one that the service finds by its history. There the history is followed, and its last
//! message answered.

use std::collections::{HashMap, VecDeque};
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex, PoisonError};

use serde_json::json;

use super::state::{Gateway, session_in};
use super::work::RunningRequest;
use crate::agent::{AgentError, ClientHistory, NewSession, TurnOptions, WhichSession};
use crate::chat::Message;
use crate::chat::pins::PinRules;
use crate::chat::wish::{Calls, ReplyWish};
use crate::gateway::wire::{Ask, Format, RefusalKind, RequestRefusal, SessionKeys};
use crate::service::{OpenSession, Request, SessionOpening};
use crate::session::{self, SessionId};

/// Responses whose places are remembered.
const RESPONSES: usize = 4096;

/// In which session a response is, and how many messages that had after it. After a restart a response is gone on from at the
/// end of its session.
#[derive(Debug, Default)]
pub struct Responses {
    places: Mutex<ResponsePlaces>,
}

#[derive(Debug, Default)]
struct ResponsePlaces {
    by_id: HashMap<String, (i64, usize)>,
    /// The oldest first.
    order: VecDeque<String>,
}

impl Responses {
    fn get(&self, id: &str) -> Option<(i64, usize)> {
        let places = self.places.lock().unwrap_or_else(PoisonError::into_inner);
        places.by_id.get(id).copied()
    }

    /// A response ended when its session had so many messages.
    pub fn learn(&self, id: String, session: i64, messages: usize) {
        let mut places = self.places.lock().unwrap_or_else(PoisonError::into_inner);
        places.order.push_back(id.clone());
        places.by_id.insert(id, (session, messages));
        while places.order.len() > RESPONSES {
            if let Some(oldest) = places.order.pop_front() {
                places.by_id.remove(&oldest);
            }
        }
    }
}

/// Finds the session of a request and asks for a reply there. Blocks.
///
/// # Errors
/// A refusal; nothing was changed then.
pub fn begin(gateway: &Gateway, ask: Ask) -> Result<RunningRequest, RequestRefusal> {
    let options = options(gateway, &ask);
    let (keys, seed) = (ask.keys, ask.sampling.seed);
    let mut history = ClientHistory {
        system: ask.system,
        tools: ask.tools,
        messages: ask.messages,
    };
    let new = NewSession {
        folder: gateway.settings().folder.clone(),
        seed,
        ..NewSession::default()
    };
    let session = match (&keys.previous, &keys.name) {
        (Some(id), _) => {
            let name = before(gateway, id, &mut history)?;
            named(gateway, name, &history, new)?
        }
        (None, Some(name)) => named(gateway, name.clone(), &history, new)?,
        (None, None) => {
            let names = names(&keys, &history);
            let script = gateway.settings().script.clone();
            let service = gateway.service();
            service.open_of(&history, &names, PinRules::all(), new, script)?
        }
    };
    let stop = Arc::new(AtomicBool::new(false));
    let request = Request::Follow {
        history,
        rules: PinRules::all(),
        options,
    };
    let events = session.ask_until(request, &stop)?;
    Ok(RunningRequest::new(session, events, stop))
}

/// By what the client calls its conversation. Title requests share such a name with the conversation
/// that they belong to, so it names one conversation with tools and one without, of each agent. Claude
/// Code's agents beside have tools and the same name too: its conversations are found by what they say.
fn names(keys: &SessionKeys, history: &ClientHistory) -> Vec<String> {
    let kind = match history.tools {
        Some(_) => "tools",
        None => "plain",
    };
    let agent = keys.agent.as_deref().unwrap_or_default();
    let named = keys.conversation.iter();
    let named = named.filter(|name| !name.starts_with("user_id:"));
    named.map(|name| format!("{kind}/{agent}/{name}")).collect()
}

fn named(
    gateway: &Gateway,
    name: String,
    history: &ClientHistory,
    new: NewSession,
) -> Result<OpenSession, RequestRefusal> {
    let service = gateway.service();
    let session = service.open(SessionOpening {
        open: WhichSession::Named(name),
        new: NewSession {
            system: history.system.clone(),
            tools: history.tools.clone(),
            ..new
        },
        agent: false,
        attended: false,
        script: gateway.settings().script.clone(),
    })?;
    service.engine().belongs(&session.info(), history, &[])?;
    Ok(session)
}

/// The history of a request that goes on from a response: what its session had then, and behind it what
/// the request brings. The session's name.
fn before(
    gateway: &Gateway,
    id: &str,
    history: &mut ClientHistory,
) -> Result<String, RequestRefusal> {
    let unknown = || RequestRefusal {
        param: Some("previous_response_id".into()),
        ..RequestRefusal::new(
            RefusalKind::NotFound,
            "no response of this id is stored here",
        )
    };
    let known = gateway.responses().get(id);
    let named = || id.strip_prefix("resp_").and_then(session_in);
    let session = known.map(|(session, _)| session).or_else(named);
    let db = gateway.db()?;
    let row = session.and_then(|id| db.get(SessionId(id)).ok());
    let row = row.ok_or_else(unknown)?;
    let stored = db.messages(row.id).map_err(failed)?;
    let had = known.map_or(stored.len(), |(_, messages)| messages);
    let mut messages = Vec::with_capacity(had + history.messages.len());
    for message in stored.into_iter().take(had) {
        let message = Message::from_json(&message.body).map_err(AgentError::from)?;
        // What npast told the model itself is no part of what the client said.
        if !message.note {
            messages.push(message);
        }
    }
    messages.append(&mut history.messages);
    history.messages = messages;
    if history.system.is_none() {
        history.system = row.system;
    }
    if history.tools.is_none() {
        history.tools = row.tools;
    }
    Ok(row.name)
}

/// How many messages a session has.
pub fn messages(gateway: &Gateway, session: i64) -> Option<usize> {
    let db = gateway.db().ok()?;
    Some(db.messages(SessionId(session)).ok()?.len())
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
    options.wish = ReplyWish {
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

fn failed(error: session::DbError) -> RequestRefusal {
    AgentError::from(error).into()
}
