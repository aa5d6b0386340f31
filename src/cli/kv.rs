//! `npast kv`: the size of stored KV and whose it is, verification, and removing what no session needs. It
//! loads no model, and another process may write meanwhile.

use std::collections::HashSet;
use std::ops::Deref;
use std::path::Path;

use serde_json::{Value, json};

use super::CliContext;
use super::args::{KvArgs, KvCommand};
use super::error::{FAILED, Failure};
use super::output::{self, bytes, count, table};
use super::state;
use crate::agent::{BASE, kv_owner};
use crate::harmless;
use crate::kv::{Collected, KvFolder, ModelStatus, OwnerStatus, StoreLimits, Verified};
use crate::session::{Db, SessionId};

/// Runs the subcommand; `quota` as in the settings.
pub fn run(run: &CliContext, args: &KvArgs, quota: Option<u64>) -> Result<i32, Failure> {
    let folder = open(&run.places.home, quota)?;
    match args.command {
        None | Some(KvCommand::Status) => status(run, folder.as_deref()),
        Some(KvCommand::Verify(_)) => verify(run, folder.as_deref()),
        Some(KvCommand::Gc) => gc(run, folder.as_deref()),
    }
}

/// The KV folder for one command. Its notices are printed when the command is done
/// with it.
pub struct Opened(KvFolder);

impl Deref for Opened {
    type Target = KvFolder;

    fn deref(&self) -> &KvFolder {
        &self.0
    }
}

impl Drop for Opened {
    fn drop(&mut self) {
        for notice in self.0.take_notices() {
            output::notice(&notice.text, Some(&notice.hint));
        }
    }
}

/// The KV folder; `None` when nothing was ever stored.
///
/// # Errors
/// When it cannot be used.
pub fn open(home: &Path, quota: Option<u64>) -> Result<Option<Opened>, Failure> {
    let limits = StoreLimits {
        quota_bytes: quota,
        ..StoreLimits::default()
    };
    Ok(KvFolder::open(&home.join("kv"), limits)?.map(Opened))
}

impl From<crate::kv::Error> for Failure {
    fn from(error: crate::kv::Error) -> Failure {
        let hint = match error {
            crate::kv::Error::Busy => {
                "end it and try again; it makes room by itself when the quota is reached"
            }
            _ => "the folder is a cache: deleting it costs time and never a message",
        };
        Failure::failed("kv", error.to_string()).hint(hint)
    }
}

fn database(run: &CliContext) -> Result<Option<Db>, Failure> {
    let path = run.places.db();
    // Looking makes no database.
    match path.is_file() {
        true => Ok(Some(Db::open(&path)?)),
        false => Ok(None),
    }
}

/// A session, and how fast it was read so far.
struct KvSession {
    id: SessionId,
    name: String,
    /// Of its ledger.
    tokens: usize,
    /// Milliseconds per token, where a receipt has them.
    pace: Option<f64>,
}

fn known(run: &CliContext) -> Result<Vec<KvSession>, Failure> {
    let Some(db) = database(run)? else {
        return Ok(Vec::new());
    };
    let mut known = Vec::new();
    let summaries = db.list()?;
    // What a damaged one would cost is not known; it is no removed one.
    for id in db.ids()? {
        if !summaries.iter().any(|s| s.session.id == id) {
            known.push(KvSession {
                id,
                name: format!("session {} (damaged)", id.0),
                tokens: 0,
                pace: None,
            });
        }
    }
    for summary in summaries {
        // A receipt that cannot be read gives no pace.
        let receipts = db.receipts(summary.session.id).unwrap_or_default();
        let pace = pace(&receipts);
        known.push(KvSession {
            id: summary.session.id,
            name: summary.session.name,
            tokens: summary.tokens,
            pace,
        });
    }
    Ok(known)
}

/// Milliseconds per token over all that was evaluated.
fn pace(receipts: &[Value]) -> Option<f64> {
    let (mut tokens, mut ms) = (0, 0.0);
    // Those without a number are no calls: their milliseconds are not of evaluation alone.
    for receipt in receipts.iter().filter(|r| r["call"] != 0) {
        let evaluated = receipt["evaluated"].as_u64();
        if let (Some(evaluated), Some(prefill)) = (evaluated, receipt["ms"]["prefill"].as_f64()) {
            tokens += evaluated;
            ms += prefill;
        }
    }
    (tokens > 0 && ms > 0.0).then(|| ms / tokens as f64)
}

impl KvSession {
    /// What a start costs that evaluates all but `restored` tokens: tokens, and seconds where the
    /// session's own pace is known.
    fn cold(&self, restored: usize) -> Cold<'_> {
        let tokens = self.tokens.saturating_sub(restored);
        Cold {
            name: &self.name,
            tokens,
            seconds: self.pace.map(|ms| (ms * tokens as f64).round() / 1000.0),
        }
    }
}

