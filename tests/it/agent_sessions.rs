//! The real program as an agent over real files: a conversation of 12 steps, each in a process of
//! its own with another clock zone, locale and working folder, one of them killed in the middle of
//! a tool. Every token is evaluated once, and the prompt's tokens are the same in all of them.

use std::fs::{self, File};
use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};

use npast::agent::Notes;
use npast::ledger::Token;
use npast::session::{Db, MessageState};
use npast::tools::{MemoryEdit, MemoryFile, Secrets};
use serde_json::{Value, json};

use crate::model::{self, Class};
use crate::talk::Desk;
use crate::witness::{Reader, Stored};

struct Shell {
    desk: Desk,
    home: tempfile::TempDir,
    project: tempfile::TempDir,
}

/// What differs between two processes: variables, and the working folder.
struct Around<'a> {
    zone: &'a str,
    locale: &'a str,
    folder: PathBuf,
}

impl Shell {
    fn new(class: Class) -> Shell {
        let mut desk = Desk::new(class, Some(model::THINKER));
        desk.limit = 32_768;
        Shell {
            desk,
            home: tempfile::tempdir().expect("a folder"),
            project: tempfile::tempdir().expect("a folder"),
        }
    }

    fn npast(&self, around: &Around<'_>) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_npast"));
        command
            .env_clear()
            .env("HOME", self.home.path())
            .env("NPAST_HOME", &self.desk.home)
            .env("TZ", around.zone)
            .env("LANG", around.locale)
            .env("LC_ALL", around.locale)
            .current_dir(&around.folder)
            .stdin(Stdio::null());
        command
    }

    fn here(&self) -> Around<'_> {
        Around {
            zone: "UTC",
            locale: "C",
            folder: self.project.path().to_owned(),
        }
    }

    /// A process of the session "work" that has one prepared reply.
    fn step(&self, around: &Around<'_>, line: &str, words: &str) -> Command {
        let script = self.home.path().join("script.jsonl");
        fs::write(&script, line).expect("a script");
        let mut command = self.npast(around);
        command
            .args([
                "--json",
                "--agent",
                "--session",
                "work",
                "--ctx",
                "32768",
                "--ubatch",
                "64",
            ])
            .args(["--approve", "auto", "--seed", "7", "-m"])
            .arg(&self.desk.model)
            .arg("--script")
            .arg(script)
            .arg("--")
            .arg(words);
        command
    }

    fn file(&self, name: &str) -> Option<String> {
        fs::read_to_string(self.project.path().join(name)).ok()
    }

    fn head(&self) -> Vec<Token> {
        let stored = self.desk.stored("work");
        stored.ledger[..stored.session.head].to_vec()
    }

    /// Tokens that a new process would put back from disk.
    fn restorable(&self) -> usize {
        let status = self
            .npast(&self.here())
            .args(["kv", "status", "--json"])
            .output();
        let text = String::from_utf8(status.expect("a run").stdout).expect("UTF-8");
        let lines = text.lines().map(|l| serde_json::from_str(l).expect("JSON"));
        let mine = |line: &Value| line["type"] == "session" && line["name"] == "work";
        lines
            .filter(mine)
            .filter_map(|line: Value| line["tokens"].as_u64())
            .max()
            .unwrap_or(0) as usize
    }
}

fn events(output: &Output) -> Vec<Value> {
    let text = String::from_utf8(output.stdout.clone()).expect("UTF-8");
    text.lines()
        .map(|l| serde_json::from_str(l).expect("an event"))
        .collect()
}

fn of<'a>(events: &'a [Value], kind: &str) -> Vec<&'a Value> {
    events.iter().filter(|e| e["type"] == kind).collect()
}

fn calls(list: &[(&str, Value)]) -> String {
    let calls: Vec<Value> = list
        .iter()
        .map(|(name, arguments)| json!({"name": name, "arguments": arguments}))
        .collect();
    json!({"reasoning": "hm", "content": "", "tool_calls": calls}).to_string()
}

/// The prepared replies; each is one process.
fn replies() -> Vec<String> {
    let memory = || {
        calls(&[(
            "memory",
            json!({"edits": [{"file": "memory", "text": "Built with make."}]}),
        )])
    };
    vec![
        calls(&[
            ("list", json!({})),
            ("read_file", json!({"path": "notes.txt"})),
        ]),
        calls(&[(
            "write_file",
            json!({"path": "src/a.txt", "content": "one\ntwo\n"}),
        )]),
        calls(&[
            ("read_file", json!({"path": "src/a.txt"})),
            ("search", json!({"pattern": "two"})),
        ]),
        calls(&[(
            "edit_file",
            json!({"path": "src/a.txt", "old": "two", "new": "2"}),
        )]),
        calls(&[(
            "edit_file",
            json!({"path": "src/a.txt", "old": "nowhere", "new": "x"}),
        )]),
        memory(),
        memory(),
        calls(&[(
            "todo",
            json!({"steps": [{"text": "Say it", "state": "doing"}]}),
        )]),
        calls(&[
            ("read_file", json!({"path": "big.txt"})),
            ("read_file", json!({"path": "data.bin"})),
        ]),
        calls(&[
            ("todo", json!({})),
            ("session_search", json!({"query": "anything"})),
        ]),
        calls(&[
            ("read_file", json!({"path": "gone.txt"})),
            ("read_file", json!({"path": "src/a.txt"})),
        ]),
        json!({"reasoning": "hm", "content": "Done."}).to_string(),
    ]
}

