//! `npast sessions list`: all sessions, and how much of each a new process would find on disk.

use serde_json::{Value, json};
use unicode_width::UnicodeWidthStr;

use super::super::CliContext;
use super::super::args::SessionsListArgs;
use super::super::error::Failure;
use super::super::output::{self, ago, count, cut, notice, table};
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

pub(super) fn run(
    run: &CliContext,
    db: Option<&Db>,
    args: &SessionsListArgs,
) -> Result<i32, Failure> {
    let mut lines = db.map_or(Ok(SessionLines::default()), |db| read(run, db))?;
    if args.here {
        let here = std::env::current_dir()
            .map_err(|e| Failure::failed("io", format!("the current folder is gone: {e}")))?;
        let here = here.to_string_lossy();
        lines
            .whole
            .retain(|line| line.summary.session.folder == here);
    }
    let all = lines.whole.len();
    lines.whole.truncate(args.most.unwrap_or(usize::MAX));
    if run.json {
        let whole = lines.whole.iter().map(as_json);
        let lines: Vec<Value> = whole.chain(lines.damaged.iter().map(damaged)).collect();
        return output::json::lines(&lines);
    }
    if all == 0 && lines.damaged.is_empty() {
        output::say(match args.here {
            true => {
                "There are no sessions of this folder yet; npast --session NAME \"…\" starts one."
            }
            false => "There are no sessions yet; npast --session NAME \"…\" starts one.",
        });
        return Ok(0);
    }
    // A program gets whole lines.
    let width = output::screen().columns();
    let done = output::page(&listed(&lines, now_ms(), width))?;
    let left = all - lines.whole.len();
    if left > 0 && !run.quiet {
        output::say(&format!("… {} more", count(left)));
    }
    Ok(done)
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

/// The list as text; on a terminal of `width` columns every row is one line.
pub(super) fn listed(lines: &SessionLines, now: i64, width: Option<usize>) -> String {
    let mut text = match lines.whole.is_empty() {
        true => String::new(),
        false => table_of(&lines.whole, now, width),
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

fn table_of(lines: &[SessionLine], now: i64, width: Option<usize>) -> String {
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
    fitted(&head, &rows, columns, width)
}

/// Columns that a narrow terminal goes without, in this order: shared, stored, from, tokens, model,
/// messages, about.
static LESS: [usize; 7] = [4, 3, 7, 2, 5, 1, 8];
/// The narrowest that a name and a title become before columns go.
const NARROW: usize = 16;

/// The table, as narrow as `width` asks for: titles and names are cut, columns go, and then names are cut
/// further.
fn fitted(
    head: &[&str],
    rows: &[Vec<String>],
    mut columns: Vec<usize>,
    width: Option<usize>,
) -> String {
    let right: &[usize] = &[1, 2, 3, 4];
    let made = |columns: &[usize], most: &dyn Fn(usize) -> usize| {
        let titles: Vec<&str> = columns.iter().map(|column| head[*column]).collect();
        let cell = |row: &Vec<String>, column: usize| {
            let text = harmless::line(&row[column]).into_owned();
            cut(&text, most(column))
        };
        let rows: Vec<Vec<String>> = rows
            .iter()
            .map(|row| columns.iter().map(|column| cell(row, *column)).collect())
            .collect();
        let right: Vec<usize> = (0..columns.len())
            .filter(|at| right.contains(&columns[*at]))
            .collect();
        table(&titles, &rows, &right)
    };
    let whole = made(&columns, &|_| usize::MAX);
    let Some(width) = width else {
        return whole;
    };
    let fits = |text: &str| text.lines().all(|line| line.width() <= width);
    if fits(&whole) {
        return whole;
    }
    let order = LESS.iter().map(Some).chain([None]);
    for gone in order {
        // The title is cut first, then the name.
        for (name, title) in [(usize::MAX, NARROW), (NARROW, NARROW)] {
            let most = |column: usize| match column {
                0 => name,
                8 => title,
                _ => usize::MAX,
            };
            // As wide as there is room for.
            let least = made(&columns, &most);
            if fits(&least) {
                let room = width - least.lines().map(|line| line.width()).max().unwrap_or(0);
                let more = |column: usize| match column {
                    0 if name == NARROW => NARROW + room,
                    8 if name != NARROW => NARROW + room,
                    column => most(column),
                };
                let wide = made(&columns, &more);
                return if fits(&wide) { wide } else { least };
            }
        }
        if let Some(gone) = gone {
            columns.retain(|column| column != gone);
        }
    }
    let mut name = NARROW;
    loop {
        let text = made(&columns, &|column| {
            if column == 0 { name } else { usize::MAX }
        });
        if fits(&text) || name <= 4 {
            return text;
        }
        name -= 1;
    }
}

/// What a session is about in the model's words. The user's first words are in its name already.
fn title(summary: &Summary) -> String {
    let title = summary.title.as_ref();
    title
        .filter(|title| title.made == Titled::Model)
        .map(|title| title.text.clone())
        .unwrap_or_default()
}
