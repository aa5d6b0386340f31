//! Which session a request belongs to: the one that it names, the one of the response that it goes on
//! from, else the one that the service finds by its history. There the history is followed, and its last
//! message answered.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use serde_json::json;

use super::state::{Gateway, session_in};
use super::work::RunningRequest;
use crate::agent::{
    Behind, ClientHistory, Names, NewSession, RawPrompt, TurnOptions, WhichSession,
};
use crate::chat::pins::PinRules;
use crate::chat::wish::{Calls, ReplyWish};
use crate::gateway::wire::{Ask, Format, RefusalKind, RequestRefusal, SessionKeys};
use crate::service::{Beside, Completion, OpenSession, Request, SessionOpening};
use crate::session::SessionId;

/// Finds the session of a request and asks for a reply there. Blocks.
///
/// # Errors
/// A refusal; nothing was changed then.
pub fn begin(gateway: &Gateway, ask: Ask) -> Result<RunningRequest, RequestRefusal> {
    let options = options(gateway, &ask);
    let (keys, seed) = (ask.keys, ask.sampling.seed);
    let history = ClientHistory {
        system: ask.system,
        tools: ask.tools,
        messages: ask.messages,
    };
    let new = NewSession {
        folder: gateway.settings().folder.clone(),
        seed,
        ..NewSession::default()
    };
    let stop = Arc::new(AtomicBool::new(false));
    let rules = PinRules::all();
    let (session, request) = match (&keys.previous, &keys.name) {
        (Some(id), _) => {
            let (name, from) = before(gateway, id)?;
            let session = opened(gateway, name, new)?;
            let request = Request::GoOn {
                from,
                history,
                rules,
                options,
            };
            (session, request)
        }
        (None, Some(name)) => {
            let session = named(gateway, name.clone(), &history, new)?;
            (session, follow(history, rules, options))
        }
        (None, None) => {
            let names = names(&keys, &history);
            let script = gateway.settings().script.clone();
            let service = gateway.service();
            let beside = Beside {
                history,
                options,
                most: ask.max_tokens,
                new,
                script,
            };
            // A response that is to be gone on from has a session; and only a session tells how likely its
            // tokens were.
            let asked = match keys.store || beside.options.odds.is_some() {
                true => Err(Box::new(beside)),
                false => {
                    let (own, others) = (&names.0, &names.1);
                    service.beside(beside, Names { own, others }, &stop)?
                }
            };
            let Beside {
                history,
                options,
                new,
                script,
                ..
            } = match asked {
                Ok(events) => return Ok(RunningRequest::alone(events, stop)),
                Err(asked) => *asked,
            };
            let session = service.open_of(&history, &names.0, rules, new, script)?;
            (session, follow(history, rules, options))
        }
    };
    let events = session.ask_until(request, &stop)?;
    Ok(RunningRequest::new(session, events, stop))
}

fn follow(history: ClientHistory, rules: PinRules, options: TurnOptions) -> Request {
    Request::Follow {
        history,
        rules,
        options,
    }
}

/// Has the model go on with a prompt, for no session.
///
/// # Errors
/// When it cannot begin.
pub fn complete(
    gateway: &Gateway,
    ask: Ask,
    prompt: RawPrompt,
) -> Result<RunningRequest, RequestRefusal> {
    let stop = Arc::new(AtomicBool::new(false));
    let completion = Completion {
        prompt,
        options: options(gateway, &ask),
        seed: ask.sampling.seed,
        script: gateway.settings().script.clone(),
    };
    let events = gateway.service().complete(completion, &stop)?;
    Ok(RunningRequest::alone(events, stop))
}

/// By what the client calls its conversation. Title requests share such a name with the conversation
/// that they belong to, so it names one conversation with tools and one without, of each agent. Claude
/// Code's agents beside have tools and the same name too: its conversations are found by what they say.
/// The second list has the names of the conversation of the other kind.
fn names(keys: &SessionKeys, history: &ClientHistory) -> (Vec<String>, Vec<String>) {
    let agent = keys.agent.as_deref().unwrap_or_default();
    let all = |kind: &str| {
        let named = keys.conversation.iter();
        let named = named.filter(|name| !name.starts_with("user_id:"));
        named.map(|name| format!("{kind}/{agent}/{name}")).collect()
    };
    match history.tools {
        Some(_) => (all("tools"), all("plain")),
        None => (all("plain"), all("tools")),
    }
}

fn named(
    gateway: &Gateway,
    name: String,
    history: &ClientHistory,
    new: NewSession,
) -> Result<OpenSession, RequestRefusal> {
    let new = NewSession {
        system: history.system.clone(),
        tools: history.tools.clone(),
        ..new
    };
    let session = opened(gateway, name, new)?;
    let engine = gateway.service().engine();
    engine.belongs(&session.info(), history, &[])?;
    Ok(session)
}

/// A session that is stored.
fn opened(gateway: &Gateway, name: String, new: NewSession) -> Result<OpenSession, RequestRefusal> {
    let session = gateway.service().open(SessionOpening {
        open: WhichSession::Named(name),
        new,
        agent: false,
        attended: false,
        script: gateway.settings().script.clone(),
    })?;
    Ok(session)
}

/// Where a response stands, and the name of its session.
fn before(gateway: &Gateway, id: &str) -> Result<(String, Behind), RequestRefusal> {
    let unknown = || RequestRefusal {
        param: Some("previous_response_id".into()),
        ..RequestRefusal::new(
            RefusalKind::NotFound,
            "no response of this id is stored here",
        )
    };
    let known = gateway.responses().get(id);
    let named = || {
        let session = id.strip_prefix("resp_").and_then(session_in)?;
        let messages = None;
        Some(Behind { session, messages })
    };
    let at = known.or_else(named).ok_or_else(unknown)?;
    let row = gateway.db()?.get(SessionId(at.session));
    Ok((row.map_err(|_| unknown())?.name, at))
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