/// The step that is killed in the middle of its tool.
const KILLED: usize = 5;

/// Kills the process while its `memory` call waits for the lock that the test holds.
fn kill_in_the_tool(shell: &Shell, mut command: Command) {
    let lock = File::options()
        .write(true)
        .create(true)
        .truncate(false)
        .open(shell.desk.home.join("memory.lock"));
    let lock = lock.expect("the lock");
    lock.lock().expect("the lock");
    let mut child = command
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("a run");
    let db = Db::open(&shell.desk.home.join("npast.db")).expect("npast.db");
    let id = db.find("work").expect("a query").expect("the session").id;
    let begun = || {
        let last = db.messages(id).expect("messages").into_iter().next_back()?;
        (!db.runs(last.id).expect("marks").is_empty()).then_some(())
    };
    while begun().is_none() {
        assert!(
            child.try_wait().expect("a child").is_none(),
            "it ended before its tool ran"
        );
        std::thread::yield_now();
    }
    // What was decoded reaches the disk beside the tool, whatever that does.
    let ledger = shell.desk.stored("work").ledger.len();
    while shell.restorable() + 1 < ledger {
        assert!(
            child.try_wait().expect("a child").is_none(),
            "it ended before it was killed"
        );
    }
    kill(&mut child);
}

fn kill(child: &mut Child) {
    child.kill().expect("SIGKILL");
    child.wait().expect("an end");
}

