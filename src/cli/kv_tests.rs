use super::super::sessions;
use super::super::sessions::tests::{at, store};
use super::*;
use crate::kv::{BadFile, Fingerprint, PutSegment, Store};
use crate::ledger::{RunningDigest, Token};
use crate::session::{ReceiptSums, Session};

fn print() -> Fingerprint {
    let facts = json!({"architecture": "toy", "memory class": "dense", "cache type": "f16"});
    Fingerprint::new(facts, json!({}))
}

/// Stores KV of some tokens for a session, who begins with tokens 1 and 2.
fn save(home: &Path, session: &Session, own: &[i32]) {
    let kv = Store::open(&home.join("kv"), print(), StoreLimits::default()).unwrap();
    let tokens: Vec<Token> = [1, 2].iter().chain(own).map(|t| Token(*t)).collect();
    let digest = |at: usize| {
        let mut running = RunningDigest::new(print().hard);
        running.extend(&tokens[..at]);
        running.digest()
    };
    for (p0, p1) in [(0, 2), (2, tokens.len())] {
        if p0 < p1 {
            kv.put_segment(PutSegment {
                from: digest(p0),
                to: digest(p1),
                p0,
                p1,
                tokens: tokens[p0..p1].to_vec(),
                payload: vec![7; 100 * (p1 - p0)],
            });
        }
    }
    kv.pin(&kv_owner(session.id), digest(tokens.len()));
}

fn told(run: &CliContext, command: KvCommand) -> Result<i32, Failure> {
    let kv_quota = None;
    let command = Some(command);
    super::run(run, &KvArgs { command, kv_quota }, None)
}

fn models(run: &CliContext) -> Vec<ModelStatus> {
    open(&run.places.home, None)
        .unwrap()
        .unwrap()
        .status()
        .unwrap()
}

#[test]
fn without_a_folder_every_subcommand_is_done_and_makes_none() {
    let dir = tempfile::tempdir().unwrap();
    let run = at(dir.path());
    for command in [
        KvCommand::Status,
        KvCommand::Verify(Box::default()),
        KvCommand::Gc,
    ] {
        assert_eq!(told(&run, command), Ok(0));
    }
    assert!(!dir.path().join("kv").exists());
}

#[test]
fn status_names_sessions_and_says_what_a_start_would_read() {
    let dir = tempfile::tempdir().unwrap();
    let run = at(dir.path());
    let (a, b) = (store(dir.path(), "work"), store(dir.path(), "play"));
    save(dir.path(), &a, &[3, 4]);
    save(dir.path(), &b, &[]);
    // Twenty milliseconds a token, as far as the receipts of one of them say.
    let mut db = Db::open(&dir.path().join("npast.db")).unwrap();
    let mut unit = db.begin(a.id).unwrap();
    for (evaluated, prefill) in [(90, 1900.0), (10, 100.0)] {
        let receipt = json!({"evaluated": evaluated, "ms": {"prefill": prefill}});
        unit.add_receipt("turn", None, &receipt, &ReceiptSums::default())
            .unwrap();
    }
    unit.add_receipt("turn", None, &json!({"kept": 3}), &ReceiptSums::default())
        .unwrap();
    unit.commit().unwrap();
    let mut sessions = known(&run).unwrap();
    sessions.retain(|k| k.id == a.id);
    let c = store(dir.path(), "bare");
    let all = known(&run).unwrap();
    sessions.extend(all.into_iter().filter(|k| k.id == c.id));
    // The ledger went on, its KV did not.
    sessions[0].tokens = 1009;
    let text = listed(&models(&run), &sessions);
    let id = &print().hard.hex()[..16];
    assert_eq!(
        text,
        format!(
            "\ntoy · dense · f16 · {id}: 928 B in 2 segments and 0 snapshots\n\
             session              tokens  bytes  shared    to read at a start\n\
             work                      4  928 B   464 B  1,005 (about 20.1 s)\n\
             session-2 (removed)       2  464 B   464 B                     ?\n\
             \nNothing is stored for:\n\
             session  to read at a start\n\
             bare                      2\n"
        )
    );
    let lines = as_json(&models(&run), &sessions);
    assert_eq!(lines.len(), 4);
    assert_eq!(lines[3]["name"], "bare");
    assert_eq!(lines[3]["cold_tokens"], 2);
    assert_eq!(lines[1]["name"], "work");
    assert_eq!(lines[1]["cold_tokens"], 1005);
    assert_eq!(lines[1]["cold_seconds"], 20.1);
    assert_eq!(lines[3]["cold_seconds"], Value::Null);
    assert_eq!(lines[0]["merged_bytes"], 0);
    assert_eq!(lines[2]["owner"], "session-2");
    assert_eq!(lines[2]["cold_tokens"], Value::Null);
}

