//! Writing: only where it may, whole or not at all.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};

use super::super::testing::{Place, names};
use super::*;

fn write(place: &Place, path: &str, content: &str) -> ToolAnswer {
    place.call("write_file", json!({"path": path, "content": content}))
}

#[test]
fn a_file_is_made_with_its_folders_and_replaced_with_its_mode() {
    let place = Place::new();
    assert_eq!(
        write(&place, "a/b/c.txt", "one\ntwo\n"),
        ToolAnswer::good("a/b/c.txt made: 2 lines, 8 bytes.")
    );
    let path = place.project().join("a/b/c.txt");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o750)).unwrap();
    let before = path.metadata().unwrap().ino();
    assert_eq!(
        write(&place, "a/b/c.txt", ""),
        ToolAnswer::good("a/b/c.txt replaced: 0 lines, 0 bytes.")
    );
    let after = path.metadata().unwrap();
    assert_eq!((after.len(), after.mode() & 0o777), (0, 0o750));
    assert_ne!(
        after.ino(),
        before,
        "a reader has the old file or the new one"
    );
    assert_eq!(names(path.parent().unwrap()), ["c.txt"]);
}

#[test]
fn nothing_is_written_outside_of_the_project_by_any_way() {
    let mut place = Place::new();
    let home = place.base().join("home");
    fs::write(home.join("file"), "theirs").unwrap();
    symlink(&home, place.project().join("dir")).unwrap();
    symlink(home.join("file"), place.project().join("file")).unwrap();
    symlink(home.join("new"), place.project().join("new")).unwrap();
    place.file(".git/config", "mine");
    place.secret.close(&place.project().join("keys"));
    let outside = |path: &str| {
        format!(
            "BASE/{path} is outside of the project BASE/project: files can be written only in it \
             and in BASE/temp."
        )
    };
    let git = |path: &str| format!("{path} belongs to git: change it with git commands.");
    let table = [
        ("../home/file", outside("home/file")),
        ("dir/file", outside("home/file")),
        ("dir/made/deep", outside("home/made/deep")),
        ("a/../../home/file", outside("home/file")),
        ("file", outside("home/file")),
        ("..", outside("")),
        (".", outside("project")),
        (
            "new",
            "new is a link that leads nowhere: No such file or directory (os error 2).".into(),
        ),
        (".git/hooks/pre-commit", git(".git/hooks/pre-commit")),
        (".GIT/config", git(".GIT/config")),
        ("sub/.git/config", git("sub/.git/config")),
        ("x/", "x is named like a folder: give a file's name.".into()),
        (
            "keys/id",
            "BASE/project/keys/id holds keys, other programs' secrets or npast's own state: no \
             tool may touch it."
                .into(),
        ),
    ];
    for (path, sentence) in table {
        let sentence = sentence.replace("BASE/ ", "BASE ");
        assert_eq!(
            write(&place, path, "mine"),
            ToolAnswer::bad(sentence),
            "{path}"
        );
    }
    let absolute = home.join("file").to_string_lossy().into_owned();
    assert_eq!(
        write(&place, &absolute, "x"),
        ToolAnswer::bad(outside("home/file"))
    );
    assert_eq!(fs::read_to_string(home.join("file")).unwrap(), "theirs");
    assert_eq!(names(&home), ["file"]);
    assert_eq!(place.read(".git/config"), "mine");
}

#[test]
fn links_inside_of_the_project_are_followed_and_stay() {
    let place = Place::new();
    let real = place.file("real/file", "old");
    let link = place.project().join("link");
    symlink(&real, &link).unwrap();
    assert_eq!(
        write(&place, "link", "new"),
        ToolAnswer::good("real/file replaced: 1 line, 3 bytes.")
    );
    assert!(link.symlink_metadata().unwrap().is_symlink());
    assert_eq!(place.read("real/file"), "new");
    let temp = place.temp().join("draft").to_string_lossy().into_owned();
    assert_eq!(
        write(&place, &temp, "x"),
        ToolAnswer::good("BASE/temp/draft made: 1 line, 1 byte.")
    );
}

/// The race itself: between the check and the use a folder becomes a link out of the project.
#[test]
fn a_folder_that_becomes_a_link_after_the_check_is_not_followed() {
    let place = Place::new();
    let home = place.base().join("home");
    fs::write(home.join("file"), "theirs").unwrap();
    let checked = place.file("dir/file", "mine");
    fs::rename(place.project().join("dir"), place.project().join("moved")).unwrap();
    symlink(&home, place.project().join("dir")).unwrap();
    let said = place::replace(&checked, "dir/file", b"evil", None, None).unwrap_err();
    assert!(said.ends_with("Nothing was changed."), "{said}");
    assert!(place::open(&checked, "dir/file").is_err());
    assert_eq!(fs::read_to_string(home.join("file")).unwrap(), "theirs");
    assert_eq!(names(&home), ["file"]);
    // And the file itself.
    let file = place.project().join("moved/file");
    fs::remove_file(&file).unwrap();
    symlink(home.join("file"), &file).unwrap();
    assert_eq!(
        place::replace(&file, "moved/file", b"evil", None, None).unwrap_err(),
        "moved/file is no regular file: it cannot be replaced."
    );
    assert_eq!(
        place::open(&file, "moved/file").unwrap_err(),
        "moved/file became a link meanwhile."
    );
    assert_eq!(fs::read_to_string(home.join("file")).unwrap(), "theirs");
}

