//! Folders of sessions: bounded together, removed when nobody needs them, never under somebody's
//! feet.

use std::fs::File;
use std::time::Duration;

use super::*;
use crate::ledger::Digest;
use crate::session::SessionRecord;

const DAY_MS: i64 = 24 * 3600 * 1000;

fn session(db: &Db, name: &str) -> SessionId {
    let new = SessionRecord {
        name,
        folder: "/",
        model: "tiny.gguf",
        class: "dense",
        vocab: Digest::of(b"v"),
        template: Digest::of(b"t"),
        fingerprint: Digest::of(b"f"),
        system: None,
        tools: None,
        preface: None,
        head: &[],
        common: None,
        started_ms: 0,
        seed: 1,
        policy: "exact",
        parent: None,
        thinking: true,
        shift: false,
        runs_tools: true,
    };
    db.create(&new).unwrap().id
}

/// A result of some bytes, so many seconds old.
fn result(home: &Path, id: SessionId, name: &str, bytes: usize, age: u64) {
    let path = open(home, id).unwrap().join(name);
    fs::write(&path, vec![b'x'; bytes]).unwrap();
    let file = File::options().append(true).open(path).unwrap();
    file.set_modified(SystemTime::now() - Duration::from_secs(age))
        .unwrap();
}

fn all(home: &Path) -> Vec<String> {
    let mut all = Vec::new();
    for id in sessions(home) {
        for entry in fs::read_dir(folder(home, id.0)).unwrap().flatten() {
            let name = entry.file_name().into_string().unwrap();
            all.push(format!("{}/{name}", id.0));
        }
    }
    all.sort();
    all
}

#[test]
fn folders_of_sessions_that_are_gone_or_long_unused_go_and_open_ones_stay() {
    let home = tempfile::tempdir().unwrap();
    let home = home.path();
    let db = Db::open(&home.join("npast.db")).unwrap();
    let ids = ["own", "used", "open", "removed", "removed-open"].map(|name| session(&db, name));
    let [own, used, open, removed, removed_open] = ids;
    for id in ids {
        result(home, id, "result-a.txt", 10, 0);
    }
    db.remove(removed).unwrap();
    db.remove(removed_open).unwrap();
    let _open = [open, removed_open].map(|id| Lock::session(home, id).unwrap());
    // What an earlier removal could not finish.
    fs::create_dir_all(home.join("temp/leaving-1/deep")).unwrap();
    fs::create_dir(home.join("temp/process-1-0")).unwrap();
    let now = db.get(used).unwrap().used_ms;
    sweep(home, own, &db, now + 29 * DAY_MS);
    let there = |ids: &[SessionId]| {
        let mut names: Vec<String> = ids.iter().map(|id| format!("session-{}", id.0)).collect();
        names.push("process-1-0".into());
        names.sort();
        names
    };
    let found = || {
        let mut names: Vec<String> = names(home)
            .into_iter()
            .map(|name| name.into_string().unwrap())
            .collect();
        names.sort();
        names
    };
    assert_eq!(found(), there(&[own, used, open, removed_open]));
    sweep(home, own, &db, now + 31 * DAY_MS);
    assert_eq!(found(), there(&[own, open, removed_open]));
    // A clock that was put back removes nothing.
    result(home, used, "result-a.txt", 10, 0);
    sweep(home, own, &db, now - 400 * DAY_MS);
    assert_eq!(found(), there(&[own, used, open, removed_open]));
}

#[test]
fn all_sessions_together_are_bounded_and_the_oldest_results_go_first() {
    let home = tempfile::tempdir().unwrap();
    let home = home.path();
    let [own, first, second, open] = [1, 2, 3, 4].map(SessionId);
    result(home, own, "result-own.txt", 1000, 500);
    result(home, first, "result-old.txt", 1000, 400);
    result(home, second, "output-middle.txt", 1000, 300);
    result(home, first, "result-new.txt", 1000, 200);
    result(home, first, "core", 2000, 100);
    result(home, open, "result-open.txt", 1000, 900);
    let _open = Lock::session(home, open).unwrap();
    let beside = OtherFolders {
        home: home.to_owned(),
        own,
        most: 8000,
    };
    // 6,000 bytes are elsewhere.
    assert_eq!(beside.room(1000, 1000), 2000);
    assert_eq!(all(home).len(), 6);
    assert_eq!(beside.room(1000, 1500), 3000);
    assert_eq!(beside.room(1000, 2500), 4000);
    assert_eq!(
        all(home),
        [
            "1/result-own.txt",
            "2/core",
            "2/result-new.txt",
            "4/result-open.txt"
        ]
    );
    // At last what programs left, and never what another process has open, nor this one's own.
    assert_eq!(beside.room(1000, 6000), 7000);
    assert_eq!(beside.room(1000, 9000), 7000);
    assert_eq!(all(home), ["1/result-own.txt", "4/result-open.txt"]);
    assert!(Lock::session(home, first).is_ok(), "locks are let go");
}

#[cfg(unix)]
#[test]
fn a_folder_is_private_and_removed_whole() {
    use std::os::unix::fs::PermissionsExt;
    let home = tempfile::tempdir().unwrap();
    let temp = open(home.path(), SessionId(7)).unwrap();
    for folder in [&temp, &home.path().join("temp")] {
        let mode = folder.metadata().unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o700);
    }
    fs::create_dir_all(temp.join("cache/deep")).unwrap();
    fs::write(temp.join("cache/deep/file"), "x").unwrap();
    std::os::unix::fs::symlink(home.path(), temp.join("link")).unwrap();
    remove(home.path(), 7).unwrap();
    remove(home.path(), 7).unwrap();
    assert_eq!(names(home.path()), Vec::<OsString>::new());
}

#[test]
fn what_programs_left_is_trimmed_before_they_run_again_oldest_first() {
    let home = tempfile::tempdir().unwrap();
    let id = SessionId(1);
    for (name, age) in [("old", 300), ("result-a.txt", 200), ("new", 100)] {
        result(home.path(), id, name, 1000, age);
    }
    let temp = folder(home.path(), 1);
    trim(&temp, 3000);
    assert_eq!(all(home.path()).len(), 3);
    trim(&temp, 2500);
    assert_eq!(all(home.path()), ["1/new", "1/result-a.txt"]);
}
