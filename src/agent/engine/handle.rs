//! One process's model, slot and stores, opened once. Conversations are opened on it.

use std::path::Path;
use std::sync::{Arc, Mutex};

use crate::agent::values::error::{AgentError, ErrorKind};
use crate::agent::values::event::Stage;
use crate::agent::values::notice::Notice;
use crate::agent::values::options::Options;
use crate::kv::{Edge, Store, StoreLimits, Tensors, Weights};
use crate::ledger::Digest;
use crate::llama::{self, Model, gguf};
use crate::session::{Db, Lock};
use crate::slot::{Compared, MemoryClass, Slot, SlotError, SlotHandle, SlotOptions, WindowCost};

use super::completed::Completions;
use super::fingerprint::fingerprint;
use super::fit::{Fitted, fitted};
use super::load::{beyond_training, load, sizes};
use super::model_files::{file_name, remembered};
use super::probe;
use super::shared::EngineShared;
use super::template::{examine, own_template};

/// Tokens of a long session.
const LONG: usize = 32_768;

/// What an engine is, for `doctor` and the first line of a chat.
#[derive(Clone, Debug)]
pub struct EngineFacts {
    /// The model's file name.
    pub model: String,
    /// llama.cpp's description.
    pub description: String,
    /// The memory class.
    pub class: MemoryClass,
    /// The conversation's limit, tokens.
    pub limit: usize,
    /// What was chosen by what the machine has room for, and why.
    pub fit: String,
    /// Cells of the context: the limit and the reserve.
    pub cells: usize,
    /// Bytes of KV per token that are kept for every position.
    pub token_bytes: usize,
    /// Bytes of one snapshot of a few tokens, where the class needs them.
    pub snapshot_bytes: usize,
    /// Tokens of one decode call.
    pub ubatch: usize,
    /// Kind and size of the vocabulary.
    pub vocab: String,
    /// What the template's examination found, a line each.
    pub template: Vec<String>,
    /// The model has no template of its own.
    pub fallback_template: bool,
    /// Metadata worth showing.
    pub metadata: Vec<(String, String)>,
}

/// Model, slot and stores of one process.
pub struct Engine {
    shared: Arc<EngineShared>,
    slot: Slot,
    facts: EngineFacts,
    notices: Mutex<Vec<Notice>>,
    completions: Completions,
    /// Hashes the model's bytes in the background, if nobody has yet.
    weights: Mutex<Option<Weights>>,
    _lock: Option<Lock>,
}

