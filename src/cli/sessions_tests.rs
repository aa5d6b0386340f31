use std::path::Path;

use serde_json::json;

use super::super::args::{SessionsListArgs, SessionsRmArgs};
use super::show::{as_json, said};
use super::*;
use crate::config::Places;
use crate::ledger::{Digest, Finish, Token};
use crate::session::{Lock, MessageState, SessionRecord};

pub(in crate::cli) fn at(dir: &Path) -> CliContext {
    CliContext {
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
        .create(&SessionRecord {
            name,
            folder: "/f",
            model: "m.gguf",
            class: "dense",
            vocab: Digest([0; 32]),
            template: Digest([0; 32]),
            fingerprint: Digest([0; 32]),
            system: None,
            tools: None,
            preface: None,
            head: &[Token(1), Token(2)],
            common: None,
            started_ms: 0,
            seed: 1,
            policy: "exact",
            parent: None,
            runs_tools: false,
            thinking: true,
            shift: false,
        })
        .unwrap();
    let mut unit = db.begin(session.id).unwrap();
    let user = json!({"role": "user", "content": "hi\n"});
    unit.add_message("user", &user, MessageState::Answered)
        .unwrap();
    let reply = json!({"role": "assistant", "content": "", "tool_calls":
        [{"id": "1", "function": {"name": "read", "arguments": "{\"p\":1}"}}]});
    let id = unit
        .add_message("assistant", &reply, MessageState::Answered)
        .unwrap();
    unit.set_finish(id, Finish::ToolCalls).unwrap();
    unit.commit().unwrap();
    session
}

fn does(run: &CliContext, command: SessionsCommand) -> String {
    match super::run(run, &sessions(command)) {
        Ok(code) => format!("exit {code}"),
        Err(f) => format!(
            "exit {}: {} | {}",
            f.exit,
            f.message,
            f.hint.unwrap_or_default()
        ),
    }
}

pub(in crate::cli) fn sessions(command: SessionsCommand) -> SessionsArgs {
    SessionsArgs {
        command: Some(command),
        list: SessionsListArgs::default(),
    }
}

pub(in crate::cli) fn rm(name: &str) -> SessionsCommand {
    SessionsCommand::Rm(SessionsRmArgs {
        names: vec![name.into()],
        older_than: None,
        yes: true,
    })
}

fn listing() -> SessionsCommand {
    SessionsCommand::List(SessionsListArgs::default())
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
        list::listed(&lines, session.used_ms + 7_200_000, None),
        "name  messages  tokens  stored  shared  model   last used\n\
         work         2       2       0       0  m.gguf  2 h\n"
    );
}

