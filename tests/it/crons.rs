//! Prompts that are run at times: each time once, whoever looks and whatever dies; what was missed is
//! said. Times are set in npast.db, so that no test waits for one.

use std::io::{BufRead, BufReader};
use std::process::Stdio;

use npast::cron::{LATE_MS, time};
use npast::session::{Db, Job, NewJob, now_ms};
use serde_json::{Value, json};

use crate::gateway::Server;
use crate::model::Class;
use crate::program::{Program, Ran, events};
use crate::witness::Stored;

const MINUTE: i64 = 60_000;
const DAY: i64 = 24 * 60 * MINUTE;

fn db(program: &Program) -> Db {
    Db::open(&program.desk.home.join("npast.db")).expect("npast.db")
}

/// An expression that was due `ago` milliseconds ago, or up to a minute more, and that time.
fn pattern(ago: i64) -> (String, i64) {
    let due = (now_ms() - ago) / MINUTE * MINUTE;
    (time(due).format("%M %H * * *").to_string(), due)
}

/// A job that was due so long ago, and was looked at last at `looked_ms`.
fn job(program: &Program, name: &str, ago: i64, looked_ms: i64) -> Job {
    let folder = program.folder.path().to_string_lossy().into_owned();
    let new = NewJob {
        name,
        pattern: &pattern(ago).0,
        prompt: "Look at the log.",
        folder: &folder,
        model: None,
        auto: false,
        now_ms: looked_ms,
    };
    db(program).add_job(&new).expect("a job")
}

fn run_with(program: &Program, lines: &[Value], name: &[&str]) -> std::process::Command {
    let path = program.folder.path().join("cron.jsonl");
    let text: Vec<String> = lines.iter().map(ToString::to_string).collect();
    std::fs::write(&path, text.join("\n")).expect("a script");
    let mut command = program.command(&["cron", "run", "--json"]);
    command
        .args(name)
        .arg("--script")
        .arg(path)
        .arg("-m")
        .arg(&program.desk.model)
        .args(&program.flags);
    command
}

fn run(program: &Program) -> Ran {
    let mut command = run_with(program, &[json!({"content": "All is well."})], &[]);
    Ran::of(&command.output().expect("a run"))
}

/// What was said of jobs: name and stage.
fn stages(ran: &Ran) -> Vec<(String, String)> {
    let word = |event: &Value, field: &str| event[field].as_str().unwrap_or_default().to_owned();
    let all = ran.all("job").into_iter();
    all.map(|event| (word(event, "name"), word(event, "stage")))
        .collect()
}

fn pair(name: &str, stage: &str) -> (String, String) {
    (name.to_owned(), stage.to_owned())
}

/// Role and text of what a session has.
fn said(program: &Program, name: &str) -> Vec<(String, String)> {
    let stored = Stored::of(&program.desk, name);
    let all = stored.outline().into_iter();
    all.map(|(role, _, text)| (role.to_owned(), text.to_owned()))
        .collect()
}

#[test]
fn a_job_that_is_due_is_run_once_in_its_own_session_and_the_next_time_goes_on_there() {
    let program = Program::new(Class::Dense);
    let made = job(&program, "log", 2 * MINUTE, now_ms() - 3 * MINUTE);
    let ran = run(&program);
    assert_eq!(ran.code, Some(0), "{ran:?}");
    assert_eq!(stages(&ran), [pair("log", "begun"), pair("log", "done")]);
    assert_eq!(ran.all("session")[0]["name"], "log");
    assert_eq!(
        said(&program, "log"),
        [
            pair("user", "Look at the log."),
            pair("assistant", "All is well.")
        ]
    );
    let row = db(&program)
        .find("log")
        .expect("a query")
        .expect("a session");
    assert_eq!((row.folder, row.runs_tools), (made.folder, true));
    // Nothing is due any more.
    let again = run(&program);
    assert_eq!((again.code, again.events.len()), (Some(0), 0), "{again:?}");
    // Asked for by name it runs whenever it is due, in the same session, and reads its prompt alone.
    let mut command = run_with(&program, &[json!({"content": "Still well."})], &["log"]);
    let asked = Ran::of(&command.output().expect("a run"));
    assert_eq!(stages(&asked), [pair("log", "begun"), pair("log", "done")]);
    let receipt = asked.receipt();
    assert_eq!(
        (&receipt["evaluated"], &receipt["miss"]),
        (&receipt["appended"], &Value::Null)
    );
    assert_eq!(said(&program, "log").len(), 4);
}

