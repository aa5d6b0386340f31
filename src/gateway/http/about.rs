//! What a server says of itself: `/health`, `/v1/models`, `/props`, `/metrics`, `/slots` is none.

use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::Response;
use serde_json::{Value, json};

use super::answer;
use super::metrics::idle;
use super::state::Gateway;
use crate::gateway::wire::{Api, RefusalKind, RequestRefusal};

/// `GET /health`.
pub async fn health() -> Response {
    answer::ok(&json!({ "status": "ok" }))
}

/// `GET /v1/models`, in the shapes of OpenAI, llama.cpp and Anthropic at once: the fields of one are
/// unknown fields to the others.
pub async fn models(State(gateway): State<Gateway>) -> Response {
    let model = model(&gateway);
    let id = model["id"].clone();
    answer::ok(&json!({
        "object": "list",
        "data": [model],
        "has_more": false,
        "first_id": id,
        "last_id": id,
    }))
}

/// `GET /v1/models/{name}`.
pub async fn one_model(State(gateway): State<Gateway>, Path(name): Path<String>) -> Response {
    let model = model(&gateway);
    if model["id"] == name {
        return answer::ok(&model);
    }
    let refusal = RequestRefusal::new(
        RefusalKind::NotFound,
        format!("this server has one model, {}", gateway.model()),
    );
    answer::refused(Api::Own, &refusal)
}

fn model(gateway: &Gateway) -> Value {
    let facts = gateway.service().facts();
    let name = gateway.model();
    json!({
        "id": name,
        "object": "model",
        "type": "model",
        "display_name": name,
        "created": 0,
        "created_at": "1970-01-01T00:00:00Z",
        "owned_by": "npast",
        "context_length": facts.limit,
        "max_model_len": facts.limit,
        "meta": {
            "n_ctx": facts.limit,
            "n_ctx_train": facts.limit,
            "desc": facts.description,
            "vocab": facts.vocab,
            "class": facts.class,
        },
    })
}

/// `GET /props`, as clients of llama.cpp's server read it.
pub async fn props(State(gateway): State<Gateway>) -> Response {
    let facts = gateway.service().facts();
    let sampling = &gateway.settings().turn.sampling;
    answer::ok(&json!({
        "default_generation_settings": {
            "n_ctx": facts.limit,
            "params": {
                "temperature": sampling.temperature,
                "top_k": sampling.top_k,
                "top_p": sampling.top_p,
                "min_p": sampling.min_p,
                "repeat_penalty": sampling.repeat_penalty,
                "repeat_last_n": sampling.penalty_window,
                "max_tokens": gateway.settings().turn.max_tokens,
                "stop": gateway.settings().turn.stop,
            },
        },
        "total_slots": 1,
        "model_alias": gateway.model(),
        "model_path": facts.model,
        "modalities": { "vision": false, "audio": false },
        "build_info": concat!("npast ", env!("CARGO_PKG_VERSION")),
    }))
}

/// `GET /openapi.json`.
pub async fn document(State(gateway): State<Gateway>) -> Response {
    answer::typed(StatusCode::OK, "application/json", gateway.document())
}

/// `GET /metrics`.
pub async fn metrics(State(gateway): State<Gateway>) -> Response {
    let service = gateway.service();
    let text = gateway
        .metrics()
        .text(service.waiting(), service.sessions().len());
    let text = text + &idle(&service.idle_sums());
    answer::typed(StatusCode::OK, "text/plain; version=0.0.4", text)
}
