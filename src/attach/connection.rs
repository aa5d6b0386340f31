//! One client of the gateway: its session, its requests, and what becomes of them when it goes away.

use std::collections::HashMap;
use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio::net::unix::OwnedWriteHalf;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;

use super::clients::{Clients, Phase};
use super::frame::{Down, Joining, SessionView, Up};
use super::lines::{Frames, line};
use crate::agent::{AgentError, ErrorKind, Event};
use crate::chat::ReplyScript;
use crate::service::{Events, OpenSession, Request, SessionOpening};

/// Frames that wait for a client; behind them events are joined.
const WAITING: usize = 16;
/// Bytes that are read at once.
const PIECE: usize = 64 << 10;

/// A client that has its session. One value has the session's handle, so that the last client to leave
/// closes it.
struct Attached {
    session: OpenSession,
    out: mpsc::Sender<Down>,
    clients: Arc<Clients>,
    /// What stops each request that runs.
    flags: Mutex<HashMap<u64, Arc<AtomicBool>>>,
    /// Requests that run.
    running: watch::Sender<usize>,
}

/// Serves a client until it goes away. Its requests are stopped then, and what was decoded stays.
pub async fn serve(stream: UnixStream, clients: Arc<Clients>) -> io::Result<()> {
    let (mut from, to) = stream.into_split();
    let (out, frames) = mpsc::channel(WAITING);
    let mut tasks = JoinSet::new();
    tasks.spawn(write(to, frames));
    // A client that does not read it is gone.
    let _ = out.send(Down::Hello(Box::new(clients.hello()))).await;
    let mut client = None;
    let (mut lines, mut piece) = (Frames::default(), vec![0; PIECE]);
    let mut phase = clients.phase.subscribe();
    loop {
        while tasks.try_join_next().is_some() {}
        while let Some(frame) = lines.next().map_err(io::Error::other)? {
            match (frame, &client) {
                (Up::Open(wanted), None) => {
                    client = open(&clients, *wanted, &out).await.map(Arc::new);
                }
                (frame, Some(client)) => obey(client, frame, &mut tasks).await,
                (_, None) => return Err(io::Error::other("there is no session yet")),
            }
        }
        let read = tokio::select! {
            read = from.read(&mut piece) => read?,
            _ = phase.wait_for(|phase| *phase == Phase::Bye) => break,
        };
        match read {
            0 => return Ok(()),
            n => lines.push(&piece[..n]),
        }
    }
    // Nothing runs: when nobody can send any more the last frame is written.
    drop((client, out));
    while tasks.join_next().await.is_some() {}
    Ok(())
}

async fn write(mut to: OwnedWriteHalf, mut frames: mpsc::Receiver<Down>) {
    while let Some(frame) = frames.recv().await {
        let Ok(line) = line(&frame) else { return };
        if to.write_all(&line).await.is_err() {
            return;
        }
    }
}

/// Opens the session, and says so.
async fn open(
    clients: &Arc<Clients>,
    wanted: Joining,
    out: &mpsc::Sender<Down>,
) -> Option<Attached> {
    let own = clients.clone();
    let opened = tokio::task::spawn_blocking(move || opened(&own, wanted)).await;
    let opened = opened.unwrap_or_else(|_| {
        let text = "opening the session failed in an unexpected way";
        Err(AgentError::new(ErrorKind::Internal, text))
    });
    match opened {
        Ok(session) => {
            let opened = Down::Opened {
                now: Box::new(now(&session, None)),
                notices: clients.service.notices(),
            };
            let _ = out.send(opened).await;
            Some(Attached {
                session,
                out: out.clone(),
                clients: clients.clone(),
                flags: Mutex::default(),
                running: watch::Sender::new(0),
            })
        }
        Err(error) => {
            let error = error.into();
            let _ = out.send(Down::Refused { error }).await;
            None
        }
    }
}

fn opened(clients: &Clients, wanted: Joining) -> Result<OpenSession, AgentError> {
    let script = wanted.script.map(|text| ReplyScript::read(text.as_bytes()));
    let script = script.transpose();
    let script = script.map_err(|e| AgentError::new(ErrorKind::Script, e.to_string()))?;
    let opening = SessionOpening {
        open: wanted.open,
        new: wanted.new,
        agent: wanted.agent,
        attended: wanted.attended,
        script: script.or_else(|| clients.script.clone()),
    };
    clients.service.open_as(opening, wanted.tooling)
}

