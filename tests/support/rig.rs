//! A slot on a tiny model, driven by plain lists of tokens: what a test says, what the slot did.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, OnceLock};

use npast::kv::storage::{Disk, Storage};
use npast::kv::{Fingerprint, Store, StoreLimits};
use npast::ledger::{Finish, Mark, RunningDigest, Token, common_prefix};
use npast::llama::{CacheType, ContextOptions, Model, ModelOptions};
use npast::slot::{
    Base, CallKind, Flow, Fork, Outcome, ReplyOptions, Slot, SlotCall, SlotError, SlotEvent,
    SlotHandle, SlotOptions, Target, TokenChoice, WindowCost,
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
    handle: SlotHandle,
    /// After its handle: then the end of its thread is waited for.
    slot: Slot,
    home: Option<PathBuf>,
    store: Store,
    settings: Settings,
    /// A model that is no tiny one of its class.
    given: Option<Arc<Model>>,
    /// Calls are steps of a turn that goes on.
    pub steps: bool,
    /// By so many positions the next call moves the end of what is held.
    pub moved: Option<usize>,
    /// What each conversation, by its owner, had decoded when it was last served.
    decoded: HashMap<String, Vec<Token>>,
}

#[derive(Clone, Copy, Debug)]
pub struct Settings {
    pub ubatch: usize,
    pub cache: CacheType,
    pub limit: usize,
    pub snapshot_budget: usize,
    pub restore_budget: usize,
    /// Seed of the model's weights, which is no part of this fingerprint: another one's states have
    /// the right form and wrong numbers.
    pub weights: u64,
    /// A soft fact.
    pub machine: &'static str,
    pub threads: usize,
    pub rope_freq_base: Option<f32>,
}

impl Settings {
    /// One and the same machine.
    pub const A: Settings = Settings {
        ubatch: UBATCH,
        cache: CacheType::F16,
        limit: 8192,
        snapshot_budget: 1 << 30,
        restore_budget: 1 << 30,
        weights: 1,
        machine: "a",
        threads: 1,
        rope_freq_base: None,
    };
}

impl Default for Settings {
    fn default() -> Self {
        Settings::A
    }
}

/// When a call is cancelled.
#[derive(Clone, Copy)]
pub enum Stop {
    Never,
    /// Once so many tokens of the prompt were evaluated; seen by the engine some batches later.
    Prompt(usize),
    /// At the reply's row of this number: its token is the last one.
    Row(usize),
}

/// By class and seed.
type Loaded = HashMap<(Class, u64), Arc<Model>>;

/// A model, loaded once for all tests: it is read-only.
pub fn load(class: Class, seed: u64) -> Arc<Model> {
    static LOADED: OnceLock<Mutex<Loaded>> = OnceLock::new();
    let mut loaded = LOADED.get_or_init(Mutex::default).lock().expect("models");
    let load = || {
        let options = model::Options {
            seed,
            ..model::Options::default()
        };
        let path = model::tiny_model(class, &options);
        Arc::new(Model::load(&path, &ModelOptions::default(), &mut |_| true).expect("a tiny model"))
    };
    loaded.entry((class, seed)).or_insert_with(load).clone()
}

impl Rig {
    /// A fresh process on `home`'s KV folder; without one nothing is stored.
    pub fn new(class: Class, home: Option<&Path>) -> Rig {
        Rig::with(class, home, Settings::default())
    }

    pub fn with(class: Class, home: Option<&Path>, settings: Settings) -> Rig {
        Rig::start(class, None, home, settings, Arc::new(Disk))
    }

    /// The same, with another [`Storage`] for the record files. After a restart it is the disk again.
    pub fn on_storage(class: Class, home: &Path, storage: Arc<dyn Storage>) -> Rig {
        Rig::start(class, None, Some(home), Settings::default(), storage)
    }

    /// The same on a model of which this is the class.
    pub fn on(model: &Arc<Model>, class: Class, home: Option<&Path>, settings: Settings) -> Rig {
        Rig::start(class, Some(model.clone()), home, settings, Arc::new(Disk))
    }

    fn start(
        class: Class,
        given: Option<Arc<Model>>,
        home: Option<&Path>,
        settings: Settings,
        storage: Arc<dyn Storage>,
    ) -> Rig {
        let model = given
            .clone()
            .unwrap_or_else(|| load(class, settings.weights));
        let options = SlotOptions {
            limit: settings.limit,
            context: ContextOptions {
                ubatch: settings.ubatch,
                cache: settings.cache,
                threads: settings.threads,
                threads_batch: settings.threads,
                rope_freq_base: settings.rope_freq_base,
                ..ContextOptions::default()
            },
            snapshot_budget: settings.snapshot_budget,
            restore_budget: settings.restore_budget,
        };
        let mut opened = None;
        let slot = Slot::start(&model, &options, |_| {
            let facts = serde_json::json!({
                "class": class.as_str(),
                "cache type": settings.cache.name(),
            });
            let print = Fingerprint::new(facts, serde_json::json!({"machine": settings.machine}));
            let limits = StoreLimits::default();
            let store = match home {
                Some(home) => Store::open_on(storage, home, print, limits).expect("a store"),
                None => Store::off(),
            };
            opened = Some(store.clone());
            store
        })
        .expect("a slot");
        Rig {
            class,
            handle: slot.handle(),
            slot,
            home: home.map(Path::to_owned),
            store: opened.expect("the store"),
            settings,
            given,
            steps: false,
            moved: None,
            decoded: HashMap::new(),
        }
    }

