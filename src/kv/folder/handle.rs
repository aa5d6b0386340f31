//! The whole KV folder without a model: what is in it and whose it is, whether it is sound, and
//! taking out what nobody needs. For `npast kv` and for the end of a session.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde_json::Value;

use crate::ledger::{Digest, Running, Token};

use crate::kv::check::inspect;
use crate::kv::error::{Damage, Error};
use crate::kv::index::connection::Index;
use crate::kv::index::graph::{Graph, Item};
use crate::kv::index::holdings::{Model, UNCLAIMED};
use crate::kv::index::location::{Place, Users};
use crate::kv::index::rebuild;
use crate::kv::notice::{Notice, Notices};
use crate::kv::open::repair::{Remakes, report};
use crate::kv::record::files::{self, Files};
use crate::kv::record::format::{Header, Kind, Limits};
use crate::kv::record::read::Fault;
use crate::kv::record::storage::{Disk, Storage};
use crate::kv::store::handle::lock;
use crate::kv::write::evict::{self, Collected, InUse, Trouble, Want};

/// The KV folder of any models.
pub struct Folder {
    dir: PathBuf,
    files: Files,
    limits: Limits,
    index: Mutex<Index>,
    pub(in crate::kv) place: Place,
    pub(in crate::kv) remakes: Remakes,
    pub(in crate::kv) notices: Notices,
    /// No other process had it open when this was.
    alone: bool,
    lock: File,
}

/// What is stored for one model.
#[derive(Clone, Debug)]
pub struct ModelStatus {
    /// Its hard fingerprint.
    pub hard: Digest,
    /// The facts behind it.
    pub facts: Value,
    /// Segments.
    pub edges: u64,
    /// Snapshots.
    pub nodes: u64,
    /// Bytes of the files of both.
    pub bytes: u64,
    /// Bytes that no owner reaches: what [`Folder::collect`] removes.
    pub unreached: u64,
    /// Bytes that merging has written since the index was made.
    pub merged: u64,
    /// Whose it is, by name.
    pub owners: Vec<OwnerStatus>,
}

/// What is stored for one owner under one model.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct OwnerStatus {
    /// The opaque owner id; `None` for what a rebuild found and nobody has claimed since.
    pub owner: Option<String>,
    /// Tokens that a new process finds restorable; the rest of the conversation is evaluated.
    pub tokens: usize,
    /// Bytes of the files it reaches.
    pub bytes: u64,
    /// Those of them that another owner reaches too.
    pub shared: u64,
}

/// What [`Folder::verify`] found.
#[derive(Clone, Default, Debug)]
pub struct Verified {
    /// Files that were read.
    pub files: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Those that are not as they were written.
    pub bad: Vec<BadFile>,
}

/// A file that is not as it was written.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct BadFile {
    /// Its place below the folder.
    pub file: String,
    /// The first thing wrong, a sentence without its end.
    pub reason: String,
    /// True when it was moved to quarantine; false when it could not be read, or not be moved.
    pub aside: bool,
}

impl Folder {
    /// Opens the folder `dir` ($NPAST_HOME/kv) as it is; `None` when there is none. Index and files
    /// are made to agree, as a store does it at its start.
    ///
    /// # Errors
    /// When it cannot be read or its index cannot be written.
    pub fn open(dir: &Path, limits: Limits) -> Result<Option<Folder>, Error> {
        if !dir.join("v1").is_dir() {
            return Ok(None);
        }
        let storage: Arc<dyn Storage> = Arc::new(Disk);
        let quarantine = dir.join("quarantine");
        storage
            .make_folder(&quarantine)
            .map_err(Error::folder(&quarantine))?;
        let (lock, alone) = lock(&dir.join("lock"))?;
        if alone {
            rebuild::sweep(&storage, dir)?;
        }
        let place = Place::new(storage.clone(), dir, limits);
        let users = if alone { Users::Nobody } else { Users::Some };
        let ready = place.open(users, |index| {
            rebuild::mend_all(index, &storage, dir, &limits)
        })?;
        let notices = Notices::default();
        let mut mended = ready.mended;
        mended.added += ready.first.added;
        mended.refused += ready.first.refused;
        report(&notices, ready.opened, mended);
        Ok(Some(Folder {
            dir: dir.to_path_buf(),
            files: Files::new(storage, dir, ""),
            limits,
            index: Mutex::new(ready.index),
            place,
            remakes: Remakes::default(),
            notices,
            alone,
            lock,
        }))
    }

