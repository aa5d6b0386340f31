use serde_json::json;

use super::super::SessionsCommand;
use super::super::tests::{at, sessions, store};
use super::*;
use crate::ledger::Token;
use crate::session::{MessageState, Span};

/// A session "work" of two turns, four tokens each, after its head of two.
fn talked(dir: &std::path::Path) -> CliContext {
    let session = store(dir, "work");
    let run = at(dir);
    let mut db = Db::open(&run.places.db()).unwrap();
    let mut unit = db.begin(session.id).unwrap();
    // The messages of the sample have no tokens.
    let nothing = crate::session::CutPoint {
        after: None,
        at: 2,
        pending: 0,
    };
    unit.abandon(nothing, crate::session::Why::Undo).unwrap();
    for (i, (role, words)) in [
        ("user", "one"),
        ("assistant", "yes"),
        ("user", "two"),
        ("assistant", "no"),
    ]
    .iter()
    .enumerate()
    {
        let body = json!({"role": role, "content": words});
        let id = unit
            .add_message(role, &body, MessageState::Answered)
            .unwrap();
        let start = 2 + 2 * i;
        unit.append_tokens(start, &[Token(7), Token(8)]).unwrap();
        let end = start + 2;
        unit.set_span(id, Span { start, end }).unwrap();
    }
    unit.set_pending(1).unwrap();
    unit.commit().unwrap();
    run
}

fn does(run: &CliContext, command: SessionsCommand) -> Result<i32, (i32, String)> {
    super::super::run(run, &sessions(command)).map_err(|f| (f.exit, f.message))
}

fn undo(turns: usize) -> SessionsCommand {
    SessionsCommand::Undo {
        name: "work".into(),
        turns,
    }
}

fn redo(branch: Option<i64>) -> SessionsCommand {
    SessionsCommand::Redo {
        name: "work".into(),
        branch,
    }
}

fn fork(new: Option<&str>, at: Option<usize>) -> SessionsCommand {
    SessionsCommand::Fork {
        name: "work".into(),
        new: new.map(str::to_owned),
        at,
    }
}

fn tokens(run: &CliContext, name: &str) -> usize {
    let db = Db::open(&run.places.db()).unwrap();
    let id = db.find(name).unwrap().unwrap().id;
    db.ledger(id).unwrap().len()
}

#[test]
fn turns_are_taken_back_and_put_back_without_a_model() {
    let dir = tempfile::tempdir().unwrap();
    let run = talked(dir.path());
    assert_eq!(does(&run, undo(1)), Ok(0));
    assert_eq!(tokens(&run, "work"), 6);
    assert_eq!(does(&run, redo(None)), Ok(0));
    assert_eq!(tokens(&run, "work"), 10);
    let wrong = |exit, what: &str| Err((exit, what.to_owned()));
    let table = [
        (
            undo(3),
            wrong(2, "3 turns cannot be taken back: session work has 2 turns"),
        ),
        (undo(0), wrong(2, "0 turns to take back")),
        (redo(Some(99)), wrong(2, "there is no branch 99")),
    ];
    for (command, want) in table {
        assert_eq!(does(&run, command), want);
    }
    assert_eq!(tokens(&run, "work"), 10);
}

#[test]
fn a_fork_is_made_without_a_model_and_shows_where_it_comes_from() {
    let dir = tempfile::tempdir().unwrap();
    let run = talked(dir.path());
    assert_eq!(does(&run, fork(Some("aside"), Some(1))), Ok(0));
    assert_eq!(does(&run, fork(None, None)), Ok(0));
    assert_eq!((tokens(&run, "aside"), tokens(&run, "work-2")), (6, 10));
    let db = Db::open(&run.places.db()).unwrap();
    let aside = db.find("aside").unwrap().unwrap();
    assert_eq!(
        lineage(&db, &aside).unwrap(),
        "  from work, 6 tokens of it\n"
    );
    let lines = super::super::list::read(&run, &db).unwrap();
    let aside = lines
        .whole
        .iter()
        .find(|l| l.summary.session.name == "aside");
    let line = super::super::list::as_json(aside.unwrap());
    assert_eq!(
        (&line["parent"], &line["forked"]),
        (&json!("work"), &json!(6))
    );
    let wrong = |exit, what: &str| Err((exit, what.to_owned()));
    let table = [
        (
            fork(Some("aside"), None),
            wrong(1, "a session named \"aside\" exists already"),
        ),
        (
            fork(Some("../x"), None),
            wrong(2, "a session name may not contain the separator '/'"),
        ),
        (
            fork(None, Some(3)),
            wrong(2, "there is no turn 3: session work has 2 turns"),
        ),
    ];
    for (command, want) in table {
        assert_eq!(does(&run, command), want);
    }
}

#[test]
fn a_session_that_somebody_talks_in_is_not_cut_but_can_be_forked() {
    let dir = tempfile::tempdir().unwrap();
    let run = talked(dir.path());
    let db = Db::open(&run.places.db()).unwrap();
    let id = db.find("work").unwrap().unwrap().id;
    let _held = Lock::session(dir.path(), id).unwrap();
    let pid = std::process::id();
    let held = Err((1, format!("the session is in use by process {pid}")));
    for command in [undo(1), redo(None)] {
        assert_eq!(does(&run, command), held);
    }
    assert_eq!(does(&run, fork(Some("aside"), None)), Ok(0));
    assert_eq!(tokens(&run, "work"), 10);
}

#[test]
fn a_branch_is_shown_with_where_it_goes_off() {
    let dir = tempfile::tempdir().unwrap();
    let run = talked(dir.path());
    does(&run, undo(1)).unwrap();
    let db = Db::open(&run.places.db()).unwrap();
    let session = db.find("work").unwrap().unwrap();
    let branches = db.branches(session.id).unwrap();
    let branch = branches.last().unwrap();
    let messages = db.branch_messages(session.id, branch.id).unwrap();
    assert_eq!(
        title(branch),
        format!(
            "\n── branch {}: left by undo, 4 tokens after token 6\n",
            branch.id.0
        )
    );
    assert_eq!(messages.len(), 2);
    assert_eq!(as_json(branch)["why"], "undo");
}