#[test]
fn a_list_shows_what_a_session_is_about_where_the_model_said_it() {
    let dir = tempfile::tempdir().unwrap();
    let session = store(dir.path(), "fix-the-parser");
    let run = at(dir.path());
    let db = Db::open(&run.places.db()).unwrap();
    db.begin_title(session.id, "Fix the parser").unwrap();
    let listed = || {
        let lines = list::read(&run, &db).unwrap();
        list::listed(&lines, session.used_ms + 7_200_000, None)
    };
    // The user's first words are its name.
    assert!(!listed().contains("about"), "{}", listed());
    db.set_title(session.id, Some("Parser repair")).unwrap();
    assert_eq!(
        listed(),
        "name            messages  tokens  stored  shared  model   last used  about\n\
         fix-the-parser         2       2       0       0  m.gguf  2 h        Parser repair\n"
    );
    let lines = list::read(&run, &db).unwrap();
    assert_eq!(list::as_json(&lines.whole[0])["title"], "Parser repair");
    db.rename(session.id, "mine").unwrap();
    assert!(!listed().contains("Parser repair"), "{}", listed());
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
    assert_eq!(does(&run, listing()), "exit 0");

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

/// The damage that a test does: SQL without the rules of the tables.
pub(in crate::cli) fn harm(dir: &Path, sql: &str) {
    crate::session::harm(&dir.join("npast.db"), sql);
}

#[test]
fn a_damaged_session_is_listed_shown_renamed_and_removed_and_others_are_not_disturbed() {
    let dir = tempfile::tempdir().unwrap();
    let run = at(dir.path());
    let broken = store(dir.path(), "broken");
    store(dir.path(), "work");
    harm(
        dir.path(),
        "UPDATE messages SET state = 'odd' WHERE session = 1 AND seq = 0",
    );
    let db = Db::open(&run.places.db()).unwrap();
    let lines = list::read(&run, &db).unwrap();
    assert_eq!(
        list::listed(
            &lines,
            lines.whole[0].summary.session.used_ms + 7_200_000,
            None
        ),
        "name  messages  tokens  stored  shared  model   last used\n\
         work         2       2       0       0  m.gguf  2 h\n\
         broken is damaged: message 0 has an unknown state; `npast sessions show broken` prints \
         what can be read of it, `npast sessions rm broken` removes it\n"
    );
    let line = list::damaged(&lines.damaged[0]);
    let want = json!({"id": 1, "name": "broken", "damaged": "message 0 has an unknown state"});
    assert_eq!(line, want);

    let refused = "exit 1: session \"broken\" (id 1) is damaged: message 0 has an unknown state | \
                   `npast sessions show NAME` prints what can be read of it, `npast sessions rm \
                   NAME` removes it; other sessions are not affected";
    let name = || "broken".to_owned();
    let table = [
        (listing(), "exit 0"),
        // Not all of it was printed.
        (
            SessionsCommand::Show {
                name: name(),
                all: true,
                lineage: false,
                receipts: false,
            },
            "exit 1",
        ),
        (
            SessionsCommand::Undo {
                name: name(),
                turns: 1,
            },
            refused,
        ),
        (
            SessionsCommand::Redo {
                name: name(),
                branch: None,
            },
            refused,
        ),
        (
            SessionsCommand::Fork {
                name: name(),
                new: None,
                at: None,
            },
            refused,
        ),
        (rename("broken", "old"), "exit 0"),
        (rm("old"), "exit 0"),
        (
            rm("id:1"),
            "exit 1: a session named \"id:1\" is not in the session database | \
                      `npast sessions list` shows the names",
        ),
    ];
    for (command, want) in table {
        let said = format!("{command:?}");
        assert_eq!(does(&run, command), want, "{said}");
    }
    assert!(matches!(db.get(broken.id), Err(DbError::NotFound(_))));
    let left = list::read(&run, &db).unwrap();
    assert_eq!((left.whole.len(), left.damaged.len()), (1, 0));
}

#[test]
fn what_can_be_read_of_a_damaged_session_is_shown_with_what_is_missing() {
    let dir = tempfile::tempdir().unwrap();
    let run = at(dir.path());
    let session = store(dir.path(), "broken");
    harm(
        dir.path(),
        "UPDATE sessions SET name = NULL, vocab = x'00', system = 'Be brief.';
         UPDATE messages SET body = 'no JSON' WHERE seq = 0;
         UPDATE chunks SET tokens = x'0100000002000000030000' WHERE start = 0",
    );
    let db = Db::open(&run.places.db()).unwrap();
    let found = db.salvage(session.id).unwrap();
    assert_eq!(
        show::as_text(&db, session.id, &found, false).unwrap(),
        "id:1 · 0 tokens can be read\n\n\
         This session is damaged, and what follows is what can be read of it:\n  \
           its name cannot be read\n  \
           the ledger chunk at token 0 has 11 bytes\n  \
           message 0 has a text that cannot be read: expected ident at line 1 column 2\n\n\
         system: Be brief.\n\n\
         user: no JSON\n\n\
         assistant (tool calls): \n  call: read {\"p\":1}\n"
    );
    let lines = show::as_lines(&db, session.id, &found, false).unwrap();
    assert_eq!(
        lines[0],
        json!({"type": "damaged", "what": "its name cannot be read"})
    );
    assert_eq!(lines[3]["message"]["content"], "no JSON");
    assert_eq!(does(&run, rename("id:1", "found")), "exit 0");
    assert_eq!(does(&run, rm("found")), "exit 0");
    assert_eq!(does(&run, listing()), "exit 0");
}
