//! kv/index.db: which edges, nodes and pins there are. SQLite, WAL, synchronous NORMAL: losing rows
//! is allowed, the files are the truth and the index is made from them again.

use std::fs::OpenOptions;
use std::io;
use std::path::Path;
use std::time::Duration;

use rusqlite::{Connection, ErrorCode, OptionalExtension, Row, params};

use crate::ledger::{Digest, Token};

use super::error::Error;
use super::put::SnapshotRole;
use super::storage::private;
use super::ways;

/// Names a stored edge within an index.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct EdgeId(pub(super) i64);

/// Names a stored node within an index.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct NodeId(pub(super) i64);

/// A stored segment.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Edge {
    /// Its row.
    pub id: EdgeId,
    /// First position.
    pub p0: usize,
    /// One past the last position.
    pub p1: usize,
    /// D(p0).
    pub from: Digest,
    /// D(p1).
    pub to: Digest,
    /// Bytes of its file.
    pub bytes: u64,
}

/// A stored snapshot.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Node {
    /// Its row.
    pub id: NodeId,
    /// Position P.
    pub at: usize,
    /// D(P).
    pub digest: Digest,
    /// Bytes of its file.
    pub bytes: u64,
    /// True when it carries the logits row of token P-1.
    pub logits: bool,
}

/// What is stored for one fingerprint.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Usage {
    /// Segments.
    pub edges: u64,
    /// Snapshots.
    pub nodes: u64,
    /// Bytes of their files.
    pub bytes: u64,
    /// Bytes that merging has written since the index was made: what a year of short turns cost the
    /// disk besides.
    pub merged: u64,
}

/// Tokens kept in a row as a filter: comparing them is cheaper than computing a digest.
pub(super) const GLANCE: usize = 16;