#[test]
fn twelve_steps_in_twelve_processes_cost_each_token_once_and_leave_the_files_as_said() {
    let shell = Shell::new(Class::Hybrid);
    fs::write(
        shell.project.path().join("notes.txt"),
        "<|im_end|> is text here\n",
    )
    .expect("a file");
    fs::write(
        shell.project.path().join("big.txt"),
        "a line of text\n".repeat(350_000),
    )
    .expect("a file");
    fs::write(
        shell.project.path().join("data.bin"),
        [0, 159, 146, 150, 0, 1],
    )
    .expect("a file");
    fs::write(shell.project.path().join("AGENTS.md"), "Use make.\n").expect("a file");
    let zones = ["UTC", "Pacific/Kiritimati", "America/New_York"];
    let locales = ["C", "de_DE.UTF-8", "tr_TR.UTF-8"];
    let replies = replies();
    let (mut head, mut context) = (Vec::new(), 0);
    for (k, line) in replies.iter().enumerate() {
        let around = Around {
            zone: zones[k % 3],
            locale: locales[k % 3],
            // The session's tools work where it was started.
            folder: match k % 2 {
                0 => shell.project.path().to_owned(),
                _ => shell.home.path().to_owned(),
            },
        };
        let words = if k == 0 { "Do the work." } else { "" };
        let command = shell.step(&around, line, words);
        if k == KILLED {
            kill_in_the_tool(&shell, command);
            let stored = Stored::of(&shell.desk, "work");
            assert_eq!(
                stored.last().0.role,
                "assistant",
                "the call is there, its result is not"
            );
            continue;
        }
        let mut command = command;
        let output = command.output().expect("a run");
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        let events = events(&output);
        let last = k + 1 == replies.len();
        // Each process but the last ends behind the results of its step: it has no other reply.
        assert_eq!(
            output.status.code(),
            Some(if last { 0 } else { 2 }),
            "step {k}: {said}"
        );
        let receipts = of(&events, "receipt");
        assert_eq!(receipts.len(), 1, "step {k}: {said}");
        let r = receipts[0];
        assert_eq!(
            (&r["evaluated"], &r["miss"]),
            (&r["appended"], &Value::Null),
            "step {k}: {r}"
        );
        let n = |field: &str| r[field].as_u64().expect("a count");
        if k > 0 && k != KILLED + 1 {
            assert_eq!(n("kept") + n("restored"), context, "step {k}");
        }
        context = n("context");
        if k == 0 {
            head = shell.head();
            assert!(head.len() > 100);
        }
        assert_eq!(shell.head(), head, "step {k}: the prompt never moves");
        if k == KILLED + 1 {
            assert!(said.contains("1 may have had an effect"), "{said}");
        }
        if k == 1 {
            // A memory written meanwhile, and a project file that changed, are the next session's.
            let edit = MemoryEdit::Add {
                file: MemoryFile::User,
                text: "Ada".into(),
            };
            Notes::of(&shell.desk.home, &Secrets::default())
                .edit(&[edit])
                .expect("a memory");
            fs::write(shell.project.path().join("AGENTS.md"), "Use ninja.\n").expect("a file");
        }
    }
    assert_eq!(shell.file("src/a.txt").as_deref(), Some("one\n2\n"));
    let memory = fs::read_to_string(shell.desk.home.join("MEMORY.md")).expect("a memory");
    assert_eq!(memory, "# Memory\n\n- Built with make.\n");

    let stored = Stored::of(&shell.desk, "work");
    let results: Vec<&str> = stored
        .outline()
        .iter()
        .filter(|m| m.0 == "tool")
        .map(|m| m.2)
        .collect();
    let table = [
        (0, "notes.txt"),
        (1, "<|im_end|> is text here"),
        (2, ""),
        (3, "two"),
        (4, "src/a.txt"),
        (5, ""),
        (6, "nor anything like it"),
        (7, "unknown effect"),
        (8, "Built with make."),
        (9, "Say it"),
        (11, ""),
        (12, "Say it"),
        (14, "gone.txt"),
        (15, "2"),
    ];
    for (at, part) in table {
        assert!(results[at].contains(part), "result {at}: {:?}", results[at]);
    }
    assert_eq!(results.len(), 16);
    assert!(
        results[10].len() < 20_000,
        "5 MB are shrunk at birth: {} bytes",
        results[10].len()
    );
    assert!(
        stored
            .messages
            .iter()
            .all(|m| m.state == MessageState::Answered)
    );
    let mut desk = Desk::with_model(&shell.desk.model);
    let session = shell.desk.stored("work").session;
    (desk.system, desk.tools) = (session.system.clone(), session.tools);
    Reader::of(&desk).render(&stored);
    let preface = session.preface.expect("a preface");
    assert!(
        preface.contains("Use make.") && !preface.contains("Ada"),
        "{preface}"
    );

    // The next session would have what is new.
    let prompt = shell
        .npast(&shell.here())
        .args(["prompt", "--json", "-m"])
        .arg(&shell.desk.model)
        .output();
    let prompt = prompt.expect("a run");
    let fresh: Value = serde_json::from_slice(&prompt.stdout).expect("JSON");
    let text = fresh["text"].as_str().expect("a text");
    assert!(
        text.contains("Ada") && text.contains("Built with make.") && text.contains("Use ninja."),
        "{text}"
    );
    let parts = fresh["parts"].as_array().expect("parts");
    assert!(
        parts
            .iter()
            .any(|p| p["part"] == "tools" && p["tokens"].as_u64() > Some(0)),
        "{parts:?}"
    );
    // The stored one is told as it is.
    let told = shell
        .npast(&shell.here())
        .args(["prompt", "--json", "--tokens", "--session", "work", "-m"])
        .arg(&shell.desk.model)
        .output();
    let told: Value = serde_json::from_slice(&told.expect("a run").stdout).expect("JSON");
    let ids: Vec<i64> = head.iter().map(|t| i64::from(t.0)).collect();
    assert_eq!(told["tokens"], json!(ids));
}

#[test]
fn unknown_tools_in_the_configuration_are_said_and_unattended_runs_deny_what_would_ask() {
    let shell = Shell::new(Class::Dense);
    let script = shell.home.path().join("script.jsonl");
    let lines = [
        calls(&[("write_file", json!({"path": "../x", "content": "x"}))]),
        json!({"content": "ok"}).to_string(),
    ];
    fs::write(&script, lines.join("\n")).expect("a script");
    let output = shell
        .npast(&shell.here())
        .args([
            "--json",
            "--agent",
            "--session",
            "w",
            "--ctx",
            "32768",
            "--without-tool",
            "telepathy",
            "-m",
        ])
        .arg(&shell.desk.model)
        .arg("--script")
        .arg(&script)
        .args(["--", "Go."])
        .output()
        .expect("a run");
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{said}");
    assert!(
        said.contains("names a tool \"telepathy\", and there is none"),
        "{said}"
    );
    let events = events(&output);
    let results = of(&events, "tool_result");
    assert_eq!(results[0]["ok"], false, "{results:?}");
    assert!(
        !shell
            .project
            .path()
            .parent()
            .expect("a folder")
            .join("x")
            .exists()
    );
    assert_eq!(of(&events, "turn")[0]["calls"], 2);
}
