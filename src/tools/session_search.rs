//! `session_search`: finds texts of earlier sessions; the agent has the index.

use std::path::Path;

use serde_json::{Value, json};

use super::{CallContext, Effect, SessionHit, Spec, Subject, Tool, ToolAnswer, shown};

/// Hits that are shown where the call does not say how many.
const DEFAULT: u64 = 8;

/// Searches the past.
pub struct SessionSearch {
    spec: Spec,
}

impl Default for SessionSearch {
    fn default() -> SessionSearch {
        let parameters = json!({
            "type": "object",
            "properties": {
                "query": {"type": "string", "minLength": 1, "maxLength": 500, "description": "words"},
                "limit": {"type": "integer", "minimum": 1, "maximum": 50},
            },
            "required": ["query"],
            "additionalProperties": false,
        });
        SessionSearch {
            spec: Spec::new("session_search", "Search earlier sessions.", parameters),
        }
    }
}

impl Tool for SessionSearch {
    fn spec(&self) -> &Spec {
        &self.spec
    }

    fn effect(&self, _: &Value) -> Effect {
        Effect::Reads
    }

    fn subject(&self, _: &Value, _: &Path) -> Subject {
        Subject::Own
    }

    fn run(&self, arguments: &Value, room: &CallContext<'_>) -> ToolAnswer {
        let query = arguments["query"].as_str().unwrap_or_default();
        let limit = arguments.get("limit").and_then(Value::as_u64);
        let limit = usize::try_from(limit.unwrap_or(DEFAULT)).unwrap_or(usize::MAX);
        match room.host.search_sessions(query, limit) {
            Ok(hits) if hits.is_empty() => ToolAnswer::good("No earlier session has these words."),
            Ok(hits) => ToolAnswer::good(hits.iter().map(line).collect::<Vec<_>>().join("\n")),
            Err(reason) => ToolAnswer::bad(reason),
        }
    }
}

fn line(hit: &SessionHit) -> String {
    let snippet = shown::clean(hit.snippet.as_bytes()).replace('\n', " ");
    format!("{}, {}, {}: {snippet}", hit.session, hit.day, hit.role)
}

#[cfg(test)]
mod tests {
    use super::super::testing::Place;
    use super::*;

    #[test]
    fn hits_are_a_line_each_and_none_is_said() {
        let place = Place::new();
        let search = |arguments: Value| place.call("session_search", arguments);
        assert_eq!(
            search(json!({"query": "nothing"})),
            ToolAnswer::good("No earlier session has these words.")
        );
        let hit = |session: &str, snippet: &str| SessionHit {
            session: session.into(),
            day: "2026-11-20".into(),
            role: "user".into(),
            snippet: snippet.into(),
        };
        place.host.remember(vec![
            hit("work", "the\n\u{1b}[31mKV\u{1b}[0m cache"),
            hit("play", "b"),
        ]);
        assert_eq!(
            search(json!({"query": "cache", "limit": 2})),
            ToolAnswer::good("work, 2026-11-20, user: the KV cache\nplay, 2026-11-20, user: b")
        );
        assert_eq!(
            search(json!({"query": "cache", "limit": 1})),
            ToolAnswer::good("work, 2026-11-20, user: the KV cache")
        );
        place.host.refuse("the index cannot be read");
        assert_eq!(
            search(json!({"query": "cache"})),
            ToolAnswer::bad("the index cannot be read")
        );
    }
}
