//! `memory`: changes the notes that later sessions get; the agent owns the files.

use std::path::Path;

use serde_json::{Value, json};

use super::{CallContext, Effect, MemoryEdit, MemoryFile, Spec, Subject, Tool, ToolAnswer};

/// Changes the memory.
pub struct MemoryTool {
    spec: Spec,
}

impl Default for MemoryTool {
    fn default() -> MemoryTool {
        let parameters = json!({
            "type": "object",
            "properties": {
                "edits": {
                    "type": "array",
                    "minItems": 1,
                    "maxItems": 20,
                    "items": {
                        "type": "object",
                        "properties": {
                            "file": {"enum": ["memory", "user"]},
                            "find": {"type": "string", "minLength": 1,
                                "description": "part of the one entry to replace or remove"},
                            "text": {"type": "string", "minLength": 1,
                                "description": "the new entry; left out: remove"},
                        },
                        "required": ["file"],
                    },
                },
            },
            "required": ["edits"],
            "additionalProperties": false,
        });
        MemoryTool {
            spec: Spec::new(
                "memory",
                "Remember across sessions: facts about the work (memory) or the user (user). All \
                 edits are made or none.",
                parameters,
            ),
        }
    }
}

impl Tool for MemoryTool {
    fn spec(&self) -> &Spec {
        &self.spec
    }

    fn effect(&self, _: &Value) -> Effect {
        Effect::Writes
    }

    fn subject(&self, _: &Value, _: &Path) -> Subject {
        Subject::Own
    }

    fn run(&self, arguments: &Value, room: &CallContext<'_>) -> ToolAnswer {
        let edits = arguments["edits"].as_array().map_or(&[][..], Vec::as_slice);
        let edits: Result<Vec<MemoryEdit>, String> = edits.iter().enumerate().map(edit).collect();
        match edits.and_then(|edits| room.host.memory(&edits)) {
            Ok(text) => ToolAnswer::good(text),
            Err(reason) => ToolAnswer::bad(reason),
        }
    }
}

fn edit((at, edit): (usize, &Value)) -> Result<MemoryEdit, String> {
    let text = |name: &str| edit.get(name).and_then(Value::as_str).map(str::to_owned);
    let file = match text("file").as_deref() {
        Some("user") => MemoryFile::User,
        _ => MemoryFile::Memory,
    };
    match (text("find"), text("text")) {
        (None, Some(text)) => Ok(MemoryEdit::Add { file, text }),
        (Some(find), Some(text)) => Ok(MemoryEdit::Replace { file, find, text }),
        (Some(find), None) => Ok(MemoryEdit::Remove { file, find }),
        (None, None) => Err(format!(
            "edits[{at}] has neither find nor text: text alone adds, find alone removes, both \
             replace. Nothing was changed."
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::Place;
    use super::*;

    #[test]
    fn text_adds_find_removes_and_both_replace() {
        let place = Place::new();
        let edits = json!({"edits": [
            {"file": "memory", "text": "tests: scripts/test"},
            {"file": "user", "find": "tabs", "text": "likes spaces"},
            {"file": "memory", "find": "old"},
        ]});
        assert_eq!(place.call("memory", edits), ToolAnswer::good("kept"));
        assert_eq!(
            place.host.edits(),
            [
                MemoryEdit::Add {
                    file: MemoryFile::Memory,
                    text: "tests: scripts/test".into()
                },
                MemoryEdit::Replace {
                    file: MemoryFile::User,
                    find: "tabs".into(),
                    text: "likes spaces".into()
                },
                MemoryEdit::Remove {
                    file: MemoryFile::Memory,
                    find: "old".into()
                },
            ]
        );
    }

    #[test]
    fn an_edit_that_says_nothing_changes_nothing() {
        let place = Place::new();
        let edits = json!({"edits": [{"file": "user", "text": "x"}, {"file": "memory"}]});
        assert_eq!(
            place.call("memory", edits),
            ToolAnswer::bad(
                "edits[1] has neither find nor text: text alone adds, find alone removes, both \
                 replace. Nothing was changed."
            )
        );
        assert_eq!(place.host.edits(), []);
        place.host.refuse("there is no entry with \"old\"");
        let edits = json!({"edits": [{"file": "memory", "find": "old"}]});
        assert_eq!(
            place.call("memory", edits),
            ToolAnswer::bad("there is no entry with \"old\"")
        );
    }
}
