//! kv/index.db: which edges, nodes and pins there are. SQLite, WAL, synchronous NORMAL: losing rows
//! is allowed, the files are the truth and the index is made from them again.

use std::io;
use std::path::Path;
use std::time::Duration;

use rusqlite::{
    Connection, OpenFlags, OptionalExtension, Row, Transaction, TransactionBehavior, params,
};

use crate::ledger::{Digest, Token};

use crate::kv::error::Error;
use crate::kv::index::location;
use crate::kv::index::schema::{self, State};
use crate::kv::record::put::SnapshotRole;

/// Names a stored edge within an index.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct EdgeId(pub(in crate::kv) i64);

/// Names a stored node within an index.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct NodeId(pub(in crate::kv) i64);

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
pub(in crate::kv) const GLANCE: usize = 16;

/// The open index, and the model that this store is about.
pub(in crate::kv) struct Index {
    pub(in crate::kv) db: Connection,
}

/// A row's model.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(in crate::kv) struct ModelId(pub(in crate::kv) i64);

impl ModelId {
    fn of(hard: Digest) -> ModelId {
        let [a, b, c, d, e, f, g, h, ..] = hard.0;
        ModelId(i64::from_le_bytes([a, b, c, d, e, f, g, h]) & i64::MAX)
    }
}

/// Tables whose rows are a model's.
const MODELS: [&str; 8] = [
    "edge", "node", "pin", "turn", "merged", "sample", "agreed", "state",
];

/// An edge with the glance at its ends.
pub(in crate::kv) struct EdgeRow {
    pub(in crate::kv) edge: Edge,
    pub(in crate::kv) head: Vec<Token>,
    pub(in crate::kv) tail: Vec<Token>,
}

impl Index {
    /// Opens the index at `path`, or makes the tables of one, and proves all of it.
    pub(in crate::kv) fn open(path: &Path) -> Result<(Index, State), Error> {
        // SQLite gives its journals the mode of the database: made here, 0600 whatever the umask.
        location::own_file(path).map_err(Error::folder(path))?;
        let db = Connection::open(path)?;
        db.busy_timeout(Duration::from_secs(10))?;
        db.query_row("PRAGMA schema_version", [], |r| r.get::<_, i64>(0))?;
        if location::is_locked_by_its_header(&db, path) {
            return Err(Error::Index(schema::damaged()));
        }
        db.pragma_update(None, "journal_mode", "WAL")?;
        db.pragma_update(None, "synchronous", "NORMAL")?;
        // Rows hold tokens of a conversation: what is deleted is overwritten.
        db.pragma_update(None, "secure_delete", "ON")?;
        // Not only each page: also that what an index of a table says is what the table says.
        let check: String = db.query_row("PRAGMA integrity_check(1)", [], |r| r.get(0))?;
        if check != "ok" {
            return Err(Error::Index(schema::damaged()));
        }
        let state = schema::prepare(&db)?;
        Ok((Index { db }, state))
    }

    /// Ends the transaction of a new index ([`State::Empty`]).
    pub(in crate::kv) fn commit(&self) -> Result<(), rusqlite::Error> {
        self.db.execute_batch("COMMIT")
    }

    /// A second connection to an open index, that only reads: what another is writing, or waiting
    /// to write, does not hold it up.
    pub(in crate::kv) fn reader(path: &Path) -> Result<Index, rusqlite::Error> {
        let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let db = Connection::open_with_flags(path, flags)?;
        db.busy_timeout(Duration::from_secs(1))?;
        // The journal is opened with the first question: now, whatever becomes of its name later.
        db.query_row("SELECT count(*) FROM model", [], |_| Ok(()))?;
        Ok(Index { db })
    }

    /// How long a change waits for a change of another process from now on.
    pub(in crate::kv) fn wait(&self, most: Duration) -> Result<(), rusqlite::Error> {
        self.db.busy_timeout(most)
    }

    /// One transaction, which nobody sees in part. It takes the write lock when it begins: SQLite
    /// refuses at once to make a reading transaction a writing one when another process has written
    /// since. Every change that looks before it writes goes through here.
    pub(in crate::kv) fn at_once<T>(
        &self,
        change: impl FnOnce() -> Result<T, rusqlite::Error>,
    ) -> Result<T, rusqlite::Error> {
        if !self.db.is_autocommit() {
            // A new index is filled in one transaction.
            return change();
        }
        let tx = Transaction::new_unchecked(&self.db, TransactionBehavior::Immediate)?;
        let done = change()?;
        tx.commit()?;
        Ok(done)
    }

    /// Notes a model's facts; gives its row. Its number follows from the fingerprint, so that it is the
    /// same in an index that another process has made anew meanwhile.
    pub(in crate::kv) fn model(
        &self,
        hard: Digest,
        facts: &str,
        soft: &str,
    ) -> Result<ModelId, rusqlite::Error> {
        let number = ModelId::of(hard);
        self.db.execute(
            "INSERT INTO model(id, hard, facts, soft) VALUES (?1, ?2, ?3, ?4)
             ON CONFLICT(hard) DO UPDATE SET facts = ?3, soft = ?4",
            params![number.0, hard.0, facts, soft],
        )?;
        let sql = "SELECT id FROM model WHERE hard = ?";
        let stored: i64 = self.db.query_row(sql, [hard.0], |r| r.get(0))?;
        if stored == number.0 {
            return Ok(number);
        }
        // Of before that: numbers were given in the order in which models came.
        let renumber = || {
            for table in MODELS {
                let sql = format!("UPDATE {table} SET model = ?1 WHERE model = ?2");
                self.db.execute(&sql, [number.0, stored])?;
            }
            let sql = "UPDATE model SET id = ?1 WHERE id = ?2";
            self.db.execute(sql, [number.0, stored])
        };
        match self.db.is_autocommit() {
            true => self.at_once(renumber)?,
            false => renumber()?,
        };
        Ok(number)
    }

