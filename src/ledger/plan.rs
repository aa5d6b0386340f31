//! The plan: what makes the slot hold a target ledger. A pure function of what is resident, what is
//! stored, and the target; it takes the way that evaluates the fewest tokens, and among those the
//! one that moves the fewest bytes.

/// What the slot holds, seen from a target.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ResidentPrefix {
    /// Tokens in sequence 0.
    pub len: usize,
    /// How many of them are the target's first ones.
    pub common: usize,
    /// Smallest length to which the memory can be cut by itself: 0 on dense models, the end of what
    /// the window still covers on SWA, `len` where a recurrent state sits at the end.
    pub floor: usize,
    /// Whether the logits row of the last resident token is held.
    pub row: bool,
    /// Whether the logits row of the target's last token is held apart from the memory.
    pub prompt: bool,
    /// Snapshots in RAM: length, and whether the logits row is with it. Only those at most `common`
    /// long are of use.
    pub snapshots: Vec<(usize, bool)>,
}

/// What is on disk for a target.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StoredPrefixes {
    /// Ends of the segments that follow each other from position 0 on; ascending.
    pub edges: Vec<usize>,
    /// Snapshots of prefixes of the target: length, and whether the logits row is with it. Where no
    /// snapshot is needed, only rows.
    pub nodes: Vec<(usize, bool)>,
}

/// What kind of memory the model has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MemoryShape {
    /// Positions have KV of their own, which segments hold.
    pub segments: bool,
    /// A part of the state cannot be cut, and snapshots hold it.
    pub snapshots: bool,
}

/// Where the state comes from that evaluation starts with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StartState {
    /// Nothing is of use.
    Empty,
    /// The resident memory as it is.
    Stay,
    /// The resident memory, cut.
    Cut,
    /// A snapshot in RAM.
    Ram,
    /// Segments or a snapshot from disk.
    Disk,
}

/// What to do, in this order: keep, restore, evaluate the rest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Plan {
    /// Where the state comes from.
    pub from: StartState,
    /// Tokens whose memory stays in the slot.
    pub keep: usize,
    /// Tokens held once everything is restored; the target is evaluated from here.
    pub start: usize,
    /// All of the target is held but the logits to sample from: its last token is evaluated beside
    /// it, on scratch, so that what is held stays what is stored.
    pub aside: bool,
}