#[test]
fn what_was_missed_is_said_and_not_run_and_a_clock_that_went_back_runs_nothing_again() {
    let program = Program::new(Class::Dense);
    let now = now_ms();
    job(&program, "hourly", 2 * LATE_MS, now - 2 * DAY);
    job(&program, "future", 2 * MINUTE, now + 60 * MINUTE);
    let ran = run(&program);
    assert_eq!(ran.code, Some(0), "{ran:?}");
    assert_eq!(stages(&ran), [pair("hourly", "missed")]);
    assert_eq!(
        ran.said("job hourly missed 2 times, the last one at"),
        1,
        "{ran:?}"
    );
    assert_eq!(ran.said("the clock went back by 3,"), 1, "{ran:?}");
    assert!(db(&program).list().expect("a list").is_empty());
    let again = run(&program);
    assert_eq!(
        (again.events.len(), again.errors.as_str()),
        (0, ""),
        "{again:?}"
    );
    let listed = Ran::of(
        &program
            .command(&["cron", "list", "--json"])
            .output()
            .expect("a run"),
    );
    let missed = &listed.events[1]["runs"][0];
    assert_eq!(
        (&missed["outcome"], &missed["missed"]),
        (&json!("missed"), &json!(2))
    );
}

/// A process that is killed between its claim and the answer.
#[test]
fn a_job_whose_process_was_killed_is_said_as_not_finished_and_is_not_run_again() {
    let program = Program::new(Class::Dense);
    job(&program, "log", 2 * MINUTE, now_ms() - 3 * MINUTE);
    for at in ["begun", "prefill"] {
        let mut command = run_with(&program, &[json!({"content": "All is well."})], &[]);
        if at == "prefill" {
            command = run_with(&program, &[json!({"content": "All is well."})], &["log"]);
        }
        let mut child = command.stderr(Stdio::null()).spawn().expect("a run");
        let out = BufReader::new(child.stdout.take().expect("its output"));
        let found = out.lines().map_while(Result::ok).any(|line| {
            let event: Value = serde_json::from_str(&line).expect("an event");
            event["stage"] == at || event["type"] == at
        });
        child.kill().expect("a kill");
        child.wait().expect("an end");
        assert!(found, "{at}");
        let ran = run(&program);
        assert_eq!(stages(&ran), [pair("log", "unfinished")], "{at}: {ran:?}");
        assert_eq!(ran.said("did not finish"), 1, "{ran:?}");
        let again = run(&program);
        assert_eq!(
            (again.events.len(), again.errors.as_str()),
            (0, ""),
            "{again:?}"
        );
        assert_eq!(db(&program).survey().expect("a survey").damaged, []);
    }
    // The message that waits is joined with the next one, and answered once.
    let mut command = run_with(&program, &[json!({"content": "All is well."})], &["log"]);
    let ran = Ran::of(&command.output().expect("a run"));
    assert_eq!(ran.code, Some(0), "{ran:?}");
    let all = said(&program, "log");
    assert_eq!(
        all.last(),
        Some(&pair("assistant", "All is well.")),
        "{all:?}"
    );
    assert_eq!(all.iter().filter(|m| m.0 == "assistant").count(), 1);
}

#[test]
fn two_processes_at_once_run_a_job_once() {
    let program = Program::new(Class::Dense);
    for n in 0..3 {
        job(
            &program,
            &format!("log-{n}"),
            2 * MINUTE,
            now_ms() - 3 * MINUTE,
        );
    }
    let spawn = |_| {
        let line = json!({"content": "All is well."});
        let mut command = run_with(&program, &[line.clone(), line.clone(), line], &[]);
        command.spawn().expect("a run")
    };
    let children: Vec<_> = (0..2).map(spawn).collect();
    let mut begun = Vec::new();
    for child in children {
        let output = child.wait_with_output().expect("an end");
        assert!(output.status.success(), "{output:?}");
        let seen = events(&String::from_utf8_lossy(&output.stdout));
        let seen = seen.iter().filter(|e| e["stage"] == "begun");
        begun.extend(seen.map(|e| e["name"].as_str().unwrap_or_default().to_owned()));
    }
    begun.sort();
    assert_eq!(begun, ["log-0", "log-1", "log-2"]);
    for name in begun {
        assert_eq!(said(&program, &name).len(), 2);
    }
}

