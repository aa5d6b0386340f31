//! All sessions of a file into npast.db: the file is read once to find every line that is broken, and
//! once more to store them in one transaction. Nothing half is imported, and the database's lock is not
//! held while lines are judged.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, BufReader, Seek};

use super::line::{self, ReadLine};
use super::lines::{Lines, MOST_LINE};
use crate::session::{self, Db, Session, SessionId, name_from_words};

/// Broken lines that an error names.
const NAMED: usize = 5;

/// How a file is imported.
#[derive(Clone, Copy, Debug)]
pub struct ImportPlan<'a> {
    /// The name of the first session; it must be free. The others get one as they had, with a number
    /// behind it where that is taken.
    pub name: Option<&'a str>,
    /// The folder that the sessions belong to.
    pub folder: &'a str,
    /// Whether stored tokens are taken; without, only messages.
    pub exact: bool,
}

/// Why nothing was imported.
#[derive(Debug, thiserror::Error)]
pub enum ImportError {
    /// Lines that are no conversations.
    #[error("{0}")]
    Lines(String),
    /// The file has no line.
    #[error("there is no conversation in it")]
    Empty,
    /// It cannot be read.
    #[error("it cannot be read: {0}")]
    Io(#[from] io::Error),
    /// npast.db did not take it.
    #[error(transparent)]
    Session(#[from] session::DbError),
    /// npast.db did not take the session of a line.
    #[error("line {line}: {error}")]
    Line {
        /// From 1.
        line: usize,
        /// Why.
        error: session::DbError,
    },
}

/// Imports every conversation of a file, all or none; what they are called now.
///
/// # Errors
/// Then npast.db is as it was.
pub fn import(
    db: &Db,
    file: &mut File,
    plan: &ImportPlan<'_>,
) -> Result<Vec<Session>, ImportError> {
    file.rewind()?;
    judge(file, plan.exact)?;
    file.rewind()?;
    let mut import = db.import()?;
    let mut made: Vec<Session> = Vec::new();
    // By the names that they have in the file.
    let mut known: HashMap<String, (SessionId, Option<String>)> = HashMap::new();
    let mut lines = Lines::new(BufReader::new(&*file), MOST_LINE);
    while let Some((at, text)) = lines.next()? {
        let wrong = |what: String| ImportError::Lines(format!("line {at}: {what}"));
        let ReadLine {
            mut whole,
            named,
            continues,
            goes_on_as,
        } = text
            .and_then(|text| line::read(&text, plan.exact))
            .map_err(wrong)?;
        let line = |error| ImportError::Line { line: at, error };
        let own = match named {
            true => whole.session.name.clone(),
            false => first_words(&whole),
        };
        let before = continues.and_then(|name| known.get(&name).cloned());
        whole.session.name = match plan.name.filter(|_| made.is_empty()) {
            Some(name) => name.to_owned(),
            None => import.free_name(plan.name.unwrap_or(&own)).map_err(line)?,
        };
        whole.session.folder = plan.folder.to_owned();
        let parent = before.as_ref().map(|(id, _)| *id);
        let session = import.add(&whole, parent).map_err(line)?;
        if let Some((parent, next)) = before
            && next.as_deref() == Some(own.as_str())
        {
            import.continues(parent, session.id).map_err(line)?;
        }
        if named {
            known.insert(own, (session.id, goes_on_as));
        }
        made.push(session);
    }
    if made.is_empty() {
        return Err(ImportError::Empty);
    }
    import.commit()?;
    Ok(made)
}

/// Reads every line; the error names those that are broken.
fn judge(file: &File, exact: bool) -> Result<(), ImportError> {
    let mut lines = Lines::new(BufReader::new(file), MOST_LINE);
    let (mut wrong, mut more, mut good) = (Vec::new(), 0, 0);
    while let Some((at, text)) = lines.next()? {
        match text.and_then(|text| line::read(&text, exact)) {
            Ok(_) => good += 1,
            Err(what) if wrong.len() < NAMED => wrong.push(format!("line {at}: {what}")),
            Err(_) => more += 1,
        }
    }
    if more > 0 {
        wrong.push(format!("and {more} more"));
    }
    match wrong.is_empty() {
        false => Err(ImportError::Lines(wrong.join("; "))),
        true if good == 0 => Err(ImportError::Empty),
        true => Ok(()),
    }
}

/// A name from what the user says first.
fn first_words(whole: &session::Trajectory) -> String {
    let user = whole.messages.iter().find(|m| m.role == "user");
    let text = user.and_then(|m| m.body["content"].as_str());
    name_from_words(text.unwrap_or_default())
}
