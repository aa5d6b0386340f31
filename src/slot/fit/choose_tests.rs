//! Real models' shapes on machines of all sizes, and what is chosen for each.

use super::super::{Card, FreeMemory};
use super::*;

const GIB: u64 = 1 << 30;
const MB: u64 = 1_000_000;

/// A model of so many megabytes in layers of one size, with an embedding of `outer` megabytes on both
/// ends; KV of a token in f16, bytes of a window or of recurrent states, and megabytes of experts.
fn model(
    layers: usize,
    megabytes: u64,
    outer: u64,
    (token, fixed, trained): (u64, u64, usize),
    experts: u64,
) -> Demand {
    let count = layers as u64;
    let cost = |cache, token| ContextCost {
        cache,
        token,
        fixed: fixed + 350 * MB,
        work: 3072,
    };
    Demand {
        trained,
        layers: vec![
            LayerBytes {
                weights: (megabytes - 2 * outer) * MB / count,
                experts: experts * MB / count,
            };
            layers
        ],
        input: outer * MB,
        output: outer * MB,
        costs: vec![
            cost(CacheType::F16, token),
            cost(CacheType::Q8_0, token * 17 / 32),
        ],
    }
}

/// Name and shape: dense ones small and large, a sliding window, a mixture of experts with one, a
/// hybrid, one that is only recurrent.
fn models() -> Vec<(&'static str, Demand)> {
    vec![
        ("dense 0.1B", model(30, 98, 20, (23_040, 0, 8192), 0)),
        ("dense 8B", model(36, 5030, 350, (147_456, 0, 40_960), 0)),
        ("dense 32B", model(64, 19_760, 450, (262_144, 0, 40_960), 0)),
        (
            "swa 4B",
            model(34, 2490, 400, (20_480, 304 * MB, 131_072), 0),
        ),
        (
            "moe 21B",
            model(24, 12_110, 580, (24_576, 19 * MB, 131_072), 10_200),
        ),
        (
            "hybrid 9B",
            model(32, 5600, 500, (32_768, 100 * MB, 262_144), 0),
        ),
        (
            "recurrent 3B",
            model(64, 1700, 120, (0, 340 * MB, 1_048_576), 0),
        ),
    ]
}

fn card(gib: u64) -> Card {
    Card {
        name: "GPU0".into(),
        place: FreeMemory {
            free: gib * GIB - 600 * MB,
            total: gib * GIB,
        },
        shared: false,
    }
}

fn machine(free: u64, total: u64, card_gib: Option<u64>) -> Machine {
    Machine {
        host: FreeMemory {
            free: free * GIB / 10,
            total: total * GIB,
        },
        cards: card_gib.map(card).into_iter().collect(),
    }
}

/// A choice in one line.
fn line(demand: &Demand, machine: &Machine, wishes: &Wishes) -> String {
    match choose(demand, machine, wishes) {
        Ok(choice) => {
            let all = demand.layers.len() + 1;
            let placed = match (choice.card_layers, choice.host_experts) {
                _ if machine.cards.is_empty() => String::new(),
                (n, 0) if n == all => " all".to_owned(),
                (n, e) if n == all => format!(" all but experts of {e}"),
                (n, _) => format!(" {n}/{all}"),
            };
            format!(
                "{} {}{placed} {:?}",
                choice.limit,
                choice.cache.name(),
                choice.bound
            )
        }
        Err(refusal) => format!(
            "no: {} + {} MB, {} + {} MB",
            refusal.weights / MB,
            refusal.context / MB,
            refusal.host / MB,
            refusal.cards / MB
        ),
    }
}

