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

fn edit_it(place: &Place, old: &str, new: &str) -> ToolAnswer {
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

/// A line end more than the file has is no part of its last line.
#[test]
fn an_empty_line_at_the_end_that_is_not_there_is_not_found() {
    let place = Place::new();
    place.file("a.rs", "one\n");
    assert!(!edit_it(&place, "one\n\n", "two").ok);
    assert_eq!(place.read("a.rs"), "one\n");
}

#[test]
fn one_place_is_changed_and_its_line_named() {
    let place = place();
    assert_eq!(
        edit_it(&place, "let x = 1;", "let x = 2;\n    let y = 3;"),
        ToolAnswer::good("a.rs changed: line 2.")
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
        ToolAnswer::bad(
            "old is in a.rs 2 times (lines 3, 7): add lines around it until it is there once, or \
             set all."
        )
    );
    assert_eq!(place.read("a.rs"), CODE);
    let all = json!({"path": "a.rs", "old": "print(x);", "new": "", "all": true});
    assert_eq!(
        place.call("edit_file", all),
        ToolAnswer::good("a.rs changed: 2 places (lines 3, 7).")
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
        "old is not in a.rs as it was written: white space, or characters that look alike, differ. \
         The file has, from line 2:\n    let x = 1;\n    print(x);\n[the first difference is in line \
         3: the file has a space (U+0020) where old has p (U+0070)]"
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
        ToolAnswer::good("a.rs changed: line 1.")
    );
    assert_eq!(
        edit_it(&place, "three", "3\n4"),
        ToolAnswer::good("a.rs changed: line 3.")
    );
    assert_eq!(place.read("a.rs"), "1\r\n2\r\n3\r\n4\r\n");
    // Mixed ends are nobody's rule.
    place.file("a.rs", "one\r\ntwo\nthree\n");
    assert_eq!(
        edit_it(&place, "three", "3\n4"),
        ToolAnswer::good("a.rs changed: line 3.")
    );
    assert_eq!(place.read("a.rs"), "one\r\ntwo\n3\n4\n");
}

#[test]
fn bytes_that_are_no_text_are_kept_and_binary_files_refused() {
    let place = Place::new();
    let path = place.file("a.rs", b"caf\xe9 = 1\nname = 2\n");
    assert_eq!(
        edit_it(&place, "name", "size"),
        ToolAnswer::good("a.rs changed: line 2.")
    );
    assert_eq!(fs::read(&path).unwrap(), b"caf\xe9 = 1\nsize = 2\n");
    place.file("a.rs", b"a\0b");
    assert_eq!(
        edit_it(&place, "a", "b"),
        ToolAnswer::bad("a.rs is no text: it holds NUL bytes.")
    );
    let large = fs::File::create(&path).unwrap();
    large.set_len(MAX_FILE + 1).unwrap();
    assert_eq!(
        edit_it(&place, "a", "b"),
        ToolAnswer::bad("a.rs is larger than 17 MB: change it with a command.")
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
                "a.rs was changed by another program meanwhile. This call changed nothing: read it \
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

/// What a model was shown is what it can name, whatever stands in the file there.
#[test]
fn text_is_found_as_it_was_shown_and_what_stays_keeps_its_bytes() {
    let place = Place::new();
    let table: &[(&[u8], &str, &str, &[u8])] = &[
        // Mixed line ends.
        (
            b"one\r\ntwo\nthree\r\n",
            "one\ntwo",
            "1\n2",
            b"1\r\n2\nthree\r\n",
        ),
        (
            b"a\r\nb\nc\rd\n",
            "a\nb\nc\nd",
            "a\nB\nc\nx\nd",
            b"a\r\nB\nc\rx\rd\n",
        ),
        // LF text in a CR LF file, and the reverse.
        (b"a\r\nb\r\n", "a\nb\n", "a\nc\nb\n", b"a\r\nc\r\nb\r\n"),
        (b"a\nb\n", "a\r\nb\r\n", "a\r\nc\r\n", b"a\nc\n"),
        (b"a\rb\r", "a\nb", "a\nc\nb", b"a\rc\rb\r"),
        // A last line without its end, with and without it in the text.
        (b"one\ntwo", "two\n", "2\n", b"one\n2"),
        (b"one\r\ntwo", "one\ntwo\n", "one\n2\n3\n", b"one\r\n2\r\n3"),
        (b"one\r\ntwo", "two", "2\n3", b"one\r\n2\r\n3"),
        (b"one\ntwo", "two\n", "", b"one\n"),
        // What is not shown: form feeds, escape sequences, bytes that are not UTF-8.
        (
            b"\x0cint a;\n\x0cint b;\n",
            "int a;\nint b;",
            "int a;\nint c;",
            b"\x0cint a;\n\x0cint c;\n",
        ),
        (b"a\n\x0c\nb\nc\n", "a\n\nb", "a\n\nx", b"a\n\x0c\nx\nc\n"),
        (
            b"x = \x1b[1m1\x1b[0m;\n",
            "x = 1;",
            "x = 12;",
            b"x = \x1b[1m12\x1b[0m;\n",
        ),
        (
            b"caf\xe9 = 1\n",
            "caf\u{fffd} = 1",
            "caf\u{fffd} = 2",
            b"caf\xe9 = 2\n",
        ),
        // Text that names what is otherwise not shown is meant with it.
        (b"\x0ca\na\n", "\x0ca", "b", b"b\na\n"),
        (b"\x0ca\r\na\r\n", "\x0ca\n", "a\n", b"a\r\na\r\n"),
    ];
    for (before, old, new, after) in table {
        let path = place.file("a.rs", before);
        let answer = edit_it(&place, old, new);
        let said = format!(
            "{answer:?} for {:?}, {old:?}",
            String::from_utf8_lossy(before)
        );
        assert!(answer.ok, "{said}");
        let now = fs::read(&path).unwrap();
        assert_eq!(
            String::from_utf8_lossy(&now),
            String::from_utf8_lossy(after),
            "{said}"
        );
        assert_eq!(now, *after, "{said}");
    }
}

#[test]
fn an_edit_that_would_lose_something_unseen_says_so_or_is_not_made() {
    let place = Place::new();
    place.file("a.rs", "x \u{c}y z\n");
    assert_eq!(
        edit_it(&place, "x y z", "z"),
        ToolAnswer::good(
            "a.rs changed: line 1. Control characters that are not shown were in the text, and are \
             gone."
        )
    );
    let path = place.file("a.rs", b"a1 \xff b1\n");
    let answer = edit_it(&place, "a1 \u{fffd} b1", "a2 \u{fffd} b2");
    assert!(
        !answer.ok && answer.text.starts_with("U+FFFD stands for bytes"),
        "{answer:?}"
    );
    assert_eq!(fs::read(path).unwrap(), b"a1 \xff b1\n");
    // Two places that look the same are two places.
    place.file("a.rs", "x\r\ny\nx\ny\n");
    let answer = edit_it(&place, "x\ny", "z");
    assert!(
        answer
            .text
            .starts_with("old is in a.rs 2 times (lines 1, 3)"),
        "{answer:?}"
    );
    assert_eq!(
        edit_it(&place, "x\ny", "x\r\ny"),
        ToolAnswer::bad(
            "old and new differ only in line ends, and those stay as the file has them: a command, \
             or write_file, changes them."
        )
    );
}

/// The nearest line is found in any script, and what cannot be seen is named.
#[test]
fn a_mismatch_is_found_in_any_script_and_named_where_it_cannot_be_seen() {
    let place = Place::new();
    let table = [
        (
            "один\nпривет, мир и люди\nтри\n",
            "привет, мир и кони",
            "old is not in a.rs. Most like it, from line 2:\nпривет, мир и люди",
        ),
        (
            "一\n你好世界你好人们\n三\n",
            "你好世界你好大家",
            "old is not in a.rs. Most like it, from line 2:\n你好世界你好人们",
        ),
        (
            "x\nsay(“hello”, ‘you’)\n",
            "say(\"hello\", 'you')",
            "old is not in a.rs as it was written: white space, or characters that look alike, \
             differ. The file has, from line 2:\nsay(“hello”, ‘you’)\n[the first difference is in \
             line 2: the file has “ (U+201C) where old has \" (U+0022)]",
        ),
        (
            "a = 10\u{a0}km\n",
            "10 km",
            "old is not in a.rs as it was written: white space, or characters that look alike, \
             differ. The file has, from line 1:\na = 10\u{a0}km\n[the first difference is in line 1: \
             the file has a no-break space (U+00A0) where old has a space (U+0020)]",
        ),
        (
            "one \ntwo\n",
            "one\ntwo",
            "old is not in a.rs as it was written: white space, or characters that look alike, \
             differ. The file has, from line 1:\none \ntwo\n[the first difference is in line 1: the \
             file has a space (U+0020) where old has the line's end]",
        ),
        (
            "wo\u{200b}rd\n",
            "word",
            "old is not in a.rs as it was written: white space, or characters that look alike, \
             differ. The file has, from line 1:\nwo\u{200b}rd\n[the first difference is in line 1: \
             the file has a character that is not seen (U+200B) where old has r (U+0072)]",
        ),
    ];
    for (file, old, said) in table {
        place.file("a.rs", file);
        assert_eq!(edit_it(&place, old, "new"), ToolAnswer::bad(said));
        assert_eq!(place.read("a.rs"), file);
    }
}

/// The last line of the text has no end in the file, and another one is last afterwards.
#[test]
fn a_line_that_becomes_the_last_one_or_stops_being_it_keeps_its_bytes() {
    let place = Place::new();
    let table: [(&[u8], &str, &str, &[u8]); 3] = [
        (
            b"one\r\n\x0ctwo\r\nthree \xff\r\n\x0cfour",
            "one\ntwo\nthree \u{fffd}\nfour\n",
            "one\nthree \u{fffd}\n",
            b"one\r\nthree \xff",
        ),
        (
            b"one\r\ntwo \xff",
            "two \u{fffd}",
            "two \u{fffd}\nthree",
            b"one\r\ntwo \xff\r\nthree",
        ),
        (
            b"one \xff\n\x0ctwo\n",
            "one \u{fffd}\ntwo",
            "one \u{fffd}",
            b"one \xff\n",
        ),
    ];
    for (file, old, new, want) in table {
        let path = place.file("a.rs", file);
        assert!(edit_it(&place, old, new).ok);
        assert_eq!(fs::read(path).unwrap(), want, "{old:?} {new:?}");
    }
}

/// What becomes of a line of the text that is replaced.
#[derive(Clone, Copy, Debug)]
enum Change {
    Keep,
    Append,
    Drop,
    InsertBefore,
}

proptest! {
    /// Any mixture of line ends, with form feeds and broken bytes in some lines: every line that stays
    /// has its bytes and its end, a changed one its end and what is not shown in it, and a new one
    /// has an end of its neighbourhood.
    #[test]
    fn an_edit_keeps_the_bytes_of_every_line_that_stays(
        ends in prop::collection::vec(prop::sample::select(vec!["\n", "\r\n", "\r"]), 2..14),
        odd in prop::collection::vec(0..4_usize, 14),
        unended: bool,
        from in 0..13_usize,
        count in 1..8_usize,
        changes in prop::collection::vec(prop::sample::select(vec![
            Change::Keep, Change::Append, Change::Drop, Change::InsertBefore,
        ]), 8),
        with_end: bool,
    ) {
        let place = Place::new();
        let body = |at: usize| -> Vec<u8> {
            let name = format!("line {at:02}");
            match odd[at] {
                0 => [b"\x0c", name.as_bytes()].concat(),
                1 => [name.as_bytes(), b" \xff"].concat(),
                _ => name.into_bytes(),
            }
        };
        let shown = |at: usize| match odd[at] {
            1 => format!("line {at:02} \u{fffd}"),
            _ => format!("line {at:02}"),
        };
        let end = |at: usize| if unended && at + 1 == ends.len() { "" } else { ends[at] };
        let all = |lines: std::ops::Range<usize>| -> Vec<u8> {
            lines.flat_map(|at| [body(at), end(at).into()].concat()).collect()
        };
        let from = from.min(ends.len() - 1);
        let to = (from + count).min(ends.len());
        // A changed line stands between two that stay, so that it is clear which it was.
        let change = |at: usize| if (at - from).is_multiple_of(2) { changes[at - from] } else { Change::Keep };
        let (mut old, mut new, mut want) = (Vec::new(), Vec::new(), Vec::new());
        for at in from..to {
            old.push(shown(at));
            match change(at) {
                Change::Keep => {
                    new.push(shown(at));
                    want.push((body(at), Some(end(at))));
                }
                Change::Append => {
                    new.push(format!("{} more", shown(at)));
                    want.push(([body(at), b" more".to_vec()].concat(), Some(end(at))));
                }
                Change::Drop => {}
                Change::InsertBefore => {
                    new.extend([format!("new {at}"), shown(at)]);
                    want.push((format!("new {at}").into_bytes(), None));
                    want.push((body(at), Some(end(at))));
                }
            }
        }
        prop_assume!(old != new && !new.is_empty());
        // A text without its last end says nothing about the last line's end, if that goes.
        let with_end = with_end || matches!(change(to - 1), Change::Drop);
        let text = |lines: &[String]| lines.join("\n") + if with_end { "\n" } else { "" };
        let path = place.file("a.rs", all(0..ends.len()));
        let answer = edit_it(&place, &text(&old), &text(&new));
        prop_assert!(answer.ok, "{:?}", answer);
        let now = fs::read(path).unwrap();
        let (before, after) = (all(0..from), all(to..ends.len()));
        prop_assert!(now.starts_with(&before) && now.ends_with(&after));
        let mut rest = &now[before.len()..now.len() - after.len()];
        for (number, (body, end)) in want.iter().enumerate() {
            prop_assert!(rest.starts_with(body), "{:?} {:?}", body, rest);
            rest = &rest[body.len()..];
            // At the end of a file that lacks its last end nothing gets one.
            let last = unended && to == ends.len() && number + 1 == want.len();
            let end = match end {
                _ if last => "",
                Some(end) => end,
                None => {
                    let found = ["\r\n", "\n", "\r"].into_iter().find(|e| rest.starts_with(e.as_bytes()));
                    prop_assert!(found.is_some(), "{:?}", rest);
                    found.unwrap_or_default()
                }
            };
            prop_assert!(rest.starts_with(end.as_bytes()), "{:?} {:?}", end, rest);
            rest = &rest[end.len()..];
        }
        prop_assert!(rest.is_empty(), "{:?}", rest);
    }

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
        if answer.ok && content.ends_with('\n') {
            prop_assert_eq!(content.matches(&old).count(), 1);
            prop_assert_eq!(now, content.replacen(&old, &new, 1));
        } else if answer.ok {
            // The last line has an end for whoever edits it, where the text is not in the file as it is.
            let as_it_is = content.matches(&old).count() == 1 && now == content.replacen(&old, &new, 1);
            let (content, now) = (content + "\n", now + "\n");
            let want = content.replacen(&old, &new, 1);
            let ended = content.matches(&old).count() == 1 && (now == want || now == want + "\n");
            prop_assert!(as_it_is || ended, "{:?} became {:?}", content, now);
        } else {
            prop_assert_eq!(now, content);
        }
        prop_assert!(answer.text.len() < 4096);
    }
}
