//! HTTP: paths, who may call, connections.
//!
//! - `access`: token, Host and Origin; `token`: the file; `rate`: how often.
//! - `serve`: connections and their end; `body`: what is read of one; `answer`: what is sent.
//! - `state`: what all requests share; `metrics`: what is counted; `responses`: where each is.
//! - `reply`: the four APIs; `follow`: which session; `work`: a request that runs; `parts`: its
//!   events; `sse`: as a stream; `streams`: those that can be taken up again.
//! - `about`, `tokens`: what a client asks besides; `sessions`: npast's own paths.
//! - `routes`: the table of paths; `document`: what it says to programs (OpenAPI).

mod about;
mod access;
mod answer;
mod body;
mod document;
mod follow;
mod metrics;
mod parts;
mod rate;
mod reply;
mod responses;
mod routes;
mod serve;
mod sessions;
mod sse;
mod state;
mod streams;
mod token;
mod tokens;
mod work;

use std::time::{Duration, Instant};

use axum::Router;
use axum::extract::{Request, State};
use axum::http::{HeaderValue, Method, StatusCode};
use axum::middleware::{self, Next};
use axum::response::Response;
use tower_http::catch_panic::CatchPanicLayer;
use tower_http::cors::{AllowHeaders, AllowOrigin, CorsLayer};
use tower_http::timeout::RequestBodyTimeoutLayer;

pub use access::{Access, Caller};
pub use body::BodyLimits;
pub use serve::{PeerAddress, ServerLimits, serve};
pub use state::{Gateway, GatewaySettings};
pub use token::{AccessToken, TokenError};

use crate::gateway::wire::{Api, RefusalKind, RequestRefusal};

/// Every path of a server.
pub fn router(gateway: Gateway) -> Router {
    gateway.set_document(|| serde_json::json!(document::document()).to_string());
    let mut router = Router::new();
    for route in routes::all() {
        if let Some(bare) = route.path.strip_prefix("/v1").filter(|_| route.bare) {
            router = router.route(bare, route.serves.clone());
        }
        router = router.route(route.path, route.serves);
    }
    let router = router
        .fallback(no_such_path)
        .method_not_allowed_fallback(no_such_method)
        .layer(RequestBodyTimeoutLayer::new(gateway.settings().body.pause))
        .layer(CatchPanicLayer::custom(panicked))
        .layer(middleware::from_fn_with_state(gateway.clone(), admitted));
    let origins = &gateway.settings().access.origins;
    let listed: Vec<HeaderValue> = origins.iter().filter_map(|o| o.parse().ok()).collect();
    let router = match listed.is_empty() {
        true => router,
        false => router.layer(cors(listed)),
    };
    router
        .layer(middleware::from_fn_with_state(gateway.clone(), counted))
        .with_state(gateway)
}

/// What a server that is ending answers.
pub fn ending() -> Router {
    Router::new().fallback(|request: Request| async move {
        let api = Api::of(request.uri().path());
        let refusal = RequestRefusal::new(
            RefusalKind::Busy,
            "this server is ending; ask again in a moment",
        );
        let mut response = answer::refused(api, &refusal);
        answer::set(&mut response, "connection", "close");
        response
    })
}

/// For pages that may call: what a browser asks before it lets them.
fn cors(origins: Vec<HeaderValue>) -> CorsLayer {
    CorsLayer::new()
        .allow_origin(AllowOrigin::list(origins))
        .allow_methods([Method::GET, Method::POST, Method::DELETE])
        .allow_headers(AllowHeaders::mirror_request())
}

/// Lets nobody in who may not call, and refuses a body by its length before it is sent.
async fn admitted(State(gateway): State<Gateway>, request: Request, next: Next) -> Response {
    let api = Api::of(request.uri().path());
    let (mut parts, body) = request.into_parts();
    let caller = match gateway.settings().access.check(&parts) {
        Ok(caller) => caller,
        Err(refusal) => return answer::refused(api, &refusal),
    };
    let length = parts.headers.get("content-length");
    let length = length.and_then(|value| value.to_str().ok()?.parse::<u64>().ok());
    let most = gateway.settings().body.bytes;
    if length.is_some_and(|length| length > most as u64) {
        // A client that waits to be asked for its body is not.
        if !parts.headers.contains_key("expect") {
            tokio::spawn(body::drop_rest(body));
        }
        return answer::refused(api, &body::too_large(most));
    }
    if let (Some(rates), Some(PeerAddress(peer))) =
        (gateway.rates(), parts.extensions.get::<PeerAddress>())
        && !access::asks_nobody(parts.uri.path())
        && let Err(wait) = rates.take(peer.ip(), Instant::now())
    {
        return answer::refused(api, &too_often(wait));
    }
    parts.extensions.insert(caller);
    let response = next.run(Request::from_parts(parts, body)).await;
    match unread(&response) {
        true => {
            let refusal = RequestRefusal::new(
                RefusalKind::Invalid,
                "the address of the request cannot be read",
            );
            answer::refused(api, &refusal)
        }
        false => response,
    }
}

/// Whether axum refused a path or what is behind its `?`, in words of its own.
fn unread(response: &Response) -> bool {
    let kind = response.headers().get("content-type");
    let text = kind.is_some_and(|kind| kind.as_bytes().starts_with(b"text/plain"));
    response.status() == StatusCode::BAD_REQUEST && text
}

/// The refusal of a caller that is to wait.
fn too_often(wait: Duration) -> RequestRefusal {
    let seconds = wait.as_secs() + 1;
    RequestRefusal::new(
        RefusalKind::Often(seconds),
        format!("too many requests came from this address; try again in {seconds} s"),
    )
}

/// Counts, and names the request, as both SDKs look for it.
async fn counted(State(gateway): State<Gateway>, request: Request, next: Next) -> Response {
    let id = format!("req_{}", gateway.id());
    let (method, path) = (request.method().clone(), request.uri().path().to_owned());
    let mut response = next.run(request).await;
    let status = response.status().as_u16();
    gateway.metrics().responded(status);
    tracing::info!(%id, %method, path, status, "request");
    answer::set(&mut response, "x-request-id", &id);
    answer::set(&mut response, "request-id", &id);
    answer::set(&mut response, "x-content-type-options", "nosniff");
    response
}

async fn no_such_path(request: Request) -> Response {
    let api = Api::of(request.uri().path());
    let refusal = RequestRefusal::new(RefusalKind::NotFound, "this server has no such path");
    answer::refused(api, &refusal)
}

async fn no_such_method(request: Request) -> Response {
    let api = Api::of(request.uri().path());
    let refusal = RequestRefusal::new(RefusalKind::Method, "this path has no such method");
    answer::refused(api, &refusal)
}

fn panicked(_: Box<dyn std::any::Any + Send>) -> Response {
    let refusal = RequestRefusal::new(
        RefusalKind::Broken,
        "the request failed in an unexpected way",
    );
    let mut response = answer::refused(Api::Own, &refusal);
    *response.status_mut() = StatusCode::INTERNAL_SERVER_ERROR;
    response
}
