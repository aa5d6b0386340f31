//! `todo`: the session's plan, replaced as a whole; the agent keeps it.

use std::path::Path;

use serde_json::{Value, json};

use super::{Answer, Effect, Room, Spec, Subject, TodoItem, TodoState, Tool};

/// Shows or replaces the plan.
pub struct Todo {
    spec: Spec,
}

impl Default for Todo {
    fn default() -> Todo {
        let parameters = json!({
            "type": "object",
            "properties": {
                "steps": {
                    "type": "array",
                    "maxItems": 50,
                    "items": {
                        "type": "object",
                        "properties": {
                            "text": {"type": "string", "minLength": 1, "maxLength": 500},
                            "state": {"enum": ["open", "doing", "done"]},
                        },
                        "required": ["text", "state"],
                    },
                    "description": "the whole plan; left out: show it",
                },
            },
            "additionalProperties": false,
        });
        Todo {
            spec: Spec::new("todo", "Keep a plan for work of several steps.", parameters),
        }
    }
}

impl Tool for Todo {
    fn spec(&self) -> &Spec {
        &self.spec
    }

    fn effect(&self, arguments: &Value) -> Effect {
        match arguments.get("steps") {
            Some(_) => Effect::Writes,
            None => Effect::Reads,
        }
    }

    fn subject(&self, _: &Value, _: &Path) -> Subject {
        Subject::Own
    }

    fn run(&self, arguments: &Value, room: &Room<'_>) -> Answer {
        let Some(steps) = arguments.get("steps").and_then(Value::as_array) else {
            return Answer::good(written(&room.host.todo()));
        };
        let step = |step: &Value| {
            Some(TodoItem {
                text: step.get("text")?.as_str()?.trim().to_owned(),
                state: TodoState::parse(step.get("state")?.as_str()?)?,
            })
        };
        let plan: Vec<TodoItem> = steps.iter().filter_map(step).collect();
        let text = written(&plan);
        match room.host.set_todo(plan) {
            Ok(()) => Answer::good(text),
            Err(reason) => Answer::bad(reason),
        }
    }
}

/// A plan as a list with boxes.
fn written(plan: &[TodoItem]) -> String {
    let line = |step: &TodoItem| {
        let mark = match step.state {
            TodoState::Open => "[ ]",
            TodoState::Doing => "[>]",
            TodoState::Done => "[x]",
        };
        format!("{mark} {}", step.text.replace('\n', " "))
    };
    match plan {
        [] => "The plan is empty.".to_owned(),
        plan => plan.iter().map(line).collect::<Vec<_>>().join("\n"),
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::Place;
    use super::*;

    #[test]
    fn a_plan_is_kept_shown_and_replaced() {
        let place = Place::new();
        let todo = |arguments: Value| place.call("todo", arguments);
        assert_eq!(todo(json!({})), Answer::good("The plan is empty."));
        let first = json!({"steps": [
            {"text": "read", "state": "done"},
            {"text": "think\nhard", "state": "doing"},
            {"text": "write", "state": "open"},
        ]});
        let written = "[x] read\n[>] think hard\n[ ] write";
        assert_eq!(todo(first), Answer::good(written));
        assert_eq!(todo(json!({})), Answer::good(written));
        assert_eq!(
            todo(json!({"steps": []})),
            Answer::good("The plan is empty.")
        );
        assert_eq!(
            todo(json!({"steps": [{"text": "x", "state": "begun"}]})),
            Answer::bad(
                "todo cannot be called like this: \"steps[0].state\" must be one of \"open\", \
                 \"doing\", \"done\", and is the string \"begun\"."
            )
        );
    }

    #[test]
    fn a_plan_that_cannot_be_stored_is_a_sentence() {
        let place = Place::new();
        place.host.refuse("the disk is full");
        let steps = json!({"steps": [{"text": "read", "state": "open"}]});
        assert_eq!(place.call("todo", steps), Answer::bad("the disk is full"));
    }
}
