use serde_json::json;

use super::*;
use crate::tools::Unread;

fn result(name: &str, text: &str) -> StepResult {
    StepResult {
        name: name.into(),
        ok: true,
        text: text.into(),
        seconds: Some(0.25),
        exit: None,
        refused: None,
        change: None,
    }
}

fn texts(rows: &[StyledText]) -> Vec<&str> {
    rows.iter().map(|row| row.text()).collect()
}

fn steps(name: &str, arguments: Value) -> CallSteps {
    let mut steps = CallSteps {
        numbered: true,
        ..CallSteps::default()
    };
    steps.call("1".into(), name.into(), arguments);
    steps
}

#[test]
fn a_result_is_its_call_its_end_and_its_first_lines_and_the_rest_can_be_had() {
    let lines: Vec<String> = (1..=20).map(|n| format!("line\t{n}")).collect();
    let text = format!("{}\nExit code 3.", lines.join("\n"));
    let mut steps = steps("terminal", json!({"command": "cargo test"}));
    let failed = StepResult {
        ok: false,
        exit: Some(3),
        ..result("terminal", &text)
    };
    let rows = steps.result(failed, 60);
    let shown = texts(&rows);
    assert_eq!(shown[0], "• $ cargo test · exit code 3 · 0.2 s");
    assert_eq!((shown[1], shown[8]), ("    line    1", "    line    8"));
    assert_eq!(shown[9..], ["    … 12 more (/show 1)"]);
    let whole = steps.whole(None).unwrap();
    assert_eq!(texts(&whole)[20..], ["    line    20", "    Exit code 3."]);
    assert_eq!(steps.whole(Some(1)).unwrap(), whole);
    assert_eq!(
        steps.whole(Some(7)).unwrap_err(),
        "There is no result 7; those of this chat are 1 to 1."
    );
    assert!(CallSteps::default().whole(None).is_err());
}

#[test]
fn a_call_that_was_asked_about_is_not_shown_a_second_time() {
    let mut steps = steps("terminal", json!({"command": "make"}));
    steps.asked("terminal");
    let ended = StepResult {
        exit: Some(0),
        ..result("terminal", "made\nExit code 0.")
    };
    assert_eq!(
        texts(&steps.result(ended, 60)),
        ["• exit code 0 · 0.2 s", "    made"]
    );
}

#[test]
fn why_a_call_failed_is_read_to_its_end() {
    let mut steps = steps("edit_file", json!({"path": "a"}));
    let failed = StepResult {
        ok: false,
        ..result(
            "edit_file",
            "old is in a 2 times: add lines around it until it is there once.",
        )
    };
    assert_eq!(
        texts(&steps.result(failed, 40)),
        [
            "• change a · failed · 0.2 s",
            "    old is in a 2 times: add lines",
            "      around it until it is there once.",
        ]
    );
}

#[test]
fn a_refusal_is_in_the_users_words() {
    let mut steps = steps("terminal", json!({"command": "make"}));
    let refused = StepResult {
        ok: false,
        seconds: None,
        refused: Some("not run: you said no".into()),
        ..result(
            "terminal",
            "Not run: the user refused it. Ask what they want instead.",
        )
    };
    assert_eq!(
        texts(&steps.result(refused, 60)),
        ["• $ make", "    not run: you said no"]
    );
}

#[test]
fn a_plan_a_memory_and_a_change_are_drawn() {
    let mut plans = steps("todo", json!({"steps": []}));
    let rows = plans.result(result("todo", "[x] read\n[>] think\n[ ] write"), 60);
    assert_eq!(
        texts(&rows),
        ["• plan · 0.2 s", "    ✓ read", "    ▸ think", "    ☐ write"]
    );
    let edits = json!({"edits": [{"file": "user", "text": "likes spaces"}]});
    let rows = steps("memory", edits).result(result("memory", "MEMORY.md: 1 of …"), 60);
    assert_eq!(
        texts(&rows),
        [
            "• remember · 0.2 s",
            "    Remembers about you: likes spaces"
        ]
    );
    let change = FileDiff {
        file: "a".into(),
        made: false,
        unread: None,
        added: 1,
        removed: 1,
        diff: "@@ -1 +1 @@\n-a\n+b\n".into(),
    };
    let changed = StepResult {
        change: Some(change.clone()),
        ..result("edit_file", "a changed: line 1.")
    };
    let rows = steps("edit_file", json!({"path": "a"})).result(changed, 60);
    assert_eq!(
        texts(&rows),
        ["• change a · 0.2 s", "  | @@ -1 +1 @@", "  | -a", "  | +b"]
    );
    let unread = StepResult {
        change: Some(FileDiff {
            unread: Some(Unread::TooLarge),
            diff: "@@ -0,0 +1 @@\n+b\n".into(),
            ..change
        }),
        ..result("write_file", "a replaced: 1 line, 2 bytes.")
    };
    let said = steps("write_file", json!({"path": "a"})).result(unread, 80);
    assert_eq!(
        texts(&said)[1..],
        [
            "    the old content is too large to compare and is not shown",
            "  | @@ -0,0 +1 @@",
            "  | +b"
        ]
    );
    assert_eq!(rows[2].style(), TextStyle::REMOVED);
    assert_eq!(rows[3].style(), TextStyle::ADDED);
}

/// A window of ten columns, a line of megabytes, and control characters in everything.
#[test]
fn rows_are_short_and_harmless_whatever_came() {
    let hostile = format!("\u{1b}[2J{}\u{202e}\u{7}", "x".repeat(10 << 20));
    for width in [1, 10, 40, 100] {
        let mut steps = steps("read_file", json!({"path": hostile.clone()}));
        let live = steps.running(("1", "read_file"), 5.0, "tail\u{1b}[2J", width);
        assert!(live[0].chars().count() < width.max(10) + 20, "{live:?}");
        for row in steps.result(result("read_file", &hostile), width) {
            let columns = row.text().chars().count();
            assert!(columns <= width.max(24), "{columns} in {width}");
            assert!(!row.text().contains(['\u{1b}', '\u{202e}', '\u{7}']));
        }
    }
}

#[test]
fn what_is_written_and_what_runs_is_said_with_its_time() {
    assert_eq!(
        CallSteps::writing("write_file", Some("src/a.rs"), 1200, 3.44),
        "writing: write src/a.rs · 1,200 tokens · 3.4 s"
    );
    assert_eq!(
        CallSteps::writing("", None, 8, 0.0),
        "writing: a call · 8 tokens · 0.0 s"
    );
    let steps = steps("terminal", json!({"command": "cargo test"}));
    let lines: Vec<String> = (0..8).map(|n| format!("line {n}")).collect();
    let rows = steps.running(("1", "terminal"), 75.0, &lines.join("\n"), 60);
    assert_eq!(rows[0], "$ cargo test · 1 min 15 s");
    assert_eq!((rows.len(), &*rows[5]), (6, "  | line 7"));
    // Two of one tool run side by side.
    let mut steps = steps;
    steps.call(
        "2".into(),
        "terminal".into(),
        json!({"command": "cargo fmt"}),
    );
    let second = steps.running(("2", "terminal"), 1.0, "", 60);
    assert_eq!(second, ["$ cargo fmt · 1.0 s"]);
    let texts = ["1", "2", "1"].map(|id| steps.started(id).map(|row| row.text().to_owned()));
    assert_eq!(texts[0].as_deref(), Some("• $ cargo test"));
    assert_eq!(texts[1].as_deref(), Some("• $ cargo fmt"));
    assert_eq!(texts[2], None);
}
