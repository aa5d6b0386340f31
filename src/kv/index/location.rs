//! Where the index lies, and how it is opened: proven to be sound, and made anew from the records
//! where it is not. One process at a time does that, whoever has the index open meanwhile.

use std::fs::{self, File, OpenOptions, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use rusqlite::Connection;
use rusqlite::config::DbConfig;

use crate::kv::error::Error;
use crate::kv::index::connection::{Index, remove_journals};
use crate::kv::index::rebuild::{self, Mended};
use crate::kv::index::schema::{self, State};
use crate::kv::record::format::Limits;
use crate::kv::record::storage::{Storage, private};

/// How long making the index anew waits for another process that is in the middle of a change.
const RESET_WAIT: Duration = Duration::from_secs(10);

/// How an index came to be.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(in crate::kv) enum Opened {
    /// It was there.
    Kept,
    /// There was none, or an empty one.
    New,
    /// It was damaged, or of another schema.
    Replaced,
}

/// What may be done with a damaged index.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(in crate::kv) enum Users {
    /// Nobody has it open: it is moved to quarantine.
    Nobody,
    /// This process or another one may have it open: it is emptied where it is.
    Some,
}

/// An index that was opened, and what its user asked for first.
pub(in crate::kv) struct Ready<T> {
    pub(in crate::kv) index: Index,
    pub(in crate::kv) opened: Opened,
    pub(in crate::kv) mended: Mended,
    pub(in crate::kv) first: T,
}

/// The KV folder, as far as its index is concerned.
pub(in crate::kv) struct Place {
    storage: Arc<dyn Storage>,
    root: PathBuf,
    limits: Limits,
}

impl Place {
    /// The index of the folder `root`; nothing is opened yet.
    pub(in crate::kv) fn new(storage: Arc<dyn Storage>, root: &Path, limits: Limits) -> Place {
        Place {
            storage,
            root: root.to_path_buf(),
            limits,
        }
    }

    /// The KV folder.
    pub(in crate::kv) fn root(&self) -> &Path {
        &self.root
    }

    /// The index's file.
    pub(in crate::kv) fn path(&self) -> PathBuf {
        self.root.join("index.db")
    }

    /// Opens the index; makes it, or makes it anew when it is damaged. `first` is what its user does
    /// with it at once; damage that is met there counts too.
    pub(in crate::kv) fn open<T>(
        &self,
        users: Users,
        mut first: impl FnMut(&Index) -> Result<T, Error>,
    ) -> Result<Ready<T>, Error> {
        let _turn = self.turn();
        match self.attempt(&mut first) {
            Err(error) if error.is_of_damaged_index() => {
                tracing::warn!(%error, "the kv index is damaged");
                self.make_room(users)?;
                self.attempt(&mut first).map(replaced)
            }
            done => done,
        }
    }

    /// [`Place::open`] of an index that was found damaged though it looks sound: it is made anew.
    pub(in crate::kv) fn open_anew<T>(
        &self,
        mut first: impl FnMut(&Index) -> Result<T, Error>,
    ) -> Result<Ready<T>, Error> {
        let _turn = self.turn();
        self.make_room(Users::Some)?;
        self.attempt(&mut first).map(replaced)
    }

    /// Held while the index is opened: who comes meanwhile finds it whole. A file system without
    /// locks has no turns.
    fn turn(&self) -> Option<File> {
        let path = self.root.join("index.lock");
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(false);
        let locked = private(&mut options, &path).and_then(|file| file.lock().map(|()| file));
        locked
            .inspect_err(|error| tracing::warn!(%error, "no lock on the kv index"))
            .ok()
    }

    fn attempt<T>(
        &self,
        first: &mut impl FnMut(&Index) -> Result<T, Error>,
    ) -> Result<Ready<T>, Error> {
        let path = self.path();
        if !path.exists() {
            // A journal without its database belongs to nothing.
            remove_journals(&path).map_err(Error::folder(&path))?;
        }
        let (index, state) = Index::open(&path)?;
        index.wait(self.limits.index_wait)?;
        let mut mended = Mended::default();
        let (storage, root, limits) = (&self.storage, &self.root, &self.limits);
        match state {
            State::Whole => {}
            State::Older => rebuild::own_states(&index, storage, root, limits)?,
            State::Miscounted => rebuild::measure(&index, storage, root)?,
            State::Empty => {
                mended = rebuild::mend_all(&index, storage, root, limits)?;
                rebuild::hold_tips(&index)?;
                index.commit()?;
            }
        }
        Ok(Ready {
            first: first(&index)?,
            index,
            opened: match state {
                State::Empty => Opened::New,
                _ => Opened::Kept,
            },
            mended,
        })
    }

    /// Puts an empty index in the place of a damaged one.
    fn make_room(&self, users: Users) -> Result<(), Error> {
        let path = self.path();
        if users == Users::Nobody {
            let aside = self.root.join("quarantine").join("index.db");
            fs::rename(&path, &aside).map_err(Error::folder(&aside))?;
            return remove_journals(&path).map_err(Error::folder(&path));
        }
        // Not moved: SQLite knows the journals of an open index by their names, and would remove those
        // of the new one. Emptied in one transaction, which others see as any other: they find no tables
        // until all is made anew, and wait for their turn.
        let db = Connection::open(&path)?;
        db.busy_timeout(RESET_WAIT)?;
        db.set_db_config(DbConfig::SQLITE_DBCONFIG_RESET_DATABASE, true)?;
        db.execute_batch("VACUUM")?;
        db.set_db_config(DbConfig::SQLITE_DBCONFIG_RESET_DATABASE, false)?;
        Ok(())
    }
}

fn replaced<T>(ready: Ready<T>) -> Ready<T> {
    Ready {
        opened: Opened::Replaced,
        ..ready
    }
}

/// Makes the file of an index that is not there yet, for this user alone; takes others' rights on one
/// that is. An open index is not opened here a second time: with the end of that this process would
/// lose its locks on it.
pub(in crate::kv) fn own_file(path: &Path) -> std::io::Result<()> {
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    match private(&mut options, path) {
        Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {
            fs::set_permissions(path, Permissions::from_mode(0o600))
        }
        made => made.map(drop),
    }
}

/// Whether SQLite takes the index for one that cannot be written, and the file system does not.
pub(in crate::kv) fn is_locked_by_its_header(db: &Connection, path: &Path) -> bool {
    let read_only = db.is_readonly(rusqlite::MAIN_DB).unwrap_or(false);
    read_only && rustix::fs::access(path, rustix::fs::Access::WRITE_OK).is_ok()
}

impl Error {
    /// True when the index must be made anew.
    pub(in crate::kv) fn is_of_damaged_index(&self) -> bool {
        matches!(self, Error::Index(error) if schema::is_damage(error))
    }
}
