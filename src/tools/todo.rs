//! `todo`: the session's plan, replaced as a whole. It is stored only in the conversation: the
//! last call that set it is the plan, so an undo takes it back and a fork copies it.

use std::path::Path;

use serde_json::{Value, json};

use super::{CallContext, Effect, Spec, Subject, TodoItem, TodoState, Tool, ToolAnswer};

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

    fn run(&self, arguments: &Value, room: &CallContext<'_>) -> ToolAnswer {
        let Some(steps) = arguments.get("steps").and_then(Value::as_array) else {
            return ToolAnswer::good(plan_text(&room.host.todo()));
        };
        ToolAnswer::good(plan_text(&plan_of(steps)))
    }
}

/// The plan that a call of `todo` set; `None` where it only showed it, or its result does not begin
/// with that plan: then it did not run.
pub fn plan_set_by(arguments: &Value, result: &str) -> Option<Vec<TodoItem>> {
    let plan = plan_of(arguments.get("steps")?.as_array()?);
    let begins = plan_text(&plan).lines().next()?.to_owned();
    result.starts_with(&begins).then_some(plan)
}

/// The plan that the steps of a call describe; a step that is none is left out.
pub fn plan_of(steps: &[Value]) -> Vec<TodoItem> {
    let step = |step: &Value| {
        Some(TodoItem {
            text: step.get("text")?.as_str()?.trim().to_owned(),
            state: TodoState::parse(step.get("state")?.as_str()?)?,
        })
    };
    steps.iter().filter_map(step).collect()
}

/// The inverse of [`plan_of`].
pub fn plan_value(plan: &[TodoItem]) -> Value {
    let step = |step: &TodoItem| json!({"text": step.text, "state": step.state.as_str()});
    plan.iter().map(step).collect()
}

/// A plan as a list with boxes.
pub fn plan_text(plan: &[TodoItem]) -> String {
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
    fn a_plan_is_shown_as_it_was_set() {
        let place = Place::new();
        let todo = |arguments: Value| place.call("todo", arguments);
        assert_eq!(todo(json!({})), ToolAnswer::good("The plan is empty."));
        let first = json!({"steps": [
            {"text": "read", "state": "done"},
            {"text": "think\nhard", "state": "doing"},
            {"text": "write", "state": "open"},
        ]});
        let written = "[x] read\n[>] think hard\n[ ] write";
        assert_eq!(todo(first.clone()), ToolAnswer::good(written));
        let plan = plan_set_by(&first, written).unwrap();
        place.host.plan(plan);
        assert_eq!(todo(json!({})), ToolAnswer::good(written));
        assert_eq!(
            todo(json!({"steps": []})),
            ToolAnswer::good("The plan is empty.")
        );
        assert_eq!(
            todo(json!({"steps": [{"text": "x", "state": "begun"}]})),
            ToolAnswer::bad(
                "todo cannot be called like this: \"steps[0].state\" must be one of \"open\", \
                 \"doing\", \"done\", and is the string \"begun\"."
            )
        );
    }

    #[test]
    fn only_a_call_that_ran_sets_a_plan() {
        let steps = json!({"steps": [{"text": "read", "state": "open"}]});
        let plan = vec![TodoItem {
            text: "read".into(),
            state: TodoState::Open,
        }];
        let warned = "[ ] read\n\n[npast: this call gave this result 3 times in this turn.]";
        let table = [
            (&steps, "[ ] read", Some(plan.clone())),
            (&steps, warned, Some(plan)),
            (
                &steps,
                "[npast: not run. The user interrupted the turn.]",
                None,
            ),
            (&json!({}), "[ ] read", None),
            (
                &json!({"steps": []}),
                "The plan is empty.",
                Some(Vec::new()),
            ),
            (&json!({"steps": []}), "[ ] read", None),
        ];
        for (arguments, result, want) in table {
            assert_eq!(plan_set_by(arguments, result), want, "{arguments} {result}");
        }
    }
}
