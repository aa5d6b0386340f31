//! A question is asked, something happens to the file, and the answer is yes.

use std::fs;
use std::path::PathBuf;

use serde_json::{Value, json};

use super::super::testing::{Place, names};
use super::super::{CallContext, ToolAnswer, place};
use super::*;

/// What a call answers that was asked about, where `meanwhile` happened before the answer.
fn asked(place: &Place, tool: &str, arguments: &Value, meanwhile: impl FnOnce()) -> ToolAnswer {
    place.room(None, |room| {
        let tool = place.registry.get(tool).unwrap();
        let change = tool.foresee(arguments, room).unwrap().unwrap();
        let asked = change.asked();
        meanwhile();
        let asked = Some(&asked);
        tool.run(arguments, &CallContext { asked, ..*room })
    })
}

fn changed() -> ToolAnswer {
    ToolAnswer::bad(
        "a has changed since the question was asked: nothing was written; read it again.",
    )
}

#[test]
fn nothing_is_written_over_what_nobody_was_asked_about() {
    type Way = fn(PathBuf);
    let ways: [(&str, Way); 5] = [
        ("other", |a| fs::write(a, "other").unwrap()),
        // The text to replace is still there, and the size is the same.
        ("one TWO", |a| fs::write(a, "one TWO").unwrap()),
        ("one two three", |a| fs::write(a, "one two three").unwrap()),
        ("", |a| fs::write(a, "").unwrap()),
        ("other", |a| {
            fs::write(a.with_extension("b"), "other").unwrap();
            fs::rename(a.with_extension("b"), a).unwrap();
        }),
    ];
    let calls = [
        ("write_file", json!({"path": "a", "content": "new"})),
        ("edit_file", json!({"path": "a", "old": "one", "new": "1"})),
    ];
    for (tool, arguments) in &calls {
        for (left, way) in ways {
            let place = Place::new();
            let path = place.file("a", "one two");
            assert_eq!(
                asked(&place, tool, arguments, || way(path)),
                changed(),
                "{tool} {left}"
            );
            assert_eq!(place.read("a"), left, "{tool}");
            assert_eq!(names(&place.project()), ["a"], "{tool}");
        }
        // A file that is gone is not made again.
        let place = Place::new();
        let path = place.file("a", "one two");
        let gone = || fs::remove_file(&path).unwrap();
        assert_eq!(asked(&place, tool, arguments, gone), changed());
        assert_eq!(names(&place.project()), [""; 0]);
        // The same content is what was asked about, whoever wrote it.
        let place = Place::new();
        let path = place.file("a", "one two");
        let same = || fs::write(&path, "one two").unwrap();
        assert!(asked(&place, tool, arguments, same).ok, "{tool}");
        assert_ne!(place.read("a"), "one two");
    }
}

#[test]
fn a_file_that_was_to_be_made_is_not_replaced() {
    let place = Place::new();
    let arguments = json!({"path": "a", "content": "new"});
    let there = || drop(place.file("a", ""));
    assert_eq!(asked(&place, "write_file", &arguments, there), changed());
    assert_eq!(place.read("a"), "");
    fs::remove_file(place.project().join("a")).unwrap();
    assert!(asked(&place, "write_file", &arguments, || ()).ok);
    assert_eq!(place.read("a"), "new");
}

#[test]
fn a_file_that_is_too_large_to_compare_is_known_by_its_age() {
    let place = Place::new();
    let arguments = json!({"path": "a", "content": "new"});
    let large = || {
        let file = fs::File::create(place.project().join("a")).unwrap();
        file.set_len((16 << 20) + 1).unwrap();
        file
    };
    large();
    let wider = || large().set_len(17 << 20).unwrap();
    assert_eq!(asked(&place, "write_file", &arguments, wider), changed());
    assert!(asked(&place, "write_file", &arguments, || ()).ok);
    assert_eq!(place.read("a"), "new");
}

/// The last look is one at the file that is replaced, when nothing but its replacement is left to do.
#[test]
fn the_place_itself_is_looked_at_directly_before_it_is_replaced() {
    let place = Place::new();
    let path = place.file("a", "old");
    let replace = |asked: AskedFile| place::replace(&path, "a", b"new", None, Some(&asked));
    let said = replace(AskedFile::holding(b"other")).unwrap_err();
    assert_eq!(said, changed().text);
    assert_eq!(replace(AskedFile::absent()).unwrap_err(), changed().text);
    assert_eq!(names(&place.project()), ["a"]);
    replace(AskedFile::holding(b"old")).unwrap();
    assert_eq!(place.read("a"), "new");
}

/// What is read can be exchanged while it is read.
#[test]
fn a_file_that_is_exchanged_while_it_is_compared_is_another_one() {
    let place = Place::new();
    let path = place.file("a", "old");
    let times = std::cell::Cell::new(0);
    let open = || {
        if times.replace(times.get() + 1) == 1 {
            fs::write(path.with_extension("b"), "old").unwrap();
            fs::rename(path.with_extension("b"), &path).unwrap();
        }
        fs::File::open(&path).map(Some)
    };
    let asked = AskedFile::holding(b"old");
    assert!(!asked.is_still(&path, open).unwrap());
    assert!(asked.is_still(&path, open).unwrap());
}
