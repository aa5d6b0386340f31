//! The four APIs that ask for a reply: read the request, ask the service, write what comes.

use std::time::Duration;

use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use serde_json::Value;

use super::access::Caller;
use super::parts::{PartReader, ReplyNews};
use super::sse::{self, Pump};
use super::state::Gateway;
use super::work::RunningRequest;
use super::{answer, body, follow};
use crate::agent::{Event, Receipt};
use crate::gateway::wire::{
    Api, Ask, Manner, RefusalKind, ReplyPart, RequestRefusal, WireReply, anthropic, completions,
    openai, responses,
};

/// How long a stream waits for something that could still be refused with a status.
const UNDECIDED: Duration = Duration::from_secs(2);
/// Headers by which clients name a conversation of their own.
const CONVERSATION: &[&str] = &[
    "x-session-id",
    "session-id",
    "session_id",
    "x-conversation-id",
];
/// Longest key that is taken from a header or a body, in bytes.
const MOST_KEY: usize = 256;

/// `POST /v1/chat/completions`.
pub async fn chat(State(gateway): State<Gateway>, request: Request) -> Response {
    make(gateway, request, Api::Chat, |body| {
        let ask = openai::read(body)?;
        let manner = Manner::Chat(ask.show);
        Ok((ask, manner))
    })
    .await
}

/// `POST /v1/responses`.
pub async fn responses(State(gateway): State<Gateway>, request: Request) -> Response {
    make(gateway, request, Api::Responses, |body| {
        let (ask, echo) = responses::read(body)?;
        Ok((ask, Manner::Responses(Box::new(echo))))
    })
    .await
}

/// `POST /v1/messages`.
pub async fn messages(State(gateway): State<Gateway>, request: Request) -> Response {
    make(gateway, request, Api::Messages, |body| {
        let ask = anthropic::read(body)?;
        let manner = Manner::Messages(ask.stop.clone());
        Ok((ask, manner))
    })
    .await
}

/// `POST /v1/completions`.
pub async fn completions(State(gateway): State<Gateway>, request: Request) -> Response {
    make(gateway, request, Api::Completions, |body| {
        completions::read(body)?;
        Err(RequestRefusal::new(
            RefusalKind::Invalid,
            "replies without a chat template are not made by this server; use \
             /v1/chat/completions",
        ))
    })
    .await
}

type Read = fn(&Value) -> Result<(Ask, Manner), RequestRefusal>;

async fn make(gateway: Gateway, request: Request, api: Api, read: Read) -> Response {
    match try_make(gateway, request, read).await {
        Ok(response) => response,
        Err(refusal) => answer::refused(api, &refusal),
    }
}

async fn try_make(
    gateway: Gateway,
    request: Request,
    read: Read,
) -> Result<Response, RequestRefusal> {
    let (parts, body) = request.into_parts();
    let caller = parts
        .extensions
        .get::<Caller>()
        .copied()
        .unwrap_or_default();
    let body = body::json(body, gateway.settings().body).await?;
    let (mut ask, manner) = read(&body)?;
    drop(body);
    keys(&parts.headers, caller, &mut ask)?;
    let place = gateway.place()?;
    let stored = ask.keys.store;
    let (model, show, ignored) = (ask.model.take(), ask.show, ask.ignored.join(", "));
    let own = gateway.clone();
    let begun = tokio::task::spawn_blocking(move || follow::begin(&own, ask)).await;
    let mut work = begun.map_err(|_| {
        RequestRefusal::new(
            RefusalKind::Broken,
            "the request failed in a way that npast did not expect",
        )
    })??;
    let head = gateway.head(model, work.session().info().id);
    let id = format!("resp_{}", head.id);
    let mut session = work.session().info().name;
    let running = gateway.metrics().begin();
    let mut response = match show.stream {
        true => {
            let first = first(&mut work).await?;
            gateway.keep(work.session());
            let (sender, response) = sse::channel();
            let pump = Pump {
                writer: manner.stream(head),
                parts: PartReader::default(),
                work,
                running,
                metrics: gateway.metrics().clone(),
            };
            let (own, id) = (gateway.clone(), id);
            tokio::spawn(async move {
                let session = pump.run(first, sender).await;
                drop(place);
                if stored {
                    learn(own, id, session).await;
                }
            });
            response
        }
        false => {
            let (reply, receipts) = whole(&mut work).await?;
            gateway.keep(work.session());
            session = work.session().info().name;
            if stored {
                learn(gateway.clone(), id, work.session().info().id).await;
            }
            receipts.iter().for_each(|r| gateway.metrics().count(r));
            let mut response = answer::ok(&manner.whole(&head, &reply));
            if let Some(receipt) = receipts.last() {
                answer::set(&mut response, "x-npast-receipt", &ascii(receipt));
            }
            response
        }
    };
    answer::set(&mut response, "x-npast-session", &session);
    if !ignored.is_empty() {
        answer::set(&mut response, "x-npast-ignored", &ignored);
    }
    Ok(response)
}

