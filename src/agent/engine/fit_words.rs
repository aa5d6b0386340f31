//! A choice of context, cache type and placement in words: for `doctor`, and as the error where nothing
//! fits.

use crate::agent::values::error::{AgentError, ErrorKind};
use crate::agent::values::options::Options;
use crate::slot::fit::{Bound, Demand, FitChoice, FitRefusal, FreeMemory, Machine};

use super::model_files::file_name;

/// A choice and its reason, in one sentence.
pub fn words(choice: &FitChoice, demand: &Demand, machine: &Machine) -> String {
    let mut text = match choice.limit < demand.trained {
        true => format!(
            "context {} of {} tokens",
            thousands(choice.limit),
            thousands(demand.trained)
        ),
        false => format!("context {} tokens", thousands(choice.limit)),
    };
    if choice.kv > 0 {
        text += &format!(", KV {} in {}", size(choice.kv), choice.cache.name());
    }
    let all = demand.layers.len() + 1;
    if !machine.cards.is_empty() {
        text += &match (choice.card_layers, choice.host_experts) {
            (0, _) => ", no layer on a card".to_owned(),
            (n, 0) if n >= all => ", all layers on the card".to_owned(),
            (n, e) if n >= all => format!(
                ", all layers on the card, but the experts of {e} of {} are in the host's memory",
                demand.layers.len()
            ),
            (n, _) => format!(", {n} of {all} layers on the card"),
        };
    }
    let left = |place: &FreeMemory, rest: u64, of: &str, whom: &str| {
        format!(
            "{of} has {} free, and {} of it stay for {whom}",
            size(place.free),
            size(rest.min(place.free))
        )
    };
    text + ": "
        + &match choice.bound {
            Bound::Trained => "all that the model was trained for".to_owned(),
            Bound::Wished => "as asked".to_owned(),
            Bound::Host => left(
                &machine.host,
                machine.host.host_rest(),
                "the host",
                "other programs",
            ),
            Bound::Cards => {
                let cards = machine.cards.iter();
                let each = cards.map(|card| {
                    left(
                        &card.place,
                        card.place.card_rest(),
                        &card.name,
                        "the driver and the screen",
                    )
                });
                each.collect::<Vec<_>>().join("; ")
            }
            Bound::Start => {
                "a larger one makes every start slow, as all of it is filled with zeros \
                             first"
                    .to_owned()
            }
        }
}

pub(in crate::agent) fn refused(
    options: &Options,
    machine: &Machine,
    refusal: &FitRefusal,
) -> AgentError {
    let name = file_name(&options.model);
    let cards = match refusal.cards {
        0 => String::new(),
        cards => format!(" and {} on the cards", size(cards)),
    };
    AgentError::new(
        ErrorKind::Memory,
        format!(
            "{name} does not fit: its weights take {}, a context of {} tokens {}, and npast may fill \
             {} of the host's memory{cards} ({} are free, {} stay for other programs)",
            size(refusal.weights),
            thousands(refusal.tokens),
            size(refusal.context),
            size(refusal.host),
            size(machine.host.free),
            size(machine.host.host_rest().min(machine.host.free)),
        ),
    )
    .hinted(match options.limit {
        Some(_) => {
            "take a smaller --ctx, or give --gpu-layers too to have it loaded whatever is free"
        }
        None if machine.cards.is_empty() => {
            "close other programs, take a smaller model or quantization (`npast models recommend`), \
             or give a --ctx to have it loaded whatever is free"
        }
        None => {
            "close other programs, take a smaller model or quantization (`npast models recommend`), \
             or give --ctx and --gpu-layers to have it loaded whatever is free"
        }
    })
}

fn size(bytes: u64) -> String {
    match bytes >> 30 {
        0 => format!("{} MiB", bytes >> 20),
        _ => format!("{:.1} GiB", bytes as f64 / f64::from(1 << 30)),
    }
}

fn thousands(n: usize) -> String {
    let digits = n.to_string();
    let head = digits.len() % 3;
    let (first, rest) = digits.split_at(head);
    let groups = rest
        .as_bytes()
        .chunks(3)
        .map(|c| String::from_utf8_lossy(c));
    let first = (!first.is_empty()).then(|| first.into());
    first
        .into_iter()
        .chain(groups)
        .collect::<Vec<_>>()
        .join(",")
}
