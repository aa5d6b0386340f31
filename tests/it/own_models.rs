//! The models of a machine as a person meets them: what other programs brought is listed and opened
//! where it lies, a first start says how to get one, and two processes that fetch the same file fetch
//! it once.

use std::path::{Path, PathBuf};
use std::process::{Child, Output};
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

use serde_json::{Value, json};

use crate::lying::{Reply, Server, hub, sum};
use crate::model::{self, Class};
use crate::program::{Program, Ran};

const ANSWER: &str = "Good day.";

fn bytes() -> Vec<u8> {
    let options = model::Options {
        chat_template: Some(model::CHATML),
        ..model::Options::default()
    };
    std::fs::read(model::tiny_model(Class::Dense, &options)).expect("a model")
}

fn put(path: &Path, bytes: &[u8]) {
    std::fs::create_dir_all(path.parent().expect("a folder")).expect("a folder");
    std::fs::write(path, bytes).expect("a file");
}

fn home(program: &Program) -> PathBuf {
    program.folder.path().to_owned()
}

/// What the hub's own tools leave behind, below `root`.
fn put_into_hub(root: &Path, file: &str, bytes: &[u8]) {
    let commit = "89abcdef0123456789abcdef0123456789abcdef";
    let repo = root.join("models--o--r");
    put(&repo.join("blobs").join(sum(bytes)), bytes);
    put(&repo.join("refs/main"), commit.as_bytes());
    let link = repo.join("snapshots").join(commit).join(file);
    std::fs::create_dir_all(link.parent().expect("a folder")).expect("a folder");
    let target = PathBuf::from("../../blobs").join(sum(bytes));
    std::os::unix::fs::symlink(target, link).expect("a link");
}

fn put_into_ollama(root: &Path, bytes: &[u8]) {
    let sum = sum(bytes);
    put(&root.join(format!("blobs/sha256-{sum}")), bytes);
    let layers = json!({"layers": [{"mediaType": "application/vnd.ollama.image.model",
        "digest": format!("sha256:{sum}"), "size": bytes.len()}]});
    let manifest = root.join("manifests/registry.ollama.ai/library/tiny/latest");
    put(&manifest, layers.to_string().as_bytes());
}

/// A turn whose model is named by `model`, or by nobody.
fn turn(program: &Program, session: &str, model: Option<&str>) -> Ran {
    let script = program.folder.path().join("script.jsonl");
    std::fs::write(&script, json!({ "content": ANSWER }).to_string()).expect("a script");
    let mut command = program.command(&["--json", "--session", session]);
    command.args(&program.flags).arg("--script").arg(script);
    command.args(model.map(|name| ["-m", name]).iter().flatten());
    command.arg("Hello there");
    Ran::of(&command.output().expect("a run"))
}