#[test]
fn a_removed_session_leaves_no_kv_that_nobody_else_shares() {
    let dir = tempfile::tempdir().unwrap();
    let run = at(dir.path());
    let (a, b) = (store(dir.path(), "work"), store(dir.path(), "play"));
    save(dir.path(), &a, &[3, 4]);
    save(dir.path(), &b, &[5]);
    let rm = |name: &str| {
        sessions::run(&run, &sessions::tests::sessions(sessions::tests::rm(name))).unwrap()
    };
    rm("work");
    let left = models(&run);
    assert_eq!((left[0].edges, left[0].unreached), (2, 0));
    assert_eq!(left[0].owners[0].owner, Some(kv_owner(b.id)));
    rm("play");
    assert_eq!(models(&run)[0].edges, 0);
}

#[test]
fn gc_removes_the_kv_of_sessions_that_are_gone_but_not_without_a_database() {
    let dir = tempfile::tempdir().unwrap();
    let run = at(dir.path());
    let (a, b) = (store(dir.path(), "work"), store(dir.path(), "play"));
    save(dir.path(), &a, &[3, 4]);
    save(dir.path(), &b, &[5]);
    Db::open(&run.places.db()).unwrap().remove(a.id).unwrap();
    let db = run.places.db();
    let hidden = dir.path().join("hidden.db");
    std::fs::rename(&db, &hidden).unwrap();
    assert_eq!(told(&run, KvCommand::Gc), Ok(0));
    assert_eq!(models(&run)[0].edges, 3);
    std::fs::rename(&hidden, &db).unwrap();
    assert_eq!(told(&run, KvCommand::Gc), Ok(0));
    assert_eq!(models(&run)[0].edges, 2);
}

#[test]
fn gc_beside_a_running_process_is_refused_with_a_hint() {
    let dir = tempfile::tempdir().unwrap();
    let run = at(dir.path());
    save(dir.path(), &store(dir.path(), "work"), &[3]);
    let _running = Store::open(&dir.path().join("kv"), print(), StoreLimits::default()).unwrap();
    let refused = told(&run, KvCommand::Gc).unwrap_err();
    assert_eq!(refused.message, "another npast is using the KV folder");
    assert_eq!(refused.exit, FAILED);
    assert_eq!(told(&run, KvCommand::Status), Ok(0));
    assert_eq!(told(&run, KvCommand::Verify(Box::default())), Ok(0));
}

#[test]
fn verify_names_what_is_damaged_and_exits_with_1_once() {
    let dir = tempfile::tempdir().unwrap();
    let run = at(dir.path());
    save(dir.path(), &store(dir.path(), "work"), &[3]);
    assert_eq!(told(&run, KvCommand::Verify(Box::default())), Ok(0));
    let model = dir.path().join("kv/v1").join(&print().hard.hex()[..16]);
    let file = std::fs::read_dir(model)
        .unwrap()
        .map(|e| e.unwrap().path())
        .find(|p| p.extension().is_some_and(|e| e == "edge"))
        .unwrap();
    let mut bytes = std::fs::read(&file).unwrap();
    bytes[300] ^= 1;
    std::fs::write(&file, bytes).unwrap();
    assert_eq!(told(&run, KvCommand::Verify(Box::default())), Ok(FAILED));
    assert_eq!(told(&run, KvCommand::Verify(Box::default())), Ok(0));

    let verified = Verified {
        files: 1,
        bytes: 2048,
        bad: vec![BadFile {
            file: "v1/x/y.edge".to_owned(),
            reason: "it is cut short".to_owned(),
            aside: true,
        }],
    };
    assert_eq!(
        proven(&verified),
        "v1/x/y.edge: it is cut short; moved to kv/quarantine\n\
         1 file, 2.0 KiB, as written; 1 file not. \
         What was in there is read again, nothing else is lost.\n"
    );
}
