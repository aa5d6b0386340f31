//! Tokens: `/tokenize`, `/detokenize`, and the count of a message before it is sent.

use axum::extract::{Request, State};
use axum::response::Response;
use serde_json::{Value, json};

use super::state::Gateway;
use super::{answer, body};
use crate::gateway::wire::{Api, RefusalKind, RequestRefusal, anthropic};
use crate::ledger::Token;

/// `POST /tokenize`: `content`, `add_special`, `parse_special`, `with_pieces`.
pub async fn tokenize(State(gateway): State<Gateway>, request: Request) -> Response {
    answered(Api::Own, try_tokenize(gateway, request).await)
}

/// `POST /detokenize`: `tokens`.
pub async fn detokenize(State(gateway): State<Gateway>, request: Request) -> Response {
    answered(Api::Own, try_detokenize(gateway, request).await)
}

/// `POST /v1/messages/count_tokens`.
pub async fn count(State(gateway): State<Gateway>, request: Request) -> Response {
    answered(Api::Messages, try_count(gateway, request).await)
}

fn answered(api: Api, value: Result<Value, RequestRefusal>) -> Response {
    match value {
        Ok(value) => answer::ok(&value),
        Err(refusal) => answer::refused(api, &refusal),
    }
}

/// Work that takes the CPU for a while.
async fn apart<T: Send + 'static>(
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

async fn try_tokenize(gateway: Gateway, request: Request) -> Result<Value, RequestRefusal> {
    let body = body::json(request.into_body(), gateway.settings().body).await?;
    let flag = |name: &str, default: bool| body[name].as_bool().unwrap_or(default);
    let (start, special) = (flag("add_special", false), flag("parse_special", true));
    let pieces = flag("with_pieces", false);
    let Some(text) = body["content"].as_str().map(str::to_owned) else {
        return Err(RequestRefusal::field("content", "content must be a string"));
    };
    apart(move || {
        let vocab = gateway.service().engine().vocab();
        let mut tokens = vocab
            .tokenize(&text, special)
            .map_err(|e| RequestRefusal::field("content", e.to_string()))?;
        if start && let Some(bos) = vocab.bos().filter(|_| vocab.adds_bos()) {
            tokens.insert(0, bos);
        }
        let tokens: Vec<Value> = tokens
            .into_iter()
            .map(|token| match pieces {
                false => token.0.into(),
                true => {
                    let bytes = vocab.piece(token, true);
                    let piece = match String::from_utf8(bytes) {
                        Ok(text) => Value::from(text),
                        // A part of a character: its bytes, as llama.cpp's server has it.
                        Err(error) => error.into_bytes().into(),
                    };
                    json!({ "id": token.0, "piece": piece })
                }
            })
            .collect();
        Ok(json!({ "tokens": tokens }))
    })
    .await
}

async fn try_detokenize(gateway: Gateway, request: Request) -> Result<Value, RequestRefusal> {
    let body = body::json(request.into_body(), gateway.settings().body).await?;
    let vocab = gateway.service().engine().vocab();
    let ids = body["tokens"].as_array();
    let tokens: Option<Vec<Token>> = ids.and_then(|ids| {
        let token = |id: &Value| {
            let id = i32::try_from(id.as_i64()?).ok()?;
            Some(Token(id)).filter(|token| vocab.has(*token))
        };
        ids.iter().map(token).collect()
    });
    let Some(tokens) = tokens else {
        return Err(RequestRefusal::field(
            "tokens",
            format!("tokens must be a list of token ids below {}", vocab.size()),
        ));
    };
    let text = vocab.bytes(&tokens, true);
    Ok(json!({ "content": String::from_utf8_lossy(&text) }))
}

async fn try_count(gateway: Gateway, request: Request) -> Result<Value, RequestRefusal> {
    let body = body::json(request.into_body(), gateway.settings().body).await?;
    let ask = anthropic::read_to_count(&body)?;
    apart(move || {
        let engine = gateway.service().engine();
        let tokens = engine.count(ask.system, ask.tools, &ask.messages)?;
        Ok(json!({ "input_tokens": tokens }))
    })
    .await
}
