//! The same for merging: a chain of short turns that is merged twice, stopped and failed at every
//! operation.

use super::*;
use crate::kv::tests::merging::{Rows, put_rows, reads};

/// Turns of four tokens before each merge, after a head of 20.
const SHORT: [usize; 2] = [9, 8];
const END: usize = 20 + 4 * (9 + 8);

/// Lives as long as it can; gives how far what was flushed without a word reaches.
fn live(store: &Store) -> usize {
    let target = text(1, 200);
    store.merge_with(Arc::new(Rows));
    put_rows(store, &target, 0, 20);
    let (mut end, mut durable, mut well) = (20, 0, true);
    for turns in SHORT {
        for _ in 0..turns {
            put_rows(store, &target, end, end + 4);
            end += 4;
            store.pin("a", digest(&target, end));
            well &= store.flush().is_ok() && store.take_notices().is_empty();
            if well {
                durable = end;
            }
        }
        let _ = store.merge();
    }
    durable
}

fn check(store: &Store) -> Vec<(usize, usize)> {
    let target = text(1, 200);
    let found = find(store, &target);
    reads(store, &target, &found);
    cuts(&found)
}

fn operations() -> usize {
    let home = home();
    let ram = Ram::new(None, None);
    let store = open_ram(&home, &ram).unwrap();
    assert_eq!(live(&store), END);
    let operations = ram.operations();
    assert_eq!(check(&store), [(0, 20), (20, 56), (56, END)]);
    operations
}

/// The life again from its beginning, and no word about anything. What is merged already is put
/// a second time, in parts: a collection takes them.
fn goes_on(store: &Store) {
    store.take_notices();
    live(store);
    store.collect().unwrap();
    assert_eq!(store.take_notices(), []);
    let cuts = check(store);
    assert_eq!(cuts.last().map(|c| c.1), Some(END));
}

#[test]
fn a_stop_in_the_middle_of_a_merge_costs_nothing_and_leaves_nothing_twice() {
    for n in 1..=operations() {
        let home = home();
        let (kept, at_stop) = keep_index(&home);
        let ram = Ram::new(Some((n, ReadFault::Stop)), Some(at_stop));
        let durable = match open_ram(&home, &ram) {
            Ok(store) => live(&store),
            Err(_) => 0,
        };
        assert!(ram.stopped(), "operation {n} was never asked for");
        let index = kept.lock().unwrap().clone();
        for cut in [Cut::Process, Cut::Power, Cut::Torn(n as u64 * 7919)] {
            for index in [index.clone(), Vec::new()] {
                if index.is_empty() && n % 4 != 0 {
                    continue;
                }
                put_index_back(&home, &index);
                let left = ram.after(cut);
                let store = open_ram(&home, &left).unwrap();
                let cuts = check(&store);
                let end = cuts.last().map_or(0, |c| c.1);
                assert!(end >= durable, "stop {n}, {cut:?}: {durable} of {cuts:?}");
                if cut != Cut::Process {
                    // Some of the parts' removals may be undone: nobody's, for a collection.
                    store.collect().unwrap();
                }
                let chained = check(&store).len() as u64;
                // A rebuilt index takes what a power cut brought back for somebody's.
                if !index.is_empty() {
                    assert_eq!(store.usage().edges, chained, "stop {n}, {cut:?}");
                }
                assert!(store.take_notices().len() <= usize::from(index.is_empty()));
                goes_on(&store);
                drop(store);
                let names = left.names();
                let edges = names
                    .iter()
                    .filter(|p| p.extension().is_some_and(|e| e == "edge"));
                let temporary = names
                    .iter()
                    .any(|p| p.extension().is_some_and(|e| e == "tmp"));
                assert_eq!((edges.count(), temporary), (3, false), "stop {n}, {cut:?}");
            }
        }
    }
}

#[test]
fn a_full_or_broken_disk_in_the_middle_of_a_merge_is_said_once_and_costs_nothing() {
    for fault in [
        ReadFault::Fails(ENOSPC),
        ReadFault::Fails(EIO),
        ReadFault::Short,
    ] {
        let step = if fault == ReadFault::Fails(ENOSPC) {
            1
        } else {
            3
        };
        for n in (1..=operations()).step_by(step) {
            let home = home();
            let ram = Ram::new(Some((n, fault)), None);
            let Ok(store) = open_ram(&home, &ram) else {
                continue;
            };
            live(&store);
            check(&store);
            let said = store.take_notices();
            assert!(said.len() <= 1, "{fault:?} at {n}: {said:?}");
            // Each record that failed is put again, and all that was refused after it.
            goes_on(&store);
            drop(store);
            let store = open_ram(&home, &ram.after(Cut::Power)).unwrap();
            assert_eq!(store.take_notices(), [], "{fault:?} at {n}");
            check(&store);
            goes_on(&store);
        }
    }
}