    pub(in crate::kv) fn index(&self) -> MutexGuard<'_, Index> {
        self.index.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What a user should be told since the last call.
    pub fn take_notices(&self) -> Vec<Notice> {
        self.notices.take()
    }

    pub(in crate::kv) fn graphs(&self) -> Result<Vec<(Graph, Value)>, rusqlite::Error> {
        let index = self.index();
        let mut graphs = Vec::new();
        for model in index.models()? {
            let facts = serde_json::from_str(&model.facts).unwrap_or(Value::Null);
            graphs.push((Graph::load(&index, &model)?, facts));
        }
        Ok(graphs)
    }

    /// The most bytes that may be used.
    pub fn quota(&self) -> u64 {
        evict::quota(&self.dir, self.limits.quota_bytes)
    }

    /// What is stored, per model and owner.
    ///
    /// # Errors
    /// When the index fails.
    pub fn status(&self) -> Result<Vec<ModelStatus>, Error> {
        self.sound(|| self.stored())
    }

    fn stored(&self) -> Result<Vec<ModelStatus>, Error> {
        let graphs = self.graphs()?;
        let index = self.index();
        let status = graphs.into_iter().map(|(graph, facts)| {
            let merged = index.merged(graph.model)?;
            let sum = |items: &mut dyn Iterator<Item = Item>| items.map(|i| graph.bytes(i)).sum();
            let owners = owners(&graph);
            let mut reaching: HashMap<Item, usize> = HashMap::new();
            for (_, _, items) in &owners {
                for item in items {
                    *reaching.entry(*item).or_default() += 1;
                }
            }
            Ok(ModelStatus {
                hard: graph.hard,
                facts,
                merged,
                edges: graph.edges.len() as u64,
                nodes: graph.nodes.len() as u64,
                bytes: sum(&mut graph.items()),
                unreached: sum(&mut graph.items().filter(|i| !reaching.contains_key(i))),
                owners: owners
                    .iter()
                    .map(|(owner, tokens, items)| OwnerStatus {
                        owner: owner.clone(),
                        tokens: *tokens,
                        bytes: sum(&mut items.iter().copied()),
                        shared: sum(&mut items.iter().copied().filter(|i| reaching[i] > 1)),
                    })
                    .collect(),
            })
        });
        status.collect()
    }

    /// Removes what no owner reaches, then what the quota asks for.
    ///
    /// # Errors
    /// [`Error::Busy`] when another process uses the folder: what it has just written is not held
    /// by anybody yet. Else when files or index fail.
    pub fn collect(&self) -> Result<Collected, Error> {
        if !self.alone {
            return Err(Error::Busy);
        }
        let (want, used) = (Want::Unreached, InUse::default());
        let done =
            self.sound(|| evict::collect(&self.index, &self.files, self.quota(), want, &used));
        Ok(done.map_err(|t| self.trouble(t))?.0)
    }

    /// Forgets an owner, and removes what it alone reached and what was written after that. `ledger`
    /// is what it held: an index that was rebuilt knows files, not whose they are. What was set
    /// aside goes too, since nothing tells whose it was; it is not counted.
    ///
    /// # Errors
    /// When files or index fail; then a part may be left, which [`Folder::collect`] removes.
    pub fn forget(&self, owner: &str, ledger: &[Token]) -> Result<Collected, Error> {
        self.sound(|| self.take_out(owner, ledger))
    }

