//! The four APIs that ask for a reply: read the request, ask the service, write what comes.

use std::time::Duration;

use axum::body::Body;
use axum::extract::{Path, Query, Request, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use serde::Deserialize;
use serde_json::{Value, json};

use super::access::Caller;
use super::parts::{PartReader, ReplyNews};
use super::sse::{self, FrameTarget, Pump};
use super::state::Gateway;
use super::work::RunningRequest;
use super::{answer, body, follow};
use crate::agent::{Event, RawPrompt, Receipt};
use crate::gateway::wire::{
    Api, Ask, Manner, RefusalKind, ReplyPart, RequestRefusal, WireReply, anthropic, completions,
    openai, responses,
};
use crate::service::OpenSession;

/// How long a stream waits for something that could still be refused with a status.
const UNDECIDED: Duration = Duration::from_secs(2);
/// Headers by which clients name a conversation of their own.
const CONVERSATION: &[&str] = &["x-session-id", "session-id", "session_id", CONVERSATION_ID];
/// The one by which llama.cpp's web page names a stream that it may take up again.
const CONVERSATION_ID: &str = "x-conversation-id";
/// Longest key that is taken from a header or a body, in bytes.
const MOST_KEY: usize = 256;

/// `POST /v1/chat/completions`.
pub async fn chat(State(gateway): State<Gateway>, request: Request) -> Response {
    make(gateway, request, Api::Chat, |_, body| {
        let ask = openai::read(body)?;
        let manner = Manner::Chat(ask.show);
        Ok(ParsedRequest::talk(ask, manner))
    })
    .await
}

/// `POST /v1/responses`.
pub async fn responses(State(gateway): State<Gateway>, request: Request) -> Response {
    make(gateway, request, Api::Responses, |_, body| {
        let (ask, echo) = responses::read(body)?;
        Ok(ParsedRequest::talk(ask, Manner::Responses(Box::new(echo))))
    })
    .await
}

/// `POST /v1/messages`.
pub async fn messages(State(gateway): State<Gateway>, request: Request) -> Response {
    make(gateway, request, Api::Messages, |_, body| {
        let ask = anthropic::read(body)?;
        let manner = Manner::Messages(ask.stop.clone());
        Ok(ParsedRequest::talk(ask, manner))
    })
    .await
}

/// `POST /v1/completions`.
pub async fn completions(State(gateway): State<Gateway>, request: Request) -> Response {
    make(gateway, request, Api::Completions, |gateway, body| {
        let mut raw = completions::read(body)?;
        if raw.echo {
            raw.look.echo = match &raw.prompt {
                RawPrompt::Text(text) => text.clone(),
                RawPrompt::Tokens(tokens) => {
                    let bytes = gateway.service().engine().vocab().bytes(tokens, true);
                    String::from_utf8_lossy(&bytes).into_owned()
                }
            };
        }
        Ok(ParsedRequest {
            ask: raw.ask,
            prompt: Some(raw.prompt),
            manner: Manner::Completions(Box::new(raw.look)),
        })
    })
    .await
}

/// A request as it was read.
struct ParsedRequest {
    ask: Ask,
    /// What a completion goes on with; a request of the other APIs has a history.
    prompt: Option<RawPrompt>,
    manner: Manner,
}

impl ParsedRequest {
    fn talk(ask: Ask, manner: Manner) -> ParsedRequest {
        ParsedRequest {
            ask,
            prompt: None,
            manner,
        }
    }
}

type ParseResult = fn(&Gateway, &Value) -> Result<ParsedRequest, RequestRefusal>;

async fn make(gateway: Gateway, request: Request, api: Api, read: ParseResult) -> Response {
    match try_make(gateway, request, read).await {
        Ok(response) => response,
        Err(refusal) => answer::refused(api, &refusal),
    }
}

async fn try_make(
    gateway: Gateway,
    request: Request,
    read: ParseResult,
) -> Result<Response, RequestRefusal> {
    let (parts, body) = request.into_parts();
    let caller = parts
        .extensions
        .get::<Caller>()
        .copied()
        .unwrap_or_default();
    let body = body::json(body, gateway.settings().body).await?;
    let ParsedRequest {
        mut ask,
        prompt,
        manner,
    } = read(&gateway, &body)?;
    drop(body);
    keys(&parts.headers, caller, &mut ask)?;
    let place = gateway.place()?;
    let stored = ask.keys.store;
    let (model, show, ignored) = (ask.model.take(), ask.show, ask.ignored.join(", "));
    let own = gateway.clone();
    let begun = tokio::task::spawn_blocking(move || match prompt {
        Some(prompt) => follow::complete(&own, ask, prompt),
        None => follow::begin(&own, ask),
    })
    .await;
    let mut work = begun.map_err(|_| {
        RequestRefusal::new(
            RefusalKind::Broken,
            "the request failed in a way that npast did not expect",
        )
    })??;
    let info = work.session().map(OpenSession::info);
    let head = gateway.head(model, info.as_ref().map(|info| info.id));
    let id = format!("resp_{}", head.id);
    let mut session = info.map(|info| info.name);
    let running = gateway.metrics().begin();
    let mut response = match show.stream {
        true => {
            let first = first(&mut work).await?;
            gateway.keep(work.session());
            let (target, response) = match header(&parts.headers, CONVERSATION_ID) {
                Some(conversation) => {
                    let kept = gateway.streams().begin(&conversation);
                    (FrameTarget::Kept(kept.clone()), sse::hear(kept.listen(0)))
                }
                None => {
                    let (sender, response) = sse::channel();
                    (FrameTarget::Client(sender), response)
                }
            };
            let pump = Pump {
                writer: manner.stream(head),
                parts: PartReader::default(),
                work,
                running,
                metrics: gateway.metrics().clone(),
            };
            let (own, id) = (gateway.clone(), id);
            tokio::spawn(async move {
                let at = pump.run(first, target).await;
                drop(place);
                if let Some(at) = at.filter(|_| stored) {
                    own.responses().learn(id, at);
                }
            });
            response
        }
        false => {
            let (reply, parts) = whole(&mut work).await?;
            gateway.keep(work.session());
            // A client's new head is another session.
            session = work.session().map(|session| session.info().name);
            if let Some(at) = parts.place(work.session()).filter(|_| stored) {
                gateway.responses().learn(id, at);
            }
            let receipts = parts.receipts().iter();
            receipts.for_each(|r| gateway.metrics().count(r));
            let mut response = answer::ok(&manner.whole(&head, &reply));
            if let Some(receipt) = parts.receipts().last() {
                answer::set(&mut response, "x-npast-receipt", &ascii(receipt));
            }
            response
        }
    };
    if let Some(session) = session {
        answer::set(&mut response, "x-npast-session", &session);
    }
    if !ignored.is_empty() {
        answer::set(&mut response, "x-npast-ignored", &ignored);
    }
    Ok(response)
}

/// A header's text, if it has one that is not too long for a key.
fn header(headers: &HeaderMap, name: &str) -> Option<String> {
    let value = headers.get(name)?.to_str().ok()?.trim();
    (!value.is_empty() && value.len() <= MOST_KEY).then(|| value.to_owned())
}

/// What the headers say of the conversation. A session is opened by its name for who has the token.
fn keys(headers: &HeaderMap, caller: Caller, ask: &mut Ask) -> Result<(), RequestRefusal> {
    let text = |name: &str| header(headers, name);
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
async fn whole(work: &mut RunningRequest) -> Result<(WireReply, PartReader), RequestRefusal> {
    let mut parts = PartReader::default();
    let mut reply = WireReply::default();
    while let Some(event) = work.next().await {
        let ends = event.ends();
        if let ReplyNews::Part(part) = parts.read(event) {
            reply.add(part)?;
        }
        if ends {
            return Ok((reply, parts));
        }
    }
    Err(RequestRefusal::new(
        RefusalKind::Broken,
        "the session ended before the reply did; nothing stored is lost",
    ))
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

/// Where a stream is taken up.
#[derive(Deserialize)]
pub struct Since {
    /// The number of the first event.
    from: Option<usize>,
}

/// `GET /v1/streams/{name}`: the last stream of a conversation, from an event on (`?from=N`, or behind the
/// one that `Last-Event-ID` names).
pub async fn resume(
    State(gateway): State<Gateway>,
    Path(name): Path<String>,
    Query(Since { from }): Query<Since>,
    headers: HeaderMap,
) -> Response {
    let last = header(&headers, "last-event-id");
    let behind = last
        .and_then(|last| last.parse::<usize>().ok())
        .map(|last| last + 1);
    let Some(kept) = gateway.streams().find(&name) else {
        return answer::refused(Api::Own, &no_stream());
    };
    sse::hear(kept.listen(from.or(behind).unwrap_or(0)))
}

/// `DELETE /v1/streams/{name}`: stops the reply.
pub async fn stop(State(gateway): State<Gateway>, Path(name): Path<String>) -> Response {
    match gateway.streams().find(&name) {
        Some(kept) => {
            kept.stop();
            answer::ok(&json!({ "stopped": true }))
        }
        None => answer::refused(Api::Own, &no_stream()),
    }
}

fn no_stream() -> RequestRefusal {
    RequestRefusal::new(
        RefusalKind::NotFound,
        "no stream of this conversation is kept here; the session has its reply",
    )
}

/// A response without a body, for clients that look whether somebody is there.
pub async fn nothing() -> Response {
    answer::typed(StatusCode::OK, "text/plain; charset=utf-8", Body::empty())
}
