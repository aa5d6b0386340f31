//! Connections: accepted up to a number, each with a time for its headers, and ended gracefully. The
//! router above knows nothing of them.

use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::{Service, service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulShutdown;
use hyper_util::service::TowerToHyperService;
use tokio::net::TcpListener;
use tokio::sync::{Semaphore, watch};
use tower_http::add_extension::AddExtension;

/// Who a connection is from: an extension of each of its requests.
#[derive(Clone, Copy, Debug)]
pub struct PeerAddress(pub SocketAddr);

/// How long a server waits, and how many it serves.
#[derive(Clone, Copy, Debug)]
pub struct ServerLimits {
    /// Connections that are open at the same time; others wait to be accepted.
    pub connections: usize,
    /// For a request's headers, also between two requests of a connection.
    pub headers: Duration,
    /// For requests that run when the server is told to stop.
    pub drain: Duration,
}

impl Default for ServerLimits {
    fn default() -> ServerLimits {
        ServerLimits {
            connections: 512,
            headers: Duration::from_secs(30),
            drain: Duration::from_secs(15),
        }
    }
}

/// Most bytes of a request's line and headers.
const MOST_HEADER_BYTES: usize = 64 << 10;
/// A pause after a connection could not be accepted: the process may be out of files.
const PAUSE: Duration = Duration::from_millis(50);

/// Serves until `stop` is done, each request with the router of its moment. Then lets what runs come to
/// its end for a while, `others` too, and answers new requests with `ending`. Requests that run longer
/// are dropped, which cancels their work.
pub async fn serve(
    listener: TcpListener,
    router: watch::Receiver<Router>,
    ending: Router,
    limits: ServerLimits,
    stop: impl Future<Output = ()>,
    others: impl Future<Output = ()>,
) {
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new())
        .header_read_timeout(limits.headers)
        .max_buf_size(MOST_HEADER_BYTES);
    let places = Arc::new(Semaphore::new(limits.connections));
    let graceful = GracefulShutdown::new();
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
        let (stream, peer) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                tracing::warn!(%error, "a connection was not accepted");
                tokio::time::sleep(PAUSE).await;
                continue;
            }
        };
        // Each token is a packet of its own.
        let _ = stream.set_nodelay(true);
        let router = router.clone();
        let service = service_fn(move |request: hyper::Request<Incoming>| {
            let router = router.borrow().clone();
            TowerToHyperService::new(AddExtension::new(router, PeerAddress(peer))).call(request)
        });
        let connection = http.serve_connection(TokioIo::new(stream), service);
        let connection = graceful.watch(connection);
        tokio::spawn(async move {
            if let Err(error) = connection.await {
                tracing::debug!(%error, "a connection ended early");
            }
            drop(place);
        });
    }
    let running = async { tokio::join!(graceful.shutdown(), others) };
    let mut ended = std::pin::pin!(tokio::time::timeout(limits.drain, running));
    loop {
        let accepted = tokio::select! {
            ended = &mut ended => {
                if ended.is_err() {
                    tracing::info!("requests that still ran were stopped");
                }
                return;
            }
            accepted = listener.accept() => accepted,
        };
        let (Ok((stream, _)), Ok(place)) = (accepted, places.clone().try_acquire_owned()) else {
            tokio::time::sleep(PAUSE).await;
            continue;
        };
        let service = TowerToHyperService::new(ending.clone());
        let connection = http.serve_connection(TokioIo::new(stream), service);
        tokio::spawn(async move {
            let _ = connection.await;
            drop(place);
        });
    }
}
