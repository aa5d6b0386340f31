//! A session of the gateway, as a command line has it: requests go up, a thread takes what comes down
//! and puts each request's events into its mailbox, as the service itself would.

use std::collections::HashMap;
use std::io::{self, ErrorKind as Io, Read, Write};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crossbeam_channel::{Sender, bounded};

use super::frame::{Down, SessionView, Up};
use super::lines::{Frames, line};
use crate::agent::{AgentError, ErrorKind, Event, Info};
use crate::service::{Closing, Events, Request, Sink, mailbox};

/// How often is looked whether a request is to stop.
const LOOK: Duration = Duration::from_millis(20);
/// Bytes that are read at once.
const PIECE: usize = 64 << 10;

/// One connection, from the client's side.
pub struct Socket {
    stream: UnixStream,
    lines: Frames,
    piece: Vec<u8>,
}

impl Socket {
    /// On a socket that is connected.
    ///
    /// # Errors
    /// When it has no time-out.
    pub fn new(stream: UnixStream) -> io::Result<Socket> {
        stream.set_read_timeout(Some(LOOK))?;
        Ok(Socket {
            stream,
            lines: Frames::default(),
            piece: vec![0; PIECE],
        })
    }

    /// The next frame; nothing where none came for a moment.
    ///
    /// # Errors
    /// The gateway is gone, or sent something else than frames.
    pub fn next(&mut self) -> io::Result<Option<Down>> {
        loop {
            if let Some(frame) = self.lines.next().map_err(io::Error::other)? {
                return Ok(Some(frame));
            }
            match self.stream.read(&mut self.piece) {
                Ok(0) => return Err(Io::UnexpectedEof.into()),
                Ok(n) => self.lines.push(&self.piece[..n]),
                Err(error) if error.kind() == Io::Interrupted => {}
                Err(error) if matches!(error.kind(), Io::WouldBlock | Io::TimedOut) => {
                    return Ok(None);
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// Sends a frame.
    ///
    /// # Errors
    /// The gateway is gone.
    pub fn send(&mut self, frame: &Up) -> io::Result<()> {
        write(&self.stream, frame)
    }
}

fn write(mut stream: &UnixStream, frame: &Up) -> io::Result<()> {
    stream.write_all(&line(frame).map_err(io::Error::other)?)
}

/// A session of the gateway. Clones are the same; when the last one is dropped the client goes away.
#[derive(Clone)]
pub struct RemoteSession {
    hold: Arc<RemoteHandle>,
}

struct RemoteHandle {
    shared: Arc<Shared>,
    next: AtomicU64,
}

impl Drop for RemoteHandle {
    fn drop(&mut self) {
        // The reading thread ends with it.
        let _ = self.shared.stream.shutdown(Shutdown::Both);
    }
}

struct Shared {
    /// Whoever holds the lock writes a whole line.
    writing: Mutex<()>,
    stream: UnixStream,
    pid: u32,
    state: Mutex<RemoteState>,
}

struct RemoteState {
    now: SessionView,
    running: HashMap<u64, PendingRequest>,
    closing: Option<Sender<Result<(), AgentError>>>,
    lost: bool,
}

struct PendingRequest {
    sink: Sink,
    cancel: Arc<AtomicBool>,
    stopped: bool,
}

impl RemoteSession {
    /// Of a session that the gateway, process `pid`, has just opened over `link`.
    ///
    /// # Errors
    /// When no thread can be started.
    pub fn new(mut link: Socket, pid: u32, now: SessionView) -> io::Result<RemoteSession> {
        let shared = Arc::new(Shared {
            writing: Mutex::default(),
            stream: link.stream.try_clone()?,
            pid,
            state: Mutex::new(RemoteState {
                now,
                running: HashMap::new(),
                closing: None,
                lost: false,
            }),
        });
        let own = shared.clone();
        let named = std::thread::Builder::new().name("npast-gateway".to_owned());
        named.spawn(move || {
            loop {
                match link.next() {
                    Ok(Some(frame)) => own.take(frame),
                    Ok(None) => {}
                    Err(error) => {
                        tracing::debug!(%error, "the gateway's connection ended");
                        return own.lose();
                    }
                }
                own.stop();
            }
        })?;
        Ok(RemoteSession {
            hold: Arc::new(RemoteHandle {
                shared,
                next: AtomicU64::new(1),
            }),
        })
    }

    /// What the session was after its last request.
    pub fn info(&self) -> Info {
        self.hold.shared.state().now.info.clone()
    }

    /// What the programs of its tools are kept from.
    pub fn sandbox(&self) -> Option<String> {
        self.hold.shared.state().now.sandbox.clone()
    }

    /// Makes a request; see [`crate::service::OpenSession::ask_until`].
    ///
    /// # Errors
    /// When the gateway has ended.
    pub fn ask_until(
        &self,
        request: Request,
        cancel: &Arc<AtomicBool>,
    ) -> Result<Events, AgentError> {
        let (sink, events) = mailbox();
        let shared = &self.hold.shared;
        let id = self.hold.next.fetch_add(1, Ordering::SeqCst);
        let stopped = cancel.load(Ordering::SeqCst);
        let running = PendingRequest {
            sink,
            cancel: cancel.clone(),
            stopped,
        };
        {
            let mut state = shared.state();
            if state.lost {
                return Err(shared.ended());
            }
            state.running.insert(id, running);
        }
        let request = Box::new(request);
        let asked = Up::Request {
            id,
            stopped,
            request,
        };
        if shared.send(&asked).is_err() {
            shared.state().running.remove(&id);
            return Err(shared.ended());
        }
        Ok(events)
    }

    /// Passes something on to the request that runs. Where the gateway has ended, that request says so.
    pub fn pass(&self, request: Request) {
        let beside = Up::Request {
            id: 0,
            stopped: false,
            request: Box::new(request),
        };
        let _ = self.hold.shared.send(&beside);
    }

    /// Says something to the turn that runs, as long as the session is held by somebody.
    pub fn steer(&self) -> impl Fn(String) + Send + Sync + 'static {
        let hold = Arc::downgrade(&self.hold);
        move |text| {
            if let Some(hold) = hold.upgrade() {
                RemoteSession { hold }.pass(Request::Steer { text });
            }
        }
    }

    /// What was steered and could not be said in the turn any more.
    pub fn left(&self) -> Option<String> {
        self.hold.shared.state().now.left.take()
    }

    /// Leaves behind the requests that were made; what this gives waits until everything is on disk.
    pub fn close(&self) -> Closing {
        let (done, answer) = bounded(1);
        let shared = &self.hold.shared;
        let mut state = shared.state();
        match state.lost {
            true => drop(done.send(Err(shared.ended()))),
            false => state.closing = Some(done),
        }
        drop(state);
        // Where it cannot be sent the reading thread learns why.
        let _ = shared.send(&Up::Close);
        Closing::of(answer)
    }
}

impl Shared {
    // What is held is whole between two statements, whoever panicked.
    fn state(&self) -> MutexGuard<'_, RemoteState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn send(&self, frame: &Up) -> io::Result<()> {
        let _one = self.writing.lock().unwrap_or_else(PoisonError::into_inner);
        write(&self.stream, frame)
    }

    fn take(&self, frame: Down) {
        let mut state = self.state();
        match frame {
            Down::Event { id, event } => {
                let ends = event.ends();
                if let Some(running) = state.running.get(&id) {
                    running.sink.put(event);
                }
                if ends && let Some(running) = state.running.remove(&id) {
                    running.sink.end();
                }
            }
            Down::Now(now) => {
                let before = state.now.left.take();
                state.now = *now;
                let left = state.now.left.take();
                state.now.left = match (before, left) {
                    (Some(before), Some(left)) => Some(format!("{before}\n\n{left}")),
                    (before, left) => before.or(left),
                };
            }
            Down::Closed { error } => {
                if let Some(closing) = state.closing.take() {
                    let closed = error.map_or(Ok(()), |error| Err(failure(error)));
                    let _ = closing.send(closed);
                }
            }
            Down::Hello(_) | Down::Opened { .. } | Down::Refused { .. } => {}
        }
    }

    /// Tells the gateway which requests are to stop.
    fn stop(&self) {
        let mut stop = Vec::new();
        for (id, running) in &mut self.state().running {
            if !running.stopped && running.cancel.load(Ordering::SeqCst) {
                running.stopped = true;
                stop.push(*id);
            }
        }
        for id in stop {
            let _ = self.send(&Up::Stop { id });
        }
    }

    /// The gateway has ended: whoever waits for something hears of it.
    fn lose(&self) {
        let mut state = self.state();
        state.lost = true;
        for (_, running) in state.running.drain() {
            running.sink.put(self.ended().into());
            running.sink.end();
        }
        if let Some(closing) = state.closing.take() {
            let _ = closing.send(Err(self.ended()));
        }
    }

    fn ended(&self) -> AgentError {
        let text = format!("the gateway (process {}) has ended", self.pid);
        AgentError::new(ErrorKind::Engine, text)
            .hinted("what came of the reply is stored; start npast again to go on")
    }
}

/// An error that the gateway sent.
pub fn failure(event: Event) -> AgentError {
    match event {
        Event::Error {
            kind,
            message,
            hint,
            ..
        } => {
            let error = AgentError::new(ErrorKind::of_word(&kind), message);
            match hint {
                Some(hint) => error.hinted(hint),
                None => error,
            }
        }
        _ => AgentError::new(
            ErrorKind::Internal,
            "the gateway refused it and did not say why",
        ),
    }
}