#[test]
fn what_would_be_asked_about_is_refused_and_a_job_that_fails_is_stored_with_its_reason() {
    let program = Program::new(Class::Dense);
    let now = now_ms();
    job(&program, "tools", 2 * MINUTE, now - 3 * MINUTE);
    let gone = program.folder.path().join("gone");
    let new = NewJob {
        name: "nowhere",
        pattern: &pattern(2 * MINUTE).0,
        prompt: "Look.",
        folder: &gone.to_string_lossy(),
        model: None,
        auto: false,
        now_ms: now - 3 * MINUTE,
    };
    db(&program).add_job(&new).expect("a job");
    let call = json!({"content": "", "tool_calls":
        [{"name": "write_file", "arguments": {"path": "made.txt", "content": "x"}}]});
    let lines = [call, json!({"content": "It was refused."})];
    let mut command = run_with(&program, &lines, &[]);
    let ran = Ran::of(&command.output().expect("a run"));
    assert_eq!(ran.code, Some(1), "{ran:?}");
    let nowhere = [pair("nowhere", "begun"), pair("nowhere", "failed")];
    let tools = [pair("tools", "begun"), pair("tools", "done")];
    assert_eq!(stages(&ran), [nowhere, tools].concat(), "{ran:?}");
    assert_eq!(ran.all("tool_result")[0]["ok"], json!(false), "{ran:?}");
    assert!(!program.folder.path().join("made.txt").exists());
    let db = db(&program);
    let run = &db
        .job_runs(db.job("nowhere").expect("a job").id, 1)
        .expect("runs")[0];
    let note = run.note.as_deref().unwrap_or_default();
    assert!(note.contains("gone is gone"), "{note}");
}

#[test]
fn jobs_are_added_listed_and_removed_and_what_can_never_be_due_is_refused() {
    let program = Program::new(Class::Dense);
    let cron = |args: &[&str]| {
        let all = [&["cron"], args].concat();
        Ran::of(&program.command(&all).output().expect("a run"))
    };
    for (when, what) in [
        ("0 0 31 2 *", "never comes true"),
        ("* * * *", "it has 4 fields, and five are meant"),
        ("@reboot", "is no expression"),
    ] {
        let refused = cron(&["add", "log", when, "Look."]);
        assert_eq!(
            (refused.code, refused.said(what)),
            (Some(2), 1),
            "{refused:?}"
        );
    }
    let bad = cron(&["add", "a/b", "@daily", "Look."]);
    assert_eq!(
        (bad.code, bad.said("the separator '/'")),
        (Some(2), 1),
        "{bad:?}"
    );
    let made = cron(&["add", "log", "30 7 * * MON-FRI", "Look.", "--json"]);
    assert_eq!(made.code, Some(0), "{made:?}");
    assert_eq!(made.events[0]["approve"], "deny");
    let twice = cron(&["add", "log", "@daily", "Look."]);
    assert_eq!(
        (twice.code, twice.said("exists already")),
        (Some(2), 1),
        "{twice:?}"
    );
    let listed = cron(&["list", "--json"]);
    let folder = program.folder.path().canonicalize().expect("the folder");
    assert_eq!(listed.events[0]["folder"], json!(folder.to_string_lossy()));
    assert!(
        listed.events[0]["next_ms"]
            .as_i64()
            .is_some_and(|next| next > now_ms())
    );
    assert_eq!(cron(&["rm", "log"]).code, Some(0));
    let gone = cron(&["rm", "log"]);
    assert_eq!(
        (gone.code, gone.said("there is no job named \"log\"")),
        (Some(2), 1),
        "{gone:?}"
    );
    assert_eq!(cron(&["list", "--json"]).events.len(), 0);
}

#[test]
fn a_job_is_run_by_the_gateway_of_its_data_folder_and_no_second_model_is_loaded() {
    let program = Program::new(Class::Dense);
    job(&program, "log", 2 * MINUTE, now_ms() - 3 * MINUTE);
    let replies = [json!({"content": "Said in the gateway."})];
    let server = Server::start(program, &[], &replies);
    // A model that would be loaded has other flags than these and no prepared reply.
    let mut command = server.program.command(&["cron", "run", "--json"]);
    let ran = Ran::of(&command.output().expect("a run"));
    assert_eq!(ran.code, Some(0), "{ran:?}");
    assert_eq!(stages(&ran), [pair("log", "begun"), pair("log", "done")]);
    assert_eq!(
        said(&server.program, "log"),
        [
            pair("user", "Look at the log."),
            pair("assistant", "Said in the gateway.")
        ]
    );
    server.stop();
}
