//! npast's own paths, `/v1/sessions…`: what is stored, and requests to a session with all that its tools
//! do, as the service has them. They want the token always.

use axum::extract::{Path, Query, Request, State};
use axum::response::Response;
use serde::Deserialize;
use serde_json::{Value, json};

use super::sse::{self, Gone};
use super::state::Gateway;
use super::work::RunningRequest;
use super::{answer, body};
use crate::agent::{Event, NewSession, WhichSession};
use crate::gateway::wire::{Api, RefusalKind, RequestRefusal, SseEvent};
use crate::service::{OpenSession, Request as Ask, SessionOpening};
use crate::session::{self, Db, Summary};

/// Hits of a search.
const HITS: usize = 50;

/// What a search asks.
#[derive(Deserialize)]
pub struct SearchQuery {
    #[serde(default)]
    q: String,
}

/// `GET /v1/sessions`: all of them, the last used first.
pub async fn list(State(gateway): State<Gateway>) -> Response {
    reading(gateway, |gateway, db| {
        let open: Vec<i64> = open(gateway).iter().map(|s| s.info().id).collect();
        let all = db.list().map_err(failed)?;
        let all: Vec<Value> = all.iter().map(|s| summary(s, &open)).collect();
        Ok(json!({ "object": "list", "data": all }))
    })
    .await
}

/// `GET /v1/sessions/search?q=`: the messages that hold these words.
pub async fn search(State(gateway): State<Gateway>, Query(search): Query<SearchQuery>) -> Response {
    reading(gateway, move |_, db| {
        let hits = db.search(&search.q, None, HITS).map_err(failed)?;
        let hits: Vec<Value> = hits
            .into_iter()
            .map(|hit| {
                json!({
                    "session": hit.name, "role": hit.role, "day": hit.day, "snippet": hit.snippet,
                })
            })
            .collect();
        Ok(json!({ "object": "list", "data": hits }))
    })
    .await
}

/// `GET /v1/sessions/{name}`: what it is, and what was said.
pub async fn show(State(gateway): State<Gateway>, Path(name): Path<String>) -> Response {
    reading(gateway, move |gateway, db| {
        let row = found(db, &name)?;
        let open: Vec<i64> = open(gateway).iter().map(|s| s.info().id).collect();
        let messages = db.messages(row.id).map_err(failed)?;
        let messages: Vec<Value> = messages.into_iter().map(|m| m.body).collect();
        let mut shown = described(&row, open.contains(&row.id.0));
        shown["system"] = row.system.into();
        shown["preface"] = row.preface.into();
        shown["tools"] = row.tools.unwrap_or(Value::Null);
        shown["messages"] = messages.into();
        Ok(shown)
    })
    .await
}

/// `GET /v1/sessions/{name}/why`: what the last call cost, and why anything was read again.
pub async fn why(State(gateway): State<Gateway>, Path(name): Path<String>) -> Response {
    reading(gateway, move |_, db| {
        let row = found(db, &name)?;
        let receipts = db.receipts(row.id).map_err(failed)?;
        Ok(match receipts.last() {
            Some(receipt) => json!({ "receipt": receipt, "miss": receipt["miss"] }),
            None => json!({ "receipt": null, "miss": null }),
        })
    })
    .await
}

/// `DELETE /v1/sessions/{name}`: removes it for good, if nobody works in it.
pub async fn remove(State(gateway): State<Gateway>, Path(name): Path<String>) -> Response {
    reading(gateway, move |gateway, db| {
        let row = found(db, &name)?;
        gateway.let_go(row.id.0);
        let left = gateway.service().remove(db, row.id)?;
        let left: Vec<String> = left.into_iter().map(|(text, _)| text).collect();
        Ok(json!({
            "object": "session.deleted", "id": row.id.0, "name": row.name, "deleted": true,
            "notices": left,
        }))
    })
    .await
}

