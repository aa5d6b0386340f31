//! Reading ahead and warming: the same proof as for one segment, bounded, and ended by a drop.

use std::sync::atomic::{AtomicUsize, Ordering};

use super::merging::{put_rows, rows};
use super::*;
use crate::kv::warm;

/// The real folder; counts the records that were opened.
struct Counted(Arc<AtomicUsize>);

impl Storage for Counted {
    fn make_folder(&self, path: &Path) -> io::Result<()> {
        Disk.make_folder(path)
    }
    fn create(&self, path: &Path) -> io::Result<Box<dyn OutputFile>> {
        Disk.create(path)
    }
    fn open(&self, path: &Path) -> io::Result<(Box<dyn Read>, u64)> {
        let edge = path.extension().is_some_and(|e| e == "edge");
        self.0.fetch_add(usize::from(edge), Ordering::SeqCst);
        Disk.open(path)
    }
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        Disk.rename(from, to)
    }
    fn sync_folder(&self, path: &Path) -> io::Result<()> {
        Disk.sync_folder(path)
    }
    fn remove(&self, path: &Path) -> io::Result<()> {
        Disk.remove(path)
    }
    fn list(&self, path: &Path) -> io::Result<Vec<String>> {
        Disk.list(path)
    }
}

/// A chain's edges, each wanted to its end.
type Chained = Vec<(Edge, usize)>;

/// A chain of forty segments of 120 bytes, read ahead by at most 250.
fn chain() -> (TempDir, Arc<AtomicUsize>, Store, Vec<Token>, Chained) {
    let home = TempDir::new().unwrap();
    let opened = Arc::new(AtomicUsize::new(0));
    let limits = StoreLimits {
        ahead_bytes: 250,
        ..super::limits()
    };
    let storage = Arc::new(Counted(opened.clone()));
    let kv = home.path().join("kv");
    let store = Store::open_on(storage, &kv, model("f16"), limits).unwrap();
    let target = text(1, 400);
    for p0 in (0..400).step_by(10) {
        put_rows(&store, &target, p0, p0 + 10);
    }
    store.flush().unwrap();
    let edges = find(&store, &target).edges.into_iter();
    let edges = edges.map(|e| (e.clone(), e.p1)).collect();
    (home, opened, store, target, edges)
}

#[test]
fn a_chain_is_read_in_order_and_no_farther_ahead_than_the_limit() {
    let (_home, opened, store, target, mut edges) = chain();
    // Another target goes its own way in the last one.
    let target = [&target[..395], &text(2, 5)].concat();
    edges.last_mut().unwrap().1 = 395;
    let mut used_again = 0;
    let mut reading = store
        .read_chain(edges.clone(), target.clone().into())
        .unwrap();
    for (i, (edge, _)) in edges.iter().enumerate() {
        let segment = reading.next().unwrap().unwrap();
        assert_eq!((segment.p0, segment.p1), (edge.p0, edge.p1));
        // One with the caller, one waiting, one being read.
        assert!(opened.load(Ordering::SeqCst) <= i + 3, "at segment {i}");
        if i + 1 < edges.len() {
            assert_eq!(segment.payload, rows(&target, edge.p0, edge.p1));
        }
        used_again += usize::from(segment.payload.capacity() >= 1000);
        let larger = if i == 0 {
            Vec::with_capacity(1000)
        } else {
            segment.payload
        };
        reading.give_back(larger);
    }
    assert!(reading.next().is_none());
    assert!(
        used_again >= 5,
        "a buffer that came back was used {used_again} times"
    );
}

#[test]
fn a_chain_ends_with_the_first_segment_that_is_not_as_it_was() {
    let (home, _opened, store, target, edges) = chain();
    let name = |e: &Edge| {
        crate::kv::record::files::name(crate::kv::record::format::RecordKind::Edge, e.from, e.to)
    };
    let bad = name(&edges[17].0);
    let path = records(&home)
        .into_iter()
        .find(|p| p.ends_with(&bad))
        .unwrap();
    let mut bytes = std::fs::read(&path).unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    std::fs::write(&path, bytes).unwrap();
    let mut reading = store.read_chain(edges.clone(), target.into()).unwrap();
    for _ in 0..17 {
        reading.next().unwrap().unwrap();
    }
    assert!(reading.next().unwrap().unwrap_err().is_damage());
    assert!(reading.next().is_none());
    drop(reading);

    // One whose text is not the target's, and one that is not wanted to its end.
    let other = text(9, 400);
    let mut reading = store.read_chain(edges, other.into()).unwrap();
    assert!(reading.next().unwrap().is_err());
    assert!(Store::off().read_chain(Vec::new(), Arc::new([])).is_err());
}