    /// Notes an edge; one that is there stays.
    pub(in crate::kv) fn add_edge(
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
    pub(in crate::kv) fn add_node(
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
    pub(in crate::kv) fn has_edge(
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
    pub(in crate::kv) fn has_node(
        &self,
        model: ModelId,
        digest: Digest,
    ) -> Result<bool, rusqlite::Error> {
        self.exists(
            "SELECT 1 FROM node WHERE model = ?1 AND digest = ?2",
            params![model.0, digest.0],
        )
    }

    /// Gives a stored node `role`, if that is stronger than its own.
    pub(in crate::kv) fn strengthen(
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
    pub(in crate::kv) fn all(
        &self,
        model: ModelId,
    ) -> Result<(Vec<Edge>, Vec<Node>), rusqlite::Error> {
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

    /// Puts the length of an edge's file right.
    pub(in crate::kv) fn set_edge_bytes(
        &self,
        model: ModelId,
        edge: &Edge,
        bytes: u64,
    ) -> Result<(), rusqlite::Error> {
        self.db.execute(
            "UPDATE edge SET bytes = ?4 WHERE model = ?1 AND \"from\" = ?2 AND \"to\" = ?3",
            params![model.0, edge.from.0, edge.to.0, bytes],
        )?;
        Ok(())
    }

    /// Puts the length of a node's file right.
    pub(in crate::kv) fn set_node_bytes(
        &self,
        model: ModelId,
        digest: Digest,
        bytes: u64,
    ) -> Result<(), rusqlite::Error> {
        self.db.execute(
            "UPDATE node SET bytes = ?3 WHERE model = ?1 AND digest = ?2",
            params![model.0, digest.0, bytes],
        )?;
        Ok(())
    }

    /// Puts the sum of all lengths right.
    pub(in crate::kv) fn count_total(&self) -> Result<(), rusqlite::Error> {
        self.db.execute(schema::COUNT, [])?;
        Ok(())
    }

    /// Forgets an edge by its digests: SQLite gives the number of a row that is gone to a new row.
    pub(in crate::kv) fn drop_edge(
        &self,
        model: ModelId,
        edge: &Edge,
    ) -> Result<(), rusqlite::Error> {
        self.db
            .prepare_cached("DELETE FROM edge WHERE model = ?1 AND \"from\" = ?2 AND \"to\" = ?3")?
            .execute(params![model.0, edge.from.0, edge.to.0])?;
        Ok(())
    }

    /// Forgets the node at a digest.
    pub(in crate::kv) fn drop_node(
        &self,
        model: ModelId,
        digest: Digest,
    ) -> Result<(), rusqlite::Error> {
        self.db
            .prepare_cached("DELETE FROM node WHERE model = ?1 AND digest = ?2")?
            .execute(params![model.0, digest.0])?;
        Ok(())
    }

    /// Sets the owner's pin for this model.
    pub(in crate::kv) fn pin(
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
    pub(in crate::kv) fn unpin(&self, owner: &str) -> Result<(), rusqlite::Error> {
        self.at_once(|| {
            for table in ["pin", "turn", "state", "sample", "agreed"] {
                let forget = format!("DELETE FROM {table} WHERE owner = ?1");
                self.db.execute(&forget, [owner])?;
            }
            Ok(())
        })
    }

    /// Makes `digest` the owner's turn unless there is one that is deeper: how a rebuild, which
    /// sees files in no order, finds turns again.
    pub(in crate::kv) fn turn_if_deeper(
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
    pub(in crate::kv) fn other_facts(
        &self,
        model: ModelId,
        owner: &str,
    ) -> Result<Option<String>, rusqlite::Error> {
        self.db
            .query_row(
                "SELECT facts FROM (SELECT model FROM pin WHERE owner = ?1 ORDER BY id DESC LIMIT 1) AS last
                 JOIN model ON model.id = last.model WHERE last.model != ?2",
                params![owner, model.0],
                |r| r.get(0),
            )
            .optional()
    }

    /// Counts and bytes of a model.
    pub(in crate::kv) fn usage(&self, model: ModelId) -> Result<Usage, rusqlite::Error> {
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

pub(in crate::kv) fn edge_row(row: &Row<'_>) -> Result<EdgeRow, rusqlite::Error> {
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

pub(in crate::kv) fn node_row(row: &Row<'_>) -> Result<Node, rusqlite::Error> {
    Ok(Node {
        id: NodeId(row.get(0)?),
        digest: Digest(row.get(1)?),
        at: row.get(2)?,
        bytes: row.get(3)?,
        logits: row.get(4)?,
    })
}

/// The last tokens, as bytes.
pub(in crate::kv) fn glance(tokens: &[Token]) -> Vec<u8> {
    Token::to_bytes(&tokens[tokens.len().saturating_sub(GLANCE)..])
}

/// A glance is a filter: one that makes no sense filters nothing out.
fn tokens(bytes: &[u8]) -> Vec<Token> {
    Token::from_bytes(bytes).unwrap_or_default()
}

pub(in crate::kv) fn remove_journals(path: &Path) -> io::Result<()> {
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
