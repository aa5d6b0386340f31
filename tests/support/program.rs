//! The real program on a data folder of its own: its runs, their events, and what they say on
//! standard error.

use std::path::PathBuf;
use std::process::{Command, Output, Stdio};

use serde_json::Value;

use crate::model::{self, Class};
use crate::talk::Desk;

/// A user's machine, and how the program is called on it.
pub struct Program {
    pub desk: Desk,
    /// The user's home and current folder; the data folder is the desk's.
    pub folder: tempfile::TempDir,
    /// Flags of every turn.
    pub flags: Vec<String>,
    /// Variables of every run.
    pub env: Vec<(String, String)>,
}

/// What a run said, and how it ended.
#[derive(Debug)]
pub struct Ran {
    pub events: Vec<Value>,
    pub errors: String,
    /// `None` after a signal.
    pub code: Option<i32>,
}

impl Ran {
    pub fn of(output: &Output) -> Ran {
        Ran {
            events: events(&String::from_utf8_lossy(&output.stdout)),
            errors: String::from_utf8_lossy(&output.stderr).into_owned(),
            code: output.status.code(),
        }
    }

    /// The events of this type, in order.
    pub fn all(&self, kind: &str) -> Vec<&Value> {
        self.events.iter().filter(|e| e["type"] == kind).collect()
    }

    pub fn receipt(&self) -> &Value {
        one_receipt(&self.events).unwrap_or_else(|| panic!("a receipt: {self:?}"))
    }

    /// How often standard error says this.
    pub fn said(&self, words: &str) -> usize {
        self.errors.matches(words).count()
    }
}

/// The receipt of a run of one call, if it came to that.
pub fn one_receipt(events: &[Value]) -> Option<&Value> {
    let mut all = events.iter().filter(|e| e["type"] == "receipt");
    let one = all.next();
    assert_eq!(all.next(), None, "one receipt a call");
    one
}

/// Whole lines as events; a line that a kill cut is left out.
pub fn events(text: &str) -> Vec<Value> {
    let lines = text.split_inclusive('\n').filter(|l| l.ends_with('\n'));
    lines
        .map(|l| serde_json::from_str(l).unwrap_or_else(|e| panic!("{l:?} is no event: {e}")))
        .collect()
}

/// A count of a receipt.
pub fn n(receipt: &Value, field: &str) -> usize {
    let count = receipt[field].as_u64();
    count.unwrap_or_else(|| panic!("no {field} in {receipt}")) as usize
}

/// What a receipt promises, whatever happened before.
pub fn honest(what: &str, receipt: &Value) {
    let prompt = n(receipt, "kept") + n(receipt, "restored") + n(receipt, "evaluated");
    assert_eq!(
        n(receipt, "context"),
        prompt + n(receipt, "generated") - n(receipt, "pending"),
        "{what}: {receipt}"
    );
    let named = receipt["miss"]["reason"]
        .as_str()
        .is_some_and(|w| !w.is_empty());
    let again = n(receipt, "evaluated") > n(receipt, "appended");
    assert_eq!(named, again, "{what}: {receipt}");
}

impl Program {
    pub fn new(class: Class) -> Program {
        Program {
            desk: Desk::new(class, Some(model::CHATML)),
            folder: tempfile::tempdir().expect("a folder"),
            flags: ["--ctx", "16384", "--ubatch", "64", "--threads", "1"]
                .map(str::to_owned)
                .to_vec(),
            env: Vec::new(),
        }
    }

    /// Any command of it; standard output and error are pipes.
    pub fn command(&self, args: &[&str]) -> Command {
        // Another build of it may be tried instead.
        let program = std::env::var_os("NPAST_PROGRAM");
        let mut command = Command::new(program.unwrap_or(env!("CARGO_BIN_EXE_npast").into()));
        command
            .env_clear()
            .env("HOME", self.folder.path())
            .env("NPAST_HOME", &self.desk.home)
            // Prepared replies say the same words often; an empty variable in `env` takes this back.
            .env("NPAST_REPEATS", "off")
            .envs(self.env.iter().cloned())
            .current_dir(self.folder.path())
            .args(args)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        command
    }

    /// A turn of a session: prepared, or sampled greedily.
    pub fn turn(&self, session: &str, words: &str, reply: Option<&Value>) -> Command {
        let mut command = self.command(&["--json", "--session", session]);
        command.args(&self.flags).arg("-m").arg(&self.desk.model);
        match reply {
            Some(line) => {
                let path = self.script(session);
                std::fs::write(&path, line.to_string()).expect("a script");
                command.arg("--script").arg(path);
            }
            None => {
                command.args(["--temp", "0", "--max-tokens", "24"]);
            }
        }
        if let Some(system) = &self.desk.system {
            command.arg("--system").arg(system);
        }
        command.arg("--").arg(words);
        command
    }

    fn script(&self, session: &str) -> PathBuf {
        self.folder.path().join(format!("{session}.jsonl"))
    }

    /// A whole turn that must go well.
    pub fn say(&self, session: &str, words: &str, reply: Option<&Value>) -> Ran {
        let output = self.turn(session, words, reply).output().expect("a run");
        let ran = Ran::of(&output);
        assert_eq!(ran.code, Some(0), "{ran:?}");
        honest(words, ran.receipt());
        ran
    }

    /// `npast kv verify`: how many files were proven. None may be bad.
    pub fn verify(&self, what: &str) -> usize {
        let mut command = self.command(&["kv", "verify", "--json"]);
        let ran = Ran::of(&command.output().expect("a run"));
        let last = ran.events.last().cloned().unwrap_or_default();
        assert_eq!(
            (ran.code, last["bad"].as_u64()),
            (Some(0), Some(0)),
            "{what}: {ran:?}"
        );
        n(&last, "files")
    }
}
