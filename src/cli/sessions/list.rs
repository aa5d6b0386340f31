//! `npast sessions list`: all sessions, and how much of each a new process would find on disk.

use serde_json::{Value, json};

use super::super::CliContext;
use super::super::error::Failure;
use super::super::output::{self, ago, count, notice, table};
use crate::agent::kv_owner;
use crate::harmless;
use crate::kv::StoredShare;
use crate::session::{Damaged, Db, Summary, Survey, Titled, now_ms};

/// A line of the list.
pub(super) struct SessionLine {
    pub summary: Summary,
    /// The name of the session it was made from.
    pub parent: Option<String>,
    /// `None` when the KV folder cannot be used.
    pub stored: Option<StoredShare>,
}

/// The list: lines of the sessions that can be read, the last used first, and the others.
#[derive(Default)]
pub(super) struct SessionLines {
    pub whole: Vec<SessionLine>,
    pub damaged: Vec<Damaged>,
}

pub(super) fn run(run: &CliContext, db: Option<&Db>) -> Result<i32, Failure> {
    let lines = db.map_or(Ok(SessionLines::default()), |db| read(run, db))?;
    if run.json {
        let whole = lines.whole.iter().map(as_json);
        let lines: Vec<Value> = whole.chain(lines.damaged.iter().map(damaged)).collect();
        return output::json::lines(&lines);
    }
    if lines.whole.is_empty() && lines.damaged.is_empty() {
        output::say("There are no sessions yet; npast --session NAME \"…\" starts one.");
        return Ok(0);
    }
    output::page(&listed(&lines, now_ms()))
}

/// All sessions.
///
/// # Errors
/// The database's. A KV folder that cannot be used is reported, and the list goes on.
pub(super) fn read(run: &CliContext, db: &Db) -> Result<SessionLines, Failure> {
    let Survey {
        whole: all,
        damaged,
    } = db.survey()?;
    let shelf = super::super::kv::open(&run.places.home, None).and_then(|folder| {
        let shelf = folder.map(|f| f.shelf()).transpose();
        Ok(shelf?)
    });
    if let Err(failure) = &shelf {
        notice(
            &format!("what is stored is not known: {}", failure.message),
            failure.hint.as_deref(),
        );
    }
    let name = |id| all.iter().find(|s| s.session.id == id);
    let line = |summary: &Summary| {
        let session = &summary.session;
        let stored = match &shelf {
            Ok(Some(shelf)) => {
                // The session was read whole a moment ago.
                let ledger = db.ledger(session.id).unwrap_or_default();
                Some(shelf.stored(&kv_owner(session.id), &ledger))
            }
            Ok(None) => Some(StoredShare::default()),
            Err(_) => None,
        };
        SessionLine {
            summary: summary.clone(),
            parent: session
                .parent
                .and_then(name)
                .map(|s| s.session.name.clone()),
            stored,
        }
    };
    Ok(SessionLines {
        whole: all.iter().map(line).collect(),
        damaged,
    })
}

/// A session that cannot be read whole.
pub(super) fn damaged(one: &Damaged) -> Value {
    json!({"id": one.id.0, "name": one.name, "damaged": one.what})
}

pub(super) fn as_json(line: &SessionLine) -> Value {
    let (s, stored) = (&line.summary, line.stored);
    json!({
        "id": s.session.id.0, "name": s.session.name, "messages": s.messages,
        "tokens": s.tokens, "stored": stored.map(|s| s.tokens), "shared": stored.map(|s| s.shared),
        "parent": line.parent, "forked": s.session.forked, "model": s.session.model,
        "class": s.session.class, "folder": s.session.folder, "used_ms": s.session.used_ms,
        "first_words": s.first_words, "title": s.title.as_ref().map(|t| &t.text), "damaged": null,
    })
}

pub(super) fn listed(lines: &SessionLines, now: i64) -> String {
    let mut text = match lines.whole.is_empty() {
        true => String::new(),
        false => table_of(&lines.whole, now),
    };
    for one in &lines.damaged {
        let name = harmless::line(&one.name);
        text.push_str(&format!(
            "{name} is damaged: {}; `npast sessions show {name}` prints what can be read of it, \
             `npast sessions rm {name}` removes it\n",
            harmless::line(&one.what)
        ));
    }
    text
}

fn table_of(lines: &[SessionLine], now: i64) -> String {
    let number = |stored: Option<usize>| stored.map_or_else(|| "?".to_owned(), count);
    let rows: Vec<Vec<String>> = lines
        .iter()
        .map(|line| {
            let s = &line.summary;
            vec![
                s.session.name.clone(),
                count(s.messages),
                count(s.tokens),
                number(line.stored.map(|s| s.tokens)),
                number(line.stored.map(|s| s.shared)),
                s.session.model.clone(),
                ago(now, s.session.used_ms),
                line.parent.clone().unwrap_or_default(),
                title(s),
            ]
        })
        .collect();
    let head = [
        "name",
        "messages",
        "tokens",
        "stored",
        "shared",
        "model",
        "last used",
        "from",
        "about",
    ];
    // Most people have no forks; a name by the user says what a session is about.
    let shown = |column: &usize| match column {
        7 => lines.iter().any(|line| line.parent.is_some()),
        8 => lines.iter().any(|line| !title(&line.summary).is_empty()),
        _ => true,
    };
    let columns: Vec<usize> = (0..head.len()).filter(shown).collect();
    let head: Vec<&str> = columns.iter().map(|column| head[*column]).collect();
    let of = |row: &Vec<String>| columns.iter().map(|column| row[*column].clone()).collect();
    let rows: Vec<Vec<String>> = rows.iter().map(of).collect();
    table(&head, &rows, &[1, 2, 3, 4])
}

/// What a session is about in the model's words. The user's first words are in its name already.
fn title(summary: &Summary) -> String {
    let title = summary.title.as_ref();
    title
        .filter(|title| title.made == Titled::Model)
        .map(|title| title.text.clone())
        .unwrap_or_default()
}