impl Engine {
    /// Opens everything. `progress` may stop the loading of weights by returning false.
    ///
    /// # Errors
    /// When the model, the context or npast.db cannot be had. KV that cannot be stored is no
    /// error: it becomes a notice.
    pub fn open(
        options: &Options,
        progress: &mut dyn FnMut(Stage) -> bool,
    ) -> Result<Engine, AgentError> {
        let mut notices = Vec::new();
        // Before the weights: what is wrong here is known at once.
        drop(Db::open(&options.home.join("npast.db"))?);
        let file = gguf::facts(&options.model)?;
        let lock = model_lock(options, &file, &mut notices);
        let weights = options.store_kv.then(|| weights(options, &file));
        probe::check(options, progress)?;
        let asked = options.limit;
        let Fitted {
            mut options,
            notice,
            words,
        } = fitted(options, &file)?;
        notices.extend(notice);
        let model = load(&options, progress)?;
        let stretched = options.context.rope_scaling.is_some()
            || options.context.rope_freq_base.is_some()
            || options.context.rope_freq_scale.is_some();
        notices.extend(beyond_training(asked, model.trained_context(), stretched));
        progress(Stage::Context);

        let slot_options = sizes(&options, &model)?;
        let (limit, ubatch) = (slot_options.limit, slot_options.context.ubatch);
        options.context.ubatch = ubatch;
        let (source, fallback_template) = own_template(&options, &model);
        if fallback_template {
            notices.push((
                "the model has no chat template; messages are written as plain \"role: text\" \
                 lines"
                    .to_owned(),
                Some("give one with --chat-template @FILE".to_owned()),
            ));
        }
        let mut store = Store::off();
        // A template's examination takes up to a second; the context is made meanwhile.
        let (examined, slot) = std::thread::scope(|scope| {
            let examined = scope.spawn(|| examine(&source, model.vocab(), options.apart.as_ref()));
            let slot = Slot::start(&model, &slot_options, |slot| {
                let id = weights.as_ref().map(Weights::id);
                let print = fingerprint(&file, id, slot, &options);
                store = open_store(&options, print, &mut notices);
                store.clone()
            });
            (examined.join(), slot)
        });
        let slot = slot.map_err(|e| with_need(e.into(), &file, &slot_options))?;
        let slot_facts = slot.handle().facts().clone();
        let (template, tokenizer) = examined.unwrap_or_else(|_| {
            Err(AgentError::new(
                ErrorKind::Template,
                "the examination of the chat template panicked",
            ))
        })?;
        warn_of_space(&options, asked, &slot_facts, &mut notices);
        progress(Stage::Ready);

        let facts = EngineFacts {
            model: file_name(&options.model),
            description: model.description(),
            class: slot_facts.class,
            limit: slot_facts.limit,
            fit: words,
            cells: SlotOptions::cells(limit),
            token_bytes: slot_facts.token_bytes,
            snapshot_bytes: slot_facts.snapshot_bytes,
            ubatch,
            vocab: format!("{} {}", model.vocab().kind(), model.vocab().size()),
            template: template.battery().report(),
            fallback_template,
            metadata: metadata(&model, &file),
        };
        Ok(Engine {
            shared: Arc::new(EngineShared {
                vocab: Digest(*file.tokenizer.as_bytes()),
                source: Digest::of(source.as_bytes()),
                class: slot_facts.class,
                limit: slot_facts.limit,
                file: remembered(&options.model, &file),
                options,
                model,
                template: Arc::new(template),
                tokenizer,
                store,
            }),
            slot,
            facts,
            notices: Mutex::new(notices),
            completions: Completions::default(),
            weights: Mutex::new(weights),
            _lock: lock,
        })
    }

    /// What its conversations share.
    pub(in crate::agent) fn shared(&self) -> &Arc<EngineShared> {
        &self.shared
    }

    /// The completions that were made on it.
    pub(in crate::agent) fn completions(&self) -> &Completions {
        &self.completions
    }

    /// The data folder.
    pub fn home(&self) -> &Path {
        &self.shared.options.home
    }

    /// What it is.
    pub fn facts(&self) -> EngineFacts {
        self.facts.clone()
    }

    /// What an SWA window's layout costs at the start of each append, measured now; nothing on other
    /// classes. Empties the slot.
    pub fn window_cost(&self) -> Option<WindowCost> {
        self.slot.handle().window_cost().ok().flatten()
    }

    /// Evaluates at most `most` of the stored segments again, spread over all of them, and compares
    /// bytes; `each` sees what came of one.
    ///
    /// # Errors
    /// When the store cannot be read or the engine fails.
    pub fn verify_deep(
        &self,
        most: usize,
        each: &mut dyn FnMut(&Edge, &Compared) -> bool,
    ) -> Result<(), AgentError> {
        let sampled = self.shared.store.sampled(most).map_err(SlotError::from)?;
        for one in sampled {
            let edge = one.edge.clone();
            let compared = self.slot.handle().compare(one)?;
            if !each(&edge, &compared) {
                break;
            }
        }
        Ok(())
    }

    /// Notices for the user; each is given once.
    pub fn notices(&self) -> Vec<Notice> {
        let mut notices = self
            .notices
            .lock()
            .map(|mut n| std::mem::take(&mut *n))
            .unwrap_or_default();
        notices.extend(
            self.shared
                .store
                .take_notices()
                .into_iter()
                .map(|n| (n.text, Some(n.hint))),
        );
        if let Ok(mut weights) = self.weights.lock() {
            let told = weights.as_mut().and_then(Weights::told);
            notices.extend(told.map(|(text, hint)| (text, Some(hint))));
        }
        notices
    }

    /// The store of KV, for whoever knows when nobody waits.
    pub fn store(&self) -> Store {
        self.shared.store.clone()
    }

