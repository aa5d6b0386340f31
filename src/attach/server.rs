//! The gateway's side: clients are let in, and at the end what runs may come to its end.

use std::collections::BTreeMap;
use std::os::unix::net::UnixListener;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use serde_json::Value;
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;

use super::connection;
use super::frame::Hello;
use crate::chat::ReplyScript;
use crate::service::Service;

/// Clients that are connected at the same time; others wait to be let in.
const CLIENTS: usize = 256;
/// A pause after a client could not be let in: the process may be out of files.
const PAUSE: Duration = Duration::from_millis(50);
/// For replies that were stopped, to be stored and shown.
const LAST: Duration = Duration::from_secs(5);

/// What all clients share.
pub struct Clients {
    pub(super) service: Service,
    hello: Mutex<Hello>,
    /// Prepared replies of clients that bring none.
    pub(super) script: Option<ReplyScript>,
    /// Requests that run or wait.
    pub(super) running: watch::Sender<usize>,
    /// How far the end is.
    pub(super) phase: watch::Sender<Phase>,
}

impl Clients {
    /// What a client that comes now is told.
    pub(super) fn hello(&self) -> Hello {
        self.known().clone()
    }

    /// The settings are these from now on.
    pub fn set(&self, settings: BTreeMap<String, Value>) {
        self.known().settings = settings;
    }

    // What is held is whole between two statements, whoever panicked.
    fn known(&self) -> std::sync::MutexGuard<'_, Hello> {
        self.hello.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// How far a server's end is.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Phase {
    /// It is not near.
    Serving,
    /// No request is taken any more.
    Ending,
    /// What still runs is stopped.
    Halt,
    /// Nothing runs; clients get what waits for them, and are let go.
    Bye,
}

impl Clients {
    /// On a service.
    pub fn new(service: Service, hello: Hello, script: Option<ReplyScript>) -> Clients {
        Clients {
            service,
            hello: Mutex::new(hello),
            script,
            running: watch::Sender::new(0),
            phase: watch::Sender::new(Phase::Serving),
        }
    }
}

/// Lets clients in until `stop` is done. Requests that run then have `drain` to come to their end, and
/// are stopped after it; what was decoded stays.
///
/// # Errors
/// When the socket cannot be used.
pub async fn serve(
    listener: &UnixListener,
    clients: Arc<Clients>,
    drain: Duration,
    stop: impl Future<Output = ()>,
) -> std::io::Result<()> {
    let listener = listener.try_clone()?;
    listener.set_nonblocking(true)?;
    let listener = tokio::net::UnixListener::from_std(listener)?;
    let places = Arc::new(Semaphore::new(CLIENTS));
    let mut connections = JoinSet::new();
    let mut stop = std::pin::pin!(stop);
    loop {
        let place = tokio::select! {
            place = places.clone().acquire_owned() => place,
            () = &mut stop => break,
        };
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = &mut stop => break,
        };
        let stream = match accepted {
            Ok((stream, _)) => stream,
            Err(error) => {
                tracing::warn!(%error, "a command line was not let in");
                tokio::time::sleep(PAUSE).await;
                continue;
            }
        };
        let clients = clients.clone();
        connections.spawn(async move {
            if let Err(error) = connection::serve(stream, clients).await {
                tracing::debug!(%error, "a command line's connection ended early");
            }
            drop(place);
        });
        while connections.try_join_next().is_some() {}
    }
    drop(listener);
    clients.phase.send_replace(Phase::Ending);
    let mut running = clients.running.subscribe();
    let idle = |running: &usize| *running == 0;
    if tokio::time::timeout(drain, running.wait_for(idle))
        .await
        .is_err()
    {
        tracing::info!("replies that still ran were stopped");
        clients.phase.send_replace(Phase::Halt);
        let _ = tokio::time::timeout(LAST, running.wait_for(idle)).await;
    }
    clients.phase.send_replace(Phase::Bye);
    let left = async { while connections.join_next().await.is_some() {} };
    let _ = tokio::time::timeout(LAST, left).await;
    connections.shutdown().await;
    Ok(())
}
