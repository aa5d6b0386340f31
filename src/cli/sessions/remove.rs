//! `npast sessions rm`: one session or several, by name, by pattern, by age; asked once before anything goes.

use super::super::CliContext;
use super::super::args::SessionsRmArgs;
use super::super::error::{FAILED, Failure};
use super::super::output::{self, count};
use super::super::{confirm, names};
use crate::agent;
use crate::harmless;
use crate::session::{Db, DbError, SessionId, now_ms};

/// Names that the question lists.
const SHOWN: usize = 10;

/// A session that goes.
struct Leaving {
    id: SessionId,
    name: String,
    messages: usize,
}

/// Removes what was named.
///
/// # Errors
/// Wrong usage; what the database says; that the person said no. Where several go, one that cannot is
/// reported, the others go, and the exit code is 1.
pub fn run(run: &CliContext, db: Option<Db>, args: &SessionsRmArgs) -> Result<i32, Failure> {
    let missing = |name: &str| -> Failure {
        DbError::NotFound(format!("a session named \"{}\"", harmless::line(name))).into()
    };
    let Some(db) = db else {
        return match args.names.first() {
            Some(name) => Err(missing(name)),
            None => {
                output::notice("there are no sessions yet", None);
                Ok(0)
            }
        };
    };
    let leaving = leaving(&db, args, &missing)?;
    if leaving.is_empty() {
        output::notice("every session was used more recently than that", None);
        return Ok(0);
    }
    if !args.yes && !confirm::agreed(&question(&leaving), &what(&leaving))? {
        return Err(Failure::failed("declined", "nothing was removed"));
    }
    if let [only] = &leaving[..] {
        remove(run, &db, only)?;
        return Ok(0);
    }
    let mut gone = 0;
    for one in &leaving {
        match remove(run, &db, one) {
            Ok(()) => gone += 1,
            Err(failure) => output::notice(
                &format!(
                    "{} is not removed: {}",
                    harmless::line(&one.name),
                    failure.message
                ),
                failure.hint.as_deref(),
            ),
        }
    }
    if !run.quiet {
        output::say(&format!("{} sessions are removed.", count(gone)));
    }
    Ok(if gone == leaving.len() { 0 } else { FAILED })
}

/// The sessions that are meant, damaged ones too.
fn leaving(
    db: &Db,
    args: &SessionsRmArgs,
    missing: &dyn Fn(&str) -> Failure,
) -> Result<Vec<Leaving>, Failure> {
    let mut meant: Vec<SessionId> = Vec::new();
    let mut patterns: Vec<String> = Vec::new();
    for typed in &args.names {
        match db.known_as(typed)? {
            Some(id) if meant.contains(&id) => {}
            Some(id) => meant.push(id),
            None => patterns.push(typed.clone()),
        }
    }
    if args.names.is_empty() || !patterns.is_empty() {
        let mut named: Vec<(SessionId, String)> = Vec::new();
        for id in db.ids()? {
            named.push((id, name_of(db, id)?));
        }
        let all: Vec<String> = named.iter().map(|(_, name)| name.clone()).collect();
        let fits = match patterns.is_empty() {
            true => all,
            false => names::meant(&patterns, &all, "session", missing)?,
        };
        let more = named.into_iter().filter(|(_, name)| fits.contains(name));
        for (id, _) in more {
            if !meant.contains(&id) {
                meant.push(id);
            }
        }
    }
    let before = args.older_than.map(|age| {
        let age = i64::try_from(age.as_millis()).unwrap_or(i64::MAX);
        now_ms().saturating_sub(age)
    });
    let mut leaving = Vec::new();
    for id in meant {
        let left = db.salvage(id)?;
        // A conversation that was compressed is used in its newest session. Of one whose row cannot be read
        // nobody knows how old it is.
        let newest = left.session.map(|session| db.newest(session, &|_| true));
        let used = newest.transpose()?.map(|session| session.used_ms);
        if before.is_none_or(|before| used.is_some_and(|used| used < before)) {
            leaving.push(Leaving {
                id,
                name: left.name,
                messages: left.messages.len(),
            });
        }
    }
    Ok(leaving)
}

/// A session's name, also of one that is damaged.
fn name_of(db: &Db, id: SessionId) -> Result<String, Failure> {
    match db.get(id) {
        Ok(session) => Ok(session.name),
        Err(DbError::Damaged { .. }) => Ok(db.salvage(id)?.name),
        Err(error) => Err(error.into()),
    }
}

fn remove(run: &CliContext, db: &Db, one: &Leaving) -> Result<(), Failure> {
    for (text, hint) in agent::remove(&run.places.home, db, one.id)? {
        output::notice(&text, hint.as_deref());
    }
    Ok(())
}

/// What goes, in a few words.
fn what(leaving: &[Leaving]) -> String {
    match leaving {
        [only] => format!("\"{}\"", harmless::line(&only.name)),
        several => format!("{} sessions", count(several.len())),
    }
}

fn question(leaving: &[Leaving]) -> String {
    if let [only] = leaving {
        return format!(
            "Remove {} with its {} messages? [y/N] ",
            what(leaving),
            count(only.messages)
        );
    }
    let mut text = String::new();
    for one in leaving.iter().take(SHOWN) {
        let name = harmless::line(&one.name);
        text += &format!("  {name}  ({} messages)\n", count(one.messages));
    }
    if leaving.len() > SHOWN {
        text += &format!("  … and {} more\n", count(leaving.len() - SHOWN));
    }
    let messages: usize = leaving.iter().map(|one| one.messages).sum();
    text + &format!(
        "Remove these {} with their {} messages? [y/N] ",
        what(leaving),
        count(messages)
    )
}
