//! The gateway's side: clients are let in, and at the end what runs may come to its end.

use std::os::unix::net::UnixListener;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use super::clients::{Clients, Phase};
use super::connection;

/// Clients that are connected at the same time; others wait to be let in.
const CLIENTS: usize = 256;
/// A pause after a client could not be let in: the process may be out of files.
const PAUSE: Duration = Duration::from_millis(50);
/// For replies that were stopped, to be stored and shown.
const LAST: Duration = Duration::from_secs(5);

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
