//! What a session is about, in one line: the user's first words at once, words of the model's later. Only a
//! session that npast named has a title: a name that the user gave says what it is about, and is never
//! overwritten.

use rusqlite::{Connection, OptionalExtension, Transaction, params};

use super::{Db, Result, SessionId, fault};

/// Characters of a title by the user's first words.
const FIRST: usize = 60;

/// Whose words a title is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Titled {
    /// The user's first. The model has not been asked for others.
    First,
    /// The user's first, since the model gave none.
    Kept,
    /// The model's.
    Model,
}

impl Titled {
    fn as_str(self) -> &'static str {
        match self {
            Titled::First => "first",
            Titled::Kept => "kept",
            Titled::Model => "model",
        }
    }

    fn parse(word: &str) -> Option<Titled> {
        [Titled::First, Titled::Kept, Titled::Model]
            .into_iter()
            .find(|titled| titled.as_str() == word)
    }
}

/// A session's title.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Title {
    /// One line.
    pub text: String,
    /// Whose words it is.
    pub made: Titled,
}

impl Db {
    /// Says that npast named a session, from these words of the user's: they are its title at first.
    pub fn begin_title(&self, id: SessionId, words: &str) -> Result<()> {
        fault::check(fault::StatementKind::Write)?;
        let body = serde_json::json!({ "content": words });
        let text = super::record::first_words(&body, FIRST);
        self.conn
            .prepare_cached(
                "INSERT INTO titles (session, text, made) SELECT id, ?2, 'first' FROM sessions WHERE id = ?1
                 ON CONFLICT (session) DO NOTHING",
            )?
            .execute(params![id.0, text])?;
        Ok(())
    }

    /// A session's title; nothing where the user gave its name.
    pub fn title(&self, id: SessionId) -> Result<Option<Title>> {
        title(&self.conn, id)
    }

    /// Stores what the model was asked for: its title, or nothing where it gave none. It takes the place of
    /// the user's first words only, so a session that the user has named meanwhile stays without one.
    pub fn set_title(&self, id: SessionId, text: Option<&str>) -> Result<()> {
        fault::check(fault::StatementKind::Write)?;
        let made = match text {
            Some(_) => Titled::Model,
            None => Titled::Kept,
        };
        self.conn
            .prepare_cached(
                "UPDATE titles SET text = coalesce(?2, text), made = ?3
                 WHERE session = ?1 AND made = 'first'",
            )?
            .execute(params![id.0, text, made.as_str()])?;
        Ok(())
    }
}

/// See [`Db::title`]. One that cannot be read is none: it is made of words that are in the messages too.
pub(super) fn title(conn: &Connection, id: SessionId) -> Result<Option<Title>> {
    fault::check(fault::StatementKind::Read)?;
    let found = conn
        .prepare_cached("SELECT text, made FROM titles WHERE session = ?")?
        .query_row([id.0], |row| Ok((row.get(0).ok(), row.get(1).ok())))
        .optional()?;
    let Some((Some(text), Some(made))) = found else {
        return Ok(None);
    };
    let made: String = made;
    Ok(Titled::parse(&made).map(|made| Title { text, made }))
}

/// A session that continues another one is about the same.
pub(super) fn inherit(tx: &Transaction<'_>, from: SessionId, to: SessionId) -> Result<()> {
    tx.prepare_cached("INSERT INTO titles SELECT ?2, text, made FROM titles WHERE session = ?1")?
        .execute(params![from.0, to.0])?;
    Ok(())
}

/// The user gave the session its name.
pub(super) fn forget(tx: &Transaction<'_>, id: SessionId) -> Result<()> {
    tx.execute("DELETE FROM titles WHERE session = ?", [id.0])?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::testing;
    use super::*;

    #[test]
    fn a_title_is_the_first_words_then_the_models_and_never_that_of_a_session_the_user_named() {
        let home = tempfile::tempdir().unwrap();
        let (db, session) = testing::disk(home.path());
        let id = session.id;
        db.set_title(id, Some("Not asked for")).unwrap();
        assert_eq!(db.title(id).unwrap(), None);

        db.begin_title(id, "Fix  the\nparser").unwrap();
        let title = |text: &str, made| {
            Some(Title {
                text: text.to_owned(),
                made,
            })
        };
        assert_eq!(
            db.title(id).unwrap(),
            title("Fix the parser", Titled::First)
        );
        db.set_title(id, Some("Parser repair")).unwrap();
        assert_eq!(db.title(id).unwrap(), title("Parser repair", Titled::Model));
        // Asked once.
        db.set_title(id, Some("Another")).unwrap();
        db.begin_title(id, "Other words").unwrap();
        assert_eq!(db.title(id).unwrap(), title("Parser repair", Titled::Model));
        assert_eq!(db.list().unwrap()[0].title, db.title(id).unwrap());

        db.rename(id, "mine").unwrap();
        assert_eq!(db.title(id).unwrap(), None);
        db.set_title(id, Some("Late")).unwrap();
        assert_eq!(db.title(id).unwrap(), None);
    }

    #[test]
    fn a_title_that_was_refused_leaves_the_first_words() {
        let home = tempfile::tempdir().unwrap();
        let (db, session) = testing::disk(home.path());
        db.begin_title(session.id, "Hello").unwrap();
        db.set_title(session.id, None).unwrap();
        let kept = db.title(session.id).unwrap().unwrap();
        assert_eq!((&*kept.text, kept.made), ("Hello", Titled::Kept));
        db.remove(session.id).unwrap();
        assert_eq!(db.title(session.id).unwrap(), None);
        // Nobody's.
        db.begin_title(session.id, "Hello").unwrap();
        assert_eq!(db.title(session.id).unwrap(), None);
    }
}
