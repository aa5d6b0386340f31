//! Listing: what git would show, one line each, whatever the names are.

use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::symlink;

use super::super::ResultLimits;
use super::super::testing::{Place, make_fifo};
use super::*;

fn place() -> Place {
    let place = Place::new();
    place.file("src/main.rs", "");
    place.file("src/deep/lib.rs", "");
    place.file(".gitignore", "/target\n");
    place.file(".git/HEAD", "");
    place.file("target/x.rs", "");
    place.file("weights.bin", vec![0; 4_100_000]);
    symlink("../home", place.project().join("home")).unwrap();
    place
}

#[test]
fn a_folder_is_listed_by_depth_or_by_glob() {
    let place = place();
    let list = |arguments: Value| place.call("list", arguments);
    assert_eq!(
        list(json!({})),
        ToolAnswer::good(".:\n.gitignore\nhome -> ../home\nsrc/\nweights.bin (4.1 MB)")
    );
    assert_eq!(
        list(json!({"path": "src", "depth": 2})),
        ToolAnswer::good("src:\ndeep/\ndeep/lib.rs\nmain.rs")
    );
    assert_eq!(
        list(json!({"glob": "*.rs"})),
        ToolAnswer::good(".:\nsrc/deep/lib.rs\nsrc/main.rs")
    );
    assert_eq!(
        list(json!({"glob": "**/deep/*"})),
        ToolAnswer::good(".:\nsrc/deep/lib.rs")
    );
    assert_eq!(
        list(json!({"glob": "*.py"})),
        ToolAnswer::good("No file in . fits the glob.")
    );
    // What is ignored can still be asked for by name.
    assert_eq!(
        list(json!({"path": "target"})),
        ToolAnswer::good("target:\nx.rs")
    );
}

#[test]
fn what_is_no_folder_is_a_sentence() {
    let place = place();
    let list = |path: &str| place.call("list", json!({"path": path}));
    assert_eq!(
        list("src/main.rs"),
        ToolAnswer::bad("src/main.rs is no folder: read_file reads files.")
    );
    assert_eq!(
        list("nothing"),
        ToolAnswer::bad("There is no file nothing.")
    );
    std::fs::create_dir(place.project().join("void")).unwrap();
    assert_eq!(
        list("void"),
        ToolAnswer::good("void is empty, or all in it is ignored.")
    );
}

#[test]
fn many_and_odd_names_are_bounded_and_stay_on_their_line() {
    let mut place = Place::new();
    place.file("a\nb\u{1b}[31m", "");
    let raw = place
        .project()
        .join(std::ffi::OsStr::from_bytes(b"raw\xff"));
    std::fs::write(raw, "").unwrap();
    assert_eq!(
        place.call("list", json!({})),
        ToolAnswer::good(".:\na\\nb\\u{1b}[31m\nraw\u{fffd}")
    );
    for i in 0..300 {
        place.file(&format!("{i:04}-{}", "n".repeat(200)), "");
    }
    place.limits = ResultLimits {
        bytes: 16 << 10,
        lines: 50,
    };
    let listed = place.call("list", json!({})).text;
    assert_eq!(listed.lines().count(), 48);
    assert_eq!(
        listed.lines().last(),
        Some("[there is more: narrow it with path, glob or depth]")
    );
    place.limits.lines = 400;
    let listed = place.call("list", json!({})).text;
    assert!((10_000..16 << 10).contains(&listed.len()));
}

/// As git reads them: deeper rules before those above, `.ignore` before `.gitignore`, up to the
/// repository's root.
#[test]
fn rules_of_what_is_ignored_count_from_the_repositorys_root_down() {
    let place = Place::new();
    place.file(".git/info/exclude", "excluded\n");
    place.file(".gitignore", "\u{feff}*.log\r\n/top\nbuild/\n");
    place.file("sub/.gitignore", "!keep.log\n*.tmp\n");
    place.file("sub/.ignore", "!wanted.tmp\n");
    for name in [
        "a.log",
        "top",
        "sub/top",
        "sub/keep.log",
        "sub/b.log",
        "sub/c.tmp",
        "sub/wanted.tmp",
        "sub/build/x",
        "excluded",
        "sub/deep/build",
        "x.txt",
    ] {
        place.file(name, "");
    }
    let list = |arguments: Value| place.call("list", arguments).text;
    assert_eq!(
        list(json!({"depth": 9})),
        ".:\n.gitignore\nsub/\nsub/.gitignore\nsub/.ignore\nsub/deep/\nsub/deep/build\n\
         sub/keep.log\nsub/top\nsub/wanted.tmp\nx.txt"
    );
    assert_eq!(
        list(json!({"path": "sub"})),
        "sub:\n.gitignore\n.ignore\ndeep/\nkeep.log\ntop\nwanted.tmp"
    );
}

/// A project brings such files: a pipe would be waited for, a device read without an end.
#[test]
fn a_file_of_rules_that_is_no_file_is_not_opened_and_said() {
    let place = Place::new();
    place.file("a.txt", "x\n");
    make_fifo(&place.project().join(".gitignore"));
    symlink("/dev/zero", place.project().join(".ignore")).unwrap();
    place.file("sub/.gitignore", "x\n".repeat(200_000));
    place.file("sub/b.txt", "x\n");
    let listed = place.call("list", json!({"depth": 2})).text;
    let notes = [
        ".ignore is not used: it became a link meanwhile",
        ".gitignore is not used: it is a named pipe, not a file",
        "sub/.gitignore is not used: it has more than 262 kB or 4000 lines",
    ];
    for note in notes {
        assert!(listed.contains(&format!("\n[{note}]")), "{listed}");
    }
    assert!(
        listed.contains("a.txt\nsub/\nsub/.gitignore (400 kB)\nsub/b.txt"),
        "{listed}"
    );
    let found = place
        .call("search", json!({"pattern": "^x$", "glob": "*.txt"}))
        .text;
    assert!(
        found.starts_with("a.txt\n1: x\nsub/b.txt\n1: x\n["),
        "{found}"
    );
}

#[test]
fn an_interrupted_listing_says_so() {
    let place = place();
    place.cancel();
    let listed = place.call("list", json!({})).text;
    assert!(
        listed.ends_with("[interrupted: this is not everything]"),
        "{listed}"
    );
}