#[test]
fn what_cannot_be_written_stays_as_it_is() {
    let place = Place::new();
    let path = place.file("locked", "old");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o444)).unwrap();
    place.file("dir/x", "");
    assert_eq!(
        write(&place, "locked", "new"),
        ToolAnswer::bad(
            "locked is read-only. Nothing was changed; chmod it first if that is right."
        )
    );
    assert_eq!(
        write(&place, "dir", "new"),
        ToolAnswer::bad("dir is a folder.")
    );
    assert_eq!(
        write(&place, "locked/deeper", "new"),
        ToolAnswer::bad("locked/deeper: a part of this path is a file. Nothing was changed.")
    );
    let long = "n".repeat(300);
    let said = write(&place, &long, "new");
    assert!(
        !said.ok && said.text.contains("File name too long"),
        "{said:?}"
    );
    assert_eq!(place.read("locked"), "old");
    assert_eq!(names(&place.project()), ["dir", "locked"]);
}

/// Before somebody is asked: what would be written, and nothing is.
#[test]
fn what_a_call_would_do_is_known_before_it_does_it() {
    let place = Place::new();
    place.file("there", "old\n");
    place.file("dir/x", "");
    let foreseen = |tool: &str, arguments: serde_json::Value| {
        let tool = place.registry.get(tool).unwrap();
        let change = place.room(None, |room| tool.foresee(&arguments, room));
        change.map(|change| change.map(|change| change.diff()))
    };
    let change = foreseen("write_file", json!({"path": "there", "content": "new\n"}));
    let change = change.unwrap().unwrap();
    assert_eq!(change.diff, "@@ -1 +1 @@\n-old\n+new\n");
    assert_eq!((&*change.file, change.made), ("there", false));
    let made = foreseen("write_file", json!({"path": "made", "content": "new\n"}));
    assert!(made.unwrap().unwrap().made);
    let edit = json!({"path": "there", "old": "old", "new": "older"});
    let change = foreseen("edit_file", edit).unwrap().unwrap();
    assert_eq!(change.diff, "@@ -1 +1 @@\n-old\n+older\n");
    let refused = [
        ("write_file", json!({"path": "dir", "content": ""})),
        ("write_file", json!({"path": "../home/x", "content": ""})),
        ("write_file", json!({"path": ".git/config", "content": ""})),
        (
            "edit_file",
            json!({"path": "there", "old": "not there", "new": ""}),
        ),
    ];
    for (tool, arguments) in refused {
        assert!(foreseen(tool, arguments.clone()).is_err(), "{arguments}");
    }
    assert_eq!(place.read("there"), "old\n");
    assert!(!place.project().join("made").exists());
}

/// What is the same whatever files there are can be said to everybody.
#[test]
fn a_foreseen_refusal_knows_whether_it_tells_of_a_file() {
    let mut place = Place::new();
    place.guard();
    place.file("there", "old\n");
    place.file("dir/x", "");
    symlink(place.base().join("home"), place.project().join("link")).unwrap();
    let home = place.base().join("home/x");
    let key = place.base().join("home/.ssh/id");
    let edit = |path: &str, old: &str| json!({"path": path, "old": old, "new": "new"});
    let write = |path: &str| json!({"path": path, "content": ""});
    let table = [
        ("edit_file", edit("there", "not there"), true),
        ("edit_file", edit("missing", "x"), true),
        ("edit_file", edit("dir", "x"), true),
        ("write_file", write("dir"), true),
        ("write_file", write("there/x/../../link/x"), true),
        ("write_file", write("link/x"), true),
        ("write_file", write("link/.ssh/id"), true),
        ("read_file", json!({"path": "link/.ssh/id"}), true),
        ("write_file", write(&home.to_string_lossy()), false),
        ("edit_file", edit("../home/x", "x"), false),
        ("write_file", write(".git/config"), false),
        ("write_file", write("~/x"), false),
        ("read_file", json!({"path": key}), false),
        ("search", json!({"path": key, "pattern": "x"}), false),
    ];
    for (tool, arguments, want) in table {
        let tool = place.registry.get(tool).unwrap();
        let refusal = place.room(None, |room| tool.foresee(&arguments, room).unwrap_err());
        assert_eq!(refusal.tells_of_file(), want, "{arguments} {refusal:?}");
    }
}