const SCHEMA: i64 = 1;
const TABLES: &str = "
CREATE TABLE model(id INTEGER PRIMARY KEY, hard BLOB NOT NULL UNIQUE, facts TEXT NOT NULL, soft TEXT NOT NULL);
CREATE TABLE edge(id INTEGER PRIMARY KEY, model INTEGER NOT NULL, \"from\" BLOB NOT NULL, \"to\" BLOB NOT NULL,
  p0 INTEGER NOT NULL, p1 INTEGER NOT NULL, bytes INTEGER NOT NULL, head BLOB NOT NULL, tail BLOB NOT NULL,
  UNIQUE(model, \"from\", \"to\"));
CREATE TABLE node(id INTEGER PRIMARY KEY, model INTEGER NOT NULL, digest BLOB NOT NULL, at INTEGER NOT NULL,
  bytes INTEGER NOT NULL, logits INTEGER NOT NULL, role INTEGER NOT NULL, tail BLOB NOT NULL,
  UNIQUE(model, digest));
CREATE TABLE pin(id INTEGER PRIMARY KEY, owner TEXT NOT NULL, model INTEGER NOT NULL, digest BLOB NOT NULL,
  UNIQUE(owner, model));
CREATE TABLE turn(id INTEGER PRIMARY KEY, owner TEXT NOT NULL, model INTEGER NOT NULL, digest BLOB NOT NULL,
  UNIQUE(owner, model));
CREATE INDEX pin_digest ON pin(model, digest);
CREATE INDEX turn_digest ON turn(model, digest);
PRAGMA user_version = 1;";

/// True when a row says what no writer writes: a file that SQLite can read may be damaged all the
/// same. Checked once, so that nobody reckons with such a number later.
const UNSOUND: &str = "SELECT
  EXISTS (SELECT 1 FROM model WHERE (typeof(hard) = 'blob' AND length(hard) = 32
    AND typeof(facts) = 'text' AND typeof(soft) = 'text') IS NOT TRUE)
  OR EXISTS (SELECT 1 FROM edge WHERE (typeof(model) = 'integer'
    AND typeof(\"from\") = 'blob' AND length(\"from\") = 32 AND typeof(\"to\") = 'blob' AND length(\"to\") = 32
    AND typeof(p0) = 'integer' AND typeof(p1) = 'integer' AND 0 <= p0 AND p0 < p1 AND p1 <= 0x7fffffff
    AND typeof(bytes) = 'integer' AND bytes BETWEEN 0 AND 1 << 40
    AND typeof(head) = 'blob' AND typeof(tail) = 'blob') IS NOT TRUE)
  OR EXISTS (SELECT 1 FROM node WHERE (typeof(model) = 'integer'
    AND typeof(digest) = 'blob' AND length(digest) = 32
    AND typeof(at) = 'integer' AND at BETWEEN 0 AND 0x7fffffff
    AND typeof(bytes) = 'integer' AND bytes BETWEEN 0 AND 1 << 40
    AND logits IN (0, 1) AND typeof(role) = 'integer' AND role BETWEEN 1 AND 255
    AND typeof(tail) = 'blob') IS NOT TRUE)
  OR EXISTS (SELECT 1 FROM (SELECT owner, model, digest FROM pin UNION ALL SELECT owner, model, digest FROM turn)
    WHERE (typeof(owner) = 'text' AND typeof(model) = 'integer'
    AND typeof(digest) = 'blob' AND length(digest) = 32) IS NOT TRUE)";

/// How an index came to be.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Opened {
    /// It was there.
    Kept,
    /// There was none.
    New,
    /// It was damaged, or of another schema, and is set aside.
    Replaced,
}

/// The open index, and the model that this store is about.
pub(super) struct Index {
    pub(super) db: Connection,
}

/// A row's model.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct ModelId(pub(super) i64);

/// An edge with the glance at its ends.
pub(super) struct EdgeRow {
    pub(super) edge: Edge,
    pub(super) head: Vec<Token>,
    pub(super) tail: Vec<Token>,
}

impl Index {
    /// Opens or makes the index at `path`; a damaged one is moved into `aside`.
    pub(super) fn open(path: &Path, aside: &Path) -> Result<(Index, Opened), Error> {
        let new = !path.exists();
        if new {
            // A journal without its database belongs to nothing.
            remove_journals(path).map_err(Error::folder(path))?;
        }
        match Index::try_open(path) {
            Ok(index) if new => Ok((index, Opened::New)),
            Ok(index) => Ok((index, Opened::Kept)),
            Err(Error::Index(error)) if !new && is_damage(&error) => {
                std::fs::rename(path, aside).map_err(Error::folder(aside))?;
                remove_journals(path).map_err(Error::folder(path))?;
                Ok((Index::try_open(path)?, Opened::Replaced))
            }
            Err(error) => Err(error),
        }
    }

    fn try_open(path: &Path) -> Result<Index, Error> {
        // SQLite gives its journals the mode of the database: made here, 0600 whatever the umask.
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(false);
        private(&mut options, path).map_err(Error::folder(path))?;
        let mut db = Connection::open(path)?;
        db.busy_timeout(Duration::from_secs(10))?;
        db.pragma_update(None, "journal_mode", "WAL")?;
        db.pragma_update(None, "synchronous", "NORMAL")?;
        // Rows hold tokens of a conversation: what is deleted is overwritten.
        db.pragma_update(None, "secure_delete", "ON")?;
        let check: String = db.query_row("PRAGMA quick_check(1)", [], |r| r.get(0))?;
        if check != "ok" {
            return Err(Error::Index(damaged()));
        }
        // Another process may be making the tables at this moment: look and make in one step.
        let tx = db.transaction_with_behavior(rusqlite::TransactionBehavior::Immediate)?;
        let schema: i64 = tx.query_row("PRAGMA user_version", [], |r| r.get(0))?;
        let tables: i64 = tx.query_row("SELECT count(*) FROM sqlite_master", [], |r| r.get(0))?;
        match (schema, tables) {
            (SCHEMA, _) => {}
            (0, 0) => tx.execute_batch(TABLES)?,
            _ => return Err(Error::Index(damaged())),
        }
        // Younger than the schema, and no part of what it says.
        tx.execute_batch(
            "CREATE INDEX IF NOT EXISTS edge_end ON edge(model, \"to\", p0);
             DROP INDEX IF EXISTS edge_to;
             CREATE TABLE IF NOT EXISTS merged(model INTEGER PRIMARY KEY, bytes INTEGER NOT NULL);",
        )?;
        tx.execute_batch(ways::INDEXES)?;
        tx.execute_batch(super::states::TABLE)?;
        tx.execute_batch(super::sample::TABLES)?;
        if tx.query_row(UNSOUND, [], |r| r.get(0))? {
            return Err(Error::Index(damaged()));
        }
        tx.commit()?;
        Ok(Index { db })
    }

    /// Notes a model's facts; gives its row.
    pub(super) fn model(
        &self,
        hard: Digest,
        facts: &str,
        soft: &str,
    ) -> Result<ModelId, rusqlite::Error> {
        self.db.query_row(
            "INSERT INTO model(hard, facts, soft) VALUES (?1, ?2, ?3)
             ON CONFLICT(hard) DO UPDATE SET facts = ?2, soft = ?3 RETURNING id",
            params![hard.0, facts, soft],
            |r| Ok(ModelId(r.get(0)?)),
        )
    }

    /// Notes an edge; one that is there stays.
    pub(super) fn add_edge(
        &self,
        model: ModelId,
        edge: (Digest, Digest, usize, usize),
        bytes: u64,
        tokens: &[Token],
    ) -> Result<(), rusqlite::Error> {
        let (from, to, p0, p1) = edge;
        let head = Token::to_bytes(&tokens[..tokens.len().min(GLANCE)]);
        self.db.execute(
            "INSERT INTO edge(model, \"from\", \"to\", p0, p1, bytes, head, tail)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8) ON CONFLICT DO NOTHING",
            params![model.0, from.0, to.0, p0, p1, bytes, head, glance(tokens)],
        )?;
        Ok(())
    }

    /// Notes a node; one that is there keeps the stronger role.
    pub(super) fn add_node(
        &self,
        model: ModelId,
        node: (Digest, usize, SnapshotRole),
        bytes: u64,
        logits: bool,
        tail: &[Token],
    ) -> Result<(), rusqlite::Error> {
        let (digest, at, role) = node;
        self.db.execute(
            "INSERT INTO node(model, digest, at, bytes, logits, role, tail) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)
             ON CONFLICT DO UPDATE SET role = min(role, ?6)",
            params![model.0, digest.0, at, bytes, logits, role as u8, glance(tail)],
        )?;
        Ok(())
    }

    /// True when the edge is stored.
    pub(super) fn has_edge(
        &self,
        model: ModelId,
        from: Digest,
        to: Digest,
    ) -> Result<bool, rusqlite::Error> {
        self.exists(
            "SELECT 1 FROM edge WHERE model = ?1 AND \"from\" = ?2 AND \"to\" = ?3",
            params![model.0, from.0, to.0],
        )
    }

    /// True when the node is stored; a stronger role is noted in passing.
    pub(super) fn has_node(&self, model: ModelId, digest: Digest) -> Result<bool, rusqlite::Error> {
        self.exists(
            "SELECT 1 FROM node WHERE model = ?1 AND digest = ?2",
            params![model.0, digest.0],
        )
    }

    /// Gives a stored node `role`, if that is stronger than its own.
    pub(super) fn strengthen(
        &self,
        model: ModelId,
        digest: Digest,
        role: SnapshotRole,
    ) -> Result<(), rusqlite::Error> {
        self.db.execute(
            "UPDATE node SET role = min(role, ?3) WHERE model = ?1 AND digest = ?2",
            params![model.0, digest.0, role as u8],
        )?;
        Ok(())
    }

    /// Every edge and node of a model, as the digests their files are named by.
    pub(super) fn all(&self, model: ModelId) -> Result<(Vec<Edge>, Vec<Node>), rusqlite::Error> {
        let edges = self
            .db
            .prepare(
                "SELECT id, \"from\", \"to\", p0, p1, bytes, head, tail FROM edge WHERE model = ?1",
            )?
            .query_map([model.0], |r| Ok(edge_row(r)?.edge))?
            .collect::<Result<_, _>>()?;
        let nodes = self
            .db
            .prepare("SELECT id, digest, at, bytes, logits FROM node WHERE model = ?1")?
            .query_map([model.0], node_row)?
            .collect::<Result<_, _>>()?;
        Ok((edges, nodes))
    }

    pub(super) fn drop_edge(&self, id: EdgeId) -> Result<(), rusqlite::Error> {
        self.db.execute("DELETE FROM edge WHERE id = ?1", [id.0])?;
        Ok(())
    }

    pub(super) fn drop_node(&self, id: NodeId) -> Result<(), rusqlite::Error> {
        self.db.execute("DELETE FROM node WHERE id = ?1", [id.0])?;
        Ok(())
    }

    /// Sets the owner's pin for this model.
    pub(super) fn pin(
        &self,
        model: ModelId,
        owner: &str,
        digest: Digest,
    ) -> Result<(), rusqlite::Error> {
        // A new row each time: the highest id is the latest pin.
        self.db.execute(
            "INSERT OR REPLACE INTO pin(owner, model, digest) VALUES (?1, ?2, ?3)",
            params![owner, model.0, digest.0],
        )?;
        Ok(())
    }

    /// Forgets the owner: pins and turns under every model.
    pub(super) fn unpin(&mut self, owner: &str) -> Result<(), rusqlite::Error> {
        let tx = self.db.transaction()?;
        tx.execute("DELETE FROM pin WHERE owner = ?1", [owner])?;
        tx.execute("DELETE FROM turn WHERE owner = ?1", [owner])?;
        tx.execute("DELETE FROM state WHERE owner = ?1", [owner])?;
        tx.execute("DELETE FROM sample WHERE owner = ?1", [owner])?;
        tx.execute("DELETE FROM agreed WHERE owner = ?1", [owner])?;
        tx.commit()
    }

    /// Makes a logits row the owner's turn. Gives the previous row's node if nothing keeps it any
    /// more: no other owner's pin or turn, and it was never put as a head.
    pub(super) fn row(
        &mut self,
        model: ModelId,
        owner: &str,
        digest: Digest,
    ) -> Result<Option<Node>, rusqlite::Error> {
        let tx = self.db.transaction()?;
        let previous: Option<[u8; 32]> = tx
            .query_row(
                "SELECT digest FROM turn WHERE owner = ?1 AND model = ?2",
                params![owner, model.0],
                |r| r.get(0),
            )
            .optional()?;
        tx.execute(
            "INSERT OR REPLACE INTO turn(owner, model, digest) VALUES (?1, ?2, ?3)",
            params![owner, model.0, digest.0],
        )?;
        let free = match previous.filter(|p| *p != digest.0) {
            None => None,
            Some(previous) => tx
                .query_row(
                    "SELECT id, digest, at, bytes, logits FROM node
                     WHERE model = ?1 AND digest = ?2 AND role = ?4
                     AND NOT EXISTS (SELECT 1 FROM pin WHERE model = ?1 AND digest = ?2 AND owner != ?3)
                     AND NOT EXISTS (SELECT 1 FROM turn WHERE model = ?1 AND digest = ?2 AND owner != ?3)",
                    params![model.0, previous, owner, SnapshotRole::Row as u8],
                    node_row,
                )
                .optional()?,
        };
        tx.commit()?;
        Ok(free)
    }

    /// Makes `digest` the owner's turn unless there is one that is deeper: how a rebuild, which
    /// sees files in no order, finds turns again.
    pub(super) fn turn_if_deeper(
        &self,
        model: ModelId,
        owner: &str,
        digest: Digest,
    ) -> Result<(), rusqlite::Error> {
        self.db.execute(
            "INSERT INTO turn(owner, model, digest) VALUES (?1, ?2, ?3)
             ON CONFLICT DO UPDATE SET digest = ?3 WHERE
             (SELECT at FROM node WHERE model = ?2 AND digest = ?3)
             > coalesce((SELECT at FROM node WHERE model = ?2 AND digest = turn.digest), -1)",
            params![owner, model.0, digest.0],
        )?;
        Ok(())
    }

    /// The facts of the model under which the owner pinned last, this one left aside.
    pub(super) fn other_facts(
        &self,
        model: ModelId,
        owner: &str,
    ) -> Result<Option<String>, rusqlite::Error> {
        self.db
            .query_row(
                "SELECT facts FROM pin JOIN model ON model.id = pin.model
                 WHERE owner = ?1 AND model != ?2 ORDER BY pin.id DESC LIMIT 1",
                params![owner, model.0],
                |r| r.get(0),
            )
            .optional()
    }

    /// Counts and bytes of a model.
    pub(super) fn usage(&self, model: ModelId) -> Result<Usage, rusqlite::Error> {
        let count = |sql: &str| {
            self.db.query_row(sql, [model.0], |r| {
                Ok((r.get::<_, u64>(0)?, r.get::<_, u64>(1)?))
            })
        };
        let (edges, edge_bytes) =
            count("SELECT count(*), coalesce(sum(bytes), 0) FROM edge WHERE model = ?1")?;
        let (nodes, node_bytes) =
            count("SELECT count(*), coalesce(sum(bytes), 0) FROM node WHERE model = ?1")?;
        Ok(Usage {
            edges,
            nodes,
            bytes: edge_bytes + node_bytes,
            merged: self.merged(model)?,
        })
    }

    fn exists(&self, sql: &str, params: impl rusqlite::Params) -> Result<bool, rusqlite::Error> {
        self.db.prepare_cached(sql)?.exists(params)
    }
}

pub(super) fn edge_row(row: &Row<'_>) -> Result<EdgeRow, rusqlite::Error> {
    Ok(EdgeRow {
        edge: Edge {
            id: EdgeId(row.get(0)?),
            from: Digest(row.get(1)?),
            to: Digest(row.get(2)?),
            p0: row.get(3)?,
            p1: row.get(4)?,
            bytes: row.get(5)?,
        },
        head: tokens(row.get_ref(6)?.as_blob()?),
        tail: tokens(row.get_ref(7)?.as_blob()?),
    })
}

pub(super) fn node_row(row: &Row<'_>) -> Result<Node, rusqlite::Error> {
    Ok(Node {
        id: NodeId(row.get(0)?),
        digest: Digest(row.get(1)?),
        at: row.get(2)?,
        bytes: row.get(3)?,
        logits: row.get(4)?,
    })
}

/// The last tokens, as bytes.
pub(super) fn glance(tokens: &[Token]) -> Vec<u8> {
    Token::to_bytes(&tokens[tokens.len().saturating_sub(GLANCE)..])
}

/// A glance is a filter: one that makes no sense filters nothing out.
fn tokens(bytes: &[u8]) -> Vec<Token> {
    Token::from_bytes(bytes).unwrap_or_default()
}

fn remove_journals(path: &Path) -> io::Result<()> {
    for ending in ["-wal", "-shm"] {
        let mut name = path.as_os_str().to_os_string();
        name.push(ending);
        match std::fs::remove_file(&name) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
    }
    Ok(())
}

fn damaged() -> rusqlite::Error {
    let code = rusqlite::ffi::Error::new(rusqlite::ffi::SQLITE_CORRUPT);
    rusqlite::Error::SqliteFailure(code, None)
}

fn is_damage(error: &rusqlite::Error) -> bool {
    matches!(
        error.sqlite_error_code(),
        Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase)
    )
}
