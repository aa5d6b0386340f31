//! What a lookup costs: rows along the target, whatever else is stored.

use proptest::prelude::*;

use super::crash::in_memory;
use super::*;
use crate::kv::index::{edges, joints, nodes, pins, totals};
use crate::ledger::common_prefix;

#[test]
fn every_statement_of_a_lookup_and_of_a_turns_end_is_a_search_in_an_index() {
    let (_home, store) = store();
    let lookup = edges::SEARCHES.iter().chain(&nodes::SEARCHES);
    let turn = joints::SEARCHES
        .iter()
        .chain(&pins::SEARCHES)
        .chain(&totals::SEARCHES);
    for (statement, found) in lookup.chain(turn) {
        let plan: Vec<String> = store.with_index(|index, _| {
            let mut explain = index
                .db()
                .prepare(&format!("EXPLAIN QUERY PLAN {statement}"))
                .unwrap();
            let nothing = vec![rusqlite::types::Null; explain.parameter_count()];
            let rows = explain.query_map(rusqlite::params_from_iter(nothing), |r| r.get(3));
            rows.unwrap().collect::<Result<_, _>>().unwrap()
        });
        // By all that the statement says of the row, not by a part of it.
        let by = |column: &str| plan.iter().any(|step| step.contains(column));
        let head = statement.contains("head = ?3").then_some("head=?");
        let end = statement.contains("p1 = ?4").then_some("p1=? AND tail=?");
        for column in head.iter().chain(&end).chain(&[*found]) {
            assert!(by(column), "{statement}: {plan:?}");
        }
        let slow = |step: &&String| {
            step.contains("TEMP B-TREE") || (step.contains("SCAN") && *step != "SCAN CONSTANT ROW")
        };
        assert_eq!(plan.iter().find(slow), None, "{statement}");
    }
}

/// Rows without files, as another session's edges from `p0` on.
fn noted(store: &Store, target: &[Token], p0: usize, p1: usize) {
    store.with_index(|index, model| add_edge(index, model, target, p0, p1));
}

#[test]
fn a_lookup_reads_as_many_rows_beside_thousands_of_sessions_as_beside_none() {
    let (_home, store) = in_memory();
    let target = text(1, 600);
    put_edge(&store, &target, 0, 40);
    for p0 in (40..540).step_by(10) {
        put_edge(&store, &target, p0, p0 + 10);
        put_node(&store, &target, p0 + 10, SnapshotRole::Step, None);
    }
    store.flush().unwrap();
    let asked = std::cell::RefCell::new(Vec::new());
    let digests = |at: usize| {
        asked.borrow_mut().push(at);
        digest(&target, at)
    };
    let alone = store.rows_of(&target, &digests);
    let once = asked.take();
    let found = find(&store, &target);
    assert_eq!((found.edges.len(), found.nodes.len()), (51, 50));
    assert!(alone <= 2 * 52, "{alone} rows");

    // Sessions with the same head, some of which begin with the same words; and other ones.
    let before = std::time::Instant::now();
    for seed in 2..4000 {
        let alike = if seed % 2 == 0 { 40 } else { 70 };
        let other = [&target[..alike], &text(seed, 20)].concat();
        noted(&store, &other, 40, alike + 20);
        noted(&store, &text(seed, 40), 0, 40);
    }
    tracing::debug!(elapsed = ?before.elapsed(), "rows noted");
    let crowded = store.rows_of(&target, &digests);
    assert_eq!(find(&store, &target), found);
    assert!(crowded <= alone + 2 * 48, "{crowded} rows after {alone}");
    assert_eq!(
        asked.take(),
        once,
        "and computes the same digests, each once"
    );
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]
    #[test]
    fn from_a_place_where_many_begin_the_best_way_is_taken(
        others in proptest::collection::vec(proptest::collection::vec(0i32..2, 1..40), 9..40),
        more in proptest::collection::vec(0i32..2, 0..40),
        same in any::<proptest::sample::Index>(),
        cut in 1usize..40,
    ) {
        let (_home, store) = in_memory();
        let tokens = |ids: &[i32]| ids.iter().map(|id| Token(*id)).collect::<Vec<_>>();
        for ids in &others {
            put_edge(&store, &tokens(ids), 0, ids.len());
        }
        store.flush().unwrap();
        // A target that begins as one of them does.
        let begin = same.get(&others);
        let target = tokens(&[&begin[..cut.min(begin.len())], &more[..]].concat());
        let found = find(&store, &target);
        let whole = others.iter().map(|ids| tokens(ids)).filter(|o| target.starts_with(o));
        let reach = whole.map(|o| o.len()).max().unwrap_or(0);
        prop_assert_eq!(found.edges.last().map_or(0, |e| e.p1), reach);
        let matches = others.iter().map(|ids| tokens(ids)).filter(|o| !target.starts_with(o));
        let longest = matches.map(|o| common_prefix(&o, &target)).max().unwrap_or(0);
        let partial = found.partial.map_or(reach, |(_, m)| m);
        prop_assert_eq!(partial, longest.max(reach));
    }
}

#[test]
fn where_only_whole_states_are_stored_they_are_found_by_their_last_tokens() {
    let (_home, store) = store();
    let target = text(1, 300);
    for at in [7, 16, 100, 300] {
        put_node(&store, &target, at, SnapshotRole::Step, None);
    }
    for seed in 2..6 {
        put_node(&store, &text(seed, 300), 100, SnapshotRole::Step, None);
        put_node(&store, &text(seed, 300), 50, SnapshotRole::Step, None);
    }
    store.flush().unwrap();
    assert_eq!(stops(&find(&store, &target)), [7, 16, 100, 300]);
    assert_eq!(stops(&find(&store, &target[..299])), [7, 16, 100]);
    assert_eq!(store.rows_of(&target, &|at| digest(&target, at)), 1 + 4);
}
