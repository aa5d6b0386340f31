//! HTTP: paths, who may call, connections.
//!
//! - `access`: token, Host and Origin; `token`: the file.
//! - `serve`: connections and their end; `body`: what is read of one; `answer`: what is sent.
//! - `state`: what all requests share; `metrics`: what is counted.
//! - `reply`: the four APIs; `follow`: which session; `work`: a request that runs; `parts`: its
//!   events; `sse`: as a stream.
//! - `about`, `tokens`: what a client asks besides; `sessions`: npast's own paths.

mod about;
mod access;
mod answer;
mod body;
mod follow;
mod metrics;
mod parts;
mod reply;
mod serve;
mod sessions;
mod sse;
mod state;
mod token;
mod tokens;
mod work;

use std::time::Duration;

use axum::Router;
use axum::extract::{Request, State};
use axum::http::{HeaderValue, Method, StatusCode};
use axum::middleware::{self, Next};
use axum::response::Response;
use axum::routing::{get, post};
use tower_http::catch_panic::CatchPanicLayer;
use tower_http::cors::{AllowHeaders, AllowOrigin, CorsLayer};
use tower_http::timeout::RequestBodyTimeoutLayer;

pub use access::{Access, Caller};
pub use serve::{ServerLimits, serve};
pub use state::{Gateway, GatewaySettings};
pub use token::{AccessToken, TokenError};

use crate::gateway::wire::{Api, RefusalKind, RequestRefusal};

/// Between two pieces of a body.
const BODY_PAUSE: Duration = Duration::from_secs(15);

/// Every path of a server.
pub fn router(gateway: Gateway) -> Router {
    let mut router = Router::new()
        .route("/", get(reply::nothing))
        .route("/health", get(about::health))
        .route("/v1/health", get(about::health))
        .route("/props", get(about::props))
        .route("/metrics", get(about::metrics))
        .route("/v1/sessions", get(sessions::list).post(sessions::create))
        .route("/v1/sessions/search", get(sessions::search))
        .route("/v1/sessions/{name}", get(sessions::show))
        .route("/v1/sessions/{name}/why", get(sessions::why))
        .route("/v1/sessions/{name}/requests", post(sessions::ask))
        .route("/v1/sessions/{name}/events", get(sessions::watch));
    // Clients differ in whether `/v1` is part of the address that they are given.
    for at in ["", "/v1"] {
        router = router
            .route(&format!("{at}/models"), get(about::models))
            .route(&format!("{at}/models/{{name}}"), get(about::one_model))
            .route(&format!("{at}/tokenize"), post(tokens::tokenize))
            .route(&format!("{at}/detokenize"), post(tokens::detokenize))
            .route(&format!("{at}/chat/completions"), post(reply::chat))
            .route(&format!("{at}/responses"), post(reply::responses))
            .route(&format!("{at}/messages"), post(reply::messages))
            .route(&format!("{at}/messages/count_tokens"), post(tokens::count))
            .route(&format!("{at}/completions"), post(reply::completions));
    }
    let router = router
        .fallback(no_such_path)
        .method_not_allowed_fallback(no_such_method)
        .layer(RequestBodyTimeoutLayer::new(BODY_PAUSE))
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

/// For pages that may call: what a browser asks before it lets them.
fn cors(origins: Vec<HeaderValue>) -> CorsLayer {
    CorsLayer::new()
        .allow_origin(AllowOrigin::list(origins))
        .allow_methods([Method::GET, Method::POST])
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
    let most = gateway.settings().body;
    if length.is_some_and(|length| length > most as u64) {
        return answer::refused(api, &body::too_large(most));
    }
    parts.extensions.insert(caller);
    next.run(Request::from_parts(parts, body)).await
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
