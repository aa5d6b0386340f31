//! A reply as a stream of server-sent events. A task passes on what the service says; while nothing
//! comes it sends comments, so that nobody takes the connection for dead, and when the client goes away
//! it ends, which stops the work.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::Response;
use tokio::sync::mpsc;
use tokio::time::{Instant, timeout_at};
use tokio_stream::wrappers::ReceiverStream;

use super::answer;
use super::metrics::{Metrics, ReplyGuard};
use super::parts::{PartReader, ReplyNews};
use super::streams::{KeptStream, Listener, Next};
use super::work::RunningRequest;
use crate::agent::{Behind, Event};
use crate::gateway::wire::{ReplyWriter, SseEvent};

/// Frames that wait for a client; behind them events are joined.
const WAITING: usize = 16;
/// A comment after so long without a frame.
pub const QUIET: Duration = Duration::from_secs(5);
/// A client that takes nothing for so long is gone.
const STUCK: Duration = Duration::from_secs(300);

/// A body of server-sent events, and where they are put.
pub fn channel() -> (Sender, Response) {
    let (sender, receiver) = mpsc::channel(WAITING);
    let body = Body::from_stream(ReceiverStream::new(receiver));
    let mut response = answer::typed(StatusCode::OK, "text/event-stream", body);
    let headers = response.headers_mut();
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    // nginx would hold events back.
    headers.insert("x-accel-buffering", HeaderValue::from_static("no"));
    (Sender(sender), response)
}

/// Where the bytes of a stream are put.
pub struct Sender(mpsc::Sender<Result<Bytes, Infallible>>);

/// The client went away.
#[derive(Debug, PartialEq, Eq)]
pub struct Gone;

impl Sender {
    async fn bytes(&self, bytes: impl Into<Bytes>) -> Result<(), Gone> {
        let sent = self.0.send(Ok(bytes.into()));
        match tokio::time::timeout(STUCK, sent).await {
            Ok(Ok(())) => Ok(()),
            _ => Err(Gone),
        }
    }

    /// Sends one event.
    ///
    /// # Errors
    /// When the client went away.
    pub async fn frame(&self, frame: &SseEvent) -> Result<(), Gone> {
        self.bytes(frame.bytes()).await
    }

    /// Sends a comment, which readers of events skip.
    ///
    /// # Errors
    /// When the client went away.
    pub async fn comment(&self, text: &str) -> Result<(), Gone> {
        let text: String = text.chars().filter(|c| !c.is_control()).collect();
        self.bytes(format!(": {text}\n\n").into_bytes()).await
    }

    /// Waits until the client went away.
    pub async fn closed(&self) {
        self.0.closed().await;
    }
}

/// Where a reply's events go.
pub enum FrameTarget {
    /// To one client; when it goes away, the reply ends.
    Client(Sender),
    /// Where they can be had again.
    Kept(Arc<KeptStream>),
}

impl FrameTarget {
    async fn frame(&self, frame: &SseEvent) -> Result<(), Gone> {
        match self {
            FrameTarget::Client(sender) => sender.frame(frame).await,
            FrameTarget::Kept(kept) => {
                kept.put(&frame.bytes());
                Ok(())
            }
        }
    }

    /// Whoever hears a kept stream gets comments of its own.
    async fn comment(&self, text: &str) -> Result<(), Gone> {
        match self {
            FrameTarget::Client(sender) => sender.comment(text).await,
            FrameTarget::Kept(_) => Ok(()),
        }
    }

    async fn closed(&self) {
        match self {
            FrameTarget::Client(sender) => sender.closed().await,
            FrameTarget::Kept(kept) => kept.left().await,
        }
    }
}

/// Sends a client what is kept of a stream and what comes of it.
pub fn hear(mut listener: Listener) -> Response {
    let (sender, response) = channel();
    tokio::spawn(async move {
        loop {
            let sent = match listener.now() {
                Next::Event(bytes) => sender.bytes(bytes).await,
                Next::End | Next::Gone => return,
                Next::Nothing => tokio::select! {
                    () = listener.wait() => Ok(()),
                    () = tokio::time::sleep(QUIET) => sender.comment("the reply is being made").await,
                    () = sender.closed() => return,
                },
            };
            if sent.is_err() {
                return;
            }
        }
    });
    response
}

/// A reply on its way to one client.
pub struct Pump {
    /// How it is written.
    pub writer: ReplyWriter,
    /// What was read of it.
    pub parts: PartReader,
    /// Its request; dropped, it stops.
    pub work: RunningRequest,
    /// Counted as long as it runs.
    pub running: ReplyGuard,
    /// Where it is counted.
    pub metrics: Arc<Metrics>,
}

impl Pump {
    /// Sends what `first` says, and then the events of the request until its end. Gives the place at
    /// which the reply ended in its session.
    pub async fn run(mut self, first: Vec<Event>, target: FrameTarget) -> Option<Behind> {
        if self.send(first, &target).await.is_err() {
            self.metrics.left();
        }
        if let FrameTarget::Kept(kept) = &target {
            kept.end();
        }
        for receipt in self.parts.receipts() {
            self.metrics.count(receipt);
        }
        drop(self.running);
        self.parts.place(self.work.session())
    }

    async fn send(&mut self, first: Vec<Event>, sender: &FrameTarget) -> Result<(), Gone> {
        for frame in self.writer.start() {
            sender.frame(&frame).await?;
        }
        for event in first {
            if self.event(event, sender).await? == SendEnd::End {
                return Ok(());
            }
        }
        let mut said = String::from("the reply is being made");
        let mut due = Instant::now() + QUIET;
        loop {
            let next = tokio::select! {
                next = timeout_at(due, self.work.next()) => next,
                () = sender.closed() => return Err(Gone),
            };
            let went = match next {
                Ok(Some(event)) => {
                    if let Some(more) = waiting(&event) {
                        said = more;
                    }
                    self.event(event, sender).await?
                }
                Ok(None) => return Ok(()),
                Err(_) => {
                    match self.writer.ping() {
                        Some(ping) => sender.frame(&ping).await?,
                        None => sender.comment(&said).await?,
                    }
                    SendEnd::Sent
                }
            };
            match went {
                SendEnd::End => return Ok(()),
                SendEnd::Sent => due = Instant::now() + QUIET,
                // A prompt that is read says how far it is, and most clients are told nothing of it.
                SendEnd::Silent => {}
            }
        }
    }

    /// Sends what an event says.
    async fn event(&mut self, event: Event, sender: &FrameTarget) -> Result<SendEnd, Gone> {
        let ends = event.ends();
        let mut sent = false;
        match self.parts.read(event) {
            ReplyNews::Part(part) => {
                for frame in self.writer.part(&part) {
                    sender.frame(&frame).await?;
                    sent = true;
                }
            }
            ReplyNews::Waiting(text) => {
                sender.comment(&text).await?;
                sent = true;
            }
            ReplyNews::Nothing => {}
        }
        Ok(match (ends, sent) {
            (true, _) => SendEnd::End,
            (false, true) => SendEnd::Sent,
            (false, false) => SendEnd::Silent,
        })
    }
}

/// What became of an event.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum SendEnd {
    /// The client got something.
    Sent,
    /// The client got nothing.
    Silent,
    /// It was the last one.
    End,
}

/// How far a prompt is, for the comments.
fn waiting(event: &Event) -> Option<String> {
    match event {
        Event::Prefill { done, total } => Some(format!("{done} of {total} tokens are read")),
        Event::Text { .. } | Event::Reasoning { .. } => Some("the reply goes on".to_owned()),
        _ => None,
    }
}
