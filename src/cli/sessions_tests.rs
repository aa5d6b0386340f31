use std::path::Path;

use super::*;
use crate::config::Places;
use crate::ledger::{Digest, Finish};
use crate::session::NewSession;

pub(in crate::cli) fn at(dir: &Path) -> Run {
    Run {
        places: Places {
            home: dir.to_owned(),
            config: dir.join("config.toml"),
            config_named: false,
        },
        json: false,
        quiet: true,
    }
}

pub(in crate::cli) fn store(dir: &Path, name: &str) -> Session {
    let mut db = Db::open(&dir.join("npast.db")).unwrap();
    let session = db
        .create(&NewSession {
            name,
            folder: "/f",
            model: "m.gguf",
            class: "dense",
            vocab: Digest([0; 32]),
            template: Digest([0; 32]),
            fingerprint: Digest([0; 32]),
            system: None,
            tools: None,
            head: &[Token(1), Token(2)],
            started_ms: 0,
            seed: 1,
            policy: "exact",
            parent: None,
            runs_tools: false,
        })
        .unwrap();
    let mut unit = db.begin(session.id).unwrap();
    let user = json!({"role": "user", "content": "hi\n"});
    unit.add_message("user", &user, State::Answered).unwrap();
    let reply = json!({"role": "assistant", "content": "", "tool_calls":
        [{"id": "1", "function": {"name": "read", "arguments": "{\"p\":1}"}}]});
    let id = unit
        .add_message("assistant", &reply, State::Answered)
        .unwrap();
    unit.set_finish(id, Finish::ToolCalls).unwrap();
    unit.commit().unwrap();
    session
}

fn does(run: &Run, command: SessionsCommand) -> String {
    match super::run(run, &SessionsArgs { command }) {
        Ok(code) => format!("exit {code}"),
        Err(f) => format!(
            "exit {}: {} | {}",
            f.exit,
            f.message,
            f.hint.unwrap_or_default()
        ),
    }
}

fn rm(name: &str) -> SessionsCommand {
    SessionsCommand::Rm {
        name: name.into(),
        yes: true,
    }
}

fn rename(name: &str, to: &str) -> SessionsCommand {
    SessionsCommand::Rename {
        name: name.into(),
        to: to.into(),
    }
}

#[test]
fn the_list_is_a_table_of_name_messages_tokens_model_and_age() {
    let dir = tempfile::tempdir().unwrap();
    let session = store(dir.path(), "work");
    let run = at(dir.path());
    let db = Db::open(&run.places.db()).unwrap();
    let lines = list::read(&run, &db).unwrap();
    assert_eq!(
        list::listed(&lines, session.used_ms + 7_200_000),
        "name  messages  tokens  stored  shared  model   last used\n\
         work         2       2       0       0  m.gguf  2 h\n"
    );
}

#[test]
fn a_message_is_shown_with_its_calls_and_how_it_ended() {
    let dir = tempfile::tempdir().unwrap();
    let session = store(dir.path(), "work");
    let db = Db::open(&at(dir.path()).places.db()).unwrap();
    let messages = db.messages(session.id).unwrap();
    let text: String = messages.iter().map(said).collect();
    assert_eq!(
        text,
        "\nuser: hi\n\nassistant (tool calls): \n  call: read {\"p\":1}\n"
    );
    let line = as_json(&messages[1]);
    assert_eq!(line["finish"], "tool_calls");
    assert_eq!(line["message"]["role"], "assistant");
}

#[test]
fn a_name_that_is_missing_wrong_or_taken_is_one_sentence() {
    let dir = tempfile::tempdir().unwrap();
    let run = at(dir.path());
    let missing = "exit 1: a session named \"x\" is not in the session database | \
                   `npast sessions list` shows the names";
    assert_eq!(does(&run, rm("x")), missing);
    assert!(!run.places.db().exists(), "looking makes no database");
    assert_eq!(does(&run, SessionsCommand::List), "exit 0");

    store(dir.path(), "a");
    store(dir.path(), "b");
    let table = [
        (rm("x"), missing),
        (
            rename("a", "../x"),
            "exit 2: a session name may not contain the separator '/' | \
             choose a short name, such as `work` or `fix-the-parser`",
        ),
        (
            rename("a", "b"),
            "exit 1: a session named \"b\" exists already | \
             choose another name, or go on with that one by `--session NAME`",
        ),
        (rename("a", "c"), "exit 0"),
        (rm("c"), "exit 0"),
    ];
    for (command, want) in table {
        assert_eq!(does(&run, command), want);
    }
    let left = Db::open(&run.places.db()).unwrap().list().unwrap();
    assert_eq!(left.len(), 1);
}

#[test]
fn a_session_that_somebody_talks_in_is_not_removed() {
    let dir = tempfile::tempdir().unwrap();
    let session = store(dir.path(), "work");
    let _held = Lock::session(dir.path(), session.id).unwrap();
    let told = does(&at(dir.path()), rm("work"));
    let pid = std::process::id();
    assert!(
        told.starts_with(&format!("exit 1: the session is in use by process {pid} |")),
        "{told}"
    );
}