fn names(program: &Program) -> Vec<String> {
    let output = program
        .command(&["models", "--json"])
        .output()
        .expect("a run");
    let ran = Ran::of(&output);
    assert_eq!(ran.code, Some(0), "{ran:?}");
    let name = |event: &Value| event["name"].as_str().expect("a name").to_owned();
    ran.events.iter().map(name).collect()
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[test]
fn what_other_programs_brought_is_listed_and_answers_where_it_lies() {
    let program = Program::new(Class::Dense);
    put_into_hub(
        &home(&program).join(".cache/huggingface/hub"),
        "T-Q8_0.gguf",
        &bytes(),
    );
    put_into_ollama(&home(&program).join(".ollama/models"), &bytes());
    assert_eq!(names(&program), ["hf:o/r:Q8_0", "ollama:tiny:latest"]);
    for (session, model) in [("a", "hf:o/r"), ("b", "ollama:tiny"), ("c", "hf:o/r:q8_0")] {
        let ran = turn(&program, session, Some(model));
        assert_eq!(ran.code, Some(0), "{model}: {ran:?}");
        let texts = ran.all("text");
        let text: String = texts.iter().filter_map(|e| e["text"].as_str()).collect();
        assert_eq!(text, ANSWER, "{model}");
    }
    // A session goes on with its own model, wherever that lies.
    for session in ["a", "b"] {
        let ran = turn(&program, session, None);
        assert_eq!(ran.code, Some(0), "{session}: {ran:?}");
        assert_eq!(ran.all("session")[0]["resumed"], true);
    }
    let rm = program
        .command(&["models", "rm", "ollama:tiny", "--yes"])
        .output()
        .expect("a run");
    assert_eq!(rm.status.code(), Some(1));
    assert!(
        said(&rm).contains("ollama:tiny:latest belongs to Ollama"),
        "{}",
        said(&rm)
    );
}

#[test]
fn a_first_start_without_a_terminal_is_one_sentence_and_wrong_usage() {
    let program = Program::new(Class::Dense);
    let ran = turn(&program, "a", None);
    assert_eq!(ran.code, Some(2), "{ran:?}");
    let error = ran.all("error")[0].clone();
    let message = "no model was named, and there is none in the models folder";
    assert_eq!(error["message"], message, "{error}");
    let hint = error["hint"].as_str().expect("a hint");
    assert!(
        hint.contains("`npast models pull qwen3-4b` fetches one"),
        "{hint}"
    );

    // One that another program brought is named instead.
    put_into_ollama(&home(&program).join(".ollama/models"), &bytes());
    let ran = turn(&program, "a", None);
    assert_eq!(ran.code, Some(2), "{ran:?}");
    let hint = ran.all("error")[0]["hint"]
        .as_str()
        .expect("a hint")
        .to_owned();
    assert_eq!(hint, "-m takes a path or one of: ollama:tiny:latest");
}

#[test]
fn a_first_start_on_a_terminal_offers_what_is_there_and_asks_once() {
    let program = Program::new(Class::Dense);
    put_into_ollama(&home(&program).join(".ollama/models"), &bytes());
    let chat = || {
        let mut command = program.command(&["--session", "work", "--no-tools"]);
        command.args(&program.flags);
        crate::screen::Screen::start(command)
    };
    let mut screen = chat();
    screen.until("1  ollama:tiny:latest");
    screen.until("number, or Enter for none]");
    screen.keys("\r");
    screen.until("no model was named");
    assert_eq!(screen.end().0, Some(2));

    let mut screen = chat();
    screen.until("number, or Enter for none]");
    screen.keys("1\r");
    screen.until("ollama:tiny:latest is the default model now");
    screen.until("> ");
    screen.keys("/quit\r");
    assert_eq!(screen.end().0, Some(0));

    let ran = turn(&program, "other", None);
    assert_eq!(
        ran.code,
        Some(0),
        "the default model needs no name: {ran:?}"
    );
}

#[test]
fn the_default_model_is_named_shown_and_missed_when_it_is_gone() {
    let program = Program::new(Class::Dense);
    let folder = program.desk.home.join("models");
    put(&folder.join("a.gguf"), &bytes());
    put(&folder.join("b.gguf"), &bytes());
    let run = |args: &[&str]| program.command(args).output().expect("a run");
    let ran = turn(&program, "s", None);
    assert_eq!(
        ran.code,
        Some(2),
        "two models, and none is the default: {ran:?}"
    );
    assert_eq!(run(&["models", "default", "nope"]).status.code(), Some(2));
    assert_eq!(run(&["models", "default", "b"]).status.code(), Some(0));
    assert_eq!(run(&["models", "default"]).stdout, b"b\n");
    assert_eq!(turn(&program, "s", None).code, Some(0));

    let asked = run(&["models", "rm", "b"]);
    assert_eq!(asked.status.code(), Some(2));
    assert!(said(&asked).contains("removing b has no way back"));
    std::fs::remove_file(folder.join("b.gguf")).expect("removed");
    let ran = turn(&program, "t", None);
    let error = ran.all("error")[0].clone();
    assert_eq!(
        (ran.code, &error["message"]),
        (Some(2), &json!("the default model b is gone"))
    );

    assert_eq!(run(&["models", "default", "a"]).status.code(), Some(0));
    assert_eq!(run(&["models", "rm", "a", "--yes"]).status.code(), Some(0));
    assert_eq!(names(&program), [""; 0]);
    assert!(run(&["models", "default"]).stdout.starts_with(b"none"));
}

#[test]
fn info_counts_what_a_context_takes_without_reading_weights() {
    let program = Program::new(Class::Dense);
    let path = program.desk.home.join("models/a.gguf");
    put(&path, &bytes());
    let output = program
        .command(&["models", "info", "a", "--json"])
        .output()
        .expect("a run");
    let ran = Ran::of(&output);
    assert_eq!(ran.code, Some(0), "{ran:?}");
    let info = &ran.events[0];
    assert_eq!(
        (&info["class"], &info["architecture"]),
        (&json!("dense"), &json!("qwen3"))
    );
    let doctor = program
        .command(&["doctor", "-m", "a"])
        .output()
        .expect("a run");
    let doctor = String::from_utf8_lossy(&doctor.stdout).into_owned();
    let per_token = info["caches"][0]["token_bytes"].as_u64().expect("a number");
    // What is stored of a token has its position beside it.
    let line = doctor.lines().find(|line| line.contains("bytes per token"));
    let line = line.expect("a line").replace(',', "");
    let stored = line
        .split_whitespace()
        .find_map(|word| word.parse::<u64>().ok());
    let more = stored.expect("a number").checked_sub(per_token);
    assert!(
        more.is_some_and(|more| more <= 32),
        "{line}, not {per_token}"
    );
    assert!(info["caches"][1]["token_bytes"].as_u64() < Some(per_token));
    assert_eq!(
        info["caches"][0]["largest"], info["trained"],
        "a tiny one fits"
    );

    let text = program
        .command(&["models", "info", "a"])
        .output()
        .expect("a run");
    let text = String::from_utf8_lossy(&text.stdout).into_owned();
    assert!(text.contains("bytes a token in f16 ="), "{text}");
}

/// Waits until so many came.
#[derive(Default)]
struct Gate {
    came: Mutex<usize>,
    more: Condvar,
}

impl Gate {
    fn come(&self) {
        *self.came.lock().expect("a gate") += 1;
        self.more.notify_all();
    }

    fn wait_for(&self, many: usize) {
        let came = self.came.lock().expect("a gate");
        let long = Duration::from_secs(60);
        let waited = self
            .more
            .wait_timeout_while(came, long, |came| *came < many);
        assert!(
            !waited.expect("a gate").1.timed_out(),
            "the other process never came"
        );
    }
}

fn pull(program: &Program, server: &Server) -> Child {
    let mut command = program.command(&["models", "pull", "hf:o/r", "--json"]);
    command.env("HF_ENDPOINT", &server.url);
    command.spawn().expect("a run")
}

#[test]
fn two_processes_that_pull_the_same_file_fetch_it_once() {
    let gate = Arc::new(Gate::default());
    let server = hub(&[("m.gguf", bytes())], {
        let gate = gate.clone();
        move |asked| {
            match asked.path.starts_with("/api/") {
                true => gate.come(),
                // The bytes come when the other process knows what it wants, too.
                false => gate.wait_for(2),
            }
            None
        }
    });
    let program = Program::new(Class::Dense);
    let both = [pull(&program, &server), pull(&program, &server)];
    for one in both {
        let ran = Ran::of(&one.wait_with_output().expect("a run"));
        assert_eq!(ran.code, Some(0), "{ran:?}");
        assert_eq!(ran.events[0]["name"], "hf:o/r:m.gguf");
    }
    assert_eq!(server.count("/resolve/"), 1);
    assert_eq!(names(&program), ["hf:o/r:m.gguf"]);
}

#[test]
fn a_disk_that_fills_up_ends_a_pull_with_a_sentence_and_the_next_one_goes_on() {
    let bytes = bytes();
    let server = hub(&[("m.gguf", bytes.clone())], |_| None);
    let program = Program::new(Class::Dense);
    // The system writes no file that is longer than so many blocks of half a kilobyte.
    let blocks = bytes.len() / 1024;
    let npast = program.command(&[]).get_program().to_owned();
    let mut full = program.command(&[]);
    full = {
        let mut shell = std::process::Command::new("sh");
        let line = format!("ulimit -f {blocks}; exec \"$0\" models pull hf:o/r");
        shell.args(["-c", &line]).arg(npast).env_clear();
        shell.envs(full.get_envs().filter_map(|(k, v)| Some((k, v?))));
        shell.env("HF_ENDPOINT", &server.url);
        shell
    };
    let output = full.output().expect("a run");
    assert_eq!(output.status.code(), Some(1), "{}", said(&output));
    assert!(
        said(&output).contains("make room and pull it again"),
        "{}",
        said(&output)
    );
    assert_eq!(names(&program), [""; 0]);

    let ran = Ran::of(&pull(&program, &server).wait_with_output().expect("a run"));
    assert_eq!(ran.code, Some(0), "{ran:?}");
    assert!(
        server.asked().last().expect("a request").from() > 0,
        "it went on"
    );
    assert_eq!(names(&program), ["hf:o/r:m.gguf"]);
}

#[test]
fn ctrl_c_ends_a_pull_and_what_came_stays() {
    let gate = Arc::new(Gate::default());
    let bytes = bytes();
    let server = hub(&[("m.gguf", bytes.clone())], {
        let (gate, bytes) = (gate.clone(), bytes.clone());
        move |asked| {
            (!asked.path.starts_with("/api/")).then(|| {
                gate.come();
                Reply::part(asked, &bytes).cut_after(1000)
            })
        }
    });
    let program = Program::new(Class::Dense);
    let pulling = pull(&program, &server);
    gate.wait_for(1);
    let pid = rustix::process::Pid::from_child(&pulling);
    rustix::process::kill_process(pid, rustix::process::Signal::INT).expect("a signal");
    let ran = Ran::of(&pulling.wait_with_output().expect("a run"));
    assert_eq!(ran.code, Some(130), "{ran:?}");
    assert_eq!(names(&program), [""; 0]);
}
