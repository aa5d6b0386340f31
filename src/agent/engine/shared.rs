//! What all conversations of a process share: model, template, tokenizer, store, limits. Nothing here
//! changes after the engine was opened.

use std::sync::Arc;

use crate::agent::values::error::AgentError;
use crate::agent::values::options::Options;
use crate::chat::template::ChatTemplate;
use crate::chat::tokenize::Tokenizer;
use crate::kv::Store;
use crate::ledger::Digest;
use crate::llama::Model;
use crate::session::{Db, ModelFile, Session};
use crate::slot::MemoryClass;

/// What conversations share.
pub(in crate::agent) struct EngineShared {
    pub options: Options,
    pub model: Arc<Model>,
    pub template: Arc<ChatTemplate>,
    pub tokenizer: Tokenizer,
    pub store: Store,
    /// Tokens of a ledger mean the same under equal digests.
    pub vocab: Digest,
    /// Of the template's text.
    pub source: Digest,
    pub class: MemoryClass,
    /// The model's file, by which sessions know it again; `None` where it cannot be looked at.
    pub file: Option<ModelFile>,
    pub limit: usize,
}

impl EngineShared {
    /// A connection to npast.db, which stored KV gives way to on a full disk.
    pub fn database(&self) -> Result<Db, AgentError> {
        let mut db = Db::open(&self.options.home.join("npast.db"))?;
        let store = self.store.clone();
        if !store.is_off() {
            db.give_way(Box::new(move |bytes| store.make_room(bytes)));
        }
        Ok(db)
    }

    /// [`room_hint`] of this context.
    pub fn room_hint(&self, ways: &str) -> String {
        room_hint(ways, self.limit, self.model.trained_context())
    }
}

/// What helps where a context of `limit` tokens has no room: `ways`, and a larger one, but only where the
/// model was trained for more.
pub(in crate::agent) fn room_hint(ways: &str, limit: usize, trained: usize) -> String {
    match trained > limit {
        true => {
            format!("{ways}, or give a larger --ctx: the model was trained for {trained} tokens")
        }
        false => ways.to_owned(),
    }
}

/// Whether a session's ledger means the same under this model's vocabulary and template.
pub(in crate::agent) fn fits(shared: &EngineShared, row: &Session) -> bool {
    row.vocab == shared.vocab && row.template == shared.source
}
