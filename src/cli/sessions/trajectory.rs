//! `npast sessions export|import`: sessions as JSON Lines. No model is loaded: a session with tokens goes
//! on under its own vocabulary, and messages alone are read by the model that opens them.

use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::path::Path;

use serde_json::json;

use super::super::CliContext;
use super::super::args::{ExportArgs, ImportArgs};
use super::super::error::Failure;
use super::super::kv;
use super::super::output::{self, count, notice};
use crate::agent::kv_owner;
use crate::durable::{self, private};
use crate::harmless;
use crate::session::{self, Db, Session, SessionId, check_name};
use crate::trajectory::{self, ImportPlan, MOST_LINE};

/// Writes a session, or all of its lineage.
pub(super) fn export(
    run: &CliContext,
    db: &Db,
    session: &Session,
    args: &ExportArgs,
) -> Result<i32, Failure> {
    let chain = match args.lineage {
        true => db.lineage(session.id)?,
        false => vec![session.clone()],
    };
    let among: Vec<(SessionId, String)> = chain.iter().map(|s| (s.id, s.name.clone())).collect();
    let mut lines = among.iter().map(|(id, name)| {
        let line = trajectory::line(&db.trajectory(*id)?, args.form.into(), &among);
        if line.len() > MOST_LINE {
            return Err(Failure::failed(
                "session",
                format!(
                    "\"{}\" is a line of {} bytes, and a line may have {} MiB",
                    harmless::line(name),
                    line.len(),
                    MOST_LINE >> 20
                ),
            )
            .hint("an import would refuse it; compress the session, or fork a part of it"));
        }
        Ok(line)
    });
    let Some(path) = &args.output else {
        return lines
            .try_for_each(|line| output::json::texts([line?]).map(drop))
            .map(|()| 0);
    };
    let bytes = write(path, lines)?;
    if run.json {
        return output::json::lines(&[json!({
            "type": "export", "file": path, "sessions": chain.len(), "bytes": bytes,
        })]);
    }
    if !run.quiet {
        output::say(&format!(
            "{}: {} of {} bytes.",
            harmless::line(&path.display().to_string()),
            sessions(chain.len()),
            count(bytes)
        ));
    }
    Ok(0)
}

/// Writes lines into a new file that only this user may read; nothing is left where that fails.
fn write(
    path: &Path,
    lines: impl Iterator<Item = Result<String, Failure>>,
) -> Result<usize, Failure> {
    let shown = path.display().to_string();
    let shown = harmless::line(&shown);
    let failed = |error: io::Error| match error.kind() {
        io::ErrorKind::AlreadyExists => {
            Failure::usage(format!("{shown} exists already"), "name another file")
        }
        _ => Failure::failed("io", format!("{shown} cannot be written: {error}")),
    };
    let file = private::create(path).map_err(failed)?;
    let mut out = BufWriter::new(&file);
    let mut bytes = 0;
    let mut put = |line: String| {
        bytes += line.len() + 1;
        writeln!(out, "{line}")
    };
    let mut done = Ok(());
    for line in lines {
        done = line.and_then(|line| put(line).map_err(failed));
        if done.is_err() {
            break;
        }
    }
    let done = done.and_then(|()| {
        out.flush().map_err(failed)?;
        file.sync_all().map_err(failed)?;
        let folder = path
            .parent()
            .filter(|folder| !folder.as_os_str().is_empty());
        durable::sync_folder(folder.unwrap_or(Path::new("."))).map_err(failed)
    });
    if done.is_err() {
        let _ = fs::remove_file(path);
    }
    done.map(|()| bytes)
}

/// Reads a file's sessions into npast.db: all, or none.
pub(super) fn import(run: &CliContext, args: &ImportArgs) -> Result<i32, Failure> {
    if let Some(name) = &args.name {
        check_name(name).map_err(session::DbError::from)?;
    }
    let shown = args.file.display().to_string();
    let shown = harmless::line(&shown);
    let unread = |error: &io::Error| {
        Failure::usage(
            format!("{shown} cannot be read: {error}"),
            "correct the path, or the file's permissions",
        )
    };
    let mut file = File::open(&args.file).map_err(|e| unread(&e))?;
    if !file.metadata().map_err(|e| unread(&e))?.is_file() {
        return Err(Failure::usage(
            format!("{shown} is no regular file"),
            "an import is read twice; write what a pipe gives to a file first",
        ));
    }
    let folder = std::env::current_dir()
        .map_err(|e| Failure::failed("io", format!("the current folder is gone: {e}")))?;
    let db = Db::open(&run.places.db())?;
    let plan = ImportPlan {
        name: args.name.as_deref(),
        folder: &folder.to_string_lossy(),
        exact: !args.messages,
    };
    let made = trajectory::import(&db, &mut file, &plan).map_err(|error| match error {
        trajectory::ImportError::Session(error) => error.into(),
        trajectory::ImportError::Line {
            line,
            error: error @ session::DbError::Damaged { .. },
        } => wrong(&shown, &format!("line {line}: {error}")),
        trajectory::ImportError::Line { error, .. } => error.into(),
        trajectory::ImportError::Io(error) => unread(&error),
        error => wrong(&shown, &error.to_string()),
    })?;
    let mut lines = Vec::new();
    for session in &made {
        let tokens = db.length(session.id)?;
        if let Err(failure) = hold(run, &db, session) {
            notice(
                &format!(
                    "what is stored of \"{}\" may be collected: {}",
                    harmless::line(&session.name),
                    failure.message
                ),
                Some("its first turn may read it again"),
            );
        }
        let messages = db.messages(session.id)?.len();
        if run.json {
            lines.push(json!({
                "type": "import", "id": session.id.0, "name": session.name,
                "messages": messages, "tokens": tokens,
            }));
        } else if !run.quiet {
            let tokens = match tokens {
                0 => "no tokens: the model that opens it reads its messages".to_owned(),
                tokens => format!("{} tokens", count(tokens)),
            };
            output::say(&format!(
                "{}: {} messages, {tokens}.",
                harmless::line(&session.name),
                count(messages)
            ));
        }
    }
    output::json::lines(&lines)
}

fn wrong(shown: &str, what: &str) -> Failure {
    Failure::usage(
        format!("{shown} is not imported: {}", harmless::line(what)),
        "nothing was stored; a line is {\"messages\":[{\"role\":…,\"content\":…}]} or \
         {\"conversations\":[{\"from\":…,\"value\":…}]}",
    )
}

/// What is stored of its tokens, perhaps by the session that was exported, is this session's too.
fn hold(run: &CliContext, db: &Db, session: &Session) -> Result<(), Failure> {
    if let Some(folder) = kv::open(&run.places.home, None)? {
        let ledger = db.ledger(session.id)?;
        let all = ledger.len() - db.pending(session.id)?;
        let decoded = db.decoded(session.id)?.unwrap_or(all);
        folder.hold(&kv_owner(session.id), &ledger, decoded)?;
    }
    Ok(())
}

fn sessions(n: usize) -> String {
    match n {
        1 => "one session".to_owned(),
        n => format!("{} sessions", count(n)),
    }
}
