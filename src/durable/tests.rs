//! Replacing a file: every step fails once, and every step is the last of a process once. Some tests
//! run themselves as a second process, since a umask, a limit and an end are the whole process's.

use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::PathBuf;
use std::process::Command;
use std::sync::Mutex;

use super::*;

/// Of a second process: the folder that it works in, and what it does.
const FOLDER: &str = "NPAST_TEST_DURABLE";
const STEP: &str = "NPAST_TEST_DURABLE_STEP";

const STEPS: [ReplaceStep; 6] = [
    ReplaceStep::Create,
    ReplaceStep::Attributes,
    ReplaceStep::Write,
    ReplaceStep::Sync,
    ReplaceStep::Replace,
    ReplaceStep::SyncFolder,
];

const NEW: &[u8] = b"the new content";

fn names(folder: &Path) -> Vec<String> {
    let all = fs::read_dir(folder).unwrap();
    let mut names: Vec<String> = all
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

fn mode(path: &Path) -> u32 {
    path.metadata().unwrap().mode() & 0o7777
}

fn replace_by(
    path: &Path,
    bytes: &[u8],
    attributes: Attributes,
    before: StepCheck<'_>,
) -> Result<(), ReplaceError> {
    Replacement::write_by(
        ReplacedFile::at(path, Links::Follow)?,
        bytes,
        attributes,
        before,
    )?
    .commit_by(before)
}

/// Runs one of these tests as a second process, behind what a shell does first.
fn second(test: &str, folder: &Path, step: &str, first: &str) -> std::process::Output {
    let name = format!("durable::tests::{test}");
    Command::new("sh")
        .args([
            "-c",
            &format!("{first}; exec \"$0\" --exact {name} --nocapture"),
        ])
        .arg(std::env::current_exe().unwrap())
        .env(FOLDER, folder)
        .env(STEP, step)
        .output()
        .unwrap()
}

/// The folder of a second process, and what it is to do.
fn of_second() -> Option<(PathBuf, String)> {
    let folder = std::env::var_os(FOLDER)?;
    Some((folder.into(), std::env::var(STEP).unwrap()))
}

/// Runs `work` as somebody who is not root and owns nothing; in a thread of its own, because the
/// kernel keeps who one is for each thread.
#[cfg(target_os = "linux")]
fn as_nobody(work: impl FnOnce() + Send) {
    let root = rustix::process::geteuid().is_root();
    std::thread::scope(|scope| {
        let work = scope.spawn(move || {
            if root {
                rustix::thread::set_thread_groups(&[]).unwrap();
                let (user, group) = (Uid::from_raw(4242), rustix::fs::Gid::from_raw(4242));
                rustix::thread::set_thread_res_gid(group, group, group).unwrap();
                rustix::thread::set_thread_res_uid(user, user, user).unwrap();
            }
            work();
        });
        work.join().unwrap();
    });
}
#[cfg(target_os = "linux")]
use rustix::fs::Uid;

fn open_to_all(folder: &Path) {
    fs::set_permissions(folder, fs::Permissions::from_mode(0o777)).unwrap();
}

#[test]
fn a_step_that_fails_leaves_the_old_file_whole_and_no_draft() {
    for attributes in [Attributes::Private, Attributes::Kept] {
        for failing in STEPS {
            for old in [None, Some("old")] {
                let home = tempfile::tempdir().unwrap();
                let path = home.path().join("file");
                if let Some(old) = old {
                    fs::write(&path, old).unwrap();
                }
                let error = replace_by(&path, NEW, attributes, &|step| match step == failing {
                    true => Err(io::Error::other("injected")),
                    false => Ok(()),
                })
                .unwrap_err();
                let case = format!("{attributes:?} {failing:?} {old:?}: {error}");
                let there = fs::read(&path).ok();
                if failing == ReplaceStep::SyncFolder {
                    assert!(matches!(error, ReplaceError::Unsynced(_)), "{case}");
                    assert_eq!(there.as_deref(), Some(NEW), "{case}");
                } else {
                    assert!(matches!(error, ReplaceError::Unchanged(_)), "{case}");
                    assert_eq!(there, old.map(|old| old.as_bytes().to_vec()), "{case}");
                }
                let left = if path.exists() { vec!["file"] } else { vec![] };
                assert_eq!(names(home.path()), left, "{case}");
            }
        }
    }
}

/// The process ends at each step without a chance to clean up.
#[test]
fn a_process_that_ends_at_any_step_leaves_the_old_file_or_the_new_one() {
    const TEST: &str = "a_process_that_ends_at_any_step_leaves_the_old_file_or_the_new_one";
    if let Some((folder, last)) = of_second() {
        let end = |step: ReplaceStep| match format!("{step:?}") == last {
            true => std::process::exit(42),
            false => Ok(()),
        };
        replace_by(&folder.join("file"), NEW, Attributes::Kept, &end).unwrap();
        return;
    }
    for step in STEPS {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("file");
        fs::write(&path, "old").unwrap();
        let ran = second(TEST, home.path(), &format!("{step:?}"), "true");
        assert_eq!(ran.status.code(), Some(42), "{step:?}: {ran:?}");
        let want = match step {
            ReplaceStep::SyncFolder => NEW,
            _ => b"old",
        };
        assert_eq!(fs::read(&path).unwrap(), want, "{step:?}");
        // What a dead process left is in nobody's way.
        replace(&path, b"later", Attributes::Kept, Links::Refuse).unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"later");
    }
}

