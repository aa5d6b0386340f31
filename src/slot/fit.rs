//! How much memory a context takes and how large it can be, counted by llama.cpp on a model whose
//! weights are not read. The bytes of a context are linear, `fixed + cell × cells`, found from two sizes;
//! a window or a recurrent state is in the fixed part.
//!
//! - `machine`: what memory there is, and what of it stays free.
//! - `choose`: the settings with which a model is loaded where the user names none. Pure.

mod choose;
mod machine;

use std::sync::Arc;

use choose::STEP;
pub use choose::{
    Bound, ContextCost, Demand, FitChoice, FitRefusal, GOAL, LEAST, LayerBytes, Wishes, choose,
};
pub use machine::{Card, FreeMemory, Machine, threads};

use super::{SlotError, SlotOptions};
use crate::llama::{CacheType, Context, ContextOptions, Model};

/// The sizes that are compared, in cells; both are above every window that is small.
const SIZES: (usize, usize) = (16_384, 32_768);
/// What one place of memory holds: the host's, or a card's.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Share {
    /// The device's name; `None` is the host.
    pub device: Option<String>,
    /// Bytes of weights.
    pub weights: u64,
    /// Bytes that every context takes, however small.
    pub fixed: u64,
    /// Bytes of KV for each cell.
    pub kv: u64,
    /// Bytes for each cell beside KV: buffers of one decode call.
    pub work: u64,
}

impl Share {
    /// Bytes with a context of so many cells.
    pub fn bytes(&self, cells: usize) -> u64 {
        let cells = cells as u64;
        self.weights + self.fixed + (self.kv + self.work).saturating_mul(cells)
    }
}

/// What a model needs, place by place.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct MemoryNeed {
    /// Every place that holds something.
    pub shares: Vec<Share>,
}

impl MemoryNeed {
    /// Counts with these settings of a context, but for its size. The model may be one of
    /// [`Model::plan`].
    ///
    /// # Errors
    /// When llama.cpp refuses such a context.
    pub fn count(model: &Arc<Model>, options: &ContextOptions) -> Result<MemoryNeed, SlotError> {
        let with = |cells: usize| {
            let options = ContextOptions {
                cells,
                ..options.clone()
            };
            Ok::<_, SlotError>(Context::new(model, &options)?.takes())
        };
        let (small, large) = (with(SIZES.0)?, with(SIZES.1)?);
        let step = (SIZES.1 - SIZES.0) as u64;
        let shares = small.iter().filter_map(|s| {
            let l = large.iter().find(|l| l.device == s.device)?;
            let kv = l.context.saturating_sub(s.context) / step;
            let work = l.compute.saturating_sub(s.compute) / step;
            let of_cells = (kv + work) * SIZES.0 as u64;
            Some(Share {
                device: s.device.clone(),
                weights: s.weights,
                fixed: (s.context + s.compute).saturating_sub(of_cells),
                kv,
                work,
            })
        });
        Ok(MemoryNeed {
            shares: shares.collect(),
        })
    }

    /// Bytes of KV for each token.
    pub fn token_bytes(&self) -> u64 {
        self.shares.iter().map(|share| share.kv).sum()
    }

    /// What a context takes, all places together.
    pub fn cost(&self, cache: CacheType) -> ContextCost {
        ContextCost {
            cache,
            token: self.token_bytes(),
            fixed: self.shares.iter().map(|share| share.fixed).sum(),
            work: self.shares.iter().map(|share| share.work).sum(),
        }
    }

    /// The largest conversation, in tokens, at most `most`, where `room` says how many bytes of a
    /// place may be filled. 0 where the weights alone do not fit.
    pub fn largest(&self, most: usize, room: impl Fn(Option<&str>) -> u64) -> usize {
        let fits = |limit: usize| {
            self.shares.iter().all(|share| {
                share.bytes(SlotOptions::cells(limit)) <= room(share.device.as_deref())
            })
        };
        if fits(most) {
            return most;
        }
        // The largest number of steps that fits: 0 does not count.
        let (mut fit, mut not) = (0, most / STEP + 1);
        while not - fit > 1 {
            let middle = fit + (not - fit) / 2;
            match fits(middle * STEP) {
                true => fit = middle,
                false => not = middle,
            }
        }
        fit * STEP
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tiny::{self, Class};

    #[test]
    fn the_largest_context_is_the_last_step_that_every_place_has_room_for() {
        let share = |device: Option<&str>, weights, kv| Share {
            device: device.map(str::to_owned),
            weights,
            fixed: 1 << 20,
            kv,
            work: 10,
        };
        let need = MemoryNeed {
            shares: vec![
                share(None, 1 << 30, 0),
                share(Some("GPU"), 4 << 30, 100_000),
            ],
        };
        let card = |bytes: u64| {
            move |device: Option<&str>| match device {
                None => 64 << 30,
                Some(_) => bytes,
            }
        };
        assert_eq!(need.largest(40_960, card(64 << 30)), 40_960);
        assert_eq!(need.largest(40_960, card(4 << 30)), 0);
        let some = need.largest(1 << 20, card(8 << 30));
        let bytes = |limit| need.shares[1].bytes(SlotOptions::cells(limit));
        assert!(
            some.is_multiple_of(STEP) && bytes(some) <= 8 << 30,
            "{some}"
        );
        assert!(bytes(some + STEP) > 8 << 30, "{some}");
        assert_eq!(need.largest(1 << 20, |_| 0), 0);
    }

    #[test]
    fn what_is_counted_without_weights_is_what_a_context_really_takes() {
        for class in Class::ALL {
            let path = tiny::tiny_model(class, &tiny::Options::default());
            let plan = Arc::new(Model::plan(&path, &Default::default()).unwrap());
            let real = Arc::new(Model::load(&path, &Default::default(), &mut |_| true).unwrap());
            for cache in [CacheType::F16, CacheType::Q8_0] {
                let options = ContextOptions {
                    cache,
                    ubatch: 32,
                    ..ContextOptions::default()
                };
                let need = MemoryNeed::count(&plan, &options).unwrap();
                for cells in [20_480, 40_960] {
                    let options = ContextOptions {
                        cells,
                        ..options.clone()
                    };
                    let takes = Context::new(&real, &options).unwrap().takes();
                    let really: u64 = takes.iter().map(|t| t.context + t.compute).sum();
                    let said: u64 = need.shares.iter().map(|s| s.bytes(cells) - s.weights).sum();
                    let off = really.abs_diff(said);
                    assert!(
                        off <= really / 50 + (64 << 10),
                        "{class:?} {cells}: {said}, really {really}"
                    );
                }
            }
        }
    }
}
