//! What storing a turn costs, with fsync told apart: the same commits on disk and in a file system
//! that has no disk.

use std::path::{Path, PathBuf};
use std::time::Instant;

use npast::ledger::{Digest, Finish, Token};
use npast::session::{Db, MessageState, ReceiptSums, Session, SessionRecord, Span};
use serde_json::json;

use super::measure::{median, ms};

const RUNS: usize = 25;
/// Tokens of a reply: one commit while it is sampled.
const REPLY: usize = 64;

/// Milliseconds of a turn's commits.
pub struct Stored {
    /// Without fsync.
    pub host: f64,
    /// What fsync adds.
    pub fsync: f64,
}

/// A folder of which the kernel says that it is memory, where there is one.
pub fn memory_folder() -> Option<tempfile::TempDir> {
    let shm = PathBuf::from("/dev/shm");
    shm.is_dir().then(|| tempfile::tempdir_in(shm).ok())?
}

/// A folder on a disk: the build's, since temporary folders are often memory.
pub fn disk_folder() -> tempfile::TempDir {
    let target = std::env::current_exe().ok();
    let beside = target.as_deref().and_then(Path::parent);
    beside
        .and_then(|folder| tempfile::tempdir_in(folder).ok())
        .unwrap_or_else(|| tempfile::tempdir().expect("a writable folder"))
}

/// The commits of a turn on a session with this ledger: the message, a part of the reply, the end.
pub fn commits(ledger: &[Token], text: &str, new: &[Token]) -> Stored {
    let on_disk = median_turn(disk_folder().path(), ledger, text, new);
    let Some(memory) = memory_folder() else {
        println!("(no /dev/shm here: fsync is part of the commits below)");
        return Stored {
            host: on_disk,
            fsync: 0.0,
        };
    };
    let host = median_turn(memory.path(), ledger, text, new);
    Stored {
        host,
        fsync: (on_disk - host).max(0.0),
    }
}

fn median_turn(home: &Path, ledger: &[Token], text: &str, new: &[Token]) -> f64 {
    let mut db = Db::open(&home.join("npast.db")).expect("a database in a writable folder");
    let session = session(&db, ledger);
    let turns = (0..RUNS).map(|_| {
        let begun = Instant::now();
        turn(&mut db, &session, text, new).expect("commits");
        ms(begun)
    });
    median(turns.collect())
}

fn session(db: &Db, ledger: &[Token]) -> Session {
    let digest = Digest::of(b"bench");
    let new = SessionRecord {
        name: "bench",
        folder: "/",
        model: "bench.gguf",
        class: "dense",
        vocab: digest,
        template: digest,
        fingerprint: digest,
        system: None,
        tools: None,
        preface: None,
        head: ledger,
        common: None,
        started_ms: 0,
        seed: 1,
        policy: "exact",
        parent: None,
        runs_tools: false,
        thinking: true,
        shift: false,
    };
    db.create(&new).expect("a session")
}

/// As the agent does it: the message before decoding, the reply while it comes, then its end.
fn turn(db: &mut Db, session: &Session, text: &str, new: &[Token]) -> npast::session::Result<()> {
    let mut unit = db.begin(session.id)?;
    let at = unit.ledger_len();
    let span = |start, end| Span { start, end };
    unit.append_tokens(at, new)?;
    unit.set_pending(0)?;
    let body = json!({"role": "user", "content": text});
    let message = unit.add_message("user", &body, MessageState::Open)?;
    unit.set_span(message, span(at, at + new.len()))?;
    unit.commit()?;

    let reply = [Token(65); REPLY];
    let mut unit = db.begin(session.id)?;
    let at = unit.ledger_len();
    unit.append_tokens(at, &reply)?;
    let body = json!({"role": "assistant", "content": "A".repeat(REPLY)});
    let answer = unit.add_message("assistant", &body, MessageState::Answered)?;
    unit.set_span(answer, span(at, at + REPLY))?;
    unit.set_state(message, MessageState::Answered)?;
    unit.commit()?;

    let mut unit = db.begin(session.id)?;
    unit.set_body(answer, &body)?;
    unit.set_finish(answer, Finish::Length)?;
    unit.set_pending(1)?;
    let receipt = json!({"kind": "turn", "kept": at, "evaluated": new.len(), "miss": null});
    let sums = ReceiptSums {
        calls: 1,
        generated: REPLY as u64,
        ..ReceiptSums::default()
    };
    unit.add_receipt("turn", Some(Finish::Length), &receipt, &sums)?;
    unit.touch(1)?;
    unit.commit()
}
