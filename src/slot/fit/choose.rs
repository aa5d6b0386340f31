//! The settings with which a model is loaded where the user names none: a pure function of what the model
//! needs, what the machine has, and what the user wants.
//!
//! Placements are tried from the fastest to the slowest: everything on the cards; then, of a mixture
//! of experts, the experts of more and more layers in the host's memory; of another model, fewer and
//! fewer layers on the cards; at last none. Of each, f16 comes before q8_0. The first that holds
//! [`GOAL`] tokens is taken, with as many tokens as it has room for; where none does, the one that
//! holds the most.

use serde::{Deserialize, Serialize};

use super::machine::Machine;
use crate::llama::CacheType;
use crate::slot::SlotOptions;

/// Contexts are chosen in steps of so many tokens.
pub(super) const STEP: usize = 256;
/// A context that a placement should hold, in tokens: an agent's prompt, some files and the talk
/// about them. For less, something slower is taken.
pub const GOAL: usize = 16_384;
/// Less than this many tokens is no context to work with.
pub const LEAST: usize = 2048;
/// Bytes of KV in the host's memory that every start may take: llama.cpp fills them with zeros
/// before anything else runs, at half a gigabyte to four gigabytes a second. More is taken where the
/// weights, which a start reads too, are larger, and where it is an eighth of what is free.
const START: u64 = 4 << 30;
const START_PART: u64 = 8;

/// Bytes of one layer's weights.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct LayerBytes {
    /// All of them.
    pub weights: u64,
    /// Those of them that are experts' of a mixture.
    pub experts: u64,
}

/// What a context takes with one cache type, in bytes.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct ContextCost {
    /// The type.
    pub cache: CacheType,
    /// KV of a token, all layers together.
    pub token: u64,
    /// What every context takes: windows, recurrent states, buffers of a decode call.
    pub fixed: u64,
    /// Buffers of a decode call, for each cell.
    pub work: u64,
}

/// What a model needs of memory.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Demand {
    /// The context that the model was trained with, in tokens.
    pub trained: usize,
    /// Its layers, first to last.
    pub layers: Vec<LayerBytes>,
    /// Bytes of the embedding of input tokens: always in the host's memory.
    pub input: u64,
    /// Bytes of what follows the layers: on a card as soon as one layer is.
    pub output: u64,
    /// What a context takes, a row for each cache type that may be chosen, the better one first.
    pub costs: Vec<ContextCost>,
}

/// What was wished.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Wishes {
    /// The conversation's limit in tokens.
    pub limit: Option<usize>,
    /// Layers on cards as llama.cpp counts them: one more than there are is all, with the output.
    pub card_layers: Option<usize>,
    /// Layers whose experts stay in the host's memory.
    pub host_experts: Option<usize>,
    /// KV stays in the host's memory.
    pub kv_on_host: bool,
    /// The cache type of this model's last start: states on disk have it.
    pub last: Option<CacheType>,
    /// Tokens that should fit however long the start takes: those of a session that is opened.
    pub session: usize,
}

/// What made the context as small as it is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Bound {
    /// The model was trained for no more.
    Trained,
    /// The user named it.
    Wished,
    /// Memory of the cards.
    Cards,
    /// Memory of the host.
    Host,
    /// The time that a start takes.
    Start,
}

/// What is chosen.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct FitChoice {
    /// The conversation's limit in tokens.
    pub limit: usize,
    /// Type of the cache.
    pub cache: CacheType,
    /// Layers on cards, as in [`Wishes::card_layers`]; 0 where there is no card.
    pub card_layers: usize,
    /// Layers whose experts stay in the host's memory.
    pub host_experts: usize,
    /// What made the limit.
    pub bound: Bound,
    /// Bytes of KV with this limit.
    pub kv: u64,
    /// Bytes that the host's memory holds: weights, KV, buffers.
    pub host: u64,
    /// Bytes that the cards hold.
    pub cards: u64,
}

