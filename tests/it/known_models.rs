//! A session knows its model: the second start needs no name, a file that moved is found, and where it is
//! gone or another model has its place the user learns where it was.

use std::path::{Path, PathBuf};

use serde_json::json;

use crate::gateway::Server;
use crate::model::{self, Class};
use crate::program::{Program, Ran};

/// A tiny model at a path; another seed gives other weights.
fn put(path: &Path, seed: u64) {
    let options = model::Options {
        chat_template: Some(model::CHATML),
        seed,
        ..model::Options::default()
    };
    std::fs::create_dir_all(path.parent().expect("a folder")).expect("a folder");
    model::write_tiny_model(Class::Dense, &options, path).expect("a model");
}

fn at(program: &Program, name: &str) -> PathBuf {
    program.folder.path().join(name)
}

/// A turn with these flags.
fn turn(program: &Program, flags: &[&str]) -> Ran {
    let script = at(program, "script.jsonl");
    std::fs::write(&script, json!({"content": "Good day."}).to_string()).expect("a script");
    let mut command = program.command(&["--json"]);
    command.args(&program.flags).arg("--script").arg(script);
    command.args(flags).arg("Hello there");
    Ran::of(&command.output().expect("a run"))
}

fn failed(ran: &Ran) -> (String, String) {
    assert_eq!(ran.code, Some(2), "{ran:?}");
    let error = ran.all("error")[0].clone();
    let text = |key: &str| error[key].as_str().unwrap_or_default().to_owned();
    (text("message"), text("hint"))
}

#[test]
fn a_session_goes_on_with_its_model_wherever_the_file_is_now() {
    let program = Program::new(Class::Dense);
    let old = at(&program, "old place/my model.gguf");
    put(&old, 1);
    let named = ["--session", "work", "-m", "old place/my model.gguf"];
    assert_eq!(turn(&program, &named).code, Some(0));
    for flags in [&["--session", "work"][..], &["-c"]] {
        let ran = turn(&program, flags);
        assert_eq!(ran.code, Some(0), "{ran:?}");
        assert_eq!(ran.all("session")[0]["resumed"], true);
        assert_eq!(ran.said("the model of session"), 0, "{ran:?}");
    }
    // Renamed, into a name with a control character; then into npast's folder.
    let mut before = old;
    for place in [
        at(&program, "old place/new\u{1b}[2J name.gguf"),
        program.desk.home.join("models/mine.gguf"),
    ] {
        std::fs::create_dir_all(place.parent().expect("a folder")).expect("a folder");
        std::fs::rename(&before, &place).expect("moved");
        let ran = turn(&program, &["-c"]);
        assert_eq!(ran.code, Some(0), "{ran:?}");
        assert_eq!(ran.said("the model of session work is "), 1, "{ran:?}");
        assert!(!ran.errors.contains('\u{1b}'), "{ran:?}");
        // It is remembered there.
        assert_eq!(turn(&program, &["-c"]).said("the model of session"), 0);
        before = place;
    }
    // A name that leads nowhere.
    std::fs::remove_file(&before).expect("removed");
    std::os::unix::fs::symlink(at(&program, "nowhere"), &before).expect("a link");
    put(&at(&program, "other/b.gguf"), 2);
    let (message, hint) = failed(&turn(&program, &["--session", "work"]));
    let was = before.display().to_string();
    assert_eq!(
        message,
        format!("the model of session work is gone: it was {was}")
    );
    assert!(hint.contains("-m"), "{hint}");
    // Another model under the same name.
    std::fs::remove_file(&before).expect("removed");
    put(&before, 2);
    let (message, hint) = failed(&turn(&program, &["-c"]));
    assert_eq!(
        message,
        format!("session work was used with another model than the one that is {was} now")
    );
    assert_eq!(
        hint,
        "the session goes on with another model: -m takes a path or one of: mine"
    );
    // It goes on with it where the user says so, and knows that one from then on.
    assert_eq!(turn(&program, &["-c", "-m", "mine"]).code, Some(0));
    assert_eq!(turn(&program, &["-c"]).code, Some(0));
}

#[test]
fn a_gateway_that_serves_the_same_model_from_another_place_is_used_and_another_is_not() {
    let program = Program::new(Class::Dense);
    let old = at(&program, "old/a.gguf");
    put(&old, 1);
    let named = ["--session", "work", "-m", "old/a.gguf"];
    assert_eq!(turn(&program, &named).code, Some(0));
    let moved = at(&program, "b.gguf");
    std::fs::rename(&old, &moved).expect("moved");
    let serve = |program: Program, model: &Path| {
        let mut command = program.command(&["serve", "--json", "--listen", "127.0.0.1:0"]);
        command.args(&program.flags).arg("-m").arg(model);
        Server::run(program, command)
    };
    let server = serve(program, &moved);
    let ran = turn(&server.program, &["--session", "work"]);
    assert_eq!(ran.code, Some(0), "{ran:?}");
    let program = server.stop();
    // The same name in the same place, and other weights.
    put(&at(&program, "c/b.gguf"), 2);
    let server = serve(program, Path::new("c/b.gguf"));
    let (message, _) = failed(&turn(&server.program, &["--session", "work"]));
    let served = at(&server.program, "c/b.gguf")
        .canonicalize()
        .expect("a path");
    assert!(message.contains("session work was used with "), "{message}");
    assert!(
        message.contains(&format!("serves {}", served.display())),
        "{message}"
    );
    assert_eq!(turn(&server.program, &["--session", "new"]).code, Some(0));
}