fn now(session: &OpenSession, left: Option<String>) -> SessionView {
    SessionView {
        info: session.info(),
        sandbox: session.sandbox(),
        left,
    }
}

async fn obey(client: &Arc<Attached>, frame: Up, tasks: &mut JoinSet<()>) {
    match frame {
        Up::Request {
            id,
            stopped,
            request,
        } => match *request {
            // Nothing runs that could hear of it: it is said next.
            Request::Steer { text } if *client.running.borrow() == 0 => {
                let now = now(&client.session, Some(text));
                let _ = client.out.send(Down::Now(Box::new(now))).await;
            }
            request => ask(client, id, stopped, request, tasks).await,
        },
        Up::Stop { id } => {
            if let Some(flag) = client.flags().get(&id) {
                flag.store(true, Ordering::SeqCst);
            }
        }
        Up::Close => {
            tasks.spawn(close(client.clone()));
        }
        Up::Open(_) => {}
    }
}

async fn ask(
    client: &Arc<Attached>,
    id: u64,
    stopped: bool,
    request: Request,
    tasks: &mut JoinSet<()>,
) {
    let beside = matches!(
        request,
        Request::Steer { .. } | Request::Interrupt | Request::Answer { .. }
    );
    let flag = Arc::new(AtomicBool::new(stopped));
    let ending = *client.clients.phase.borrow() >= Phase::Ending;
    let asked = match ending && !beside {
        true => Err(AgentError::new(ErrorKind::Engine, "the gateway is ending")
            .hinted("nothing was stored of it; start npast again in a moment")),
        false => client.session.ask_until(request, &flag),
    };
    match asked {
        Ok(events) if beside => drop(events),
        Ok(events) => {
            let run = InProgress::new(client.clone(), id, flag);
            tasks.spawn(pass(run, events));
        }
        Err(error) => {
            let event = error.into();
            let _ = client.out.send(Down::Event { id, event }).await;
        }
    }
}

/// A request that runs. When this is dropped, which is also what happens when the client goes away, it
/// is stopped between two decode calls.
struct InProgress {
    client: Arc<Attached>,
    id: u64,
    flag: Arc<AtomicBool>,
}

impl InProgress {
    fn new(client: Arc<Attached>, id: u64, flag: Arc<AtomicBool>) -> InProgress {
        client.flags().insert(id, flag.clone());
        client.running.send_modify(|running| *running += 1);
        client.clients.running.send_modify(|running| *running += 1);
        InProgress { client, id, flag }
    }
}

impl Drop for InProgress {
    fn drop(&mut self) {
        self.flag.store(true, Ordering::SeqCst);
        self.client.flags().remove(&self.id);
        self.client.running.send_modify(|running| *running -= 1);
        self.client
            .clients
            .running
            .send_modify(|running| *running -= 1);
    }
}

/// Passes the events of a request on.
async fn pass(run: InProgress, mut events: Events) {
    let (client, id) = (run.client.clone(), run.id);
    let mut phase = client.clients.phase.subscribe();
    loop {
        let event = tokio::select! {
            event = events.recv() => event,
            Ok(_) = phase.wait_for(|phase| *phase >= Phase::Halt),
                if !run.flag.load(Ordering::SeqCst) =>
            {
                run.flag.store(true, Ordering::SeqCst);
                continue;
            }
        };
        let event = event.unwrap_or_else(|| {
            let text = "the session ended without an answer";
            let error = AgentError::new(ErrorKind::Engine, text);
            error
                .hinted("nothing stored is lost; start npast again")
                .into()
        });
        let ends = event.ends();
        if ends {
            let left = client.session.steering().left();
            let now = now(&client.session, left);
            let _ = client.out.send(Down::Now(Box::new(now))).await;
        }
        if client.out.send(Down::Event { id, event }).await.is_err() || ends {
            return;
        }
    }
}

/// Waits for the client's requests, and until all of its session is on disk.
async fn close(client: Arc<Attached>) {
    let mut running = client.running.subscribe();
    let _ = running.wait_for(|running| *running == 0).await;
    let out = client.out.clone();
    let closed = tokio::task::spawn_blocking(move || client.session.close().wait()).await;
    let error: Option<Event> = match closed {
        Ok(Err(error)) => Some(error.into()),
        _ => None,
    };
    let _ = out.send(Down::Closed { error }).await;
}

impl Attached {
    // What is held is whole between two statements, whoever panicked.
    fn flags(&self) -> std::sync::MutexGuard<'_, HashMap<u64, Arc<AtomicBool>>> {
        self.flags.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
