//! The start of a session: its head becomes tokens here, once (law 7).

use crate::agent::engine::model_files::file_name;
use crate::agent::engine::shared::EngineShared;
use crate::agent::frozen::frame::FrozenFrame;
use crate::agent::values::error::{AgentError, ErrorKind};
use crate::agent::values::notice::Notice;
use crate::agent::values::options::{NewSession, Policy};
use crate::ledger::Digest;
use crate::session::{self, Db, Session, now_ms};

/// Whether a session that starts with these tools would freeze those that this one has.
pub(in crate::agent) fn same_tools(
    shared: &EngineShared,
    given: &serde_json::Value,
    row: &Session,
) -> bool {
    if Some(given) == row.tools.as_ref() {
        return true;
    }
    let system = row.system.clone();
    let (frozen, _) = FrozenFrame::start(
        shared,
        system,
        Some(given.clone()),
        row.preface.clone(),
        true,
        row.started_ms,
    );
    frozen.tools() == row.tools.as_ref()
}

pub(in crate::agent) fn start(
    shared: &EngineShared,
    db: &Db,
    name: &str,
    new: &NewSession,
    notices: &mut Vec<Notice>,
) -> Result<Session, AgentError> {
    made(shared, name, new, None, notices, |row, _| {
        Ok(db.create(row)?)
    })
}

/// Law 7: the head becomes tokens here, once. A child thinks and keeps its history as its parent does.
/// `store` stores the row.
pub(in crate::agent) fn made(
    shared: &EngineShared,
    name: &str,
    new: &NewSession,
    parent: Option<&Session>,
    notices: &mut Vec<Notice>,
    store: impl FnOnce(&session::SessionRecord<'_>, &FrozenFrame) -> Result<Session, AgentError>,
) -> Result<Session, AgentError> {
    let thinking = parent.and_then(|p| p.thinking);
    let thinking = thinking.unwrap_or_else(|| shared.options.thinks());
    let policy = parent.and_then(|p| Policy::parse(&p.policy));
    let policy = policy.unwrap_or_else(|| shared.options.policy.unwrap_or_default());
    let shift = parent.map_or(shared.options.shift.unwrap_or(false), |p| p.shift);
    let started_ms = now_ms();
    let seed = new.seed.unwrap_or_else(|| {
        let mix = Digest::of(format!("{name}\0{started_ms}\0{}", std::process::id()).as_bytes());
        u64::from_le_bytes([
            mix.0[0],
            mix.0[1],
            mix.0[2],
            mix.0[3],
            mix.0[4],
            mix.0[5],
            mix.0[6],
            mix.0[7] & 0x7f,
        ])
    });
    let (system, tools) = match &new.setup {
        Some(setup) => (Some(&setup.system), Some(&setup.tools)),
        None => (new.system.as_ref(), new.tools.as_ref()),
    };
    let preface = new.setup.as_ref().and_then(|setup| setup.preface.clone());
    let (frozen, said) = FrozenFrame::start(
        shared,
        system.cloned(),
        tools.cloned(),
        preface,
        thinking,
        started_ms,
    );
    notices.extend(said);
    let head = frozen.head(shared)?;
    if head.len() + 64 > shared.limit {
        return Err(AgentError::new(
            ErrorKind::TooLong,
            format!(
                "the system prompt and tools take {} tokens, the context has {}",
                head.len(),
                shared.limit
            ),
        )
        .hinted(shared.room_hint(match new.setup {
            Some(_) => "give --no-tools for a chat without tools",
            None => "give a shorter system prompt",
        })));
    }
    let common = match frozen.preface() {
        Some(_) => Some(frozen.common_len(shared, &head)?),
        None => None,
    };
    let row = session::SessionRecord {
        name,
        folder: &new.folder,
        model: &file_name(&shared.options.model),
        class: shared.class.as_str(),
        vocab: shared.vocab,
        template: shared.source,
        fingerprint: shared.store.fingerprint().hard,
        system: frozen.system(),
        tools: frozen.tools(),
        preface: frozen.preface(),
        head: &head,
        common,
        started_ms,
        seed,
        policy: policy.as_str(),
        parent: parent.map(|p| p.id),
        runs_tools: new.setup.is_some(),
        thinking,
        shift,
    };
    store(&row, &frozen)
}
