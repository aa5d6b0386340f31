//! `npast models recommend`: what npast would choose for each model with a short name, on this machine
//! and on cards of common sizes. A start chooses with the same pure function.

use serde_json::{Value, json};

use crate::cli::CliContext;
use crate::cli::error::Failure;
use crate::cli::output::{self, bytes, count, table};
use crate::models::{SHORT, Short};
use crate::slot::fit::{Card, FitChoice, FreeMemory, GOAL, Machine, Wishes, choose};

/// Gigabytes of the cards that are shown.
const CARDS: [u64; 5] = [8, 12, 16, 24, 32];
/// Bytes of a card that the driver and the screen have already.
const USED: u64 = 600_000_000;
/// The host beside such a card: bytes in all, and free.
const HOST: FreeMemory = FreeMemory {
    free: 24 << 30,
    total: 32 << 30,
};
/// Tokens for which the sizes of KV are shown.
const TOLD: u64 = 32_768;

/// A machine with its name.
struct MachineRow {
    name: String,
    machine: Machine,
}

impl MachineRow {
    /// The choice for a model, if it fits.
    fn choice(&self, short: &Short) -> Option<FitChoice> {
        choose(&short.demand(), &self.machine, &Wishes::default()).ok()
    }

    /// The largest model that is fast and holds an agent's conversation.
    fn best(&self) -> Option<(&'static Short, FitChoice)> {
        let fast = |short: &Short, choice: &FitChoice| match self.machine.cards.is_empty() {
            true => short.is_quick_without_a_card(),
            false => {
                let all = short.shape.layers as usize + 1;
                choice.card_layers == all && choice.host_experts == 0
            }
        };
        SHORT.iter().rev().find_map(|short| {
            let choice = self.choice(short)?;
            let enough = choice.limit >= GOAL.min(short.shape.trained);
            (enough && fast(short, &choice)).then_some((short, choice))
        })
    }
}

/// Cards of common sizes, and this machine.
fn rows() -> Vec<MachineRow> {
    let card = |gb: u64| MachineRow {
        name: format!("{gb} GB card"),
        machine: Machine {
            host: HOST,
            cards: vec![Card {
                name: "the card".to_owned(),
                place: FreeMemory {
                    free: (gb << 30) - USED,
                    total: gb << 30,
                },
                shared: false,
            }],
        },
    };
    let here = MachineRow {
        name: "this machine".to_owned(),
        machine: Machine::here(),
    };
    CARDS.into_iter().map(card).chain([here]).collect()
}

/// Prints the tables.
pub fn run(run: &CliContext) -> Result<i32, Failure> {
    let rows = rows();
    if run.json {
        let lines: Vec<Value> = rows.iter().flat_map(events).collect();
        return output::json::lines(&lines);
    }
    output::page(&text(&rows))
}

