//! A slot on a tiny model, driven by plain lists of tokens: what a test says, what the slot did.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use npast::kv::{Fingerprint, Limits, Store};
use npast::ledger::{Finish, Token, common_prefix};
use npast::llama::{CacheType, ContextOptions, Model, ModelOptions};
use npast::slot::{
    Call, Choice, Event, Flow, Fork, Kind, Outcome, Reply, Slot, SlotHandle, SlotOptions, Target,
};
use tokio::sync::mpsc::unbounded_channel;

use crate::model::{self, Class};

/// Tokens of one decode call in these tests: small, so that prompts have several batches.
pub const UBATCH: usize = 32;

/// Rows of logits, bit for bit.
pub type Rows = Vec<Vec<u32>>;

pub fn bits(row: &[f32]) -> Vec<u32> {
    row.iter().map(|f| f.to_bits()).collect()
}

/// A process with one slot, as far as KV is concerned.
pub struct Rig {
    pub class: Class,
    slot: Option<Slot>,
    handle: SlotHandle,
    home: Option<PathBuf>,
    store: Store,
    settings: Settings,
    /// What this conversation decoded so far: the longest such list.
    decoded: Vec<Token>,
}

#[derive(Clone, Copy)]
pub struct Settings {
    pub ubatch: usize,
    pub cache: CacheType,
    pub limit: usize,
}

impl Default for Settings {
    fn default() -> Self {
        Settings {
            ubatch: UBATCH,
            cache: CacheType::F16,
            limit: 8192,
        }
    }
}

pub fn load(class: Class) -> Arc<Model> {
    let path = model::tiny_model(class, &model::Options::default());
    Arc::new(Model::load(&path, &ModelOptions::default(), &mut |_| true).expect("a tiny model"))
}

impl Rig {
    /// A fresh process on `home`'s KV folder; without one nothing is stored.
    pub fn new(class: Class, home: Option<&Path>) -> Rig {
        Rig::with(class, home, Settings::default())
    }

    pub fn with(class: Class, home: Option<&Path>, settings: Settings) -> Rig {
        let model = load(class);
        let options = SlotOptions {
            limit: settings.limit,
            context: ContextOptions {
                ubatch: settings.ubatch,
                cache: settings.cache,
                ..ContextOptions::default()
            },
            snapshot_budget: 1 << 30,
        };
        let mut opened = None;
        let slot = Slot::start(&model, &options, |_| {
            let facts = serde_json::json!({
                "class": class.as_str(),
                "cache type": settings.cache.name(),
            });
            let print = Fingerprint::new(facts, serde_json::json!({}));
            let store = match home {
                Some(home) => Store::open(home, print, Limits::default()).expect("a store"),
                None => Store::off(),
            };
            opened = Some(store.clone());
            store
        })
        .expect("a slot");
        Rig {
            class,
            handle: slot.handle(),
            slot: Some(slot),
            home: home.map(Path::to_owned),
            store: opened.expect("the store"),
            settings,
            decoded: Vec::new(),
        }
    }

    /// Ends this process and starts another one, with nothing but what is on disk.
    pub fn restart(self) -> Rig {
        let (class, home, settings) = (self.class, self.home.clone(), self.settings);
        let decoded = self.decoded.clone();
        self.end();
        let mut rig = Rig::with(class, home.as_deref(), settings);
        rig.decoded = decoded;
        rig
    }

    fn end(mut self) {
        self.store.flush().expect("a flush");
        self.slot.take();
    }

    pub fn handle(&self) -> &SlotHandle {
        &self.handle
    }

    pub fn held(&self) -> Vec<Token> {
        self.handle.held().expect("a live engine")
    }

    /// Holds `target`, then decodes `reply` (all but its last token) and returns the rows seen.
    pub fn say(&mut self, target: &[Token], reply: &[Token]) -> (Outcome, Rows) {
        self.say_until(target, reply, usize::MAX)
    }