/// A reader that opens a draft must not see more than a reader of the file may.
#[test]
fn modes_are_right_under_any_umask_and_before_the_first_byte() {
    const TEST: &str = "modes_are_right_under_any_umask_and_before_the_first_byte";
    if let Some((folder, _)) = of_second() {
        let seen = Mutex::new(Vec::new());
        let look = |step: ReplaceStep| {
            if step == ReplaceStep::Write {
                let all = names(&folder);
                let draft = all.iter().find(|name| name.ends_with(".tmp")).unwrap();
                let facts = folder.join(draft).metadata().unwrap();
                assert_eq!(facts.len(), 0);
                seen.lock().unwrap().push(facts.mode() & 0o7777);
            }
            Ok(())
        };
        for (name, attributes) in [
            ("private", Attributes::Private),
            ("was-open", Attributes::Private),
            ("new", Attributes::Kept),
            ("kept", Attributes::Kept),
        ] {
            let path = folder.join(name);
            replace_by(&path, NEW, attributes, &look).unwrap();
            assert_eq!(seen.lock().unwrap().last(), Some(&mode(&path)), "{name}");
        }
        return;
    }
    for (umask, new) in [("000", 0o666), ("077", 0o600), ("022", 0o644)] {
        let home = tempfile::tempdir().unwrap();
        let file = |name: &str, mode: u32| {
            let path = home.path().join(name);
            fs::write(&path, "old").unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        };
        file("was-open", 0o644);
        file("kept", 0o2754);
        let ran = second(TEST, home.path(), "", &format!("umask {umask}"));
        assert!(ran.status.success(), "{ran:?}");
        let modes =
            ["private", "was-open", "new", "kept"].map(|name| mode(&home.path().join(name)));
        assert_eq!(modes, [0o600, 0o600, new, 0o2754], "umask {umask}");
    }
}

#[cfg(target_os = "linux")]
#[test]
fn owner_group_bits_and_extended_attributes_stay() {
    let home = tempfile::tempdir().unwrap();
    let path = home.path().join("file");
    fs::write(&path, "old").unwrap();
    let root = rustix::process::geteuid().is_root();
    if root {
        std::os::unix::fs::chown(&path, Some(1234), Some(5678)).unwrap();
    }
    fs::set_permissions(&path, fs::Permissions::from_mode(0o2775)).unwrap();
    let file = File::open(&path).unwrap();
    let set = |name: &str, value: &[u8]| {
        rustix::fs::fsetxattr(&file, name, value, rustix::fs::XattrFlags::empty())
    };
    // Not every file system has them.
    let tried = set("user.origin", b"a\0b").is_ok() && set("user.empty", b"").is_ok();
    let was = path.metadata().unwrap();
    for attributes in [Attributes::Kept, Attributes::Private] {
        replace(&path, NEW, attributes, Links::Refuse).unwrap();
        let is = path.metadata().unwrap();
        assert_ne!(is.ino(), was.ino(), "it is a new file");
        assert_eq!(
            (is.uid(), is.gid()),
            (was.uid(), was.gid()),
            "{attributes:?}"
        );
        if attributes == Attributes::Kept {
            assert_eq!(is.mode(), was.mode());
            let mut value = [0; 8];
            let length = rustix::fs::getxattr(&path, "user.origin", &mut value[..]);
            assert_eq!(
                length.ok().map(|n| &value[..n]),
                tried.then_some(&b"a\0b"[..])
            );
            let empty = rustix::fs::getxattr(&path, "user.empty", &mut value[..]);
            assert_eq!(empty.ok(), tried.then_some(0));
        }
    }
    assert_eq!(mode(&path), 0o600);
}