/// What the headers say of the conversation. A session is opened by its name for who has the token.
fn keys(headers: &HeaderMap, caller: Caller, ask: &mut Ask) -> Result<(), RequestRefusal> {
    let text = |name: &str| {
        let value = headers.get(name)?.to_str().ok()?.trim();
        (!value.is_empty() && value.len() <= MOST_KEY).then(|| value.to_owned())
    };
    if let Some(name) = text("x-npast-session") {
        if !caller.trusted {
            return Err(RequestRefusal::new(
                RefusalKind::Token,
                "a session is opened by its name only with this server's token; it is in the file \
                 `token` of its data folder",
            ));
        }
        ask.keys.name = Some(name);
    }
    if ask.keys.conversation.is_none() {
        let mut all = CONVERSATION.iter().filter_map(|name| text(name));
        ask.keys.conversation = all.next().map(|key| format!("header:{key}"));
    }
    if ask
        .keys
        .conversation
        .as_ref()
        .is_some_and(|key| key.len() > 2 * MOST_KEY)
    {
        ask.keys.conversation = None;
    }
    ask.keys.agent = text("x-claude-code-agent-id");
    Ok(())
}

/// The first events of a request, up to one that is of the reply. What fails before it, fails with a
/// status.
async fn first(work: &mut RunningRequest) -> Result<Vec<Event>, RequestRefusal> {
    let mut first = Vec::new();
    let until = tokio::time::Instant::now() + UNDECIDED;
    loop {
        let event = match tokio::time::timeout_at(until, work.next()).await {
            Ok(Some(event)) => event,
            Ok(None) | Err(_) => return Ok(first),
        };
        if let Event::Error { .. } = &event
            && let ReplyNews::Part(ReplyPart::Failed(refusal)) =
                PartReader::default().read(event.clone())
        {
            return Err(refusal);
        }
        let decided = !matches!(
            event,
            Event::Session { .. } | Event::Notice { .. } | Event::Queued { .. }
        );
        first.push(event);
        if decided {
            return Ok(first);
        }
    }
}

/// All of a reply.
async fn whole(work: &mut RunningRequest) -> Result<(WireReply, Vec<Receipt>), RequestRefusal> {
    let mut parts = PartReader::default();
    let mut reply = WireReply::default();
    while let Some(event) = work.next().await {
        let ends = event.ends();
        if let ReplyNews::Part(part) = parts.read(event) {
            reply.add(part)?;
        }
        if ends {
            return Ok((reply, parts.receipts().to_vec()));
        }
    }
    Err(RequestRefusal::new(
        RefusalKind::Broken,
        "the session ended before the reply did; nothing stored is lost",
    ))
}

/// Remembers where a response stands in its session, for requests that go on from it.
async fn learn(gateway: Gateway, id: String, session: i64) {
    let own = gateway.clone();
    let count = tokio::task::spawn_blocking(move || follow::messages(&own, session));
    if let Ok(Some(messages)) = count.await {
        gateway.responses().learn(id, session, messages);
    }
}

/// A receipt as a header can carry it.
fn ascii(receipt: &Receipt) -> String {
    use std::fmt::Write;
    let json = serde_json::to_string(receipt).unwrap_or_default();
    let mut text = String::with_capacity(json.len());
    for c in json.chars() {
        if c.is_ascii() {
            text.push(c);
        } else {
            let mut units = [0; 2];
            for unit in c.encode_utf16(&mut units) {
                let _ = write!(text, "\\u{unit:04x}");
            }
        }
    }
    text
}

/// A response without a body, for clients that look whether somebody is there.
pub async fn nothing() -> Response {
    answer::typed(StatusCode::OK, "text/plain; charset=utf-8", Body::empty())
}