/// What starting a session costs.
struct Cold<'a> {
    name: &'a str,
    tokens: usize,
    seconds: Option<f64>,
}

impl Cold<'_> {
    fn text(&self) -> String {
        let tokens = count(self.tokens);
        match self.seconds.filter(|s| *s >= 0.1) {
            Some(seconds) => format!("{tokens} (about {seconds:.1} s)"),
            None => tokens,
        }
    }
}

fn status(run: &CliContext, folder: Option<&KvFolder>) -> Result<i32, Failure> {
    let models = folder.map_or(Ok(Vec::new()), KvFolder::status)?;
    let sessions = known(run)?;
    let path = run.places.home.join("kv");
    let size = state::size(&path);
    let free = state::free(&path);
    let quota = folder.map(KvFolder::quota);
    if run.json {
        let mut lines = vec![json!({
            "type": "folder", "path": path.to_string_lossy(), "files": size.files,
            "bytes": size.bytes, "free": free, "quota": quota,
        })];
        lines.extend(as_json(&models, &sessions));
        return output::json::lines(&lines);
    }
    let quota = quota.map_or_else(String::new, |q| format!(", quota {}", bytes(q)));
    let head = format!(
        "{}: {} in {}, {} free on this disk{quota}\n\
         Deleting it costs time and never a message: what is missing is read again.\n",
        path.display(),
        bytes(size.bytes),
        files(size.files),
        free.map_or_else(|| "unknown".to_owned(), bytes),
    );
    output::page(&(head + &listed(&models, &sessions)))
}

/// What starting an owner's session costs, if it is one.
fn cold<'a>(owner: &OwnerStatus, sessions: &'a [KvSession]) -> Option<Cold<'a>> {
    let mine = |k: &&KvSession| Some(kv_owner(k.id)) == owner.owner;
    Some(sessions.iter().find(mine)?.cold(owner.tokens))
}

fn as_json(models: &[ModelStatus], sessions: &[KvSession]) -> Vec<Value> {
    let mut lines = Vec::new();
    for model in models {
        let id = model.hard.hex();
        lines.push(json!({
            "type": "model", "model": id, "facts": model.facts, "segments": model.edges,
            "snapshots": model.nodes, "bytes": model.bytes, "unreached_bytes": model.unreached,
            "merged_bytes": model.merged,
        }));
        for owner in &model.owners {
            let known = cold(owner, sessions);
            lines.push(json!({
                "type": "session", "model": id, "owner": owner.owner,
                "name": known.as_ref().map(|k| k.name), "tokens": owner.tokens,
                "bytes": owner.bytes, "shared_bytes": owner.shared,
                "cold_tokens": known.as_ref().map(|k| k.tokens),
                "cold_seconds": known.and_then(|k| k.seconds),
            }));
        }
    }
    for session in unstored(models, sessions) {
        let cold = session.cold(0);
        lines.push(json!({
            "type": "session", "model": null, "owner": kv_owner(session.id),
            "name": cold.name, "tokens": 0, "bytes": 0, "shared_bytes": 0,
            "cold_tokens": cold.tokens, "cold_seconds": cold.seconds,
        }));
    }
    lines
}

/// Sessions of which nothing is restorable under any model.
fn unstored<'a>(models: &[ModelStatus], sessions: &'a [KvSession]) -> Vec<&'a KvSession> {
    let owners = models.iter().flat_map(|m| &m.owners);
    let stored: HashSet<&String> = owners.filter_map(|o| o.owner.as_ref()).collect();
    let bare = |k: &&KvSession| !stored.contains(&kv_owner(k.id));
    sessions.iter().filter(bare).collect()
}

fn listed(models: &[ModelStatus], sessions: &[KvSession]) -> String {
    let mut text = String::new();
    for model in models.iter().filter(|m| shows(m)) {
        text.push_str(&format!(
            "\n{}: {} in {} segments and {} snapshots",
            harmless::line(&title(model)),
            bytes(model.bytes),
            number(model.edges),
            number(model.nodes),
        ));
        if model.unreached > 0 {
            let unreached = bytes(model.unreached);
            text.push_str(&format!(", {unreached} of no session (`npast kv gc`)"));
        }
        if model.merged > 0 {
            text.push_str(&format!(", {} written by merging", bytes(model.merged)));
        }
        text.push('\n');
        let rows: Vec<Vec<String>> = model
            .owners
            .iter()
            .map(|owner| {
                let known = cold(owner, sessions);
                let name = match (&known, &owner.owner) {
                    (Some(known), _) => known.name.to_owned(),
                    (None, Some(owner)) if owner.starts_with(BASE) => {
                        "(the next session of a folder)".to_owned()
                    }
                    (None, Some(owner)) => format!("{owner} (removed)"),
                    (None, None) => "(not known)".to_owned(),
                };
                vec![
                    name,
                    count(owner.tokens),
                    bytes(owner.bytes),
                    bytes(owner.shared),
                    known.map_or_else(|| "?".to_owned(), |k| k.text()),
                ]
            })
            .collect();
        if !rows.is_empty() {
            let head = ["session", "tokens", "bytes", "shared", "to read at a start"];
            text.push_str(&table(&head, &rows, &[1, 2, 3, 4]));
        }
    }
    let unstored = unstored(models, sessions);
    if !unstored.is_empty() {
        let row = |k: &&KvSession| {
            let cold = k.cold(0);
            vec![cold.name.to_owned(), cold.text()]
        };
        let rows: Vec<Vec<String>> = unstored.iter().map(row).collect();
        text.push_str("\nNothing is stored for:\n");
        text.push_str(&table(&["session", "to read at a start"], &rows, &[1]));
    }
    text
}

