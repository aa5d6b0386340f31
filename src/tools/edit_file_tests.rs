//! Editing: exactly what was meant, and a useful answer where it was not.

use std::fs;

use proptest::prelude::*;

use super::super::testing::{Place, names};
use super::*;

const CODE: &str =
    "fn main() {\n    let x = 1;\n    print(x);\n}\n\nfn other() {\n    print(x);\n}\n";

fn place() -> Place {
    let place = Place::new();
    place.file("a.rs", CODE);
    place
}

fn edit_it(place: &Place, old: &str, new: &str) -> Answer {
    place.call("edit_file", json!({"path": "a.rs", "old": old, "new": new}))
}

/// A file that colleagues share by its group, and one that was marked by somebody.
#[cfg(target_os = "linux")]
#[test]
fn owner_group_bits_and_extended_attributes_of_a_file_stay() {
    use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
    let place = Place::new();
    let root = rustix::process::geteuid().is_root();
    for (tool, arguments) in [
        ("edit_file", json!({"path": "file", "old": "a", "new": "b"})),
        ("write_file", json!({"path": "file", "content": "b\n"})),
    ] {
        for mode in [0o664, 0o2755] {
            let path = place.file("file", "a\n");
            if root {
                chown(&path, Some(1000), Some(1001)).unwrap();
            }
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
            let flags = rustix::fs::XattrFlags::empty();
            let marked = rustix::fs::setxattr(&path, "user.mark", b"x", flags).is_ok();
            let was = path.metadata().unwrap();
            let answer = place.call(tool, arguments.clone());
            assert!(answer.ok, "{answer:?}");
            let is = path.metadata().unwrap();
            assert_eq!(
                (is.uid(), is.gid(), is.mode()),
                (was.uid(), was.gid(), was.mode()),
                "{tool}"
            );
            let there = rustix::fs::getxattr(&path, "user.mark", &mut [0; 8][..]);
            assert_eq!(there.is_ok(), marked, "{tool}");
            assert_eq!(place.read("file"), "b\n");
            fs::remove_file(path).unwrap();
        }
    }
}

#[test]
fn one_place_is_changed_and_its_line_named() {
    let place = place();
    assert_eq!(
        edit_it(&place, "let x = 1;", "let x = 2;\n    let y = 3;"),
        Answer::good("a.rs changed: line 2.")
    );
    assert_eq!(
        place.read("a.rs"),
        CODE.replace("let x = 1;", "let x = 2;\n    let y = 3;")
    );
    assert_eq!(names(&place.project()), ["a.rs"]);
}

#[test]
fn several_places_are_named_and_changed_only_when_all_are_meant() {
    let place = place();
    assert_eq!(
        edit_it(&place, "print(x);", "print(y);"),
        Answer::bad(
            "old is in a.rs 2 times (lines 3, 7): add lines around it until it is there once, or \
             set all."
        )
    );
    assert_eq!(place.read("a.rs"), CODE);
    let all = json!({"path": "a.rs", "old": "print(x);", "new": "", "all": true});
    assert_eq!(
        place.call("edit_file", all),
        Answer::good("a.rs changed: 2 places (lines 3, 7).")
    );
    assert_eq!(place.read("a.rs"), CODE.replace("print(x);", ""));
}

#[test]
fn a_mismatch_shows_what_is_there() {
    let place = place();
    let said = |old: &str| {
        let answer = edit_it(&place, old, "new");
        assert!(!answer.ok);
        answer.text
    };
    assert_eq!(
        said("let x = 1;\n  print(x);"),
        "old is not in a.rs as it was written: white space differs. The file has, from line 2:\n    \
         let x = 1;\n    print(x);"
    );
    assert_eq!(
        said("fn othr() {\n    print(x);"),
        "old is not in a.rs. Most like it, from line 6:\nfn other() {\n    print(x);"
    );
    assert_eq!(
        said("struct Wholly { different: u8 }"),
        "old is not in a.rs, nor anything like it: read the file first."
    );
    assert_eq!(
        said("new"),
        "old and new are the same: there is nothing to change."
    );
    assert_eq!(place.read("a.rs"), CODE);
}

