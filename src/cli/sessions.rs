//! `npast sessions`: rename. What is removed is in `remove`, what goes back or aside is in `branch`, the list in `list`, one
//! session's content in `show`, sessions as lines of JSON in `trajectory`. A damaged session can be
//! listed, shown, renamed and removed.

mod branch;
mod compress;
mod list;
mod receipts;
mod remove;
mod show;
mod trajectory;

pub use compress::run as compress;

use super::CliContext;
use super::args::{SessionsArgs, SessionsCommand};
use super::error::Failure;
use crate::harmless;
use crate::session::{Db, DbError, Session, SessionId};

/// Runs the subcommand.
pub fn run(run: &CliContext, args: &SessionsArgs) -> Result<i32, Failure> {
    let path = run.places.db();
    // Looking makes no database.
    let db = match path.is_file() {
        true => Some(Db::open(&path)?),
        false => None,
    };
    match (&args.command, db) {
        (None | Some(SessionsCommand::List(_)), db) => list::run(run, db.as_ref(), &args.list),
        (
            Some(SessionsCommand::Show {
                name,
                lineage: true,
                ..
            }),
            db,
        ) => {
            let (db, session) = named(db, name)?;
            branch::chain(run, &db, &session)
        }
        (
            Some(SessionsCommand::Show {
                name,
                receipts: true,
                ..
            }),
            db,
        ) => {
            let (db, id) = known(db, name)?;
            receipts::run(run, &db, id)
        }
        (Some(SessionsCommand::Show { name, all, .. }), db) => {
            let (db, id) = known(db, name)?;
            show::run(run, &db, id, *all)
        }
        (Some(SessionsCommand::Undo { name, turns }), db) => {
            let (db, session) = newest(db, name)?;
            branch::undo(run, db, &session, *turns)
        }
        (Some(SessionsCommand::Redo { name, branch }), db) => {
            let (db, session) = newest(db, name)?;
            branch::redo(run, db, &session, *branch)
        }
        (Some(SessionsCommand::Fork { name, new, at }), db) => {
            let (db, session) = whole(db, name)?;
            branch::fork(run, &db, &session, new.as_deref(), *at)
        }
        (Some(SessionsCommand::Export(args)), db) => {
            let (db, session) = whole(db, &args.name)?;
            trajectory::export(run, &db, &session, args)
        }
        (Some(SessionsCommand::Import(args)), _) => trajectory::import(run, args),
        (Some(SessionsCommand::Compress(_)), _) => Err(Failure::failed(
            "internal",
            "a compression needs a model, and none was loaded",
        )),
        (Some(SessionsCommand::Rename { name, to }), db) => {
            let (db, id) = known(db, name)?;
            db.rename(id, to)?;
            Ok(0)
        }
        (Some(SessionsCommand::Rm(args)), db) => remove::run(run, db, args),
    }
}

/// The session of this name, in whatever state it is.
fn known(db: Option<Db>, name: &str) -> Result<(Db, SessionId), Failure> {
    let missing = || DbError::NotFound(format!("a session named \"{}\"", harmless::line(name)));
    let db = db.ok_or_else(missing)?;
    let id = db.known_as(name)?.ok_or_else(missing)?;
    Ok((db, id))
}

/// The session of this name, if nothing of it is damaged.
fn whole(db: Option<Db>, name: &str) -> Result<(Db, Session), Failure> {
    let (db, id) = known(db, name)?;
    db.check(id)?;
    let session = db.get(id)?;
    Ok((db, session))
}

/// The session of this name, as far as its own row says.
fn named(db: Option<Db>, name: &str) -> Result<(Db, Session), Failure> {
    let (db, id) = known(db, name)?;
    let session = db.get(id)?;
    Ok((db, session))
}

/// What the session of this name was compressed to last, if nothing of it is damaged.
fn newest(db: Option<Db>, name: &str) -> Result<(Db, Session), Failure> {
    let (db, session) = named(db, name)?;
    let (vocab, template) = (session.vocab, session.template);
    let alike = |s: &Session| s.vocab == vocab && s.template == template;
    let newest = db.newest(session, &alike)?;
    db.check(newest.id)?;
    Ok((db, newest))
}

#[cfg(test)]
#[path = "sessions_tests.rs"]
pub(super) mod tests;