#[test]
fn each_model_gets_what_each_machine_has_room_for() {
    // Free and all memory of the host, in tenths of a gibibyte and gibibytes; the card.
    let machines = [
        ("8 GB card", machine(240, 32, Some(8))),
        ("16 GB card", machine(240, 32, Some(16))),
        ("24 GB card", machine(500, 64, Some(24))),
        ("laptop, 16 GB", machine(110, 16, None)),
        ("server, 128 GB", machine(1200, 128, None)),
        ("tiny, 2 GB", machine(12, 2, None)),
    ];
    let mut got = String::new();
    for (name, machine) in &machines {
        got += &format!("{name}\n");
        for (name, demand) in models() {
            got += &format!("  {name}: {}\n", line(&demand, machine, &Wishes::default()));
        }
    }
    let want = "\
8 GB card
\x20 dense 0.1B: 8192 f16 all Trained
\x20 dense 8B: 26368 q8_0 all Cards
\x20 dense 32B: 20992 q8_0 20/65 Cards
\x20 swa 4B: 131072 f16 all Trained
\x20 moe 21B: 20992 f16 all but experts of 12 Cards
\x20 hybrid 9B: 47104 f16 all Cards
\x20 recurrent 3B: 1048576 f16 all Trained
16 GB card
\x20 dense 0.1B: 8192 f16 all Trained
\x20 dense 8B: 40960 f16 all Trained
\x20 dense 32B: 18688 q8_0 44/65 Cards
\x20 swa 4B: 131072 f16 all Trained
\x20 moe 21B: 115968 f16 all Cards
\x20 hybrid 9B: 246784 f16 all Cards
\x20 recurrent 3B: 1048576 f16 all Trained
24 GB card
\x20 dense 0.1B: 8192 f16 all Trained
\x20 dense 8B: 40960 f16 all Trained
\x20 dense 32B: 24320 q8_0 all Cards
\x20 swa 4B: 131072 f16 all Trained
\x20 moe 21B: 131072 f16 all Trained
\x20 hybrid 9B: 262144 f16 all Trained
\x20 recurrent 3B: 1048576 f16 all Trained
laptop, 16 GB
\x20 dense 0.1B: 8192 f16 Trained
\x20 dense 8B: 25088 f16 Host
\x20 dense 32B: no: 19760 + 933 MB, 9663 + 0 MB
\x20 swa 4B: 131072 f16 Trained
\x20 moe 21B: no: 12110 + 435 MB, 9663 + 0 MB
\x20 hybrid 9B: 89600 f16 Host
\x20 recurrent 3B: 1048576 f16 Trained
server, 128 GB
\x20 dense 0.1B: 8192 f16 Trained
\x20 dense 8B: 40960 f16 Trained
\x20 dense 32B: 40960 f16 Trained
\x20 swa 4B: 131072 f16 Trained
\x20 moe 21B: 131072 f16 Trained
\x20 hybrid 9B: 262144 f16 Trained
\x20 recurrent 3B: 1048576 f16 Trained
tiny, 2 GB
\x20 dense 0.1B: 8192 f16 Trained
\x20 dense 8B: no: 5029 + 683 MB, 751 + 0 MB
\x20 dense 32B: no: 19760 + 933 MB, 751 + 0 MB
\x20 swa 4B: no: 2489 + 711 MB, 751 + 0 MB
\x20 moe 21B: no: 12110 + 435 MB, 751 + 0 MB
\x20 hybrid 9B: no: 5600 + 533 MB, 751 + 0 MB
\x20 recurrent 3B: no: 1700 + 702 MB, 751 + 0 MB
";
    assert_eq!(got, want, "\n{got}");
}

