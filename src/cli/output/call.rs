//! A call in words that a person reads: `change src/calc.py`, `$ cargo test`, `remembers: …`. Pure.

use serde_json::Value;

use crate::harmless;

/// What a call does, on one line; not cut.
pub fn words(name: &str, arguments: &Value) -> String {
    let text = |key: &str| arguments.get(key).and_then(Value::as_str);
    let about = |key: &str| about(name, text(key));
    let words = match name {
        "terminal" => match (text("action"), arguments.get("job")) {
            (Some("poll"), Some(job)) => format!("look at job {job}"),
            (Some("kill"), Some(job)) => format!("end job {job}"),
            _ => match arguments.get("background") == Some(&Value::Bool(true)) {
                true => format!("{} (in the background)", about("command")),
                false => about("command"),
            },
        },
        "search" => {
            let place = text("path").map(|path| format!(" in {path}"));
            format!("{}{}", about("pattern"), place.unwrap_or_default())
        }
        "list" => self::about(name, Some(text("path").unwrap_or("this folder"))),
        "read_file" | "write_file" | "edit_file" => about("path"),
        "fetch_url" => about("url"),
        "session_search" => about("query"),
        "todo" => match arguments.get("steps") {
            Some(_) => "plan".to_owned(),
            None => "look at the plan".to_owned(),
        },
        "memory" => "remember".to_owned(),
        _ => format!("{name} {arguments}"),
    };
    harmless::line(&words).into_owned()
}

/// What a call does that is not whole yet, on one line.
pub fn begun(name: &str, target: Option<&str>) -> String {
    let words = match name {
        "" => "a call".to_owned(),
        name => about(name, target),
    };
    harmless::line(&words).into_owned()
}

/// A tool's verb, and what it is about.
fn about(name: &str, target: Option<&str>) -> String {
    let verb = match name {
        "terminal" => "$",
        "read_file" => "read",
        "write_file" => "write",
        "edit_file" => "change",
        "list" => "list",
        "search" => "search for",
        "fetch_url" => "fetch",
        "session_search" => "search past sessions for",
        "memory" => "remember",
        "todo" => "plan",
        other => other,
    };
    match target {
        Some(target) => format!("{verb} {target}"),
        None => verb.to_owned(),
    }
}

/// What a call of `memory` changed in the notes, a sentence for each change.
pub fn remembered(arguments: &Value) -> Vec<String> {
    let edits = arguments.get("edits").and_then(Value::as_array);
    let sentence = |edit: &Value| {
        let text = |key: &str| edit.get(key).and_then(Value::as_str);
        let whose = match text("file") {
            Some("user") => "about you",
            _ => "about the work",
        };
        let sentence = match (text("find"), text("text")) {
            (None, Some(text)) => format!("Remembers {whose}: {text}"),
            (Some(find), Some(text)) => {
                format!("Remembers {whose}: {text} (in the place of what held “{find}”)")
            }
            (Some(find), None) => format!("Forgets {whose} what held “{find}”"),
            (None, None) => return None,
        };
        Some(harmless::line(&sentence).into_owned())
    };
    edits.into_iter().flatten().filter_map(sentence).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn each_call_has_a_verb_that_fits_and_no_control_characters() {
        let table = [
            (
                "terminal",
                json!({"command": "cargo test\n&& ls"}),
                "$ cargo test && ls",
            ),
            (
                "terminal",
                json!({"command": "serve", "background": true}),
                "$ serve (in the background)",
            ),
            (
                "terminal",
                json!({"action": "poll", "job": 2}),
                "look at job 2",
            ),
            ("read_file", json!({"path": "a\u{1b}[2J"}), "read a␛[2J"),
            (
                "edit_file",
                json!({"path": "src/calc.py"}),
                "change src/calc.py",
            ),
            ("write_file", json!({"path": "b"}), "write b"),
            ("list", json!({}), "list this folder"),
            (
                "search",
                json!({"pattern": "x+", "path": "src"}),
                "search for x+ in src",
            ),
            ("todo", json!({"steps": []}), "plan"),
            ("github_issue", json!({"n": 1}), "github_issue {\"n\":1}"),
        ];
        for (name, arguments, want) in table {
            assert_eq!(words(name, &arguments), want);
        }
        assert_eq!(begun("", None), "a call");
        assert_eq!(begun("terminal", Some("cargo te")), "$ cargo te");
        assert_eq!(begun("write_file", None), "write");
    }

    #[test]
    fn what_is_remembered_is_a_sentence() {
        let edits = json!({"edits": [
            {"file": "memory", "text": "tests: scripts/test"},
            {"file": "user", "find": "tabs", "text": "likes spaces"},
            {"file": "memory", "find": "old"},
            {"file": "memory"},
        ]});
        assert_eq!(
            remembered(&edits),
            [
                "Remembers about the work: tests: scripts/test",
                "Remembers about you: likes spaces (in the place of what held “tabs”)",
                "Forgets about the work what held “old”",
            ]
        );
    }
}
