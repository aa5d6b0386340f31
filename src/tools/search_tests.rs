//! Searching: what git would show, bounded, whatever lies in the folder.

use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::symlink;

use super::super::testing::Place;
use super::*;

fn place() -> Place {
    let place = Place::new();
    place.file("src/main.rs", "fn main() {}\nfn help() {}\n");
    place.file("src/deep/lib.rs", "// no\npub fn help() {}\n");
    place.file("notes.md", "help yourself\n");
    place.file(".github/ci.yml", "run: help\n");
    place.file(".git/HEAD", "help\n");
    place.file(".gitignore", "/target\n*.log\n");
    place.file("target/out.rs", "help\n");
    place.file("a.log", "help\n");
    place
}

#[test]
fn lines_are_found_below_their_files_in_order_without_what_git_ignores() {
    let place = place();
    let search = |arguments: Value| place.call("search", arguments);
    assert_eq!(
        search(json!({"pattern": "help"})),
        ToolAnswer::good(
            ".github/ci.yml\n1: run: help\nnotes.md\n1: help yourself\nsrc/deep/lib.rs\n2: pub fn \
             help() {}\nsrc/main.rs\n2: fn help() {}"
        )
    );
    assert_eq!(
        search(json!({"pattern": "HELP\\(\\)|(?i)MAIN", "glob": "*.rs"})),
        ToolAnswer::good("src/main.rs\n1: fn main() {}")
    );
    assert_eq!(
        search(json!({"pattern": "help", "glob": "!*.rs", "path": "src"})),
        ToolAnswer::good("No line in src matches.")
    );
    assert_eq!(
        search(json!({"pattern": "help", "glob": "src/*.rs"})),
        ToolAnswer::good("src/main.rs\n2: fn help() {}")
    );
    // Asked for by name, an ignored file is no secret, and a glob does not bring others back.
    assert_eq!(
        search(json!({"pattern": "help", "path": "a.log"})),
        ToolAnswer::good("a.log\n1: help")
    );
    assert_eq!(
        search(json!({"pattern": "help", "glob": "*.log"})),
        ToolAnswer::good("No line in . matches.")
    );
}

#[test]
fn wrong_patterns_globs_and_places_are_sentences() {
    let place = place();
    let search = |arguments: Value| {
        let answer = place.call("search", arguments);
        assert!(!answer.ok, "{answer:?}");
        answer.text
    };
    let said = search(json!({"pattern": "fn ("}));
    assert!(said.starts_with("The pattern cannot be used, escape what is meant literally: "));
    let huge = search(json!({"pattern": "\\w{1000}{1000}"}));
    assert!(huge.len() < 1000, "{huge}");
    let said = search(json!({"pattern": "x", "glob": "a[" }));
    assert!(
        said.starts_with("\"a[\" is no glob that can be used: "),
        "{said}"
    );
    assert_eq!(
        search(json!({"pattern": "x", "path": "nothing"})),
        "There is no file nothing."
    );
}

#[test]
fn more_than_can_be_shown_is_cut_and_said() {
    let place = Place::new();
    place.file("many", "hit\n".repeat(100_000));
    let many = place.call("search", json!({"pattern": "hit"})).text;
    assert_eq!(many.lines().count(), 202);
    assert_eq!(
        many.lines().last(),
        Some("[there is more than these 200 lines: narrow it with path, glob or pattern]")
    );
    // Long lines show where the match is.
    place.file(
        "many",
        format!("{}NEEDLE{}", "ä".repeat(2_000_000), "x".repeat(1_000_000)),
    );
    let one = place.call("search", json!({"pattern": "NEEDLE"})).text;
    assert!(one.len() < 400 && one.contains("äNEEDLExx"), "{one}");
    assert!(
        one.starts_with("many\n1: …ä") && one.ends_with("x…"),
        "{one}"
    );
}