fn shows(model: &ModelStatus) -> bool {
    model.edges + model.nodes > 0 || !model.owners.is_empty()
}

/// A model by what a reader may know it by; its name is not among its facts.
fn title(model: &ModelStatus) -> String {
    let known = ["architecture", "memory class", "cache type"];
    let facts = known.iter().filter_map(|name| model.facts[name].as_str());
    let mut words: Vec<&str> = facts.collect();
    let id = &model.hard.hex()[..16];
    words.push(id);
    words.join(" · ")
}

/// Proves every file; the exit code.
pub(super) fn verify(run: &CliContext, folder: Option<&KvFolder>) -> Result<i32, Failure> {
    let verified = folder.map_or_else(|| Ok(Verified::default()), KvFolder::verify)?;
    let code = match verified.bad.is_empty() {
        true => 0,
        false => FAILED,
    };
    if run.json {
        let mut lines: Vec<Value> = verified
            .bad
            .iter()
            .map(|b| json!({"type": "bad", "file": b.file, "reason": b.reason, "aside": b.aside}))
            .collect();
        lines.push(json!({
            "type": "verified", "files": verified.files, "bytes": verified.bytes,
            "bad": verified.bad.len(),
        }));
        output::json::lines(&lines)?;
    } else {
        output::page(&proven(&verified))?;
    }
    Ok(code)
}

fn proven(verified: &Verified) -> String {
    let mut text = String::new();
    for bad in &verified.bad {
        let place = match bad.aside {
            true => "moved to kv/quarantine",
            false => "left where it is",
        };
        text.push_str(&format!("{}: {}; {place}\n", bad.file, bad.reason));
    }
    text.push_str(&format!(
        "{}, {}, as written",
        files(verified.files),
        bytes(verified.bytes)
    ));
    match verified.bad.len() {
        0 => text.push_str(".\n"),
        n => text.push_str(&format!(
            "; {} not. What was in there is read again, nothing else is lost.\n",
            files(n as u64)
        )),
    }
    text
}

fn gc(run: &CliContext, folder: Option<&KvFolder>) -> Result<i32, Failure> {
    let mut all = Collected::default();
    if let Some(folder) = folder {
        all = folder.collect()?;
        // A session may have been removed while its KV could not be reached.
        let sessions = database(run)?.map(|db| db.ids()).transpose()?;
        for owner in removed(&folder.status()?, sessions.as_deref()) {
            let more = folder.forget(&owner, &[])?;
            all.files += more.files;
            all.bytes += more.bytes;
        }
    }
    if run.json {
        let line = json!({"type": "collected", "files": all.files, "bytes": all.bytes});
        return output::json::lines(&[line]);
    }
    output::page(&format!(
        "{} removed, {}.\n",
        files(all.files),
        bytes(all.bytes)
    ))
}

/// Owners that are sessions no more. Without a database nobody can say who is one.
fn removed(models: &[ModelStatus], sessions: Option<&[SessionId]>) -> Vec<String> {
    let Some(sessions) = sessions else {
        return Vec::new();
    };
    let known: HashSet<String> = sessions.iter().map(|id| kv_owner(*id)).collect();
    let owners = models.iter().flat_map(|m| &m.owners);
    let gone: HashSet<&String> = owners
        .filter_map(|o| o.owner.as_ref())
        .filter(|o| o.starts_with("session-") && !known.contains(*o))
        .collect();
    gone.into_iter().cloned().collect()
}

fn files(n: u64) -> String {
    match n {
        1 => "1 file".to_owned(),
        _ => format!("{} files", number(n)),
    }
}

fn number(n: u64) -> String {
    count(usize::try_from(n).unwrap_or(usize::MAX))
}

#[cfg(test)]
#[path = "kv_tests.rs"]
mod tests;