/// Nothing that fits; all of it in bytes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct FitRefusal {
    /// Tokens of the smallest context that would have been taken.
    pub tokens: usize,
    /// The model's weights.
    pub weights: u64,
    /// That context, as small as the cache types allow.
    pub context: u64,
    /// What the host's memory and the cards have for npast.
    pub host: u64,
    /// See `host`; 0 without cards.
    pub cards: u64,
}

/// Bytes in one memory: whatever the context's size, and for each cell.
#[derive(Clone, Copy, Default)]
struct LinearBytes {
    base: u64,
    cell: u64,
}

impl LinearBytes {
    fn bytes(&self, cells: usize) -> u64 {
        self.base
            .saturating_add(self.cell.saturating_mul(cells as u64))
    }

    /// Cells that fit into `room`; `None` where not even the base does.
    fn cells(&self, room: u64) -> Option<usize> {
        let left = room.checked_sub(self.base)?;
        let cells = left.checked_div(self.cell).unwrap_or(u64::MAX);
        Some(usize::try_from(cells).unwrap_or(usize::MAX))
    }
}

/// Where the weights lie.
#[derive(Clone, Copy)]
struct Placement {
    card_layers: usize,
    host_experts: usize,
}

impl Demand {
    /// Bytes of all weights.
    pub fn weights(&self) -> u64 {
        let layers: u64 = self.layers.iter().map(|layer| layer.weights).sum();
        layers + self.input + self.output
    }

    fn all(&self) -> usize {
        self.layers.len() + 1
    }

    /// From the fastest to the slowest.
    fn placements(&self, machine: &Machine, wishes: &Wishes) -> Vec<Placement> {
        let experts = wishes.host_experts.unwrap_or(0);
        let at = |card_layers, host_experts| Placement {
            card_layers,
            host_experts,
        };
        if machine.cards.is_empty() {
            return vec![at(0, 0)];
        }
        if let Some(layers) = wishes.card_layers {
            return vec![at(layers.min(self.all()), experts)];
        }
        if wishes.host_experts.is_some() {
            return vec![at(self.all(), experts)];
        }
        let mixture = self.layers.iter().any(|layer| layer.experts > 0);
        let mut all = vec![at(self.all(), 0)];
        let every = match mixture {
            true => self.layers.len(),
            false => 0,
        };
        all.extend((1..=every).map(|n| at(self.all(), n)));
        all.extend((0..self.all()).rev().map(|n| at(n, every)));
        all
    }

    /// What lies in the host's memory and what on the cards.
    fn lines(
        &self,
        placement: Placement,
        cost: &ContextCost,
        kv_on_host: bool,
    ) -> (LinearBytes, LinearBytes) {
        let first = self.all() - placement.card_layers;
        let (mut host, mut cards) = (LinearBytes::default(), LinearBytes::default());
        host.base = self.input;
        for (index, layer) in self.layers.iter().enumerate() {
            let stays = match index < placement.host_experts {
                true => layer.experts,
                false => 0,
            };
            match index >= first {
                true => {
                    cards.base += layer.weights - stays;
                    host.base += stays;
                }
                false => host.base += layer.weights,
            }
        }
        let on_cards = placement.card_layers > 0;
        let outer = if on_cards { &mut cards } else { &mut host };
        outer.base += self.output + cost.fixed;
        outer.cell += cost.work;
        let count = self.layers.len().max(1) as u64;
        let theirs = match kv_on_host {
            true => 0,
            false => self.layers.len().saturating_sub(first) as u64,
        };
        let on_them = (cost.token * theirs).div_ceil(count);
        cards.cell += on_them;
        host.cell += cost.token - on_them;
        (host, cards)
    }
}

/// Tokens of the largest conversation whose context has so many cells.
fn tokens(cells: usize) -> usize {
    let eighth = (cells / 9).saturating_mul(8);
    cells.saturating_sub(SlotOptions::cells(0)).min(eighth)
}