#[test]
fn binary_files_links_pipes_and_odd_names_do_not_stop_a_search() {
    let mut place = place();
    place.file("binary", b"help\0help");
    place.file("odd\nname", "help \u{1b}[31mred\u{1b}[0m\r\n");
    let raw = place
        .project()
        .join(std::ffi::OsStr::from_bytes(b"raw\xff.md"));
    std::fs::write(raw, b"help \xff\n").unwrap();
    symlink(place.base(), place.project().join("loop")).unwrap();
    symlink("notes.md", place.project().join("twin")).unwrap();
    place.file("keys/id", "help");
    place.secret.close(&place.project().join("keys"));
    assert_eq!(
        place.call("search", json!({"pattern": "help", "glob": "!*.rs"})),
        ToolAnswer::good(
            ".github/ci.yml\n1: run: help\nnotes.md\n1: help yourself\nodd\\nname\n1: help red\n\
             raw\u{fffd}.md\n1: help \u{fffd}"
        )
    );
    assert!(
        !place
            .call("search", json!({"pattern": "help", "path": "keys"}))
            .ok
    );
}

/// Each kind of line end: `$` is before it, and no line hides another.
#[test]
fn a_line_is_searched_without_its_end() {
    let place = Place::new();
    place.file("a.c", "int a;\r\nint b;\r\nreturn a;\r\n");
    place.file("mac", "ann,31\rbob,42\rcyd,53\r");
    place.file("mixed", "one\r\ntwo\rthree\nfour");
    let utf16: Vec<u8> = "\u{feff}wide b;\r\nnext\r\n"
        .encode_utf16()
        .flat_map(u16::to_le_bytes)
        .collect();
    place.file("utf16", utf16);
    let table = [
        ("b;$", "a.c\n2: int b;\nutf16\n1: \u{feff}wide b;"),
        ("^return a;$", "a.c\n3: return a;"),
        ("bob", "mac\n2: bob,42"),
        ("^(two|three|four)$", "mixed\n2: two\n3: three\n4: four"),
        ("^$", "No line in . matches."),
        (
            "b;\\r",
            "No line in . matches.\n[a line is searched without its end: no CR or LF is in it]",
        ),
    ];
    for (pattern, text) in table {
        let answer = place.call("search", json!({"pattern": pattern}));
        // The mark at the start of UTF-16 is no text, whether it is shown or not.
        let said = answer.text.replace('\u{feff}', "");
        assert_eq!(said, text.replace('\u{feff}', ""), "{pattern}");
    }
}

/// A letter somewhere, then a row of letters of any script, over 8 MB in one line: what may begin at
/// each place is another set, so no engine has a table for it. The search ends when its time is over.
#[test]
fn a_pattern_that_would_take_hours_ends_within_its_time() {
    let place = Place::new();
    let mut dice = 1u32;
    let letters = std::iter::repeat_with(|| {
        dice = dice.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        ['ж', 'é', '漢', 'a'][(dice >> 30) as usize]
    });
    place.file("letters", letters.take(4_000_000).collect::<String>());
    let arguments = json!({"pattern": r"a\p{L}{120}\p{Nd}"});
    let began = Instant::now();
    let until = began + Duration::from_millis(100);
    for path in [".", "letters"] {
        let mut arguments = arguments.clone();
        arguments["path"] = path.into();
        let text = place
            .room(None, |room| search(&arguments, room, until))
            .unwrap();
        let note =
            "[not everything was searched: it ended after 30 s; narrow it with path or glob]";
        assert_eq!(text, format!("No line in {path} matches.\n{note}"));
    }
    assert!(
        began.elapsed() < Duration::from_secs(20),
        "{:?}",
        began.elapsed()
    );
}

#[test]
fn an_interrupted_search_says_so() {
    let place = place();
    place.cancel();
    assert_eq!(
        place.call("search", json!({"pattern": "help"})),
        ToolAnswer::good("No line in . matches.\n[interrupted: not everything was searched]")
    );
}