/// A colleague's file that one may write: its owner cannot be given to a new file.
#[cfg(target_os = "linux")]
#[test]
fn a_file_whose_owner_cannot_be_kept_is_written_in_place() {
    if !rustix::process::geteuid().is_root() {
        return;
    }
    let home = tempfile::tempdir().unwrap();
    open_to_all(home.path());
    let path = home.path().join("file");
    fs::write(&path, "the old content, which is longer than the new").unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o666)).unwrap();
    let was = path.metadata().unwrap();
    as_nobody(|| replace(&path, NEW, Attributes::Kept, Links::Refuse).unwrap());
    let is = path.metadata().unwrap();
    assert_eq!(
        (is.ino(), is.uid(), is.gid(), is.mode()),
        (was.ino(), 0, 0, was.mode())
    );
    assert_eq!(fs::read(&path).unwrap(), NEW);
    assert_eq!(names(home.path()), ["file"]);

    // Until the first byte nothing has happened; later the draft is all that there is.
    for (failing, torn) in [
        (ReplaceStep::Sync, false),
        (ReplaceStep::Replace, false),
        (ReplaceStep::InPlace, true),
    ] {
        as_nobody(|| {
            let error = replace_by(
                &path,
                b"other",
                Attributes::Kept,
                &|step| match step == failing {
                    true => Err(io::Error::other("injected")),
                    false => Ok(()),
                },
            )
            .unwrap_err();
            match error {
                ReplaceError::Torn { draft, .. } if torn => {
                    assert_eq!(fs::read(home.path().join(&draft)).unwrap(), b"other");
                    fs::remove_file(home.path().join(draft)).unwrap();
                }
                ReplaceError::Unchanged(_) if !torn => {}
                error => panic!("{failing:?}: {error:?}"),
            }
        });
        assert_eq!(names(home.path()), ["file"]);
    }
    // One that may not be written is not replaced behind its owner's back.
    fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
    as_nobody(|| {
        let error = replace(&path, NEW, Attributes::Kept, Links::Refuse).unwrap_err();
        assert!(
            matches!(&error, ReplaceError::Unchanged(e) if e.kind() == io::ErrorKind::PermissionDenied),
            "{error}"
        );
    });
    assert_eq!(names(home.path()), ["file"]);
}

#[cfg(target_os = "linux")]
#[test]
fn a_folder_that_may_not_be_written_is_an_error_and_one_that_may_not_be_read_is_none() {
    let home = tempfile::tempdir().unwrap();
    let folder = home.path().join("folder");
    fs::create_dir(&folder).unwrap();
    let path = folder.join("file");
    fs::write(&path, "old").unwrap();
    open_to_all(home.path());
    for (mode, works) in [(0o555, false), (0o333, true)] {
        fs::set_permissions(&path, fs::Permissions::from_mode(0o666)).unwrap();
        fs::set_permissions(&folder, fs::Permissions::from_mode(mode)).unwrap();
        as_nobody(|| {
            let done = replace(&path, NEW, Attributes::Private, Links::Refuse);
            assert_eq!(done.is_ok(), works, "{mode:o}: {done:?}");
        });
        fs::set_permissions(&folder, fs::Permissions::from_mode(0o755)).unwrap();
        let want: &[u8] = if works { NEW } else { b"old" };
        assert_eq!(fs::read(&path).unwrap(), want);
        assert_eq!(names(&folder), ["file"]);
    }
}

#[test]
fn a_disk_that_is_full_leaves_the_old_file_whole_and_no_draft() {
    const TEST: &str = "a_disk_that_is_full_leaves_the_old_file_whole_and_no_draft";
    if let Some((folder, _)) = of_second() {
        let path = folder.join("file");
        fs::write(&path, "old").unwrap();
        for attributes in [Attributes::Private, Attributes::Kept] {
            let large = vec![b'x'; 1 << 20];
            let error = replace(&path, &large, attributes, Links::Follow).unwrap_err();
            assert!(matches!(error, ReplaceError::Unchanged(_)), "{error:?}");
            assert_eq!(fs::read(&path).unwrap(), b"old");
            assert_eq!(names(&folder), ["file"]);
        }
        println!("\ntried");
        return;
    }
    let home = tempfile::tempdir().unwrap();
    let tried = |first: &str| {
        let ran = second(TEST, home.path(), "", first);
        assert!(ran.status.success(), "{first}: {ran:?}");
        String::from_utf8_lossy(&ran.stdout).contains("\ntried")
    };
    assert!(tried("trap '' XFSZ; ulimit -f 64"));
    // A small disk, where this user can mount one.
    tried(&format!(
        "unshare -m true 2>/dev/null || exit 0; \
         exec unshare -m sh -c 'mount -t tmpfs -o size=128k none \"$1\" || exit 0; shift; exec \"$@\"' - \
         '{}' \"$0\" --exact durable::tests::{TEST} --nocapture",
        home.path().display()
    ));
}

#[test]
fn a_link_is_followed_or_refused_and_stays() {
    let home = tempfile::tempdir().unwrap();
    let at = |name: &str| home.path().join(name);
    fs::create_dir(at("real")).unwrap();
    fs::write(at("real/file"), "old").unwrap();
    symlink("real/file", at("link")).unwrap();
    symlink("nowhere", at("lost")).unwrap();
    symlink("real", at("folder")).unwrap();
    let write = |name: &str, links| replace(&at(name), NEW, Attributes::Private, links);
    assert!(write("link", Links::Refuse).is_err());
    assert!(write("lost", Links::Refuse).is_err() && write("lost", Links::Follow).is_err());
    assert!(write("real", Links::Refuse).is_err());
    assert_eq!(fs::read(at("real/file")).unwrap(), b"old");
    write("link", Links::Follow).unwrap();
    assert_eq!(fs::read_link(at("link")).unwrap(), Path::new("real/file"));
    assert_eq!(fs::read(at("real/file")).unwrap(), NEW);
    write("folder/other", Links::Refuse).unwrap();
    assert_eq!(names(&at("real")), ["file", "other"]);
    assert_eq!(names(home.path()), ["folder", "link", "lost", "real"]);
}