#[test]
fn line_ends_stay_as_the_file_has_them() {
    let place = Place::new();
    place.file("a.rs", "one\r\ntwo\r\nthree\r\n");
    assert_eq!(
        edit_it(&place, "one\ntwo", "1\n2"),
        Answer::good("a.rs changed: line 1.")
    );
    assert_eq!(
        edit_it(&place, "three", "3\n4"),
        Answer::good("a.rs changed: line 3.")
    );
    assert_eq!(place.read("a.rs"), "1\r\n2\r\n3\r\n4\r\n");
    // Mixed ends are nobody's rule.
    place.file("a.rs", "one\r\ntwo\nthree\n");
    assert_eq!(
        edit_it(&place, "three", "3\n4"),
        Answer::good("a.rs changed: line 3.")
    );
    assert_eq!(place.read("a.rs"), "one\r\ntwo\n3\n4\n");
}

#[test]
fn bytes_that_are_no_text_are_kept_and_binary_files_refused() {
    let place = Place::new();
    let path = place.file("a.rs", b"caf\xe9 = 1\nname = 2\n");
    assert_eq!(
        edit_it(&place, "name", "size"),
        Answer::good("a.rs changed: line 2.")
    );
    assert_eq!(fs::read(&path).unwrap(), b"caf\xe9 = 1\nsize = 2\n");
    place.file("a.rs", b"a\0b");
    assert_eq!(
        edit_it(&place, "a", "b"),
        Answer::bad("a.rs is no text: it holds NUL bytes.")
    );
    let large = fs::File::create(&path).unwrap();
    large.set_len(MAX_FILE + 1).unwrap();
    assert_eq!(
        edit_it(&place, "a", "b"),
        Answer::bad("a.rs is larger than 17 MB: change it with a command.")
    );
}

/// Somebody saves the file in an editor between our reading and our writing: theirs stays.
#[test]
fn a_file_that_changes_meanwhile_is_not_overwritten() {
    let place = place();
    let path = place.project().join("a.rs");
    let arguments = json!({"path": "a.rs", "old": "let x = 1;", "new": ""});
    for theirs in ["theirs", "let x = 1;\n"] {
        fs::write(&path, CODE).unwrap();
        let said = place.room(None, |room| {
            edit(&arguments, room, || fs::write(&path, theirs).unwrap())
        });
        assert_eq!(
            said,
            Err(
                "a.rs was changed by somebody else meanwhile. Nothing was changed: read it \
                 again."
                    .to_owned()
            )
        );
        assert_eq!(place.read("a.rs"), theirs);
    }
    fs::write(&path, CODE).unwrap();
    let said = place.room(None, |room| {
        edit(&arguments, room, || fs::remove_file(&path).unwrap())
    });
    assert!(said.is_err() && !path.exists());
    assert_eq!(names(&place.project()), Vec::<String>::new());
}

proptest! {
    /// For any text: a unique part is replaced and nothing else; else the file is as before, and
    /// what is said is bounded.
    #[test]
    fn an_edit_changes_its_part_or_nothing(
        lines in prop::collection::vec("[ab \t{}é]{0,12}", 0..40),
        old in "[ab \t{}é\n]{1,20}",
        new in "[cd\n]{0,10}",
    ) {
        let place = Place::new();
        let content = lines.join("\n");
        place.file("a.rs", &content);
        let answer = edit_it(&place, &old, &new);
        let now = place.read("a.rs");
        if answer.ok {
            prop_assert_eq!(content.matches(&old).count(), 1);
            prop_assert_eq!(now, content.replacen(&old, &new, 1));
        } else {
            prop_assert_eq!(now, content);
        }
        prop_assert!(answer.text.len() < 4096);
    }
}
