//! An index that is found damaged while it is in use: it is made anew from the records, and what was
//! asked of it is asked again.

use std::sync::atomic::{AtomicU32, Ordering};

use rusqlite::ErrorCode;

use crate::kv::error::Error;
use crate::kv::folder::handle::Folder;
use crate::kv::index::connection::Index;
use crate::kv::index::location::{self, Opened, Users};
use crate::kv::index::rebuild::{self, Mended};
use crate::kv::index::schema;
use crate::kv::notice::Notices;
use crate::kv::store::handle::Live;
use crate::kv::write::evict::Trouble;
use crate::kv::write::writer::Failure;

/// So often one store or folder makes its index anew. A disk that damages it again and again would keep
/// the writer busy with that.
const MOST: u32 = 8;

/// An error that may be the index's.
pub(in crate::kv) trait OfIndex {
    /// What SQLite said, if it was SQLite.
    fn of_index(&self) -> Option<&rusqlite::Error>;
}

impl OfIndex for rusqlite::Error {
    fn of_index(&self) -> Option<&rusqlite::Error> {
        Some(self)
    }
}

impl OfIndex for Error {
    fn of_index(&self) -> Option<&rusqlite::Error> {
        match self {
            Error::Index(error) => Some(error),
            _ => None,
        }
    }
}

impl OfIndex for Failure {
    fn of_index(&self) -> Option<&rusqlite::Error> {
        match self {
            Failure::Index(error) => Some(error),
            _ => None,
        }
    }
}

impl OfIndex for Trouble {
    fn of_index(&self) -> Option<&rusqlite::Error> {
        match self {
            Trouble::Index(error) => Some(error),
            Trouble::Io(_) => None,
        }
    }
}

/// How often an index was made anew.
#[derive(Default)]
pub(in crate::kv) struct Remakes(AtomicU32);

impl Remakes {
    pub(in crate::kv) fn count(&self) -> u32 {
        self.0.load(Ordering::Acquire)
    }

    /// One more; false when it was often enough.
    fn one_more(&self) -> bool {
        self.0.fetch_add(1, Ordering::AcqRel) < MOST
    }
}

/// Who uses an index and can have it made anew.
trait User {
    fn is_damaged(&self, error: &rusqlite::Error) -> bool;
    /// Opens the index again; one that is damaged, or that is distrusted, is made anew.
    fn reopen(&self, distrusted: bool) -> Result<(), Error>;
    fn remakes(&self) -> (&Remakes, &Notices);
}

fn sound<T, E: OfIndex>(user: &impl User, mut run: impl FnMut() -> Result<T, E>) -> Result<T, E> {
    let mut done = run();
    // At first another process may have made it anew already; then it is sound and damaged no more.
    for distrusted in [false, true] {
        let damaged = |error: &E| error.of_index().is_some_and(|e| user.is_damaged(e));
        if !done.as_ref().is_err_and(damaged) {
            return done;
        }
        let (remakes, notices) = user.remakes();
        if !remakes.one_more() {
            return done;
        }
        if let Err(error) = user.reopen(distrusted) {
            notices.add_once(
                "remake",
                format!("The KV index is damaged and could not be made anew: {error}."),
                "Check the disk of the data folder; until then KV is evaluated again after a restart.",
            );
            return done;
        }
        done = run();
    }
    done
}

/// Says what opening an index found.
pub(in crate::kv) fn report(notices: &Notices, opened: Opened, mended: Mended) {
    let rebuilt = "Nothing is lost but pins, which come back with the next turn.";
    let files = mended.added;
    match opened {
        Opened::New if files > 0 => notices.add(
            format!("The KV index was missing; it is rebuilt from {files} files."),
            rebuilt,
        ),
        Opened::Replaced => notices.add(
            format!("The KV index was damaged; it is rebuilt from {files} files."),
            rebuilt,
        ),
        _ => {}
    }
    if mended.refused > 0 {
        notices.add(
            format!("{} damaged KV files are set aside.", mended.refused),
            "Nothing to do: what they held is evaluated again; kv/quarantine can be deleted.",
        );
    }
    tracing::debug!(?opened, ?mended, "kv index opened");
}

impl Live {
    /// Runs what asks or changes the index. When it meets a damaged index, the index is made anew and
    /// it is run again: so it must be of no harm when it is run twice, and no part of the index may
    /// be held around it.
    pub(in crate::kv) fn sound<T, E: OfIndex>(
        &self,
        run: impl FnMut() -> Result<T, E>,
    ) -> Result<T, E> {
        sound(self, run)
    }
}

impl User for Live {
    fn is_damaged(&self, error: &rusqlite::Error) -> bool {
        schema::is_damage(error)
            || error.sqlite_error_code() == Some(ErrorCode::ReadOnly)
                && location::is_locked_by_its_header(&self.index().db, &self.place.path())
    }

    fn reopen(&self, distrusted: bool) -> Result<(), Error> {
        // Both at once: a model's number is another one in another index.
        let (mut index, mut asked) = (self.index(), self.asked());
        let own =
            |index: &Index| rebuild::own_model(index, &self.fingerprint, &self.files, &self.limits);
        let ready = match distrusted {
            true => self.place.open_anew(own)?,
            false => self.place.open(Users::Some, own)?,
        };
        *asked = Index::reader(&self.place.path())?;
        *index = ready.index;
        self.set_model(ready.first.0);
        drop((index, asked));
        // Who has segments in mind asks what is stored of them.
        self.lost();
        report(&self.notices, ready.opened, ready.mended);
        Ok(())
    }

    fn remakes(&self) -> (&Remakes, &Notices) {
        (&self.remakes, &self.notices)
    }
}

impl Folder {
    /// [`Live::sound`] for a folder.
    pub(in crate::kv) fn sound<T, E: OfIndex>(
        &self,
        run: impl FnMut() -> Result<T, E>,
    ) -> Result<T, E> {
        sound(self, run)
    }
}

impl User for Folder {
    fn is_damaged(&self, error: &rusqlite::Error) -> bool {
        schema::is_damage(error)
            || error.sqlite_error_code() == Some(ErrorCode::ReadOnly)
                && location::is_locked_by_its_header(&self.index().db, &self.place.path())
    }

    fn reopen(&self, distrusted: bool) -> Result<(), Error> {
        let mut index = self.index();
        let first = |_: &Index| Ok(());
        let ready = match distrusted {
            true => self.place.open_anew(first)?,
            false => self.place.open(Users::Some, first)?,
        };
        *index = ready.index;
        drop(index);
        report(&self.notices, ready.opened, ready.mended);
        Ok(())
    }

    fn remakes(&self) -> (&Remakes, &Notices) {
        (&self.remakes, &self.notices)
    }
}