    /// What laying out the window costs.
    pub fn window_cost(&mut self) -> Option<WindowCost> {
        self.handle.window_cost().expect("a live engine")
    }

    /// Ends this process and starts another one, with nothing but what is on disk.
    pub fn restart(self) -> Rig {
        self.restart_after(|| ())
    }

    /// The same, as another machine or with other numbers.
    pub fn restart_with(mut self, settings: Settings) -> Rig {
        self.settings = settings;
        self.restart()
    }

    /// The same, with something happening to the disk in between.
    pub fn restart_after(self, between: impl FnOnce()) -> Rig {
        let Rig {
            class,
            slot,
            handle,
            home,
            store,
            settings,
            given,
            decoded,
            ..
        } = self;
        store.flush().expect("a flush");
        // The thread ends with its last handle.
        drop((handle, slot, store));
        between();
        let mut rig = Rig::start(class, given, home.as_deref(), settings, Arc::new(Disk));
        rig.decoded = decoded;
        rig
    }

    pub fn handle(&self) -> &SlotHandle {
        &self.handle
    }

    pub fn store(&self) -> &Store {
        &self.store
    }

    pub fn held(&self) -> Vec<Token> {
        self.handle.held().expect("a live engine")
    }

    /// One call for `owner`: holds `target`, then decodes `reply` (all but its last token); without
    /// a reply it only evaluates. Gives the rows that tokens were chosen from.
    pub fn ask(
        &mut self,
        owner: &str,
        target: &[Token],
        reply: Option<&[Token]>,
        stop: Stop,
    ) -> (Result<Outcome, SlotError>, Rows) {
        let rows: Arc<Mutex<Rows>> = Arc::default();
        let cancel = Arc::new(AtomicBool::new(false));
        let (seen, flag) = (rows.clone(), cancel.clone());
        let observe = move |row: &[f32]| {
            let mut seen = seen.lock().expect("rows");
            seen.push(bits(row));
            if let Stop::Row(last) = stop
                && seen.len() > last
            {
                flag.store(true, Ordering::Relaxed);
            }
        };
        let (events, mut inbox) = unbounded_channel();
        let decoded = self.decoded.get(owner).map_or(&[][..], Vec::as_slice);
        let answer = self
            .handle
            .call(SlotCall {
                kind: reply.map_or(CallKind::Idle, |_| CallKind::Turn),
                owner: owner.to_owned(),
                target: Target::whole(target.to_vec()),
                head: 0,
                common: 0,
                decoded: common_prefix(decoded, target),
                moved: self.moved.take(),
                reply: reply.map(|tokens| script(tokens, Box::new(observe))),
                step: self.steps,
                cancel: cancel.clone(),
                events,
            })
            .expect("a live engine");
        while let Some(event) = inbox.blocking_recv() {
            if let (SlotEvent::Prefill { done, .. }, Stop::Prompt(after)) = (event, stop)
                && done >= after
            {
                cancel.store(true, Ordering::Relaxed);
            }
        }
        let outcome = answer.wait();
        if outcome.is_ok() {
            self.decoded.insert(owner.to_owned(), self.held());
        }
        let rows = std::mem::take(&mut *rows.lock().expect("rows"));
        (outcome, rows)
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
        let (outcome, rows) = self.ask("test", target, Some(reply), Stop::Prompt(after));
        (outcome.expect("a call"), rows)
    }

    /// Holds a prefix, evaluating nothing that can be kept.
    pub fn rewind(&mut self, target: &[Token]) -> Outcome {
        let (outcome, _) = self.ask("test", target, None, Stop::Never);
        outcome.expect("a call")
    }

    /// What side work continues: all that the slot holds, or nothing.
    pub fn base(&self, main: bool) -> Base {
        let mut running = RunningDigest::new(self.store().fingerprint().hard);
        running.extend(&self.held());
        match main {
            true => Base::Main(Mark::new(running.len(), running.digest())),
            false => Base::Nothing,
        }
    }

    /// Side work: `tokens`, then `reply`, on scratch, which is freed afterwards.
    pub fn fork(&mut self, base: Base, tokens: &[Token], reply: &[Token]) -> (Outcome, Rows) {
        let (outcome, rows) = self.try_fork(base, false, tokens, reply);
        (outcome.expect("a fork"), rows)
    }

    /// Side work that scratch may keep.
    pub fn try_fork(
        &mut self,
        base: Base,
        keep: bool,
        tokens: &[Token],
        reply: &[Token],
    ) -> (Result<Outcome, SlotError>, Rows) {
        let rows: Arc<Mutex<Rows>> = Arc::default();
        let seen = rows.clone();
        let observe = move |row: &[f32]| seen.lock().expect("rows").push(bits(row));
        let (events, _inbox) = unbounded_channel();
        let answer = self.handle.fork(Fork {
            base,
            keep,
            store: false,
            tokens: tokens.to_vec(),
            reply: script(reply, Box::new(observe)),
            cancel: Arc::default(),
            events,
        });
        let outcome = answer.expect("a live engine").wait();
        let rows = std::mem::take(&mut *rows.lock().expect("rows"));
        (outcome, rows)
    }
}

/// A prepared reply that ends by its length.
pub fn script(tokens: &[Token], observe: npast::slot::Observe) -> ReplyOptions {
    ReplyOptions {
        choice: TokenChoice::Script {
            tokens: tokens.to_vec(),
            finish: Finish::Length,
        },
        max_tokens: tokens.len().max(1),
        watch: Box::new(|_| Flow::Continue),
        observe: Some(observe),
        odds: None,
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