    /// The same, cancelled once `after` tokens of the prompt were evaluated.
    pub fn say_until(
        &mut self,
        target: &[Token],
        reply: &[Token],
        after: usize,
    ) -> (Outcome, Rows) {
        let rows: Arc<Mutex<Rows>> = Arc::default();
        let seen = rows.clone();
        let cancel = Arc::new(AtomicBool::new(false));
        let (events, mut inbox) = unbounded_channel();
        let reply = Reply {
            choice: Choice::Script {
                tokens: reply.to_vec(),
                finish: Finish::Length,
            },
            max_tokens: reply.len().max(1),
            watch: Box::new(|_| Flow::Continue),
            observe: Some(Box::new(move |row| {
                seen.lock().expect("rows").push(bits(row))
            })),
        };
        let answer = self
            .handle
            .call(Call {
                kind: Kind::Turn,
                owner: "test".to_owned(),
                target: Target::Whole(target.to_vec()),
                head: 0,
                decoded: common_prefix(&self.decoded, target),
                reply: Some(reply),
                cancel: cancel.clone(),
                events,
            })
            .expect("a live engine");
        while let Some(event) = inbox.blocking_recv() {
            if let Event::Prefill { done, .. } = event
                && done >= after
            {
                cancel.store(true, Ordering::Relaxed);
            }
        }
        let outcome = answer.wait().expect("a call");
        self.decoded = self.held();
        let rows = std::mem::take(&mut *rows.lock().expect("rows"));
        (outcome, rows)
    }

    /// Holds a prefix, evaluating nothing that can be kept.
    pub fn rewind(&mut self, target: &[Token]) -> Outcome {
        let (events, _inbox) = unbounded_channel();
        let answer = self.handle.call(Call {
            kind: Kind::Idle,
            owner: "test".to_owned(),
            target: Target::Whole(target.to_vec()),
            head: 0,
            decoded: common_prefix(&self.decoded, target),
            reply: None,
            cancel: Arc::default(),
            events,
        });
        let outcome = answer.expect("a live engine").wait().expect("a call");
        self.decoded = self.held();
        outcome
    }

    /// Side work: `tokens`, then `reply`, on scratch.
    pub fn fork(&mut self, after_main: bool, tokens: &[Token], reply: &[Token]) -> (Outcome, Rows) {
        let rows: Arc<Mutex<Rows>> = Arc::default();
        let seen = rows.clone();
        let (events, _inbox) = unbounded_channel();
        let answer = self.handle.fork(Fork {
            after_main,
            tokens: tokens.to_vec(),
            reply: Reply {
                choice: Choice::Script {
                    tokens: reply.to_vec(),
                    finish: Finish::Length,
                },
                max_tokens: reply.len().max(1),
                watch: Box::new(|_| Flow::Continue),
                observe: Some(Box::new(move |row| {
                    seen.lock().expect("rows").push(bits(row))
                })),
            },
            cancel: Arc::default(),
            events,
        });
        let outcome = answer.expect("a live engine").wait().expect("a fork");
        let rows = std::mem::take(&mut *rows.lock().expect("rows"));
        (outcome, rows)
    }
}

/// Some byte tokens, different for each seed.
pub fn tokens(seed: u64, n: usize) -> Vec<Token> {
    let mut x = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    (0..n)
        .map(|_| {
            x ^= x << 13;
            x ^= x >> 7;
            x ^= x << 17;
            Token((x % 256) as i32)
        })
        .collect()
}

/// Kept, restored, evaluated, appended, and whether there was a miss.
pub type Cost = (usize, usize, usize, usize, bool);

/// What a call cost, for comparison in one line.
pub fn cost(o: &Outcome) -> Cost {
    assert!(o.error.is_none(), "{:?}", o.error);
    (
        o.kept,
        o.restored,
        o.evaluated,
        o.appended,
        o.miss.is_some(),
    )
}