/// Whatever is chosen lies within what the machine gives, and one step more does not, unless more
/// was not wanted.
#[test]
fn a_choice_never_takes_what_stays_for_others_and_leaves_nothing_unused() {
    for (name, demand) in models() {
        for card_gib in [
            None,
            Some(4),
            Some(6),
            Some(8),
            Some(12),
            Some(16),
            Some(24),
        ] {
            for free in [10, 30, 70, 150, 600] {
                let machine = machine(free, free / 10 + 2, card_gib);
                let Ok(choice) = choose(&demand, &machine, &Wishes::default()) else {
                    continue;
                };
                let what = format!("{name}, {card_gib:?}, {free}: {choice:?}");
                assert!(choice.host <= machine.room(None), "{what}");
                assert!(choice.cards <= machine.cards_room(), "{what}");
                assert!(choice.limit >= demand.trained.min(LEAST), "{what}");
                let wishes = Wishes {
                    limit: Some(choice.limit + STEP),
                    card_layers: Some(choice.card_layers),
                    host_experts: Some(choice.host_experts),
                    ..Wishes::default()
                };
                let one_type = Demand {
                    costs: demand
                        .costs
                        .iter()
                        .filter(|c| c.cache == choice.cache)
                        .copied()
                        .collect(),
                    ..demand.clone()
                };
                let more = choose(&one_type, &machine, &wishes);
                let bounded = matches!(choice.bound, Bound::Cards | Bound::Host);
                assert!(!bounded || more.is_err(), "{what}");
            }
        }
    }
}

#[test]
fn wishes_are_kept_or_refused_with_numbers() {
    let eight = &models()[1].1;
    let big = &models()[2].1;
    let there = machine(240, 32, Some(8));
    let wish = |limit, card_layers, host_experts| Wishes {
        limit,
        card_layers,
        host_experts,
        ..Wishes::default()
    };
    let table = [
        (eight, wish(Some(4096), None, None), "4096 f16 all Wished"),
        (
            eight,
            wish(Some(20_000), None, None),
            "20000 q8_0 all Wished",
        ),
        (eight, wish(None, Some(0), Some(0)), "29696 f16 0/37 Start"),
        (
            eight,
            wish(None, Some(1000), Some(0)),
            "26368 q8_0 all Cards",
        ),
        (
            big,
            wish(Some(1 << 20), None, None),
            "no: 19760 + 168256 MB, 21474 + 7453 MB",
        ),
    ];
    for (demand, wishes, want) in table {
        assert_eq!(line(demand, &there, &wishes), want, "{wishes:?}");
    }
    // KV in the host's memory leaves the card to the weights.
    let apart = Wishes {
        kv_on_host: true,
        ..Wishes::default()
    };
    assert_eq!(line(eight, &there, &apart), "30208 f16 all Start");
}

#[test]
fn the_cache_type_of_the_states_on_disk_stays() {
    let eight = &models()[1].1;
    let last = |cache| Wishes {
        last: Some(cache),
        ..Wishes::default()
    };
    let roomy = machine(240, 32, Some(24));
    assert_eq!(
        line(eight, &roomy, &last(CacheType::F16)),
        "40960 f16 all Trained"
    );
    assert_eq!(
        line(eight, &roomy, &last(CacheType::Q8_0)),
        "40960 q8_0 all Trained"
    );
    // On the card of 8 GB f16 holds less than an agent wants: the other is taken all the same.
    let small = machine(240, 32, Some(8));
    assert_eq!(
        line(eight, &small, &last(CacheType::F16)),
        "26368 q8_0 all Cards"
    );
}

#[test]
fn a_long_session_gets_its_context_though_the_start_takes_longer() {
    let eight = &models()[1].1;
    let desktop = machine(240, 32, None);
    let of = |session| Wishes {
        session,
        ..Wishes::default()
    };
    assert_eq!(line(eight, &desktop, &of(0)), "29696 f16 Start");
    assert_eq!(line(eight, &desktop, &of(20_001)), "29696 f16 Start");
    assert_eq!(line(eight, &desktop, &of(30_001)), "30208 f16 Start");
}

#[test]
fn two_cards_count_together_and_a_shared_one_is_the_hosts_memory() {
    let big = &models()[2].1;
    let mut two = machine(240, 32, Some(16));
    two.cards.push(Card {
        name: "GPU1".into(),
        ..card(16)
    });
    assert_eq!(line(big, &two, &Wishes::default()), "37888 f16 all Cards");
    let mut shared = machine(110, 16, Some(12));
    shared.cards[0].shared = true;
    assert_eq!(
        line(&models()[1].1, &shared, &Wishes::default()),
        "25088 f16 all Host"
    );
}