#[test]
fn a_chain_that_is_dropped_reads_no_more() {
    let (_home, opened, store, target, edges) = chain();
    let mut reading = store.read_chain(edges, target.into()).unwrap();
    reading.next().unwrap().unwrap();
    drop(reading);
    let seen = opened.load(Ordering::SeqCst);
    assert!(seen <= 4, "{seen} of 40");
}

#[test]
fn an_owners_files_are_asked_for_and_nothing_else_and_never_loudly() {
    let (home, store) = store();
    let (target, other) = (text(1, 100), text(2, 100));
    for p0 in (0..100).step_by(10) {
        put_edge(&store, &target, p0, p0 + 10);
    }
    put_node(&store, &target, 100, SnapshotRole::Turn, Some("a"));
    store.pin("a", digest(&target, 100));
    store.flush().unwrap();
    let wanted = store.usage().bytes;
    put_edge(&store, &other, 0, 100);
    store.pin("b", digest(&other, 100));
    drop(store);
    let kv = home.path().join("kv");
    assert_eq!(warm(&kv, "a").wait(), wanted);
    assert_eq!(warm(&kv, "nobody").wait(), 0);
    assert_eq!(warm(&home.path().join("nowhere"), "a").wait(), 0);
    assert!(!home.path().join("nowhere").exists());
    std::fs::write(kv.join("index.db"), b"not an index").unwrap();
    assert_eq!(warm(&kv, "a").wait(), 0);
    drop(warm(&kv, "a"));
}

/// The real folder; opening one record panics.
struct Panics(Mutex<Option<String>>);

impl Storage for Arc<Panics> {
    fn make_folder(&self, path: &Path) -> io::Result<()> {
        Disk.make_folder(path)
    }
    fn create(&self, path: &Path) -> io::Result<Box<dyn OutputFile>> {
        Disk.create(path)
    }
    fn open(&self, path: &Path) -> io::Result<(Box<dyn Read>, u64)> {
        let bad = self.0.lock().unwrap().clone();
        if bad.is_some_and(|bad| path.ends_with(bad)) {
            panic!("on purpose");
        }
        Disk.open(path)
    }
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        Disk.rename(from, to)
    }
    fn sync_folder(&self, path: &Path) -> io::Result<()> {
        Disk.sync_folder(path)
    }
    fn remove(&self, path: &Path) -> io::Result<()> {
        Disk.remove(path)
    }
    fn list(&self, path: &Path) -> io::Result<Vec<String>> {
        Disk.list(path)
    }
}

/// Once the queue stayed open, and who asked for the next segment waited for ever.
#[test]
fn a_panic_of_the_reading_thread_is_an_error_of_the_chain_and_nobody_waits_for_it() {
    let home = TempDir::new().unwrap();
    let panics = Arc::new(Panics(Mutex::new(None)));
    let store = open_on(&home, Arc::new(panics.clone()), 1 << 20).unwrap();
    let target = text(1, 100);
    for p0 in (0..100).step_by(10) {
        put_rows(&store, &target, p0, p0 + 10);
    }
    store.flush().unwrap();
    let edges = find(&store, &target).edges;
    let wanted: Chained = edges.iter().map(|e| (e.clone(), e.p1)).collect();
    for bad in [0, 4, 9] {
        let Edge { from, to, .. } = edges[bad];
        let name =
            crate::kv::record::files::name(crate::kv::record::format::RecordKind::Edge, from, to);
        *panics.0.lock().unwrap() = Some(name);
        let (reply, answer) = std::sync::mpsc::channel();
        let mut reading = store
            .read_chain(wanted.clone(), target.clone().into())
            .unwrap();
        std::thread::spawn(move || {
            let read: Vec<_> = reading.by_ref().collect();
            let _ = reply.send((read, reading.next().is_none()));
        });
        let read = answer.recv_timeout(std::time::Duration::from_secs(20));
        let (mut read, ended) = read.expect("nobody waits for ever");
        let error = read.pop().unwrap().unwrap_err();
        assert!(error.to_string().contains("on purpose"), "{error}");
        assert!(!error.is_damage(), "no file is to blame");
        assert!(read.iter().all(Result::is_ok) && read.len() == bad && ended);
    }
    *panics.0.lock().unwrap() = None;
    let reading = store.read_chain(wanted, target.clone().into()).unwrap();
    assert_eq!(reading.filter(Result::is_ok).count(), 10);
}
