use super::*;
use crate::ledger::Token;
use crate::session::testing;

fn home() -> tempfile::TempDir {
    tempfile::tempdir().unwrap()
}

#[test]
fn a_connection_that_may_only_read_reads_and_refuses_to_write() {
    let home = home();
    let (db, session) = testing::disk(home.path());
    drop(db);
    let path = home.path().join("npast.db");
    let conn = Connection::open_with_flags(&path, OpenFlags::SQLITE_OPEN_READ_ONLY).unwrap();
    let mut db = Db::with(conn, "npast.db").unwrap();
    assert_eq!(db.ledger(session.id).unwrap().len(), 4);
    assert_eq!(db.list().unwrap().len(), 1);
    assert!(matches!(
        db.create(&testing::new("x")),
        Err(DbError::ReadOnly)
    ));
    assert!(matches!(db.rename(session.id, "x"), Err(DbError::ReadOnly)));
    // Where a reader can take SQLite's write lock, the first write is what fails.
    let refused = match db.begin(session.id) {
        Ok(mut unit) => unit.touch(1).unwrap_err(),
        Err(error) => error,
    };
    assert!(matches!(refused, DbError::ReadOnly), "{refused}");
    assert!(refused.hint().is_some());
}

#[cfg(unix)]
#[test]
fn a_read_only_file_opens_for_reading() {
    use std::os::unix::fs::PermissionsExt;
    let home = home();
    let (db, session) = testing::disk(home.path());
    drop(db);
    let path = home.path().join("npast.db");
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o400)).unwrap();
    if std::fs::OpenOptions::new().write(true).open(&path).is_ok() {
        eprintln!("skipped: this user may write to read-only files");
        return;
    }
    let db = Db::open(&path).unwrap();
    assert_eq!(db.ledger(session.id).unwrap().len(), 4);
    assert!(matches!(db.rename(session.id, "x"), Err(DbError::ReadOnly)));
}

#[test]
fn a_full_disk_is_told_and_costs_nothing_that_was_stored() {
    let home = home();
    let (mut db, session) = testing::disk(home.path());
    // A database that may not grow fails as a full disk does.
    let pages: i64 = db
        .conn
        .pragma_query_value(None, "page_count", |r| r.get(0))
        .unwrap();
    db.conn
        .pragma_update_and_check(None, "max_page_count", pages, |_| Ok(()))
        .unwrap();
    let mut unit = db.begin(session.id).unwrap();
    let error = unit.append_tokens(4, &[Token(0); 100_000]).unwrap_err();
    assert!(matches!(error, DbError::Full), "{error}");
    assert!(matches!(unit.commit(), Err(DbError::Refused { .. })));
    assert_eq!(db.ledger(session.id).unwrap().len(), 4);
    let mut unit = db.begin(session.id).unwrap();
    unit.touch(7).unwrap();
    unit.commit().unwrap();
}

#[test]
fn every_connection_is_set_for_durability() {
    let home = home();
    let (db, _) = testing::disk(home.path());
    let pragma = |name: &str| -> String {
        db.conn
            .query_row(
                &format!("SELECT CAST({name} AS TEXT) FROM pragma_{name}"),
                [],
                |r| r.get(0),
            )
            .unwrap()
    };
    let seen = ["journal_mode", "synchronous", "foreign_keys"].map(pragma);
    assert_eq!(seen, ["wal", "2", "1"]);
}

#[cfg(unix)]
#[test]
fn the_database_and_its_logs_are_private() {
    use std::os::unix::fs::PermissionsExt;
    let home = home();
    let folder = home.path().join("data/npast");
    let (_db, _) = testing::disk(&folder);
    let mode = |path: &Path| path.metadata().unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&folder), 0o700);
    for name in ["npast.db", "npast.db-wal", "npast.db-shm"] {
        assert_eq!(mode(&folder.join(name)), 0o600, "{name}");
    }
}

#[test]
fn a_new_database_can_be_opened_by_many_at_once() {
    let home = home();
    let path = home.path().join("npast.db");
    std::thread::scope(|scope| {
        let all: Vec<_> = (0..8)
            .map(|n| {
                let path = &path;
                scope.spawn(move || {
                    let db = Db::open(path)?;
                    db.create(&testing::new(&format!("s{n}"))).map(|s| s.id)
                })
            })
            .collect();
        for one in all {
            one.join().unwrap().unwrap();
        }
    });
    assert_eq!(Db::open(&path).unwrap().list().unwrap().len(), 8);
}

#[test]
fn a_database_that_cannot_be_made_is_told_with_its_place() {
    let home = home();
    let file = home.path().join("file");
    std::fs::write(&file, "x").unwrap();
    let error = Db::open(&file.join("npast.db")).err().unwrap();
    assert!(error.to_string().contains("file"), "{error}");
    let error = Db::open(home.path()).err().unwrap();
    assert!(error.to_string().contains("cannot open"), "{error}");
}

#[test]
fn a_database_can_be_moved_to_another_thread() {
    fn moves<T: Send>() {}
    moves::<Db>();
}

#[test]
fn an_empty_file_is_said_once_and_its_log_is_kept() {
    let home = home();
    let (db, _) = testing::disk(home.path());
    let path = home.path().join("npast.db");
    // What a full disk or another program leaves: the log of a process that did not end, no database.
    let log = fs::read(home.path().join("npast.db-wal")).unwrap();
    drop(db);
    fs::write(&path, "").unwrap();
    fs::write(home.path().join("npast.db-wal"), &log).unwrap();
    let ear = testing::Ear::here();
    let db = Db::open(&path).unwrap();
    assert_eq!(db.list().unwrap().len(), 0);
    db.create(&testing::new("again")).unwrap();
    drop(db);
    Db::open(&path).unwrap();
    let kept = format!("{}-wal.kept-1", path.display());
    assert_eq!(
        ear.notices(),
        [format!(
            "{} was an empty file, so npast starts without sessions; what its write-ahead log held \
             is kept in {kept}",
            path.display()
        )]
    );
    assert!(log.len() > 1000 && fs::read(kept).unwrap() == log);
}

#[test]
fn a_database_that_is_new_is_nothing_to_speak_of_and_leaves_no_other_file() {
    let home = home();
    let path = home.path().join("npast.db");
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                let ear = testing::Ear::here();
                drop(Db::open(&path).unwrap());
                assert_eq!(ear.notices(), [""; 0]);
            });
        }
    });
    let names = fs::read_dir(home.path()).unwrap().map(|e| e.unwrap());
    let names: Vec<_> = names.map(|e| e.file_name()).collect();
    assert_eq!(names, ["npast.db"]);
}