    fn take_out(&self, owner: &str, ledger: &[Token]) -> Result<Collected, Error> {
        let mut all = Collected::default();
        let index = self.index();
        let models = index.models()?;
        drop(index);
        for model in models {
            let (graph, items) = self.release(&model, owner, ledger)?;
            let done = evict::remove_all(&self.index, &self.files, &graph, &items)
                .map_err(|t| self.trouble(t))?;
            all.files += done.files;
            all.bytes += done.bytes;
        }
        let emptied = self.files.empty_quarantine();
        emptied.map_err(|error| self.trouble(error.into()))?;
        Ok(all)
    }

    /// Takes an owner's holds away under one model; gives what is nobody's after that. In one
    /// transaction: another process may make what it reaches its own.
    fn release(
        &self,
        model: &Model,
        owner: &str,
        ledger: &[Token],
    ) -> Result<(Graph, HashSet<Item>), rusqlite::Error> {
        let index = self.index();
        index.at_once(|| {
            let graph = Graph::load(&index, model)?;
            let on_ledger = along(&graph, ledger);
            let mine = |hold: &str| hold == owner;
            let unclaimed = graph
                .holds
                .iter()
                .filter(|h| h.owner.starts_with(UNCLAIMED));
            let released: HashSet<String> = unclaimed
                .filter(|h| on_ledger.contains(&h.digest))
                .map(|h| h.owner.clone())
                .collect();
            let goes = |hold: &str| mine(hold) || released.contains(hold);
            let kept = graph.reached(|hold| !goes(hold));
            let mut items = graph.reached(goes);
            items.extend(graph.on(&on_ledger));
            items.retain(|i| !kept.contains(i));
            graph.add_later(&mut items, &kept);
            for hold in released.iter().map(String::as_str).chain([owner]) {
                index.release(graph.model, hold)?;
            }
            Ok((graph, items))
        })
    }

    /// Reads every file and proves it: checksums, structure, its name, and the digests of every
    /// chain from position 0. What is not as it was written goes to quarantine.
    ///
    /// # Errors
    /// When a folder cannot be listed or the index fails.
    pub fn verify(&self) -> Result<Verified, Error> {
        // It may take minutes: others may start meanwhile.
        let path = self.dir.join("lock");
        self.lock
            .unlock()
            .and_then(|()| self.lock.lock_shared())
            .map_err(Error::folder(&path))?;
        let mut verified = Verified::default();
        for folder in rebuild::folders(&self.files.storage, &self.dir)? {
            let files = self.files.of(&folder);
            let mut edges = BTreeMap::new();
            let mut bad = Vec::new();
            for name in files.list().map_err(Error::folder(&files.folder))? {
                if !files::is_record(&name) {
                    continue;
                }
                match prove(&files, &folder, &name, &self.limits) {
                    Ok((header, tokens, len)) => {
                        verified.files += 1;
                        verified.bytes += len;
                        if header.kind == Kind::Edge {
                            edges.insert((header.p0, name), (header, tokens));
                        }
                    }
                    // Replaced or removed by another process meanwhile.
                    Err(Fault::Damage(Damage::Gone)) => {}
                    Err(fault) => bad.push((name, fault)),
                }
            }
            for name in unchained(&edges) {
                bad.push((name, Damage::Other("digest").into()));
            }
            for (name, fault) in bad {
                verified
                    .bad
                    .push(self.set_aside(&files, &folder, name, fault)?);
            }
        }
        Ok(verified)
    }

    fn set_aside(
        &self,
        files: &Files,
        folder: &str,
        name: String,
        fault: Fault,
    ) -> Result<BadFile, Error> {
        let damage = matches!(&fault, Fault::Damage(d) if !matches!(d, Damage::Memory(_)));
        let aside = damage && files.quarantine(&name).is_ok();
        if aside {
            self.sound(|| {
                let index = self.index();
                for model in index.models()? {
                    if rebuild::short(model.hard) == *folder {
                        drop_row(&index, &Graph::load(&index, &model)?, &name)?;
                    }
                }
                Ok::<_, rusqlite::Error>(())
            })?;
        }
        let reason = match fault {
            Fault::Damage(damage) => damage.to_string(),
            Fault::Io(error) => format!("it cannot be read: {error}"),
        };
        Ok(BadFile {
            file: format!("v1/{folder}/{name}"),
            reason,
            aside,
        })
    }