/// Chooses.
///
/// # Errors
/// Nothing fits that has room for [`LEAST`] tokens, or for what was wished.
pub fn choose(
    demand: &Demand,
    machine: &Machine,
    wishes: &Wishes,
) -> Result<FitChoice, FitRefusal> {
    let wishes = &Wishes {
        session: wishes.session.next_multiple_of(STEP),
        ..*wishes
    };
    let most = wishes.limit.unwrap_or(demand.trained);
    let least = wishes.limit.unwrap_or(demand.trained.min(LEAST));
    let goal = GOAL.max(wishes.session).min(most).max(least);
    let last = |cost: &&ContextCost| wishes.last.is_some_and(|last| last == cost.cache);
    let mut best: Option<FitChoice> = None;
    for placement in demand.placements(machine, wishes) {
        // States on disk are of one cache type: it stays as long as it has any use.
        let own = demand.costs.iter().filter(last);
        let others = demand.costs.iter().filter(|cost| !last(cost));
        for cost in own.clone().chain(others) {
            let Some(choice) = placed(demand, machine, wishes, (placement, cost), most) else {
                continue;
            };
            if choice.limit >= goal {
                return Ok(choice);
            }
            let more = best.is_none_or(|best| choice.limit > best.limit);
            if choice.limit >= least && more {
                best = Some(choice);
            }
        }
    }
    best.ok_or_else(|| refusal(demand, machine, least))
}

/// One placement and cache type with as many tokens as they hold; nothing where the weights alone
/// do not fit.
fn placed(
    demand: &Demand,
    machine: &Machine,
    wishes: &Wishes,
    (placement, cost): (Placement, &ContextCost),
    most: usize,
) -> Option<FitChoice> {
    let (host, cards) = demand.lines(placement, cost, wishes.kv_on_host);
    let host_room = machine.room(None);
    let both = LinearBytes {
        base: host.base + cards.base,
        cell: host.cell + cards.cell,
    };
    // On a card that shares the host's memory all of it lies there.
    let in_host = if machine.shares() { both } else { host };
    let mut bounds = vec![(Bound::Host, tokens(in_host.cells(host_room)?))];
    if !machine.cards.is_empty() {
        bounds.push((Bound::Cards, tokens(cards.cells(machine.cards_room())?)));
    }
    let kv_in_host = if machine.shares() { both } else { host }.cell;
    if wishes.limit.is_none() && kv_in_host > 0 {
        let may = START
            .max(demand.weights())
            .max(machine.host.free / START_PART);
        let start = LinearBytes {
            base: 0,
            cell: kv_in_host,
        };
        let start = tokens(start.cells(may)?).max(wishes.session);
        bounds.push((Bound::Start, start));
    }
    let (mut bound, mut limit) = bounds.into_iter().min_by_key(|(_, tokens)| *tokens)?;
    limit = limit / STEP * STEP;
    if limit >= most {
        limit = most;
        bound = match wishes.limit {
            Some(_) => Bound::Wished,
            None => Bound::Trained,
        };
    }
    let cells = SlotOptions::cells(limit);
    Some(FitChoice {
        limit,
        cache: cost.cache,
        card_layers: placement.card_layers,
        host_experts: placement.host_experts,
        bound,
        kv: cost.token.saturating_mul(cells as u64),
        host: host.bytes(cells),
        cards: cards.bytes(cells),
    })
}

fn refusal(demand: &Demand, machine: &Machine, least: usize) -> FitRefusal {
    let cells = SlotOptions::cells(least) as u64;
    let context = |cost: &ContextCost| cost.fixed + (cost.token + cost.work).saturating_mul(cells);
    FitRefusal {
        tokens: least,
        weights: demand.weights(),
        context: demand.costs.iter().map(context).min().unwrap_or(0),
        host: machine.room(None),
        cards: match machine.shares() {
            true => 0,
            false => machine.cards_room(),
        },
    }
}

#[cfg(test)]
#[path = "choose_tests.rs"]
mod tests;
