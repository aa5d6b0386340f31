//! Law 5 with the real program: `kill -9` before the first token and in the middle of a reply loses
//! no message and no session; one process has a session, and a second one is told which.

use std::collections::HashSet;
use std::io::{BufRead, BufReader, Read};
use std::path::PathBuf;
use std::process::{Child, ChildStdout, Command, Output, Stdio};

use npast::ledger::Finish;
use npast::session::{Db, MessageState};
use serde_json::{Value, json};

use crate::model::{self, Class};
use crate::talk::Desk;
use crate::witness::{Reader, Stored};

/// The program on a data folder of its own.
struct Shell {
    desk: Desk,
    folder: tempfile::TempDir,
}

/// A running turn and its events.
struct Running {
    child: Child,
    events: BufReader<ChildStdout>,
}

impl Shell {
    fn new(class: Class) -> Shell {
        let desk = Desk::new(class, Some(model::CHATML));
        let folder = tempfile::tempdir().expect("a folder");
        Shell { desk, folder }
    }

    fn command(&self, line: &Value, words: &str) -> Command {
        let script: PathBuf = self.folder.path().join("script.jsonl");
        std::fs::write(&script, line.to_string()).expect("a script");
        let mut command = Command::new(env!("CARGO_BIN_EXE_npast"));
        command
            .env_clear()
            .env("HOME", self.folder.path())
            .env("NPAST_HOME", &self.desk.home)
            .current_dir(self.folder.path())
            .args([
                "--json",
                "--session",
                "work",
                "--ctx",
                "16384",
                "--ubatch",
                "64",
            ])
            .arg("-m")
            .arg(&self.desk.model)
            .arg("--script")
            .arg(script)
            .arg("--")
            .arg(words)
            .stdin(Stdio::null());
        command
    }

    /// A whole turn: its events.
    fn turn(&self, line: &Value, words: &str) -> Vec<Value> {
        let output = self.command(line, words).output().expect("a run");
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{said}");
        events(&output)
    }

    fn start(&self, line: &Value, words: &str) -> Running {
        let mut command = self.command(line, words);
        command.stdout(Stdio::piped()).stderr(Stdio::null());
        let mut child = command.spawn().expect("a run");
        let events = BufReader::new(child.stdout.take().expect("its output"));
        Running { child, events }
    }

    fn stored(&self) -> Stored {
        Stored::of(&self.desk, "work")
    }
}

impl Running {
    /// The next event; none when the process has ended.
    fn next(&mut self) -> Option<Value> {
        let mut line = String::new();
        self.events.read_line(&mut line).expect("a line");
        (!line.is_empty()).then(|| serde_json::from_str(&line).expect("an event"))
    }

    /// Reads up to the `n`th event of a kind, and kills the process there.
    fn kill_at(mut self, kind: &str, n: usize) {
        for _ in 0..n {
            loop {
                let event = self.next().expect("the process ended before it was killed");
                assert_ne!(event["type"], "error", "{event}");
                if event["type"] == kind {
                    break;
                }
            }
        }
        self.kill();
    }

    fn kill(mut self) {
        self.child.kill().expect("SIGKILL");
        self.child.wait().expect("an end");
    }
}

fn events(output: &Output) -> Vec<Value> {
    let text = String::from_utf8(output.stdout.clone()).expect("UTF-8");
    let lines = text.lines();
    lines
        .map(|l| serde_json::from_str(l).expect("an event"))
        .collect()
}

fn receipt(events: &[Value]) -> &Value {
    let mut all = events.iter().filter(|e| e["type"] == "receipt");
    let one = all.next().expect("a receipt");
    assert_eq!(all.next(), None, "one receipt a call");
    one
}

fn n(receipt: &Value, field: &str) -> usize {
    receipt[field].as_u64().expect("a count") as usize
}

/// What a receipt promises, whatever happened before.
fn honest(what: &str, r: &Value) {
    let prompt = n(r, "kept") + n(r, "restored") + n(r, "evaluated");
    assert_eq!(
        n(r, "context"),
        prompt + n(r, "generated") - n(r, "pending"),
        "{what}: {r}"
    );
    let named = r["miss"]["reason"].as_str().is_some_and(|w| !w.is_empty());
    assert_eq!(named, n(r, "evaluated") > n(r, "appended"), "{what}: {r}");
}

