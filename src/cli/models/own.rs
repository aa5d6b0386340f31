//! The model of a stored session: the file that it was used with last, wherever that is now.

use std::path::{Path, PathBuf};

use super::known;
use crate::cli::error::Failure;
use crate::cli::output::notice;
use crate::harmless;
use crate::models::{FoundAgain, ModelPlaces};
use crate::session::{Db, Session};

/// The newest session that continues this one under its vocabulary and template: what opening it opens.
///
/// # Errors
/// The database's.
pub fn continued(db: &Db, session: &Session) -> Result<Session, Failure> {
    let (vocab, template) = (session.vocab, session.template);
    let alike = |s: &Session| s.vocab == vocab && s.template == template;
    Ok(db.newest(session.clone(), &alike)?)
}

/// The file of the session's own model. Nothing where it is not known and no model of this machine has its
/// name: an older npast stored no more than the name.
///
/// # Errors
/// Wrong usage: the file is gone, or another model has its place.
pub fn of_session(
    db: &Db,
    session: &Session,
    places: &ModelPlaces,
) -> Result<Option<PathBuf>, Failure> {
    let session = &continued(db, session)?;
    let Some(file) = db.model_file(session.id)? else {
        let named = places.with_file_name(&session.model);
        return Ok(named.map(|found| found.path));
    };
    let name = harmless::line(&session.name);
    let was = shown(&file.path);
    let why = match places.find_again(&file, &db.model_folders()?) {
        FoundAgain::Same => return Ok(Some(file.path)),
        FoundAgain::Moved(path) => {
            let text = format!(
                "the model of session {name} is {} now; it was {was}",
                shown(&path)
            );
            notice(&text, None);
            return Ok(Some(path));
        }
        FoundAgain::Gone => format!("the model of session {name} is gone: it was {was}"),
        FoundAgain::Replaced => {
            format!("session {name} was used with another model than the one that is {was} now")
        }
    };
    let hint = match known(&places.all()) {
        hint if hint.starts_with("-m ") => {
            format!("the session goes on with another model: {hint}")
        }
        hint => hint,
    };
    Err(Failure::usage(why, hint))
}

/// A path on one line.
fn shown(path: &Path) -> String {
    harmless::line(&path.display().to_string()).into_owned()
}