/// Makes the plan for a target of `len` tokens. With `sample`, the logits of the last token are
/// needed: if no row is held, at least one token is evaluated; where positions can be cut it is
/// evaluated aside.
pub fn plan(
    shape: MemoryShape,
    resident: &ResidentPrefix,
    stored: &StoredPrefixes,
    len: usize,
    sample: bool,
) -> Plan {
    // The most tokens that may be taken over, given whether their last logits row is held.
    let most = |row: bool| match sample && !row && shape.snapshots {
        true => len.saturating_sub(1),
        false => len,
    };
    // Where positions can be cut, the row serves wherever it is kept.
    let row = !shape.snapshots && (resident.prompt || stored.nodes.contains(&(len, true)));
    let mut best = Plan {
        from: StartState::Empty,
        keep: 0,
        start: 0,
        aside: false,
    };
    let mut offer = |plan: Plan| {
        // Ways are offered cheapest first, so only a better one replaces.
        if plan.start > best.start {
            best = plan;
        }
    };

    if resident.common == resident.len && resident.len <= most(resident.row) {
        offer(Plan {
            from: StartState::Stay,
            keep: resident.len,
            start: resident.len,
            aside: false,
        });
    }
    let cut = resident.common.min(most(false));
    if cut >= resident.floor && cut < resident.len {
        offer(Plan {
            from: StartState::Cut,
            keep: cut,
            start: cut,
            aside: false,
        });
    }
    for (at, row) in &resident.snapshots {
        if *at <= resident.common && *at <= most(*row) {
            offer(Plan {
                from: StartState::Ram,
                keep: *at,
                start: *at,
                aside: false,
            });
        }
    }

    // From disk: the resident tokens up to a segment's end are kept, later segments are read. The
    // last one may go past the state's end; it is cut after it was read.
    let reach = stored.edges.last().copied().unwrap_or(0);
    let keep = |upto: usize| match shape.segments {
        true => {
            let common = resident.common.min(upto);
            let ends = stored.edges.iter().copied().filter(|end| *end <= common);
            if upto <= resident.common {
                upto
            } else {
                ends.max().unwrap_or(0)
            }
        }
        false => 0,
    };
    if shape.snapshots {
        for (at, row) in &stored.nodes {
            let covered = !shape.segments || *at <= resident.common.max(reach);
            if covered && *at <= most(*row) {
                offer(Plan {
                    from: StartState::Disk,
                    keep: keep(*at),
                    start: *at,
                    aside: false,
                });
            }
        }
    } else if shape.segments && reach > resident.common {
        offer(Plan {
            from: StartState::Disk,
            keep: keep(reach),
            start: reach.min(len),
            aside: false,
        });
    }
    let whole = sample && !shape.snapshots && best.start == len && len > 0;
    best.aside = whole && !row && !(best.from == StartState::Stay && resident.row);
    best
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const DENSE: MemoryShape = MemoryShape {
        segments: true,
        snapshots: false,
    };
    const HYBRID: MemoryShape = MemoryShape {
        segments: true,
        snapshots: true,
    };
    const RECURRENT: MemoryShape = MemoryShape {
        segments: false,
        snapshots: true,
    };

    fn resident(len: usize, common: usize, floor: usize) -> ResidentPrefix {
        ResidentPrefix {
            len,
            common,
            floor,
            ..ResidentPrefix::default()
        }
    }

    fn show(p: Plan) -> (StartState, usize, usize) {
        (p.from, p.keep, p.start)
    }

    #[test]
    fn an_ordinary_turn_keeps_everything_on_every_class() {
        for (shape, floor) in [(DENSE, 0), (HYBRID, 100), (RECURRENT, 100)] {
            let p = plan(
                shape,
                &resident(100, 100, floor),
                &StoredPrefixes::default(),
                120,
                true,
            );
            assert_eq!(show(p), (StartState::Stay, 100, 100));
        }
    }

    #[test]
    fn a_cold_start_takes_the_longest_chain_that_ends_in_a_usable_state() {
        let stored = StoredPrefixes {
            edges: vec![50, 90, 130],
            nodes: vec![(50, false), (90, false)],
        };
        let cold = ResidentPrefix::default();
        assert_eq!(
            show(plan(DENSE, &cold, &stored, 200, true)),
            (StartState::Disk, 0, 130)
        );
        assert_eq!(
            show(plan(HYBRID, &cold, &stored, 200, true)),
            (StartState::Disk, 0, 90)
        );
        let nodes = StoredPrefixes {
            edges: vec![],
            ..stored
        };
        assert_eq!(
            show(plan(RECURRENT, &cold, &nodes, 200, true)),
            (StartState::Disk, 0, 90)
        );
    }

    #[test]
    fn a_switch_keeps_the_common_prefix_up_to_a_segment_end() {
        let stored = StoredPrefixes {
            edges: vec![50, 90, 130],
            nodes: vec![(130, false)],
        };
        let other = resident(300, 70, 300);
        assert_eq!(
            show(plan(HYBRID, &other, &stored, 200, true)),
            (StartState::Disk, 50, 130)
        );
    }

    #[test]
    fn the_last_token_is_evaluated_again_only_when_its_row_is_not_held_and_then_aside() {
        let mut held = resident(100, 100, 0);
        let of = |held: &ResidentPrefix, sample| {
            let plan = plan(DENSE, held, &StoredPrefixes::default(), 100, sample);
            (show(plan), plan.aside)
        };
        assert_eq!(of(&held, true), ((StartState::Stay, 100, 100), true));
        assert_eq!(of(&held, false), ((StartState::Stay, 100, 100), false));
        held.row = true;
        assert_eq!(of(&held, true), ((StartState::Stay, 100, 100), false));
    }

    #[test]
    fn a_recurrent_state_goes_back_to_a_snapshot_and_never_by_a_cut() {
        let mut held = resident(100, 80, 100);
        assert_eq!(
            show(plan(HYBRID, &held, &StoredPrefixes::default(), 120, true)),
            (StartState::Empty, 0, 0)
        );
        held.snapshots = vec![(30, false), (70, false), (90, false)];
        assert_eq!(
            show(plan(HYBRID, &held, &StoredPrefixes::default(), 120, true)),
            (StartState::Ram, 70, 70)
        );
    }

    #[test]
    fn a_prompt_whose_row_is_held_apart_or_stored_is_taken_over_whole_where_memory_can_be_cut() {
        let held = |prompt| ResidentPrefix {
            len: 80,
            common: 60,
            prompt,
            ..ResidentPrefix::default()
        };
        let rows = |nodes: &[(usize, bool)]| StoredPrefixes {
            edges: vec![60, 80],
            nodes: nodes.to_vec(),
        };
        let none = StoredPrefixes::default();
        let table = [
            (held(false), &none, true, true),
            (held(true), &none, true, false),
            (held(false), &none, false, false),
            (held(false), &rows(&[(60, true)]), true, false),
            // Another prompt's row, and a node without one.
            (held(false), &rows(&[(50, true), (60, false)]), true, true),
        ];
        for (held, stored, sample, aside) in table {
            let plan = plan(DENSE, &held, stored, 60, sample);
            assert_eq!((show(plan), plan.aside), ((StartState::Cut, 60, 60), aside));
        }
        let empty = ResidentPrefix::default();
        let whole = StoredPrefixes {
            edges: vec![60],
            nodes: vec![(60, true)],
        };
        let from = |stored: &StoredPrefixes| show(plan(DENSE, &empty, stored, 60, true));
        assert_eq!(from(&whole), (StartState::Disk, 0, 60));
        // Where a state is needed, a row alone is of no use.
        let uncut = ResidentPrefix {
            floor: 80,
            ..held(true)
        };
        let nowhere = show(plan(HYBRID, &uncut, &none, 60, true));
        assert_eq!(nowhere, (StartState::Empty, 0, 0));
    }

    proptest! {
        #[test]
        fn a_plan_never_takes_over_what_differs_or_cannot_be_cut(
            len in 0usize..40, resident_len in 0usize..40, common in 0usize..40,
            floor in 0usize..40, row: bool, prompt: bool, sample: bool, kind in 0usize..3,
            ram in proptest::collection::vec((0usize..40, any::<bool>()), 0..4),
            mut edges in proptest::collection::vec(1usize..40, 0..5),
            nodes in proptest::collection::vec((1usize..40, any::<bool>()), 0..4),
        ) {
            let shape = [DENSE, HYBRID, RECURRENT][kind];
            edges.sort_unstable();
            edges.dedup();
            edges.retain(|e| *e <= len);
            let nodes: Vec<_> = nodes.into_iter().filter(|(n, _)| *n <= len).collect();
            let resident_len = resident_len.max(1);
            let r = ResidentPrefix {
                len: resident_len,
                common: common.min(resident_len).min(len),
                floor: if kind == 0 { 0 } else { floor.min(resident_len) },
                row,
                prompt,
                snapshots: ram.into_iter().filter(|(a, _)| *a <= resident_len).collect(),
            };
            let s = StoredPrefixes { edges: edges.clone(), nodes: nodes.clone() };
            let p = plan(shape, &r, &s, len, sample);
            prop_assert!(p.start <= len && p.keep <= r.common);
            let apart = kind == 0 && (prompt || nodes.contains(&(len, true)));
            let rows = match p.from {
                StartState::Empty => { prop_assert_eq!((p.keep, p.start), (0, 0)); true }
                StartState::Stay => { prop_assert!(r.common == r.len && p.start == r.len); r.row }
                StartState::Cut => { prop_assert!(p.start >= r.floor && p.start <= r.common); false }
                StartState::Ram => {
                    prop_assert!(p.start <= r.common);
                    r.snapshots.contains(&(p.start, true))
                }
                StartState::Disk => {
                    if shape.snapshots {
                        prop_assert!(nodes.iter().any(|(n, _)| *n == p.start));
                        if shape.segments {
                            let reach = edges.last().copied().unwrap_or(0);
                            prop_assert!(p.start <= r.common.max(reach));
                        }
                    } else {
                        prop_assert!(p.start <= *edges.last().unwrap_or(&0));
                    }
                    if shape.segments && p.start > r.common {
                        prop_assert!(p.keep == 0 || edges.contains(&p.keep));
                    }
                    nodes.contains(&(p.start, true))
                }
            };
            if sample && p.start == len && len > 0 {
                prop_assert!(rows || apart || p.aside, "no logits row for {:?}", p);
            }
            prop_assert!(!p.aside || (sample && kind == 0 && p.start == len && !apart));
        }
    }
}