fn long(seed: usize, words: usize) -> String {
    (0..words)
        .map(|i| format!("{} ", (i * i + seed) % 97))
        .collect()
}

#[test]
fn kill_before_the_first_token_leaves_the_message_open_and_the_session_whole() {
    let fine = json!({"content": "Fine."});
    for class in [Class::Dense, Class::Hybrid] {
        for point in [1, 4, 20] {
            let what = format!("{class:?}, prefill event {point}");
            let shell = Shell::new(class);
            let first = shell.turn(&fine, "Hello.");
            let before = shell.stored();
            let words = long(point, 1200);
            shell.start(&fine, &words).kill_at("prefill", point);

            let left = shell.stored();
            let (row, message) = left.last();
            assert_eq!(
                (row.role.as_str(), row.state),
                ("user", MessageState::Open),
                "{what}"
            );
            assert_eq!(
                message.text.trim(),
                words.trim(),
                "{what}: the message is whole"
            );
            assert_eq!(left.messages.len(), before.messages.len() + 1, "{what}");
            assert!(left.ledger.starts_with(&before.ledger), "{what}");
            Reader::of(&shell.desk).render(&left);

            // An empty message answers it: `-c` and `--session NAME` take one.
            let next = shell.turn(&fine, "");
            let r = receipt(&next);
            honest(&what, r);
            assert!(
                n(r, "kept") + n(r, "restored") >= n(receipt(&first), "context"),
                "{what}: {r}"
            );
            assert_eq!(r["miss"], Value::Null, "{what}: {r}");
            let after = shell.stored();
            assert!(after.ledger.starts_with(&left.ledger), "{what}");
            let users = after.outline();
            assert_eq!(
                users.iter().filter(|m| m.0 == "user").count(),
                2,
                "{what}: once"
            );
        }
    }
}

#[test]
fn kill_in_the_middle_of_a_reply_loses_its_last_64_tokens_at_most() {
    let fine = json!({"content": "Fine."});
    for class in [Class::Dense, Class::Hybrid] {
        for point in [1, 7, 30] {
            let what = format!("{class:?}, text event {point}");
            let shell = Shell::new(class);
            let reader = Reader::of(&shell.desk);
            let first = shell.turn(&fine, "Hello.");
            let before = shell.stored();
            let reply: String = (0..1500).map(|i| format!("{i}, ")).collect();
            let mut running = shell.start(&json!({ "text": reply }), "Count.");
            let mut shown = String::new();
            for _ in 0..point {
                loop {
                    let event = running.next().expect("a reply that goes on");
                    if event["type"] == "text" {
                        shown += event["text"].as_str().expect("text");
                        break;
                    }
                }
            }
            running.kill();

            let left = shell.stored();
            assert!(left.ledger.starts_with(before.decoded()), "{what}");
            Reader::of(&shell.desk).render(&left);
            // Shown text is at most 64 tokens, and what the parser and a pipe hold back, ahead.
            let shown = reader
                .vocab()
                .tokenize(&shown, false)
                .expect("tokens")
                .len();
            let (row, _) = left.last();
            let kept = match row.role.as_str() {
                "assistant" => row.span.map_or(0, |s| s.end - s.start),
                _ => 0,
            };
            assert!(
                kept + 64 >= shown,
                "{what}: {shown} tokens shown, {kept} kept"
            );

            let next = shell.turn(&fine, "Go on.");
            let r = receipt(&next);
            honest(&what, r);
            assert!(
                n(r, "kept") + n(r, "restored") >= n(receipt(&first), "context"),
                "{what}: {r}"
            );
            let after = shell.stored();
            reader.render(&after);
            if kept > 1 {
                // The tokens are in the ledger and their KV is not on disk: read again, and said.
                let reason = r["miss"]["reason"].as_str().expect("a reason");
                assert!(reason.contains("before it was saved"), "{what}: {reason}");
                assert!(after.ledger.starts_with(&left.ledger), "{what}");
                let cut = &after.messages[left.messages.len() - 1];
                assert_eq!(cut.finish, Some(Finish::Interrupted), "{what}");
                let text = cut.body["content"].as_str().expect("text");
                assert!(
                    reply.starts_with(text) && !text.is_empty(),
                    "{what}: {text:?}"
                );
                let span = cut.span.expect("a span");
                let tokens = reader.text(&after.ledger[span.start..span.end]);
                assert_eq!(
                    tokens.trim(),
                    text.trim(),
                    "{what}: the text is that of the tokens"
                );
            }
            let ids: HashSet<i64> = after.messages.iter().map(|m| m.id.0).collect();
            assert_eq!(ids.len(), after.messages.len());
        }
    }
}