    fn trouble(&self, trouble: Trouble) -> Error {
        match trouble {
            Trouble::Io(source) => Error::Folder {
                path: self.dir.clone(),
                source,
            },
            Trouble::Index(error) => Error::Index(error),
        }
    }
}

/// Owners of a graph by name: how much is restorable, and what they reach.
fn owners(graph: &Graph) -> Vec<(Option<String>, usize, HashSet<Item>)> {
    let names: HashSet<&String> = graph.holds.iter().map(|h| &h.owner).collect();
    let mut names: Vec<&String> = names.into_iter().collect();
    names.sort();
    let mut owners = Vec::new();
    for name in names {
        let held = graph.holds.iter().filter(|h| h.owner == *name && !h.past);
        let tokens = held.map(|h| graph.restorable(h.digest)).max().unwrap_or(0);
        let owner = (!name.starts_with(UNCLAIMED)).then(|| name.clone());
        owners.push((owner, tokens, graph.reached(|o| o == name)));
    }
    owners
}

/// The digests of a graph that lie on a ledger.
fn along(graph: &Graph, ledger: &[Token]) -> HashSet<Digest> {
    let mut by_end: BTreeMap<usize, Vec<Digest>> = BTreeMap::new();
    for item in graph.items() {
        let node = || graph.node(item).map(|n| n.digest);
        if let Some(digest) = graph.edge(item).map(|e| e.to).or_else(node) {
            by_end.entry(graph.end(item)).or_default().push(digest);
        }
    }
    let mut found = HashSet::new();
    let mut running = Running::new(graph.hard);
    for (end, digests) in by_end {
        let Some(tokens) = ledger.get(running.len()..end) else {
            break;
        };
        running.extend(tokens);
        let here = running.digest();
        found.extend(digests.into_iter().filter(|d| *d == here));
    }
    found
}

fn prove(
    files: &Files,
    folder: &str,
    name: &str,
    limits: &Limits,
) -> Result<(Header, Vec<Token>, u64), Fault> {
    let (mut input, len) = files.open(name)?;
    let record = inspect::record(&mut input, len, limits)?;
    let header = record.header;
    if rebuild::short(header.hard) != folder {
        return Err(Damage::Other("model").into());
    }
    if files::name(header.kind, header.from, header.to) != name {
        return Err(Damage::Other("digest").into());
    }
    Ok((header, record.tokens, len))
}

type Edges = BTreeMap<(usize, String), (Header, Vec<Token>)>;

/// Edges that a chain from position 0 reaches, and whose digests their tokens do not give.
fn unchained(edges: &Edges) -> Vec<String> {
    let mut known: HashMap<Digest, Running> = HashMap::new();
    let mut bad = Vec::new();
    for ((p0, name), (header, tokens)) in edges {
        let root = || (*p0 == 0).then(|| Running::new(header.hard));
        let Some(mut running) = known.get(&header.from).cloned().or_else(root) else {
            continue;
        };
        running.extend(tokens);
        if running.len() == header.p1 && running.digest() == header.to {
            known.insert(header.to, running);
        } else {
            bad.push(name.clone());
        }
    }
    bad
}

fn drop_row(index: &Index, graph: &Graph, name: &str) -> Result<(), rusqlite::Error> {
    for item in graph.items().filter(|i| graph.name(*i) == name) {
        if let Some(edge) = graph.edge(item) {
            index.drop_edge(graph.model, edge)?;
        }
        if let Some(node) = graph.node(item) {
            index.drop_node(graph.model, node.digest)?;
        }
    }
    Ok(())
}