/// `POST /v1/sessions`: opens a session, or starts it: `name`, and where it starts `agent`, `folder`,
/// `system`, `tools`, `seed`.
pub async fn create(State(gateway): State<Gateway>, request: Request) -> Response {
    match try_create(gateway, request).await {
        Ok(response) => response,
        Err(refusal) => answer::refused(Api::Own, &refusal),
    }
}

#[derive(Deserialize)]
struct Create {
    name: String,
    #[serde(default)]
    agent: bool,
    folder: Option<String>,
    system: Option<String>,
    tools: Option<Value>,
    seed: Option<u64>,
}

async fn try_create(gateway: Gateway, request: Request) -> Result<Response, RequestRefusal> {
    let body = body::json(request.into_body(), gateway.settings().body).await?;
    let create: Create = serde_json::from_value(body).map_err(|e| {
        RequestRefusal::new(
            RefusalKind::Invalid,
            format!("the request cannot be read: {e}"),
        )
    })?;
    let opened = blocking(move || {
        let folder = create.folder;
        let new = NewSession {
            folder: folder.unwrap_or_else(|| gateway.settings().folder.clone()),
            system: create.system,
            tools: create.tools,
            seed: create.seed,
            setup: None,
        };
        let opening = opening(&gateway, create.name, new, create.agent);
        let session = gateway.service().open(opening)?;
        gateway.keep(Some(&session));
        Ok(session)
    });
    Ok(answer::ok(&json!(opened.await?.event())))
}

fn opening(gateway: &Gateway, name: String, new: NewSession, agent: bool) -> SessionOpening {
    SessionOpening {
        open: WhichSession::Named(name),
        new,
        agent,
        attended: true,
        script: gateway.settings().script.clone(),
    }
}

/// `POST /v1/sessions/{name}/requests`: a request of the service, as its JSON; `stream: true` gives its
/// events as they come, and without it they come in one list.
pub async fn ask(
    State(gateway): State<Gateway>,
    Path(name): Path<String>,
    request: Request,
) -> Response {
    match try_ask(gateway, name, request).await {
        Ok(response) => response,
        Err(refusal) => answer::refused(Api::Own, &refusal),
    }
}

async fn try_ask(
    gateway: Gateway,
    name: String,
    request: Request,
) -> Result<Response, RequestRefusal> {
    let body = body::json(request.into_body(), gateway.settings().body).await?;
    let stream = body["stream"] == true;
    let asked: Ask = serde_json::from_value(body).map_err(|e| {
        RequestRefusal::new(
            RefusalKind::Invalid,
            format!("the request cannot be read: {e}"),
        )
    })?;
    if asked.policy().is_some() {
        return Err(RequestRefusal::new(
            RefusalKind::Invalid,
            "a request over HTTP cannot set options.approve: the gateway's configuration does",
        ));
    }
    let place = gateway.place()?;
    let own = gateway.clone();
    let mut work = blocking(move || {
        let session = stored(&own, &name)?;
        let stop = std::sync::Arc::default();
        let events = session.ask_until(asked, &stop)?;
        Ok(RunningRequest::new(session, events, stop))
    })
    .await?;
    if !stream {
        let mut events = Vec::new();
        while let Some(event) = work.next().await {
            count(&gateway, &event);
            events.push(json!(event));
        }
        return Ok(answer::ok(&json!({ "object": "list", "data": events })));
    }
    let (sender, response) = sse::channel();
    tokio::spawn(async move {
        // A client that goes away stops its request.
        let _ = events(&gateway, &mut work, &sender).await;
        drop(place);
    });
    Ok(response)
}

/// `GET /v1/sessions/{name}/events`: everything that happens in a session from now on.
pub async fn watch(State(gateway): State<Gateway>, Path(name): Path<String>) -> Response {
    let session = match blocking(move || stored(&gateway, &name)).await {
        Ok(session) => session,
        Err(refusal) => return answer::refused(Api::Own, &refusal),
    };
    let (sender, response) = sse::channel();
    tokio::spawn(async move {
        let mut events = session.watch();
        loop {
            let next = tokio::select! {
                next = tokio::time::timeout(sse::QUIET, events.recv()) => next,
                () = sender.closed() => return,
            };
            let sent = match next {
                Ok(Some(event)) => sender.frame(&frame(&event)).await,
                Ok(None) => return,
                Err(_) => sender.comment("nothing happens").await,
            };
            if sent.is_err() {
                return;
            }
        }
    });
    response
}