fn text(rows: &[MachineRow]) -> String {
    let mut text = String::new();
    if let Some(here) = rows.last() {
        let machine = &here.machine;
        let places = std::iter::once(("host", &machine.host, machine.host.host_rest()));
        let cards = machine.cards.iter();
        let cards = cards.map(|c| (c.name.as_str(), &c.place, c.place.card_rest()));
        for (name, place, rest) in places.chain(cards) {
            text += &format!(
                "this machine: {name} {} free, {} of it stay free\n",
                bytes(place.free),
                bytes(rest.min(place.free))
            );
        }
        text += "\n";
    }
    let best: Vec<_> = rows
        .iter()
        .map(|row| match row.best() {
            Some((short, choice)) => vec![
                row.name.clone(),
                short.name.to_owned(),
                format!("{:.1} GB", short.megabytes as f64 / 1000.0),
                format!("{} tokens", count(choice.limit)),
                choice.cache.name().to_owned(),
                bytes(choice.kv),
            ],
            None => vec![row.name.clone(), "none of them".to_owned()],
        })
        .collect();
    text += &table(
        &["", "take", "weights", "context", "cache", "KV"],
        &best,
        &[2, 3, 5],
    );
    text += "\nContext of each model (layers on the card; otherwise all)\n\n";
    let mut head = vec!["model"];
    head.extend(rows.iter().map(|row| row.name.as_str()));
    let cells: Vec<_> = SHORT
        .iter()
        .map(|short| {
            let mut cells = vec![short.name.to_owned()];
            cells.extend(rows.iter().map(|row| cell(row, short)));
            cells
        })
        .collect();
    text += &table(&head, &cells, &[]);
    text += "\nKV of a token in f16 = layers that keep every position × KV heads × (key + value) × 2 \
             bytes\n\n";
    let kv: Vec<_> = SHORT
        .iter()
        .map(|short| {
            let shape = short.shape;
            vec![
                short.name.to_owned(),
                format!(
                    "{} × {} × ({} + {}) × 2",
                    shape.full, shape.kv_heads, shape.head, shape.head
                ),
                count(shape.token() as usize),
                bytes(shape.token() * TOLD),
                bytes(shape.token() * TOLD * 17 / 32),
                count(shape.trained),
            ]
        })
        .collect();
    text += &table(
        &[
            "model",
            "",
            "bytes a token",
            "32,768 in f16",
            "in q8_0",
            "trained for",
        ],
        &kv,
        &[2, 3, 4, 5],
    );
    text += &format!(
        "\nNumbers of layers, heads and head sizes are those of each model's config.json; q8_0 has 34 \
         bytes where f16 has 64.\nContexts are allocated with an eighth more for side work, at least \
         2,048 tokens. Cards are counted with {} MB\nin use and a host of {} with {} free. `npast models \
         info NAME` counts a model that is here exactly.\n",
        USED / 1_000_000,
        bytes(HOST.total),
        bytes(HOST.free),
    );
    text
}

/// What a machine has of a model.
fn cell(row: &MachineRow, short: &Short) -> String {
    let Some(choice) = row.choice(short) else {
        return "no".to_owned();
    };
    let context = format!("{} {}", count(choice.limit), choice.cache.name());
    let layers = short.shape.layers as usize;
    match (choice.card_layers, choice.host_experts) {
        _ if row.machine.cards.is_empty() => context,
        (n, 0) if n > layers => context,
        (n, experts) if n > layers => format!("{context} (experts of {experts} on the host)"),
        (n, _) => format!("{context} ({n} of {})", layers + 1),
    }
}

fn events(row: &MachineRow) -> Vec<Value> {
    let best = row.best().map(|(short, _)| short.name);
    let event = |short: &Short| {
        let choice = row.choice(short);
        json!({
            "type": "fit", "machine": row.name, "model": short.name, "fits": choice.is_some(),
            "best": best == Some(short.name),
            "context": choice.map(|c| c.limit), "cache": choice.map(|c| c.cache.name()),
            "kv_bytes": choice.map(|c| c.kv), "card_layers": choice.map(|c| c.card_layers),
            "layers": short.shape.layers, "host_experts": choice.map(|c| c.host_experts),
            "token_bytes": short.shape.token(), "trained": short.shape.trained,
        })
    };
    SHORT.iter().map(event).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_card_gets_the_largest_model_that_is_fast_on_it() {
        let got: Vec<String> = rows()
            .iter()
            .filter(|row| row.name != "this machine")
            .map(|row| match row.best() {
                Some((short, choice)) => format!(
                    "{}: {}, {} {}",
                    row.name,
                    short.name,
                    choice.limit,
                    choice.cache.name()
                ),
                None => row.name.clone(),
            })
            .collect();
        assert_eq!(
            got,
            [
                "8 GB card: qwen3-8b, 27648 q8_0",
                "12 GB card: qwen3-14b, 26624 q8_0",
                "16 GB card: gpt-oss-20b, 108288 f16",
                "24 GB card: qwen3-32b, 25088 q8_0",
                "32 GB card: qwen3-32b, 40448 f16",
            ]
        );
    }

    #[test]
    fn the_pages_numbers_are_those_of_the_formula() {
        let page = text(&rows());
        for line in [
            "qwen3-8b     36 × 8 × (128 + 128) × 2        147,456        4.5 GiB    2.4 GiB       40,960",
            "gemma-3-4b   5 × 4 × (256 + 256) × 2          20,480      640.0 MiB  340.0 MiB      131,072",
        ] {
            assert!(page.contains(line), "{page}");
        }
    }
}
