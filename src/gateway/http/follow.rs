//! Which session a request belongs to: the one that it names, the one of the response that it goes on
//! from, else the one that the service finds by its history. There the history is followed, and its last
//! message answered.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use serde_json::json;

use super::state::{Gateway, session_in};
use super::work::Work;
use crate::agent::{AgentError, History, NewSession, Open, RawPrompt, TurnOptions};
use crate::chat::Message;
use crate::chat::pins::Rules;
use crate::chat::wish::{Calls, Wish};
use crate::gateway::wire::{Ask, Format, Keys, Kind, Refusal};
use crate::service::{Completion, OpenSession, Opening, Request};
use crate::session::{self, SessionId};

/// Finds the session of a request and asks for a reply there. Blocks.
///
/// # Errors
/// A refusal; nothing was changed then.
pub fn begin(gateway: &Gateway, ask: Ask) -> Result<Work, Refusal> {
    let options = options(gateway, &ask);
    let (keys, seed) = (ask.keys, ask.sampling.seed);
    let mut history = History {
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
            service.open_of(&history, &names, Rules::all(), new, script)?
        }
    };
    let stop = Arc::new(AtomicBool::new(false));
    let request = Request::Follow {
        history,
        rules: Rules::all(),
        options,
    };
    let events = session.ask_until(request, &stop)?;
    Ok(Work::new(session, events, stop))
}

/// Has the model go on with a prompt, for no session.
///
/// # Errors
/// When it cannot begin.
pub fn complete(gateway: &Gateway, ask: Ask, prompt: RawPrompt) -> Result<Work, Refusal> {
    let stop = Arc::new(AtomicBool::new(false));
    let completion = Completion {
        prompt,
        options: options(gateway, &ask),
        seed: ask.sampling.seed,
        script: gateway.settings().script.clone(),
    };
    let events = gateway.service().complete(completion, &stop)?;
    Ok(Work::alone(events, stop))
}

/// By what the client calls its conversation. Title requests share such a name with the conversation
/// that they belong to, so it names one conversation with tools and one without, of each agent. Claude
/// Code's agents beside have tools and the same name too: its conversations are found by what they say.
fn names(keys: &Keys, history: &History) -> Vec<String> {
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
    history: &History,
    new: NewSession,
) -> Result<OpenSession, Refusal> {
    let service = gateway.service();
    let session = service.open(Opening {
        open: Open::Named(name),
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
fn before(gateway: &Gateway, id: &str, history: &mut History) -> Result<String, Refusal> {
    let unknown = || Refusal {
        param: Some("previous_response_id".into()),
        ..Refusal::new(Kind::NotFound, "no response of this id is stored here")
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
    options.odds = ask.odds;
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

fn failed(error: session::Error) -> Refusal {
    AgentError::from(error).into()
}