async fn events(
    gateway: &Gateway,
    work: &mut RunningRequest,
    sender: &sse::Sender,
) -> Result<(), Gone> {
    loop {
        let next = tokio::select! {
            next = tokio::time::timeout(sse::QUIET, work.next()) => next,
            () = sender.closed() => return Err(Gone),
        };
        match next {
            Ok(Some(event)) => {
                count(gateway, &event);
                sender.frame(&frame(&event)).await?;
            }
            Ok(None) => return Ok(()),
            Err(_) => sender.comment("the request runs").await?,
        }
    }
}

fn count(gateway: &Gateway, event: &Event) {
    if let Event::Receipt(receipt) = event {
        gateway.metrics().count(receipt);
    }
}

fn frame(event: &Event) -> SseEvent {
    SseEvent::data(&json!(event))
}

/// The sessions that are open in this process.
fn open(gateway: &Gateway) -> Vec<OpenSession> {
    gateway.service().sessions()
}

/// A session that is stored or open; none is started.
fn stored(gateway: &Gateway, name: &str) -> Result<OpenSession, RequestRefusal> {
    let known = open(gateway).into_iter().find(|s| s.info().name == name);
    if let Some(session) = known {
        return Ok(session);
    }
    found(&gateway.db()?, name)?;
    let new = NewSession {
        folder: gateway.settings().folder.clone(),
        ..NewSession::default()
    };
    let opening = opening(gateway, name.to_owned(), new, false);
    let session = gateway.service().open(opening)?;
    gateway.keep(Some(&session));
    Ok(session)
}

fn found(db: &Db, name: &str) -> Result<session::Session, RequestRefusal> {
    let row = db.find(name).map_err(failed)?;
    row.ok_or_else(|| {
        RequestRefusal::new(
            RefusalKind::NotFound,
            "no session of this name is stored here",
        )
    })
}

fn summary(summary: &Summary, open: &[i64]) -> Value {
    let row = &summary.session;
    let mut shown = described(row, open.contains(&row.id.0));
    shown["messages"] = summary.messages.into();
    shown["context"] = summary.tokens.into();
    shown["first_words"] = summary.first_words.as_str().into();
    shown
}

fn described(row: &session::Session, open: bool) -> Value {
    json!({
        "object": "session",
        "id": row.id.0,
        "name": row.name,
        "folder": row.folder,
        "model": row.model,
        "class": row.class,
        "runs_tools": row.runs_tools,
        "created_ms": row.created_ms,
        "used_ms": row.used_ms,
        "open": open,
        "usage": {
            "calls": row.usage.calls,
            "kept": row.usage.kept,
            "restored": row.usage.restored,
            "evaluated": row.usage.evaluated,
            "generated": row.usage.generated,
        },
    })
}

/// Reads npast.db on a thread that may wait.
async fn reading(
    gateway: Gateway,
    read: impl FnOnce(&Gateway, &Db) -> Result<Value, RequestRefusal> + Send + 'static,
) -> Response {
    let read = blocking(move || {
        let db = gateway.db()?;
        read(&gateway, &db)
    });
    match read.await {
        Ok(value) => answer::ok(&value),
        Err(refusal) => answer::refused(Api::Own, &refusal),
    }
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, RequestRefusal> + Send + 'static,
) -> Result<T, RequestRefusal> {
    let done = tokio::task::spawn_blocking(work).await;
    done.map_err(|_| {
        RequestRefusal::new(
            RefusalKind::Broken,
            "the request failed in an unexpected way",
        )
    })?
}

fn failed(error: session::DbError) -> RequestRefusal {
    crate::agent::AgentError::from(error).into()
}