    /// The slot, for whoever gives passes.
    pub fn slot(&self) -> SlotHandle {
        self.slot.handle()
    }
}

fn model_lock(
    options: &Options,
    file: &gguf::ModelFacts,
    notices: &mut Vec<Notice>,
) -> Option<Lock> {
    match Lock::model(&options.home, file.tensors.to_hex().as_str()) {
        Ok(lock) => Some(lock),
        Err(held) => {
            if let Some(pid) = held.pid() {
                notices.push((
                    format!("process {pid} has this model loaded too"),
                    Some("each process needs memory of its own for it".to_owned()),
                ));
            }
            None
        }
    }
}

/// The name of the model's bytes.
fn weights(options: &Options, file: &gguf::ModelFacts) -> Weights {
    let tensors = Tensors {
        files: gguf::split_paths(&options.model),
        ranges: file.data.clone(),
        samples: file.tensors.to_hex().to_string(),
    };
    Weights::of(&options.home.join("kv"), &tensors)
}

fn open_store(
    options: &Options,
    print: crate::kv::Fingerprint,
    notices: &mut Vec<Notice>,
) -> Store {
    if !options.store_kv {
        return Store::off();
    }
    let limits = StoreLimits {
        quota_bytes: options.kv_quota,
        ..StoreLimits::default()
    };
    match Store::open(&options.home.join("kv"), print, limits) {
        Ok(store) => store,
        Err(error) => {
            notices.push((
                format!("KV is not saved in this run: {error}"),
                Some("sessions work; a restart will have to read them again".to_owned()),
            ));
            Store::off()
        }
    }
}

/// Adds what the context would need to an error that llama.cpp gave without numbers.
fn with_need(error: AgentError, file: &gguf::ModelFacts, slot: &SlotOptions) -> AgentError {
    if error.kind() != "memory" {
        return error;
    }
    let free: Vec<String> = llama::devices()
        .iter()
        .filter(|d| d.memory.1 > 0)
        .map(|d| format!("{} has {} MiB free", d.name, d.memory.0 >> 20))
        .collect();
    let hint = error.hint().unwrap_or_default();
    AgentError::new(
        ErrorKind::Memory,
        format!(
            "{error}; weights take {} MiB, the context has {} cells, {}",
            file.bytes >> 20,
            SlotOptions::cells(slot.limit),
            free.join(", "),
        ),
    )
    .hinted(hint)
}

/// Warns at the start when a full context would not fit on the disk (law 10). For a context that the user
/// did not name, the KV of a long session counts.
fn warn_of_space(
    options: &Options,
    asked: Option<usize>,
    slot: &crate::slot::SlotFacts,
    notices: &mut Vec<Notice>,
) {
    if !options.store_kv {
        return;
    }
    let Ok(disk) = rustix::fs::statvfs(&options.home) else {
        return;
    };
    let free = disk.f_bavail.saturating_mul(disk.f_frsize);
    let tokens = asked.unwrap_or(LONG).min(slot.limit);
    let need = (tokens * slot.token_bytes + 4 * slot.snapshot_bytes) as u64;
    if free < need {
        notices.push((
            format!(
                "a session of {tokens} tokens would take {} MiB of KV on disk, and {} MiB are free in {}",
                need >> 20,
                free >> 20,
                options.home.display()
            ),
            Some("free some space, take a smaller --ctx, or give --no-store".to_owned()),
        ));
    }
}

fn metadata(model: &Model, file: &gguf::ModelFacts) -> Vec<(String, String)> {
    let mut rows = vec![
        ("architecture".to_owned(), model.architecture()),
        ("parameters".to_owned(), model.parameters().to_string()),
        ("bytes".to_owned(), model.bytes().to_string()),
        ("layers".to_owned(), model.layers().to_string()),
        (
            "trained context".to_owned(),
            model.trained_context().to_string(),
        ),
        ("files".to_owned(), file.n_files.to_string()),
    ];
    if model.window() > 0 {
        rows.push(("sliding window".to_owned(), model.window().to_string()));
    }
    if let Some(name) = &file.name {
        rows.insert(0, ("name".to_owned(), name.clone()));
    }
    rows
}
