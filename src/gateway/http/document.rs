//! `/openapi.json`: the document of the API (OpenAPI 3.1), made of the table of paths. What a body may hold is
//! said as far as it is read; unknown fields are tolerated everywhere.

use serde_json::{Value, json};
use utoipa::openapi::path::PathItem;
use utoipa::openapi::security::{Http, HttpAuthScheme, SecurityRequirement, SecurityScheme};
use utoipa::openapi::{
    ComponentsBuilder, InfoBuilder, OpenApi, OpenApiBuilder, PathsBuilder, RefOr, Schema,
};

use super::routes;

/// The document.
pub fn document() -> OpenApi {
    let mut paths = PathsBuilder::new();
    for route in routes::all() {
        let mut item = PathItem::default();
        for (method, operation) in route.operations {
            item.merge_operations(PathItem::new(method, operation.build()));
        }
        paths = paths.path(route.path, item);
    }
    let components = ComponentsBuilder::new()
        .schemas_from_iter(schemas())
        .security_scheme(
            "token",
            SecurityScheme::Http(Http::new(HttpAuthScheme::Bearer)),
        )
        .build();
    let info = InfoBuilder::new()
        .title("npast")
        .version(env!("CARGO_PKG_VERSION"))
        .description(Some(
            "The gateway of npast: one model, one slot, no token evaluated twice. Paths that begin with \
             /v1 and belong to the APIs of OpenAI and Anthropic are served without /v1 as well.",
        ))
        .build();
    let token: [&str; 0] = [];
    OpenApiBuilder::new()
        .info(info)
        .paths(paths.build())
        .components(Some(components))
        .security(Some([
            SecurityRequirement::new("token", token),
            SecurityRequirement::default(),
        ]))
        .build()
}

