//! The model file that a session was used with last: where it was, and by what it is known again in another
//! place.

use std::ffi::OsString;
use std::fs::Metadata;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use rusqlite::{OptionalExtension, Transaction, params};

use super::{Db, Result, SessionId, fault};
use crate::ledger::Digest;

/// Most folders of models that [`Db::model_folders`] gives.
const MOST_FOLDERS: usize = 64;

/// A model's file.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ModelFile {
    /// Absolute; of a split model the first file.
    pub path: PathBuf,
    /// Its length in bytes.
    pub bytes: u64,
    /// Its time of modification, nanoseconds since 1970.
    pub modified: i64,
    /// Hash of names, types, shapes and samples of all tensors ([`crate::llama::gguf::ModelFacts`]).
    pub tensors: Digest,
}

impl ModelFile {
    /// Whether length and time are those of this file.
    pub fn is_as(&self, meta: &Metadata) -> bool {
        (meta.len(), ModelFile::time_of(meta)) == (self.bytes, self.modified)
    }

    /// A file's time of modification as [`ModelFile::modified`] has it.
    pub fn time_of(meta: &Metadata) -> i64 {
        let seconds = meta.mtime().saturating_mul(1_000_000_000);
        seconds.saturating_add(meta.mtime_nsec())
    }
}

impl Db {
    /// Stores the model that a session is used with. Writes nothing where it is stored already.
    pub fn remember_model(&self, id: SessionId, file: &ModelFile) -> Result<()> {
        if self.model_file(id)?.as_ref() == Some(file) {
            return Ok(());
        }
        fault::check(fault::StatementKind::Write)?;
        self.conn
            .prepare_cached(
                "INSERT INTO session_models (session, path, bytes, modified, tensors)
                 SELECT id, ?2, ?3, ?4, ?5 FROM sessions WHERE id = ?1
                 ON CONFLICT (session) DO UPDATE SET path = excluded.path, bytes = excluded.bytes,
                     modified = excluded.modified, tensors = excluded.tensors",
            )?
            .execute(params![
                id.0,
                file.path.as_os_str().as_bytes(),
                file.bytes.cast_signed(),
                file.modified,
                file.tensors.0,
            ])?;
        Ok(())
    }

    /// The model that a session was used with last; nothing where that is not known.
    pub fn model_file(&self, id: SessionId) -> Result<Option<ModelFile>> {
        let row = self
            .conn
            .prepare_cached(
                "SELECT path, bytes, modified, tensors FROM session_models WHERE session = ?",
            )?
            .query_row([id.0], |row| {
                let path: Vec<u8> = row.get(0)?;
                let (bytes, modified): (i64, i64) = (row.get(1)?, row.get(2)?);
                let tensors: Vec<u8> = row.get(3)?;
                Ok((path, bytes, modified, tensors))
            })
            .optional()?;
        // A row that is damaged says nothing: the model has to be named then.
        Ok(row.and_then(|(path, bytes, modified, tensors)| {
            Some(ModelFile {
                path: OsString::from_vec(path).into(),
                bytes: bytes.cast_unsigned(),
                modified,
                tensors: Digest(<[u8; 32]>::try_from(tensors.as_slice()).ok()?),
            })
        }))
    }

    /// The folders in which models of sessions were, the last used first.
    pub fn model_folders(&self) -> Result<Vec<PathBuf>> {
        let mut query = self.conn.prepare_cached(
            "SELECT path FROM session_models JOIN sessions ON sessions.id = session
             ORDER BY used_ms DESC LIMIT 1000",
        )?;
        let paths = query.query_map([], |row| row.get::<_, Vec<u8>>(0))?;
        let mut folders: Vec<PathBuf> = Vec::new();
        for path in paths {
            let path = PathBuf::from(OsString::from_vec(path?));
            if let Some(folder) = path.parent().map(Path::to_path_buf)
                && !folders.contains(&folder)
            {
                folders.push(folder);
            }
        }
        folders.truncate(MOST_FOLDERS);
        Ok(folders)
    }
}

/// A session that is made from another one is used with the same model, until another is named.
pub(super) fn inherit(tx: &Transaction<'_>, id: SessionId, parent: SessionId) -> Result<()> {
    tx.execute(
        "INSERT INTO session_models (session, path, bytes, modified, tensors)
         SELECT ?1, path, bytes, modified, tensors FROM session_models WHERE session = ?2",
        [id.0, parent.0],
    )?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::session::CutPoint;
    use crate::session::testing::disk;

    fn file(path: &[u8]) -> ModelFile {
        ModelFile {
            path: OsString::from_vec(path.to_vec()).into(),
            bytes: u64::MAX,
            modified: -1,
            tensors: Digest([7; 32]),
        }
    }

    #[test]
    fn a_session_knows_its_model_and_a_fork_of_it_too() {
        let home = tempfile::tempdir().unwrap();
        let (db, session) = disk(home.path());
        let id = session.id;
        assert_eq!(db.model_file(id).unwrap(), None);
        for path in [&b"/a/m.gguf"[..], b"/b/strange \xff\n name.gguf"] {
            db.remember_model(id, &file(path)).unwrap();
            assert_eq!(db.model_file(id).unwrap(), Some(file(path)));
        }
        let cut = CutPoint {
            at: db.length(id).unwrap(),
            after: None,
            pending: 0,
        };
        let fork = db
            .fork(id, "aside", cut, &db.messages(id).unwrap())
            .unwrap();
        assert_eq!(db.model_file(fork.id).unwrap(), db.model_file(id).unwrap());
        assert_eq!(db.model_folders().unwrap(), [PathBuf::from("/b")]);
        db.remove(id).unwrap();
        assert_eq!(db.model_file(id).unwrap(), None);
    }
}