#[test]
fn a_kill_between_the_last_token_and_the_receipt_leaves_a_finished_reply() {
    let fine = json!({"content": "Fine."});
    for class in [Class::Dense, Class::Hybrid] {
        let shell = Shell::new(class);
        let first = shell.turn(&fine, "Hello.");
        let before = shell.stored();
        // What the store holds in that instant: all tokens, an empty text, no finish of its own.
        let mut db = Db::open(&shell.desk.home.join("npast.db")).expect("npast.db");
        let id = db.find("work").expect("a query").expect("a session").id;
        let mut unit = db.begin(id).expect("a unit");
        let reply = before.last().0.id;
        unit.set_body(reply, &json!({"role": "assistant", "content": ""}))
            .expect("a body");
        unit.set_finish(reply, Finish::Interrupted)
            .expect("a finish");
        unit.commit().expect("a commit");
        drop(db);

        let next = shell.turn(&fine, "Go on.");
        let r = receipt(&next);
        honest("mended", r);
        assert_eq!(
            n(r, "kept") + n(r, "restored"),
            n(receipt(&first), "context")
        );
        let after = shell.stored();
        assert_eq!(after.messages[..2], before.messages[..], "{class:?}");
        let text = Reader::of(&shell.desk).text(&after.ledger);
        assert_eq!(text.matches("<|im_end|>\n<|im_end|>").count(), 0, "{text}");
        assert_eq!(text.matches("<|im_end|>").count(), 4, "{text}");
    }
}

#[test]
fn a_second_process_on_a_session_is_refused_and_told_the_first_ones_pid() {
    let fine = json!({"content": "Fine."});
    let shell = Shell::new(Class::Dense);
    shell.turn(&fine, "Hello.");
    let reply: String = (0..400).map(|i| format!("{i}, ")).collect();
    let mut running = shell.start(&json!({ "text": reply }), "Count.");
    while running.next().expect("a reply that goes on")["type"] != "text" {}

    let second = shell.command(&fine, "Me too.").output().expect("a run");
    assert_eq!(second.status.code(), Some(1));
    let said = events(&second);
    let error = said.last().expect("an error");
    assert_eq!(error["type"], "error", "{error}");
    let message = error["message"].as_str().expect("a sentence");
    let pid = running.child.id().to_string();
    assert!(message.contains(&format!("process {pid}")), "{message}");
    assert!(error["hint"].as_str().is_some(), "{error}");

    let shown = Command::new(env!("CARGO_BIN_EXE_npast"))
        .env_clear()
        .env("HOME", shell.folder.path())
        .env("NPAST_HOME", &shell.desk.home)
        .args(["sessions", "show", "work"])
        .output()
        .expect("a run");
    let text = String::from_utf8_lossy(&shown.stdout);
    assert!(shown.status.success() && text.contains("Count."), "{text}");
    assert!(!text.contains("Me too."), "{text}");

    // The first one was not disturbed, and its end lets the session go.
    let mut rest = String::new();
    running
        .events
        .read_to_string(&mut rest)
        .expect("its events");
    assert!(running.child.wait().expect("an end").success());
    assert!(rest.contains("\"type\":\"receipt\""));
    let third = shell.turn(&fine, "Now me.");
    honest("third", receipt(&third));
    assert_eq!(receipt(&third)["miss"], Value::Null);
}