/// What bodies hold, by the names that the table has.
fn schemas() -> Vec<(&'static str, RefOr<Schema>)> {
    let named = |name: &str| json!({ "$ref": format!("#/components/schemas/{name}") });
    let text = || json!({ "type": "string" });
    let one = |value: &str| json!({ "type": "string", "enum": [value] });
    let either = || json!({ "anyOf": [text(), json!({ "type": "object" })] });
    let flag = || json!({ "type": ["boolean", "null"] });
    let whole = |low: i64, high: i64| json!({ "type": ["integer", "null"], "minimum": low, "maximum": high });
    let part = |low: f64, high: f64| json!({ "type": ["number", "null"], "minimum": low, "maximum": high });
    let most = || whole(1, i64::from(u32::MAX));
    let list = |items: Value| json!({ "type": "array", "items": items });
    let stop = || json!({ "anyOf": [text(), list(text())] });
    let content = || json!({ "anyOf": [text(), list(json!({ "type": "object" }))] });
    let sampled = |mut fields: Value| {
        fields["model"] = text();
        fields["stream"] = flag();
        fields["temperature"] = part(0.0, 100.0);
        fields["top_p"] = part(0.0, 1.0);
        fields
    };
    let object = |required: &[&str], fields: Value| json!({ "type": "object", "required": required, "properties": fields });
    let message = object(
        &["role", "content"],
        json!({
            "role": { "type": "string", "enum": ["system", "developer", "user", "assistant", "tool"] },
            "content": content(),
        }),
    );
    let turn = object(
        &["role", "content"],
        json!({ "role": { "type": "string", "enum": ["user", "assistant"] }, "content": content() }),
    );
    let tools = || list(json!({ "type": "object" }));
    let error = object(
        &["message", "type"],
        json!({ "message": text(), "type": text(), "param": { "type": ["string", "null"] } }),
    );
    let all = [
        ("Text", text()),
        (
            "Events",
            json!({
                "type": "object",
                "description": "One server-sent event. Its data is JSON, or the word [DONE].",
                "properties": { "event": text(), "data": text() },
            }),
        ),
        ("Object", json!({ "type": "object" })),
        (
            "List",
            object(
                &["object", "data"],
                json!({ "object": text(), "data": list(json!({ "type": "object" })) }),
            ),
        ),
        ("Error", object(&["error"], json!({ "error": error }))),
        (
            "MessagesError",
            object(
                &["type", "error"],
                json!({ "type": one("error"), "error": error }),
            ),
        ),
        ("ChatMessage", message),
        ("Turn", turn),
        (
            "ChatRequest",
            object(
                &["messages"],
                sampled(json!({
                    "messages": list(named("ChatMessage")),
                    "max_completion_tokens": most(),
                    "max_tokens": most(),
                    "min_p": part(0.0, 1.0),
                    "top_k": whole(-1, 1 << 24),
                    "seed": whole(i64::MIN, i64::MAX),
                    "stop": stop(),
                    "tools": tools(),
                    "tool_choice": either(),
                    "parallel_tool_calls": flag(),
                    "response_format": { "type": "object" },
                    "logprobs": flag(),
                    "top_logprobs": whole(0, 20),
                    "stream_options": { "type": "object", "properties": { "include_usage": flag() } },
                    "return_progress": flag(),
                    "prompt_cache_key": text(),
                })),
            ),
        ),
        (
            "Chat",
            object(
                &["id", "object", "choices", "usage"],
                json!({
                    "id": text(), "object": one("chat.completion"),
                    "choices": list(json!({ "type": "object" })), "usage": { "type": "object" },
                }),
            ),
        ),
        (
            "CompletionRequest",
            object(
                &["prompt"],
                sampled(json!({
                    "prompt": { "anyOf": [text(), list(json!({ "type": "integer", "minimum": 0 })), list(text())] },
                    "max_tokens": most(),
                    "stop": stop(),
                    "echo": flag(),
                    "logprobs": whole(0, 20),
                    "return_tokens": flag(),
                    "seed": whole(i64::MIN, i64::MAX),
                })),
            ),
        ),
        (
            "Completion",
            object(
                &["id", "object", "choices", "usage"],
                json!({
                    "id": text(), "object": one("text_completion"),
                    "choices": list(json!({ "type": "object" })), "usage": { "type": "object" },
                }),
            ),
        ),
        (
            "ResponseRequest",
            object(
                &["input"],
                sampled(json!({
                    "input": { "anyOf": [text(), list(json!({ "type": "object" }))] },
                    "instructions": { "type": ["string", "null"] },
                    "previous_response_id": { "type": ["string", "null"] },
                    "max_output_tokens": most(),
                    "tools": tools(),
                    "tool_choice": either(),
                    "parallel_tool_calls": flag(),
                    "text": { "type": "object" },
                    "store": flag(),
                })),
            ),
        ),
        (
            "Response",
            object(
                &["id", "object", "status", "output"],
                json!({
                    "id": text(), "object": one("response"), "status": text(),
                    "output": list(json!({ "type": "object" })),
                }),
            ),
        ),
        (
            "MessagesRequest",
            object(
                &["messages", "max_tokens"],
                sampled(json!({
                    "messages": list(named("Turn")),
                    "max_tokens": { "type": "integer", "minimum": 1 },
                    "system": content(),
                    "stop_sequences": list(text()),
                    "tools": tools(),
                    "tool_choice": { "type": "object" },
                    "thinking": { "type": "object" },
                    "output_format": { "type": "object" },
                })),
            ),
        ),
        (
            "Message",
            object(
                &["id", "type", "role", "content", "usage"],
                json!({
                    "id": text(), "type": one("message"), "role": one("assistant"),
                    "content": list(json!({ "type": "object" })), "usage": { "type": "object" },
                }),
            ),
        ),
        (
            "CountRequest",
            object(
                &["messages"],
                json!({
                    "messages": list(named("Turn")), "system": content(), "tools": tools(),
                }),
            ),
        ),
        (
            "Count",
            object(
                &["input_tokens"],
                json!({ "input_tokens": { "type": "integer" } }),
            ),
        ),
        (
            "Tokenize",
            object(
                &["content"],
                json!({
                    "content": text(), "add_special": flag(), "parse_special": flag(), "with_pieces": flag(),
                }),
            ),
        ),
        (
            "Detokenize",
            object(
                &["tokens"],
                json!({ "tokens": list(json!({ "type": "integer", "minimum": 0 })) }),
            ),
        ),
        (
            "NewSession",
            object(
                &["name"],
                json!({
                    "name": text(),
                    "agent": { "type": "boolean" },
                    "folder": { "type": ["string", "null"] },
                    "system": { "type": ["string", "null"] },
                    "tools": tools(),
                    "seed": { "type": ["integer", "null"], "minimum": 0 },
                }),
            ),
        ),
        (
            "SessionRequest",
            object(
                &["request"],
                json!({
                    "request": { "type": "string", "enum": [
                        "say", "follow", "retry", "edit", "undo", "redo", "fork", "aside", "compress", "prune",
                        "info", "steer", "interrupt", "answer",
                    ] },
                    "input": either(),
                    "stream": { "type": "boolean" },
                }),
            ),
        ),
    ];
    let read = |(name, value): (&'static str, Value)| match serde_json::from_value(value) {
        Ok(schema) => (name, schema),
        Err(error) => unreachable!("{name} is written above: {error}"),
    };
    all.into_iter().map(read).collect()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    /// All values of the fields `$ref`, wherever they stand.
    fn references(value: &Value, all: &mut BTreeSet<String>) {
        match value {
            Value::Object(fields) => {
                for (name, value) in fields {
                    match (name.as_str(), value) {
                        ("$ref", Value::String(to)) => drop(all.insert(to.clone())),
                        _ => references(value, all),
                    }
                }
            }
            Value::Array(list) => list.iter().for_each(|value| references(value, all)),
            _ => {}
        }
    }

    #[test]
    fn the_document_has_the_paths_of_the_router_and_names_nothing_that_it_has_not() {
        let document = json!(document());
        assert!(
            document["openapi"]
                .as_str()
                .is_some_and(|v| v.starts_with("3.1"))
        );
        let paths = document["paths"].as_object().expect("paths");
        let documented: BTreeSet<&str> = paths.keys().map(String::as_str).collect();
        let served: BTreeSet<&str> = routes::all().iter().map(|route| route.path).collect();
        assert_eq!(documented, served);
        let methods: usize = paths
            .values()
            .map(|item| item.as_object().expect("methods").len())
            .sum();
        assert_eq!(
            methods,
            routes::all()
                .iter()
                .map(|r| r.operations.len())
                .sum::<usize>()
        );
        let mut named = BTreeSet::new();
        references(&document, &mut named);
        for to in named {
            let at = to.strip_prefix('#').expect("a place in this document");
            assert!(document.pointer(at).is_some(), "{to}");
        }
        // What was read is what was written.
        let again: OpenApi = serde_json::from_value(document.clone()).expect("a document");
        assert_eq!(json!(again), document);
    }
}
